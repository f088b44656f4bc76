//! What OpenAI's clients are sent, whichever dialect the agent uses.

use std::sync::Arc;

use expect_test::expect;

use super::super::super::content::raw::Object;
use super::super::super::content::tests::{agent, asks, user};
use super::super::super::room::Room;
use super::super::begin::Begun;
use super::super::client_message::Incoming;
use super::super::fold::Fold;
use super::super::follow::Lost;
use super::super::live::{Flow, Teller};
use super::super::superseded::Superseded;
use super::super::tests::{CHOICE, completed, ended, rendered, requested, rewound, turn};
use super::completions::Completion;
use super::events::Events;
use super::items::Items;
use super::place::ResponsePlace;
use super::request;
use crate::ids::{AgentName, Incarnation, Serial, SessionId};
use crate::session::{End, Event, Fact, NewEvent, TreePlace};
use crate::telemetry::Metrics;

fn items() -> Items {
    Items::new(Room::new(64 << 20, &Arc::new(Metrics::default())).hold())
}

fn poet() -> AgentName {
    AgentName::parse("poet").unwrap()
}

/// An input of turn `t`, which begins at 1.
fn input() -> Vec<Event> {
    let mut events = user(1, "text", "hi");
    let fact = Fact::Input {
        input: turn(),
        turn: turn(),
        sender: None,
        held: false,
        place: TreePlace::default(),
        parent: None,
    };
    events[0].fact = Some(Box::new(fact));
    events
}

fn events(log: &[Vec<Event>], begins: u64, first: u64) -> String {
    let session = SessionId::parse("chat").unwrap();
    let (from, begins_at) = (Serial(1), Serial(begins));
    let place = ResponsePlace {
        session,
        life: Incarnation(1),
        turn: turn(),
        agent: poet(),
        from,
        begins: begins_at,
    };
    let id = place.id();
    let rendered = rendered(Events::new(place, first, items()), log, (begins - 1, false));
    let rendered = rendered.replace(&id, "ID");
    // The rest of a response is the same for all.
    let mut out = String::new();
    for line in rendered.lines().filter(|line| !line.starts_with("event: ")) {
        let response = Object::parse(line).map(|event| event.object("response"));
        let kind = Object::parse(line).and_then(|event| event.text("type"));
        match response.as_ref().and_then(|response| response.get("output")) {
            Some(output) => {
                let response = response.unwrap_or_default();
                let number = Object::parse(line).and_then(|event| event.number("sequence_number"));
                let more = ["status", "error", "incomplete_details"].map(|name| response.get(name));
                out += &format!("{} {} {more:?} {output}\n", kind.unwrap(), number.unwrap());
            }
            None => out += &format!("{line}\n"),
        }
    }
    out
}

#[test]
fn a_response_is_told_under_numbers_without_a_hole() {
    let sent_content = [
        ("ag-ui/1", r#"{"type":"REASONING_MESSAGE_CONTENT","messageId":"r","delta":"Hm."}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"id\":7}"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k","content":"twelve"}"#),
        ("text", "twel"),
        ("text", "ve"),
    ];
    let log = [input(), agent(2, "t", &sent_content), completed(90)];
    let whole = events(&log, 1, 0);
    expect![[r#"
        response.created 0 [Some("\"queued\""), None, None] []
        response.queued 1 [Some("\"queued\""), None, None] []
        response.in_progress 2 [Some("\"in_progress\""), None, None] []
        {"type":"response.output_item.added","sequence_number":3,"output_index":0,"item":{"id":"rs_2","type":"reasoning","summary":[]}}
        {"type":"response.reasoning_summary_part.added","sequence_number":4,"item_id":"rs_2","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}
        {"type":"response.reasoning_summary_text.delta","sequence_number":5,"item_id":"rs_2","output_index":0,"summary_index":0,"delta":"Hm."}
        {"type":"response.reasoning_summary_text.done","sequence_number":6,"item_id":"rs_2","output_index":0,"summary_index":0,"text":"Hm."}
        {"type":"response.reasoning_summary_part.done","sequence_number":7,"item_id":"rs_2","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"Hm."}}
        {"type":"response.output_item.done","sequence_number":8,"output_index":0,"item":{"id":"rs_2","type":"reasoning","summary":[{"type":"summary_text","text":"Hm."}]}}
        {"type":"response.output_item.added","sequence_number":9,"output_index":1,"item":{"id":"mcp_3","type":"mcp_call","status":"completed","server_label":"poet","name":"find","arguments":"{\"id\":7}","output":"twelve","error":null}}
        {"type":"response.output_item.done","sequence_number":10,"output_index":1,"item":{"id":"mcp_3","type":"mcp_call","status":"completed","server_label":"poet","name":"find","arguments":"{\"id\":7}","output":"twelve","error":null}}
        {"type":"response.output_item.added","sequence_number":11,"output_index":2,"item":{"id":"msg_6","type":"message","status":"in_progress","role":"assistant","content":[]}}
        {"type":"response.content_part.added","sequence_number":12,"item_id":"msg_6","output_index":2,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}
        {"type":"response.output_text.delta","sequence_number":13,"item_id":"msg_6","output_index":2,"content_index":0,"delta":"twel","logprobs":[]}
        {"type":"response.output_text.delta","sequence_number":14,"item_id":"msg_6","output_index":2,"content_index":0,"delta":"ve","logprobs":[]}
        {"type":"response.output_text.done","sequence_number":15,"item_id":"msg_6","output_index":2,"content_index":0,"text":"twelve","logprobs":[]}
        {"type":"response.content_part.done","sequence_number":16,"item_id":"msg_6","output_index":2,"content_index":0,"part":{"type":"output_text","text":"twelve","annotations":[],"logprobs":[]}}
        {"type":"response.output_item.done","sequence_number":17,"output_index":2,"item":{"id":"msg_6","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"twelve","annotations":[],"logprobs":[]}]}}
        response.completed 18 [Some("\"completed\""), None, None] [{"id":"rs_2","type":"reasoning","summary":[{"type":"summary_text","text":"Hm."}]},{"id":"mcp_3","type":"mcp_call","status":"completed","server_label":"poet","name":"find","arguments":"{\"id\":7}","output":"twelve","error":null},{"id":"msg_6","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"twelve","annotations":[],"logprobs":[]}]}]
        Ended
    "#]].assert_eq(&whole);
    let lines: Vec<_> = whole.lines().collect();
    for first in [1, 5, 12] {
        assert_eq!(events(&log, 1, first).lines().collect::<Vec<_>>(), lines[first as usize..]);
    }
}

#[test]
fn a_result_in_the_middle_of_a_text_loses_none_of_it() {
    let call = r#"{"type":"tool-input-available","toolCallId":"k","toolName":"find","input":{}}"#;
    let result = r#"{"type":"tool-output-available","toolCallId":"k","output":1}"#;
    let sent_content = [("ai-sdk/1", call), ("text", "a"), ("ai-sdk/1", result), ("text", "b")];
    let rendered = events(&[input(), agent(2, "t", &sent_content), completed(90)], 1, 3);
    expect![[r#"
        {"type":"response.output_item.added","sequence_number":3,"output_index":0,"item":{"id":"msg_3","type":"message","status":"in_progress","role":"assistant","content":[]}}
        {"type":"response.content_part.added","sequence_number":4,"item_id":"msg_3","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}
        {"type":"response.output_text.delta","sequence_number":5,"item_id":"msg_3","output_index":0,"content_index":0,"delta":"a","logprobs":[]}
        {"type":"response.output_text.done","sequence_number":6,"item_id":"msg_3","output_index":0,"content_index":0,"text":"a","logprobs":[]}
        {"type":"response.content_part.done","sequence_number":7,"item_id":"msg_3","output_index":0,"content_index":0,"part":{"type":"output_text","text":"a","annotations":[],"logprobs":[]}}
        {"type":"response.output_item.done","sequence_number":8,"output_index":0,"item":{"id":"msg_3","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]}}
        {"type":"response.output_item.added","sequence_number":9,"output_index":1,"item":{"id":"mcp_2","type":"mcp_call","status":"completed","server_label":"poet","name":"find","arguments":"{}","output":"1","error":null}}
        {"type":"response.output_item.done","sequence_number":10,"output_index":1,"item":{"id":"mcp_2","type":"mcp_call","status":"completed","server_label":"poet","name":"find","arguments":"{}","output":"1","error":null}}
        {"type":"response.output_item.added","sequence_number":11,"output_index":2,"item":{"id":"msg_5","type":"message","status":"in_progress","role":"assistant","content":[]}}
        {"type":"response.content_part.added","sequence_number":12,"item_id":"msg_5","output_index":2,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}
        {"type":"response.output_text.delta","sequence_number":13,"item_id":"msg_5","output_index":2,"content_index":0,"delta":"b","logprobs":[]}
        {"type":"response.output_text.done","sequence_number":14,"item_id":"msg_5","output_index":2,"content_index":0,"text":"b","logprobs":[]}
        {"type":"response.content_part.done","sequence_number":15,"item_id":"msg_5","output_index":2,"content_index":0,"part":{"type":"output_text","text":"b","annotations":[],"logprobs":[]}}
        {"type":"response.output_item.done","sequence_number":16,"output_index":2,"item":{"id":"msg_5","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"b","annotations":[],"logprobs":[]}]}}
        response.completed 17 [Some("\"completed\""), None, None] [{"id":"msg_3","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]},{"id":"mcp_2","type":"mcp_call","status":"completed","server_label":"poet","name":"find","arguments":"{}","output":"1","error":null},{"id":"msg_5","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"b","annotations":[],"logprobs":[]}]}]
        Ended
    "#]].assert_eq(&rendered);
}

#[test]
fn what_is_still_asked_after_some_of_the_answers_is_told_again() {
    let ask = |serial, name| {
        let mut event = asks(serial, name, None).remove(0);
        event.payload = r#"{"tool":{"id":"k","name":"place","arguments":{}}}"#.into();
        let Some(Fact::Requested { kind, .. }) = event.fact.as_deref_mut() else { panic!() };
        *kind = crate::ids::KindName::parse("client_tool").unwrap();
        event
    };
    let waits = |serial: u64| asks(serial - 1, "x", None).remove(1);
    let answered = asks(3, "a", Some("7")).remove(2);
    let log = [input(), vec![ask(2, "a"), ask(3, "b"), waits(4), answered, waits(6)]];
    let begun = Begun { turn: turn(), serial: Serial(1), life: Incarnation(1), duplicate: true };
    let completion = Completion::new(&begun, &poet(), items());
    let whole = rendered(completion, &log, (5, true));
    assert!(whole.contains(r#""id":"b","type":"function""#), "{whole}");
    assert!(whole.contains(r#""finish_reason":"tool_calls""#), "{whole}");
    assert!(!whole.contains(r#""id":"a""#), "{whole}");
    let response = events(&log, 5, 3);
    assert!(response.contains(r#""type":"function_call","status":"completed","call_id":"b""#));
    assert!(response.contains("response.completed"), "{response}");
}

#[test]
fn an_answer_without_room_is_not_taken_for_the_whole() {
    let begun = Begun { turn: turn(), serial: Serial(1), life: Incarnation(1), duplicate: false };
    let room = Room::new(64 << 10, &Arc::new(Metrics::default()));
    let completion = Completion::new(&begun, &poet(), Items::new(room.hold()));
    let fold = Fold::new(&turn(), Serial(1), Superseded::default());
    let mut teller = Teller::new(fold, completion, Serial(1), Serial::ZERO);
    let large = "x".repeat(128 << 10);
    let log = [input(), agent(2, "t", &[("text", &large)])];
    log.iter().flatten().for_each(|event| teller.take(event, &mut Vec::new()));
    assert_eq!(teller.flow(), Flow::BreaksOff);
    assert!(matches!(teller.finish(), Err(Lost::Unavailable)));
}

#[test]
fn what_is_taken_back_is_not_in_the_output() {
    let log = [
        input(),
        agent(2, "t", &[("text", "one "), ("text", "wrong")]),
        rewound(4, 3, 3),
        agent(5, "t", &[("text", "right")]),
        ended(6, End::Completed { reason: "length".into() }),
    ];
    let rendered = events(&log, 1, 0);
    expect![[r#"response.incomplete 16 [Some("\"incomplete\""), None, Some("{\"reason\":\"max_output_tokens\"}")] [{"id":"msg_2","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"one ","annotations":[],"logprobs":[]}]},{"id":"msg_5","type":"message","status":"incomplete","role":"assistant","content":[{"type":"output_text","text":"right","annotations":[],"logprobs":[]}]}]"#]].assert_eq(rendered.lines().rev().nth(1).unwrap());
}

#[test]
fn a_call_of_the_client_ends_a_response_and_its_output_begins_the_next() {
    let call = r#"{"type":"tool-input-available","toolCallId":"k","toolName":"place","input":{}}"#;
    let mut question = asks(3, "k", Some(r#""Graz""#));
    question[0].payload = r#"{"tool":{"id":"k","name":"place","arguments":{"a":1}}}"#.into();
    let Some(Fact::Requested { kind, .. }) = question[0].fact.as_deref_mut() else { panic!() };
    *kind = crate::ids::KindName::parse("client_tool").unwrap();
    let log = [
        input(),
        agent(2, "t", &[("ai-sdk/1", call)]),
        question,
        agent(6, "t", &[("text", "in Graz")]),
        completed(7),
    ];
    let first = events(&log, 1, 0);
    expect![[r#"
        response.created 0 [Some("\"queued\""), None, None] []
        response.queued 1 [Some("\"queued\""), None, None] []
        response.in_progress 2 [Some("\"in_progress\""), None, None] []
        {"type":"response.output_item.added","sequence_number":3,"output_index":0,"item":{"id":"fc_4_0","type":"function_call","status":"completed","call_id":"k","name":"place","arguments":"{\"a\":1}"}}
        {"type":"response.output_item.done","sequence_number":4,"output_index":0,"item":{"id":"fc_4_0","type":"function_call","status":"completed","call_id":"k","name":"place","arguments":"{\"a\":1}"}}
        response.completed 5 [Some("\"completed\""), None, None] [{"id":"fc_4_0","type":"function_call","status":"completed","call_id":"k","name":"place","arguments":"{\"a\":1}"}]
        Ended
    "#]].assert_eq(&first);
    expect![[r#"
        response.created 0 [Some("\"queued\""), None, None] []
        response.queued 1 [Some("\"queued\""), None, None] []
        response.in_progress 2 [Some("\"in_progress\""), None, None] []
        {"type":"response.output_item.added","sequence_number":3,"output_index":0,"item":{"id":"msg_6","type":"message","status":"in_progress","role":"assistant","content":[]}}
        {"type":"response.content_part.added","sequence_number":4,"item_id":"msg_6","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}
        {"type":"response.output_text.delta","sequence_number":5,"item_id":"msg_6","output_index":0,"content_index":0,"delta":"in Graz","logprobs":[]}
        {"type":"response.output_text.done","sequence_number":6,"item_id":"msg_6","output_index":0,"content_index":0,"text":"in Graz","logprobs":[]}
        {"type":"response.content_part.done","sequence_number":7,"item_id":"msg_6","output_index":0,"content_index":0,"part":{"type":"output_text","text":"in Graz","annotations":[],"logprobs":[]}}
        {"type":"response.output_item.done","sequence_number":8,"output_index":0,"item":{"id":"msg_6","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"in Graz","annotations":[],"logprobs":[]}]}}
        response.completed 9 [Some("\"completed\""), None, None] [{"id":"msg_6","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"in Graz","annotations":[],"logprobs":[]}]}]
        Ended
    "#]].assert_eq(&events(&log, 5, 0));
}

#[test]
fn a_failure_fails_a_response() {
    let log = [input(), ended(2, End::Failed { reason: "no ink".into() })];
    expect![[r#"
        response.failed 2 [Some("\"failed\""), Some("{\"code\":\"server_error\",\"message\":\"no ink\"}"), None] []
        Ended
    "#]].assert_eq(&events(&log, 1, 2));
    let log = [input(), ended(2, End::Cancelled { by: None, reason: "x".into() })];
    expect![[r#"
        response.incomplete 2 [Some("\"cancelled\""), None, None] []
        Ended
    "#]]
    .assert_eq(&events(&log, 1, 2));
}

#[test]
fn a_completion_is_told_in_chunks() {
    let begun = Begun { turn: turn(), serial: Serial(1), life: Incarnation(1), duplicate: false };
    let of = |log: &[Vec<Event>], known| {
        rendered(Completion::new(&begun, &poet(), items()), log, (0, known))
            .replace(r#""object":"chat.completion.chunk","created":1700000000,"model":"poet","#, "")
    };
    let log = [
        input(),
        agent(
            2,
            "t",
            &[
                ("openai/1", r#"{"choices":[{"delta":{"reasoning":"Hm."}}]}"#),
                ("text", "one"),
                ("ai-sdk/1", r#"{"type":"text-start","id":"1"}"#),
                ("text", "two"),
            ],
        ),
        completed(90),
    ];
    expect![[r#"
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"reasoning_content":"Hm."},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"content":"one"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"content":"\n\n"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"content":"two"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}
        [DONE]
        Ended
    "#]].assert_eq(&of(&log, true));
    let log = [
        input(),
        agent(2, "t", &[("text", "wrong")]),
        rewound(3, 2, 2),
        agent(4, "t", &[("text", "right")]),
        completed(5),
    ];
    expect![[r#"
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"content":"wrong"},"logprobs":null,"finish_reason":null}]}
        {"error":{"message":"the agent began anew; ask again","type":"server_error","code":null,"param":null}}
        [DONE]
        Ended
    "#]].assert_eq(&of(&log, false));
    expect![[r#"
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{"content":"right"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1-t","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}
        [DONE]
        Ended
    "#]].assert_eq(&of(&log, true));
}

/// A stream asks what a whole completion asks.
#[test]
fn whoever_is_to_choose_is_told_among_what() {
    let begun = Begun { turn: turn(), serial: Serial(1), life: Incarnation(1), duplicate: false };
    let log = [input(), agent(2, "t", &[("text", "Hm.")]), requested(3, "choice", CHOICE)];
    let text = r"Which flight?\n- 9:00\n- 7";
    let streamed = rendered(Completion::new(&begun, &poet(), items()), &log, (0, true));
    assert!(streamed.contains(&format!(r#""content":"\n\n{text}""#)), "{streamed}");
    assert!(streamed.contains(r#""finish_reason":"stop""#), "{streamed}");
    let response = events(&log, 1, 0);
    assert!(response.contains(&format!(r#""text":"{text}""#)), "{response}");
}

/// One that is sent whole has sent nothing yet that it could not take back.
#[test]
fn a_whole_completion_is_what_counts_in_the_end() {
    let begun = Begun { turn: turn(), serial: Serial(1), life: Incarnation(1), duplicate: false };
    let mut log = vec![
        input(),
        agent(2, "t", &[("text", "one "), ("text", "wrong")]),
        rewound(4, 3, 3),
        agent(5, "t", &[("text", "right")]),
        completed(6),
    ];
    let whole = |log: &[Vec<Event>]| {
        let mut completion = Completion::new(&begun, &poet(), items());
        completion.streams = false;
        let fold = Fold::new(&turn(), Serial(1), Superseded::default());
        let mut teller = Teller::new(fold, completion, Serial(0), Serial(0));
        log.iter().flatten().for_each(|event| teller.take(event, &mut Vec::new()));
        teller.into_dialect().whole()
    };
    let all = whole(&log).unwrap().to_string();
    assert!(all.contains(r#""content":"one \n\nright""#), "{all}");
    log[4] = ended(6, End::Failed { reason: "the model is ill".into() });
    let why = whole(&log).unwrap_err();
    assert_eq!(
        (why.kind().status, why.code(), why.detail()),
        (502, "agent_failed", "the model is ill")
    );
    log[4] = ended(6, End::Cancelled { by: None, reason: "stop".into() });
    assert_eq!(whole(&log).unwrap_err().code(), "turn_ended");
}

#[test]
fn an_input_is_its_last_message_or_all_of_it() {
    let show = |sent_content: NewEvent| {
        format!(
            "{} {}\n",
            sent_content.format,
            String::from_utf8(sent_content.payload.to_vec()).unwrap()
        )
    };
    let input = |body: &str, alone| {
        let body = request::body(body.as_bytes())?;
        request::input(&body, alone)
    };
    let mut all = String::new();
    for (body, alone) in [
        (r#"{"input":"hi"}"#, true),
        (
            r#"{"input":[{"role":"user","content":"a"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"b"}]},{"role":"user","content":"c"}]}"#,
            true,
        ),
        (
            r#"{"input":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#,
            false,
        ),
        (
            r#"{"input":[{"role":"developer","content":"be kind"},{"role":"user","content":[{"type":"input_text","text":"c"},{"type":"input_image","image_url":"https://a.example/b.png"}]}]}"#,
            true,
        ),
        (
            r#"{"input":[{"type":"function_call_output","call_id":"k","output":"Graz"},{"type":"mcp_approval_response","approval_request_id":"q","approve":true}]}"#,
            false,
        ),
    ] {
        all += &match input(body, alone).unwrap() {
            Incoming::Message(sent_content) => show(sent_content),
            Incoming::Answers(answers) => answers
                .into_iter()
                .map(|(name, sent_content)| format!("{name}: {}", show(sent_content)))
                .collect(),
        };
    }
    expect![[r#"
        text hi
        ai-sdk/1 {"messages":[{"role":"user","parts":[{"type":"text","text":"a"}]},{"role":"assistant","parts":[{"type":"text","text":"b"}]},{"role":"user","parts":[{"type":"text","text":"c"}]}]}
        text c
        ai-sdk/1 {"role":"user","parts":[{"type":"text","text":"c"},{"type":"file","mediaType":"image/*","url":"https://a.example/b.png"}]}
        k: json "Graz"
        q: json {"approved":true}
    "#]].assert_eq(&all);
    let answered = r#"{"type":"function_call_output","call_id":"k","output":"Graz"}"#;
    let call = r#"{"type":"function_call","call_id":"k","name":"f","arguments":"{}"}"#;
    let user = r#"{"role":"user","content":"c"}"#;
    for items in [[answered, user], [user, answered]] {
        let refused = input(&format!(r#"{{"input":[{}]}}"#, items.join(",")), false);
        assert_eq!(refused.unwrap_err().kind().code, "bad_json", "one of the two would be lost");
    }
    // What a client sends along of what was there.
    let known = format!(r#"{{"input":[{user},{call},{answered},{user}]}}"#);
    assert!(matches!(input(&known, false), Ok(Incoming::Message(_))));
    let request = r#"{"type":"mcp_approval_request","id":"q","name":"f","arguments":"{}"}"#;
    let allowed = r#"{"type":"mcp_approval_response","approval_request_id":"q","approve":true}"#;
    let known = format!(r#"{{"input":[{user},{request},{allowed},{user}]}}"#);
    assert!(matches!(input(&known, false), Ok(Incoming::Message(_))));
    for body in [
        "{",
        r#"{"input":7}"#,
        r#"{"input":""}"#,
        r#"{"input":[]}"#,
        r#"{}"#,
        r#"{"input":[{"role":"assistant","content":"b"}]}"#,
    ] {
        let refused = request::body(body.as_bytes()).and_then(|body| request::input(&body, true));
        assert_eq!(refused.unwrap_err().kind().code, "bad_json", "{body}");
    }
}

/// What is left out would be lost, and no client would know.
#[test]
fn a_part_that_is_not_known_is_refused() {
    let parsed = |part: &str| {
        let body = format!(
            r#"{{"input":[{{"role":"user","content":[{{"type":"input_text","text":"hi"}},{part}]}}]}}"#
        );
        match request::input(&request::body(body.as_bytes()).unwrap(), false) {
            Ok(_) => "taken",
            Err(why) => why.kind().code,
        }
    };
    for part in ["7", "{}", r#"{"type":"later"}"#, r#"{"type":"input_image","file_id":"f"}"#] {
        assert_eq!(parsed(part), "bad_json", "{part}");
    }
    let audio = r#"{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}"#;
    assert_eq!(parsed(audio), "taken");
}
