//! Models as agents: what they are asked, and how their answers end, from end to end.

use harness::endpoint::{Does, Endpoint, ask, count, node, output_of, until};
use harness::load::eventually;
use serde_json::json;

const START: &str = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":7}}}"#;
const BLOCK: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const HALF: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Ros"}}"#;
const ROSES: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Roses"}}"#;
const END_OF_BLOCK: &str = r#"{"type":"content_block_stop","index":0}"#;
const TURN: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_behind_the_messages_api_answers() {
    const SCRIPT: &[Does] = &[
        // It has no room for now, and then its connection ends in form without an end of the answer.
        Does::Sends(&[
            START,
            BLOCK,
            HALF,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"no room"}}"#,
        ]),
        Does::Sends(&[START, BLOCK, HALF, END_OF_BLOCK, TURN]),
        // The connection stays after the end.
        Does::Hangs(&[START, BLOCK, ROSES, END_OF_BLOCK, TURN, STOP]),
        Does::Sends(&[
            START,
            r#"{"type":"message_delta","delta":{"stop_reason":"refusal"}}"#,
            STOP,
        ]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let base = endpoint.url.trim_end_matches("/agent");
    let agent = format!(
        "kind = \"model\"\nprotocol = \"anthropic\"\nurl = \"{base}\"\nmodel = \"m-1\"\nmax_tokens = 99\nheaders = {{ x-api-key = \"k-1\" }}"
    );
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "a poem").await;
    let received = until(&url, "turn.completed").await;
    assert_eq!(output_of(&url).await, ["Roses"], "{received:?}");
    assert_eq!(
        received.iter().filter(|received| *received == "agent.lost").count(),
        2,
        "{received:?}"
    );
    ask(&url, "t2", "another").await;
    let received = until(&url, "turn.failed").await;
    let requests = endpoint.request(3);
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    let messages = json!([
        { "role": "user", "content": text("a poem") },
        { "role": "assistant", "content": text("Roses") },
        { "role": "user", "content": text("another") },
    ]);
    assert_eq!(requests["messages"], messages, "{received:?}");
    assert_eq!((&requests["model"], &requests["max_tokens"]), (&json!("m-1"), &json!(99)));
    assert_eq!(requests["stream"], true);
    let (head, _) = endpoint.raw.lock().expect("no panic")[0].clone();
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-api-key: k-1\r\n"), "{head}");
    assert!(head.contains("anthropic-version: 2023-06-01\r\n"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_behind_chat_completions_answers() {
    const SCRIPT: &[Does] = &[Does::Sends(&[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Roses"},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"total_tokens":7}}"#,
        "[DONE]",
    ])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let base = endpoint.url.trim_end_matches("/agent");
    let agent = format!("kind = \"model\"\nurl = \"{base}/v1\"\nmodel = \"m-1\"");
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "a poem").await;
    let received = until(&url, "turn.completed").await;
    assert_eq!(output_of(&url).await, ["Roses"], "{received:?}");
    assert_eq!(endpoint.request(0)["model"], "m-1");
    let (head, _) = endpoint.raw.lock().expect("no panic")[0].clone();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
}

/// Calls that a run leaves to its client are made by a device, and their results go back as messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_calls_are_the_clients_waits_for_them() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"RUN_STARTED","threadId":"s","runId":"t1"}"#,
            r#"{"type":"TOOL_CALL_START","toolCallId":"k1","toolCallName":"place"}"#,
            r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k1","delta":"{\"n\":1}"}"#,
            r#"{"type":"TOOL_CALL_END","toolCallId":"k1"}"#,
            r#"{"type":"RUN_FINISHED","threadId":"s","runId":"t1","outcome":{"type":"success","pendingToolCallIds":["k1"]}}"#,
        ]),
        Does::Sends(&[r#"{"type":"RUN_FINISHED","outcome":{"type":"success"}}"#]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let agent = format!("kind = \"push\"\nprotocol = \"ag-ui\"\nurl = \"{}\"", endpoint.url);
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "where?").await;
    count(&url, "turn.waiting", 1).await;
    let requests = harness::endpoint::events(&url).await;
    let requests =
        requests.iter().find(|event| event["type"] == "interaction.requested").expect("one");
    assert_eq!(
        (&requests["interaction"], &requests["kind"]),
        (&json!("k1"), &json!("client_tool"))
    );
    let tool = json!({ "id": "k1", "name": "place", "arguments": { "n": 1 } });
    assert_eq!(requests["data"], json!({ "tool": tool }));
    let answer = json!({ "answer": { "data": "Graz" } });
    let place = format!("{url}/v1/sessions/s/interactions/k1");
    let answered = harness::cluster::client().post(place).json(&answer).send().await;
    assert_eq!(answered.expect("an answer").status(), 200);
    eventually("it goes on", async || endpoint.calls.lock().expect("no panic").len() == 2).await;
    let received = until(&url, "turn.completed").await;
    let requests = endpoint.request(1);
    let last = &requests["messages"][2];
    assert_eq!(
        (&last["role"], &last["toolCallId"]),
        (&json!("tool"), &json!("k1")),
        "{received:?}"
    );
    assert_eq!(last["content"], "Graz");
    assert_eq!(requests.get("resume"), None);
}
