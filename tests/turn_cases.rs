//! Small cases of turns from the field, at one node over HTTP: what people do to agents that nobody thought of.

use std::time::Duration;

use harness::load::eventually;
use harness::node::{TestNode, start_single};
use serde_json::{Value, json};

struct Case {
    node: TestNode,
}

impl Case {
    async fn begin(config: Value) -> Case {
        let node = start_single().await;
        let case = Case { node };
        let created = case.request("PUT", "/v1/sessions/s", config).await;
        assert_eq!(created.0, 201, "{created:?}");
        case
    }

    async fn request(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let url = format!("{}{path}", self.node.url);
        let request = reqwest::Client::new().request(method, url).json(&body);
        let answer = request.timeout(Duration::from_secs(60)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.request("POST", path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.node.url)).await.expect("an answer");
        answer.json().await.unwrap_or(Value::Null)
    }

    async fn input(&self, input: &str, agent: &str, text: &str) -> (u16, Value) {
        let body = json!({ "id": input, "agent": agent, "content": { "text": text } });
        self.post("/v1/sessions/s/inputs", body).await
    }

    async fn claim(&self) -> Value {
        let body = json!({ "worker": "w", "wait_ms": 20_000, "lease_ms": 60_000 });
        let (status, turn) = self.post("/v1/agents/poet/claim", body).await;
        assert_eq!(status, 200, "{turn}");
        turn
    }

    async fn emit(&self, turn: &Value, seq: u64, rest: Value) -> (u16, Value) {
        let mut body = json!({ "epoch": turn["epoch"], "seq": seq });
        let rest = rest.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(rest);
        let name = turn["turn"].as_str().expect("a name");
        self.post(&format!("/v1/sessions/s/turns/{name}/output"), body).await
    }

    async fn messages(&self) -> Vec<(String, String)> {
        let received = self.get("/v1/sessions/s/messages").await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let tell = |message: &Value| (text(&message["role"]), text(&message["text"]));
        received["messages"].as_array().expect("messages").iter().map(tell).collect()
    }
}

fn texts(turn: &Value) -> Vec<&str> {
    let events = turn["events"].as_array().expect("events");
    let inputs = events.iter().filter(|event| event["type"] == "input.accepted");
    inputs.map(|event| event["text"].as_str().expect("text")).collect()
}

const ASK: &str = "i1";

fn asks() -> Value {
    let ask = json!([{ "interaction": ASK, "kind": "approval", "question": { "text": "Go on?" } }]);
    json!({ "ask": ask, "then": "wait" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_an_earlier_life_neither_speaks_in_the_next_nor_swallows_its_words() {
    let case = Case::begin(json!({})).await;
    case.input("t1", "poet", "first life").await;
    let old = case.claim().await;
    assert_eq!(case.request("DELETE", "/v1/sessions/s", Value::Null).await.0, 204);
    assert_eq!(case.request("PUT", "/v1/sessions/s", json!({})).await.0, 201);
    case.input("t1", "poet", "second life").await;
    let new = case.claim().await;
    assert!(old["epoch"].as_u64() < new["epoch"].as_u64(), "{old} {new}");
    let output = case.emit(&old, 0, json!({ "events": [{ "text": "words of A" }] })).await;
    assert_eq!((output.0, &output.1["code"]), (403, &json!("fenced")));
    let output = case.emit(&new, 0, json!({ "events": [{ "text": "words of B" }] })).await;
    assert_eq!((output.0, &output.1["duplicate"]), (200, &json!(false)));
    let last = ("agent".to_owned(), "words of B".to_owned());
    assert_eq!(case.messages().await.last(), Some(&last));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_types_instead_of_answering_is_heard() {
    let case = Case::begin(json!({})).await;
    case.input("q1", "poet", "first").await;
    let turn = case.claim().await;
    assert_eq!(case.emit(&turn, 0, asks()).await.0, 200);
    let (_, steered) = case.input("q2", "poet", "no, otherwise").await;
    let again = case.claim().await;
    assert_eq!((&again["turn"], &again["last_input"]), (&json!("q1"), &steered["serial"]));
    assert_eq!(texts(&again), ["first", "no, otherwise"]);
    let status = case.get("/v1/sessions/s").await;
    assert_eq!(status["interactions"][0]["interaction"], ASK);
    let path = format!("/v1/sessions/s/interactions/{ASK}");
    assert_eq!(case.post(&path, json!({ "answer": { "data": true } })).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_to_live_begins_when_the_last_turn_and_the_last_participant_are_gone() {
    let ttl_ms = 700;
    let case = Case::begin(json!({ "ttl_ms": ttl_ms })).await;
    case.input("q1", "poet", "first").await;
    let turn = case.claim().await;
    assert_eq!(case.emit(&turn, 0, asks()).await.0, 200);
    assert_eq!(case.get("/v1/sessions/s").await["expires_at"], Value::Null);
    // What must not happen takes its time: another session, which nobody uses, ends later than this one would.
    let idle = case.request("PUT", "/v1/sessions/idle", json!({ "ttl_ms": 3 * ttl_ms })).await;
    assert_eq!(idle.0, 201);
    eventually("the idle session ends", async || {
        case.get("/v1/sessions/idle").await["code"] == "not_found"
    })
    .await;
    let path = format!("/v1/sessions/s/interactions/{ASK}");
    assert_eq!(case.post(&path, json!({ "answer": { "data": true } })).await.0, 200);
    // Somebody who is there keeps it, too.
    let url = format!("{}/v1/sessions/s/events?live=sse&participant=p1", case.node.url);
    let watching = reqwest::get(url).await.expect("an answer");
    eventually("the session knows who watches", async || {
        case.get("/v1/sessions/s").await["audience"]["watchers"] == 1
    })
    .await;
    let again = case.claim().await;
    assert_eq!(case.emit(&again, 0, json!({ "then": "complete" })).await.0, 200);
    assert_eq!(case.get("/v1/sessions/s").await["expires_at"], Value::Null);
    drop(watching);
    eventually("it ends when nobody is left", async || {
        case.get("/v1/sessions/s").await["code"] == "not_found"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_input_of_the_same_name_is_a_conflict() {
    let case = Case::begin(json!({})).await;
    assert_eq!(case.input("q1", "poet", "one").await.0, 200);
    for (agent, text) in [("poet", "two"), ("writer", "one")] {
        let (status, answer) = case.input("q1", agent, text).await;
        assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
    }
    let (status, again) = case.input("q1", "poet", "one").await;
    assert_eq!((status, &again["duplicate"]), (200, &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_into_a_turn_is_shown_in_front_of_what_is_said_behind_it() {
    let case = Case::begin(json!({})).await;
    case.input("q1", "poet", "a poem").await;
    let turn = case.claim().await;
    case.emit(&turn, 0, json!({ "events": [{ "text": "Roses " }] })).await;
    case.emit(&turn, 1, json!({ "events": [{ "text": "are" }] })).await;
    let (_, steered) = case.input("q2", "poet", "about violets").await;
    let rest = json!({ "events": [{ "text": "Violets" }], "consumed": steered["serial"] });
    case.emit(&turn, 2, rest).await;
    case.emit(&turn, 3, json!({ "then": "complete" })).await;
    let received = case.messages().await;
    let received: Vec<_> =
        received.iter().map(|(role, text)| (role.as_str(), text.as_str())).collect();
    let wanted = [
        ("user", "a poem"),
        ("agent", "Roses are"),
        ("user", "about violets"),
        ("agent", "Violets"),
    ];
    assert_eq!(received, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_keeps_what_a_turn_under_way_was_asked() {
    let case = Case::begin(json!({ "retention": { "max_bytes": 4_000 } })).await;
    case.input("q1", "poet", "a poem").await;
    let turn = case.claim().await;
    let words = "word ".repeat(200);
    for seq in 0..20 {
        case.emit(&turn, seq, json!({ "events": [{ "text": words }] })).await;
    }
    case.emit(&turn, 20, json!({ "then": "release" })).await;
    let again = case.claim().await;
    assert_eq!(texts(&again), ["a poem"]);
    assert_eq!(case.messages().await[0].1, "a poem");
    // Once the turn is over, what is too much goes.
    case.emit(&again, 0, json!({ "events": [{ "text": words }], "then": "complete" })).await;
    let status = case.get("/v1/sessions/s").await;
    assert!(1 < status["first"].as_u64().expect("a serial"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_nobody_works_for_is_unserved_at_once_and_its_turn_fails_when_it_waited() {
    let case = Case::begin(json!({ "policy": { "wait_ms": 3_000 } })).await;
    case.input("q1", "nobody", "hello?").await;
    let turn = case.get("/v1/sessions/s").await["turns"][0].clone();
    assert_eq!(turn["health"], "unserved");
    assert!(turn["cause"].as_str().is_some_and(|cause| cause.starts_with("no worker")), "{turn}");
    // A worker that has asked for turns may be about to ask again.
    let body = json!({ "worker": "w", "wait_ms": 1 });
    assert_eq!(case.post("/v1/agents/poet/claim", body).await.0, 204);
    case.input("q2", "poet", "a poem").await;
    let turns = case.get("/v1/sessions/s").await["turns"].clone();
    assert_eq!(
        (&turns[0]["health"], &turns[1]["health"]),
        (&json!("unserved"), &json!("starting"))
    );
    eventually("nobody took them", async || {
        case.get("/v1/sessions/s").await["turns"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    let page = case.get("/v1/sessions/s/events").await;
    let ends = page["events"].as_array().expect("events").iter();
    let ends = ends.filter(|event| event["type"] == "turn.failed");
    assert!(ends.clone().all(|end| end["reason"] == "nobody took the turn"));
    assert_eq!(ends.count(), 2);
}
