//! What endpoints are told when people change what they were about to do, and when an attempt broke off in a call.

use harness::cluster::client;
use harness::endpoint::{Does, Endpoint, ask, serving, until};
use serde_json::{Value, json};

const STOP: &str = r#"{"type":"finish","finishReason":"stop"}"#;

async fn answer(url: &str, interaction: &str, words: Value) -> (u16, Value) {
    let url = format!("{url}/v1/sessions/s/interactions/{interaction}");
    let body = json!({ "answer": { "data": words }, "participant": "ada", "device": "phone" });
    let answered = client().post(url).json(&body).send().await.expect("an answer");
    (answered.status().as_u16(), answered.json().await.expect("JSON"))
}

/// The call of a tool in the last message that has one, as `messages` tell it.
async fn call(url: &str) -> Value {
    let url = format!("{url}/v1/sessions/s/messages");
    let page: Value = client().get(url).send().await.unwrap().json().await.unwrap();
    let messages = page["messages"].as_array().expect("messages").clone();
    let mut parts =
        messages.iter().rev().flat_map(|message| message["content"].as_array().unwrap());
    parts.find(|part| part["type"] == "tool_call").expect("a call").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_arguments_reach_an_endpoint_of_the_ai_sdk_and_stand_in_messages() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"order","input":{"chairs":3}}"#,
            r#"{"type":"tool-approval-request","approvalId":"i1","toolCallId":"k1"}"#,
            r#"{"type":"finish","finishReason":"tool-calls"}"#,
        ]),
        Does::Sends(&[
            r#"{"type":"tool-output-available","toolCallId":"k1","output":"ordered"}"#,
            STOP,
        ]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "chairs, please").await;
    until(&url, "turn.waiting").await;
    let no = json!({ "approved": false, "arguments": { "chairs": 2 } });
    let (status, problem) = answer(&url, "i1", no).await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_answer")));
    let yes = json!({ "approved": true, "arguments": { "chairs": 2, "price": 1.10 } });
    assert_eq!(answer(&url, "i1", yes).await.0, 200);
    until(&url, "turn.completed").await;
    let part = endpoint.request(1)["messages"][1]["parts"][0].clone();
    assert_eq!(part["state"], "approval-responded", "{part}");
    assert_eq!(part["input"], json!({ "chairs": 2, "price": 1.10 }));
    assert_eq!(part["approval"]["approved"], true);
    let call = call(&url).await;
    assert_eq!(call["arguments"], json!({ "chairs": 2, "price": 1.10 }), "{call}");
    assert_eq!(call["approval"]["proposed"], json!({ "chairs": 3 }));
    assert_eq!((&call["state"], &call["output"]), (&json!("output"), &json!("ordered")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_arguments_reach_an_endpoint_of_ag_ui_under_its_own_name() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"TOOL_CALL_START","toolCallId":"k1","toolCallName":"order"}"#,
            r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k1","delta":"{\"chairs\":3}"}"#,
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1","reason":"tool_call","toolCallId":"k1"}]}}"#,
        ]),
        Does::Sends(&[
            r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k1","content":"ordered"}"#,
            r#"{"type":"RUN_FINISHED"}"#,
        ]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ag-ui", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "chairs, please").await;
    until(&url, "turn.waiting").await;
    let yes = json!({ "approved": true, "arguments": { "chairs": 2 } });
    assert_eq!(answer(&url, "i1", yes).await.0, 200);
    until(&url, "turn.completed").await;
    let requests = endpoint.request(1);
    let payload = &requests["resume"][0]["payload"];
    assert_eq!(
        (&payload["approved"], &payload["editedArgs"]),
        (&json!(true), &json!({ "chairs": 2 }))
    );
    let made = &requests["messages"][1]["toolCalls"][0]["function"]["arguments"];
    assert_eq!(made, r#"{"chairs":3}"#, "what it proposed, as it knows it");
    let call = call(&url).await;
    assert_eq!(call["arguments"], json!({ "chairs": 2 }), "{call}");
    assert_eq!(call["approval"]["proposed"], json!({ "chairs": 3 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_told_which_calls_of_the_one_before_are_in_doubt() {
    const SCRIPT: &[Does] = &[
        Does::Breaks(&[
            r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"look","input":{}}"#,
            r#"{"type":"tool-output-available","toolCallId":"k1","output":1}"#,
            r#"{"type":"tool-input-available","toolCallId":"k2","toolName":"order","input":{"chairs":3}}"#,
        ]),
        Does::Sends(&[STOP]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "chairs, please").await;
    until(&url, "turn.completed").await;
    assert_eq!(endpoint.request(0)["inDoubt"], Value::Null);
    let doubt = endpoint.request(1)["inDoubt"].clone();
    assert_eq!(doubt.as_array().map(Vec::len), Some(1), "{doubt}");
    assert_eq!(
        (&doubt[0]["toolCallId"], &doubt[0]["toolName"], &doubt[0]["input"]),
        (&json!("k2"), &json!("order"), &json!({ "chairs": 3 }))
    );
    let key = doubt[0]["idempotencyKey"].as_str().expect("a key");
    assert_eq!(key.len(), 32, "{key}");
}
