//! Turns over HTTP: asked for by people, taken by workers at any node, cancelled, lost and taken over.

use std::time::Duration;

use harness::cluster::{Cluster, client};
use harness::load::eventually;
use serde_json::{Value, json};

const FLAGS: &[&str] =
    &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];

async fn post(url: &str, body: Value) -> (u16, Value) {
    let request = client().post(url).json(&body).timeout(Duration::from_secs(60));
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

async fn create(url: &str, session: &str) {
    eventually("the session is created", async || {
        let answer = client().put(format!("{url}/v1/sessions/{session}")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

async fn input(url: &str, session: &str, input: &str, text: &str) -> Value {
    let body = json!({ "id": input, "agent": "poet", "content": { "text": text } });
    let (status, answer) = post(&format!("{url}/v1/sessions/{session}/inputs"), body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Takes a turn; it must come.
async fn claim(url: &str, worker: &str) -> Value {
    let mut taken = Value::Null;
    eventually("a turn is to be had", async || {
        let body = json!({ "worker": worker, "wait_ms": 10_000, "lease_ms": 2_000 });
        let (status, answer) = post(&format!("{url}/v1/agents/poet/claim"), body).await;
        taken = answer;
        status == 200
    })
    .await;
    taken
}

/// Says something as the worker that has the turn.
async fn emit(url: &str, turn: &Value, seq: Option<u64>, rest: Value) -> (u16, Value) {
    let mut body = json!({ "epoch": turn["epoch"], "seq": seq });
    body.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    let (session, name) = (turn["session"].as_str(), turn["turn"].as_str());
    let path =
        format!("/v1/sessions/{}/turns/{}/output", session.expect("text"), name.expect("text"));
    post(&format!("{url}{path}"), body).await
}

/// What happened in a session, as one node tells it.
async fn story(url: &str, session: &str) -> Vec<String> {
    let page = client().get(format!("{url}/v1/sessions/{session}/events")).send().await;
    let page: Value = page.expect("an answer").json().await.expect("JSON");
    let tell = |event: &Value| {
        let (kind, turn) = (event["type"].as_str(), event["turn"].as_str());
        let text = event["text"].as_str().unwrap_or_default();
        let received = format!("{} {} {text}", kind.unwrap_or("-"), turn.unwrap_or("-"));
        received.trim().to_owned()
    };
    page["events"].as_array().expect("a page").iter().map(tell).collect()
}

async fn health(url: &str, session: &str) -> Value {
    let status = client().get(format!("{url}/v1/sessions/{session}")).send().await;
    let status: Value = status.expect("an answer").json().await.expect("JSON");
    status["turns"][0]["health"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_asked_for_at_one_node_and_worked_on_at_another() {
    let cluster = Cluster::up(3, FLAGS).await;
    let urls = cluster.urls();
    create(&urls[0], "s").await;
    // The worker waits at each node in turn, wherever the session is led; publishing wakes it.
    for (round, at) in urls.iter().enumerate() {
        let turn = format!("t{round}");
        let (taken, requested) =
            tokio::join!(claim(at, "w"), input(&urls[0], "s", &turn, "a poem"));
        assert_eq!(
            (requested["turn"].as_str(), &taken["turn"]),
            (Some(turn.as_str()), &requested["turn"])
        );
        assert_eq!(taken["events"][0]["text"], "a poem");
        let (status, output) =
            emit(at, &taken, Some(0), json!({ "events": [{ "text": "Roses" }] })).await;
        assert_eq!((status, &output["over"]), (200, &json!(false)));
        assert_eq!(health(&urls[2], "s").await, "streaming");
        // A steer: the worker sees from any answer that more was spoken.
        let steered = input(&urls[1], "s", &format!("steer {round}"), "shorter").await;
        assert_eq!(steered["turn"], requested["turn"]);
        let (_, output) = emit(at, &taken, None, json!({})).await;
        assert_eq!(output["last_input"], steered["serial"]);
        let incoming = &output["last_input"];
        let done =
            json!({ "events": [{ "text": "red." }], "then": "complete", "consumed": incoming });
        for duplicate in [false, true] {
            let (status, output) = emit(at, &taken, Some(1), done.clone()).await;
            assert_eq!((status, &output["duplicate"]), (200, &json!(duplicate)));
            assert_eq!(output["over"], true);
        }
        let received = story(&urls[round], "s").await;
        let wanted = [
            format!("input.accepted {turn} a poem"),
            format!("turn.started {turn}"),
            format!("turn.output {turn} Roses"),
            format!("input.accepted {turn} shorter"),
            format!("input.delivered {turn}"),
            format!("input.consumed {turn}"),
            format!("turn.output {turn} red."),
            format!("turn.completed {turn}"),
        ];
        assert_eq!(received[8 * round..], wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_is_complete_when_it_is_answered() {
    let cluster = Cluster::up(1, FLAGS).await;
    let url = cluster.url(1);
    create(&url, "s").await;
    input(&url, "s", "t", "count").await;
    let taken = claim(&url, "w").await;
    let (_, output) = emit(&url, &taken, Some(0), json!({ "events": [{ "text": "1" }] })).await;
    let body = json!({ "turn": "t", "reason": "stop", "participant": "ada", "device": "phone" });
    let (status, answer) = post(&format!("{url}/v1/sessions/s/cancel"), body).await;
    assert_eq!((status, &answer["cancelled"]), (200, &json!(1)));
    let late = json!({ "events": [{ "text": "2" }] });
    let (status, refused) = emit(&url, &taken, Some(1), late).await;
    assert_eq!((status, &refused["code"]), (410, &json!("turn_ended")), "{output}");
    let received = story(&url, "s").await;
    assert_eq!(received[2..], ["turn.output t 1", "turn.cancelled t"]);
    let (_, again) = post(&format!("{url}/v1/sessions/s/cancel"), json!({ "turn": "t" })).await;
    assert_eq!(again["cancelled"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_worker_is_replaced_and_speaks_no_more_even_if_its_node_dies() {
    let mut cluster = Cluster::up(3, FLAGS).await;
    create(&cluster.url(1), "s").await;
    let leader = cluster.leader("s").await;
    let (other, third) = (1 + leader % 3, 1 + (leader + 1) % 3);
    input(&cluster.url(other), "s", "t", "a long story").await;
    let zombie = claim(&cluster.url(leader), "zombie").await;
    let once = json!({ "events": [{ "text": "Once " }] });
    assert_eq!(emit(&cluster.url(leader), &zombie, Some(0), once).await.0, 200);
    // The worker falls silent, and the node that leads the session dies with it.
    cluster.kill(leader);
    let heir = claim(&cluster.url(other), "heir").await;
    assert_eq!((&heir["turn"], &heir["attempt"]), (&json!("t"), &json!(2)));
    assert!(zombie["epoch"].as_u64() < heir["epoch"].as_u64());
    let texts: Vec<_> = heir["events"].as_array().expect("events").iter().collect();
    assert!(texts.iter().any(|event| event["text"] == "Once "), "the partial output is handed on");
    let late = json!({ "events": [{ "text": "ZOMBIE" }] });
    let (status, refused) = emit(&cluster.url(third), &zombie, Some(1), late).await;
    assert_eq!((status, &refused["code"]), (403, &json!("fenced")));
    let done = json!({ "events": [{ "text": "upon a time." }], "then": "complete" });
    assert_eq!(emit(&cluster.url(third), &heir, Some(0), done).await.0, 200);
    cluster.start(leader);
    cluster.ready(leader).await;
    for node in 1..=3 {
        let received = story(&cluster.url(node), "s").await;
        let wanted = [
            "input.accepted t a long story",
            "turn.started t",
            "turn.output t Once",
            "agent.lost t",
            "turn.started t",
            "turn.output t upon a time.",
            "turn.completed t",
        ];
        assert_eq!(received, wanted);
    }
}
