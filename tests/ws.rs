//! WebSockets over real sockets: one node, sessions and verbs multiplexed on a connection, clients that misbehave.

use std::collections::BTreeSet;

use futures::SinkExt;
use harness::node::start_single;
use harness::socket::{Client, append, create, post};
use outlive::limits;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

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
    client.of("b", "deleted").await;
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
    // The ping is said after everything that there was credit for.
    let ping = client.of("s", "ping").await;
    assert_eq!(ping["data"]["tail"], 50);
    assert!(client.received.iter().all(|frame| frame["type"] != "event"), "{:?}", client.received);
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
    let output = json!({ "text": "a poem" });
    for (op, path, body) in [
        ("append", "events", json!({ "events": [{ "text": "x" }], "expect_serial": 0 })),
        ("append", "events", json!({ "events": [{ "text": "x" }], "expect_serial": 0 })),
        ("append", "events", json!({})),
        ("append", "events", json!({ "evnts": [] })),
        ("input", "inputs", json!({ "id": "i", "agent": "poet", "content": output })),
        ("input", "inputs", json!({ "id": "i", "agent": "poet", "content": output })),
        (
            "input",
            "inputs",
            json!({ "id": "j", "agent": "poet", "content": output, "when_busy": "reject" }),
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
    // It began after the tail, and is told the rest though it has no credit.
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
        client.received.iter().filter_map(|frame| frame["type"].as_str()).collect();
    assert!(kinds.contains("detached") && !kinds.contains("end"), "{kinds:?}");
}
