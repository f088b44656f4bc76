//! What clients of AG-UI are sent, whichever dialect the agent uses.

use expect_test::expect;

use super::super::super::content::tests::{agent, asks};
use super::super::tests::{CHOICE, completed, rendered, requested, rewound, step, turn};
use super::events::{Events, Id, id_of};
use super::request;
use crate::ids::Incarnation;
use crate::session::Event;

fn events(log: &[Vec<Event>], seen: Option<Id>) -> String {
    let names = ("chat".to_owned(), "t".to_owned());
    let events = Events::new(names, (&turn(), Incarnation(2)), seen, Some("[]".into()));
    rendered(events, log, (0, false))
}

#[test]
fn an_answer_is_told_in_events_that_can_be_gone_on_after() {
    let sent_content = [
        ("ai-sdk/1", r#"{"type":"reasoning-start","id":"r"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-delta","id":"r","delta":"Hm."}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-end","id":"r"}"#),
        (
            "ai-sdk/1",
            r#"{"type":"tool-input-available","toolCallId":"k","toolName":"find","input":{"id":7}}"#,
        ),
        ("ai-sdk/1", r#"{"type":"tool-output-available","toolCallId":"k","output":{"left":12}}"#),
        ("ai-sdk/1", r#"{"type":"data-x","data":1}"#),
        ("text", "twelve"),
    ];
    let log = [agent(1, "t", &sent_content), completed(90)];
    let whole = events(&log, None);
    expect![[r#"
        id: 2-0-0
        {"type":"RUN_STARTED","threadId":"chat","runId":"t"}
        id: 2-1-0
        {"type":"REASONING_START","messageId":"t-1"}
        id: 2-1-1
        {"type":"REASONING_MESSAGE_START","messageId":"t-1","role":"reasoning"}
        id: 2-2-0
        {"type":"REASONING_MESSAGE_CONTENT","messageId":"t-1","delta":"Hm."}
        id: 2-4-0
        {"type":"REASONING_MESSAGE_END","messageId":"t-1"}
        id: 2-4-1
        {"type":"REASONING_END","messageId":"t-1"}
        id: 2-4-2
        {"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}
        id: 2-4-3
        {"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"id\":7}"}
        id: 2-4-4
        {"type":"TOOL_CALL_END","toolCallId":"k"}
        id: 2-5-0
        {"type":"TOOL_CALL_RESULT","messageId":"t-4.result","toolCallId":"k","role":"tool","content":"{\"left\":12}"}
        id: 2-6-0
        {"type":"CUSTOM","name":"event","value":{"format":"ai-sdk/1","data":{"type":"data-x","data":1}}}
        id: 2-7-0
        {"type":"TEXT_MESSAGE_START","messageId":"t-7","role":"assistant"}
        id: 2-7-1
        {"type":"TEXT_MESSAGE_CONTENT","messageId":"t-7","delta":"twelve"}
        id: 2-90-0
        {"type":"TEXT_MESSAGE_END","messageId":"t-7"}
        id: 2-90-1
        {"type":"RUN_FINISHED","threadId":"chat","runId":"t"}
        Ended
    "#]].assert_eq(&whole);
    let rest = events(&log, Some((5, 0)));
    assert!(whole.ends_with(&rest), "{rest}");
    assert!(rest.starts_with("id: 2-6-0\n"), "{rest}");
}

#[test]
fn what_is_taken_back_is_replaced_by_what_the_client_had() {
    let log = [
        agent(1, "t", &[("text", "wrong")]),
        rewound(2, 1, 1),
        agent(3, "t", &[("text", "right")]),
        completed(4),
    ];
    expect![[r#"
        id: 2-1-1
        {"type":"TEXT_MESSAGE_CONTENT","messageId":"t-1","delta":"wrong"}
        id: 2-2-0
        {"type":"TEXT_MESSAGE_END","messageId":"t-1"}
        id: 2-2-1
        {"type":"MESSAGES_SNAPSHOT","messages":[]}
        id: 2-3-0
        {"type":"TEXT_MESSAGE_START","messageId":"t-3","role":"assistant"}
        id: 2-3-1
        {"type":"TEXT_MESSAGE_CONTENT","messageId":"t-3","delta":"right"}
        id: 2-4-0
        {"type":"TEXT_MESSAGE_END","messageId":"t-3"}
        id: 2-4-1
        {"type":"RUN_FINISHED","threadId":"chat","runId":"t"}
        Ended
    "#]]
    .assert_eq(&events(&log, Some((1, 0))));
}

#[test]
fn a_run_of_which_something_stands_fails_where_more_is_taken_back() {
    let log = [
        agent(1, "t", &[("text", "one")]),
        step(2, "a"),
        agent(3, "t", &[("text", "wrong")]),
        rewound(4, 3, 3),
        agent(5, "t", &[("text", "right")]),
        completed(6),
    ];
    expect![[r#"
        id: 2-3-1
        {"type":"TEXT_MESSAGE_CONTENT","messageId":"t-3","delta":"wrong"}
        id: 2-4-0
        {"type":"TEXT_MESSAGE_END","messageId":"t-3"}
        {"type":"RUN_ERROR","message":"the agent began anew; ask again","code":"rewound"}
        Ended
    "#]]
    .assert_eq(&events(&log, Some((3, 0))));
    // A client that gets the end again gets what came after what it has.
    expect![[r#"
        id: 2-6-0
        {"type":"TEXT_MESSAGE_END","messageId":"t-5"}
        id: 2-6-1
        {"type":"RUN_FINISHED","threadId":"chat","runId":"t"}
        Ended
    "#]]
    .assert_eq(&events(&log, Some((5, 1))));
}

#[test]
fn a_call_that_begins_anew_ends_first() {
    let start = r#"{"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}"#;
    let piece = r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"id\""}"#;
    let all = r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"é\":7}"}"#;
    let sent_content =
        [("ag-ui/1", start), ("ag-ui/1", piece), ("ag-ui/1", start), ("ag-ui/1", all)];
    expect![[r#"
        id: 2-1-0
        {"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}
        id: 2-2-0
        {"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"id\""}
        id: 2-3-0
        {"type":"TOOL_CALL_END","toolCallId":"k"}
        id: 2-3-1
        {"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}
        id: 2-4-0
        {"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"é\":7}"}
        id: 2-4-1
        {"type":"TOOL_CALL_END","toolCallId":"k"}
        id: 2-90-0
        {"type":"RUN_FINISHED","threadId":"chat","runId":"t"}
        Ended
    "#]]
    .assert_eq(&events(&[agent(1, "t", &sent_content), completed(90)], Some((0, 0))));
}

#[test]
fn a_question_ends_a_run() {
    let mut question = asks(2, "ap", None);
    question[0].payload = r#"{"tool":{"id":"k","name":"drop"},"text":"Drop it?"}"#.into();
    let log = [agent(1, "t", &[("text", "a")]), question];
    let rendered = events(&log, Some((1, 9)));
    expect![[r#"
        id: 2-2-0
        {"type":"TEXT_MESSAGE_END","messageId":"t-1"}
        id: 2-2-1
        {"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"drop"}
        id: 2-2-2
        {"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{}"}
        id: 2-2-3
        {"type":"TOOL_CALL_END","toolCallId":"k"}
        id: 2-3-0
        {"type":"RUN_FINISHED","threadId":"chat","runId":"t","outcome":{"type":"interrupt","interrupts":[{"id":"ap","reason":"tool_call","toolCallId":"k","message":"Drop it?"}]}}
        Ended
    "#]].assert_eq(&rendered);
}

#[test]
fn whoever_is_to_choose_is_told_among_what() {
    let rendered = events(&[requested(2, "choice", CHOICE)], Some((1, 9)));
    let schema =
        r#""responseSchema":{"oneOf":[{"const":"A1","title":"9:00"},{"const":7,"title":"7"}]}"#;
    assert!(rendered.contains(schema), "{rendered}");
}

#[test]
fn ids_and_bodies_are_taken_whole_or_not() {
    assert_eq!(id_of("2-7-1"), Some((Incarnation(2), (7, 1))));
    for id in ["7-1", "7", "-1-2", "2-7-1-", "2-7--1", ""] {
        assert_eq!(id_of(id), None, "{id}");
    }
    for body in [
        "{",
        r#"{"threadId":"c","messages":[{"role":"user","content":"a"}]}"#,
        r#"{"runId":"r","messages":[{"role":"user","content":"a"}]}"#,
        r#"{"threadId":"c","runId":"r","messages":[]}"#,
        r#"{"threadId":"c","runId":"r","messages":[{"role":"assistant","content":"a"}]}"#,
        r#"{"threadId":"c","runId":"r","messages":[{"role":"user","content":" "}]}"#,
    ] {
        let refused = request::parse(body.as_bytes()).err().expect("it says nothing");
        assert_eq!(refused.kind().code, "bad_json", "{body}");
    }
}
