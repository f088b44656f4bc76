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
    json!({ "agent": "poet", "content": { "text": words } })
}

fn after(words: &str, parent: u64) -> Value {
    json!({ "agent": "poet", "content": { "text": words }, "parent": parent })
}

/// Answers the turn that waits, and says with which words it was asked.
async fn answer(url: &str, words: &str) -> Value {
    let turn = claim(url).await;
    let path = format!("/v1/sessions/s/turns/{}/output", turn["turn"].as_str().expect("a name"));
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
    let retried = json!({ "id": "two-again", "regenerate": violets });
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
        (json!({ "id": "x", "agent": "poet", "content": { "text": "x" }, "parent": 2 }), 404),
        (json!({ "id": "x", "agent": "poet", "content": { "text": "x" }, "parent": 10_000 }), 404),
        (json!({ "id": "x", "regenerate": again }), 200),
        (json!({ "id": "y", "regenerate": 0 }), 404),
        (json!({ "id": "two-again", "regenerate": first }), 409),
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

#[tokio::test]
async fn a_fork_goes_on_by_itself_and_ends_what_was_open() {
    let cluster = Cluster::up(4, TIMERS).await;
    let urls = cluster.urls();
    let body = json!({ "labels": { "team": "blue" }, "policy": { "when_busy": "queue" } });
    let request = client().put(format!("{}/v1/sessions/s", urls[0])).json(&body);
    assert!(request.send().await.expect("an answer").status().is_success());
    let first = input(&urls[0], "one", output("a poem")).await;
    answer(&urls[1], "Roses").await;
    input(&urls[2], "two", output("another")).await;
    let open = claim(&urls[3]).await;
    let forks = "/v1/sessions/s/fork";
    let (status, received) = post(&urls[1], forks, json!({ "session": "f" })).await;
    assert_eq!(status, 201, "{received}");
    let (status, again) = post(&urls[2], forks, json!({ "session": "f" })).await;
    assert_eq!((status, &again["fork"]), (200, &received["fork"]));
    for url in &urls {
        let (_, page) = get(url, "/v1/sessions/f/messages").await;
        let all = page["messages"].as_array().expect("messages");
        assert_eq!(
            all.iter().map(|it| &it["text"]).collect::<Vec<_>>(),
            ["a poem", "Roses", "another"]
        );
        let (_, turn) = get(url, "/v1/sessions/f/turns/two").await;
        assert_eq!(turn["state"], "cancelled", "{turn}");
        let (_, turn) = get(url, "/v1/sessions/s/turns/two").await;
        assert_eq!(turn["state"], "active", "the source goes on: {turn}");
        let (_, shown) = get(url, "/v1/sessions/f").await;
        assert_eq!(
            (&shown["labels"]["team"], &shown["policy"]["when_busy"]),
            (&json!("blue"), &json!("queue"))
        );
        assert_eq!(shown["turns"], json!([]));
    }
    // The worker of the source is none of the fork, and an input of the source is known there.
    let path = "/v1/sessions/f/turns/two/output";
    let body = json!({ "epoch": open["epoch"], "seq": 0, "events": [{ "text": "x" }] });
    let (status, refused) = post(&urls[0], path, body).await;
    assert_eq!((status, &refused["code"]), (410, &json!("turn_ended")));
    let mut same = output("a poem");
    same["input"] = "one".into();
    let (_, known) = post(&urls[0], "/v1/sessions/f/inputs", same).await;
    assert_eq!((&known["duplicate"], &known["serial"]), (&json!(true), &json!(first)));
    // Back to the first answer, in a session of its own.
    let roses = id_of(&urls[0], "Roses").await;
    let (status, received) =
        post(&urls[0], forks, json!({ "session": "g", "message": roses })).await;
    assert_eq!(status, 201, "{received}");
    let mut next = output("more");
    next["input"] = "next".into();
    let (status, answer) = post(&urls[3], "/v1/sessions/g/inputs", next).await;
    assert_eq!(status, 200, "{answer}");
    let (_, page) = get(&urls[1], "/v1/sessions/g/messages").await;
    let all = page["messages"].as_array().expect("messages");
    assert_eq!(all.iter().map(|it| &it["text"]).collect::<Vec<_>>(), ["a poem", "Roses", "more"]);
    assert_eq!(all[1]["end"], "turn.completed");
    for (body, code) in [
        (json!({ "session": "h", "at": 1_000 }), 400),
        (json!({ "session": "h", "message": 2 }), 404),
        (json!({ "session": "h", "message": 1, "at": 1 }), 400),
        (json!({ "session": "s" }), 400),
        (json!({}), 400),
        (json!({ "session": "f", "at": 1 }), 409),
    ] {
        let (status, answer) = post(&urls[0], forks, body.clone()).await;
        assert_eq!(status, code, "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_frozen_session_takes_nothing_more_until_it_is_restored() {
    let node = start_single().await;
    let url = &node.url;
    create(url, "s").await;
    input(url, "one", output("a poem")).await;
    let (status, received) =
        post(url, "/v1/sessions/s/freeze", json!({ "participant": "ada" })).await;
    assert_eq!(
        (status, &received["state"], &received["changed"]),
        (200, &json!("frozen"), &json!(true))
    );
    let (_, received) = post(url, "/v1/sessions/s/freeze", json!({})).await;
    assert_eq!(received["changed"], false);
    let mut more = output("more");
    more["input"] = "two".into();
    for (path, body) in [
        ("/v1/sessions/s/inputs", more.clone()),
        ("/v1/sessions/s/events", json!({ "events": [{ "text": "x" }] })),
        ("/v1/sessions/s/events", json!({ "close": true })),
    ] {
        let (status, answer) = post(url, path, body).await;
        assert_eq!((status, &answer["code"]), (409, &json!("frozen")), "{path}");
    }
    // What is under way goes on to its end.
    answer(url, "Roses").await;
    assert_eq!(texts(url, "").await, ["a poem", "Roses"]);
    assert_eq!(get(url, "/v1/sessions/s").await.1["state"], "frozen");
    let names = async |query: &str| {
        let (_, list) = get(url, &format!("/v1/sessions?{query}")).await;
        let all = list["sessions"].as_array().expect("sessions").clone();
        all.iter().map(|it| it["session"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["s"]);
    post(url, "/v1/sessions/s/archive", json!({})).await;
    create(url, "t").await;
    assert_eq!(names("").await, ["t"]);
    assert_eq!(names("archived=only").await, ["s"]);
    assert_eq!(names("archived=1").await, ["s", "t"]);
    let (_, received) = post(url, "/v1/sessions/s/restore", json!({})).await;
    assert_eq!(received["state"], "active");
    assert_eq!(names("").await, ["s", "t"]);
    let (status, _) = post(url, "/v1/sessions/s/inputs", more).await;
    assert_eq!(status, 200);
}
