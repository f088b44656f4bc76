//! What the streams of endpoints mean, and what endpoints are asked.

use expect_test::{Expect, expect};

use super::super::attached::messages::Speaks;
use super::*;
use crate::ids::{Serial, TurnId};

fn frame(event: &str, data: &str) -> Frame {
    Frame { event: event.into(), data: data.into(), ..Frame::default() }
}

/// What the data of a stream mean, in short.
fn check(protocol: Protocol, stream: &[&str], expected: Expect) {
    let tell = |piece: Piece| match piece {
        Piece::Text(text) => format!("{text:?}"),
        Piece::Whole(value) => value["type"].as_str().unwrap_or("chunk").to_owned(),
        Piece::Tool(tool) => format!("tool {tool}"),
        Piece::Thinking => "thinking".into(),
        Piece::Complete => "complete".into(),
        Piece::Fail(why) => format!("fail: {why}"),
    };
    let pieces = stream.iter().flat_map(|data| protocol.read(&frame("message", data)));
    expected.assert_eq(&pieces.map(tell).collect::<Vec<_>>().join(", "));
}

#[test]
fn text_is_taken_out_and_all_else_is_kept() {
    check(
        Protocol::AiSdk,
        &[
            r#"{"type":"start","messageId":"m"}"#,
            r#"{"type":"text-start","id":"0"}"#,
            r#"{"type":"text-delta","id":"0","delta":"Hel"}"#,
            r#"{"type":"text-delta","id":"0","delta":"lo"}"#,
            r#"{"type":"tool-input-available","toolCallId":"c","toolName":"search","input":{}}"#,
            r#"{"type":"tool-output-available","toolCallId":"c","output":1}"#,
            r#"{"type":"finish"}"#,
            "[DONE]",
        ],
        expect![[
            r#"start, text-start, "Hel", "lo", tool-input-available, tool search, tool-output-available, thinking, finish, complete, complete"#
        ]],
    );
    check(
        Protocol::AgUi,
        &[
            r#"{"type":"RUN_STARTED","threadId":"s","runId":"t"}"#,
            r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hi"}"#,
            r#"{"type":"TOOL_CALL_START","toolCallId":"c","toolCallName":"search"}"#,
            r#"{"type":"RUN_FINISHED","threadId":"s","runId":"t"}"#,
        ],
        expect![[r#"RUN_STARTED, "Hi", TOOL_CALL_START, tool search, RUN_FINISHED, complete"#]],
    );
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}"#,
            r#"{"choices":[],"usage":{}}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
        expect![[r#""Hi", complete, complete"#]],
    );
}

#[test]
fn what_goes_wrong_fails_the_turn_with_its_reason() {
    check(
        Protocol::AiSdk,
        &[r#"{"type":"error","errorText":"no credit"}"#],
        expect!["fail: no credit"],
    );
    check(
        Protocol::AgUi,
        &[r#"{"type":"RUN_ERROR","message":"no credit"}"#],
        expect!["fail: no credit"],
    );
    check(Protocol::OpenAi, &[r#"{"error":{"message":"no credit"}}"#], expect!["fail: no credit"]);
    for protocol in [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi] {
        check(protocol, &["{"], expect!["fail: the endpoint sent something that is no JSON"]);
    }
}

#[test]
fn an_event_without_data_is_none() {
    for protocol in [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi] {
        check(protocol, &["", " ", "\n"], expect![""]);
    }
}

#[test]
fn only_an_end_that_is_given_ends_an_answer_of_openai() {
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":""}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
        ],
        expect![[r#""Hi", fail: the endpoint ended with an error"#]],
    );
}

#[test]
fn a_finish_that_is_no_success_fails_the_turn() {
    check(
        Protocol::AiSdk,
        &[r#"{"type":"finish","finishReason":"error"}"#],
        expect!["finish, fail: the endpoint ended with an error"],
    );
    check(
        Protocol::AiSdk,
        &[r#"{"type":"finish","finishReason":"content-filter"}"#],
        expect!["finish, fail: the answer was stopped by a content filter"],
    );
    check(
        Protocol::AiSdk,
        &[r#"{"type":"finish","finishReason":"length"}"#],
        expect!["finish, complete"],
    );
}

#[test]
fn what_an_answer_of_openai_has_beside_text_is_kept() {
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"delta":{"role":"assistant","content":"","reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[]}]}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"five"}]}}]}"#,
            r#"{"choices":[{"delta":{"refusal":"No."}}]}"#,
            r#"{"choices":[{"delta":{"content":null,"tool_calls":[],"refusal":null}}]}"#,
        ],
        expect![[r#"chunk, chunk, "five", chunk"#]],
    );
}

#[test]
fn a_field_of_errors_that_has_none_is_none() {
    for none in ["null", "false", r#""""#] {
        let chunk = format!(r#"{{"error":{none},"choices":[{{"delta":{{"content":"Hi"}}}}]}}"#);
        check(Protocol::OpenAi, &[&chunk], expect![[r#""Hi""#]]);
    }
}

#[test]
fn of_several_choices_the_first_is_the_answer_wherever_it_stands() {
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"index":1,"delta":{"content":"No"}},{"index":0,"delta":{"content":"Hi"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#,
        ],
        expect![[r#""Hi""#]],
    );
}

#[test]
fn an_error_is_told_in_its_own_words_whatever_its_shape() {
    let reasons = [
        ("message", r#"{"error":"no credit"}"#),
        ("message", r#"{"error":{"message":"no credit"}}"#),
        ("error", "no credit"),
        ("error", r#""no credit""#),
        ("error", r#"{"message":"no credit"}"#),
        ("error", r#"{"error":{"message":"no credit","type":"billing"}}"#),
    ];
    for (event, data) in reasons {
        let pieces = Protocol::OpenAi.read(&frame(event, data));
        assert_eq!(pieces, [Piece::Fail("no credit".into())], "{event}: {data}");
    }
}

#[test]
fn an_endpoint_is_asked_in_its_own_form() {
    let spoken = |speaks, from, text: &str| Spoken {
        speaks,
        turn: TurnId::parse("t").ok(),
        from: Serial(from),
        text: text.into(),
    };
    let conversation = [
        spoken(Speaks::User, 1, "hi"),
        spoken(Speaks::Agent, 3, "ho"),
        spoken(Speaks::Person, 9, "me"),
    ];
    let (session, turn, model) = ("s", "t", Some("m"));
    let asked = Asked { session, turn, conversation: &conversation, model };
    expect![[r#"{"id":"s","messageId":null,"messages":[{"id":"m1","parts":[{"text":"hi","type":"text"}],"role":"user"},{"id":"m3","parts":[{"text":"ho","type":"text"}],"role":"assistant"},{"id":"m9","parts":[{"text":"me","type":"text"}],"role":"assistant"}],"trigger":"submit-message","turn":"t"}"#]]
        .assert_eq(&Protocol::AiSdk.body(&asked).to_string());
    expect![[r#"{"context":[],"forwardedProps":{},"messages":[{"content":"hi","id":"m1","role":"user"},{"content":"ho","id":"m3","role":"assistant"},{"content":"me","id":"m9","role":"assistant"}],"runId":"t","state":{},"threadId":"s","tools":[]}"#]]
        .assert_eq(&Protocol::AgUi.body(&asked).to_string());
    expect![[r#"{"messages":[{"content":"hi","role":"user"},{"content":"ho","role":"assistant"},{"content":"me","role":"assistant"}],"model":"m","stream":true}"#]]
        .assert_eq(&Protocol::OpenAi.body(&asked).to_string());
}
