//! What is kept and sent is a promise: these bytes must decode for ever, and encode the same today.
//!
//! A test that fails here found a change of format. Give it a new version number; never edit the bytes (before
//! the first release they may be: docs/decisions/0014).

mod turns;

use bytes::Bytes;
use cluster::codec;
use expect_test::{Expect, expect};
use session::ids::{
    AgentName, CallEpoch, CallId, DeviceName, FileId, Incarnation, InteractionId, KindName, Millis,
    ParticipantName, ProducerEpoch, ProducerId, Serial, SessionId, StepName, ToolName, TurnEpoch,
    TurnId, WorkerName,
};
use session::stored::COMMAND_VERSION;
use session::{
    Answer, Append, AppendEach, Ask, Audience, BeginFile, Cancel, Cause, Claim, ClaimCall, Command,
    CommandKey, Config, ContentType, ControlRequest, ControlVerb, Create, Event, FileRequest,
    Follows, Fork, ForkRequest, Format, Found, Import, ImportEvents, ImportStep, Input, Lose, Mode,
    NewEvent, NodeStart, Origin, Pause, Phase, Piece, Policy, ReleaseCall, Resume, Retention, Role,
    Scope, Sender, Session, SubTurn, Then, ToolMark, ToolResult, ToolStep, TurnOutput, TurnReport,
    Unwatched, WhenBusy, Withdraw,
};

/// Stands for the version of what holds a session or an event.
const HOLDER_VERSION: u8 = 1;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config() -> Config {
    Config {
        retention: Retention { max_age_ms: Some(60_000), max_bytes: Some(1 << 20) },
        ttl_ms: Some(1_000_000),
        expires_at: None,
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        labels: [("team".to_owned(), "blue".to_owned())].into_iter().collect(),
        policy: Policy {
            when_busy: WhenBusy::Queue,
            unwatched: Unwatched::Pause { after_ms: 5 },
            attempts: Some(2),
            escalate: true,
            wait_ms: Some(9),
            merge_ms: None,
        },
    }
}

fn origin(seq: u64) -> Origin {
    Origin { producer: ProducerId::parse("worker-1").unwrap(), epoch: ProducerEpoch(7), seq }
}

fn append() -> Append {
    let json = NewEvent { format: Format::JSON, payload: Bytes::from_static(b"{\"a\":1}") };
    let html = NewEvent {
        format: Format::parse("text/html").unwrap(),
        payload: Bytes::from_static(b"\x00\xff"),
    };
    Append {
        events: vec![json, html],
        producer: Some(origin(0)),
        close: false,
        expect: Some(Serial::ZERO),
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        order: Some("a".into()),
    }
}

fn forked() -> Command {
    let fork = Fork {
        source: SessionId::parse("f").unwrap(),
        incarnation: Incarnation(3),
        root: Incarnation(2),
        at: Serial(5),
        anchor: Serial(4),
        sub: 1,
        key: 9,
    };
    let fork = Some(ForkRequest { fork, anchored: true, until: Millis(10_000), inherited: None });
    let payload = Bytes::from_static(b"hi");
    let events = vec![NewEvent { format: Format::TEXT, payload }];
    Create { config: config(), fork, events, close: true }.into()
}

fn check_command(command: &Command, expected: Expect) {
    let bytes = codec::encode(COMMAND_VERSION, command);
    expected.assert_eq(&hex(&bytes));
    assert_eq!(codec::decode::<Command>(COMMAND_VERSION, &bytes).as_ref().ok(), Some(command));
}

fn check_state(session: &Session, expected: Expect) {
    let bytes = codec::encode(HOLDER_VERSION, session);
    expected.assert_eq(&hex(&bytes));
    assert_eq!(codec::decode::<Session>(HOLDER_VERSION, &bytes).as_ref().ok(), Some(session));
}

fn check_event(event: &Event, expected: Expect) {
    let bytes = codec::encode(HOLDER_VERSION, event);
    expected.assert_eq(&hex(&bytes));
    assert_eq!(codec::decode::<Event>(HOLDER_VERSION, &bytes).as_ref().ok(), Some(event));
}

#[test]
fn commands_keep_their_bytes() {
    check_command(
        &Command::from(config()),
        expect![
            "010001fb60ea01fc0000100001fc40420f0001047465616d04626c756500010a746578742f706c61696e010105010201010900000000"
        ],
    );
    check_command(&Command::from(Config::default()), expect!["0100000000000000000000000000000000"]);
    check_command(
        &Command::Append(append()),
        expect![
            "010102046a736f6e077b2261223a317d09746578742f68746d6c0200ff0108776f726b65722d310700000100010a746578742f706c61696e010161"
        ],
    );
    check_command(
        &Command::Close { producer: Some(origin(3)) },
        expect!["01020108776f726b65722d310703"],
    );
    let Append { events, content_type, .. } = append();
    let each = AppendEach { events, first: origin(4), content_type };
    check_command(
        &Command::AppendEach(Box::new(each)),
        expect![
            "011502046a736f6e077b2261223a317d09746578742f68746d6c0200ff08776f726b65722d310704010a746578742f706c61696e"
        ],
    );
    check_command(&Command::Delete { incarnation: Some(Incarnation(2)) }, expect!["01030102"]);
    let unchanged = Command::DeleteUnchanged { incarnation: Incarnation(2), tail: Serial(300) };
    check_command(&unchanged, expect!["011602fb2c01"]);
    check_command(&Command::Touch, expect!["0104"]);
    check_command(&Command::Tick, expect!["0105"]);
    check_command(&Command::Trim { before: Serial(300) }, expect!["0106fb2c01"]);
    let (fork, key) = (SessionId::parse("f").unwrap(), 9);
    let at = Some(Serial(4));
    let content_type = Some(ContentType::parse("text/plain").unwrap());
    check_command(
        &Command::Hold { fork: fork.clone(), key, at, content_type },
        expect!["01070166090104010a746578742f706c61696e"],
    );
    check_command(&Command::Confirm { fork: fork.clone(), key }, expect!["0108016609"]);
    check_command(&Command::Release { fork: fork.clone(), key }, expect!["0109016609"]);
    check_command(&Command::Settle { source: fork, key }, expect!["010a016609"]);
    let file = FileId::parse("file_0123456789abcdef").unwrap();
    let begin = BeginFile {
        id: file.clone(),
        size: 300,
        sha256: [7; 32],
        media_type: ContentType::parse("image/png").ok(),
        name: Some("a".into()),
        keep_ms: 5_000,
    };
    let bytes = Bytes::from_static(b"hi");
    let piece = Piece { file: file.clone(), sha256: [7; 32], offset: 64, bytes };
    for (request, expected) in [
        (
            FileRequest::Begin(begin),
            expect![
                "011b001566696c655f30313233343536373839616263646566fb2c0107070707070707070707070707070707070707070707070707070707070707070109696d6167652f706e67010161fb8813"
            ],
        ),
        (
            FileRequest::Put(piece),
            expect![
                "011b011566696c655f30313233343536373839616263646566070707070707070707070707070707070707070707070707070707070707070740026869"
            ],
        ),
        (
            FileRequest::Drop { file: file.clone(), number: 3, sha256: [7; 32] },
            expect![
                "011b021566696c655f30313233343536373839616263646566030707070707070707070707070707070707070707070707070707070707070707"
            ],
        ),
        (
            FileRequest::GiveUp { file, number: 300 },
            expect!["011b031566696c655f30313233343536373839616263646566fb2c01"],
        ),
    ] {
        check_command(&Command::File(Box::new(request)), expected);
    }
    check_command(
        &forked(),
        expect![
            "010001fb60ea01fc0000100001fc40420f0001047465616d04626c756500010a746578742f706c61696e01010501020101090001016603020504010901fb10270001047465787402686901"
        ],
    );
}

#[test]
fn a_fork_and_its_source_keep_their_bytes() {
    let mut session = Session::absent(SessionId::parse("g").unwrap());
    let mut apply = |at, command| {
        session.apply(Millis(at), &command, &mut Vec::new()).unwrap();
        session.clone()
    };
    apply(1_000, forked());
    let (fork, key) = (SessionId::parse("h").unwrap(), 7);
    let hold = Command::Hold { fork: fork.clone(), key, at: None, content_type: None };
    apply(2_000, hold);
    let hidden = apply(3_000, Command::Delete { incarnation: None });
    let owing = apply(4_000, Command::Release { fork, key });
    check_state(
        &hidden,
        expect![
            "010167010101fb60ea01fc0000100001fc40420f0001047465616d04626c756500010a746578742f706c61696e010105010201010900fbe803fbe803fbe803fbb80b0606fded8c05219db6a91e02010600fbe803010000000101660302050401090101680701fc90dc01000100000000000000000000000000000000000000fe5242c9c56b5d4fb04b45a0fe1e75e651000000000000000000"
        ],
    );
    check_state(&owing, expect!["0101670201fba00f0000000001016609fba00f0000"]);
}

#[test]
fn a_session_and_its_events_keep_their_bytes() {
    let mut session = Session::absent(SessionId::parse("chat/1").unwrap());
    let mut events = Vec::new();
    check_state(&session, expect!["0106636861742f3100000000"]);
    let mut apply = |session: &mut Session, at, command| {
        session.apply(Millis(at), &command, &mut events).unwrap();
    };
    apply(&mut session, 1_000, Command::from(config()));
    apply(&mut session, 2_000, Command::Append(append()));
    apply(&mut session, 9_000, Command::Close { producer: Some(origin(1)) });
    check_state(
        &session,
        expect![
            "0106636861742f31010101fb60ea01fc0000100001fc40420f0001047465616d04626c756500010a746578742f706c61696e010105010201010900fbe803fb2823fb2823fb28230102fd75c1d27f14cb403109010100fbd007010108776f726b65722d310108776f726b65722d310701fb2823020001020101030001010161000000000000000000000000000000000000000000fe2b694000bba5a0ca52a89eff74fbd310000000000000000000"
        ],
    );
    apply(&mut session, 9_001, Command::Delete { incarnation: None });
    check_state(
        &session,
        expect!["0106636861742f310201fb29230000000108776f726b65722d310700fb282300000000"],
    );
    check_event(
        &events[0],
        expect![
            "0101fbd007046a736f6e077b2261223a317dfdb531f1ff94fb6e410108776f726b65722d3107000000"
        ],
    );
    check_event(
        &events[1],
        expect![
            "0102fbd00709746578742f68746d6c0200fffd75c1d27f14cb40310108776f726b65722d3107000000"
        ],
    );
    let unsigned = Event { origin: None, ..events[1].clone() };
    check_event(&unsigned, expect!["0102fbd00709746578742f68746d6c0200fffd75c1d27f14cb4031000000"]);
}

#[test]
fn the_keys_of_requests_keep_their_bytes() {
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let mut apply = |at, key, command: &Command| {
        let key = CommandKey { key, within_ms: 5_000, age_ms: None };
        session.apply_once(Millis(at), &key, command, &mut Vec::new()).unwrap();
        session.clone()
    };
    // They are stored oldest first, whatever the order of the keys themselves.
    apply(1_000, 9, &Command::from(Config::default()));
    apply(2_000, 1 << 100, &Command::Append(Append { producer: None, ..append() }));
    let open = apply(3_000, 7, &Command::Close { producer: None });
    check_state(
        &open,
        expect![
            "0101730101000000000000000000000000fbe803fbb80bfbb80bfbb80b0102fdc110a189d5f75c5609020100fbd0070207fbd007010000010161000000000000000000000000000000000000000000feb3f4b094efcc17051cfbcc50811bfc51000000000000000309fbe803fb88130101000100fe00000000000000000000000010000000fbd007fb88130101020002020007fbb80bfb88130101020200"
        ],
    );
}

#[test]
fn what_is_imported_keeps_its_bytes() {
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let mut log = Vec::new();
    session.apply(Millis(1_000), &Command::from(Config::default()), &mut log).unwrap();
    let first = Append { producer: Some(origin(0)), expect: None, content_type: None, ..append() };
    session.apply(Millis(2_000), &Command::Append(first), &mut log).unwrap();
    let mut carried = session.carried().unwrap();
    let begin = ImportStep::Begin(Box::new(carried.begin()));
    let writers = ImportStep::Writers(carried.take_writers().remove(0));
    let events = ImportStep::Events(ImportEvents { linked: false, events: log.split_off(1) });
    let finish = ImportStep::Finish(Box::new(carried));
    let life = Incarnation(5);
    let import = |step| Command::Import(Box::new(Import { digest: 300, life, step }));
    check_command(&import(ImportStep::GiveUp), expect!["011cfb2c010504"]);
    check_command(
        &import(begin),
        expect!["011cfb2c0105000000000000000000000000000101fd169e44609c3faefe"],
    );
    check_command(
        &import(writers),
        expect!["011cfb2c0105010108776f726b65722d310700fbd0070100010201"],
    );
    check_command(
        &import(events),
        expect![
            "011cfb2c010502000102fbd00709746578742f68746d6c0200fffd169e44609c3faefe0108776f726b65722d3107000000"
        ],
    );
    check_command(
        &import(finish),
        expect![
            "011cfb2c010503000000000000000000000000010102fd169e44609c3faefe00fbe803fbd00700000101610000000000000000010000000001feb3f4b094efcc17051cfbcc50811bfc51"
        ],
    );
}
