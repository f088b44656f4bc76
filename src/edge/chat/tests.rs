//! Answers as they are sent, in a dialect, from events that agents of each dialect wrote.

use expect_test::{Expect, expect};

use super::super::content::tests::{agent, asks, user};
use super::delta::Delta;
use super::fold::Fold;
use super::live::{Dialect, Teller};
use super::superseded::Superseded;
use crate::edge::wire::tests::sample;
use crate::ids::{KindName, Millis, Serial, StepName, TurnEpoch, TurnId};
use crate::limits::{ANSWER_REWINDS, ASK_GRACE_MS};
use crate::session::{End, Event, Fact};

pub(super) fn turn() -> TurnId {
    TurnId::parse("t").unwrap()
}

/// A question of an agent, and that its turn waits for it.
pub(super) fn requested(serial: u64, kind: &str, question: &'static str) -> Vec<Event> {
    let mut events = asks(serial, "q", None);
    events[0].payload = question.into();
    let Some(Fact::Requested { kind: of, .. }) = events[0].fact.as_deref_mut() else { panic!() };
    *of = KindName::parse(kind).unwrap();
    events
}

/// A choice, with and without words for people.
pub(super) const CHOICE: &str =
    r#"{"text":"Which flight?","choices":[{"value":"A1","label":"9:00"},7]}"#;

/// What a turn is about, beside its output.
pub(super) fn fact(serial: u64, fact: Fact) -> Vec<Event> {
    vec![Event { serial: Serial(serial), fact: Some(Box::new(fact)), ..sample("json", b"null") }]
}

pub(super) fn ended(serial: u64, end: End) -> Vec<Event> {
    fact(serial, Fact::Ended { turn: turn(), end })
}

pub(super) fn completed(serial: u64) -> Vec<Event> {
    ended(serial, End::Completed { reason: String::new() })
}

pub(super) fn rewound(serial: u64, from: u64, to: u64) -> Vec<Event> {
    let (turn, epoch, step) = (turn(), TurnEpoch(2), None);
    fact(serial, Fact::Rewound { turn, epoch, step, from: Serial(from), to: Serial(to) })
}

pub(super) fn step(serial: u64, name: &str) -> Vec<Event> {
    let step = StepName::parse(name).unwrap();
    fact(serial, Fact::Step { turn: turn(), epoch: TurnEpoch(1), step, attempt: 1 })
}

/// What a client is sent of a log from `after` on; `known`: it is read when all of it is there.
pub(super) fn rendered(
    mut dialect: impl Dialect,
    log: &[Vec<Event>],
    (after, known): (u64, bool),
) -> String {
    let mut superseded = Superseded::of(&turn());
    log.iter().flatten().filter(|_| known).for_each(|event| superseded.take(event));
    let mut out = Vec::new();
    dialect.open(&mut out);
    let fold = Fold::new(&turn(), Serial(1), superseded);
    let mut teller = Teller::new(fold, dialect, Serial(0), Serial(after));
    log.iter().flatten().for_each(|event| teller.take(event, &mut out));
    let rendered = String::from_utf8(out).unwrap().replace("\n\n", "\n").replace("data: ", "");
    format!("{rendered}{:?}\n", teller.flow())
}

/// What a log means, one delta in a line.
fn deltas(log: &[Vec<Event>]) -> String {
    let mut fold = Fold::new(&turn(), Serial(1), Superseded::default());
    let mut text = String::new();
    for delta in log.iter().flatten().flat_map(|event| fold.take(event)) {
        text += &match delta {
            Delta::Begins(_, kind) => format!("{kind:?} begins\n"),
            Delta::Goes(_, kind, text) => format!("{kind:?} {text:?}\n"),
            Delta::Ends(_, kind, _) => format!("{kind:?} ends\n"),
            Delta::CallBegins(_, call) => format!("call {} of {}\n", call.id, call.tool),
            Delta::CallGoes(_, call, text) => format!("call {} {text:?}\n", call.id),
            Delta::CallReady(_, call) => format!("call {} is {}\n", call.id, call.arguments()),
            Delta::CallResult { call, .. } => {
                format!("call {} came to {:?}\n", call.id, call.result)
            }
            other => format!("{other:?}\n"),
        };
    }
    text
}

fn check(log: &[Vec<Event>], expected: Expect) {
    expected.assert_eq(&deltas(log));
}

#[test]
fn what_agents_of_each_dialect_say_means_the_same() {
    let ai_sdk = [
        ("ai-sdk/1", r#"{"type":"start","messageId":"m1"}"#),
        ("ai-sdk/1", r#"{"type":"start-step"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-start","id":"r"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-delta","id":"r","delta":"Hm."}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-end","id":"r"}"#),
        ("ai-sdk/1", r#"{"type":"tool-input-start","toolCallId":"k","toolName":"find"}"#),
        (
            "ai-sdk/1",
            r#"{"type":"tool-input-delta","toolCallId":"k","inputTextDelta":"{\"id\":7}"}"#,
        ),
        (
            "ai-sdk/1",
            r#"{"type":"tool-input-available","toolCallId":"k","toolName":"find","input":{"id":7}}"#,
        ),
        ("ai-sdk/1", r#"{"type":"tool-output-available","toolCallId":"k","output":"twelve"}"#),
        ("ai-sdk/1", r#"{"type":"text-start","id":"0"}"#),
        ("text", "twel"),
        ("text", "ve"),
        ("ai-sdk/1", r#"{"type":"text-end","id":"0"}"#),
        ("ai-sdk/1", r#"{"type":"finish"}"#),
    ];
    let ag_ui = [
        ("ag-ui/1", r#"{"type":"RUN_STARTED"}"#),
        ("ag-ui/1", r#"{"type":"REASONING_MESSAGE_CONTENT","messageId":"r","delta":"Hm."}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"id\":7}"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_END","toolCallId":"k"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k","content":"twelve"}"#),
        ("ag-ui/1", r#"{"type":"TEXT_MESSAGE_START","messageId":"a"}"#),
        ("text", "twel"),
        ("text", "ve"),
        ("ag-ui/1", r#"{"type":"RUN_FINISHED"}"#),
    ];
    let of = |sent_content: &[(&str, &str)]| deltas(&[agent(1, "t", sent_content), completed(90)]);
    assert_eq!(of(&ai_sdk), of(&ag_ui));
    check(
        &[agent(1, "t", &ag_ui), completed(90)],
        expect![[r#"
        Step
        Reasoning begins
        Reasoning "Hm."
        Reasoning ends
        call k of find
        call k "{\"id\":7}"
        call k is {"id":7}
        call k came to Output("\"twelve\"")
        Text begins
        Text "twel"
        Text "ve"
        Text ends
        Ended(Completed { reason: "" })
    "#]],
    );
}

#[test]
fn chat_completions_have_calls_without_results() {
    let sent_content = [
        ("openai/1", r#"{"choices":[{"index":0,"delta":{"reasoning_content":"Hm."}}]}"#),
        (
            "openai/1",
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"k","function":{"name":"find","arguments":"{\"id\""}}]}}]}"#,
        ),
        (
            "openai/1",
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":":7}"}}]}}]}"#,
        ),
        ("text", "twelve"),
    ];
    check(
        &[agent(1, "t", &sent_content), completed(90)],
        expect![[r#"
        Step
        Reasoning begins
        Reasoning "Hm."
        Reasoning ends
        call k of find
        call k "{\"id\""
        call k ":7}"
        call k is {"id":7}
        Text begins
        Text "twelve"
        Text ends
        Ended(Completed { reason: "" })
    "#]],
    );
}

#[test]
fn what_is_superseded_is_taken_back_by_steps() {
    let log = [
        agent(1, "t", &[("text", "one ")]),
        step(2, "a"),
        fact(3, Fact::Started { turn: turn(), epoch: TurnEpoch(2), attempt: 2 }),
        agent(4, "t", &[("text", "two "), ("text", "thr")]),
        rewound(6, 4, 5),
        agent(7, "t", &[("text", "three")]),
        rewound(8, 1, 7),
        agent(9, "t", &[("text", "all anew")]),
        completed(10),
    ];
    check(
        &log,
        expect![[r#"
            Step
            Text begins
            Text "one "
            Text ends
            Started
            Step
            Text begins
            Text "two "
            Text "thr"
            Text ends
            Rewound { since_step: true, from: Serial(4) }
            Text begins
            Text "three"
            Text ends
            Rewound { since_step: false, from: Serial(1) }
            Step
            Text begins
            Text "all anew"
            Text ends
            Ended(Completed { reason: "" })
        "#]],
    );
}

#[test]
fn other_turns_and_what_is_internal_are_not_told() {
    let mut internal = agent(3, "t", &[("text", "draft")]);
    for event in &mut internal {
        let Some(Fact::Output(output)) = event.fact.as_deref_mut() else { panic!("it is output") };
        output.internal = true;
    }
    let log = [
        user(1, "text", "hi"),
        agent(2, "u", &[("text", "of another")]),
        internal,
        agent(4, "t", &[("text", "said")]),
        asks(5, "q", Some("true")),
    ];
    check(
        &log,
        expect![[r#"
            Step
            Text begins
            Text "said"
            Text ends
            call q of approval
            call q is {}
            Question(Question { interaction: InteractionId("q"), kind: "approval", question: "{}", call: Some("q") })
            Waits
            Answered { interaction: InteractionId("q"), answer: "true" }
        "#]],
    );
}

#[test]
fn arguments_that_others_took_the_place_of_are_told_anew() {
    let start = |input: &str| {
        format!(
            r#"{{"type":"tool-input-start","toolCallId":"k","toolName":"find","input":{input}}}"#
        )
    };
    let whole = |input: &str| start(input).replace("input-start", "input-available");
    let cases = [start("\"ab\""), start("\"abé\""), start("7"), whole("7.0"), whole("8")];
    let sent_content: Vec<_> = cases.iter().map(|chunk| ("ai-sdk/1", chunk.as_str())).collect();
    check(
        &[agent(1, "t", &sent_content), completed(90)],
        expect![[r#"
        Step
        call k of find
        call k "\"ab\""
        call k of find
        call k "\"abé\""
        call k of find
        call k "7"
        call k of find
        call k is 7.0
        call k of find
        call k is 8
        Ended(Completed { reason: "" })
    "#]],
    );
}

#[test]
fn a_text_that_goes_on_after_a_result_is_another_one() {
    let call = r#"{"type":"tool-input-available","toolCallId":"k","toolName":"find","input":{}}"#;
    let result = r#"{"type":"tool-output-available","toolCallId":"k","output":1}"#;
    let sent_content = [("ai-sdk/1", call), ("text", "a"), ("ai-sdk/1", result), ("text", "b")];
    check(
        &[agent(1, "t", &sent_content), completed(90)],
        expect![[r#"
        Step
        call k of find
        call k is {}
        Text begins
        Text "a"
        Text ends
        call k came to Output("1")
        Text begins
        Text "b"
        Text ends
        Ended(Completed { reason: "" })
    "#]],
    );
}

#[test]
fn an_answer_with_more_rewinds_than_are_followed_is_not_told_as_if_it_stood() {
    let mut log = vec![agent(1, "t", &[("text", "wrong")])];
    log.extend((0..=ANSWER_REWINDS as u64).map(|more| rewound(2 + more, 1, 1 + more)));
    let mut superseded = Superseded::of(&turn());
    log.iter().flatten().for_each(|event| superseded.take(event));
    let mut fold = Fold::new(&turn(), Serial(1), superseded);
    let rendered: Vec<_> = log.iter().flatten().flat_map(|event| fold.take(event)).collect();
    assert_eq!((rendered, fold.is_full()), (Vec::new(), true));
}

/// A question of turn `t` about this, at this time; no event says that the turn waits.
fn question(serial: u64, time_ms: u64, (name, kind): (&str, &str), about: &str) -> Vec<Event> {
    let mut events = asks(serial, name, None);
    events.truncate(1);
    let event = &mut events[0];
    (event.time, event.payload) = (Millis(time_ms), about.to_owned().into());
    let Some(Fact::Requested { kind: of, .. }) = event.fact.as_deref_mut() else {
        panic!("it asks")
    };
    *of = KindName::parse(kind).unwrap();
    events
}

#[test]
fn a_question_comes_after_the_call_that_it_is_about() {
    let rendered =
        r#"{"type":"tool-input-available","toolCallId":"k1","toolName":"drop","input":{"a":1}}"#;
    let log = [
        agent(1, "t", &[("ai-sdk/1", rendered)]),
        question(2, 0, ("told", "approval"), r#"{"tool":{"id":"k1","name":"drop"}}"#),
        question(3, 0, ("untold", "approval"), r#"{"tool":{"id":"k2","name":"drop","input":7}}"#),
        question(4, 0, ("words", "approval"), r#""Send it?""#),
        question(5, 0, ("own", "client_tool"), r#"{"tool":"place","arguments":{"n":1.10}}"#),
        question(6, 0, ("flat", "client_tool"), r#"{"name":"time"}"#),
        question(7, 0, ("form", "form"), r#"{"text":"Which?"}"#),
    ];
    check(
        &log,
        expect![[r#"
            Step
            call k1 of drop
            call k1 is {"a":1}
            Question(Question { interaction: InteractionId("told"), kind: "approval", question: "{\"tool\":{\"id\":\"k1\",\"name\":\"drop\"}}", call: Some("k1") })
            call k2 of drop
            call k2 is 7
            Question(Question { interaction: InteractionId("untold"), kind: "approval", question: "{\"tool\":{\"id\":\"k2\",\"name\":\"drop\",\"input\":7}}", call: Some("k2") })
            call words of approval
            call words is {"text":"Send it?"}
            Question(Question { interaction: InteractionId("words"), kind: "approval", question: "\"Send it?\"", call: Some("words") })
            call own of place
            call own is {"n":1.10}
            Question(Question { interaction: InteractionId("own"), kind: "client_tool", question: "{\"tool\":\"place\",\"arguments\":{\"n\":1.10}}", call: Some("own") })
            call flat of time
            call flat is {}
            Question(Question { interaction: InteractionId("flat"), kind: "client_tool", question: "{\"name\":\"time\"}", call: Some("flat") })
            Question(Question { interaction: InteractionId("form"), kind: "form", question: "{\"text\":\"Which?\"}", call: None })
        "#]],
    );
}

#[test]
fn an_agent_that_asks_and_says_no_more_waits_for_people() {
    let at = |time_ms: u64, mut events: Vec<Event>| {
        events.iter_mut().for_each(|event| event.time = Millis(time_ms));
        events
    };
    let answered = || asks(4, "q", Some("true")).split_off(2);
    let log = |pause_ms: u64| {
        [
            question(1, 0, ("q", "form"), "{}"),
            at(900, agent(2, "t", &[("text", "meanwhile")])),
            at(900 + pause_ms, answered()),
        ]
    };
    let waits = |pause_ms: u64| deltas(&log(pause_ms)).contains("Waits");
    assert_eq!((waits(ASK_GRACE_MS - 1), waits(ASK_GRACE_MS)), (false, true));
    // A client that reads it when it has gone on gets all in one go.
    let log = log(ASK_GRACE_MS);
    let mut superseded = Superseded::of(&turn());
    log.iter().flatten().for_each(|event| superseded.take(event));
    let mut fold = Fold::new(&turn(), Serial(1), superseded);
    let rendered: Vec<_> = log.iter().flatten().flat_map(|event| fold.take(event)).collect();
    assert!(!rendered.contains(&Delta::Waits), "{rendered:?}");
}

#[test]
fn an_agent_that_takes_its_question_back_waits_for_nobody() {
    let interaction = crate::ids::InteractionId::parse("q").unwrap();
    let withdrawn = Fact::Withdrawn { interaction, turn: turn(), reason: String::new() };
    let at = |time_ms: u64, mut events: Vec<Event>| {
        events.iter_mut().for_each(|event| event.time = Millis(time_ms));
        events
    };
    let pending = question(1, 0, ("q", "form"), "{}");
    let later = at(10 * ASK_GRACE_MS, agent(5, "t", &[("text", "on my own")]));
    let rendered = deltas(&[pending, at(500, fact(4, withdrawn)), later]);
    assert!(rendered.contains("on my own") && !rendered.contains("Waits"), "{rendered}");
}

/// A device that answered gets what the agent sent while no answer had come yet.
#[test]
fn an_answer_goes_on_where_its_first_part_ended() {
    let answered = |pieces: [(u64, Vec<Event>); 3]| {
        let mut superseded = Superseded::of(&turn());
        for (time_ms, mut events) in pieces {
            events.iter_mut().for_each(|event| event.time = Millis(time_ms));
            events.iter().for_each(|event| superseded.take(event));
        }
        superseded.answered()
    };
    let pending = || question(1, 0, ("q", "form"), "{}");
    let sent_content = || agent(2, "t", &[("text", "meanwhile")]);
    let reply = || asks(3, "q", Some("true")).split_off(2);
    assert_eq!(answered([(0, pending()), (900, sent_content()), (9_000, reply())]), Serial(5));
    assert_eq!(answered([(0, pending()), (2_000, sent_content()), (9_000, reply())]), Serial(1));
}

#[test]
fn blocks_of_a_model_are_texts_thoughts_and_calls() {
    let begins = |index: u64, block: &str| {
        format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
    };
    let goes = |index: u64, delta: &str| {
        format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
    };
    let sent_content = [
        r#"{"type":"message_start","message":{}}"#.to_owned(),
        begins(0, r#"{"type":"thinking","thinking":""}"#),
        goes(0, r#"{"type":"thinking_delta","thinking":"Hm."}"#),
        goes(0, r#"{"type":"signature_delta","signature":"x=="}"#),
        begins(2, r#"{"type":"tool_use","id":"k","name":"find","input":{}}"#),
        goes(2, r#"{"type":"input_json_delta","partial_json":"{\"id\":"}"#),
        goes(2, r#"{"type":"input_json_delta","partial_json":"7}"}"#),
        begins(3, r#"{"type":"tool_use","id":"l","name":"time","input":{}}"#),
        r#"{"type":"content_block_stop","index":3}"#.to_owned(),
    ];
    let mut pieces: Vec<_> =
        sent_content.iter().map(|event| ("anthropic/1", event.as_str())).collect();
    pieces.insert(4, ("text", "twelve"));
    check(
        &[agent(1, "t", &pieces), completed(90)],
        expect![[r#"
            Step
            Reasoning begins
            Reasoning "Hm."
            Reasoning ends
            Text begins
            Text "twelve"
            Text ends
            call k of find
            call k "{\"id\":"
            call k "7}"
            call k is {"id":7}
            call l of time
            call l "{}"
            call l is {}
            Ended(Completed { reason: "" })
        "#]],
    );
}
