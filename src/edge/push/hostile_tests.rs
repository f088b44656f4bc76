//! Answers of servers that keep to no standard: what they mean all the same.

use expect_test::{Expect, expect};

use super::super::content::tests::{agent, conversation, user};
use super::tests::{frame, read};
use super::*;
use crate::edge::content::Part;

fn check(protocol: Protocol, stream: &[&str], expected: Expect) {
    let frames: Vec<_> = stream.iter().map(|data| frame("message", data)).collect();
    expected.assert_eq(&read(protocol, &frames));
}

/// The whole answer in place of its pieces would else be an empty one.
#[test]
fn an_answer_that_does_not_stream_has_its_text() {
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]}"#,
        ],
        expect![[r#""whole", chunk, complete"#]],
    );
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":[{"index":0,"text":"one ","finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"text":"two","finish_reason":"stop"}]}"#,
        ],
        expect![[r#""one ", "two", chunk, complete"#]],
    );
}

#[test]
fn an_error_is_one_wherever_it_stands() {
    check(
        Protocol::OpenAi,
        &[r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#],
        expect!["fail: too long"],
    );
    check(
        Protocol::AgUi,
        &[r#"{"type":"RUN_FINISHED","outcome":{"type":"error","message":"no credit"}}"#],
        expect!["RUN_FINISHED, fail: no credit"],
    );
    for protocol in [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi, Protocol::Anthropic] {
        assert_eq!(read(protocol, &[frame("error", r#"{"message":"boom"}"#)]), "fail: boom");
    }
}

#[test]
fn what_says_nothing_is_passed_over() {
    check(
        Protocol::OpenAi,
        &[
            r#"{"choices":null}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{"index":0,"delta":null,"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}],"error":null}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"another"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#,
            r#"{"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}"#,
        ],
        expect![[r#""x", chunk, complete"#]],
    );
}

/// The calls of an answer: names and arguments.
fn calls(pieces: &[&str]) -> Vec<(String, String, String)> {
    let output: Vec<_> = pieces.iter().map(|piece| ("openai/1", *piece)).collect();
    let log = [user(1, "text", "hi"), agent(2, "a", &output)];
    let conversation = conversation(&log);
    let parts = conversation.entries.iter().flat_map(|entry| &entry.parts);
    let call = |part: &Part| match part {
        Part::Call(call) => Some((call.id.clone(), call.tool.clone(), call.arguments.clone())),
        _ => None,
    };
    parts.filter_map(call).collect()
}

#[test]
fn calls_whose_arguments_come_in_turns_are_told_apart() {
    let piece = |index: &str, id: &str, name: &str, arguments: &str| {
        let call = format!(
            r#"{{{index}"id":{id},"function":{{"name":{name},"arguments":"{arguments}"}}}}"#
        );
        format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{call}]}}}}]}}"#)
    };
    let of = |all: &[String]| calls(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let call = |id: &str, name: &str, arguments: &str| {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    };
    let (zero, one) = (r#""index":0,"#, r#""index":1,"#);
    let in_turns = [
        piece(zero, r#""a""#, r#""f""#, "{"),
        piece(one, r#""b""#, r#""g""#, "["),
        piece(zero, "null", "null", "}"),
        piece(one, r#""""#, r#""""#, "]"),
    ];
    assert_eq!(of(&in_turns), [call("a", "f", "{}"), call("b", "g", "[]")]);
    // Nothing shows which is which.
    let without = [piece("", r#""a""#, r#""f""#, "{}"), piece("", r#""b""#, r#""g""#, "[]")];
    assert_eq!(of(&without), [call("a", "f", "{}"), call("b", "g", "[]")]);
    let twice = [
        piece(zero, r#""a""#, r#""f""#, "{"),
        piece(one, r#""a""#, r#""g""#, "["),
        piece(zero, r#""a""#, "null", "}"),
        piece(one, r#""a""#, "null", "]"),
    ];
    assert_eq!(of(&twice), [call("a", "f", "{}"), call("a~2", "g", "[]")]);
    let whole = r#"{"choices":[{"index":0,"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}"#;
    assert_eq!(calls(&[whole]), [call("a", "f", "{}")]);
}
