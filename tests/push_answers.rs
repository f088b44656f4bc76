//! What the answers of endpoints mean: parts, ends, errors, and what is taken back or put off.

use harness::endpoint::{
    Does, Endpoint, ask, ask_with, count, end_of, events, output_of, serving, until,
};
use serde_json::json;

const STOP: &str = r#"{"type":"finish","finishReason":"stop"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_cut_is_complete_for_that_reason() {
    const OPENAI: &[Does] = &[Does::Sends(&[
        r#"{"choices":[{"index":0,"delta":{"content":"one two"},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
        "[DONE]",
    ])];
    const AI_SDK: &[Does] = &[Does::Sends(&[
        r#"{"type":"text-delta","id":"0","delta":"one two"}"#,
        r#"{"type":"finish","finishReason":"length"}"#,
    ])];
    for (protocol, script) in [("openai", OPENAI), ("ai-sdk", AI_SDK)] {
        let (received, all, _) = end_of(protocol, script, "").await;
        let last = all.last().expect("one");
        assert_eq!((&last["type"], &last["reason"]), (&json!("turn.completed"), &json!("length")));
        assert!(received.contains(&"text:one two".to_owned()), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_reset_is_superseded_and_what_came_before_it_stays() {
    const SCRIPT: &[Does] = &[Does::Sends(&[
        r#"{"type":"start"}"#,
        r#"{"type":"start-step"}"#,
        r#"{"type":"text-delta","id":"0","delta":"Before."}"#,
        r#"{"type":"finish-step"}"#,
        r#"{"type":"start-step"}"#,
        r#"{"type":"text-start","id":"1"}"#,
        r#"{"type":"text-delta","id":"1","delta":"one tw"}"#,
        r#"{"type":"reset-step"}"#,
        r#"{"type":"text-start","id":"2"}"#,
        r#"{"type":"text-delta","id":"2","delta":"one two three"}"#,
        STOP,
    ])];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "hi").await;
    let received = until(&url, "turn.completed").await;
    assert_eq!(
        received.iter().filter(|received| *received == "step.rewound").count(),
        1,
        "{received:?}"
    );
    assert_eq!(output_of(&url).await, ["Before.\n\none two three"], "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_texts_of_an_answer_are_two_paragraphs() {
    const AI_SDK: &[Does] = &[Does::Sends(&[
        r#"{"type":"start-step"}"#,
        r#"{"type":"text-start","id":"t1"}"#,
        r#"{"type":"text-delta","id":"t1","delta":"One."}"#,
        r#"{"type":"text-end","id":"t1"}"#,
        r#"{"type":"start-step"}"#,
        r#"{"type":"text-start","id":"t2"}"#,
        r#"{"type":"text-delta","id":"t2","delta":"Two."}"#,
        r#"{"type":"text-end","id":"t2"}"#,
        STOP,
    ])];
    const AG_UI: &[Does] = &[Does::Sends(&[
        r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"a","delta":"One."}"#,
        r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"b","delta":"Two."}"#,
        r#"{"type":"RUN_FINISHED"}"#,
    ])];
    for (protocol, script) in [("ai-sdk", AI_SDK), ("ag-ui", AG_UI)] {
        let endpoint = Endpoint::serve(script).await;
        let (cluster, _file) = serving(protocol, &endpoint, "").await;
        let url = cluster.url(1);
        ask(&url, "t1", "hi").await;
        until(&url, "turn.completed").await;
        assert_eq!(output_of(&url).await, ["One.\n\nTwo."]);
        ask(&url, "t2", "again").await;
        count(&url, "turn.completed", 2).await;
        let again = endpoint.request(1)["messages"][1].clone();
        match protocol {
            "ai-sdk" => assert_eq!(
                again["parts"],
                json!([
                    { "type": "step-start" }, { "type": "text", "text": "One." },
                    { "type": "step-start" }, { "type": "text", "text": "Two." },
                ])
            ),
            _ => assert_eq!(again["content"], "One.\n\nTwo."),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_an_error_is_not_lost() {
    const SCRIPT: &[Does] = &[Does::Sends(&[
        r#"{"type":"text-delta","id":"0","delta":"one "}"#,
        r#"{"type":"error","errorText":"a side job failed"}"#,
        r#"{"type":"text-delta","id":"0","delta":"two"}"#,
        STOP,
    ])];
    let (received, ..) = end_of("ai-sdk", SCRIPT, "").await;
    let error = r#"ai-sdk/1:{"type":"error","errorText":"a side job failed"}"#;
    let kept: Vec<_> = received.iter().filter(|received| received.contains(':')).collect();
    assert_eq!(kept[..3], ["text:one ", error, "text:two"], "{received:?}");
    assert_eq!(received.last().map(String::as_str), Some("turn.completed"));
}

/// Numbers that no computer calculates with, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_kept_byte_for_byte() {
    const CHUNK: &str = r#"{"type":"tool-input-available", "toolCallId":"k1","toolName":"sum","input":{"z":1.10,"a":25122920421210000011234,"e":1e400,"s":"\ud83d\u00e4"},"providerExecuted":true}"#;
    let (received, ..) = end_of("ai-sdk", &[Does::Sends(&[CHUNK, STOP])], "").await;
    assert!(received.contains(&format!("ai-sdk/1:{CHUNK}")), "{received:?}");
    assert_eq!(received.last().map(String::as_str), Some("turn.completed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_busy_is_asked_again_when_it_says_and_no_attempt_is_lost() {
    const SCRIPT: &[Does] = &[
        Does::Answers(
            "HTTP/1.1 429 No\r\nretry-after: 2\r\ncontent-length: 29\r\n\r\n{\"error\":{\"message\":\"later\"}}",
        ),
        Does::Answers(
            "HTTP/1.1 429 No\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:38 GMT\r\ncontent-length: 0\r\n\r\n",
        ),
        Does::Sends(&[STOP]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ai-sdk", &endpoint, "").await;
    let url = cluster.url(1);
    ask_with(&url, "t1", "hi", json!({ "attempts": 1 })).await;
    let received = until(&url, "turn.completed").await;
    let all = events(&url).await;
    let lost: Vec<_> = all.iter().filter(|event| event["type"] == "agent.lost").collect();
    let pauses = lost.iter().map(|lost| {
        let (at, again) = (lost["time"].as_u64(), lost["again_at"].as_u64());
        again.expect("a time") - at.expect("a time")
    });
    assert_eq!(pauses.collect::<Vec<_>>(), [2_000, 1_000], "{received:?}");
    assert_eq!(lost[0]["cause"], "throttled");
    assert_eq!(lost[0]["detail"], "the endpoint answered 429: later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_ends_is_cut_by_the_agents_own_limit() {
    let (received, all, requests) =
        end_of("openai", &[Does::Breathes(400, &[])], "call_ms = 700").await;
    assert_eq!(requests, 2, "{received:?}");
    let reason = all.last().expect("one")["reason"].as_str().expect("text").to_owned();
    assert!(reason.ends_with("the answer took longer than it may"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_a_coding_that_nobody_asked_for_says_so() {
    const SCRIPT: &[Does] = &[Does::Answers(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\nx",
    )];
    let (received, all, requests) = end_of("openai", SCRIPT, "").await;
    assert_eq!(requests, 1, "{received:?}");
    let reason = "the endpoint answered in gzip, which was not requested";
    assert_eq!(all.last().expect("one")["reason"], reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_stays_after_the_end_of_its_answer_holds_nobody_up() {
    const STAYS: &[Does] = &[Does::Hangs(&[STOP])];
    let (received, _, requests) = end_of("ai-sdk", STAYS, "").await;
    assert_eq!(requests, 1, "{received:?}");
    assert_eq!(received.last().map(String::as_str), Some("turn.completed"), "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_in_form_without_a_finish_is_asked_for_again() {
    const CUT: &[Does] =
        &[Does::Sends(&[r#"{"choices":[{"delta":{"content":"half"}}]}"#, "[DONE]"])];
    let (received, all, requests) = end_of("openai", CUT, "").await;
    assert_eq!(requests, 2, "{received:?}");
    assert_eq!(all.last().expect("one")["type"], "turn.failed", "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_a_snapshot_is_the_answers() {
    const SCRIPT: &[Does] = &[
        Does::Sends(&[
            r#"{"type":"RUN_STARTED","threadId":"t","runId":"r"}"#,
            r#"{"type":"MESSAGES_SNAPSHOT","messages":[{"id":"u1","role":"user","content":"first"},{"id":"a1","role":"assistant","content":"one two"}]}"#,
            r#"{"type":"RUN_FINISHED","threadId":"t","runId":"r"}"#,
        ]),
        Does::Sends(&[r#"{"type":"RUN_FINISHED","threadId":"t","runId":"r"}"#]),
    ];
    let endpoint = Endpoint::serve(SCRIPT).await;
    let (cluster, _file) = serving("ag-ui", &endpoint, "").await;
    let url = cluster.url(1);
    ask(&url, "t1", "first").await;
    until(&url, "turn.completed").await;
    assert_eq!(output_of(&url).await, ["one two"]);
    ask(&url, "t2", "again").await;
    count(&url, "turn.completed", 2).await;
    assert_eq!(endpoint.request(1)["messages"][1]["content"], "one two");
}
