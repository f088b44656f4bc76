//! What the streams of Anthropic's Messages API mean, and the requests to its models.

use expect_test::{Expect, expect};

use super::super::content::tests::{agent, asks, conversation, user};
use super::tests::{frame, read, request};
use super::*;
use crate::session::Event;

const START: &str =
    r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":7}}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn text(index: usize, text: &str) -> String {
    format!(
        r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"text_delta","text":"{text}"}}}}"#
    )
}

fn begins(index: usize, block: &str) -> String {
    format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
}

fn stops(word: &str) -> String {
    format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"{word}"}},"usage":{{"output_tokens":3}}}}"#
    )
}

fn rendered(stream: &[&str]) -> String {
    let frames: Vec<_> = stream
        .iter()
        .map(|data| {
            let kind = Object::parse(data).and_then(|event| event.text("type"));
            frame(&kind.unwrap_or_default(), data)
        })
        .collect();
    read(Protocol::Anthropic, &frames)
}

fn check(stream: &[&str], expected: Expect) {
    expected.assert_eq(&rendered(stream));
}

#[test]
fn an_answer_ends_with_its_last_event_alone() {
    let block = begins(0, r#"{"type":"text","text":""}"#);
    let (one, two, end) = (text(0, r"a\ud83d"), text(0, r"\ude00b"), stops("end_turn"));
    let end_of_block = r#"{"type":"content_block_stop","index":0}"#;
    let stream = [START, &block, r#"{"type":"ping"}"#, &one, &two, end_of_block, &end];
    check(&stream, expect![[r#"message_start, "a", "😀b", message_delta, broke off"#]]);
    check(
        &[&stream[..], &[STOP, &one]].concat(),
        expect![[r#"message_start, "a", "😀b", message_delta, message_stop, complete"#]],
    );
    check(&[START, &one, "[DONE]"], expect![[r#"message_start, "a", broke off"#]]);
}

#[test]
fn an_answer_says_why_it_stops() {
    for (word, end) in [
        ("end_turn", "complete"),
        ("stop_sequence", "complete"),
        ("max_tokens", "complete: length"),
        ("model_context_window_exceeded", "complete: length"),
        ("tool_use", "complete: tool-calls"),
        ("pause_turn", "complete: pause_turn"),
        ("refusal", "fail: the answer was stopped by a content filter"),
    ] {
        let rendered = rendered(&[START, &stops(word), STOP]);
        assert!(rendered.ends_with(end), "{word}: {rendered}");
    }
}

#[test]
fn an_error_of_the_moment_costs_an_attempt_and_others_fail_the_turn() {
    for (kind, end) in [
        ("overloaded_error", "again: no room"),
        ("rate_limit_error", "again: no room"),
        ("api_error", "again: no room"),
        ("timeout_error", "again: no room"),
        ("invalid_request_error", "fail: no room"),
        ("authentication_error", "fail: no room"),
        ("later_error", "fail: no room"),
    ] {
        let error =
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"no room"}}}}"#);
        let rendered = rendered(&[START, &text(0, "a"), &error, &stops("end_turn"), STOP]);
        assert!(rendered.ends_with(end), "{kind}: {rendered}");
    }
    assert_eq!(read(Protocol::Anthropic, &[frame("error", "no")]), "fail: no");
}

#[test]
fn blocks_of_a_text_are_one_text_where_nothing_is_between_them() {
    let block = |index| begins(index, r#"{"type":"text","text":""}"#);
    let tool = begins(2, r#"{"type":"server_tool_use","id":"s1","name":"search","input":{}}"#);
    check(
        &[
            &block(0),
            &text(0, "One"),
            &block(1),
            &text(1, " fact."),
            &tool,
            &block(3),
            &text(3, "Two."),
            &stops("end_turn"),
            STOP,
        ],
        expect![[
            r#""One", " fact.", content_block_start, tool search, "\n\n", "Two.", message_delta, message_stop, complete"#
        ]],
    );
}

/// The messages in a request to a model, one in a line.
fn requested_with(log: &[Vec<Event>], expected: Expect) {
    let conversation = conversation(log);
    let body = Protocol::Anthropic.body(&request(&conversation));
    let body = String::from_utf8(body.to_vec()).expect("JSON is text");
    let body = Object::parse(&body).expect("an object");
    let messages = body.list("messages");
    let roles = messages.iter().map(|message| Object::parse(message)?.text("role"));
    let roles: Vec<_> = roles.collect();
    assert!(roles.windows(2).all(|two| two[0] != two[1]), "they take turns: {roles:?}");
    expected.assert_eq(&messages.iter().map(|message| format!("{message}\n")).collect::<String>());
}

#[test]
fn a_model_is_asked_with_its_own_thoughts_and_each_call_has_its_result() {
    let delta = |index: usize, delta: &str| {
        format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
    };
    let events = [
        begins(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
        delta(0, r#"{"type":"thinking_delta","thinking":"Hm\u00e4"}"#),
        delta(0, r#"{"type":"signature_delta","signature":"x\/=="}"#),
        begins(1, r#"{"type":"redacted_thinking","data":"y=="}"#),
        begins(3, r#"{"type":"tool_use","id":"toolu_1","name":"find","input":{}}"#),
        delta(3, r#"{"type":"input_json_delta","partial_json":""}"#),
        delta(3, r#"{"type":"input_json_delta","partial_json":"{\"n\":1."}"#),
        begins(4, r#"{"type":"tool_use","id":"toolu_2","name":"time","input":{}}"#),
        delta(3, r#"{"type":"input_json_delta","partial_json":"10}"}"#),
        r#"{"type":"content_block_stop","index":3}"#.into(),
        r#"{"type":"content_block_stop","index":4}"#.into(),
        begins(5, r#"{"type":"tool_use","id":"cut","name":"cut","input":{}}"#),
        delta(5, r#"{"type":"input_json_delta","partial_json":"{\"n"}"#),
    ];
    let mut pieces: Vec<_> = events.iter().map(|event| ("anthropic/1", event.as_str())).collect();
    pieces.insert(4, ("text", "Let me see."));
    requested_with(
        &[user(1, "text", "how many?"), agent(2, "a", &pieces), user(30, "text", "sure?")],
        expect![[r#"
            {"role":"user","content":[{"type":"text","text":"how many?"}]}
            {"role":"assistant","content":[{"type":"thinking","thinking":"Hmä","signature":"x\/=="},{"type":"redacted_thinking","data":"y=="},{"type":"text","text":"Let me see."},{"type":"tool_use","id":"toolu_1","name":"find","input":{"n":1.10}},{"type":"tool_use","id":"toolu_2","name":"time","input":{}}]}
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"the call came to no result","is_error":true},{"type":"tool_result","tool_use_id":"toolu_2","content":"the call came to no result","is_error":true},{"type":"text","text":"sure?"}]}
        "#]],
    );
}

#[test]
fn a_model_is_asked_with_what_other_agents_said() {
    let events = [
        ("ai-sdk/1", r#"{"type":"reasoning-start","id":"r"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-delta","id":"r","delta":"hm"}"#),
        (
            "ai-sdk/1",
            r#"{"type":"tool-input-available","toolCallId":"call.1 ä","toolName":"a.b","input":7}"#,
        ),
        (
            "ai-sdk/1",
            r#"{"type":"tool-output-available","toolCallId":"call.1 ä","output":{"n":1}}"#,
        ),
        ("text", "  "),
        ("text", "seven"),
    ];
    let picture = r#"{"role":"user","parts":[{"type":"text","text":"And this?"},{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AA=="},{"type":"file","mediaType":"application/pdf","url":"https://h/a.pdf"}]}"#;
    requested_with(
        &[
            user(1, "text", "first"),
            user(2, "text", "second"),
            agent(3, "a", &events),
            user(30, "ai-sdk/1", picture),
        ],
        expect![[r#"
            {"role":"user","content":[{"type":"text","text":"first"},{"type":"text","text":"second"}]}
            {"role":"assistant","content":[{"type":"tool_use","id":"call_1___6a463cc048ac1b4f","name":"a_b_390c9ebbbb7402f6","input":{"value":7}}]}
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1___6a463cc048ac1b4f","content":"{\"n\":1}"}]}
            {"role":"assistant","content":[{"type":"text","text":"  seven"}]}
            {"role":"user","content":[{"type":"text","text":"And this?"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},{"type":"document","source":{"type":"url","url":"https://h/a.pdf"}}]}
        "#]],
    );
}

/// People answered the turn's question: the call has their answer, in a message of the user's.
#[test]
fn an_answer_of_people_goes_back_as_the_result_of_its_call() {
    let call = begins(0, r#"{"type":"tool_use","id":"q","name":"place","input":{}}"#);
    let log = [
        user(1, "text", "where?"),
        agent(2, "t", &[("anthropic/1", call.as_str())]),
        asks(3, "q", Some(r#""Graz""#)),
    ];
    requested_with(
        &log,
        expect![[r#"
        {"role":"user","content":[{"type":"text","text":"where?"}]}
        {"role":"assistant","content":[{"type":"tool_use","id":"q","name":"place","input":{}}]}
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"q","content":"Graz"}]}
    "#]],
    );
}
