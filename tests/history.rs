//! The conversation as a resource: pages in both directions, one message, what whoever comes late is told, and
//! beginning again after a gap; on one node, and at nodes that have no replica.

use futures::StreamExt;
use harness::api::{PATIENCE, claim, create, post};
use harness::cluster::{Cluster, client};
use harness::node::{TestNode, start_single};
use harness::socket::Client;
use outlive::client::sse::{Frame, Parser};
use serde_json::{Value, json};
use tokio::time::timeout;

async fn text_of(url: &str, path: &str) -> (u16, String) {
    let request = client().get(format!("{url}{path}")).timeout(PATIENCE);
    let answer = request.header("outlive-timeout-ms", "60000").send().await;
    let answer = answer.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

async fn get(url: &str, path: &str) -> Value {
    serde_json::from_str(&text_of(url, path).await.1).unwrap_or(Value::Null)
}

/// An input of Ada's, and the turn that it begins or is spoken into.
async fn input(url: &str, session: &str, name: &str, words: &str) {
    let body = json!({
        "id": name, "agent": "poet", "content": { "text": words },
        "participant": "ada", "device": "phone",
    });
    let (status, answer) = post(url, &format!("/v1/sessions/{session}/inputs"), body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn emit(url: &str, turn: &Value, seq: u64, rest: Value) -> Value {
    let mut body = json!({ "epoch": turn["epoch"], "seq": seq });
    body.as_object_mut().expect("an object").extend(rest.as_object().expect("one").clone());
    let (session, name) = (turn["session"].as_str(), turn["turn"].as_str());
    let path =
        format!("/v1/sessions/{}/turns/{}/output", session.expect("text"), name.expect("text"));
    let (status, answer) = post(url, &path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// One whole turn: an input, and so many events of one letter.
async fn turn(url: &str, session: &str, name: &str, events: usize) {
    input(url, session, name, name).await;
    let taken = claim(url).await;
    let mut left = events;
    for seq in 0.. {
        let count = left.min(1_000);
        left -= count;
        let events = vec![json!({ "text": "x" }); count];
        let then = if left == 0 { json!("complete") } else { Value::Null };
        let mut body = json!({ "events": events });
        if !then.is_null() {
            body["then"] = then;
        }
        emit(url, &taken, seq, body).await;
        if left == 0 {
            return;
        }
    }
}

/// A stream of events, frame by frame.
struct Stream {
    bytes: futures::stream::BoxStream<'static, Vec<u8>>,
    parser: Parser,
    frames: Vec<Frame>,
    seen: usize,
}

impl Stream {
    async fn open(url: &str, session: &str, query: &str) -> Stream {
        let request = client().get(format!("{url}/v1/sessions/{session}/events?live=sse&{query}"));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        let bytes = answer.bytes_stream();
        let bytes = bytes.take_while(|part| std::future::ready(part.is_ok()));
        let bytes = bytes.map(|part| part.expect("it was looked at").to_vec()).boxed();
        Stream { bytes, parser: Parser::default(), frames: Vec::new(), seen: 0 }
    }

    /// The id that a reader which breaks off here comes back with.
    fn last_id(&self) -> &str {
        self.seen.checked_sub(1).map_or("", |last| &self.frames[last].id)
    }

    /// The next frame with this name, its id and its data; those before it are passed over.
    async fn next(&mut self, name: &str) -> Value {
        let look = async {
            loop {
                while let Some(frame) = self.frames.get(self.seen) {
                    self.seen += 1;
                    if frame.event == name {
                        return serde_json::from_str(&frame.data).expect("JSON");
                    }
                }
                let bytes = self.bytes.next().await.expect("the stream goes on");
                self.frames.extend(self.parser.feed(&bytes).expect("frames"));
            }
        };
        timeout(PATIENCE, look).await.expect("it comes")
    }
}

/// All messages of a session in pages, from one end to the other, each as its exact text.
async fn pages(url: &str, session: &str, side: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut place) = (Vec::new(), if side == "before" { "now" } else { "start" }.into());
    loop {
        let path = format!("/v1/sessions/{session}/messages?{side}={place}&limit={limit}");
        let page = get(url, &path).await;
        let messages = page["messages"].as_array().unwrap_or_else(|| panic!("{page}")).clone();
        match side {
            "before" => all.splice(0..0, messages),
            _ => all.splice(all.len().., messages),
        };
        let next = if side == "before" { &page["older"] } else { &page["newer"] };
        let Some(next) = next.as_str() else { return all };
        place = next.to_owned();
    }
}

async fn read_events(node: &TestNode) -> u64 {
    let (_, metrics) = text_of(&node.url, "/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("outlive_history_events_total"));
    line.and_then(|line| line.split(' ').next_back()).expect("a count").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_long_session_reads_what_it_shows() {
    let node = start_single().await;
    let url = &node.url;
    create(url, "s").await;
    // Most of it is one answer.
    turn(url, "s", "first", 10).await;
    turn(url, "s", "huge", 98_000).await;
    for at in 0..20 {
        turn(url, "s", &format!("t{at}"), 100).await;
    }
    let tail = get(url, "/v1/sessions/s").await["tail"].as_u64().expect("a tail");
    assert!(100_000 < tail, "{tail}");
    let late = format!("after={}&limit=5", tail - 500);
    for path in ["limit=10", "before=now&limit=3", &late] {
        let before = read_events(&node).await;
        let page = get(url, &format!("/v1/sessions/s/messages?{path}")).await;
        assert!(!page["messages"].as_array().expect("messages").is_empty(), "{page}");
        let read = read_events(&node).await - before;
        assert!(read < 5_000, "{path} read {read} events of {tail}");
    }
    let before = read_events(&node).await;
    let page = get(url, "/v1/sessions/s/events?before=50000&limit=100").await;
    assert!(read_events(&node).await - before <= 200);
    let serials = page["events"].as_array().expect("events").iter().map(|event| &event["serial"]);
    let serials: Vec<_> = serials.map(|serial| serial.as_u64().expect("a serial")).collect();
    assert_eq!(serials, (49_900..50_000).collect::<Vec<_>>());
    // The huge one is whole, wherever it is come upon.
    let all = pages(url, "s", "before", 7).await;
    let mut texts = all.iter().map(|message| message["text"].as_str().expect("text").len());
    assert!(texts.any(|bytes| bytes == 98_000));
    assert_eq!(all, pages(url, "s", "after", 5).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_the_same_messages_with_all_that_is_in_them() {
    const TIMERS: &[&str] =
        &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];
    let cluster = Cluster::up(4, TIMERS).await;
    let urls = cluster.urls();
    create(&urls[0], "s").await;
    for at in 0..6 {
        turn(&urls[at % 4], "s", &format!("t{at}"), 3).await;
    }
    input(&urls[1], "s", "t", "go").await;
    let taken = claim(&urls[2]).await;
    let call =
        r#"{"type":"tool-input-available","toolCallId":"k","toolName":"pay","input":{"sum":1.10}}"#;
    let want = r#"{"type":"tool-approval-request","toolCallId":"k","approvalId":"ok"}"#;
    let chunk = |json: &str| json!({ "format": "ai-sdk/1", "text": json });
    let ask = json!([{
        "interaction": "ok", "kind": "approval", "deadline_ms": 600_000,
        "question": { "data": { "tool": "pay" } },
    }]);
    let body = json!({ "events": [{ "text": "Paying. " }, chunk(call), chunk(want)], "ask": ask });
    emit(&urls[2], &taken, 0, body).await;
    input(&urls[3], "s", "more", "and quickly").await;
    let home = get(&urls[0], "/v1/sessions/s/home").await;
    let replicas = home["replicas"].as_array().expect("replicas").clone();
    assert_eq!(replicas.len(), 3, "a node has none");
    let mut received = Vec::new();
    for url in &urls {
        let forward = pages(url, "s", "after", 2).await;
        assert_eq!(forward, pages(url, "s", "before", 3).await);
        for message in &forward {
            let alone = get(url, &format!("/v1/sessions/s/messages/{}", message["id"])).await;
            assert_eq!(alone["message"], *message);
        }
        received.push(forward);
        let shown = get(url, "/v1/sessions/s").await;
        let open = &shown["interactions"][0];
        assert_eq!(open["question"]["data"], json!({ "tool": "pay" }), "{shown}");
        assert_eq!((&open["kind"], open["deadline"].is_u64()), (&json!("approval"), true));
        let queued = &shown["inputs"][0];
        assert_eq!(
            (&queued["input"], &queued["content"]["text"]),
            (&json!("more"), &json!("and quickly"))
        );
    }
    assert!(received.windows(2).all(|pair| pair[0] == pair[1]), "all nodes tell the same");
    let last =
        received[0].iter().find(|message| message["questions"].is_array()).expect("a question");
    let content = last["content"].as_array().expect("parts");
    assert_eq!((&content[0]["type"], &content[0]["text"]), (&json!("text"), &json!("Paying. ")));
    assert_eq!(
        (&content[1]["type"], &content[1]["state"]),
        (&json!("tool_call"), &json!("approval-requested"))
    );
    let exact = text_of(&urls[3], &format!("/v1/sessions/s/messages/{}", last["id"])).await.1;
    assert!(exact.contains(r#""arguments":{"sum":1.10}"#), "numbers keep their digits: {exact}");
    // The answer, and what came of the call, belong to the same message.
    let body = json!({ "answer": { "data": { "approved": true } }, "participant": "ada", "device": "laptop" });
    let (status, _) = post(&urls[0], "/v1/sessions/s/interactions/ok", body).await;
    assert_eq!(status, 200);
    let output = r#"{"type":"tool-output-available","toolCallId":"k","output":{"left":2.50}}"#;
    let taken_in = get(&urls[0], "/v1/sessions/s").await["tail"].clone();
    let body = json!({ "events": [chunk(output), { "text": "Done." }], "consumed": taken_in, "then": "complete" });
    emit(&urls[2], &taken, 1, body).await;
    for url in &urls {
        let message = get(url, &format!("/v1/sessions/s/messages/{}", last["id"])).await;
        let message = &message["message"];
        let call = &message["content"][1];
        assert_eq!((&call["state"], &call["output"]["left"]), (&json!("output"), &json!(2.5)));
        assert_eq!(call["approval"]["approved"], true);
        let requested = &message["questions"][0];
        assert_eq!(
            (&requested["state"], &requested["device"]),
            (&json!("answered"), &json!("laptop"))
        );
        assert_eq!(
            (&message["end"], &message["complete"]),
            (&json!("turn.completed"), &json!(true))
        );
        let all = pages(url, "s", "after", 100).await;
        let steered = all.iter().find(|message| message["input"] == "more").expect("the input");
        assert_eq!(steered["receipt"]["state"], "consumed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_late_is_told_what_is_waited_for() {
    let node = start_single().await;
    let url = &node.url;
    create(url, "s").await;
    for at in 0..5 {
        turn(url, "s", &format!("t{at}"), 2).await;
    }
    input(url, "s", "t", "go").await;
    let taken = claim(url).await;
    let ask = json!([{ "interaction": "which", "kind": "choice", "question": { "data": { "choices": ["a", "b"] } } }]);
    emit(url, &taken, 0, json!({ "events": [{ "text": "Hm. " }], "ask": ask })).await;
    let take =
        json!({ "verb": "take", "participant": "sue", "role": "supervisor", "note": "I know her" });
    let (status, answer) = post(url, "/v1/sessions/s/control", take).await;
    assert_eq!(status, 200, "{answer}");
    input(url, "s", "q", "is anybody there?").await;
    let mut late = Stream::open(url, "s", "snapshot=3").await;
    let attached = late.next("attached").await;
    let snapshot = &attached["snapshot"];
    assert_eq!(snapshot["messages"].as_array().expect("messages").len(), 3);
    assert!(snapshot["older"].is_string() && snapshot["more"] == true, "{snapshot}");
    assert_eq!(snapshot["interactions"][0]["question"]["data"]["choices"], json!(["a", "b"]));
    assert_eq!(snapshot["control"]["note"], "I know her");
    let queued = &snapshot["inputs"][0];
    assert_eq!(
        (&queued["content"]["text"], &queued["held"]),
        (&json!("is anybody there?"), &json!(true))
    );
    // What is older joins the snapshot without a gap.
    let older = snapshot["older"].as_str().expect("a place");
    let before = get(url, &format!("/v1/sessions/s/messages?before={older}&limit=500")).await;
    let mut all = before["messages"].as_array().expect("messages").clone();
    all.extend(snapshot["messages"].as_array().expect("messages").clone());
    assert_eq!(all, pages(url, "s", "after", 500).await);
    let ping = late.next("ping").await;
    assert_eq!(ping["interactions"][0]["question"]["data"]["choices"], json!(["a", "b"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_begins_again_after_a_gap_and_after_a_reset() {
    let node = start_single().await;
    let url = &node.url;
    create(url, "s").await;
    for at in 0..4 {
        turn(url, "s", &format!("t{at}"), 2).await;
    }
    let first = get(url, "/v1/sessions/s/events?limit=1").await;
    let cursor = first["next"].as_str().expect("a cursor").to_owned();
    let tail = get(url, "/v1/sessions/s").await["tail"].as_u64().expect("a tail");
    let (status, _) = post(url, "/v1/sessions/s/trim", json!({ "before": tail - 5 })).await;
    assert_eq!(status, 200);
    let query = format!("after={cursor}&on_gap=snapshot");
    let mut reader = Stream::open(url, "s", &query).await;
    assert_eq!(reader.next("gap").await["first"], tail - 5);
    // Whoever breaks off before the snapshot comes back for it.
    let query = format!("after={}&on_gap=snapshot", reader.last_id());
    let mut reader = Stream::open(url, "s", &query).await;
    reader.next("gap").await;
    let again = reader.next("snapshot").await;
    assert_eq!(reader.last_id(), again["cursor"].as_str().expect("a cursor"));
    assert_eq!(
        (&again["tail"], &again["snapshot"]["messages"][0]["role"]),
        (&json!(tail), &json!("user"))
    );
    // Nothing that the snapshot tells comes again.
    turn(url, "s", "later", 1).await;
    let next = reader.next("message").await;
    assert_eq!((&next["serial"], &next["input"]), (&json!(tail + 1), &json!("later")));
    let mut socket = Client::open(&node, "/v1/ws").await;
    let attach = json!({ "op": "attach", "session": "s", "after": cursor, "on_gap": "snapshot", "snapshot": 2 });
    assert_eq!(socket.ask(attach).await["problem"]["code"], "bad_frame", "a snapshot is of now");
    let attach = json!({ "op": "attach", "session": "s", "after": cursor, "on_gap": "snapshot" });
    assert!(socket.ask(attach).await["ok"].is_object());
    let gap = socket.of("s", "gap").await;
    assert!(gap["data"]["first"].is_u64() && gap["cursor"].is_null(), "{gap}");
    let again = socket.of("s", "snapshot").await;
    assert!(again["data"]["snapshot"]["messages"].is_array(), "{again}");
    assert_eq!(again["cursor"], again["data"]["cursor"]);
    // Another life: a place of the old one is refused, and streams begin again.
    let old = get(url, "/v1/sessions/s/messages?limit=1").await;
    let old = old["older"].as_str().expect("a place").to_owned();
    client().delete(format!("{url}/v1/sessions/s")).send().await.expect("an answer");
    create(url, "s").await;
    input(url, "s", "anew", "hello").await;
    let query = format!("after={cursor}&on_gap=snapshot");
    let mut reader = Stream::open(url, "s", &query).await;
    reader.next("reset").await;
    let query = format!("after={}&on_gap=snapshot", reader.last_id());
    let mut reader = Stream::open(url, "s", &query).await;
    reader.next("reset").await;
    let again = reader.next("snapshot").await;
    assert_eq!(again["snapshot"]["messages"][0]["text"], "hello");
    for path in ["messages?before=", "messages?after=", "messages/", "events?before="] {
        let (status, body) = text_of(url, &format!("/v1/sessions/s/{path}{old}")).await;
        assert_eq!(status, 410, "{path} {body}");
        assert!(body.contains("cursor_gone"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_are_none_are_refused_and_ends_are_told() {
    let node = start_single().await;
    let url = &node.url;
    create(url, "s").await;
    let empty = get(url, "/v1/sessions/s/messages").await;
    assert_eq!(
        (&empty["messages"], &empty["older"], &empty["more"]),
        (&json!([]), &Value::Null, &json!(false))
    );
    turn(url, "s", "t", 2).await;
    let tail = get(url, "/v1/sessions/s").await["tail"].as_u64().expect("a tail");
    for (path, status, code) in [
        ("messages?limit=0".to_owned(), 400, "bad_query"),
        ("messages?limit=501".to_owned(), 400, "bad_query"),
        ("messages?limit=x".to_owned(), 400, "bad_query"),
        ("messages?before=x".to_owned(), 400, "bad_cursor"),
        ("messages?before=-1".to_owned(), 400, "bad_cursor"),
        ("messages?before=1&after=1".to_owned(), 400, "bad_query"),
        (format!("messages?before={}", tail + 2), 400, "cursor_out_of_range"),
        ("messages?after=99999999".to_owned(), 400, "cursor_out_of_range"),
        ("messages?visibility=some".to_owned(), 400, "bad_query"),
        ("messages/0".to_owned(), 404, "no_such_message"),
        ("messages/2".to_owned(), 404, "no_such_message"),
        ("messages/9999".to_owned(), 404, "no_such_message"),
        ("messages/now".to_owned(), 404, "no_such_message"),
        ("messages/x".to_owned(), 404, "no_such_message"),
        ("events?before=1&after=start".to_owned(), 400, "bad_query"),
        ("events?before=1&live=sse".to_owned(), 400, "bad_query"),
        ("events?before=99999".to_owned(), 400, "cursor_out_of_range"),
        ("events?live=sse&snapshot=501".to_owned(), 400, "bad_query"),
        ("events?live=sse&on_gap=x".to_owned(), 400, "bad_query"),
    ] {
        let (got, body) = text_of(url, &format!("/v1/sessions/s/{path}")).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(&format!("\"{code}\"")), "{path}: {body}");
    }
    let nothing = get(url, "/v1/sessions/s/events?before=1").await;
    assert_eq!((&nothing["events"], &nothing["older"]), (&json!([]), &Value::Null));
    let last = get(url, "/v1/sessions/s/events?before=now&limit=1").await;
    assert_eq!((&last["events"][0]["serial"], &last["up_to_date"]), (&json!(tail), &json!(true)));
    let older = last["older"].as_str().expect("a place");
    let rest = get(url, &format!("/v1/sessions/s/events?before={older}")).await;
    assert_eq!(rest["events"].as_array().expect("events").len() as u64, tail - 1);
    let after = get(url, &format!("/v1/sessions/s/events?after={}", tail - 1)).await;
    assert_eq!(after["events"][0]["serial"], tail);
    // What was trimmed is told, and what is left keeps its id.
    let whole = get(url, "/v1/sessions/s/messages").await["messages"].clone();
    let (status, _) = post(url, "/v1/sessions/s/trim", json!({ "before": 4 })).await;
    assert_eq!(status, 200);
    let left = get(url, "/v1/sessions/s/messages").await;
    assert_eq!(left["messages"].as_array().expect("messages").len(), 1, "{left}");
    assert_eq!((&left["older"], &left["gap"]["first"]), (&Value::Null, &json!(4)), "{left}");
    let (kept, was) = (&left["messages"][0], &whole[1]);
    assert_eq!(
        (&kept["id"], &kept["trimmed"], &kept["text"]),
        (&was["id"], &json!(true), &json!("x"))
    );
    let alone = get(url, &format!("/v1/sessions/s/messages/{}", was["id"])).await;
    assert_eq!(alone["message"], *kept);
    let page = get(url, "/v1/sessions/s/messages?after=start").await;
    assert_eq!((&page["gap"]["first"], &page["messages"]), (&json!(4), &left["messages"]));
}
