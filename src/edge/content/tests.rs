//! Conversations as dialects get them: written in one, read in all (`docs/CONTENT.md`).

use bytes::Bytes;
use expect_test::{Expect, expect};

use super::super::wire::tests::sample;
use super::*;
use crate::config::Protocol;
use crate::edge::push::body_of;
use crate::ids::{InteractionId, KindName, TurnEpoch};
use crate::session::{Event, Fact, Output, TreePlace};

fn event(serial: u64, format: &str, payload: &str, fact: Fact) -> Event {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Event { serial: Serial(serial), payload, fact: Some(Box::new(fact)), ..sample(format, b"") }
}

fn turn_id(name: &str) -> TurnId {
    TurnId::parse(name).unwrap()
}

/// An input, which begins a turn of its own.
pub(in crate::edge) fn user(serial: u64, format: &str, payload: &str) -> Vec<Event> {
    let id = turn_id(&format!("i{serial}"));
    let fact = Fact::Input {
        input: id.clone(),
        turn: id,
        sender: None,
        held: false,
        place: TreePlace::default(),
        parent: None,
    };
    vec![event(serial, format, payload, fact)]
}

/// What an agent put out in a turn: formats and payloads.
pub(in crate::edge) fn agent(serial: u64, turn: &str, pieces: &[(&str, &str)]) -> Vec<Event> {
    let output = |at: u64| {
        let (turn, step) = (turn_id(turn), None);
        let epoch = TurnEpoch(1);
        let (message, place) = (Serial(serial), TreePlace::default());
        let (attempt, offset, internal) = (1, at, false);
        Fact::Output(Output { turn, epoch, attempt, offset, step, internal, message, place })
    };
    let pieces = (serial..).zip(pieces);
    pieces.map(|(at, (format, payload))| event(at, format, payload, output(at))).collect()
}

/// A question of turn `t`, that the turn waits, and the answer if there is one.
pub(in crate::edge) fn asks(serial: u64, name: &str, answer: Option<&str>) -> Vec<Event> {
    let interaction = InteractionId::parse(name).unwrap();
    let (turn, kind) = (turn_id("t"), KindName::parse("approval").unwrap());
    let request = Fact::Requested {
        role: crate::session::Role::Participant,
        interaction: interaction.clone(),
        turn: turn.clone(),
        epoch: TurnEpoch(1),
        kind,
        deadline: None,
        message: Serial(serial),
        place: TreePlace::default(),
    };
    let mut all = vec![
        event(serial, "json", "{}", request),
        event(serial + 1, "json", "null", Fact::Waiting { turn: turn.clone() }),
    ];
    let answered = Fact::Answered { interaction, turn, by: None };
    all.extend(answer.map(|answer| event(serial + 2, "json", answer, answered)));
    all
}

pub(in crate::edge) fn messages(log: &[Vec<Event>]) -> Messages {
    let mut messages = Messages::default();
    log.iter().flatten().for_each(|event| messages.take(event));
    messages
}

/// The conversation of a log, for an agent that has turn `t`.
pub(in crate::edge) fn conversation(log: &[Vec<Event>]) -> Conversation {
    Conversation::of(&messages(log), &turn_id("t"))
}

/// The messages in requests to an endpoint of each dialect, and what else they have of answers.
pub(super) fn check(log: &[Vec<Event>], expected: Expect) {
    let messages = messages(log);
    let mut rendered = String::new();
    for protocol in [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi] {
        let body = body_of(protocol, &messages, "t");
        let body = Object::parse(&body).unwrap();
        rendered += &format!("{}:\n", protocol.name());
        for message in body.list("messages") {
            rendered += &format!("  {message}\n");
        }
        for name in ["messageId", "runId", "parentRunId", "resume"] {
            if let Some(value) = body.get(name).filter(|value| *value != r#""t""#) {
                rendered += &format!("  {name} {value}\n");
            }
        }
    }
    expected.assert_eq(&rendered);
}

#[test]
fn a_call_of_a_tool_goes_back_with_what_came_of_it() {
    let content = [
        ("ai-sdk/1", r#"{"type":"start","messageId":"m1"}"#),
        ("ai-sdk/1", r#"{"type":"start-step"}"#),
        (
            "ai-sdk/1",
            r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"lookup","input":{"id":7.10}}"#,
        ),
        ("ai-sdk/1", r#"{"type":"tool-output-available","toolCallId":"k1","output":{"left":12}}"#),
        ("ai-sdk/1", r#"{"type":"start-step"}"#),
        ("ai-sdk/1", r#"{"type":"text-start","id":"0"}"#),
        ("text", "twel"),
        ("text", "ve"),
        ("ai-sdk/1", r#"{"type":"finish","finishReason":"stop"}"#),
    ];
    check(
        &[user(1, "text", "how many?"), agent(2, "a", &content), user(20, "text", "sure?")],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"how many?"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"step-start"},{"type":"tool-lookup","toolCallId":"k1","state":"output-available","input":{"id":7.10},"output":{"left":12}},{"type":"step-start"},{"type":"text","text":"twelve"}]}
          {"id":"m20","role":"user","parts":[{"type":"text","text":"sure?"}]}
        ag-ui:
          {"id":"m1","role":"user","content":"how many?"}
          {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"lookup","arguments":"{\"id\":7.10}"}}]}
          {"id":"k1.result","role":"tool","toolCallId":"k1","content":"{\"left\":12}"}
          {"id":"m2.2","role":"assistant","content":"twelve"}
          {"id":"m20","role":"user","content":"sure?"}
        openai:
          {"role":"user","content":"how many?"}
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"lookup","arguments":"{\"id\":7.10}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"{\"left\":12}"}
          {"role":"assistant","content":"twelve"}
          {"role":"user","content":"sure?"}
    "#]],
    );
}

#[test]
fn calls_of_other_dialects_go_back_too() {
    let openai = [
        (
            "openai/1",
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"k1","function":{"name":"look","arguments":"{\"i"}}]}}]}"#,
        ),
        (
            "openai/1",
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"d\":1}"}}]}}]}"#,
        ),
        (
            "openai/1",
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"k2","function":{"name":"cut","arguments":"{"}}]}}]}"#,
        ),
    ];
    let ag_ui = [
        ("text", "I look."),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k3","toolCallName":"look"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k3","delta":"{\"id\":"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k3","delta":"2}"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k3","content":"found"}"#),
        ("text", "Found."),
    ];
    check(
        &[agent(1, "a", &openai), user(9, "text", "on"), agent(10, "b", &ag_ui)],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"assistant","parts":[{"type":"tool-look","toolCallId":"k1","state":"output-error","input":{"id":1},"errorText":"the call came to no result"}]}
          {"id":"m9","role":"user","parts":[{"type":"text","text":"on"}]}
          {"id":"m10","role":"assistant","parts":[{"type":"text","text":"I look."},{"type":"tool-look","toolCallId":"k3","state":"output-available","input":{"id":2},"output":"found"},{"type":"text","text":"Found."}]}
        ag-ui:
          {"id":"m1","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"look","arguments":"{\"id\":1}"}}]}
          {"id":"k1.result","role":"tool","toolCallId":"k1","content":"the call came to no result","error":"the call came to no result"}
          {"id":"m9","role":"user","content":"on"}
          {"id":"m10","role":"assistant","content":"I look.","toolCalls":[{"id":"k3","type":"function","function":{"name":"look","arguments":"{\"id\":2}"}}]}
          {"id":"k3.result","role":"tool","toolCallId":"k3","content":"found"}
          {"id":"m10.2","role":"assistant","content":"Found."}
        openai:
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"look","arguments":"{\"id\":1}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"the call came to no result"}
          {"role":"user","content":"on"}
          {"role":"assistant","content":"I look.","tool_calls":[{"id":"k3","type":"function","function":{"name":"look","arguments":"{\"id\":2}"}}]}
          {"role":"tool","tool_call_id":"k3","content":"found"}
          {"role":"assistant","content":"Found."}
    "#]],
    );
}

#[test]
fn texts_and_reasoning_keep_their_parts() {
    let content = [
        ("ai-sdk/1", r#"{"type":"reasoning-start","id":"r"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-delta","id":"r","delta":"hm"}"#),
        (
            "ai-sdk/1",
            r#"{"type":"reasoning-end","id":"r","providerMetadata":{"anthropic":{"signature":"x=="}}}"#,
        ),
        ("ai-sdk/1", r#"{"type":"text-start","id":"0"}"#),
        ("text", "One."),
        ("ai-sdk/1", r#"{"type":"text-end","id":"0"}"#),
        ("ai-sdk/1", r#"{"type":"source-url","sourceId":"s","url":"https://h"}"#),
        ("ai-sdk/1", r#"{"type":"data-weather","id":"w","data":1}"#),
        ("ai-sdk/1", r#"{"type":"data-weather","id":"w","data":2}"#),
        ("ai-sdk/1", r#"{"type":"text-start","id":"1"}"#),
        ("text", "\n\n"),
        ("text", "Two."),
    ];
    check(
        &[user(1, "text", "hi"), agent(2, "a", &content), user(20, "text", "on")],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"hi"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"reasoning","text":"hm","providerMetadata":{"anthropic":{"signature":"x=="}}},{"type":"text","text":"One."},{"type":"source-url","sourceId":"s","url":"https://h"},{"type":"data-weather","id":"w","data":2},{"type":"text","text":"Two."}]}
          {"id":"m20","role":"user","parts":[{"type":"text","text":"on"}]}
        ag-ui:
          {"id":"m1","role":"user","content":"hi"}
          {"id":"m2","role":"assistant","content":"One.\n\nTwo."}
          {"id":"m20","role":"user","content":"on"}
        openai:
          {"role":"user","content":"hi"}
          {"role":"assistant","content":"One.\n\nTwo."}
          {"role":"user","content":"on"}
    "#]],
    );
}

#[test]
fn what_people_say_beside_text_reaches_the_endpoint() {
    let picture = user(3, "image/png", "\u{1}png");
    let log =
        [user(1, "json", r#"{"n":1.10}"#), user(2, "text", " "), picture, user(4, "my/1", "x")];
    check(
        &log,
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"{\"n\":1.10}"}]}
          {"id":"m3","role":"user","parts":[{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AXBuZw=="}]}
          {"id":"m4","role":"user","parts":[{"type":"text","text":"x"}]}
        ag-ui:
          {"id":"m1","role":"user","content":"{\"n\":1.10}"}
          {"id":"m3","role":"user","content":[{"type":"image","source":{"type":"data","value":"AXBuZw==","mimeType":"image/png"}}]}
          {"id":"m4","role":"user","content":"x"}
        openai:
          {"role":"user","content":[{"type":"text","text":"{\"n\":1.10}\n\nx"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AXBuZw=="}}]}
    "#]],
    );
}

#[test]
fn an_answer_of_people_goes_back_in_the_endpoints_own_form() {
    let ai_sdk = [
        (
            "ai-sdk/1",
            r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"order","input":{"n":3}}"#,
        ),
        ("ai-sdk/1", r#"{"type":"tool-approval-request","approvalId":"i1","toolCallId":"k1"}"#),
    ];
    let request = |answer| [user(1, "text", "buy"), agent(2, "t", &ai_sdk), asks(8, "i1", answer)];
    check(
        &request(Some("true")),
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"buy"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"tool-order","toolCallId":"k1","state":"approval-responded","input":{"n":3},"approval":{"id":"i1","approved":true}}]}
          messageId "m2"
        ag-ui:
          {"id":"m1","role":"user","content":"buy"}
          {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{\"n\":3}"}}]}
          runId "t:1"
        openai:
          {"role":"user","content":"buy"}
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{\"n\":3}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"the call came to no result"}
    "#]],
    );
    check(
        &request(Some(r#"{"approved":false,"reason":"too many"}"#)),
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"buy"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"tool-order","toolCallId":"k1","state":"approval-responded","input":{"n":3},"approval":{"id":"i1","approved":false,"reason":"too many"}}]}
          messageId "m2"
        ag-ui:
          {"id":"m1","role":"user","content":"buy"}
          {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{\"n\":3}"}}]}
          runId "t:1"
        openai:
          {"role":"user","content":"buy"}
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{\"n\":3}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"the call came to no result"}
    "#]],
    );
    // An input came instead, and an earlier attempt to go on sent something.
    let [bought, ordered, open] = request(None);
    check(
        &[bought, ordered, open, user(11, "text", "no"), agent(12, "t", &[("text", "lost")])],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"buy"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"tool-order","toolCallId":"k1","state":"output-denied","input":{"n":3},"approval":{"id":"i1","approved":false,"reason":"nobody answered"}}]}
          {"id":"m11","role":"user","parts":[{"type":"text","text":"no"}]}
        ag-ui:
          {"id":"m1","role":"user","content":"buy"}
          {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{\"n\":3}"}}]}
          {"id":"k1.result","role":"tool","toolCallId":"k1","content":"the call was denied","error":"the call was denied"}
          {"id":"m11","role":"user","content":"no"}
          runId "t:1"
        openai:
          {"role":"user","content":"buy"}
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{\"n\":3}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"the call was denied"}
          {"role":"user","content":"no"}
    "#]],
    );
    let ag_ui = [
        ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k1","toolCallName":"order"}"#),
        (
            "ag-ui/1",
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1"}]}}"#,
        ),
    ];
    check(
        &[user(1, "text", "buy"), agent(2, "t", &ag_ui), asks(8, "i1~2", Some("1.10"))],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"buy"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"tool-order","toolCallId":"k1","state":"input-available","input":{}}]}
          messageId "m2"
        ag-ui:
          {"id":"m1","role":"user","content":"buy"}
          {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{}"}}]}
          runId "t:1"
          resume [{"interruptId":"i1","status":"resolved","payload":1.10}]
        openai:
          {"role":"user","content":"buy"}
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"the call came to no result"}
    "#]],
    );
}

#[test]
fn a_client_that_has_the_tool_answers_the_call() {
    let called = [(
        "ai-sdk/1",
        r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"where","input":{}}"#,
    )];
    let answer = Some(r#"{"lat":1.10}"#);
    check(
        &[user(1, "text", "?"), agent(2, "t", &called), asks(8, "k1", answer)],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"?"}]}
          {"id":"m2","role":"assistant","parts":[{"type":"tool-where","toolCallId":"k1","state":"output-available","input":{},"output":{"lat":1.10}}]}
          messageId "m2"
        ag-ui:
          {"id":"m1","role":"user","content":"?"}
          {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"where","arguments":"{}"}}]}
          {"id":"k1.result","role":"tool","toolCallId":"k1","content":"{\"lat\":1.10}"}
          runId "t:1"
        openai:
          {"role":"user","content":"?"}
          {"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"where","arguments":"{}"}}]}
          {"role":"tool","tool_call_id":"k1","content":"{\"lat\":1.10}"}
    "#]],
    );
}

/// Servers number their calls from the beginning in each answer.
#[test]
fn calls_of_the_same_id_in_several_turns_are_several_calls() {
    let openai = |n: u64| {
        let begin = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_0","function":{"name":"look","arguments":"{\"n\":"}}]}}]}"#;
        let more = format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"id":"call_0","function":{{"name":"look","arguments":"{n}}}"}}}}]}}}}]}}"#
        );
        [begin.to_owned(), more]
    };
    let (one, two) = (openai(1), openai(2));
    let of = |content: &'static str, json: &'static str| (content, json);
    let ag_ui = [
        of("ag-ui/1", r#"{"type":"TOOL_CALL_CHUNK","toolCallId":"call_0","toolCallName":"find"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_CHUNK","delta":"{\"n\":"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_CHUNK","delta":"3}"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"call_0","content":"c"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"call_0","toolCallName":"find"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"call_0","delta":"{\"n\":4}"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"call_0","content":"d"}"#),
        of("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"lost","delta":"{}"}"#),
    ];
    let log = [
        agent(1, "a", &[("openai/1", &one[0]), ("openai/1", &one[1])]),
        user(5, "text", "on"),
        agent(6, "b", &[("openai/1", &two[0]), ("openai/1", &two[1])]),
        user(10, "text", "on"),
        agent(11, "c", &ag_ui),
    ];
    let body = body_of(Protocol::OpenAi, &messages(&log), "t");
    let body = Object::parse(&body).unwrap();
    let rendered: Vec<_> =
        body.list("messages").into_iter().filter(|rendered| rendered.contains("call")).collect();
    expect![[r#"
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"look","arguments":"{\"n\":1}"}}]}
        {"role":"tool","tool_call_id":"call_0","content":"the call came to no result"}
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_0~2","type":"function","function":{"name":"look","arguments":"{\"n\":2}"}}]}
        {"role":"tool","tool_call_id":"call_0~2","content":"the call came to no result"}
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_0~3","type":"function","function":{"name":"find","arguments":"{\"n\":3}"}},{"id":"call_0~4","type":"function","function":{"name":"find","arguments":"{\"n\":4}"}}]}
        {"role":"tool","tool_call_id":"call_0~3","content":"c"}
        {"role":"tool","tool_call_id":"call_0~4","content":"d"}"#]].assert_eq(&rendered.join("\n"));
}

#[test]
fn reasoning_of_two_steps_keeps_its_own_signature_each() {
    let step = |text: &str, signature: &str| {
        [
            r#"{"type":"start-step"}"#.to_owned(),
            r#"{"type":"reasoning-start","id":"0"}"#.to_owned(),
            format!(r#"{{"type":"reasoning-delta","id":"0","delta":"{text}"}}"#),
            format!(
                r#"{{"type":"reasoning-end","id":"0","providerMetadata":{{"s":"{signature}"}}}}"#
            ),
        ]
    };
    let all = [step("one", "1"), step("two", "2")].concat();
    let content: Vec<_> = all.iter().map(|json| ("ai-sdk/1", json.as_str())).collect();
    let body = body_of(Protocol::AiSdk, &messages(&[agent(1, "a", &content)]), "t");
    let body = Object::parse(&body).unwrap();
    expect![[r#"{"id":"m1","role":"assistant","parts":[{"type":"step-start"},{"type":"reasoning","text":"one","providerMetadata":{"s":"1"}},{"type":"step-start"},{"type":"reasoning","text":"two","providerMetadata":{"s":"2"}}]}"#]].assert_eq(&body.list("messages").join("\n"));
}

#[test]
fn a_turn_waits_on_until_all_of_its_questions_are_answered() {
    let ask = |serial, name| asks(serial, name, None).remove(0);
    let answer = |serial: u64, name| asks(serial - 2, name, Some("true")).remove(2);
    let waits = |serial: u64| asks(serial - 1, "x", None).remove(1);
    let of = |log: Vec<Event>| {
        let (questions, turn) = (messages(&[log]).questions, turn_id("t"));
        (questions.waits_on(&turn), questions.waited(&turn).map(|(at, times)| (at.0, times)))
    };
    let mut log = vec![ask(1, "a"), ask(2, "b"), waits(3), answer(4, "a")];
    assert_eq!(of(log.clone()), (true, Some((3, 1))));
    // It has been offered at the first answer, and waits again.
    log.push(waits(5));
    assert_eq!(of(log.clone()), (true, Some((3, 1))));
    let mut entry = log.clone();
    let id = turn_id("t");
    let fact = Fact::Input {
        input: turn_id("more"),
        turn: id,
        sender: None,
        held: false,
        place: TreePlace::default(),
        parent: None,
    };
    entry.push(event(6, "text", "no", fact));
    assert_eq!(of(entry.clone()), (false, Some((3, 1))));
    // Its questions from then on are all that counts.
    entry.extend([ask(7, "c"), waits(8)]);
    assert_eq!(of(entry.clone()), (true, Some((8, 2))));
    entry.push(answer(9, "c"));
    assert_eq!(of(entry), (false, Some((8, 2))));
    log.push(answer(6, "b"));
    assert_eq!(of(log), (false, Some((3, 1))));
}

#[test]
fn a_message_of_a_person_may_have_texts_and_files() {
    let content = r#"{"role":"user","parts":[{"type":"file","mediaType":"image/png","url":"https://a.example/b.png"},{"type":"text","text":"what is it?"},{"type":"data-at","data":7}]}"#;
    check(
        &[user(1, "ai-sdk/1", content)],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"file","mediaType":"image/png","url":"https://a.example/b.png"},{"type":"text","text":"what is it?"},{"type":"data-at","data":7}]}
        ag-ui:
          {"id":"m1","role":"user","content":[{"type":"image","source":{"type":"url","value":"https://a.example/b.png","mimeType":"image/png"}},{"type":"text","text":"what is it?"}]}
        openai:
          {"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image_url","image_url":{"url":"https://a.example/b.png"}}]}
    "#]],
    );
}
