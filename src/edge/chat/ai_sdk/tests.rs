//! What clients of the AI SDK are sent, whichever dialect the agent uses.

use std::sync::{Arc, OnceLock};

use expect_test::{Expect, expect};

use super::super::super::content::tests::{agent, asks};
use super::super::fold::Fold;
use super::super::live::Teller;
use super::super::superseded::Superseded;
use super::super::tests::{completed, ended, rendered, rewound, turn};
use super::Version;
use super::chunks::{Chunks, answer_of};
use super::request::{self, Incoming, Trigger};
use crate::ids::{Incarnation, Serial};
use crate::runtime::Shown;
use crate::session::{End, Event, Format};

fn check(version: Version, log: &[Vec<Event>], how: (u64, bool), expected: Expect) {
    expected.assert_eq(&rendered(
        Chunks::new(version, (Incarnation(2), Serial(7)), &turn()),
        log,
        how,
    ));
}

#[test]
fn an_answer_of_each_dialect_is_told_in_chunks() {
    let ag_ui = [
        ("ag-ui/1", r#"{"type":"REASONING_MESSAGE_CONTENT","messageId":"r","delta":"Hm."}"#),
        (
            "ag-ui/1",
            r#"{"type":"REASONING_ENCRYPTED_VALUE","subtype":"message","entityId":"r","encryptedValue":"x"}"#,
        ),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_START","toolCallId":"k","toolCallName":"find"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_ARGS","toolCallId":"k","delta":"{\"id\":7}"}"#),
        ("ag-ui/1", r#"{"type":"TOOL_CALL_RESULT","toolCallId":"k","content":"twelve"}"#),
        ("ag-ui/1", r#"{"type":"STATE_DELTA","delta":[]}"#),
        ("text", "a\n\u{2028}b"),
    ];
    check(
        Version::V7,
        &[agent(1, "t", &ag_ui), completed(90)],
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"reasoning-start","id":"1"}
            {"type":"reasoning-delta","id":"1","delta":"Hm."}
            {"type":"reasoning-end","id":"1","providerMetadata":{"agent":{"value":"x"}}}
            {"type":"tool-input-start","toolCallId":"k","toolName":"find"}
            {"type":"tool-input-delta","toolCallId":"k","inputTextDelta":"{\"id\":7}"}
            {"type":"tool-input-available","toolCallId":"k","toolName":"find","input":{"id":7}}
            {"type":"tool-output-available","toolCallId":"k","output":"twelve"}
            {"type":"data-event","data":{"format":"ag-ui/1","data":{"type":"STATE_DELTA","delta":[]}}}
            {"type":"text-start","id":"7"}
            {"type":"text-delta","id":"7","delta":"a\n\u2028b"}
            {"type":"text-end","id":"7"}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
}

/// Clients of the versions 5 and 6 die on the end of a text that is of no step of theirs.
#[test]
fn what_a_step_says_ends_before_the_step_does() {
    let steps = [
        ("ai-sdk/1", r#"{"type":"start-step"}"#),
        ("ai-sdk/1", r#"{"type":"text-start","id":"a"}"#),
        ("text", "one"),
        ("ai-sdk/1", r#"{"type":"text-end","id":"a"}"#),
        ("ai-sdk/1", r#"{"type":"finish-step"}"#),
        ("ai-sdk/1", r#"{"type":"start-step"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-start","id":"b"}"#),
        ("ai-sdk/1", r#"{"type":"reasoning-delta","id":"b","delta":"Hm."}"#),
        ("ai-sdk/1", r#"{"type":"start-step"}"#),
        ("text", "two"),
    ];
    check(
        Version::V6,
        &[agent(1, "t", &steps), completed(90)],
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"text-start","id":"3"}
            {"type":"text-delta","id":"3","delta":"one"}
            {"type":"text-end","id":"3"}
            {"type":"finish-step"}
            {"type":"start-step"}
            {"type":"reasoning-start","id":"7"}
            {"type":"reasoning-delta","id":"7","delta":"Hm."}
            {"type":"reasoning-end","id":"7"}
            {"type":"finish-step"}
            {"type":"start-step"}
            {"type":"text-start","id":"10"}
            {"type":"text-delta","id":"10","delta":"two"}
            {"type":"text-end","id":"10"}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
}

#[test]
fn what_a_version_does_not_know_is_wrapped() {
    let sent_content = [
        ("ai-sdk/1", r#"{"type":"custom","kind":"a.b"}"#),
        ("ai-sdk/1", r#"{"type":"source-url","sourceId":7}"#),
        ("ai-sdk/1", "{\"type\":\"later\",\n\"a\":1e400}"),
        ("ai-sdk/1", r#"{"type":"data-x","data":1,"transient":true}"#),
        ("json", r#"{"own":true}"#),
        ("image/png", "\u{7f}"),
    ];
    let log = [agent(1, "t", &sent_content), completed(90)];
    check(
        Version::V7,
        &log,
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"custom","kind":"a.b"}
            {"type":"data-event","data":{"format":"ai-sdk/1","data":{"type":"source-url","sourceId":7}}}
            {"type":"data-event","data":{"format":"ai-sdk/1","data":{"type":"later", "a":1e400}}}
            {"type":"data-x","data":1,"transient":true}
            {"type":"data-event","data":{"format":"json","data":{"own":true}}}
            {"type":"file","url":"data:image/png;base64,fw==","mediaType":"image/png"}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
    check(
        Version::V6,
        &log[..1],
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"data-event","data":{"format":"ai-sdk/1","data":{"type":"custom","kind":"a.b"}}}
            {"type":"data-event","data":{"format":"ai-sdk/1","data":{"type":"source-url","sourceId":7}}}
            {"type":"data-event","data":{"format":"ai-sdk/1","data":{"type":"later", "a":1e400}}}
            {"type":"data-x","data":1,"transient":true}
            {"type":"data-event","data":{"format":"json","data":{"own":true}}}
            {"type":"file","url":"data:image/png;base64,fw==","mediaType":"image/png"}
            GoesOn
        "#]],
    );
}

#[test]
fn what_is_taken_back_is_reset_or_read_again() {
    let log = [
        agent(1, "t", &[("text", "wrong")]),
        rewound(2, 1, 1),
        agent(3, "t", &[("text", "right")]),
        completed(4),
    ];
    check(
        Version::V7,
        &log,
        (0, false),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"text-start","id":"1"}
            {"type":"text-delta","id":"1","delta":"wrong"}
            {"type":"text-end","id":"1"}
            {"type":"reset-step"}
            {"type":"text-start","id":"3"}
            {"type":"text-delta","id":"3","delta":"right"}
            {"type":"text-end","id":"3"}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
    check(
        Version::V6,
        &log,
        (0, false),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"text-start","id":"1"}
            {"type":"text-delta","id":"1","delta":"wrong"}
            {"type":"text-end","id":"1"}
            BreaksOff
        "#]],
    );
    check(
        Version::V6,
        &log,
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"text-start","id":"3"}
            {"type":"text-delta","id":"3","delta":"right"}
            {"type":"text-end","id":"3"}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
}

#[test]
fn a_question_ends_an_answer_and_its_answer_goes_on() {
    let call = r#"{"type":"tool-input-available","toolCallId":"k","toolName":"drop","input":{}}"#;
    let mut question = asks(2, "ap", Some(r#"{"approved":true}"#));
    question[0].payload = r#"{"tool":{"id":"k","name":"drop"}}"#.into();
    let log = [
        agent(1, "t", &[("ai-sdk/1", call)]),
        question,
        agent(
            5,
            "t",
            &[("ai-sdk/1", r#"{"type":"tool-output-available","toolCallId":"k","output":1}"#)],
        ),
        completed(6),
    ];
    check(
        Version::V7,
        &log,
        (0, false),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"tool-input-start","toolCallId":"k","toolName":"drop"}
            {"type":"tool-input-available","toolCallId":"k","toolName":"drop","input":{}}
            {"type":"tool-approval-request","approvalId":"ap","toolCallId":"k"}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"tool-calls"}
            [DONE]
            Ended
        "#]],
    );
    check(
        Version::V7,
        &log,
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"tool-input-start","toolCallId":"k","toolName":"drop"}
            {"type":"tool-input-available","toolCallId":"k","toolName":"drop","input":{}}
            {"type":"tool-approval-request","approvalId":"ap","toolCallId":"k"}
            {"type":"tool-approval-response","approvalId":"ap","approved":true}
            {"type":"tool-output-available","toolCallId":"k","output":1}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
    check(
        Version::V7,
        &log,
        (4, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"tool-output-available","toolCallId":"k","output":1}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
    check(
        Version::V5,
        &log,
        (0, true),
        expect![[r#"
            {"type":"start","messageId":"answer-2.7-t"}
            {"type":"start-step"}
            {"type":"tool-input-start","toolCallId":"k","toolName":"drop"}
            {"type":"tool-input-available","toolCallId":"k","toolName":"drop","input":{}}
            {"type":"data-interaction","id":"ap","data":{"interaction":"ap","kind":"approval","state":"open","question":{"tool":{"id":"k","name":"drop"}}}}
            {"type":"data-interaction","id":"ap","data":{"interaction":"ap","kind":"approval","state":"answered","answer":{"approved":true}}}
            {"type":"tool-output-available","toolCallId":"k","output":1}
            {"type":"finish-step"}
            {"type":"finish","finishReason":"stop"}
            [DONE]
            Ended
        "#]],
    );
}

#[test]
fn each_end_has_its_last_word() {
    let mut all = String::new();
    for end in [
        End::Completed { reason: "length".into() },
        End::Completed { reason: "bored".into() },
        End::Failed { reason: "no ink".into() },
        End::Cancelled { by: None, reason: "stopped".into() },
    ] {
        let log = [agent(1, "t", &[("text", "a")]), ended(2, end)];
        let shown = rendered(
            Chunks::new(Version::V7, (Incarnation(2), Serial(7)), &turn()),
            &log,
            (0, true),
        );
        all += shown.split_once("text-end").unwrap().1.split_once('\n').unwrap().1;
    }
    expect![[r#"
        {"type":"finish-step"}
        {"type":"finish","finishReason":"length"}
        [DONE]
        Ended
        {"type":"finish-step"}
        {"type":"finish","finishReason":"other"}
        [DONE]
        Ended
        {"type":"error","errorText":"no ink"}
        [DONE]
        Ended
        {"type":"abort","reason":"stopped"}
        [DONE]
        Ended
    "#]]
    .assert_eq(&all);
}

#[test]
fn a_message_names_its_turn() {
    assert_eq!(answer_of("answer-2.7-t"), Some(((Incarnation(2), Serial(7)), turn())));
    for name in ["answer-7", "answer-7-t", "answer-2.7", "answer--t", "m7", "answer-7-", ""] {
        assert_eq!(answer_of(name), None, "{name}");
    }
}

#[test]
fn the_last_message_is_what_is_sent() {
    let user = |parts: &str| {
        format!(
            r#"{{"id":"c","messages":[{{}},{{"id":"m","role":"user","parts":{parts}}}],"x":1}}"#
        )
    };
    let sent_content = |parts: &str| match request::parse(user(parts).as_bytes()).unwrap().incoming
    {
        Incoming::Message { sent_content, .. } => sent_content,
        Incoming::Answers { .. } => panic!("it is a person's"),
    };
    let text = sent_content(r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#);
    assert_eq!((text.format, &text.payload[..]), (Format::TEXT, &b"a\n\nb"[..]));
    let file = sent_content(
        r#"[{"type":"file","mediaType":"image/png","url":"u"},{"type":"text","text":"b"}]"#,
    );
    assert_eq!(file.format.as_str(), "ai-sdk/1");
    let refused = [
        "{",
        "[]",
        r#"{"id":"c"}"#,
        r#"{"messages":[{"id":"m","role":"user","parts":[{"type":"text","text":"a"}]}]}"#,
        r#"{"id":"c","messages":[]}"#,
        r#"{"id":"c","messages":[{"role":"user","parts":[{"type":"text","text":"a"}]}]}"#,
        r#"{"id":"c","messages":[{"id":"m","role":"system","parts":[{"type":"text","text":"a"}]}]}"#,
        r#"{"id":"c","messages":[{"id":"m","role":"assistant","parts":[]}]}"#,
        r#"{"id":"c","trigger":"x","messages":[{"id":"m","role":"user","parts":[{"type":"text","text":"a"}]}]}"#,
        &user("[]"),
        &user(r#"[{"type":"text","text":" "}]"#),
        &user(r#"[7]"#),
    ];
    for body in refused {
        assert_eq!(request::parse(body.as_bytes()).unwrap_err().kind().code, "bad_json", "{body}");
    }
    let large = format!(r#"[{{"type":"text","text":"{}"}}]"#, "x".repeat(300 << 10));
    let refused = request::parse(user(&large).as_bytes()).unwrap_err();
    assert_eq!(refused.kind().code, "event_too_large");
    let again = user(r#"[{"type":"text","text":"a"}]"#)
        .replace(r#""x":1"#, r#""trigger":"regenerate-message","messageId":"m""#);
    assert_eq!(request::parse(again.as_bytes()).unwrap().trigger, Trigger::Regenerate(None));
}

/// A delivery may have far more than a client is to be held for.
#[test]
fn a_client_is_told_a_piece_at_a_time() {
    let text = "x".repeat(40 << 10);
    let log = [vec![("text", &*text); 30].as_slice()]
        .map(|sent_content| agent(2, "t", sent_content))
        .concat();
    let mut events =
        log.into_iter().map(|event| Arc::new(Shown { event, rendered: OnceLock::new() }));
    let fold = Fold::new(&turn(), Serial(1), Superseded::of(&turn()));
    let chunks = Chunks::new(Version::V7, (Incarnation(2), Serial(7)), &turn());
    let mut teller = Teller::new(fold, chunks, Serial(0), Serial(0));
    let mut pieces = 0;
    loop {
        let mut out = Vec::new();
        teller.tell(&mut events, &mut out);
        if out.is_empty() {
            break;
        }
        assert!(out.len() < 128 << 10, "{} bytes at once", out.len());
        pieces += 1;
    }
    assert_eq!(pieces, 15, "two events make one");
}
