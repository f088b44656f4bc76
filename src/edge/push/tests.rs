//! What the streams of endpoints mean, and the requests to endpoints.

use expect_test::{Expect, expect};

use super::super::content::Conversation;
use super::super::content::tests::{agent, conversation, user};
use super::answer::{Answer, End, Piece};
use super::*;
use crate::client::sse::Frame;

/// Those with tests here; `anthropic_tests` has another one.
const ALL: [Protocol; 3] = [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi];

pub(super) fn frame(event: &str, data: &str) -> Frame {
    Frame { event: event.into(), data: data.into(), ..Frame::default() }
}

pub(super) fn request(conversation: &Conversation) -> Request<'_> {
    Request {
        session: "s",
        turn: "t",
        conversation,
        model: Some("m"),
        max_tokens: None,
        waited: None,
        in_doubt: Vec::new(),
    }
}

/// What frames mean, in short, and how the answer ends where they do.
pub(super) fn read(protocol: Protocol, frames: &[Frame]) -> String {
    let nothing = Conversation::default();
    let mut answer = Answer::new(protocol, &request(&nothing));
    let mut notice = Vec::new();
    for frame in frames {
        notice.extend(answer.take(frame).into_iter().map(tell));
        if answer.is_last(frame) {
            break;
        }
    }
    notice.push(match answer.end() {
        None => "broke off".into(),
        Some(End::Complete { reason }) if reason.is_empty() => "complete".into(),
        Some(End::Complete { reason }) => format!("complete: {reason}"),
        Some(End::Fail { reason }) => format!("fail: {reason}"),
        Some(End::Again { reason }) => format!("again: {reason}"),
        Some(End::Ask(outgoing)) => {
            let ask = |outgoing: &answer::Question| {
                let question = String::from_utf8_lossy(&outgoing.question.payload);
                format!("ask {} {} {question}", outgoing.id, outgoing.kind)
            };
            outgoing.iter().map(ask).collect::<Vec<_>>().join(", ")
        }
    });
    notice.join(", ")
}

fn tell(piece: Piece) -> String {
    match piece {
        Piece::Text(text) => format!("{text:?}"),
        Piece::Whole(json) => {
            Object::parse(&json).and_then(|piece| piece.text("type")).unwrap_or("chunk".into())
        }
        Piece::Tool(tool) => format!("tool {tool}"),
        Piece::Thinking => "thinking".into(),
        Piece::Mark => "mark".into(),
        Piece::Rewind => "rewind".into(),
    }
}

/// The event that ends an answer with this reason.
fn end_by(protocol: Protocol, word: &str) -> Frame {
    let data = match protocol {
        Protocol::AiSdk => format!(r#"{{"type":"finish","finishReason":"{word}"}}"#),
        Protocol::AgUi => format!(r#"{{"type":"RUN_FINISHED","finishReason":"{word}"}}"#),
        Protocol::OpenAi => {
            format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{word}"}}]}}"#)
        }
        Protocol::Anthropic => panic!("it ends by two events"),
    };
    frame("message", &data)
}

fn check(protocol: Protocol, stream: &[&str], expected: Expect) {
    let frames: Vec<_> = stream.iter().map(|data| frame("message", data)).collect();
    expected.assert_eq(&read(protocol, &frames));
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
            r#"start, text-start, "Hel", "lo", tool-input-available, tool search, tool-output-available, thinking, finish, complete"#
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
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":7}}"#,
            "[DONE]",
        ],
        expect![[r#""Hi", chunk, chunk, complete"#]],
    );
}

#[test]
fn what_goes_wrong_fails_the_turn_with_its_reason() {
    let failures = [
        (Protocol::AiSdk, r#"{"type":"error","errorText":"no credit"}"#),
        (Protocol::AgUi, r#"{"type":"RUN_ERROR","message":"no credit"}"#),
        (Protocol::OpenAi, r#"{"error":{"message":"no credit"}}"#),
    ];
    for (protocol, data) in failures {
        let notice = read(protocol, &[frame("message", data)]);
        assert!(notice.ends_with("fail: no credit"), "{notice}");
    }
    for protocol in ALL {
        check(protocol, &["{"], expect!["fail: the endpoint sent something that is no JSON"]);
        let notice = read(protocol, &[frame("error", "")]);
        assert_eq!(notice, "fail: the endpoint failed without a word");
    }
}

#[test]
fn an_event_without_data_is_none() {
    for protocol in ALL {
        check(protocol, &["", " ", "\n"], expect!["broke off"]);
    }
}

/// A server that dies may still close its stream in form.
#[test]
fn the_end_of_a_stream_is_no_end_of_an_answer_that_has_not_finished() {
    for protocol in ALL {
        check(protocol, &["[DONE]"], expect!["broke off"]);
    }
    check(
        Protocol::OpenAi,
        &[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#],
        expect![[r#""Hi", broke off"#]],
    );
}

#[test]
fn only_an_end_that_is_given_ends_an_answer_of_openai() {
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":""}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
        ],
        expect![[r#""Hi", chunk, fail: the endpoint ended with an error"#]],
    );
}

#[test]
fn every_dialect_says_in_its_own_words_why_it_ended() {
    let ends = [
        ("stop", "complete"),
        ("length", "complete: length"),
        ("max_tokens", "complete: length"),
        ("content-filter", "fail: the answer was stopped by a content filter"),
        ("content_filter", "fail: the answer was stopped by a content filter"),
        ("error", "fail: the endpoint ended with an error"),
        ("tool_calls", "complete: tool-calls"),
        ("tired", "complete: tired"),
    ];
    for (word, end) in ends {
        for protocol in ALL {
            let notice = read(protocol, &[end_by(protocol, word)]);
            assert!(notice.ends_with(end), "{protocol:?} {word}: {notice}");
        }
    }
}

#[test]
fn an_answer_that_went_on_after_its_error_ends_by_its_finish() {
    let (error, finish) = (
        r#"{"type":"error","errorText":"a side job failed"}"#,
        r#"{"type":"finish","finishReason":"stop"}"#,
    );
    let more = r#"{"type":"text-delta","id":"0","delta":"two"}"#;
    check(Protocol::AiSdk, &[error, more, finish], expect![[r#"error, "two", finish, complete"#]]);
    check(Protocol::AiSdk, &[error, finish], expect!["error, finish, fail: a side job failed"]);
    check(Protocol::AiSdk, &[error, more], expect![[r#"error, "two", fail: a side job failed"#]]);
}

#[test]
fn a_run_that_is_gone_on_with_was_not_over() {
    check(
        Protocol::AgUi,
        &[
            r#"{"type":"RUN_FINISHED","finishReason":"tool_calls"}"#,
            r#"{"type":"RUN_STARTED"}"#,
            r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hi"}"#,
        ],
        expect![[r#"RUN_FINISHED, RUN_STARTED, "Hi", broke off"#]],
    );
}

#[test]
fn an_answer_that_goes_on_after_its_end_was_not_over() {
    let tool_call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"k"}]}}]}"#;
    let more = [
        (Protocol::AiSdk, r#"{"type":"text-delta","id":"0","delta":"x"}"#),
        (Protocol::AiSdk, r#"{"type":"reasoning-delta","id":"0","delta":"x"}"#),
        (Protocol::AiSdk, r#"{"type":"tool-input-start","toolCallId":"k","toolName":"t"}"#),
        (Protocol::AgUi, r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"x"}"#),
        (Protocol::AgUi, r#"{"type":"REASONING_MESSAGE_CONTENT","messageId":"m","delta":"x"}"#),
        (Protocol::AgUi, r#"{"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"t"}"#),
        (Protocol::OpenAi, r#"{"choices":[{"delta":{"content":"x"}}]}"#),
        (Protocol::OpenAi, r#"{"choices":[{"delta":{"reasoning":"x"}}]}"#),
        (Protocol::OpenAi, tool_call),
    ];
    for (protocol, more) in more {
        let notice = read(protocol, &[end_by(protocol, "stop"), frame("message", more)]);
        assert!(notice.ends_with("broke off"), "{more}: {notice}");
    }
    let usage = frame("message", r#"{"choices":[],"usage":{"total_tokens":7}}"#);
    let notice = read(Protocol::OpenAi, &[end_by(Protocol::OpenAi, "stop"), usage]);
    assert!(notice.ends_with("complete"), "{notice}");
}

/// An agent that loops makes its calls, and goes on in the same stream.
#[test]
fn an_answer_that_ends_in_calls_may_be_long_in_going_on() {
    let nothing = Conversation::default();
    for protocol in ALL {
        for (word, finished) in [("stop", true), ("tool_calls", false), ("tool-calls", false)] {
            let mut answer = Answer::new(protocol, &request(&nothing));
            answer.take(&end_by(protocol, word));
            assert_eq!(answer.is_finished(), finished, "{protocol:?} {word}");
            assert!(answer.end().is_some(), "{protocol:?} {word}");
        }
    }
}

#[test]
fn parts_of_a_text_stand_apart() {
    check(
        Protocol::AiSdk,
        &[
            r#"{"type":"text-start","id":"0"}"#,
            r#"{"type":"text-delta","id":"0","delta":"One."}"#,
            r#"{"type":"text-end","id":"0"}"#,
            r#"{"type":"text-start","id":"1"}"#,
            r#"{"type":"text-delta","id":"1","delta":""}"#,
            r#"{"type":"text-delta","id":"1","delta":"Two."}"#,
            r#"{"type":"finish"}"#,
        ],
        expect![[r#"text-start, "One.", text-end, text-start, "\n\n", "Two.", finish, complete"#]],
    );
    let message = |id: &str, text: &str| {
        format!(r#"{{"type":"TEXT_MESSAGE_CHUNK","messageId":"{id}","delta":"{text}"}}"#)
    };
    let (one, more, two) = (message("a", "One"), message("a", "."), message("b", "Two."));
    check(
        Protocol::AgUi,
        &[&one, &more, &two, r#"{"type":"RUN_FINISHED"}"#],
        expect![[r#""One", ".", "\n\n", "Two.", RUN_FINISHED, complete"#]],
    );
}

#[test]
fn a_step_that_is_reset_is_taken_back() {
    check(
        Protocol::AiSdk,
        &[
            r#"{"type":"start-step"}"#,
            r#"{"type":"text-delta","id":"0","delta":"one tw"}"#,
            r#"{"type":"reset-step"}"#,
            r#"{"type":"text-start","id":"1"}"#,
            r#"{"type":"text-delta","id":"1","delta":"one two"}"#,
            r#"{"type":"finish"}"#,
        ],
        expect![[
            r#"start-step, mark, "one tw", rewind, reset-step, text-start, "one two", finish, complete"#
        ]],
    );
}

#[test]
fn a_letter_that_is_cut_between_pieces_is_one_letter() {
    let delta = |protocol, text: &str| match protocol {
        Protocol::AiSdk => format!(r#"{{"type":"text-delta","id":"0","delta":"{text}"}}"#),
        Protocol::AgUi => {
            format!(r#"{{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"{text}"}}"#)
        }
        Protocol::OpenAi => format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#),
        Protocol::Anthropic => panic!("its pieces have blocks"),
    };
    for protocol in ALL {
        let (high, low) = (delta(protocol, r"a\ud83d"), delta(protocol, r"\ude00b"));
        check(protocol, &[&high, &low], expect![[r#""a", "😀b", broke off"#]]);
    }
}

#[test]
fn what_stands_in_a_snapshot_alone_is_said_at_the_end() {
    check(
        Protocol::AgUi,
        &[
            r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"a1","delta":"one"}"#,
            r#"{"type":"MESSAGES_SNAPSHOT","messages":[
                {"id":"a0","role":"assistant","content":"long ago"},
                {"id":"u1","role":"user","content":"first"},
                {"id":"a1","role":"assistant","content":"one"},
                {"id":"a2","role":"assistant","content":"two"},
                {"id":"a3","role":"assistant","toolCalls":[]}]}"#,
            r#"{"type":"RUN_FINISHED"}"#,
        ],
        expect![[r#""one", MESSAGES_SNAPSHOT, "\n\n", "two", RUN_FINISHED, complete"#]],
    );
}

#[test]
fn people_are_asked_what_an_answer_ends_with() {
    let call = r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"order","input":{"n":1.10}}"#;
    let request = r#"{"type":"tool-approval-request","approvalId":"i1","toolCallId":"k1"}"#;
    let finish = r#"{"type":"finish","finishReason":"tool-calls"}"#;
    check(
        Protocol::AiSdk,
        &[call, request, finish],
        expect![[
            r#"tool-input-available, tool order, tool-approval-request, finish, ask i1 approval {"tool":{"id":"k1","name":"order","arguments":{"n":1.10}}}"#
        ]],
    );
    check(
        Protocol::AiSdk,
        &[call, finish],
        expect![[
            r#"tool-input-available, tool order, finish, ask k1 client_tool {"tool":{"id":"k1","name":"order","arguments":{"n":1.10}}}"#
        ]],
    );
    let output = r#"{"type":"tool-output-available","toolCallId":"k1","output":1}"#;
    check(
        Protocol::AiSdk,
        &[call, request, output, finish],
        expect![
            "tool-input-available, tool order, tool-approval-request, tool-output-available, thinking, finish, complete: tool-calls"
        ],
    );
    check(
        Protocol::AgUi,
        &[
            r#"{"type":"TOOL_CALL_START","toolCallId":"k1","toolCallName":"order"}"#,
            r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k1","delta":"{\"n\":1.10}"}"#,
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[
                {"id":"i1","reason":"tool_call","message":"Order?"},
                {"id":"i2","reason":"tool_call","toolCallId":"k1"},
                {"id":"i3","reason":"x","responseSchema":{"type":"object"}}]}}"#,
        ],
        expect![[
            r#"TOOL_CALL_START, tool order, TOOL_CALL_ARGS, RUN_FINISHED, ask i1 approval Order?, ask i2 approval {"tool":{"id":"k1","name":"order","arguments":{"n":1.10}}}, ask i3 form {"schema":{"type":"object"}}"#
        ]],
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
        expect![[r#"chunk, chunk, "five", chunk, broke off"#]],
    );
}

#[test]
fn a_field_of_errors_that_has_none_is_none() {
    for none in ["null", "false", r#""""#] {
        let chunk = format!(r#"{{"error":{none},"choices":[{{"delta":{{"content":"Hi"}}}}]}}"#);
        check(Protocol::OpenAi, &[&chunk], expect![[r#""Hi", broke off"#]]);
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
        expect![[r#""Hi", broke off"#]],
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
        let notice = read(Protocol::OpenAi, &[frame(event, data)]);
        assert_eq!(notice, "fail: no credit", "{event}: {data}");
    }
}

#[test]
fn an_endpoint_is_asked_in_its_own_form() {
    let conversation = conversation(&[
        user(1, "text", "hi"),
        agent(3, "t0", &[("text", "ho")]),
        user(5, "text", "again"),
    ]);
    let body = |protocol: Protocol| {
        String::from_utf8(protocol.body(&request(&conversation)).to_vec()).expect("JSON is text")
    };
    expect![[r#"{"id":"s","messages":[{"id":"m1","role":"user","parts":[{"type":"text","text":"hi"}]},{"id":"m3","role":"assistant","parts":[{"type":"text","text":"ho"}]},{"id":"m5","role":"user","parts":[{"type":"text","text":"again"}]}],"trigger":"submit-message","messageId":null,"turn":"t"}"#]]
        .assert_eq(&body(Protocol::AiSdk));
    expect![[r#"{"threadId":"s","runId":"t","messages":[{"id":"m1","role":"user","content":"hi"},{"id":"m3","role":"assistant","content":"ho"},{"id":"m5","role":"user","content":"again"}],"tools":[],"context":[],"state":{},"forwardedProps":{}}"#]]
        .assert_eq(&body(Protocol::AgUi));
    expect![[r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"again"}],"stream":true,"model":"m"}"#]]
        .assert_eq(&body(Protocol::OpenAi));
}

#[test]
fn a_call_that_nobody_made_is_asked_unless_the_answer_is_at_its_own_end() {
    let call = r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"where","input":{}}"#;
    let call = frame("message", call);
    for (word, outgoing) in
        [("stop", false), ("tool-calls", true), ("", true), ("unknown", true), ("length", false)]
    {
        let notice = read(Protocol::AiSdk, &[call.clone(), end_by(Protocol::AiSdk, word)]);
        assert_eq!(notice.contains("ask k1 client_tool"), outgoing, "{word}: {notice}");
    }
}

#[test]
fn a_question_says_where_the_arguments_of_its_call_are_cut() {
    let ask = r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1","toolCallId":"k1"},{"id":"i2","toolCallId":"k2"}]}}"#;
    let large = "x".repeat(limits::EVENT_BYTES / 2 + 1);
    let large = format!(r#"{{"type":"TOOL_CALL_ARGS","toolCallId":"k2","delta":"{large}"}}"#);
    check(
        Protocol::AgUi,
        &[
            r#"{"type":"TOOL_CALL_CHUNK","toolCallId":"k1","toolCallName":"order","delta":"{\"s\":\"\ud83d"}"#,
            r#"{"type":"TOOL_CALL_START","toolCallId":"k2","toolCallName":"send"}"#,
            r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k2","delta":"{"}"#,
            r#"{"type":"TOOL_CALL_CHUNK","delta":"\ude00\"}"}"#,
            &large,
            r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k2","delta":"}"}"#,
            ask,
        ],
        expect![[
            r#"TOOL_CALL_CHUNK, tool order, TOOL_CALL_START, tool send, TOOL_CALL_ARGS, TOOL_CALL_CHUNK, TOOL_CALL_ARGS, TOOL_CALL_ARGS, RUN_FINISHED, ask i1 text {"tool":{"id":"k1","name":"order","arguments":{"s":"😀"}}}, ask i2 text {"tool":{"id":"k2","name":"send","cut":true}}"#
        ]],
    );
    let large = format!(
        r#"{{"type":"tool-input-available","toolCallId":"k1","toolName":"send","input":"{}"}}"#,
        "x".repeat(limits::EVENT_BYTES)
    );
    let notice = read(Protocol::AiSdk, &[frame("message", &large), end_by(Protocol::AiSdk, "")]);
    expect![[r#"tool-input-available, tool send, finish, ask k1 client_tool {"tool":{"id":"k1","name":"send","cut":true}}"#]].assert_eq(&notice);
}
