//! Turns that turns begin, by real workers at three nodes, while the leader dies.

use harness::api::{PATIENCE, SESSION, TIMERS, claim, claim_of, create, post};
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use serde_json::{Value, json};

async fn get(url: &str, path: &str) -> Value {
    let request = client().get(format!("{url}{SESSION}{path}")).timeout(PATIENCE);
    request.send().await.expect("an answer").json().await.expect("JSON")
}

/// A report of the worker that has the turn.
async fn report(url: &str, turn: &Value, seq: u64, mut body: Value) -> (u16, Value) {
    (body["epoch"], body["seq"]) = (turn["epoch"].clone(), seq.into());
    let name = turn["turn"].as_str().expect("a turn");
    post(url, &format!("{SESSION}/turns/{name}/output"), body).await
}

fn sub(id: &str, agent: &str) -> Value {
    json!({ "id": id, "agent": agent, "content": { "text": format!("do {id}") } })
}

/// An open turn, as the session tells of it.
async fn open(url: &str, turn: &str) -> Value {
    let turns = get(url, "").await["turns"].as_array().expect("turns").clone();
    turns.into_iter().find(|open| open["turn"] == turn).unwrap_or(Value::Null)
}

fn states(turn: &Value) -> Vec<&str> {
    let below = turn["subturns"].as_array().expect("sub-turns");
    below.iter().map(|below| below["state"].as_str().expect("a state")).collect()
}

async fn begin(url: &str) -> Value {
    create(url, "s").await;
    let body = json!({ "id": "q", "agent": "poet", "content": { "text": "a poem" } });
    assert_eq!(post(url, &format!("{SESSION}/inputs"), body).await.0, 200);
    claim(url).await
}

async fn types(url: &str) -> Vec<(String, String)> {
    let page = get(url, "/events?limit=500").await;
    let text = |event: &Value, member: &str| event[member].as_str().unwrap_or_default().to_owned();
    let events = page["events"].as_array().expect("events").clone();
    events.iter().map(|event| (text(event, "type"), text(event, "turn"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_has_its_answers_from_others_though_the_leader_and_a_worker_die() {
    let mut cluster = Cluster::up(3, TIMERS).await;
    let url = cluster.url(1);
    let first = begin(&url).await;
    let both = json!({ "begin": [sub("find", "researcher"), sub("check", "critic")] });
    assert_eq!(report(&url, &first, 0, both.clone()).await.0, 200);
    // That worker dies; the next one does the same again, and waits.
    let lost = json!({ "then": "release" });
    assert_eq!(report(&url, &first, 1, lost).await.0, 200);
    let second = claim(&url).await;
    assert_eq!(states(&second), ["open", "open"]);
    let waits = json!({ "begin": both["begin"], "then": "wait_all" });
    assert_eq!(report(&url, &second, 0, waits).await.0, 200);
    let poem = open(&url, "q").await;
    assert_eq!((&poem["state"], &poem["waits_for"]), (&json!("waiting"), &json!("all")));
    // Nobody serves those that it waits for.
    assert_eq!(poem["health"], "unserved");
    assert!(["find", "check"].contains(&poem["subturn"].as_str().expect("a sub-turn")));

    let found = claim_of(&cluster.url(2), "researcher").await;
    assert_eq!((&found["turn"], &found["parent_turn"]), (&json!("find"), &json!("q")));
    let leader = cluster.leader("s").await;
    cluster.kill(leader);
    let other = if leader == 3 { 1 } else { 3 };
    let url = cluster.url(other);
    let done = json!({ "events": [{ "text": "noses" }], "then": "complete" });
    eventually("the researcher is done", async || {
        let (status, _) = report(&url, &found, 0, done.clone()).await;
        // Whether it was taken is asked again with the same seq.
        status == 200
    })
    .await;
    assert_eq!(states(&open(&url, "q").await), ["completed", "open"]);
    let checked = claim_of(&url, "critic").await;
    let failed = json!({ "then": "fail", "reason": "no sonnet" });
    assert_eq!(report(&url, &checked, 0, failed).await.0, 200);
    let third = claim(&url).await;
    assert_eq!((third["turn"].as_str(), states(&third)), (Some("q"), vec!["completed", "failed"]));
    let answer = get(&url, "/turns/find").await;
    assert_eq!((&answer["state"], &answer["text"]), (&json!("completed"), &json!("noses")));
    assert_eq!(report(&url, &third, 0, json!({ "then": "complete" })).await.0, 200);

    cluster.start(leader);
    cluster.ready(leader).await;
    let all = types(&url).await;
    let count = |kind: &str, turn: &str| {
        all.iter().filter(|(of, about)| of == kind && about == turn).count()
    };
    for (turn, end) in [("q", "completed"), ("find", "completed"), ("check", "failed")] {
        assert_eq!(count("input.accepted", turn), 1, "{turn} began once: {all:?}");
        assert_eq!(count(&format!("turn.{end}"), turn), 1, "{turn} ended once: {all:?}");
    }
    for node in 1..=3 {
        assert_eq!(types(&cluster.url(node)).await, all, "the same at node {node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cancelled_turn_has_begun_ends_before_it_and_is_fenced() {
    let cluster = Cluster::up(1, TIMERS).await;
    let url = cluster.url(1);
    let poem = begin(&url).await;
    // By a line of a stream, as by a report.
    let line = json!({ "seq": 0, "begin": [sub("find", "researcher")] }).to_string();
    let request = client()
        .post(format!("{url}{SESSION}/turns/q/output?epoch={}", poem["epoch"]))
        .header("content-type", "application/x-ndjson")
        .body(format!("{line}\n"));
    assert_eq!(request.send().await.expect("an answer").status().as_u16(), 200);
    let found = claim_of(&url, "researcher").await;
    let deeper = json!({ "begin": [sub("read", "reader")], "then": "wait_any" });
    assert_eq!(report(&url, &found, 0, deeper).await.0, 200);
    let other = json!({ "begin": [sub("find", "critic")] });
    let (status, why) = report(&url, &poem, 1, other).await;
    assert_eq!((status, why["code"].as_str()), (409, Some("conflict")));
    let (status, why) = report(&url, &poem, 1, json!({ "begin": [{ "id": "x" }] })).await;
    assert_eq!((status, why["code"].as_str()), (400, Some("bad_json")));

    let read = claim_of(&url, "reader").await;
    let cancel = json!({ "turn": "q", "reason": "enough" });
    assert_eq!(post(&url, &format!("{SESSION}/cancel"), cancel).await.0, 200);
    let ends: Vec<_> =
        types(&url).await.into_iter().filter(|(of, _)| of == "turn.cancelled").collect();
    let turns: Vec<&str> = ends.iter().map(|(_, turn)| turn.as_str()).collect();
    assert_eq!(turns, ["read", "find", "q"]);
    let (status, why) = report(&url, &read, 0, json!({ "events": [{ "text": "late" }] })).await;
    assert_eq!((status, why["code"].as_str()), (410, Some("turn_ended")));
}
