//! The row of a whole conversation: two people's devices and an agent do what a chat product does, a node dies in the
//! middle, and all of it is read back from `messages` alone, here and in another cluster.
//!
//! The agent is this row: a worker by HTTP, at whichever node answers.

use anyhow::{Context, ensure};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::device::Who;
use super::people::{LAPTOP, PHONE, SAM};
use super::record::Record;
use super::seconds;
use super::stage::Stage;

const SESSION: &str = "conversation";
const AGENT: &str = "painter";
const UNWATCHED_MS: u64 = 600_000;
/// The name of the picture; its bytes are those of a PNG of one pixel.
const PICTURE: &str = "file_demoPicture0000000001";
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n one pixel";

/// A turn that this row has, and the number of its next report.
struct Worker<'s> {
    stage: &'s Stage,
    turn: Value,
    seq: u64,
}

impl<'s> Worker<'s> {
    /// Takes the next turn of the agent.
    async fn claim(stage: &'s Stage) -> anyhow::Result<Worker<'s>> {
        let body = json!({ "worker": "the row", "wait_ms": 2000, "lease_ms": 120_000 });
        let path = format!("/v1/agents/{AGENT}/claim");
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            let turn = stage.ask(Method::POST, &path, Some(&body)).await?;
            if turn != Value::Null {
                return Ok(Worker { stage, turn, seq: 0 });
            }
        }
        anyhow::bail!("no turn of {AGENT} comes")
    }

    async fn report(&mut self, mut body: Value) -> anyhow::Result<Value> {
        (body["epoch"], body["seq"]) = (self.turn["epoch"].clone(), self.seq.into());
        self.seq += 1;
        let turn = self.turn["turn"].as_str().context("a turn has a name")?;
        self.stage.post(SESSION, &format!("turns/{turn}/output"), body).await
    }
}

/// One piece of an answer in the AI SDK's dialect, byte for byte.
fn chunk(text: &str) -> Value {
    json!({ "format": "ai-sdk/1", "text": text })
}

async fn answer_with(stage: &Stage, text: &str) -> anyhow::Result<()> {
    let mut worker = Worker::claim(stage).await?;
    worker.report(json!({ "events": [{ "text": text }], "then": "complete" })).await?;
    Ok(())
}

/// The conversation, as its text and as messages.
async fn messages(stage: &Stage, session: &str) -> anyhow::Result<(String, Vec<Value>)> {
    let path = format!("/v1/sessions/{session}/messages?limit=100");
    let text = stage.bytes(Method::GET, &path, None).await?;
    let text = String::from_utf8(text.to_vec())?;
    let page: Value = serde_json::from_str(&text)?;
    let list = text.find("\"messages\":").context("a page has messages")?;
    let all = page["messages"].as_array().context("messages are a list")?.clone();
    Ok((text[list..].to_owned(), all))
}

async fn send(stage: &Stage, mut body: Value, who: Who) -> anyhow::Result<Value> {
    (body["participant"], body["device"]) = (who.participant.into(), who.device.into());
    body["role"] = who.role.into();
    stage.post(SESSION, "inputs", body).await
}

/// Plays it.
pub(super) async fn whole(stage: &Stage) -> anyhow::Result<String> {
    let begun = Instant::now();
    stage.session(SESSION, UNWATCHED_MS).await?;
    let (laptop, phone) = (stage.device(1, SESSION, LAPTOP), stage.device(2, SESSION, PHONE));
    for device in [&laptop, &phone] {
        device.sees("attached", |record| record.snapshot.clone()).await?;
    }
    let image = format!("/v1/sessions/{SESSION}/files/{PICTURE}");
    let picture = Some(("image/png", Bytes::from_static(PIXEL)));
    stage.bytes(Method::PUT, &image, picture).await?;
    let parts = json!([{ "type": "text", "text": "Make this larger, and say where it was taken." },
        { "type": "file", "mediaType": "image/png", "url": image }]);
    let content = json!({ "format": "ai-sdk/1",
        "text": json!({ "role": "user", "parts": parts }).to_string() });
    send(stage, json!({ "id": "q1", "agent": AGENT, "content": content }), LAPTOP).await?;

    let mut worker = Worker::claim(stage).await?;
    approved(stage, &mut worker).await?;
    let mut worker = Worker::claim(stage).await?;
    let killed = crashed(stage, &mut worker).await?;
    placed(stage, &mut worker, laptop).await?;
    answer_with(stage, "It is Graz, two and a half times as large.").await?;

    talked_over(stage).await?;
    let (exact, all) = messages(stage, SESSION).await?;
    judge(&exact, &all)?;
    let moved = elsewhere(stage, &exact).await?;
    stage.count(&phone.record());
    Ok(format!(
        "{} messages, exact on three nodes, in a fork and in another cluster (moved in {}); node {killed} was killed \
         between a call and its result; {} in all",
        all.len(),
        seconds(moved),
        seconds(begun.elapsed())
    ))
}

/// Reasoning, and a call that the phone allows with other arguments.
async fn approved(stage: &Stage, worker: &mut Worker<'_>) -> anyhow::Result<()> {
    let events: Vec<Value> = [
        r#"{"type":"reasoning-start","id":"r"}"#,
        r#"{"type":"reasoning-delta","id":"r","delta":"It is small."}"#,
        r#"{"type":"reasoning-end","id":"r","providerMetadata":{"x":{"signature":"c2ln"}}}"#,
        r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"enlarge","input":{"by":1.10}}"#,
    ]
    .into_iter()
    .map(chunk)
    .collect();
    let tool = json!({ "id": "k1", "name": "enlarge", "arguments": { "by": 1.1 } });
    let ask = json!([{ "interaction": "allow", "kind": "approval",
        "question": { "data": { "text": "Enlarge it?", "tool": tool } } }]);
    worker.report(json!({ "events": events, "ask": ask, "then": "wait" })).await?;
    let answer = json!({ "answer": { "data": { "approved": true, "arguments": { "by": 2.5 } } },
        "participant": PHONE.participant, "device": PHONE.device, "role": PHONE.role });
    stage.post(SESSION, "interactions/allow", answer).await?;
    Ok(())
}

/// The call is begun, the node that leads the conversation is killed, and its result comes at another one.
async fn crashed(stage: &Stage, worker: &mut Worker<'_>) -> anyhow::Result<usize> {
    let started =
        json!([{ "call": "k1", "tool": "enlarge", "arguments": { "data": { "by": 2.5 } } }]);
    let begun = worker.report(json!({ "tools": started })).await?;
    ensure!(begun["tools"][0]["key"].is_string(), "the call has no idempotency key: {begun}");
    let leader = stage.leader(SESSION).await?;
    stage.kill(leader)?;
    let finished = json!([{ "call": "k1", "result": { "data": { "by": 2.5 } } }]);
    let output =
        chunk(r#"{"type":"tool-output-available","toolCallId":"k1","output":{"width":2.50}}"#);
    worker.report(json!({ "tools": finished })).await?;
    worker.report(json!({ "events": [output] })).await?;
    stage.mend(leader).await?;
    Ok(leader)
}

/// A call for a client: the laptop takes it and dies, the phone makes it.
async fn placed(
    stage: &Stage,
    worker: &mut Worker<'_>,
    laptop: super::device::Device,
) -> anyhow::Result<()> {
    let tool = json!({ "id": "k2", "name": "where", "arguments": {} });
    let ask = json!([{ "interaction": "place", "kind": "client_tool",
        "question": { "data": { "tool": tool } } }]);
    worker.report(json!({ "ask": ask, "then": "wait" })).await?;
    let claim = |who: Who| json!({ "participant": who.participant, "device": who.device, "role": who.role });
    let first = stage.post(SESSION, "interactions/place/claim", claim(LAPTOP)).await?;
    stage.count(&laptop.record());
    drop(laptop);
    let phone = stage.device(2, SESSION, PHONE);
    let is_free = |record: &Record| record.of("interaction.released").next().map(|_| ());
    phone.sees("the laptop's call is free again", is_free).await?;
    let second = stage.post(SESSION, "interactions/place/claim", claim(PHONE)).await?;
    ensure!(first["epoch"].as_u64() < second["epoch"].as_u64(), "{first} is not fenced: {second}");
    let mut answer = claim(PHONE);
    (answer["answer"], answer["epoch"]) =
        (json!({ "data": { "city": "Graz" } }), second["epoch"].clone());
    stage.post(SESSION, "interactions/place", answer).await?;
    Ok(())
}

/// A second message, edited, and its answer made anew; then a person takes over.
async fn talked_over(stage: &Stage) -> anyhow::Result<()> {
    let before = messages(stage, SESSION).await?.1;
    let last = before.last().context("the answer is a message")?["id"].clone();
    let more = json!({ "id": "q2", "agent": AGENT, "content": { "text": "And when?" } });
    send(stage, more, LAPTOP).await?;
    answer_with(stage, "In May.").await?;
    let edited = json!({ "id": "q2-edited", "agent": AGENT, "parent": last,
        "content": { "text": "In which year?" } });
    send(stage, edited, PHONE).await?;
    answer_with(stage, "Last year.").await?;
    let shown = messages(stage, SESSION).await?.1;
    let question = shown.iter().find(|message| message["input"] == "q2-edited");
    let question = question.context("the edited message is shown")?["id"].clone();
    send(stage, json!({ "id": "q2-again", "regenerate": question }), PHONE).await?;
    answer_with(stage, "In 2025.").await?;
    let take = json!({ "verb": "take", "mode": "manual", "participant": SAM.participant,
        "device": SAM.device, "role": SAM.role });
    stage.post(SESSION, "control", take.clone()).await?;
    let word = json!({ "id": "by-sam", "agent": AGENT, "content": { "text": "It was in June." } });
    send(stage, word, SAM).await?;
    let mut back = take;
    (back["verb"], back["mode"]) = ("release".into(), Value::Null);
    stage.post(SESSION, "control", back).await?;
    Ok(())
}

/// What the messages alone must tell.
fn judge(exact: &str, all: &[Value]) -> anyhow::Result<()> {
    let texts: Vec<_> = all.iter().filter_map(|message| message["text"].as_str()).collect();
    let ends = ["In which year?", "In 2025.", "It was in June."];
    ensure!(texts.ends_with(&ends), "the path ends otherwise: {texts:?}");
    ensure!(!texts.contains(&"In May."), "what was edited away is on the path: {texts:?}");
    for part in [
        PICTURE,
        r#""text":"It is small.""#,
        r#""signature":"c2ln""#,
        r#""output":{"width":2.50}"#,
        r#""city":"Graz""#,
        r#""state":"answered""#,
    ] {
        ensure!(exact.contains(part), "the messages do not have {part}: {exact}");
    }
    Ok(())
}

/// The same messages in a fork, and in another cluster after an export and an import; how long the move took.
async fn elsewhere(stage: &Stage, exact: &str) -> anyhow::Result<Duration> {
    let fork = format!("{SESSION}-fork");
    stage.post(SESSION, "fork", json!({ "session": fork })).await?;
    ensure!(messages(stage, &fork).await?.0 == exact, "the fork has other messages");
    let other = Stage::set().await?;
    let begun = Instant::now();
    let path = format!("/v1/sessions/{SESSION}/export");
    let lines = stage.bytes(Method::GET, &path, None).await?;
    let path = format!("/v1/sessions/{SESSION}/import");
    other.bytes(Method::POST, &path, Some(("application/x-ndjson", lines))).await?;
    let took = begun.elapsed();
    let there = messages(&other, SESSION).await?.0;
    ensure!(there == exact, "the other cluster has other messages:\n{there}\n{exact}");
    Ok(took)
}
