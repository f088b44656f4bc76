//! Bodies of the verbs of turns: taken whole, or refused.

use super::*;

fn turn() -> TurnId {
    TurnId::parse("t").unwrap()
}

#[test]
fn bodies_are_taken_whole_or_refused() {
    let request = input(br#"{"id":"i","agent":"a","content":{"text":"hi"}}"#).unwrap();
    assert_eq!((request.when_busy, request.sender), (None, None));
    let request = input(
        br#"{"id":"i","agent":"a","content":{"data":{"x":1}},"when_busy":"queue","participant":"p","device":"d"}"#,
    );
    assert!(request.unwrap().sender.is_some_and(|sender| sender.device.is_some()));
    for body in [
        &br#"{"id":"","agent":"a","content":{"text":"hi"}}"#[..],
        br#"{"id":"i","agent":"a"}"#,
        br#"{"id":"i","content":{"text":"hi"}}"#,
        br#"{"id":"i","agent":"a","content":{"text":"hi"},"regenerate":3}"#,
        br#"{"id":"i","agent":"a","content":{"text":"hi"},"parent":-1}"#,
        br#"{"id":"i","parent":1,"regenerate":3}"#,
        br#"{"id":"i","agent":"a","content":{"text":"hi"},"when_busy":"x"}"#,
        br#"{"id":"i","agent":"a","content":{"text":"hi"},"device":"d"}"#,
        br#"{"id":"i","agent":"a","content":{"text":"hi"},"x":1}"#,
    ] {
        assert!(input(body).is_err(), "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(cancel(br#"{"all":true}"#).unwrap().scope, Scope::All);
    assert_eq!(cancel(br#"{"turn":"t"}"#).unwrap().scope, Scope::Turn(turn()));
    assert!(cancel(b"{}").is_err() && cancel(br#"{"turn":"t","all":true}"#).is_err());
}

#[test]
fn a_line_may_leave_the_epoch_to_the_address_and_is_refused_under_its_number() {
    for text in [&b"{}"[..], b" { }\r\n", br#"{"epoch":7}"#] {
        assert_eq!(line(turn(), TurnEpoch(7), text).unwrap().epoch, TurnEpoch(7));
    }
    for (text, seq) in [
        (&br#"{"epoch":6,"seq":3,"events":[{"text":"a"}]}"#[..], Some(3)),
        (br#"{"seq":4,"then":"stop"}"#, Some(4)),
        (br#"{"seq":5,"thn":"complete"}"#, Some(5)),
        (b"{", None),
    ] {
        assert_eq!(line(turn(), TurnEpoch(7), text).unwrap_err().0, seq);
    }
}

#[test]
fn a_heartbeat_needs_no_seq_and_output_does() {
    let beat = emit(turn(), br#"{"epoch":3,"progress_timeout_ms":60000}"#).unwrap();
    assert_eq!((beat.output, beat.progress_timeout_ms), (None, Some(60_000)));
    let output = emit(turn(), br#"{"epoch":3,"seq":0,"events":[{"text":"a"}]}"#).unwrap();
    assert_eq!(output.output.unwrap().events.len(), 1);
    let failed = emit(turn(), br#"{"epoch":3,"seq":0,"then":"fail","reason":"x"}"#).unwrap();
    assert_eq!(failed.output.unwrap().then, Then::Fail { reason: "x".into() });
    let cut = emit(turn(), br#"{"epoch":3,"seq":0,"then":"complete","reason":"length"}"#);
    assert_eq!(cut.unwrap().output.unwrap().then, Then::CompleteFor { reason: "length".into() });
    for body in [
        &br#"{"seq":0}"#[..],
        br#"{"epoch":1,"events":[{"text":"a"}]}"#,
        br#"{"epoch":1,"then":"complete"}"#,
        br#"{"epoch":1,"rewind":true}"#,
        br#"{"epoch":1,"internal":true}"#,
        br#"{"epoch":1,"seq":0,"then":"release","reason":"x"}"#,
        br#"{"epoch":1,"seq":0,"then":"stop"}"#,
        br#"{"epoch":1,"progress_timeout_ms":0}"#,
        br#"{"epoch":1,"checkpoint":"%"}"#,
    ] {
        assert!(emit(turn(), body).is_err(), "{}", String::from_utf8_lossy(body));
    }
}
