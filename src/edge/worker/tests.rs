//! Frames read and written.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::super::wire::tests::sample;
use super::*;
use crate::ids::{Cursor, Incarnation, Serial, SessionId, TurnEpoch, TurnId};
use crate::runtime::Shown;
use crate::runtime::agent::{Ack, FromWorker, Signal, TurnKey, What};

fn key() -> TurnKey {
    let session = SessionId::parse("s").unwrap();
    TurnKey { session, turn: TurnId::parse("t").unwrap(), epoch: TurnEpoch(3) }
}

fn check(frame: &str, expected: Expect) {
    let shown = match Frames::default().read(frame.as_bytes()) {
        Err(refused) => {
            let key = refused.key.map(|key| key.turn);
            format!("{} of {key:?} {:?}", refused.code, refused.seq)
        }
        Ok(Frame::Register(request)) => format!("{request:?}"),
        Ok(Frame::FromWorker(FromWorker::Report { session, report })) => {
            let output = report.output.map(|output| (output.seq, output.events.len(), output.then));
            let session = session.name();
            format!(
                "{session} {} {} {output:?} {:?}",
                report.turn, report.epoch, report.progress_timeout_ms
            )
        }
        Ok(Frame::FromWorker(output)) => format!("{output:?}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_frame_is_read_whole_or_refused_by_its_seq() {
    check(
        r#"{"type":"register","agent":"poet","worker":"w","capacity":2,"lease_ms":6000}"#,
        expect![[
            r#"Registration { agent: Some(AgentName("poet")), worker: Some(WorkerName("w")), capacity: Some(2), lease_ms: Some(6000), progress_timeout_ms: None }"#
        ]],
    );
    check(
        r#"{"type":"register"}"#,
        expect![
            "Registration { agent: None, worker: None, capacity: None, lease_ms: None, progress_timeout_ms: None }"
        ],
    );
    check(
        r#"{"type":"output","session":"s","turn":"t","epoch":3,"seq":0,"events":[{"text":"a"}],"then":"complete"}"#,
        expect!["s t 3 Some((0, 1, Complete)) None"],
    );
    check(
        r#"{"type":"heartbeat","session":"s","turn":"t","epoch":3,"progress_timeout_ms":5000}"#,
        expect!["s t 3 None Some(5000)"],
    );
    check(
        r#"{"type":"done","session":"s","turn":"t","epoch":3}"#,
        expect![[
            r#"Done(TurnKey { session: SessionId("s"), turn: TurnId("t"), epoch: TurnEpoch(3) })"#
        ]],
    );
    check(r#"{"type":"pong"}"#, expect!["Pong"]);
    check(r#"{"type":"drain"}"#, expect!["Drain"]);
    check(r#"{"type":"pong","x":1}"#, expect!["bad_json of None None"]);
    check(r#"{"type":"dance"}"#, expect!["bad_json of None None"]);
    check("hello", expect!["bad_json of None None"]);
    check(r#"{"type":"register","capacity":0}"#, expect!["bad_json of None None"]);
    check(
        r#"{"type":"output","session":"s","turn":"t","epoch":3,"seq":7,"events":[{}]}"#,
        expect![[r#"bad_json of Some(TurnId("t")) Some(7)"#]],
    );
    check(
        r#"{"type":"output","session":"s","turn":"t","epoch":3}"#,
        expect![[r#"bad_json of Some(TurnId("t")) None"#]],
    );
    check(
        r#"{"type":"heartbeat","session":"s","turn":"t","epoch":3,"seq":1}"#,
        expect![[r#"bad_json of Some(TurnId("t")) Some(1)"#]],
    );
}

#[test]
fn what_is_told_is_one_line_with_the_event_as_readers_see_it() {
    let cursor = Some(Cursor { incarnation: Incarnation(1), serial: Serial(7) });
    let event =
        Some(Arc::new(Shown { event: sample("text", b"a\nb"), rendered: Default::default() }));
    let signal = Signal { key: key(), what: What::Steer, cursor, event };
    let frame = Frames::default().write(&ToWorker::Signal(Box::new(signal)));
    expect![[r#"{"epoch":3,"serial":7,"session":"s","turn":"t","type":"signal","what":"steer","event":{"serial":7,"cursor":"0000000001_00000000000000000007","time":1700000000000,"format":"text","text":"a\nb","chain":"0000000000000abc"}}"#]]
        .assert_eq(str::from_utf8(&frame).unwrap());
    let ack = Ack {
        key: key(),
        seq: 4,
        duplicate: false,
        places: None,
        over: true,
        last_input: Serial(2),
        tools: Vec::new(),
    };
    let frame = Frames::default().write(&ToWorker::Ack(Box::new(ack)));
    expect![[r#"{"duplicate":false,"epoch":3,"first":null,"last":null,"last_input":2,"over":true,"seq":4,"session":"s","turn":"t","type":"ack"}"#]]
        .assert_eq(str::from_utf8(&frame).unwrap());
    expect![[r#"{"max_output_bytes":983040,"node":2,"type":"registered"}"#]]
        .assert_eq(str::from_utf8(&Frames::default().registered(2)).unwrap());
}
