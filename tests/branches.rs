//! Edit, answer again, go back: a conversation is a tree, and whoever reads follows a path; on one node, and at nodes
//! that have no replica.

use harness::api::{PATIENCE, TIMERS, claim, create, post};
use harness::cluster::{Cluster, client};
use harness::node::start_single;
use serde_json::{Value, json};

async fn get(url: &str, path: &str) -> (u16, Value) {
    let request = client().get(format!("{url}{path}")).timeout(PATIENCE);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// Sends an input, and says where it is in the log.
async fn input(url: &str, name: &str, rest: Value) -> u64 {
    let mut body = json!({ "input": name });
    body.as_object_mut().expect("an object").extend(rest.as_object().expect("one").clone());
    let (status, answer) = post(url, "/v1/sessions/s/inputs", body).await;
    assert_eq!(status, 200, "{answer}");
    answer["serial"].as_u64().expect("a serial")
}

fn output(words: &str) -> Value {
    json!({ "agent": "poet", "said": { "text": words } })
}

fn after(words: &str, parent: u64) -> Value {
    json!({ "agent": "poet", "said": { "text": words }, "parent": parent })
}

/// Answers the turn that waits, and says with which words it was asked.
async fn answer(url: &str, words: &str) -> Value {
    let turn = claim(url).await;
    let path = format!("/v1/sessions/s/turns/{}/say", turn["turn"].as_str().expect("a name"));
    let body = json!({
        "epoch": turn["epoch"], "seq": 0, "events": [{ "text": words }], "then": "complete",
    });
    let (status, answer) = post(url, &path, body).await;
    assert_eq!(status, 200, "{answer}");
    turn
}

async fn texts(url: &str, query: &str) -> Vec<String> {
    let (status, page) = get(url, &format!("/v1/sessions/s/messages?{query}")).await;
    assert_eq!(status, 200, "{page}");
    let all = page["messages"].as_array().expect("messages");
    all.iter().map(|it| it["text"].as_str().expect("a text").to_owned()).collect()
}

async fn id_of(url: &str, words: &str) -> u64 {
    let (_, page) = get(url, "/v1/sessions/s/messages?branch=all").await;
    let all = page["messages"].as_array().expect("messages");
    let found = all.iter().find(|it| it["text"] == words).expect("it was said");
    found["id"].as_u64().expect("an id")
}

#[tokio::test]
async fn a_message_is_edited_answered_again_and_gone_back_to() {
    let node = start_single().await;
    let url = &node.url;
    create(url, "s").await;
    let first = input(url, "one", output("a poem")).await;
    answer(url, "Roses").await;
    input(url, "two", output("another")).await;
    answer(url, "Violets").await;
    let plain = get(url, "/v1/sessions/s/messages").await.1.to_string();
    assert!(!plain.contains("branch") && !plain.contains("parent"), "{plain}");

    // Another answer to the second message: asked with the same words, and told on its branch.
    let violets = id_of(url, "Violets").await;
    let again = input(url, "two-again", json!({ "regenerate": violets })).await;
    let turn = answer(url, "Lilies").await;
    assert_eq!(turn["branch"], again);
    assert_eq!(turn["events"][0]["text"], "another");
    assert_eq!(texts(url, "").await, ["a poem", "Roses", "another", "Lilies"]);
    assert_eq!(texts(url, "branch=0").await, ["a poem", "Roses", "another", "Violets"]);
    assert_eq!(texts(url, &format!("leaf={first}")).await, ["a poem"]);
    let (_, page) = get(url, "/v1/sessions/s/messages").await;
    let lilies = &page["messages"][3];
    assert_eq!(lilies["siblings"], json!([0, again]));
    assert_eq!(lilies["branch"], again);
    assert_eq!(lilies["parent"], page["messages"][2]["id"]);
    assert_eq!(page["messages"][1].get("siblings"), None);
    let retried = json!({ "input": "two-again", "regenerate": violets });
    let (_, retried) = post(url, "/v1/sessions/s/inputs", retried).await;
    assert_eq!((&retried["duplicate"], &retried["serial"]), (&json!(true), &json!(again)));

    // The first message, edited.
    let edited = input(url, "one-edited", after("a song", 0)).await;
    answer(url, "La la").await;
    assert_eq!(texts(url, "").await, ["a song", "La la"]);
    // What is said without more goes on there; who names a message goes back.
    input(url, "three", output("louder")).await;
    answer(url, "LA LA").await;
    assert_eq!(texts(url, "").await, ["a song", "La la", "louder", "LA LA"]);
    input(url, "four", after("thanks", id_of(url, "Lilies").await)).await;
    answer(url, "You are welcome").await;
    let back = ["a poem", "Roses", "another", "Lilies", "thanks", "You are welcome"];
    assert_eq!(texts(url, "").await, back);
    assert_eq!(texts(url, "after=start&limit=2").await, back[..2]);
    assert_eq!(texts(url, &format!("branch={edited}&limit=3")).await.len(), 3);
    let (_, status) = get(url, "/v1/sessions/s").await;
    assert_eq!(status["branch"], again);
    assert_eq!(status["branches"].as_array().expect("branches").len(), 3);

    for (body, code) in [
        (json!({ "input": "x", "agent": "poet", "said": { "text": "x" }, "parent": 2 }), 404),
        (json!({ "input": "x", "agent": "poet", "said": { "text": "x" }, "parent": 10_000 }), 404),
        (json!({ "input": "x", "regenerate": again }), 200),
        (json!({ "input": "y", "regenerate": 0 }), 404),
        (json!({ "input": "two-again", "regenerate": first }), 409),
    ] {
        let (status, answer) = post(url, "/v1/sessions/s/inputs", body.clone()).await;
        assert_eq!(status, code, "{body}: {answer}");
    }
    for (path, code) in [("branch=3", 404), ("branch=x", 400), ("leaf=2", 404)] {
        let (status, _) = get(url, &format!("/v1/sessions/s/messages?{path}")).await;
        assert_eq!(status, code, "{path}");
    }
}

#[tokio::test]
async fn branches_are_the_same_at_every_node() {
    let cluster = Cluster::up(4, TIMERS).await;
    let urls = cluster.urls();
    create(&urls[0], "s").await;
    input(&urls[1], "one", output("a poem")).await;
    answer(&urls[2], "Roses").await;
    input(&urls[3], "again", json!({ "regenerate": id_of(&urls[0], "Roses").await })).await;
    answer(&urls[0], "Lilies").await;
    for url in &urls {
        assert_eq!(texts(url, "").await, ["a poem", "Lilies"]);
        assert_eq!(texts(url, "branch=0").await, ["a poem", "Roses"]);
    }
}
