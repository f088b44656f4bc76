//! What agents ask people, from the question to its one end: who may answer, who was faster, and what is taken back;
//! told the same at every node, to those who are there and to those who come late.

use harness::api::{PATIENCE, SESSION, TIMERS, claim, create, post};
use harness::cluster::{Cluster, client};
use serde_json::{Value, json};

async fn get(url: &str, path: &str) -> Value {
    let request = client().get(format!("{url}{SESSION}{path}")).timeout(PATIENCE);
    let answer = request.send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

/// A session with a turn that a worker has.
async fn begin(url: &str) -> Value {
    create(url, "s").await;
    let body = json!({ "id": "q", "agent": "poet", "content": { "text": "a poem" } });
    assert_eq!(post(url, &format!("{SESSION}/inputs"), body).await.0, 200);
    claim(url).await
}

async fn emit(url: &str, turn: &Value, seq: u64, mut body: Value) -> (u16, Value) {
    (body["epoch"], body["seq"]) = (turn["epoch"].clone(), seq.into());
    post(url, &format!("{SESSION}/turns/q/output"), body).await
}

async fn answer(url: &str, name: &str, who: &str, role: &str, words: &str) -> (u16, Value) {
    let body = json!({ "answer": { "text": words }, "participant": who, "role": role });
    post(url, &format!("{SESSION}/interactions/{name}"), body).await
}

/// The state of each question of the last message.
async fn states(url: &str) -> Vec<Value> {
    let page = get(url, "/messages").await;
    let messages = page["messages"].as_array().expect("messages").last().cloned();
    let questions = messages.expect("a message")["questions"].clone();
    let questions = questions.as_array().expect("questions").iter();
    questions.map(|requested| requested["state"].clone()).collect()
}

#[tokio::test]
async fn a_question_that_is_taken_back_is_over_everywhere() {
    let cluster = Cluster::up(3, TIMERS).await;
    let urls = cluster.urls();
    let turn = begin(&urls[0]).await;
    let asks = |name: &str| json!({ "interaction": name, "kind": "approval", "question": { "text": "Send it?" } });
    let (status, received) =
        emit(&urls[0], &turn, 0, json!({ "ask": [asks("a"), asks("b")] })).await;
    assert_eq!(status, 200, "{received}");
    let unknown = json!({ "withdraw": [{ "interaction": "c" }] });
    let (status, problem) = emit(&urls[1], &turn, 1, unknown).await;
    assert_eq!((status, &problem["code"]), (404, &json!("no_such_interaction")));
    let back = json!({ "withdraw": [{ "interaction": "a", "reason": "found it" }] });
    for duplicate in [false, true] {
        let (status, received) = emit(&urls[1], &turn, 1, back.clone()).await;
        assert_eq!((status, &received["duplicate"]), (200, &json!(duplicate)), "{received}");
    }
    for url in &urls {
        let open = get(url, "").await["interactions"].clone();
        let names: Vec<_> = open.as_array().expect("a list").iter().collect();
        assert_eq!((names.len(), &names[0]["interaction"]), (1, &json!("b")));
        assert_eq!(states(url).await, [json!("withdrawn"), json!("open")]);
        let (status, problem) = answer(url, "a", "ada", "controller", "yes").await;
        assert_eq!((status, &problem["code"]), (410, &json!("interaction_closed")));
    }
    let page = get(&urls[2], "/events").await;
    let events = page["events"].as_array().expect("events").iter();
    let ends = events.filter(|event| event["interaction"] == "a").skip(1);
    let ends: Vec<_> = ends.map(|event| (&event["type"], &event["reason"])).collect();
    assert_eq!(ends, [(&json!("interaction.withdrawn"), &json!("found it"))], "one end");
}

#[tokio::test]
async fn a_question_is_for_those_who_may_and_the_first_of_them() {
    let cluster = Cluster::up(1, TIMERS).await;
    let url = cluster.url(1);
    let turn = begin(&url).await;
    let ask = json!({
        "interaction": "a", "kind": "approval", "question": { "text": "Send it?" },
        "role": "supervisor",
    });
    let (status, received) = emit(&url, &turn, 0, json!({ "ask": [ask], "then": "wait" })).await;
    assert_eq!(status, 200, "{received}");
    assert_eq!(get(&url, "").await["interactions"][0]["role"], "supervisor");
    let (status, problem) = answer(&url, "a", "ada", "controller", "yes").await;
    assert_eq!((status, &problem["code"]), (403, &json!("insufficient_role")));
    let (status, won) = answer(&url, "a", "sue", "supervisor", "yes").await;
    assert_eq!(status, 200, "{won}");
    let (status, lost) = answer(&url, "a", "bob", "supervisor", "no").await;
    assert_eq!((status, &lost["code"]), (409, &json!("interaction_already_answered")));
    assert_eq!((&lost["by"], &lost["answered"]), (&json!("sue"), &won["serial"]));
    let bad = json!({ "ask": [{ "interaction": "b", "kind": "k", "question": { "text": "?" }, "role": "king" }] });
    assert_eq!(emit(&url, &turn, 1, bad).await.1["code"], "bad_json");
}
