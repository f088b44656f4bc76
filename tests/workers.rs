//! Workers over real sockets: on a WebSocket, by HTTP, and the examples of the documentation as processes.

use futures::SinkExt;
use harness::node::{TestNode, start_single};
use harness::socket::{Client, PATIENCE, create, post};
use outlive::limits;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// Waits until the log of a session says so.
async fn story(node: &TestNode, session: &str, is_shown: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), "start".to_owned());
    loop {
        let url = format!("{}/v1/sessions/{session}/events", node.url);
        let url = format!("{url}?live=long-poll&wait_ms=1000&after={after}");
        let page = reqwest::get(url).await.expect("an answer").json::<Value>();
        let page = page.await.expect("JSON");
        after = page["next"].as_str().expect("a cursor").to_owned();
        events.extend(page["events"].as_array().expect("a page").iter().cloned());
        if is_shown(&events) {
            return events;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let receipts = ["input.delivered", "input.consumed", "input.deferred", "input.dropped"];
    let kinds = events.iter().filter_map(|event| event["type"].as_str());
    kinds.filter(|kind| !receipts.contains(kind)).collect()
}

fn emitted(events: &[Value]) -> String {
    let output = events.iter().filter(|event| event["type"] == "turn.output");
    output.filter_map(|event| event["text"].as_str()).collect()
}

fn text_of_turn(events: &[Value], turn: &str) -> String {
    emitted(&events.iter().filter(|event| event["turn"] == turn).cloned().collect::<Vec<_>>())
}

async fn input(node: &TestNode, agent: &str, input: &str, text: &str) {
    let body = json!({ "id": input, "agent": agent, "content": { "text": text } });
    let (status, answer) = post(node, "/v1/sessions/s/inputs", &body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_worker_speaks_is_steered_and_cancelled_on_its_connection() {
    let node = start_single().await;
    create(&node, "s").await;
    let mut worker = Client::work(&node, "w").await;
    input(&node, "poet", "t", "a poem").await;
    let turn = worker.typed("turn").await;
    assert_eq!((&turn["turn"], &turn["events"][0]["text"]), (&json!("t"), &json!("a poem")));
    for seq in 0..20 {
        worker.emit(&turn, seq, "rose ").await;
    }
    for seq in 0..20 {
        assert_eq!(worker.typed("ack").await["seq"], seq);
    }
    input(&node, "poet", "shorter", "shorter!").await;
    let steer = worker.typed("signal").await;
    assert_eq!((&steer["what"], &steer["event"]["text"]), (&json!("steer"), &json!("shorter!")));
    worker.emit(&turn, 25, "a gap").await;
    let refused = worker.typed("refused").await;
    assert_eq!((&refused["seq"], &refused["code"]), (&json!(25), &json!("sequence_gap")));

    let cancel = json!({ "turn": "t", "reason": "stop" });
    assert_eq!(post(&node, "/v1/sessions/s/cancel", &cancel).await.1["cancelled"], 1);
    let received = worker.typed("signal").await;
    assert_eq!((&received["what"], &received["turn"]), (&json!("cancel"), &json!("t")));
    worker.emit(&turn, 20, "too late").await;
    assert_eq!(worker.typed("refused").await["code"], "turn_ended");
    // It has room for one turn, and the next one comes when it says that it has stopped.
    input(&node, "poet", "u", "another").await;
    worker.about(&turn, json!({ "type": "done" })).await;
    let (left, turn) = (turn, worker.typed("turn").await);
    assert_eq!(turn["turn"], "u");
    worker.about(&left, json!({ "type": "heartbeat" })).await;
    let refused = worker.typed("refused").await;
    assert_eq!((&refused["seq"], &refused["code"]), (&Value::Null, &json!("turn_ended")));
    let end =
        json!({ "type": "output", "seq": 0, "events": [{ "text": "fin" }], "then": "complete" });
    worker.about(&turn, end).await;
    assert_eq!(worker.typed("ack").await["over"], true);
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    assert_eq!(emitted(&events), "rose ".repeat(20) + "fin");
    worker.send(&json!({ "type": "drain" })).await;
    assert_eq!(worker.end().await, "1000 done");
}

#[tokio::test]
async fn a_worker_that_leaves_is_replaced_at_once_and_what_it_said_is_kept() {
    let node = start_single().await;
    create(&node, "s").await;
    input(&node, "poet", "t", "a story").await;
    let mut first = Client::work(&node, "first").await;
    let turn = first.typed("turn").await;
    first.emit(&turn, 0, "Once ").await;
    first.typed("ack").await;
    // Nobody says goodbye: the connection is just gone.
    drop(first);
    let mut second = Client::work(&node, "second").await;
    let turn = second.typed("turn").await;
    assert_eq!((&turn["turn"], &turn["attempt"]), (&json!("t"), &json!(2)));
    assert_eq!(emitted(turn["events"].as_array().expect("events")), "Once ");
    let end =
        json!({ "type": "output", "seq": 0, "events": [{ "text": "more." }], "then": "complete" });
    second.about(&turn, end).await;
    second.typed("ack").await;
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    let lost = events.iter().find(|event| event["type"] == "agent.lost").expect("it was lost");
    assert_eq!(lost["cause"], "disconnected");
    assert_eq!(emitted(&events), "Once more.");
}

#[tokio::test]
async fn a_worker_that_gives_no_sign_of_life_is_closed_and_replaced() {
    let node = start_single().await;
    create(&node, "s").await;
    input(&node, "poet", "t", "a story").await;
    let mut first = Client::open(&node, "/v1/agents/ws").await;
    let register =
        json!({ "type": "register", "agent": "poet", "worker": "first", "lease_ms": 1000 });
    first.send(&register).await;
    first.typed("turn").await;
    // It reads what it is told, and answers nothing.
    assert_eq!(first.end().await, "4009 silent");
    let mut second = Client::work(&node, "second").await;
    assert_eq!(second.typed("turn").await["attempt"], 2);
}

#[tokio::test]
async fn a_worker_that_does_not_stop_when_it_is_cancelled_is_closed() {
    let node = start_single().await;
    create(&node, "s").await;
    input(&node, "poet", "t", "a story").await;
    let mut worker = Client::work(&node, "w").await;
    worker.typed("turn").await;
    let cancel = json!({ "turn": "t", "reason": "stop" });
    assert_eq!(post(&node, "/v1/sessions/s/cancel", &cancel).await.1["cancelled"], 1);
    assert_eq!(worker.live(|_| false).await, Err("4010 not stopped".to_owned()));
}

#[tokio::test]
async fn a_worker_that_lives_and_gets_nowhere_is_told_loses_its_step_and_is_replaced() {
    let node = start_single().await;
    create(&node, "s").await;
    let body = json!({ "id": "t", "agent": "poet", "content": { "text": "go" }, "progress_timeout_ms": 6_000 });
    assert_eq!(post(&node, "/v1/sessions/s/inputs", &body).await.0, 200);
    let mut first = Client::work(&node, "first").await;
    let turn = first.typed("turn").await;
    let step = json!({ "type": "output", "seq": 0, "step": "search", "events": [{ "text": "x" }] });
    first.about(&turn, step).await;
    first.typed("ack").await;
    first.live(|received| received["what"] == "fenced").await.expect("the connection stays");
    let received = first.received.iter().filter(|frame| frame["type"] == "signal");
    let received: Vec<_> = received.map(|frame| frame["what"].as_str().expect("a name")).collect();
    assert_eq!(received, ["stalled", "cancel_step"]);
    let mut second = Client::work(&node, "second").await;
    let turn = second.typed("turn").await;
    second.emit(&turn, 0, "y").await;
    second.typed("ack").await;
}

#[tokio::test]
async fn a_worker_that_is_not_understood_is_told_so_and_keeps_its_turn() {
    let node = start_single().await;
    create(&node, "s").await;
    let mut worker = Client::open(&node, "/v1/agents/ws").await;
    for frame in [
        Message::text("hello"),
        Message::text(r#"{"type":"pong"}"#),
        Message::text(r#"{"type":"register","worker":"w"}"#),
        Message::binary(b"{}".to_vec()),
    ] {
        worker.socket.send(frame).await.expect("it is taken");
        worker.typed("refused").await;
    }
    worker.send(&json!({ "type": "register", "agent": "poet", "worker": "w" })).await;
    worker.typed("registered").await;
    input(&node, "poet", "t", "a poem").await;
    let turn = worker.typed("turn").await;
    worker.send(&json!({ "type": "register", "agent": "poet", "worker": "w" })).await;
    assert_eq!(worker.typed("refused").await["code"], "bad_frame");
    worker.about(&turn, json!({ "type": "output", "seq": 0, "evnts": [] })).await;
    let refused = worker.typed("refused").await;
    assert_eq!((&refused["seq"], &refused["code"]), (&json!(0), &json!("bad_json")));
    worker.emit(&turn, 0, "all is well").await;
    assert_eq!(worker.typed("ack").await["seq"], 0);
    let large = format!("\"{}\"", "x".repeat(limits::WORKER_FRAME_BYTES));
    worker.socket.send(Message::text(large)).await.expect("it is taken");
    assert_eq!(worker.end().await, "1009 the frame is too large");
    let refused = worker.typed("refused").await;
    assert_eq!(refused["code"], "frame_too_large");
}

/// Takes a turn by HTTP.
async fn claim(node: &TestNode) -> Value {
    loop {
        let body = json!({ "worker": "w", "wait_ms": 10_000 });
        let (status, turn) = post(node, "/v1/agents/poet/claim", &body).await;
        if status == 200 {
            return turn;
        }
    }
}

/// Speaks in a turn by one request, and returns the lines of the answer.
async fn output(node: &TestNode, turn: &Value, lines: &[Value]) -> Vec<Value> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("/v1/sessions/s/turns/t/output?epoch={}", turn["epoch"]);
    let request = reqwest::Client::new().post(format!("{}{path}", node.url)).body(body);
    let answer = request.header("content-type", "application/x-ndjson").send().await;
    let answer = answer.expect("an answer").text().await.expect("a text");
    let lines = answer.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn line(seq: u64, text: &str) -> Value {
    json!({ "seq": seq, "events": [{ "text": text }] })
}

#[tokio::test]
async fn output_without_an_end_is_acknowledged_line_by_line_and_repeated_without_harm() {
    let node = start_single().await;
    create(&node, "s").await;
    input(&node, "poet", "t", "a poem").await;
    let turn = claim(&node).await;
    let answer = output(&node, &turn, &[line(0, "a"), line(1, "b"), json!({}), line(2, "c")]).await;
    let seqs: Vec<_> = answer.iter().map(|line| &line["seq"]).collect();
    assert_eq!(seqs, [&json!(0), &json!(1), &Value::Null, &json!(2), &Value::Null]);
    assert_eq!(answer[4], json!({ "end": true }));
    // The connection broke, as far as the worker knows: it begins again where it is not sure.
    let answer = output(&node, &turn, &[line(1, "b"), line(2, "c"), line(3, "d")]).await;
    let repeated: Vec<_> = answer.iter().map(|line| &line["duplicate"]).collect();
    assert_eq!(repeated[..3], [&json!(true), &json!(true), &json!(false)]);
    let answer = output(&node, &turn, &[line(5, "gap"), line(6, "behind")]).await;
    assert_eq!((answer.len(), &answer[0]["error"]["code"]), (1, &json!("sequence_gap")));
    let answer = output(&node, &turn, &[json!({ "epoch": 0, "seq": 4 })]).await;
    assert_eq!(answer[0]["error"]["code"], "bad_json");
    let end = json!({ "seq": 4, "then": "complete" });
    let answer = output(&node, &turn, &[end, line(5, "late")]).await;
    assert_eq!(
        (&answer[0]["over"], &answer[1]["error"]["code"]),
        (&json!(true), &json!("turn_ended"))
    );
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    assert_eq!(emitted(&events), "abcd");
}

#[tokio::test]
async fn a_worker_by_http_is_told_what_concerns_its_turn() {
    let node = start_single().await;
    create(&node, "s").await;
    input(&node, "poet", "t", "a poem").await;
    let turn = claim(&node).await;
    let (epoch, cursor) = (&turn["epoch"], turn["cursor"].as_str().expect("a cursor"));
    let path = format!("{}/v1/sessions/s/turns/t/signals?epoch={epoch}", node.url);
    let received = async |rest: String| {
        let answer = reqwest::get(format!("{path}&{rest}")).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    let poll = async |after: &str| {
        let (status, text) = received(format!("after={after}&wait_ms=30000")).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    for rest in ["after=x", "live=sse", "after=start", "live=web"] {
        assert_eq!(received(rest.into()).await.0, 400, "{rest}");
    }
    let (answer, ()) = tokio::join!(poll(cursor), input(&node, "poet", "i", "shorter"));
    assert_eq!((&answer["signals"][0]["what"], &answer["over"]), (&json!("steer"), &json!(false)));
    assert_eq!(answer["signals"][0]["event"]["text"], "shorter");
    let next = answer["next"].as_str().expect("a cursor").to_owned();
    let cancel = json!({ "all": true });
    let (answer, _) = tokio::join!(poll(&next), post(&node, "/v1/sessions/s/cancel", &cancel));
    assert_eq!((&answer["signals"][0]["what"], &answer["over"]), (&json!("cancel"), &json!(true)));
    // The same as a stream, which ends because nothing follows.
    let (_, stream) = received(format!("live=sse&after={cursor}")).await;
    let whats: Vec<_> = stream.lines().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(whats.len(), 3, "{stream}");
    assert!(whats[0].contains("\"what\":\"steer\"") && whats[1].contains("\"what\":\"cancel\""));
    assert!(stream.contains("event: over\n"));
    // Who has not the turn, or never had it, learns that too, wherever it looks from.
    let tail = answer["next"].as_str().expect("a cursor").to_owned();
    let answer = poll(&tail).await;
    assert_eq!((&answer["signals"][0]["what"], &answer["over"]), (&json!("fenced"), &json!(true)));
    for turn in ["t/signals?epoch=99", "zz/signals?epoch=1"] {
        let path = format!("{}/v1/sessions/s/turns/{turn}&wait_ms=0&after={tail}", node.url);
        let answer = reqwest::get(path).await.expect("an answer").text().await.expect("a text");
        assert!(
            answer.contains("\"what\":\"fenced\"") && answer.contains("\"over\":true"),
            "{answer}"
        );
    }
    let (status, refused) = received("after=0000000001_00000000000000009999".into()).await;
    assert!(status == 400 && refused.contains("cursor_out_of_range"), "{status} {refused}");
}

/// Runs a worker until the test is over.
fn run(program: &str, arguments: &[&str]) -> Option<tokio::process::Child> {
    let runs = std::process::Command::new(program).arg("--version").output();
    if !runs.is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED: {program} is not here");
        return None;
    }
    let mut command = tokio::process::Command::new(program);
    Some(command.args(arguments).kill_on_drop(true).spawn().expect("it runs"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_of_the_readme_needs_nothing_but_curl() {
    let Some(_) = run("curl", &["--version"]) else { return };
    let readme = include_str!("../README.md");
    let (_, script) = readme.split_once("```bash\n").expect("the README has a worker");
    let (script, _) = script.split_once("```").expect("it ends");
    assert!(script.lines().count() <= 25);
    let node = start_single().await;
    create(&node, "s").await;
    let Some(_worker) = run("bash", &["-c", script, "worker", &node.url]) else { return };
    let odd = r#"say "hi" \ back, * and /etc/ho*"#;
    for (turn, text) in [("t", "one two three"), ("u", "four"), ("v", odd)] {
        input(&node, "echo", turn, text).await;
        let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
        assert_eq!(text_of_turn(&events, turn), format!("{text} "));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_python_is_steered_and_stops_when_it_is_cancelled() {
    let node = start_single().await;
    create(&node, "s").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/agent.py");
    let Some(_worker) = run("python3", &[script, &node.url]) else { return };
    let long = "word ".repeat(10_000);
    input(&node, "echo", "t", &long).await;
    story(&node, "s", |all| emitted(all).contains("word")).await;
    // It would say its words for many minutes if it had not heard.
    input(&node, "echo", "steer", "STEERED").await;
    story(&node, "s", |all| text_of_turn(all, "t").ends_with("STEERED ")).await;
    story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    input(&node, "echo", "u", &long).await;
    story(&node, "s", |all| text_of_turn(all, "u").contains("word")).await;
    post(&node, "/v1/sessions/s/cancel", &json!({ "all": true })).await;
    input(&node, "echo", "v", "and now this").await;
    story(&node, "s", |all| text_of_turn(all, "v") == "and now this ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_python_gives_its_turn_away_when_it_is_asked_to_end() {
    let node = start_single().await;
    create(&node, "s").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/agent.py");
    let Some(mut first) = run("python3", &[script, &node.url]) else { return };
    let words: String = (0..60).map(|word| format!("{word} ")).collect();
    input(&node, "echo", "t", &words).await;
    story(&node, "s", |all| emitted(all).contains("3 ")).await;
    let pid = first.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, Signal::TERM).expect("it runs");
    let end = timeout(PATIENCE, first.wait()).await.expect("it ends in time").expect("it ends");
    assert!(end.success(), "{end}");
    assert!(emitted(&story(&node, "s", |_| true).await).len() < words.len());
    let Some(_second) = run("python3", &[script, &node.url]) else { return };
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    assert_eq!(emitted(&events), words);
    let lost = events.iter().find(|event| event["type"] == "agent.lost").expect("it gave it up");
    assert_eq!(lost["cause"], "released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_agents_that_work_for_one_goes_on_where_it_was_killed() {
    let node = start_single().await;
    create(&node, "s").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/team.py");
    let Some(mut first) = run("python3", &[script, &node.url]) else { return };
    input(&node, "editor", "t", "one\ntwo\nthree\nfour").await;
    let ended = |all: &[Value]| all.iter().any(|event| event["type"] == "turn.completed");
    story(&node, "s", ended).await;
    first.kill().await.expect("it runs");
    let is_whole = |all: &[Value]| {
        let end = all.last().expect("an event");
        end["type"] == "turn.completed" && end["turn"] == "t"
    };
    assert!(!is_whole(&story(&node, "s", |_| true).await), "it was killed in the middle");
    let Some(_second) = run("python3", &[script, &node.url]) else { return };
    let events = story(&node, "s", is_whole).await;
    assert_eq!(text_of_turn(&events, "t"), "ONE\nTWO\nTHREE\nFOUR");
    for part in 0..4 {
        let name = format!("t-{part}");
        let mut of = events.iter().filter(|event| event["turn"] == name.as_str());
        let begun = of.clone().filter(|event| event["type"] == "input.accepted").count();
        assert_eq!(
            (begun, of.next_back().expect("its end")["type"].as_str()),
            (1, Some("turn.completed"))
        );
    }
}
