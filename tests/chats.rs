//! Requests of chat clients that come again: a repeat finds out what the first did, at each door (S11).

use std::time::Duration;

use harness::node::{TestNode, start_single};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long anything may take that is only slow.
const PATIENCE: Duration = Duration::from_secs(60);

async fn send(node: &TestNode, path: &str, body: &Value) -> reqwest::Response {
    let request = reqwest::Client::new().post(format!("{}{path}", node.url)).json(body);
    request.header("outlive-session", "s").send().await.expect("an answer")
}

/// Status and body of a request.
async fn post(node: &TestNode, path: &str, body: &Value) -> (u16, String) {
    let answer = timeout(PATIENCE, send(node, path, body)).await.expect("in time");
    let status = answer.status().as_u16();
    (status, timeout(PATIENCE, answer.text()).await.expect("in time").expect("a body"))
}

/// What a worker does with the next turn.
async fn work(node: &TestNode, emitted: &Value) {
    let claim = json!({ "worker": "w", "wait_ms": 30_000, "lease_ms": 60_000 });
    let (status, turn) = post(node, "/v1/agents/poet/claim", &claim).await;
    assert_eq!(status, 200, "{turn}");
    let turn: Value = serde_json::from_str(&turn).expect("JSON");
    let mut body = json!({ "epoch": turn["epoch"], "seq": 0 });
    body.as_object_mut().expect("an object").extend(emitted.as_object().expect("one").clone());
    let path = format!("/v1/sessions/s/turns/{}/output", turn["turn"].as_str().expect("a turn"));
    let (status, received) = post(node, &path, &body).await;
    assert_eq!(status, 200, "{received}");
}

/// A turn that waits for the output of a tool that the client has.
async fn pending(node: &TestNode) {
    let input = json!({ "id": "t", "agent": "poet", "content": { "text": "where?" } });
    let (status, received) = post(node, "/v1/sessions/s/inputs", &input).await;
    assert_eq!(status, 200, "{received}");
    let question = json!({ "data": { "tool": { "id": "q", "name": "place", "arguments": {} } } });
    let ask = json!([{ "interaction": "q", "kind": "client_tool", "question": question }]);
    work(node, &json!({ "ask": ask, "then": "wait" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_again_after_the_end_is_told_what_came_of_it() {
    let node = start_single().await;
    let put = reqwest::Client::new().put(format!("{}/v1/sessions/s", node.url));
    assert!(put.json(&json!({})).send().await.expect("an answer").status().is_success());
    pending(&node).await;
    let tool = json!({ "role": "tool", "tool_call_id": "q", "content": "Graz" });
    let tool = json!({ "model": "poet", "messages": [tool] });
    let completions = "/v1/openai/chat/completions";
    let done = json!({ "events": [{ "text": "in Graz" }], "then": "complete" });
    let ((status, first), ()) = tokio::join!(post(&node, completions, &tool), work(&node, &done));
    assert_eq!(status, 200, "{first}");
    assert!(first.contains("in Graz"), "{first}");
    assert_eq!(post(&node, completions, &tool).await, (200, first));
    // Another turn of the agent is none of theirs.
    let input = json!({ "id": "other", "agent": "poet", "content": { "text": "and then?" } });
    assert_eq!(post(&node, "/v1/sessions/s/inputs", &input).await.0, 200);
    for emitted in ["Graz", "Wien"] {
        let resume = json!([{ "interruptId": "q", "status": "resolved", "payload": emitted }]);
        let run = json!({ "threadId": "s", "runId": "r2", "messages": [], "resume": resume });
        let (status, received) = post(&node, "/v1/ag-ui/poet", &run).await;
        assert_eq!(status, 200, "{received}");
        assert!(received.contains("in Graz") && received.contains("RUN_FINISHED"), "{received}");
    }
    let unknown = tool.to_string().replace(r#""q""#, r#""p""#);
    let unknown = serde_json::from_str(&unknown).expect("JSON");
    let (status, received) = post(&node, completions, &unknown).await;
    assert_eq!(status, 400, "{received}");
}

/// The id of the message that a request is answered with.
async fn message_of(node: &TestNode, body: &Value) -> String {
    let mut answer = send(node, "/v1/ai-sdk/poet", body).await;
    let mut text = String::new();
    while !text.contains("\n\n") {
        let bytes = timeout(PATIENCE, answer.chunk()).await.expect("in time").expect("no break");
        text += &String::from_utf8_lossy(&bytes.expect("a message has an id"));
    }
    let start = text.split("\n\n").next().and_then(|frame| frame.strip_prefix("data: "));
    let start: Value = serde_json::from_str(start.expect("a frame")).expect("JSON");
    start["messageId"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_wish_for_another_answer_begins_one() {
    let node = start_single().await;
    let parts = json!([{ "type": "text", "text": "hi" }]);
    let message = json!([{ "id": "m", "role": "user", "parts": parts }]);
    let asks = json!({ "id": "s", "messages": message });
    let again = json!({ "id": "s", "messages": message, "trigger": "regenerate-message" });
    let mut known = vec![message_of(&node, &asks).await];
    for _ in 0..2 {
        let (status, received) = post(&node, "/v1/ai-sdk/poet/s/stop", &json!({})).await;
        assert_eq!(status, 200, "{received}");
        let other = message_of(&node, &again).await;
        assert!(!known.contains(&other), "it is another answer");
        // Something happens in the session meanwhile.
        let input = json!({ "id": other, "agent": "critic", "content": { "text": "and you?" } });
        assert_eq!(post(&node, "/v1/sessions/s/inputs", &input).await.0, 200);
        assert_eq!(message_of(&node, &again).await, other);
        known.push(other);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_takes_no_answers_to_what_another_turn_asked() {
    let node = start_single().await;
    let responses = "/v1/openai/responses";
    let body = json!({ "model": "critic", "input": "hi", "conversation": "s", "background": true });
    let (status, made) = post(&node, responses, &body).await;
    assert_eq!(status, 200, "{made}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    pending(&node).await;
    let output = json!([{ "type": "function_call_output", "call_id": "q", "output": "Graz" }]);
    let next = json!({ "model": "critic", "input": output, "previous_response_id": made["id"] });
    let (status, received) = post(&node, responses, &next).await;
    assert_eq!(status, 400, "{received}");
    let url = format!("{}/v1/sessions/s", node.url);
    let received = reqwest::get(&url).await.expect("an answer").text().await.expect("a body");
    assert!(received.contains(r#""interaction":"q""#), "it is still open: {received}");
    // Nor does it delete what is asked beside it.
    let url = format!("{}{responses}/{}", node.url, made["id"].as_str().expect("an id"));
    let deleted = reqwest::Client::new().delete(&url).send().await.expect("an answer");
    assert_eq!(deleted.status().as_u16(), 409);
}

/// Its log is kept for the fork, and nobody is shown it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_was_deleted_is_gone_though_a_fork_holds_it() {
    let node = start_single().await;
    let body = json!({ "model": "poet", "input": "hi", "background": true, "conversation": "s" });
    let (status, made) = post(&node, "/v1/openai/responses", &body).await;
    assert_eq!(status, 200, "{made}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let client = reqwest::Client::new();
    let fork = client.put(format!("{}/v1/stream/f", node.url));
    let fork = fork.header("stream-forked-from", "/v1/stream/s").send().await.expect("an answer");
    assert_eq!(fork.status(), 201);
    let conversation = format!("{}/v1/openai/conversations/s", node.url);
    assert_eq!(client.get(&conversation).send().await.expect("an answer").status(), 200);
    assert!(client.delete(&conversation).send().await.expect("an answer").status().is_success());
    assert_eq!(client.get(&conversation).send().await.expect("an answer").status(), 404);
    let next = json!({ "model": "poet", "input": "and?", "previous_response_id": made["id"] });
    let (status, received) = post(&node, "/v1/openai/responses", &next).await;
    assert_eq!(status, 404, "{received}");
}
