//! What of a long conversation, or of one that was brought along, goes into an endpoint's request.

use bytes::Bytes;
use expect_test::expect;

use super::super::attached::messages::TurnReader;
use super::tests::{agent, asks, check, conversation, messages, user};
use super::*;
use crate::config::Protocol;
use crate::edge::push::body_of;
use crate::ids::AgentName;
use crate::limits::MESSAGES_BYTES;
use crate::session::{Event, Fact, TreePlace, View};

/// The messages in the request to an endpoint that goes on in turn `t`.
fn rendered(kept_to: u64, log: &[Vec<Event>]) -> Vec<String> {
    rendered_in(MESSAGES_BYTES, kept_to, log)
}

/// The same where there is so much room.
fn rendered_in(room: usize, kept_to: u64, log: &[Vec<Event>]) -> Vec<String> {
    let turn = TurnId::parse("t").unwrap();
    let (agent, kept_to) = (AgentName::parse("helper").unwrap(), Serial(kept_to));
    let mut messages =
        Messages::of_turn(TurnReader { turn, agent, kept_to, room, view: View::default() });
    log.iter().flatten().for_each(|event| messages.take(event));
    let body = body_of(Protocol::OpenAi, &messages, "t");
    let body = Object::parse(&body).unwrap();
    // Long texts by their first letter and their length.
    let short = |message: &&str| {
        let text = Object::parse(message).unwrap().text("content").unwrap_or_default();
        match text.len() {
            ..100 => text,
            long => format!("{}{long}", &text[..1]),
        }
    };
    body.list("messages").iter().map(short).collect()
}

/// An input of turn `t`.
fn input(serial: u64, text: &str) -> Vec<Event> {
    let mut all = user(serial, "text", text);
    let id = TurnId::parse("t").unwrap();
    let fact = Fact::Input {
        input: id.clone(),
        turn: id,
        sender: None,
        held: false,
        place: TreePlace::default(),
        parent: None,
    };
    all[0].fact = Some(Box::new(fact));
    all
}

fn long(letter: char, bytes: usize) -> String {
    letter.to_string().repeat(bytes)
}

#[test]
fn an_agent_with_little_room_is_told_the_newest_that_fits() {
    let log = [
        user(1, "text", &long('a', 400)),
        agent(2, "a", &[("text", &long('b', 400))]),
        user(20, "text", &long('c', 400)),
        agent(21, "b", &[("text", &long('d', 400))]),
        input(40, &long('e', 400)),
    ];
    assert_eq!(rendered_in(2_000, 0, &log), ["a400", "b400", "c400", "d400", "e400"]);
    assert_eq!(rendered_in(1_200, 0, &log), ["c400", "d400", "e400"]);
    // What is left begins with what a person sent, and what the turn was given stays.
    assert_eq!(rendered_in(900, 0, &log), ["e400"]);
    assert_eq!(rendered_in(1, 0, &log), ["e400"]);
}

#[test]
fn what_an_endpoint_is_not_told_of_takes_no_room() {
    let (half, whole) = (long('h', MESSAGES_BYTES / 2), long('w', MESSAGES_BYTES));
    let state = format!(r#"{{"type":"STATE_SNAPSHOT","snapshot":"{whole}"}}"#);
    let log = [
        user(1, "text", &half),
        agent(2, "a", &[("text", "ho"), ("ag-ui/1", &state), ("my/1", &whole)]),
        input(10, "now"),
        agent(11, "t", &[("text", &whole)]),
    ];
    assert_eq!(rendered(0, &log), ["h131072", "ho", "now"]);
}

#[test]
fn the_question_stays_however_much_was_said_since() {
    let half = long('h', MESSAGES_BYTES / 2);
    let log = [
        user(1, "text", "first"),
        agent(2, "a", &[("text", &half)]),
        input(3, "now"),
        agent(4, "t", &[("text", "one "), ("text", &half), ("text", &half)]),
        asks(7, "q", Some("true")),
        input(10, "and"),
    ];
    assert_eq!(rendered(8, &log), ["now", "h131072", "and"]);
}

/// What is left of an answer begins in the middle of a sentence.
#[test]
fn a_conversation_that_is_cut_begins_with_what_a_person_said() {
    let half = long('h', MESSAGES_BYTES / 2);
    let log = [
        user(1, "text", "first"),
        agent(2, "a", &[("text", &half), ("text", &half)]),
        user(4, "text", "second"),
        agent(5, "b", &[("text", "ho")]),
        input(6, "now"),
    ];
    assert_eq!(rendered(0, &log), ["second", "ho", "now"]);
    assert_eq!(rendered(0, &log[..1]), ["first"]);
}

#[test]
fn what_is_internal_is_told_to_the_agent_itself_alone() {
    let by = |name: &str, serial, text: &str| {
        let mut all: Vec<Event> = agent(serial, name, &[("text", "")]);
        let event = &mut all[0];
        event.agent = Some(AgentName::parse(name).unwrap());
        event.payload = Bytes::copy_from_slice(text.as_bytes());
        if let Some(Fact::Output(output)) = event.fact.as_deref_mut() {
            output.internal = true;
        }
        all
    };
    let log = [by("other", 1, "theirs"), by("helper", 2, "ours"), input(3, "now")];
    assert_eq!(rendered(0, &log), ["ours", "now"]);
}

/// A model refuses a call without a result where a person's message follows it.
#[test]
fn a_call_whose_question_nobody_answered_says_so() {
    let asked_for = [
        ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k1","toolCallName":"order"}"#),
        (
            "ag-ui/1",
            r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i1"}]}}"#,
        ),
    ];
    let log = [
        user(1, "text", "buy"),
        agent(2, "t", &asked_for),
        asks(8, "i1", None),
        user(11, "text", "no"),
    ];
    let body = body_of(Protocol::AgUi, &messages(&log), "t");
    let body = Object::parse(&body).unwrap();
    expect![[r#"
        {"id":"m1","role":"user","content":"buy"}
        {"id":"m2","role":"assistant","toolCalls":[{"id":"k1","type":"function","function":{"name":"order","arguments":"{}"}}]}
        {"id":"k1.result","role":"tool","toolCallId":"k1","content":"the call came to no result","error":"the call came to no result"}
        {"id":"m11","role":"user","content":"no"}"#]].assert_eq(&body.list("messages").join("\n"));
}

/// Each chunk of its own, or of an id, without looking at all that were before.
#[test]
fn many_pieces_of_data_are_taken_in_one_go() {
    let all: Vec<_> = (0..4_000)
        .map(|n| match n % 2 {
            0 => format!(r#"{{"type":"data-a","data":{n}}}"#),
            _ => format!(r#"{{"type":"data-b","id":"{}","data":{n}}}"#, n % 10),
        })
        .collect();
    let content: Vec<_> = all.iter().map(|json| ("ai-sdk/1", json.as_str())).collect();
    let conversation = conversation(&[agent(1, "a", &content)]);
    assert_eq!(conversation.entries[0].parts.len(), 2_005);
    let last = r#"{"type":"data-b","id":"9","data":3999}"#;
    let has = |part: &Part| matches!(part, Part::Other { json, .. } if json == last);
    assert!(conversation.entries[0].parts.iter().any(has));
}

#[test]
fn a_conversation_that_a_client_brought_along_is_told_as_one() {
    let content = r#"{"messages":[{"role":"user","parts":[{"type":"text","text":"a"}]},{"role":"assistant","parts":[{"type":"text","text":"b"}]},{"role":"user","parts":[{"type":"text","text":"c"}]}]}"#;
    check(
        &[user(1, "ai-sdk/1", content)],
        expect![[r#"
        ai-sdk:
          {"id":"m1","role":"user","parts":[{"type":"text","text":"a"}]}
          {"id":"m1","role":"assistant","parts":[{"type":"text","text":"b"}]}
          {"id":"m1","role":"user","parts":[{"type":"text","text":"c"}]}
        ag-ui:
          {"id":"m1","role":"user","content":"a"}
          {"id":"m1","role":"assistant","content":"b"}
          {"id":"m1","role":"user","content":"c"}
        openai:
          {"role":"user","content":"a"}
          {"role":"assistant","content":"b"}
          {"role":"user","content":"c"}
    "#]],
    );
}
