//! WebSockets over real sockets: one node, sessions and verbs multiplexed on a connection, clients that misbehave.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use outlive::limits;
use serde_json::{Value, json};
use support::node::{TestNode, start_single};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that checks nothing and keeps what it was told until it is asked for.
struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Told, and not looked for yet.
    told: Vec<Value>,
    next: u64,
}

impl Client {
    async fn open(node: &TestNode, path: &str) -> Client {
        let address = node.url.strip_prefix("http://").expect("a url");
        let stream = TcpStream::connect(address).await.expect("the node listens");
        let (socket, _) =
            client_async(format!("ws://{address}{path}"), stream).await.expect("a WebSocket");
        Client { socket, told: Vec::new(), next: 0 }
    }

    async fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("it is taken");
    }

    /// The next frame; what closes the connection is an error.
    async fn frame(&mut self) -> Result<Value, String> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err(format!("{} {}", u16::from(close.code), close.reason));
                }
                Some(Ok(Message::Close(None))) | None => return Err("no reason".into()),
                Some(Ok(_)) => {}
                Some(Err(why)) => return Err(why.to_string()),
            }
        }
    }

    /// The next frame that is meant; others wait.
    async fn find(&mut self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.told.iter().position(&is_meant) {
            return self.told.remove(place);
        }
        loop {
            let frame = self.frame().await.unwrap_or_else(|why| panic!("{what}: {why}"));
            if is_meant(&frame) {
                return frame;
            }
            self.told.push(frame);
        }
    }

    /// Asks, and returns the whole answer.
    async fn ask(&mut self, mut request: Value) -> Value {
        self.next += 1;
        request["id"] = self.next.into();
        let re = request["id"].clone();
        self.send(&request).await;
        self.find(&format!("an answer to {request}"), |frame| frame["re"] == re).await
    }

    async fn attach(&mut self, session: &str, rest: Value) {
        let mut request = json!({ "op": "attach", "session": session });
        request.as_object_mut().expect("an object").extend(rest.as_object().expect("one").clone());
        let answer = self.ask(request).await;
        assert!(answer["ok"].is_object(), "{answer}");
        self.of(session, "attached").await;
    }

    async fn of(&mut self, session: &str, kind: &str) -> Value {
        let is_meant = |frame: &Value| frame["session"] == session && frame["type"] == kind;
        self.find(&format!("{kind} of {session}"), is_meant).await
    }

    /// Texts of the next events of a session.
    async fn texts(&mut self, session: &str, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            let event = self.of(session, "event").await;
            texts.push(event["data"]["text"].as_str().expect("a text").to_owned());
        }
        texts
    }

    /// How the connection ends.
    async fn end(&mut self) -> String {
        loop {
            match self.frame().await {
                Ok(frame) => self.told.push(frame),
                Err(why) => return why,
            }
        }
    }
}

async fn post(node: &TestNode, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}{path}", node.url)).json(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn create(node: &TestNode, session: &str) {
    let request = reqwest::Client::new().put(format!("{}/v1/sessions/{session}", node.url));
    assert!(request.send().await.expect("an answer").status().is_success());
}

async fn append(node: &TestNode, session: &str, texts: &[String]) {
    let events: Vec<_> = texts.iter().map(|text| json!({ "text": text })).collect();
    let body = json!({ "events": events });
    let (status, answer) = post(node, &format!("/v1/sessions/{session}/events"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_reader_goes_on_by_cursor_on_another_connection_without_gap_or_duplicate() {
    let node = start_single().await;
    create(&node, "s").await;
    let mut got = Vec::new();
    let mut after = "start".to_owned();
    for round in 0..5 {
        append(&node, "s", &numbers(round * 7..round * 7 + 7)).await;
        let mut client = Client::open(&node, "/v1/ws").await;
        client.attach("s", json!({ "after": after })).await;
        // It leaves in the middle of what is there.
        for _ in 0..5 {
            let event = client.of("s", "event").await;
            after = event["cursor"].as_str().expect("a cursor").to_owned();
            got.push(event["data"]["text"].as_str().expect("a text").to_owned());
        }
    }
    let mut client = Client::open(&node, "/v1/ws").await;
    client.attach("s", json!({ "after": after })).await;
    got.extend(client.texts("s", 10).await);
    assert_eq!(got, numbers(0..35));
    client.of("s", "caught-up").await;
    append(&node, "s", &["live".into()]).await;
    assert_eq!(client.texts("s", 1).await, ["live"]);
}

#[tokio::test]
async fn sessions_share_a_connection_and_each_ends_for_itself() {
    let node = start_single().await;
    let mut client = Client::open(&node, "/v1/ws").await;
    for session in ["a", "b"] {
        let answer = client.ask(json!({ "op": "create", "session": session })).await;
        assert_eq!(answer["ok"]["created"], true);
        client.attach(session, json!({})).await;
    }
    let again = client.ask(json!({ "op": "attach", "session": "a" })).await;
    assert_eq!(again["problem"]["code"], "already_attached");
    append(&node, "a", &numbers(0..3)).await;
    append(&node, "b", &numbers(10..13)).await;
    assert_eq!(client.texts("b", 3).await, numbers(10..13));
    assert_eq!(client.texts("a", 3).await, numbers(0..3));

    // The end of one is no end of the other.
    let close = json!({ "op": "append", "session": "a", "body": { "close": true } });
    assert_eq!(client.ask(close).await["ok"]["closed"], true);
    client.of("a", "end").await;
    assert_eq!(
        client.ask(json!({ "op": "detach", "session": "a" })).await["problem"]["code"],
        "not_attached"
    );
    append(&node, "b", &numbers(13..14)).await;
    assert_eq!(client.texts("b", 1).await, numbers(13..14));

    assert!(client.ask(json!({ "op": "detach", "session": "b" })).await["ok"].is_object());
    append(&node, "b", &numbers(14..15)).await;
    client.attach("b", json!({ "after": "start" })).await;
    assert_eq!(client.texts("b", 5).await, numbers(10..15));
    let url = format!("{}/v1/sessions/b", node.url);
    assert!(
        reqwest::Client::new().delete(url).send().await.expect("an answer").status().is_success()
    );
    client.of("b", "gone").await;
    let ping = json!({ "op": "attach", "session": "b" });
    assert_eq!(client.ask(ping).await["problem"]["code"], "not_found");
}

#[tokio::test]
async fn no_more_events_come_than_there_is_credit_and_what_is_no_event_costs_none() {
    let node = start_single().await;
    create(&node, "s").await;
    append(&node, "s", &numbers(0..50)).await;
    let mut client = Client::open(&node, "/v1/ws").await;
    client.attach("s", json!({ "credit": 3 })).await;
    assert_eq!(client.texts("s", 3).await, numbers(0..3));
    // The ping is said behind everything that there was credit for.
    let ping = client.of("s", "ping").await;
    assert_eq!(ping["data"]["tail"], 50);
    assert!(client.told.iter().all(|frame| frame["type"] != "event"), "{:?}", client.told);
    let most = limits::SOCKET_CREDIT_MAX;
    let more = client.ask(json!({ "op": "credit", "session": "s", "events": 5 })).await;
    assert!(more["ok"].is_object(), "{more}");
    assert_eq!(client.texts("s", 5).await, numbers(3..8));
    let over = json!({ "op": "credit", "session": "s", "events": most + 1 });
    assert_eq!(client.ask(over).await["problem"]["code"], "bad_frame");
    client.send(&json!({ "op": "credit", "session": "s", "events": 42 })).await;
    assert_eq!(client.texts("s", 42).await, numbers(8..50));
    client.of("s", "caught-up").await;
}

#[tokio::test]
async fn a_verb_answers_on_a_connection_as_it_does_by_http() {
    let node = start_single().await;
    let mut client = Client::open(&node, "/v1/ws").await;
    for session in ["ws", "http"] {
        create(&node, session).await;
    }
    let said = json!({ "text": "a poem" });
    for (op, path, body) in [
        ("append", "events", json!({ "events": [{ "text": "x" }], "expect_serial": 0 })),
        ("append", "events", json!({ "events": [{ "text": "x" }], "expect_serial": 0 })),
        ("append", "events", json!({})),
        ("append", "events", json!({ "evnts": [] })),
        ("input", "inputs", json!({ "input": "i", "agent": "poet", "said": said })),
        ("input", "inputs", json!({ "input": "i", "agent": "poet", "said": said })),
        (
            "input",
            "inputs",
            json!({ "input": "j", "agent": "poet", "said": said, "when_busy": "reject" }),
        ),
        ("input", "inputs", json!({ "input": "j" })),
        ("cancel", "cancel", json!({ "turn": "i", "reason": "enough", "participant": "ada" })),
        ("cancel", "cancel", json!({})),
        ("control", "control", json!({ "verb": "request", "participant": "ada" })),
        ("control", "control", json!({ "verb": "dance" })),
        ("pause", "pause", json!({ "all": true })),
        ("resume", "resume", json!({ "all": true })),
        (
            "answer",
            "interactions/x",
            json!({ "interaction": "x", "answer": { "text": "yes" }, "participant": "ada" }),
        ),
    ] {
        let request = json!({ "op": op, "session": "ws", "body": body });
        let answer = client.ask(request).await;
        let (status, wanted) = post(&node, &format!("/v1/sessions/http/{path}"), &body).await;
        let got = if status == 200 { &answer["ok"] } else { &answer["problem"] };
        assert_eq!(got, &wanted, "{op} {body}");
    }
    let key = json!({ "id": "p", "epoch": 0, "seq": 0 });
    for duplicate in [false, true] {
        let body = json!({ "events": [{ "text": "once" }] });
        let request = json!({ "op": "append", "session": "ws", "body": body, "producer": key });
        assert_eq!(client.ask(request).await["ok"]["duplicate"], duplicate);
    }
    let create = json!({ "op": "create", "session": "ws", "body": { "ttl_ms": 1000 } });
    assert_eq!(client.ask(create).await["problem"]["code"], "config_differs");
}

#[tokio::test]
async fn a_device_attaches_as_somebody_and_begins_with_what_there_is() {
    let node = start_single().await;
    create(&node, "s").await;
    append(&node, "s", &numbers(0..3)).await;
    let mut client = Client::open(&node, "/v1/ws").await;
    let who = json!({ "participant": "ada", "device": "phone", "snapshot": true, "credit": 0 });
    let mut request = json!({ "op": "attach", "session": "s" });
    request.as_object_mut().expect("an object").extend(who.as_object().expect("one").clone());
    assert!(client.ask(request).await["ok"].is_object());
    let attached = client.of("s", "attached").await;
    assert!(attached["data"]["snapshot"].is_object(), "{attached}");
    // It began behind the tail, and is told the rest though it has no credit.
    append(&node, "s", &numbers(3..4)).await;
    let presence = client.of("s", "presence").await;
    assert!(presence["data"].to_string().contains("phone"), "{presence}");
    let ping = client.of("s", "ping").await;
    assert!(ping["data"]["health"].is_array() && ping["data"]["tail"] == 4, "{ping}");
    client.send(&json!({ "op": "credit", "session": "s", "events": 1 })).await;
    assert_eq!(client.texts("s", 1).await, numbers(3..4));
    for bad in [json!({ "snapshot": true, "after": "start" }), json!({ "device": "phone" })] {
        let mut request = json!({ "op": "attach", "session": "other" });
        request.as_object_mut().expect("an object").extend(bad.as_object().expect("one").clone());
        assert_eq!(client.ask(request).await["problem"]["code"], "bad_frame");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_loses_nothing() {
    let node = start_single().await;
    create(&node, "s").await;
    let mut client = Client::open(&node, "/v1/ws").await;
    client.attach("s", json!({})).await;
    for (frame, code) in [
        (Message::text("no JSON"), "bad_frame"),
        (Message::text("{}"), "bad_frame"),
        (Message::text(r#"{"op":"fly","session":"s"}"#), "bad_frame"),
        (Message::text(r#"{"op":"attach","session":"..","x":1}"#), "bad_session_id"),
        (Message::binary(b"{}".to_vec()), "bad_frame"),
    ] {
        client.socket.send(frame).await.expect("it is taken");
        let answer = client.find("a problem", |frame| !frame["problem"].is_null()).await;
        assert_eq!((&answer["re"], &answer["problem"]["code"]), (&Value::Null, &json!(code)));
    }
    for name in 1..limits::SOCKET_SESSIONS {
        let session = format!("s{name}");
        client.ask(json!({ "op": "create", "session": session })).await;
        client.attach(&session, json!({})).await;
    }
    create(&node, "more").await;
    let more = client.ask(json!({ "op": "attach", "session": "more" })).await;
    assert_eq!(more["problem"]["code"], "too_many_sessions");
    append(&node, "s", &["still here".into()]).await;
    assert_eq!(client.texts("s", 1).await, ["still here"]);

    // Where the next frame begins is not known any more.
    let large = format!("\"{}\"", "x".repeat(limits::SOCKET_FRAME_BYTES));
    client.socket.send(Message::text(large)).await.expect("it is taken");
    assert_eq!(client.end().await, "1009 the frame is too large");
    let problem = client.find("a problem", |frame| !frame["problem"].is_null()).await;
    assert_eq!(problem["problem"]["code"], "frame_too_large");
}

#[tokio::test]
async fn a_handshake_that_is_none_is_answered_with_its_problem() {
    let node = start_single().await;
    let url = format!("{}/v1/ws", node.url);
    let plain = reqwest::Client::new().get(&url).send().await.expect("an answer");
    assert_eq!(plain.status().as_u16(), 426);
    assert_eq!(plain.headers()["sec-websocket-version"], "13");
    assert_eq!(plain.json::<Value>().await.expect("JSON")["code"], "upgrade_required");
    let address = node.url.strip_prefix("http://").expect("a url");
    for (name, value, query, status) in [
        ("sec-websocket-version", "12", "", 426),
        ("sec-websocket-key", "short", "", 400),
        ("upgrade", "h2c", "", 426),
        ("x-any", "1", "?after=start", 400),
    ] {
        let mut request =
            format!("ws://{address}/v1/ws{query}").into_client_request().expect("one");
        request.headers_mut().insert(name, value.parse().expect("a value"));
        let stream = TcpStream::connect(address).await.expect("the node listens");
        match client_async(request, stream).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), status, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_node_that_stops_says_so_and_ends_nothing() {
    let node = start_single().await;
    create(&node, "s").await;
    let mut client = Client::open(&node, "/v1/ws").await;
    client.attach("s", json!({})).await;
    let (end, ()) = tokio::join!(client.end(), node.node.stop());
    assert_eq!(end, "1001 this node stops; go on at another");
    let kinds: BTreeSet<_> =
        client.told.iter().filter_map(|frame| frame["type"].as_str()).collect();
    assert!(kinds.contains("detached") && !kinds.contains("end"), "{kinds:?}");
}

/// Waits until the log of a session says so.
async fn story(node: &TestNode, session: &str, is_told: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), "start".to_owned());
    loop {
        let url = format!("{}/v1/sessions/{session}/events", node.url);
        let url = format!("{url}?live=long-poll&wait_ms=1000&after={after}");
        let page = reqwest::get(url).await.expect("an answer").json::<Value>();
        let page = page.await.expect("JSON");
        after = page["next"].as_str().expect("a cursor").to_owned();
        events.extend(page["events"].as_array().expect("a page").iter().cloned());
        if is_told(&events) {
            return events;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let receipts = ["input.delivered", "input.consumed", "input.deferred", "input.dropped"];
    let kinds = events.iter().filter_map(|event| event["type"].as_str());
    kinds.filter(|kind| !receipts.contains(kind)).collect()
}

fn said(events: &[Value]) -> String {
    let output = events.iter().filter(|event| event["type"] == "turn.output");
    output.filter_map(|event| event["text"].as_str()).collect()
}

fn said_in(events: &[Value], turn: &str) -> String {
    said(&events.iter().filter(|event| event["turn"] == turn).cloned().collect::<Vec<_>>())
}

async fn input(node: &TestNode, agent: &str, input: &str, text: &str) {
    let body = json!({ "input": input, "agent": agent, "said": { "text": text } });
    let (status, answer) = post(node, "/v1/sessions/s/inputs", &body).await;
    assert_eq!(status, 200, "{answer}");
}

impl Client {
    /// A worker that waits for turns.
    async fn work(node: &TestNode, worker: &str) -> Client {
        let mut client = Client::open(node, "/v1/agents/ws").await;
        let register = json!({ "type": "register", "agent": "poet", "worker": worker });
        client.send(&register).await;
        assert_eq!(client.typed("registered").await["node"], 1);
        client
    }

    async fn typed(&mut self, kind: &str) -> Value {
        self.find(kind, |frame| frame["type"] == kind).await
    }

    /// Gives signs of life until a frame that is meant comes; what closes the connection is an error.
    async fn live(&mut self, is_meant: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            let frame = self.frame().await?;
            if is_meant(&frame) {
                return Ok(frame);
            }
            if frame["type"] == "ping" {
                self.send(&json!({ "type": "pong" })).await;
            } else {
                self.told.push(frame);
            }
        }
    }

    /// Sends a frame about a turn.
    async fn about(&mut self, turn: &Value, mut frame: Value) {
        for name in ["session", "turn", "epoch"] {
            frame[name] = turn[name].clone();
        }
        self.send(&frame).await;
    }

    async fn say(&mut self, turn: &Value, seq: u64, text: &str) {
        let events = json!([{ "text": text }]);
        self.about(turn, json!({ "type": "say", "seq": seq, "events": events })).await;
    }
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
        worker.say(&turn, seq, "rose ").await;
    }
    for seq in 0..20 {
        assert_eq!(worker.typed("ack").await["seq"], seq);
    }
    input(&node, "poet", "shorter", "shorter!").await;
    let steer = worker.typed("told").await;
    assert_eq!((&steer["what"], &steer["event"]["text"]), (&json!("steer"), &json!("shorter!")));
    worker.say(&turn, 25, "a gap").await;
    let refused = worker.typed("refused").await;
    assert_eq!((&refused["seq"], &refused["code"]), (&json!(25), &json!("sequence_gap")));

    let cancel = json!({ "turn": "t", "reason": "stop" });
    assert_eq!(post(&node, "/v1/sessions/s/cancel", &cancel).await.1["cancelled"], 1);
    let told = worker.typed("told").await;
    assert_eq!((&told["what"], &told["turn"]), (&json!("cancel"), &json!("t")));
    worker.say(&turn, 20, "too late").await;
    assert_eq!(worker.typed("refused").await["code"], "turn_over");
    // It has room for one turn, and the next one comes when it says that it has stopped.
    input(&node, "poet", "u", "another").await;
    worker.about(&turn, json!({ "type": "done" })).await;
    let turn = worker.typed("turn").await;
    assert_eq!(turn["turn"], "u");
    let end = json!({ "type": "say", "seq": 0, "events": [{ "text": "fin" }], "then": "complete" });
    worker.about(&turn, end).await;
    assert_eq!(worker.typed("ack").await["over"], true);
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    assert_eq!(said(&events), "rose ".repeat(20) + "fin");
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
    first.say(&turn, 0, "Once ").await;
    first.typed("ack").await;
    // Nobody says goodbye: the connection is just gone.
    drop(first);
    let mut second = Client::work(&node, "second").await;
    let turn = second.typed("turn").await;
    assert_eq!((&turn["turn"], &turn["attempt"]), (&json!("t"), &json!(2)));
    assert_eq!(said(turn["events"].as_array().expect("events")), "Once ");
    let end =
        json!({ "type": "say", "seq": 0, "events": [{ "text": "more." }], "then": "complete" });
    second.about(&turn, end).await;
    second.typed("ack").await;
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    let lost = events.iter().find(|event| event["type"] == "agent.lost").expect("it was lost");
    assert_eq!(lost["cause"], "disconnected");
    assert_eq!(said(&events), "Once more.");
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
    assert_eq!(worker.live(|_| false).await, Err("4010 replaced".to_owned()));
}

#[tokio::test]
async fn a_worker_that_lives_and_gets_nowhere_is_told_loses_its_step_and_is_replaced() {
    let node = start_single().await;
    create(&node, "s").await;
    let body =
        json!({ "input": "t", "agent": "poet", "said": { "text": "go" }, "quiet_ms": 6_000 });
    assert_eq!(post(&node, "/v1/sessions/s/inputs", &body).await.0, 200);
    let mut first = Client::work(&node, "first").await;
    let turn = first.typed("turn").await;
    let step = json!({ "type": "say", "seq": 0, "step": "search", "events": [{ "text": "x" }] });
    first.about(&turn, step).await;
    first.typed("ack").await;
    first.live(|told| told["what"] == "fenced").await.expect("the connection stays");
    let told = first.told.iter().filter(|frame| frame["type"] == "told");
    let told: Vec<_> = told.map(|frame| frame["what"].as_str().expect("a name")).collect();
    assert_eq!(told, ["stalled", "cancel_step"]);
    let mut second = Client::work(&node, "second").await;
    let turn = second.typed("turn").await;
    second.say(&turn, 0, "y").await;
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
    worker.about(&turn, json!({ "type": "say", "seq": 0, "evnts": [] })).await;
    let refused = worker.typed("refused").await;
    assert_eq!((&refused["seq"], &refused["code"]), (&json!(0), &json!("bad_json")));
    worker.say(&turn, 0, "all is well").await;
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
        (&json!(true), &json!("turn_over"))
    );
    let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    assert_eq!(said(&events), "abcd");
}

#[tokio::test]
async fn a_worker_by_http_is_told_what_concerns_its_turn() {
    let node = start_single().await;
    create(&node, "s").await;
    input(&node, "poet", "t", "a poem").await;
    let turn = claim(&node).await;
    let (epoch, cursor) = (&turn["epoch"], turn["cursor"].as_str().expect("a cursor"));
    let path = format!("{}/v1/sessions/s/turns/t/told?epoch={epoch}", node.url);
    let told = async |rest: String| {
        let answer = reqwest::get(format!("{path}&{rest}")).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    let poll = async |after: &str| {
        let (status, text) = told(format!("after={after}&wait_ms=30000")).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    for rest in ["after=x", "live=sse", "after=start", "live=web"] {
        assert_eq!(told(rest.into()).await.0, 400, "{rest}");
    }
    let (answer, ()) = tokio::join!(poll(cursor), input(&node, "poet", "i", "shorter"));
    assert_eq!((&answer["told"][0]["what"], &answer["over"]), (&json!("steer"), &json!(false)));
    assert_eq!(answer["told"][0]["event"]["text"], "shorter");
    let next = answer["next"].as_str().expect("a cursor").to_owned();
    let cancel = json!({ "all": true });
    let (answer, _) = tokio::join!(poll(&next), post(&node, "/v1/sessions/s/cancel", &cancel));
    assert_eq!((&answer["told"][0]["what"], &answer["over"]), (&json!("cancel"), &json!(true)));
    // The same as a stream, which ends because nothing follows.
    let (_, stream) = told(format!("live=sse&after={cursor}")).await;
    let whats: Vec<_> = stream.lines().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(whats.len(), 3, "{stream}");
    assert!(whats[0].contains("\"what\":\"steer\"") && whats[1].contains("\"what\":\"cancel\""));
    assert!(stream.contains("event: over\n"));
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
    for (turn, text) in [("t", "one two three"), ("u", "four")] {
        input(&node, "echo", turn, text).await;
        let events = story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
        assert_eq!(said_in(&events, turn), format!("{text} "));
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
    story(&node, "s", |all| said(all).contains("word")).await;
    // It would say its words for many minutes if it had not heard.
    input(&node, "echo", "steer", "STEERED").await;
    story(&node, "s", |all| said_in(all, "t").ends_with("STEERED ")).await;
    story(&node, "s", |all| kinds(all).last() == Some(&"turn.completed")).await;
    input(&node, "echo", "u", &long).await;
    story(&node, "s", |all| said_in(all, "u").contains("word")).await;
    post(&node, "/v1/sessions/s/cancel", &json!({ "all": true })).await;
    input(&node, "echo", "v", "and now this").await;
    story(&node, "s", |all| said_in(all, "v") == "and now this ").await;
}
