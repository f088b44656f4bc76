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
