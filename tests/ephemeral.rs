//! What is said and not kept: it comes to whoever listens, at every node, from devices and workers, leaves nothing in
//! the log, and does not hold up what does.

use std::time::Duration;

use futures::future::join_all;
use harness::api::{SESSION, TIMERS, create, post};
use harness::cluster::{Cluster, client};
use harness::socket::Client;
use serde_json::{Value, json};

async fn show(url: &str) -> Value {
    let answer = client().get(format!("{url}{SESSION}")).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

fn typing(who: &str, words: &str) -> Value {
    json!({ "kind": "typing", "participant": who, "device": "phone", "content": { "text": words } })
}

async fn emit(url: &str, body: Value) -> bool {
    let (status, answer) = post(url, &format!("{SESSION}/ephemeral"), body).await;
    assert_eq!(status, 202, "{answer}");
    !answer["dropped"].as_bool().expect("it says so")
}

async fn listener(url: &str, rest: Value) -> Client {
    let mut client = Client::open_at(url, "/v1/ws", "").await;
    client.attach("s", rest).await;
    client.of("s", "caught-up").await;
    client
}

/// Says it until somebody hears it: who was attached a moment ago may not be known yet. Returns what was heard.
async fn incoming(client: &mut Client, url: &str, body: &Value) -> Value {
    loop {
        emit(url, body.clone()).await;
        let incoming =
            tokio::time::timeout(Duration::from_secs(2), client.of("s", "ephemeral")).await;
        if let Ok(incoming) = incoming {
            return incoming["data"]["messages"][0].clone();
        }
    }
}

#[tokio::test]
async fn everybody_who_listens_hears_it_at_every_node_and_the_log_does_not_grow() {
    let cluster = Cluster::up(4, TIMERS).await;
    let urls = cluster.urls();
    create(&urls[0], "s").await;
    let tail = show(&urls[0]).await["tail"].clone();
    let mut deaf = listener(&urls[1], json!({ "participant": "eve" })).await;
    for (at, url) in urls.iter().enumerate() {
        let mut ears = listener(url, json!({ "ephemeral": true })).await;
        for from in &urls {
            let words = format!("{at} {from}");
            let mut received = incoming(&mut ears, from, &typing("ada", &words)).await;
            while received["content"]["text"] != json!(words) {
                // One that was said more than once came more than once.
                received = ears.of("s", "ephemeral").await["data"]["messages"][0].clone();
            }
            let who = (&received["kind"], &received["participant"], &received["device"]);
            assert_eq!(who, (&json!("typing"), &json!("ada"), &json!("phone")));
        }
    }
    assert_eq!(show(&urls[2]).await["tail"], tail);
    // Who did not ask for it is told nothing new; the next event shows that nothing stands before it.
    let events = json!({ "events": [{ "text": "kept" }] });
    assert_eq!(post(&urls[0], &format!("{SESSION}/events"), events).await.0, 200);
    deaf.of("s", "event").await;
    assert!(!deaf.received.iter().any(|frame| frame["type"] == "ephemeral"), "{:?}", deaf.received);
}

#[tokio::test]
async fn a_stream_is_told_what_a_device_says_on_its_socket() {
    let cluster = Cluster::up(1, TIMERS).await;
    let url = cluster.url(1);
    create(&url, "s").await;
    let stream = format!("{url}{SESSION}/events?live=sse&ephemeral=1&visibility=public");
    let mut answer = client().get(stream).send().await.expect("an answer");
    let mut text = String::new();
    let mut device = listener(&url, json!({ "participant": "ada", "device": "laptop" })).await;
    let body = json!({ "kind": "pointer", "content": { "data": { "x": 1.5 } } });
    let secret = json!({ "kind": "note", "content": { "text": "secret" }, "internal": true });
    for (id, body) in [(7, secret), (8, body)] {
        let frame = json!({ "id": id, "op": "ephemeral", "session": "s", "body": body });
        let received = device.ask(frame).await;
        assert_eq!(received["ok"], json!({ "dropped": false }), "{received}");
    }
    while !text.contains("event: ephemeral") || !text.ends_with("\n\n") {
        let chunk = answer.chunk().await.expect("it goes on").expect("it does not end");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    assert!(text.contains(r#""content":{"format":"json","data":{"x":1.5}}"#), "{text}");
    assert!(text.contains(r#""participant":"ada","device":"laptop""#), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let frame = json!({ "id": 9, "op": "ephemeral", "session": "none", "body": typing("a", "") });
    assert_eq!(device.ask(frame).await["problem"]["code"], "not_found");
    for (body, code) in [
        (typing("ada", &"x".repeat(5_000)), "event_too_large"),
        (json!({ "kind": "typing" }), "bad_json"),
        (json!({ "participant": "ada" }), "bad_json"),
        (json!({ "kind": "typing", "participant": "ada", "serial": 1 }), "bad_json"),
    ] {
        let (status, problem) = post(&url, &format!("{SESSION}/ephemeral"), body).await;
        assert_eq!((400 <= status, &problem["code"]), (true, &json!(code)), "{problem}");
    }
}

#[tokio::test]
async fn a_worker_shows_how_it_gets_on_in_its_own_turn_only() {
    let cluster = Cluster::up(3, TIMERS).await;
    let urls = cluster.urls();
    create(&urls[0], "s").await;
    let mut ears = listener(&urls[1], json!({ "ephemeral": true })).await;
    let mut worker = Client::open_at(&urls[2], "/v1/agents/ws", "").await;
    worker.send(&json!({ "type": "register", "agent": "poet", "worker": "w" })).await;
    let body = json!({ "id": "q", "agent": "poet", "content": { "text": "a poem" } });
    assert_eq!(post(&urls[0], &format!("{SESSION}/inputs"), body).await.0, 200);
    let turn = worker.find("a turn", |frame| frame["type"] == "turn").await;
    let mut frame = json!({
        "type": "ephemeral", "session": "s", "turn": "q", "epoch": turn["epoch"],
        "kind": "progress", "content": { "data": 0.5 },
    });
    worker.send(&frame).await;
    let received = ears.of("s", "ephemeral").await["data"]["messages"][0].clone();
    let who = (&received["agent"], &received["turn"], &received["content"]["data"]);
    assert_eq!(who, (&json!("poet"), &json!("q"), &json!(0.5)));
    frame["epoch"] = json!(999);
    worker.send(&frame).await;
    let refused = worker.find("a refusal", |frame| frame["type"] == "refused").await;
    assert_eq!(refused["code"], "turn_ended");
}

#[tokio::test]
async fn a_flood_is_dropped_and_counted_and_events_come_all_the_same() {
    const EVENTS: usize = 50;
    let cluster = Cluster::up(1, TIMERS).await;
    let url = cluster.url(1);
    create(&url, "s").await;
    let mut ears = listener(&url, json!({ "ephemeral": true })).await;
    let flood = async {
        let (mut content, mut dropped) = (0, 0);
        // However slow the machine is: a few of these in a second are too much.
        while content < 600 || (dropped == 0 && content < 20_000) {
            let all = (0..50).map(|at| {
                let body = typing(&format!("p{}", (content + at) % 200), &"x".repeat(4_000));
                emit(&url, body)
            });
            let taken = join_all(all).await;
            content += taken.len();
            dropped += taken.into_iter().filter(|taken| !taken).count();
        }
        (content, dropped)
    };
    let events = async {
        for at in 0..EVENTS {
            let events = json!({ "events": [{ "text": at.to_string() }] });
            assert_eq!(post(&url, &format!("{SESSION}/events"), events).await.0, 200);
        }
    };
    let reads = async {
        let texts = ears.texts("s", EVENTS).await;
        let expected: Vec<_> = (0..EVENTS).map(|at| at.to_string()).collect();
        assert_eq!(texts, expected);
    };
    let ((content, dropped), (), ()) = tokio::join!(flood, events, reads);
    let metrics = client().get(format!("{url}/metrics")).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let count = |name: &str| -> usize {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect("it is counted").trim().parse().expect("a number")
    };
    assert_eq!(count("outlive_ephemeral_total ") + dropped, content);
    assert!(0 < dropped && dropped <= count("outlive_ephemeral_dropped_total "), "{dropped}");
    assert_eq!(show(&url).await["tail"], json!(EVENTS));
}
