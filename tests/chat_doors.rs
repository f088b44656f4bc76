//! What becomes of chat clients' requests where their session, or its agent, is not as they think.

use std::time::Duration;

use harness::node::{TestNode, start_single, start_single_with};
use harness::socket::Client;
use outlive::auth::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long anything may take that is only slow.
const PATIENCE: Duration = Duration::from_secs(60);
const RESPONSES: &str = "/v1/openai/responses";
const ROOT: &str = "root-0123456789abcdef0123456789abcdef";

/// Status and body of a request with these headers.
async fn ask_with(
    node: &TestNode,
    (method, path): (Method, &str),
    body: &Value,
    headers: &[(&str, &str)],
) -> (u16, String) {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", node.url));
    if !body.is_null() {
        request = request.json(body);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = timeout(PATIENCE, request.send()).await.expect("in time").expect("an answer");
    let status = answer.status().as_u16();
    (status, timeout(PATIENCE, answer.text()).await.expect("in time").expect("a whole body"))
}

async fn post(node: &TestNode, path: &str, body: &Value) -> (u16, String) {
    ask_with(node, (Method::POST, path), body, &[]).await
}

async fn get(node: &TestNode, path: &str) -> (u16, String) {
    ask_with(node, (Method::GET, path), &Value::Null, &[]).await
}

async fn delete(node: &TestNode, path: &str) -> u16 {
    ask_with(node, (Method::DELETE, path), &Value::Null, &[]).await.0
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// The next turn of the agent `poet`.
async fn claim(node: &TestNode) -> Value {
    let claim = json!({ "worker": "w", "wait_ms": 30_000, "lease_ms": 60_000 });
    let (status, turn) = post(node, "/v1/agents/poet/claim", &claim).await;
    assert_eq!(status, 200, "{turn}");
    parse(&turn)
}

async fn emit(node: &TestNode, turn: &Value, seq: u64, emitted: &Value) {
    let mut body = json!({ "epoch": turn["epoch"], "seq": seq });
    body.as_object_mut().expect("an object").extend(emitted.as_object().expect("one").clone());
    let (session, turn) = (turn["session"].as_str(), turn["turn"].as_str());
    let (session, turn) = (session.expect("a name"), turn.expect("a name"));
    let path = format!("/v1/sessions/{session}/turns/{turn}/output");
    let (status, received) = post(node, &path, &body).await;
    assert_eq!(status, 200, "{received}");
}

fn hello() -> Value {
    let parts = json!([{ "type": "text", "text": "hi" }]);
    json!({ "id": "s", "messages": [{ "id": "m", "role": "user", "parts": parts }] })
}

/// The frames of a stream, without its last word.
fn chunks(stream: &str) -> Vec<Value> {
    let frames = stream.split("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
    frames.filter(|data| *data != "[DONE]").map(parse).collect()
}

fn types(chunks: &[Value]) -> Vec<&str> {
    chunks.iter().map(|chunk| chunk["type"].as_str().expect("a type")).collect()
}

/// The agent keeps its turn, and has told no call: its question is the client's all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_asks_and_keeps_its_turn_is_answered() {
    let node = start_single().await;
    let body = hello();
    let asks = async {
        let turn = claim(&node).await;
        let tool = json!({ "id": "call-1", "name": "drop", "arguments": { "table": "a" } });
        let question = json!({ "data": { "tool": tool } });
        let ask = json!([{ "interaction": "ap-1", "kind": "approval", "question": question }]);
        emit(&node, &turn, 0, &json!({ "ask": ask })).await;
        turn
    };
    let ((status, received), turn) = tokio::join!(post(&node, "/v1/ai-sdk/poet", &body), asks);
    assert_eq!(status, 200, "{received}");
    let received = chunks(&received);
    let expected = [
        "start",
        "start-step",
        "tool-input-start",
        "tool-input-available",
        "tool-approval-request",
        "finish-step",
        "finish",
    ];
    assert_eq!(types(&received), expected);
    assert_eq!(received[3]["input"], json!({ "table": "a" }));
    assert_eq!(
        (&received[4]["approvalId"], &received[4]["toolCallId"]),
        (&json!("ap-1"), &json!("call-1"))
    );
    assert_eq!(received[6]["finishReason"], "tool-calls");
    let approval = json!({ "id": "ap-1", "approved": true });
    let part = json!({
        "type": "tool-drop", "toolCallId": "call-1", "state": "approval-responded",
        "input": {}, "approval": approval,
    });
    let answer = json!({ "id": received[0]["messageId"], "role": "assistant", "parts": [part] });
    let answers = json!({ "id": "s", "messages": [answer] });
    let output = json!({ "type": "tool-output-available", "toolCallId": "call-1", "output": 1 });
    let output = json!({ "format": "ai-sdk/1", "text": output.to_string() });
    let emitted = json!({ "events": [output], "then": "complete" });
    let goes_on = async {
        // It hears of the answer in its own time.
        let path = "/v1/sessions/s";
        while get(&node, path).await.1.contains(r#""interaction":"ap-1""#) {
            tokio::task::yield_now().await;
        }
        emit(&node, &turn, 1, &emitted).await;
    };
    let ((status, received), ()) = tokio::join!(post(&node, "/v1/ai-sdk/poet", &answers), goes_on);
    assert_eq!(status, 200, "{received}");
    let received = chunks(&received);
    assert_eq!(types(&received), ["start", "tool-output-available", "finish"]);
    assert_eq!(received[2]["finishReason"], "stop");
}

/// The name of a question is not that of the call that it is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_of_the_clients_is_answered_by_the_name_of_its_call() {
    let node = start_single().await;
    let asks = async {
        let turn = claim(&node).await;
        let question = json!({ "data": { "tool": { "id": "call-1", "name": "place" } } });
        let ask = json!([{ "interaction": "q-7", "kind": "client_tool", "question": question }]);
        emit(&node, &turn, 0, &json!({ "ask": ask, "then": "wait" })).await;
    };
    let body = hello();
    let ((_, received), ()) = tokio::join!(post(&node, "/v1/ai-sdk/poet", &body), asks);
    let received = chunks(&received);
    let call =
        received.iter().find(|chunk| chunk["type"] == "tool-input-available").expect("a call");
    assert_eq!((&call["toolCallId"], &call["toolName"]), (&json!("call-1"), &json!("place")));
    let part = json!({
        "type": "tool-place", "toolCallId": "call-1", "state": "output-available", "output": "Graz",
    });
    let answer = json!({ "id": received[0]["messageId"], "role": "assistant", "parts": [part] });
    let answers = json!({ "id": "s", "messages": [answer] });
    let goes_on = async {
        let turn = claim(&node).await;
        emit(&node, &turn, 0, &json!({ "events": [{ "text": "in Graz" }], "then": "complete" }))
            .await;
    };
    let ((status, received), ()) = tokio::join!(post(&node, "/v1/ai-sdk/poet", &answers), goes_on);
    assert!(status == 200 && received.contains("in Graz"), "{status} {received}");
}

/// The same question, as the other clients are asked it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_agent_asks_and_keeps_its_turn_is_complete() {
    let node = start_single().await;
    let body = json!({ "model": "poet", "input": "where?", "conversation": "s", "stream": true });
    let asks = async {
        let turn = claim(&node).await;
        let question = json!({ "data": { "tool": "place", "arguments": { "n": 1 } } });
        let ask = json!([{ "interaction": "q-7", "kind": "client_tool", "question": question }]);
        emit(&node, &turn, 0, &json!({ "ask": ask })).await;
        turn
    };
    let ((_, received), turn) = tokio::join!(post(&node, RESPONSES, &body), asks);
    let last = received.trim_end().split("\n\n").last().expect("a frame").to_owned();
    assert!(last.starts_with("event: response.completed\n"), "{received}");
    let last = parse(last.split_once("data: ").expect("data").1);
    let response = &last["response"];
    let call = &response["output"][0];
    assert_eq!(response["output"].as_array().map(Vec::len), Some(1), "{response}");
    assert_eq!((&call["type"], &call["call_id"]), (&json!("function_call"), &json!("q-7")));
    assert_eq!((&call["name"], &call["arguments"]), (&json!("place"), &json!(r#"{"n":1}"#)));
    // Whoever asks again is told the same, by the same numbers.
    let id = response["id"].as_str().expect("an id");
    let (status, again) = get(&node, &format!("{RESPONSES}/{id}")).await;
    assert_eq!((status, &parse(&again)), (200, response));
    let output = json!([{ "type": "function_call_output", "call_id": "q-7", "output": "Graz" }]);
    let next = json!({ "model": "poet", "input": output, "previous_response_id": id });
    let goes_on = async {
        while get(&node, "/v1/sessions/s").await.1.contains(r#""interaction":"q-7""#) {
            tokio::task::yield_now().await;
        }
        emit(&node, &turn, 1, &json!({ "events": [{ "text": "in Graz" }], "then": "complete" }))
            .await;
    };
    let ((status, received), ()) = tokio::join!(post(&node, RESPONSES, &next), goes_on);
    assert!(status == 200 && received.contains("in Graz"), "{status} {received}");
    let (_, whole) = get(&node, &format!("{RESPONSES}/{id}?stream=true")).await;
    let ends = format!(r#""sequence_number":{}"#, last["sequence_number"]);
    assert!(whole.trim_end().split("\n\n").last().expect("one").contains(&ends), "{whole}");
    assert!(!whole.contains("in Graz"), "{whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_of_another_life_of_its_session_is_none() {
    let node = start_single().await;
    let body = json!({ "model": "poet", "input": "hi", "conversation": "s", "background": true });
    let (status, made) = post(&node, RESPONSES, &body).await;
    assert_eq!(status, 200, "{made}");
    let id = parse(&made)["id"].as_str().expect("an id").to_owned();
    let path = format!("{RESPONSES}/{id}");
    // Nothing follows what is not there yet.
    let (status, received) = get(&node, &format!("{path}?stream=true&starting_after=1000")).await;
    assert_eq!((status, &parse(&received)["error"]["code"]), (400, &json!("bad_query")));
    assert_eq!(get(&node, &path).await.0, 200);
    assert_eq!(delete(&node, "/v1/sessions/s").await, 204);
    for rest in ["", "?stream=true", "/input_items"] {
        assert_eq!(get(&node, &format!("{path}{rest}")).await.0, 404, "{rest}");
    }
    // The next life has an input of the same name at the same place.
    let (status, again) = post(&node, RESPONSES, &body).await;
    assert_eq!(status, 200, "{again}");
    assert_ne!(parse(&again)["id"], json!(id));
    for rest in ["", "?stream=true", "/input_items"] {
        let (status, received) = get(&node, &format!("{path}{rest}")).await;
        assert_eq!(status, 404, "{rest}: {received}");
    }
    let next = json!({ "model": "poet", "input": "and?", "previous_response_id": id });
    assert_eq!(post(&node, RESPONSES, &next).await.0, 404);
    assert_eq!(post(&node, &format!("{path}/cancel"), &json!({})).await.0, 404);
    assert_eq!(delete(&node, &path).await, 404);
    assert_eq!(get(&node, "/v1/sessions/s").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_gone_on_with_after_what_is_not_there_is_refused() {
    let node = start_single().await;
    let message = json!({ "id": "m", "role": "user", "content": "hi" });
    let run = json!({ "threadId": "s", "runId": "r", "messages": [message] });
    let path = "/v1/ag-ui/poet";
    let works = async {
        let turn = claim(&node).await;
        emit(&node, &turn, 0, &json!({ "events": [{ "text": "Roses" }], "then": "complete" }))
            .await;
    };
    let ((_, whole), ()) = tokio::join!(post(&node, path, &run), works);
    let last = whole.lines().rev().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let after = async |id: &str| {
        ask_with(&node, (Method::POST, path), &run, &[("last-event-id", id)]).await
    };
    // Whoever has the last word is told that, and whoever has more that there is none.
    let (status, received) = after(last).await;
    assert!(
        status == 200 && received.contains("RUN_FINISHED") && !received.contains("Roses"),
        "{received}"
    );
    let (place, number) = last.rsplit_once('-').expect("a place");
    let number = 1 + number.parse::<u64>().expect("a number");
    for beyond in [&format!("{place}-{number}"), "1-999999-0", "2-1-0"] {
        let (status, received) = after(beyond).await;
        assert!(
            status == 200 && received.contains(r#""code":"cursor_out_of_range""#),
            "{received}"
        );
        assert!(!received.contains("RUN_FINISHED"), "{received}");
    }
    assert_eq!(after("nonsense").await.0, 400);
    // A run of a life that is over does not begin anew.
    assert_eq!(delete(&node, "/v1/sessions/s").await, 204);
    let (status, received) = after(last).await;
    assert!(status == 200 && received.contains("RUN_ERROR"), "{status} {received}");
    assert_eq!(get(&node, "/v1/sessions/s").await.0, 404);
}

/// A chat completion is told of no session that was deleted while it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_whose_session_is_deleted_is_no_more() {
    let node = start_single().await;
    let body = json!({ "model": "poet", "messages": [{ "role": "user", "content": "hi" }] });
    let header = [("outlive-session", "s")];
    let path = (Method::POST, "/v1/openai/chat/completions");
    let ends = async {
        claim(&node).await;
        assert_eq!(delete(&node, "/v1/sessions/s").await, 204);
    };
    let ((status, received), ()) = tokio::join!(ask_with(&node, path, &body, &header), ends);
    assert_eq!((status, &parse(&received)["error"]["code"]), (404, &json!("no_such_turn")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_has_what_it_was_created_with() {
    let node = start_single().await;
    let item = |role: &str, text: &str| json!({ "type": "message", "role": role, "content": text });
    let items = json!([item("user", "I am Ada."), item("assistant", "Hello, Ada.")]);
    let body = json!({ "metadata": { "topic": "names" }, "items": items });
    let key = [("idempotency-key", "k-1")];
    let create = async |body: &Value| {
        ask_with(&node, (Method::POST, "/v1/openai/conversations"), body, &key).await
    };
    let (status, made) = create(&body).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(create(&body).await, (200, made.clone()), "the same again has the effect of one");
    for other in [json!([items[0]]), json!([items[1], items[0]]), json!([])] {
        let body = json!({ "metadata": { "topic": "names" }, "items": other });
        let (status, received) = create(&body).await;
        assert_eq!(
            (status, &parse(&received)["error"]["code"]),
            (409, &json!("conflict")),
            "{other}"
        );
    }
    let made = parse(&made);
    assert_eq!(made["metadata"], json!({ "topic": "names" }));
    let id = made["id"].as_str().expect("an id");
    let shown = get(&node, &format!("/v1/openai/conversations/{id}")).await;
    assert_eq!((shown.0, parse(&shown.1)), (200, made.clone()));
    let page = get(&node, &format!("/v1/sessions/{id}/events")).await.1;
    assert!(page.contains("Hello, Ada."), "{page}");
    for (wrong, code) in [
        (json!({ "metadata": { "a": 1 } }), "bad_json"),
        (json!({ "metadata": { "a": "x".repeat(300) } }), "bad_config"),
        (json!({ "items": [{ "type": "function_call_output", "output": "" }] }), "bad_json"),
        (json!({ "items": [item("system", "Be brief.")] }), "bad_json"),
    ] {
        let (status, received) = post(&node, "/v1/openai/conversations", &wrong).await;
        assert_eq!((status, &parse(&received)["error"]["code"]), (400, &json!(code)), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_parts_has_its_text() {
    let node = start_single().await;
    let image = json!({ "type": "input_image", "image_url": "data:image/png;base64,AA==" });
    let text = |text: &str| json!({ "type": "input_text", "text": text });
    let content = json!([text("What"), image, text("is it?")]);
    let input = json!([{ "role": "user", "content": content }]);
    let body = json!({ "model": "poet", "input": input, "conversation": "s", "background": true });
    assert_eq!(post(&node, RESPONSES, &body).await.0, 200);
    let (_, received) = get(&node, "/v1/sessions/s/messages").await;
    let message = &parse(&received)["messages"][0];
    assert_eq!(message["text"], "What\n\nis it?", "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_its_role_forbids_leaves_no_session_behind() {
    let node = start_single_with(|config| config.root_key = Some(Secret::of(ROOT))).await;
    let bearer = format!("Bearer {ROOT}");
    let root = [("authorization", bearer.as_str())];
    let rights = json!(["read", "send", "create", "cancel"]);
    let body = json!({ "name": "watcher", "rights": rights, "role": "observer" });
    let (status, made) = ask_with(&node, (Method::POST, "/v1/keys"), &body, &root).await;
    assert_eq!(status, 201, "{made}");
    let key = format!("Bearer {}", parse(&made)["key"].as_str().expect("a key"));
    let key = [("authorization", key.as_str())];
    let (status, received) =
        ask_with(&node, (Method::POST, "/v1/ai-sdk/poet"), &hello(), &key).await;
    assert_eq!((status, &parse(&received)["code"]), (403, &json!("insufficient_role")));
    let (status, _) = ask_with(&node, (Method::GET, "/v1/sessions/s"), &Value::Null, &root).await;
    assert_eq!(status, 404);
}

/// What is not there is told in the client's own errors, too.
#[tokio::test]
async fn a_path_that_leads_nowhere_is_answered_as_the_client_reads_it() {
    let node = start_single().await;
    for (method, path, wanted) in [
        (Method::GET, "/v1/openai/models", 404),
        (Method::DELETE, "/v1/openai/chat/completions", 405),
    ] {
        let (status, received) = ask_with(&node, (method, path), &Value::Null, &[]).await;
        let error = &parse(&received)["error"];
        assert_eq!(status, wanted, "{received}");
        assert!(error["message"].is_string() && error["code"].is_string(), "{received}");
    }
    let (status, received) = ask_with(&node, (Method::GET, "/v1/nothing"), &Value::Null, &[]).await;
    assert_eq!((status, &parse(&received)["code"]), (404, &json!("unknown_path")));
}

/// The AI SDK's frames on a WebSocket: an answer in order, what is aborted is cancelled, and what is no frame ends the
/// connection alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_has_its_chats_on_one_socket_and_what_it_aborts_is_cancelled() {
    let node = start_single().await;
    let path = "/v1/ai-sdk/poet/ws";
    let mut page = Client::open(&node, path).await;
    let send = |request: &str, chat: &str, message: &str| {
        let parts = json!([{ "type": "text", "text": "hi" }]);
        let messages = json!([{ "id": message, "role": "user", "parts": parts }]);
        json!({ "type": "send", "requestId": request, "id": chat, "messages": messages })
    };
    page.send(&send("r1", "one", "m1")).await;
    let first = claim(&node).await;
    page.send(&send("r2", "two", "m2")).await;
    let second = claim(&node).await;
    emit(&node, &first, 0, &json!({ "events": [{ "text": "Roses" }], "then": "complete" })).await;
    let mut seen = Vec::new();
    loop {
        let of_first = |frame: &Value| frame["requestId"] == "r1";
        let frame = page.find("a frame of the first answer", of_first).await;
        if frame["type"] == "end" {
            break;
        }
        assert_eq!(frame["sequence"], seen.len() as u64, "{frame}");
        seen.push(frame["chunk"].clone());
    }
    let kinds = ["start", "start-step", "text-start", "text-delta", "text-end"];
    assert_eq!(types(&seen), [&kinds[..], &["finish-step", "finish"]].concat());

    let mut device = Client::open(&node, path).await;
    device.send(&json!({ "type": "resume", "requestId": "r", "id": "one" })).await;
    let none = device.find("that nothing runs", |frame| frame["type"] == "no-active").await;
    assert_eq!(none["requestId"], "r");
    device.send(&json!({ "type": "resume", "requestId": "s", "id": "two" })).await;
    device.find("that it runs", |frame| frame["type"] == "start").await;
    page.send(&json!({ "type": "abort", "requestId": "r2" })).await;
    let is_abort = |frame: &Value| frame["chunk"]["type"] == "abort";
    device.find("the abort", is_abort).await;
    device.find("its end", |frame| frame["type"] == "end").await;
    let (status, turn) = get(&node, "/v1/sessions/two/turns/m2").await;
    assert_eq!((status, &parse(&turn)["state"]), (200, &json!("cancelled")));
    let late = json!({ "epoch": second["epoch"], "seq": 0, "events": [{ "text": "late" }] });
    assert_eq!(post(&node, "/v1/sessions/two/turns/m2/output", &late).await.0, 410);

    device.send(&json!({ "type": "send", "requestId": "x".repeat(1_000) })).await;
    assert!(device.frame().await.unwrap_err().starts_with("1008"));
    page.send(&send("r3", "one", "m3")).await;
    let third = claim(&node).await;
    drop(page);
    emit(&node, &third, 0, &json!({ "events": [{ "text": "on" }], "then": "complete" })).await;
}
