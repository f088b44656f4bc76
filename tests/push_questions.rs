//! What endpoints are asked with: the conversation with all that was said in it, and the answers of people.

use harness::cluster::client;
use harness::endpoint::{
    Does, Endpoint, ask, ask_with, count, end_of, events, output_of, serving, until,
};
use harness::load::eventually;
use serde_json::{Value, json};

const STOP: &str = r#"{"type":"finish","finishReason":"stop"}"#;

async fn post(url: &str, body: Value) -> Value {
    let answered = client().post(url).json(&body).send().await.expect("an answer");
    assert_eq!(answered.status(), 200, "{url} {body}");
    answered.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_are_in_the_conversation_with_what_came_of_them() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"lookup","input":{"id":7}}"#,
            r#"{"type":"tool-output-available","toolCallId":"k1","output":{"left":12}}"#,
            r#"{"type":"text-delta","id":"0","delta":"twelve"}"#,
            STOP,
        ]),
        Does::Sends(&[STOP]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "how many?").await;
    until(&url, "turn.completed").await;
    ask(&url, "t2", "sure?").await;
    count(&url, "turn.completed", 2).await;
    let tool = json!({
        "type": "tool-lookup", "toolCallId": "k1", "state": "output-available",
        "input": { "id": 7 }, "output": { "left": 12 },
    });
    let parts = endpoint.request(1)["messages"][1]["parts"].clone();
    assert_eq!(parts, json!([tool, { "type": "text", "text": "twelve" }]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_text_is_asked_all_the_same() {
    const SCRIPT: &[Does] =
        &[Does::Sends(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("openai", &endpoint, "").await;
    let url = cluster.url(1);
    let output = json!({ "content": { "data": { "n": 1 } } });
    ask_with(&url, "t1", "", output).await;
    until(&url, "turn.completed").await;
    assert_eq!(
        endpoint.request(0)["messages"],
        json!([{ "role": "user", "content": "{\"n\":1}" }])
    );
    let picture = json!({ "content": { "format": "image/png", "base64": "iVBORw0KGgo=" } });
    ask_with(&url, "t2", "", picture).await;
    count(&url, "turn.completed", 2).await;
    let image = json!({
        "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" },
    });
    // Nobody answered in between, and roles take turns.
    let content = json!([{ "type": "text", "text": "{\"n\":1}" }, image]);
    assert_eq!(endpoint.request(1)["messages"], json!([{ "role": "user", "content": content }]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_messages_of_a_person_are_one_where_roles_take_turns() {
    const SCRIPT: &[Does] =
        &[Does::Hangs(&[]), Does::Sends(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("openai", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "first").await;
    eventually("it is asked", async || endpoint.calls.lock().expect("no panic").len() == 1).await;
    post(&format!("{url}/v1/sessions/s/cancel"), json!({ "turn": "t1" })).await;
    ask(&url, "t2", "second").await;
    until(&url, "turn.completed").await;
    let merged = json!([{ "role": "user", "content": "first\n\nsecond" }]);
    assert_eq!(endpoint.request(1)["messages"], merged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_asks_people_and_the_run_that_goes_on_has_their_answer() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"RUN_STARTED","threadId":"t","runId":"r"}"#,
            r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"a","delta":"Let me see."}"#,
            r#"{"type":"TOOL_CALL_START","toolCallId":"k1","toolCallName":"order"}"#,
            r#"{"type":"TOOL_CALL_END","toolCallId":"k1"}"#,
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1","reason":"tool_call","message":"Order 3 chairs?"}]}}"#,
        ]),
        // The run that goes on breaks off once; what was said before the question stays.
        Does::Breaks(&[r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"b","delta":"Ord"}"#]),
        Does::Sends(&[
            r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k1","content":"ordered"}"#,
            r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"b","delta":"Done."}"#,
            r#"{"type":"RUN_FINISHED"}"#,
        ]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ag-ui", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "chairs, please").await;
    until(&url, "turn.waiting").await;
    let all = events(&url).await;
    let calls = all.iter().find(|event| event["type"] == "interaction.requested").expect("one");
    assert_eq!((&calls["interaction"], &calls["kind"]), (&json!("i1"), &json!("approval")));
    assert_eq!(calls["text"], "Order 3 chairs?");
    let answer = json!({ "answer": { "data": { "n": 2 } } });
    post(&format!("{url}/v1/sessions/s/interactions/i1"), answer).await;
    let received = until(&url, "turn.completed").await;
    for again in [1, 2] {
        let calls = endpoint.request(again);
        let resume = json!([{ "interruptId": "i1", "status": "resolved", "payload": { "n": 2 } }]);
        assert_eq!(calls["resume"], resume, "{received:?}");
        assert_eq!((&calls["runId"], &calls["parentRunId"]), (&json!("t1:1"), &json!("t1")));
        let output = &calls["messages"][1];
        assert_eq!(output["content"], "Let me see.");
        assert_eq!(output["toolCalls"][0]["function"]["name"], "order");
        assert_eq!(calls["messages"].as_array().map(Vec::len), Some(2), "{calls}");
    }
    assert_eq!(output_of(&url).await, ["Let me see.", "Done."], "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_goes_back_in_the_part_of_its_tool() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"start","messageId":"m1"}"#,
            r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"order","input":{"chairs":3}}"#,
            r#"{"type":"tool-approval-request","approvalId":"i1","toolCallId":"k1"}"#,
            r#"{"type":"finish","finishReason":"tool-calls"}"#,
            "[DONE]",
        ]),
        Does::Sends(&[r#"{"type":"tool-output-denied","toolCallId":"k1"}"#, STOP]),
        Does::Sends(&[STOP]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "chairs, please").await;
    until(&url, "turn.waiting").await;
    let answer = json!({ "answer": { "data": { "approved": false, "reason": "too many" } } });
    post(&format!("{url}/v1/sessions/s/interactions/i1"), answer).await;
    until(&url, "turn.completed").await;
    let tool = |state: &str| {
        json!({
            "type": "tool-order", "toolCallId": "k1", "state": state, "input": { "chairs": 3 },
            "approval": { "id": "i1", "approved": false, "reason": "too many" },
        })
    };
    let calls = endpoint.request(1);
    assert_eq!(calls["messages"][1]["parts"], json!([tool("approval-responded")]));
    assert_eq!(calls["messageId"], calls["messages"][1]["id"]);
    // A later turn has it as it came out.
    ask(&url, "t2", "thanks").await;
    count(&url, "turn.completed", 2).await;
    assert_eq!(endpoint.request(2)["messages"][1]["parts"], json!([tool("output-denied")]));
}

/// Endpoints name their questions as they like; a session has each name once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_whose_name_was_there_before_is_asked_under_another() {
    const ASKS: Does = Does::Sends(&[
        r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1","message":"Sure?"}]}}"#,
    ]);
    const SCRIPT: &[Does] = &[ASKS, ASKS, Does::Sends(&[r#"{"type":"RUN_FINISHED"}"#])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ag-ui", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    for (times, name) in [(1, "i1"), (2, "i1~2")] {
        count(&url, "turn.waiting", times).await;
        let answer = json!({ "answer": { "data": times } });
        post(&format!("{url}/v1/sessions/s/interactions/{name}"), answer).await;
    }
    until(&url, "turn.completed").await;
    for (again, payload) in [(1, 1), (2, 2)] {
        let resume = json!([{ "interruptId": "i1", "status": "resolved", "payload": payload }]);
        assert_eq!(endpoint.request(again)["resume"], resume);
    }
}

/// The session offers a turn at its first answer; who has asked twice is to have both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_asked_twice_goes_on_with_both_answers() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1","message":"Red?"},{"id":"i2","message":"Big?"}]}}"#,
        ]),
        Does::Sends(&[r#"{"type":"RUN_FINISHED"}"#]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ag-ui", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "a chair").await;
    let put_away = json!({ "approved": false, "cancelled": true });
    for (times, name, answer) in [(1, "i1", json!(1)), (2, "i2", put_away)] {
        count(&url, "turn.waiting", times).await;
        let answer = json!({ "answer": { "data": answer } });
        post(&format!("{url}/v1/sessions/s/interactions/{name}"), answer).await;
    }
    let received = until(&url, "turn.completed").await;
    let calls = endpoint.request(1);
    let answered = json!({ "interruptId": "i1", "status": "resolved", "payload": 1 });
    let put_away = json!({ "interruptId": "i2", "status": "cancelled" });
    assert_eq!(calls["resume"], json!([answered, put_away]), "{received:?}");
    assert_eq!((&calls["runId"], &calls["parentRunId"]), (&json!("t1:1"), &json!("t1")));
}

/// Somebody types instead of answering: the run goes on, and is told that its question is void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_instead_of_answering_is_heard() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1","message":"Sure?"}]}}"#,
        ]),
        Does::Sends(&[r#"{"type":"RUN_FINISHED"}"#]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ag-ui", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    until(&url, "turn.waiting").await;
    ask(&url, "t2", "no, otherwise").await;
    until(&url, "turn.completed").await;
    let calls = endpoint.request(1);
    assert_eq!(calls["resume"], json!([{ "interruptId": "i1", "status": "cancelled" }]));
    assert_eq!(calls["messages"][1]["content"], "no, otherwise");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_without_a_name_fails_the_turn() {
    const SCRIPT: &[Does] = &[Does::Sends(&[
        r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":""}]}}"#,
    ])];
    let (received, all, requests) = end_of("ag-ui", SCRIPT, "").await;
    assert_eq!(requests, 1, "{received:?}");
    let reason = "the endpoint asks what cannot be kept: its name or its size";
    assert_eq!(all.last().expect("one")["reason"], reason);
}

/// As many questions as a session may have are open: another one would be refused again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_the_session_has_no_room_for_fails_the_turn() {
    static SCRIPT: std::sync::LazyLock<[Does; 1]> = std::sync::LazyLock::new(|| {
        let calls: Vec<_> = (0..65).map(|at| json!({ "id": format!("i{at}") })).collect();
        let outcome = json!({ "type": "interrupt", "interrupts": calls });
        let finish = json!({ "type": "RUN_FINISHED", "outcome": outcome }).to_string();
        [Does::Sends(vec![&*finish.leak()].leak())]
    });
    let (received, all, requests) = end_of("ag-ui", &*SCRIPT, "").await;
    assert_eq!(requests, 1, "{received:?}");
    let reason = all.last().expect("one")["reason"].as_str().expect("text").to_owned();
    assert!(reason.contains("64"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_not_whole_says_so_in_the_log() {
    const SCRIPT: &[Does] = &[Does::Sends(&[STOP])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", &"A".repeat(150_000)).await;
    let received = until(&url, "turn.completed").await;
    assert!(!received.iter().any(|received| received.contains("omitted")), "{received:?}");
    ask(&url, "t2", &"B".repeat(150_000)).await;
    let received = count(&url, "turn.completed", 2).await;
    let omitted: Vec<_> = received.iter().filter(|received| received.contains("omitted")).collect();
    assert_eq!(omitted.len(), 1, "{received:?}");
    assert!(omitted[0].contains(r#""type":"conversation""#), "{omitted:?}");
    let messages = endpoint.request(1)["messages"].clone();
    assert_eq!(
        messages.as_array().map(Vec::len),
        Some(1),
        "what is left of the first is not sent in part"
    );
}

/// As a route checks it that was given the secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_can_tell_who_calls() {
    use outlive::auth::SigningSecret;
    const SCRIPT: &[Does] = &[Does::Breaks(&[]), Does::Sends(&[STOP])];
    let secrets =
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "AAAAQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAA"];
    let dir = tempfile::tempdir().expect("a directory");
    let mut places = Vec::new();
    for (at, secret) in secrets.iter().enumerate() {
        let place = dir.path().join(at.to_string());
        std::fs::write(&place, secret).expect("written");
        places.push(place);
    }
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) =
        serving("ai-sdk", &endpoint, &format!("signing_secrets = {places:?}")).await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    until(&url, "turn.completed").await;
    let secrets = secrets.map(|text| SigningSecret::parse(text).expect("a secret"));
    let mut ids = Vec::new();
    for (head, body) in endpoint.raw.lock().expect("no panic").iter() {
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{head}")).trim_start_matches(": ").to_owned()
        };
        let (id, at) = (header("webhook-id"), header("webhook-timestamp").parse().expect("one"));
        let expected = SigningSecret::signatures(&secrets, &id, at, body);
        assert_eq!(header("webhook-signature"), expected);
        assert!(!String::from_utf8_lossy(body).contains("whsec_"));
        ids.push(id);
    }
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1], "each attempt has its own");
}

/// What was said before a conversation began is told, in front of all else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_begins_with_items_is_told_with_them() {
    const SCRIPT: &[Does] =
        &[Does::Sends(&[r#"{"choices":[{"delta":{"content":"Ada."},"finish_reason":"stop"}]}"#])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("openai", &endpoint, "").await;
    let url = cluster.url(1);
    let item = |role: &str, text: &str| json!({ "type": "message", "role": role, "content": text });
    let items = json!([item("user", "I am Ada."), item("assistant", "Hello, Ada.")]);
    let made = post(&format!("{url}/v1/openai/conversations"), json!({ "items": items })).await;
    let body = json!({ "model": "helper", "input": "Who am I?", "conversation": made["id"] });
    let received = post(&format!("{url}/v1/openai/responses"), body).await;
    assert_eq!(received["output"][0]["content"][0]["text"], "Ada.", "{received}");
    let output = |role: &str, text: &str| json!({ "role": role, "content": text });
    let expected = json!([
        output("user", "I am Ada."),
        output("assistant", "Hello, Ada."),
        output("user", "Who am I?"),
    ]);
    assert_eq!(endpoint.request(0)["messages"], expected);
}
