//! What each message's parts are as JSON, whichever dialect they came in, and whatever page the message stands on.

use bytes::Bytes;
use expect_test::{Expect, expect};

use super::super::attached::messages::{MessagePieces, Piece, Speaks};
use super::super::attached::questions::Reply;
use super::parts::{found, of};
use crate::ids::{Serial, TurnId};
use crate::session::Format;

fn pieces(from: u64, given: &[(&str, &str)]) -> Vec<Piece> {
    let piece = |(serial, (format, payload)): (u64, &(&str, &str))| Piece {
        serial: Serial(serial),
        format: Format::parse(format).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    };
    (from..).zip(given).map(piece).collect()
}

fn yes(data: &str) -> Reply {
    Reply::Answered { format: Format::JSON, payload: Bytes::copy_from_slice(data.as_bytes()) }
}

/// The parts of a message, one a line; `later` came in other messages of its turn.
fn check(
    speaks: Speaks,
    content: &[(&str, &str)],
    later: &[(&str, &str)],
    answers: &[(&str, &Reply)],
    expected: Expect,
) {
    let turn = TurnId::parse("t").ok();
    let message = MessagePieces { speaks, turn, from: Serial(1), pieces: pieces(1, content) };
    let later: Vec<_> = pieces(100, later).into_iter().filter_map(found).collect();
    let json = of(&message, &later, answers).to_string();
    let parts: Vec<&serde_json::value::RawValue> = serde_json::from_str(&json).unwrap();
    let lines: Vec<_> = parts.iter().map(|part| part.get()).collect();
    expected.assert_eq(&lines.join("\n"));
}

const CALL: (&str, &str) = (
    "ai-sdk/1",
    r#"{"type":"tool-input-available","toolCallId":"k","toolName":"pay","input":{"sum":1.10}}"#,
);
const ASKS: (&str, &str) =
    ("ai-sdk/1", r#"{"type":"tool-approval-request","toolCallId":"k","approvalId":"ok"}"#);
const PAID: (&str, &str) = (
    "ai-sdk/1",
    r#"{"type":"tool-output-available","toolCallId":"k","output":{"left":2.50,"e":1e400}}"#,
);

#[test]
fn all_that_an_agent_says_has_a_part_to_the_byte() {
    check(
        Speaks::Agent,
        &[
            ("ai-sdk/1", r#"{"type":"start-step"}"#),
            (
                "ai-sdk/1",
                r#"{"type":"reasoning-start","id":"r","providerMetadata":{"x":{"sig":"a=","n":1.0}}}"#,
            ),
            ("ai-sdk/1", r#"{"type":"reasoning-delta","id":"r","delta":"hm"}"#),
            ("text", "Ro"),
            ("text", "ses"),
            (
                "ai-sdk/1",
                r#"{"type":"source-url","sourceId":"s","url":"https://a.b","score":0.10}"#,
            ),
            ("ai-sdk/1", r#"{"type":"data-chart","id":"c","data":{"n":7.00}}"#),
            ("ai-sdk/1", r#"{"type":"file","mediaType":"image/png","url":"https://a.b/c.png"}"#),
            ("ai-sdk/1", r#"{"type":"from-tomorrow","n":3.0}"#),
            ("ai-sdk/1", r#"{"type":"error","errorText":"no room"}"#),
            (
                "ai-sdk/1",
                r#"{"type":"finish","finishReason":"stop","messageMetadata":{"usage":{"total":12.0}}}"#,
            ),
            ("my/1", r#"{"own":1.50}"#),
            ("json", "[1.0]"),
        ],
        &[],
        &[],
        expect![[r#"
            {"type":"step"}
            {"type":"reasoning","text":"hm","id":"r","format":"ai-sdk/1","extra":{"x":{"sig":"a=","n":1.0}}}
            {"type":"text","text":"Roses"}
            {"type":"source","format":"ai-sdk/1","value":{"type":"source-url","sourceId":"s","url":"https://a.b","score":0.10}}
            {"type":"data","format":"ai-sdk/1","value":{"type":"data-chart","id":"c","data":{"n":7.00}}}
            {"type":"file","media_type":"image/png","url":"https://a.b/c.png"}
            {"type":"other","format":"ai-sdk/1","value":{"type":"from-tomorrow","n":3.0}}
            {"type":"error","text":"no room"}
            {"type":"finish","reason":"stop","usage":{"total":12.0}}
            {"type":"other","format":"my/1","value":{"own":1.50}}
            {"type":"data","format":"json","value":[1.0]}"#]],
    );
}

#[test]
fn a_call_has_what_came_of_it_later_and_is_told_where_it_stands() {
    check(
        Speaks::Agent,
        &[CALL],
        &[],
        &[],
        expect![[
            r#"{"type":"tool_call","id":"k","tool":"pay","state":"input-available","arguments":{"sum":1.10}}"#
        ]],
    );
    check(
        Speaks::Agent,
        &[CALL, ASKS],
        &[],
        &[],
        expect![[
            r#"{"type":"tool_call","id":"k","tool":"pay","state":"approval-requested","arguments":{"sum":1.10},"approval":{"id":"ok"}}"#
        ]],
    );
    let (let_it, no) =
        (yes(r#"{"approved":true}"#), yes(r#"{"approved":false,"reason":"too dear"}"#));
    check(
        Speaks::Agent,
        &[CALL, ASKS],
        &[],
        &[("ok", &let_it)],
        expect![[
            r#"{"type":"tool_call","id":"k","tool":"pay","state":"running","arguments":{"sum":1.10},"approval":{"id":"ok","approved":true}}"#
        ]],
    );
    check(
        Speaks::Agent,
        &[CALL, ASKS],
        &[],
        &[("ok~2", &no)],
        expect![[
            r#"{"type":"tool_call","id":"k","tool":"pay","state":"denied","arguments":{"sum":1.10},"approval":{"id":"ok","approved":false,"reason":"too dear"}}"#
        ]],
    );
    check(
        Speaks::Agent,
        &[CALL, ASKS],
        &[PAID],
        &[("ok", &let_it)],
        expect![[
            r#"{"type":"tool_call","id":"k","tool":"pay","state":"output","arguments":{"sum":1.10},"approval":{"id":"ok","approved":true},"output":{"left":2.50,"e":1e400}}"#
        ]],
    );
    // The message with the result has it too, and a client's answer is one.
    check(
        Speaks::Agent,
        &[PAID],
        &[],
        &[],
        expect![[r#"{"type":"tool_result","id":"k","output":{"left":2.50,"e":1e400}}"#]],
    );
    check(
        Speaks::Agent,
        &[CALL],
        &[],
        &[("k", &yes("7.10"))],
        expect![[
            r#"{"type":"tool_call","id":"k","tool":"pay","state":"output","arguments":{"sum":1.10},"output":7.10}"#
        ]],
    );
}

#[test]
fn other_dialects_and_people_have_the_same_parts() {
    check(
        Speaks::Agent,
        &[
            ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"look"}"#),
            ("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"i"}"#),
            ("ag-ui/1", r#"{"type":"CUSTOM","name":"mood","value":1.0}"#),
            ("ag-ui/1", r#"{"type":"RUN_ERROR","message":"down"}"#),
        ],
        &[("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k","content":"twelve"}"#)],
        &[],
        expect![[r#"
            {"type":"tool_call","id":"k","tool":"look","state":"output","arguments_text":"{\"i","output":"twelve"}
            {"type":"data","format":"ag-ui/1","value":{"type":"CUSTOM","name":"mood","value":1.0}}
            {"type":"error","text":"down"}"#]],
    );
    check(
        Speaks::Agent,
        &[
            (
                "openai/1",
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"k","function":{"name":"look","arguments":"{\"id\":1.0}"}}]}}]}"#,
            ),
            (
                "openai/1",
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":12}}"#,
            ),
        ],
        &[],
        &[],
        expect![[r#"
            {"type":"tool_call","id":"k","tool":"look","state":"input-available","arguments":{"id":1.0}}
            {"type":"finish","reason":"stop","usage":{"total_tokens":12}}"#]],
    );
    // The reason, and behind it what it cost.
    check(
        Speaks::Agent,
        &[
            ("openai/1", r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#),
            ("openai/1", r#"{"choices":[],"usage":{"total_tokens":12}}"#),
        ],
        &[],
        &[],
        expect![[r#"
            {"type":"finish","reason":"length","usage":{"total_tokens":12}}"#]],
    );
    check(
        Speaks::User,
        &[("json", r#"{"form":1.10}"#), ("image/png", "bytes")],
        &[],
        &[],
        expect![[r#"
            {"type":"data","format":"json","value":{"form":1.10}}
            {"type":"file","media_type":"image/png","url":"data:image/png;base64,Ynl0ZXM="}"#]],
    );
}
