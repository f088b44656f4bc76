//! How turns ended, for whoever asks: while they are open, at their end, long after, at every node and after the loss
//! of one.

use harness::api::{PATIENCE, SESSION, TIMERS, claim, create, post};
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use harness::node::start_single;
use serde_json::{Value, json};

async fn get(url: &str, path: &str) -> (u16, Value, String) {
    let request = client().get(format!("{url}{SESSION}/{path}")).timeout(PATIENCE);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null), text)
}

async fn input(url: &str, name: &str, when_busy: &str) {
    let body = json!({
        "id": name, "agent": "poet", "content": { "text": name }, "when_busy": when_busy,
        "participant": "ada", "device": "phone",
    });
    let (status, answer) = post(url, &format!("{SESSION}/inputs"), body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn emit(url: &str, turn: &Value, seq: u64, mut body: Value) {
    (body["epoch"], body["seq"]) = (turn["epoch"].clone(), seq.into());
    let name = turn["turn"].as_str().expect("a name");
    let (status, answer) = post(url, &format!("{SESSION}/turns/{name}/output"), body).await;
    assert_eq!(status, 200, "{answer}");
}

fn names(page: &Value) -> Vec<&str> {
    let turns = page["turns"].as_array().expect("turns");
    turns.iter().map(|turn| turn["turn"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn a_turn_tells_its_state_and_then_its_result() {
    let node = start_single().await;
    let url = node.url.as_str();
    create(url, "s").await;
    let (status, problem, _) = get(url, "turns/q").await;
    assert_eq!((status, &problem["code"]), (404, &json!("no_such_turn")));
    input(url, "q", "queue").await;
    let (status, queued, _) = get(url, "turns/q").await;
    assert_eq!(
        (status, &queued["state"], &queued["agent"]),
        (200, &json!("queued"), &json!("poet"))
    );
    let taken = claim(url).await;
    input(url, "s", "steer").await;
    let (status, problem, _) = get(url, "turns/s").await;
    assert_eq!((status, &problem["turn"]), (404, &json!("q")), "{problem}");
    let (_, active, _) = get(url, "turns/q?wait_ms=1").await;
    assert_eq!((&active["state"], &active["worker"]), (&json!("active"), &json!("w")));
    let steps = json!({ "step": "look", "events": [{ "text": "I look. " }] });
    emit(url, &taken, 0, steps).await;
    let waits = async { get(url, "turns/q?wait_ms=60000").await };
    let ends = async {
        let finish = r#"{"type":"finish","finishReason":"length","messageMetadata":{"usage":{"cost":1.10}}}"#;
        let data = json!({ "text": finish, "format": "ai-sdk/1" });
        let events = json!([{ "text": "Roses" }, data]);
        let body =
            json!({ "step": "say", "events": events, "then": "complete", "reason": "length" });
        emit(url, &taken, 1, body).await;
    };
    let ((status, over, text), ()) = tokio::join!(waits, ends);
    assert_eq!(
        (status, &over["state"], &over["reason"]),
        (200, &json!("completed"), &json!("length"))
    );
    assert_eq!(
        (&over["text"], &over["finish_reason"]),
        (&json!("I look. Roses"), &json!("length"))
    );
    assert!(text.contains(r#""usage":{"cost":1.10}"#), "byte for byte: {text}");
    assert_eq!(
        (over["messages"].as_array().map(Vec::len), &over["more"]),
        (Some(2), &json!(false))
    );
    let (_, page, _) = get(url, "messages").await;
    let output = page["messages"].as_array().unwrap().iter();
    let output: Vec<_> = output.filter(|message| message["role"] == "agent").collect();
    assert_eq!(over["messages"].as_array().unwrap().iter().collect::<Vec<_>>(), output);
    assert_eq!(get(url, "turns/q").await.1, over, "the same again");
    let (status, problem, _) = get(url, "turns/q?wait_ms=60001").await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_query")));
}

#[tokio::test]
async fn a_turn_whose_input_was_trimmed_is_told_by_what_is_left_of_it() {
    let node = start_single().await;
    let url = node.url.as_str();
    let body = json!({ "retention": { "max_bytes": 2_000 } });
    let made = client().put(format!("{url}{SESSION}")).json(&body).send().await.expect("an answer");
    assert_eq!(made.status(), 201);
    input(url, "q", "queue").await;
    let taken = claim(url).await;
    let part = |seq: u64| seq.to_string().repeat(1_000);
    for seq in 0..9 {
        emit(url, &taken, seq, json!({ "events": [{ "text": part(seq) }] })).await;
    }
    emit(url, &taken, 9, json!({ "events": [{ "text": part(9) }], "then": "complete" })).await;
    let session = client().get(format!("{url}{SESSION}")).send().await.expect("an answer");
    let session: Value = session.json().await.expect("JSON");
    assert!(1 < session["first"].as_u64().expect("a serial"), "its input was trimmed: {session}");
    let (status, over, _) = get(url, "turns/q").await;
    assert_eq!((status, &over["state"]), (200, &json!("completed")), "{over}");
    assert!(over["text"].as_str().is_some_and(|text| text.ends_with(&part(9))), "{over}");
    assert_eq!(over["messages"][0]["trimmed"], true, "{over}");
}

#[tokio::test]
async fn a_wait_for_an_input_that_a_person_holds_lasts_until_its_turn_is_over() {
    let node = start_single().await;
    let url = node.url.as_str();
    create(url, "s").await;
    let control = async |verb: &str| {
        let body = json!({ "verb": verb, "participant": "eve", "role": "supervisor" });
        let (status, answer) = post(url, &format!("{SESSION}/control"), body).await;
        assert_eq!(status, 200, "{answer}");
    };
    control("take").await;
    input(url, "q", "queue").await;
    let (_, held, _) = get(url, "turns/q").await;
    assert_eq!(held["state"], "held");
    let waits = async { get(url, "turns/q?wait_ms=60000").await };
    let ends = async {
        control("release").await;
        let turn = claim(url).await;
        emit(url, &turn, 0, json!({ "events": [{ "text": "Roses" }], "then": "complete" })).await;
    };
    let ((status, over, _), ()) = tokio::join!(waits, ends);
    assert_eq!(
        (status, &over["state"], &over["text"]),
        (200, &json!("completed"), &json!("Roses"))
    );
}

#[tokio::test]
async fn a_turn_that_ended_long_ago_is_found_and_listed_with_the_others() {
    const OTHERS: usize = 1_100;
    let node = start_single().await;
    let url = node.url.as_str();
    create(url, "s").await;
    input(url, "first", "queue").await;
    let taken = claim(url).await;
    let events = vec![json!({ "text": "x" }); 1_000];
    emit(url, &taken, 0, json!({ "events": events, "then": "fail", "reason": "no paper" })).await;
    // More than the session remembers the names of.
    for at in 0..OTHERS {
        input(url, &format!("q-{at}"), "interrupt").await;
    }
    let (status, first, _) = get(url, "turns/first").await;
    assert_eq!(
        (status, &first["state"], &first["reason"]),
        (200, &json!("failed"), &json!("no paper"))
    );
    assert_eq!(first["text"].as_str().map(str::len), Some(1_000));
    let (_, cancelled, _) = get(url, "turns/q-0").await;
    assert_eq!(
        (&cancelled["state"], &cancelled["participant"]),
        (&json!("cancelled"), &json!("ada"))
    );
    assert_eq!(get(url, "turns/never").await.0, 404);

    let (_, open, _) = get(url, "turns?state=open").await;
    assert_eq!((names(&open), &open["older"]), (vec!["q-1099"], &Value::Null));
    let (_, failed, _) = get(url, "turns?state=failed").await;
    assert_eq!(names(&failed), ["first"]);
    let (mut all, mut query) = (Vec::new(), "turns?limit=400".to_owned());
    loop {
        let (_, page, _) = get(url, &query).await;
        all.extend(names(&page).into_iter().map(str::to_owned));
        let Some(older) = page["older"].as_str() else { break };
        query = format!("turns?limit=400&before={older}");
    }
    let mut expected: Vec<_> = (0..OTHERS).rev().map(|at| format!("q-{at}")).collect();
    expected.push("first".to_owned());
    assert_eq!(all, expected, "each once, the newest first");
    assert_eq!(names(&get(url, "turns?agent=clerk").await.1), Vec::<&str>::new());
    for bad in ["turns?state=over", "turns?limit=0", "turns?agent=%0a", "turns?before=9999"] {
        assert_eq!(get(url, bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn what_is_larger_than_a_page_is_told_from_its_end() {
    let node = start_single().await;
    let url = node.url.as_str();
    create(url, "s").await;
    input(url, "long", "queue").await;
    let taken = claim(url).await;
    // Longer than what is read of a turn.
    for seq in 0..25 {
        emit(url, &taken, seq, json!({ "events": vec![json!({ "text": "x" }); 1_000] })).await;
    }
    emit(url, &taken, 25, json!({ "events": [{ "text": "end" }], "then": "complete" })).await;
    let (_, over, _) = get(url, "turns/long").await;
    let message = &over["messages"][0];
    let (cut, text) = (message["cut"].as_u64(), message["text"].as_str().expect("a text"));
    assert_eq!(cut.expect("something is cut") + text.len() as u64, 25_003);
    assert_eq!((text.ends_with("xend"), &over["more"]), (true, &json!(true)));
}

#[tokio::test]
async fn a_turn_ends_for_whoever_waits_at_another_node_though_its_leader_dies() {
    let mut cluster = Cluster::up(4, TIMERS).await;
    create(&cluster.url(1), "s").await;
    let leader = cluster.leader("s").await;
    let others: Vec<_> =
        (1..=4).filter(|node| *node != leader).map(|node| cluster.url(node)).collect();
    input(&others[0], "q", "queue").await;
    let taken = claim(&others[1]).await;
    emit(&others[1], &taken, 0, json!({ "events": [{ "text": "Ros" }] })).await;
    let waits = others.iter().map(|url| async move { get(url, "turns/q?wait_ms=60000").await });
    let waits = futures::future::join_all(waits);
    let ends = async {
        cluster.kill(leader);
        eventually("somebody leads", async || {
            let body = json!({
                "epoch": taken["epoch"], "seq": 1, "events": [{ "text": "es" }], "then": "complete",
            });
            post(&others[1], &format!("{SESSION}/turns/q/output"), body).await.0 == 200
        })
        .await;
    };
    let (received, ()) = tokio::join!(waits, ends);
    for (status, over, _) in received {
        assert_eq!(
            (status, &over["state"], &over["text"]),
            (200, &json!("completed"), &json!("Roses"))
        );
    }
}
