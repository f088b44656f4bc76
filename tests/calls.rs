//! Calls of tools: forms and choices that are judged, arguments that a person changes, calls that a device makes for
//! an agent, and those of a worker that dies; told the same at every node.

use harness::api::{PATIENCE, SESSION, TIMERS, claim, create, post};
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use serde_json::{Value, json};

async fn get(url: &str, path: &str) -> Value {
    let request = client().get(format!("{url}{SESSION}{path}")).timeout(PATIENCE);
    request.send().await.expect("an answer").json().await.expect("JSON")
}

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

async fn answer(url: &str, name: &str, words: Value) -> (u16, Value) {
    let body = json!({ "answer": { "data": words }, "participant": "ada", "device": "phone" });
    post(url, &format!("{SESSION}/interactions/{name}"), body).await
}

async fn call(url: &str, verb: &str, device: &str, mut body: Value) -> (u16, Value) {
    (body["participant"], body["device"]) = ("ada".into(), device.into());
    post(url, &format!("{SESSION}/interactions/where{verb}"), body).await
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

async fn events(url: &str) -> Vec<Value> {
    get(url, "/events?limit=500").await["events"].as_array().expect("events").clone()
}

#[tokio::test]
async fn questions_have_the_shape_of_their_kind_and_answers_fit_them_at_every_node() {
    let cluster = Cluster::up(3, TIMERS).await;
    let urls = cluster.urls();
    let turn = begin(&urls[0]).await;
    let asks = |kind: &str, question: Value| json!({ "ask": [{ "interaction": kind, "kind": kind, "question": { "data": question } }] });
    let loops = json!({ "schema": { "$ref": "#" } });
    let bad = emit(&urls[0], &turn, 0, asks("form", loops)).await;
    assert_eq!(code(&bad), (400, "bad_question"), "{}", bad.1);
    let schema = json!({ "type": "object", "required": ["age"], "properties": { "age": { "type": "integer" } } });
    let form = asks("form", json!({ "text": "Who?", "schema": schema }));
    assert_eq!(emit(&urls[0], &turn, 0, form).await.0, 200, "the seq was not used");
    let choice = asks("choice", json!({ "choices": ["red", { "value": 2, "label": "blue" }] }));
    assert_eq!(emit(&urls[1], &turn, 1, choice).await.0, 200);
    let watches = json!({ "ask": [{ "interaction": "x", "kind": "text", "question": { "text": "?" }, "role": "observer" }] });
    let refused = emit(&urls[1], &turn, 2, watches).await;
    assert_eq!(code(&refused), (400, "bad_json"), "an observer answers nothing");
    for url in &urls {
        let bad = answer(url, "form", json!({ "age": "old" })).await;
        assert_eq!(code(&bad), (400, "bad_answer"), "{}", bad.1);
        assert_eq!(bad.1["errors"][0]["path"], "/age");
        assert_eq!(code(&answer(url, "choice", json!("green")).await), (400, "bad_answer"));
    }
    assert_eq!(answer(&urls[2], "form", json!({ "age": 7 })).await.0, 200);
    assert_eq!(answer(&urls[1], "choice", json!(2)).await.0, 200);
    // One that is over is answered as before, fit or not.
    assert_eq!(
        code(&answer(&urls[0], "form", json!({})).await),
        (409, "interaction_already_answered")
    );
    assert_eq!(code(&answer(&urls[0], "none", json!({})).await), (404, "no_such_interaction"));
}

#[tokio::test]
async fn a_call_goes_to_another_device_when_the_one_that_makes_it_dies() {
    let cluster = Cluster::up(3, TIMERS).await;
    let urls = cluster.urls();
    let turn = begin(&urls[0]).await;
    let ask = json!([{ "interaction": "where", "kind": "client_tool", "question": { "data": { "tool": { "id": "c1", "name": "where" } } } }]);
    assert_eq!(emit(&urls[0], &turn, 0, json!({ "ask": ask, "then": "wait" })).await.0, 200);
    // The laptop is there, and has the call for an hour; it is known to be there, so it is known when it is not.
    let path = format!("{SESSION}/events?live=sse&participant=ada&device=laptop");
    let laptop = client().get(format!("{}{path}", urls[1])).send().await.expect("a stream");
    eventually("the laptop is there", async || {
        let people = get(&urls[2], "/presence").await;
        people["people"]["ada"].is_array() || people.to_string().contains("laptop")
    })
    .await;
    let claimed = call(&urls[1], "/claim", "laptop", json!({ "lease_ms": 3_600_000 })).await;
    assert_eq!((claimed.0, &claimed.1["epoch"]), (200, &json!(1)), "{}", claimed.1);
    let busy = call(&urls[2], "/claim", "phone", json!({})).await;
    assert_eq!((code(&busy), &busy.1["by"]), ((409, "call_claimed"), &json!("ada on laptop")));
    let open = get(&urls[2], "").await["interactions"][0]["claimed"].clone();
    assert_eq!((&open["device"], &open["epoch"]), (&json!("laptop"), &json!(1)));
    drop(laptop);
    let mut claimed = Value::Null;
    eventually("the phone has the call", async || {
        let answer = call(&urls[2], "/claim", "phone", json!({})).await;
        claimed = answer.1;
        answer.0 == 200
    })
    .await;
    assert_eq!(claimed["epoch"], 2);
    let here = || json!({ "answer": { "data": { "lat": 1.10 } }, "epoch": 1 });
    assert_eq!(code(&call(&urls[0], "", "laptop", here()).await), (403, "fenced"));
    let there = json!({ "answer": { "data": { "lat": 2 } }, "epoch": 2 });
    assert_eq!(call(&urls[0], "", "phone", there).await.0, 200);
    let received = events(&urls[1]).await;
    let of = |event: &&Value| event["interaction"] == "where";
    let received: Vec<_> = received.iter().filter(of).map(|event| event["type"].clone()).collect();
    assert_eq!(
        received,
        [
            "interaction.requested",
            "interaction.claimed",
            "interaction.released",
            "interaction.claimed",
            "interaction.resolved"
        ]
    );
}

#[tokio::test]
async fn who_takes_over_learns_which_calls_are_in_doubt_and_no_result_is_lost() {
    let cluster = Cluster::up(3, TIMERS).await;
    let urls = cluster.urls();
    let turn = begin(&urls[0]).await;
    let started = json!({ "tools": [{ "call": "c1", "tool": "mail", "arguments": { "data": { "to": "bob" } } }] });
    let (status, received) = emit(&urls[0], &turn, 0, started.clone()).await;
    assert_eq!(status, 200, "{received}");
    let key = received["tools"][0]["key"].as_str().expect("a key").to_owned();
    let (_, again) = emit(&urls[1], &turn, 0, started.clone()).await;
    assert_eq!((&again["duplicate"], &again["tools"]), (&json!(true), &received["tools"]));
    assert_eq!(emit(&urls[1], &turn, 1, json!({ "then": "release" })).await.0, 200);
    let next = claim(&urls[2]).await;
    let doubt = &next["in_doubt"][0];
    assert_eq!(
        (&doubt["call"], &doubt["key"], &doubt["state"]),
        (&json!("c1"), &json!(key), &json!("in_doubt")),
        "{next}"
    );
    // The first worker comes back with what it knows.
    let result = |text: &str| json!({ "call": "c1", "key": key, "epoch": turn["epoch"], "result": { "text": text } });
    let path = format!("{SESSION}/turns/q/tools");
    let (status, late) = post(&urls[0], &path, result("sent")).await;
    assert_eq!(
        (status, &late["late"], &late["duplicate"]),
        (200, &json!(true), &json!(false)),
        "{late}"
    );
    for url in &urls {
        let (_, again) = post(url, &path, result("sent")).await;
        assert_eq!((&again["serial"], &again["duplicate"]), (&late["serial"], &json!(true)));
    }
    let received = format!(
        "{SESSION}/turns/q/signals?epoch={}&after={}",
        next["epoch"],
        next["cursor"].as_str().unwrap()
    );
    let received = client()
        .get(format!("{}{received}", urls[1]))
        .timeout(PATIENCE)
        .send()
        .await
        .expect("an answer");
    let received: Value = received.json().await.expect("JSON");
    let whats: Vec<_> = received["signals"]
        .as_array()
        .expect("told")
        .iter()
        .map(|received| &received["what"])
        .collect();
    assert!(whats.contains(&&json!("tool_result")), "{received}");
    // It makes another call, under the same key as ever.
    let (_, begun) = emit(&urls[2], &next, 0, started).await;
    assert_eq!(begun["tools"][0]["key"], json!(key));
    assert_eq!(emit(&urls[2], &next, 1, json!({ "then": "complete" })).await.0, 200);
    let (status, after) = post(&urls[1], &path, result("bounced")).await;
    assert_eq!((status, &after["late"]), (200, &json!(true)), "after the turn's end: {after}");
    let wrong = json!({ "call": "c2", "key": key, "epoch": 1, "result": { "text": "x" } });
    assert_eq!(code(&post(&urls[1], &path, wrong).await), (404, "no_such_tool_call"));
    for url in &urls {
        let all = events(url).await;
        let tools = all
            .iter()
            .filter(|event| event["type"].as_str().is_some_and(|kind| kind.starts_with("tool.")));
        let tools: Vec<_> = tools
            .map(|event| (event["type"].clone(), event["late"].clone(), event["key"].clone()))
            .collect();
        let started = (json!("tool.started"), Value::Null, json!(key));
        let late = (json!("tool.finished"), json!(true), json!(key));
        assert_eq!(tools, [started.clone(), late.clone(), started, late]);
    }
}
