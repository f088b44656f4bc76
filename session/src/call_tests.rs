//! Calls of tools: those that clients make for agents, and those that workers make; as scripts.

use super::people_tests::{answer, reports};
use super::turn_tests::{Play, claim, emit, input, turn_id, words};
use super::*;
use crate::ids::{
    CallEpoch, CallId, DeviceName, InteractionId, KindName, ParticipantName, ToolName, TurnEpoch,
};

fn on(device: &str) -> Sender {
    let participant = ParticipantName::parse("ada").unwrap();
    Sender { participant, device: Some(DeviceName::parse(device).unwrap()) }
}

fn asks(kind: &str) -> TurnOutput {
    let (interaction, kind) = (InteractionId::parse("q").unwrap(), KindName::parse(kind).unwrap());
    let (question, role) = (words("where?"), Role::Participant);
    let ask = Ask { interaction, kind, question, deadline_ms: None, role };
    TurnOutput { ask: vec![ask], ..TurnOutput::default() }
}

/// A turn that waits for a client to make a call.
fn waits() -> Play {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, TurnOutput { then: Then::Wait, ..asks(KindName::CLIENT_TOOL) }))
        .unwrap();
    play.drain();
    play
}

fn claims(device: &str, epoch: Option<u64>) -> Command {
    let interaction = InteractionId::parse("q").unwrap();
    let (by, epoch, role) = (on(device), epoch.map(CallEpoch), Role::Participant);
    Command::ClaimCall(Box::new(ClaimCall { interaction, by, lease_ms: 2_000, epoch, role }))
}

fn releases(epoch: u64, by: Option<Sender>, left: bool) -> Command {
    let interaction = InteractionId::parse("q").unwrap();
    let epoch = CallEpoch(epoch);
    Command::ReleaseCall(Box::new(ReleaseCall { interaction, epoch, by, left }))
}

fn answers(device: &str, epoch: Option<u64>) -> Command {
    let interaction = InteractionId::parse("q").unwrap();
    let (sender, epoch) = (Some(on(device)), epoch.map(CallEpoch));
    Command::Answer(Box::new(Answer { sender, epoch, ..Answer::new(interaction, words("here")) }))
}

fn epoch_of(applied: &Applied) -> u64 {
    let Applied::CallClaimed { epoch, .. } = applied else { panic!("{applied:?}") };
    epoch.0
}

#[test]
fn one_device_makes_a_call_and_another_takes_over_when_it_is_silent() {
    let mut play = waits();
    assert_eq!(epoch_of(&play.run(claims("laptop", None)).unwrap()), 1);
    // It goes on with what it has, and no event records that.
    play.wait(1_500);
    assert_eq!(epoch_of(&play.run(claims("laptop", Some(1))).unwrap()), 1);
    assert_eq!(epoch_of(&play.run(claims("laptop", None)).unwrap()), 1);
    assert_eq!(play.rendered(), "interaction.claimed t1");
    let held = || Err(Refusal::CallClaimed { by: "ada on laptop".into(), until: Millis(3_500) });
    assert_eq!(play.run(claims("phone", None)), held());
    assert_eq!(play.run(answers("phone", None)), held());
    assert_eq!(play.run(answers("phone", Some(1))), held(), "everybody sees the epoch");
    let Command::Answer(answer) = answers("phone", Some(1)) else { unreachable!() };
    let nobody = Command::Answer(Box::new(Answer { sender: None, ..*answer }));
    assert_eq!(play.run(nobody), held());
    play.wait(1_999).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "");
    play.wait(1).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "interaction.released t1");
    let over = Refusal::CallFenced { given: CallEpoch(1), held: CallEpoch(1) };
    assert_eq!(play.run(claims("laptop", Some(1))), Err(over), "it would be another epoch");
    assert_eq!(epoch_of(&play.run(claims("phone", None)).unwrap()), 2);
    // The first one comes back too late.
    let fenced = || Err(Refusal::CallFenced { given: CallEpoch(1), held: CallEpoch(2) });
    assert_eq!(play.run(answers("laptop", Some(1))), fenced());
    assert_eq!(play.run(claims("laptop", Some(1))), fenced());
    play.run(answers("phone", Some(2))).unwrap();
    assert_eq!(play.rendered(), "interaction.claimed t1, interaction.resolved t1 here");
    let again = play.run(answers("phone", Some(2))).unwrap();
    assert!(matches!(again, Applied::Answered { duplicate: true, .. }));
    assert_eq!(play.run(claims("phone", None)), Err(Refusal::InteractionClosed));
    assert_eq!(play.session.claimed_calls(), []);
}

#[test]
fn a_device_that_was_silent_and_that_nobody_followed_may_still_answer() {
    let mut play = waits();
    play.run(claims("laptop", None)).unwrap();
    play.wait(2_000).run(Command::Tick).unwrap();
    play.run(answers("laptop", Some(1))).unwrap();
    assert!(play.rendered().ends_with("interaction.resolved t1 here"));
}

#[test]
fn a_device_that_left_may_come_back_for_a_while() {
    let mut play = waits();
    play.run(claims("laptop", None)).unwrap();
    // That of another epoch or device, or of one that is gone, is no change.
    for release in [releases(2, None, true), releases(1, Some(on("phone")), false)] {
        assert_eq!(play.run(release).unwrap(), Applied::CallReleased { was: false });
    }
    let interaction = InteractionId::parse("q").unwrap();
    assert_eq!(play.session.claimed_calls(), [(interaction, CallEpoch(1), on("laptop"))]);
    play.run(claims("laptop", None)).unwrap();
    play.run(releases(1, None, true)).unwrap();
    assert_eq!(play.session.claimed_calls(), [], "it is known that it left");
    play.wait(1_000).run(Command::Tick).unwrap();
    play.run(claims("laptop", Some(1))).unwrap();
    play.wait(1_999).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "interaction.claimed t1");
    play.run(releases(1, None, true)).unwrap();
    play.wait(1).run(Command::Tick).unwrap();
    let cause = |play: &Play| match play.log().last().unwrap().fact.as_deref() {
        Some(Fact::CallReleased { cause, .. }) => *cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(cause(&play), CallCause::Gone);
    play.run(claims("phone", None)).unwrap();
    play.run(releases(2, Some(on("phone")), false)).unwrap();
    assert_eq!(cause(&play), CallCause::Released);
}

#[test]
fn only_an_open_call_for_a_client_is_claimed() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    assert_eq!(play.run(claims("laptop", None)), Err(Refusal::NoSuchInteraction));
    play.run(reports("t1", 1, asks("approval"))).unwrap();
    assert_eq!(play.run(claims("laptop", None)), Err(Refusal::NoClientTool));
    let Command::ClaimCall(request) = claims("laptop", None) else { unreachable!() };
    let watches = ClaimCall { role: Role::Observer, ..*request };
    let needs = Role::Participant;
    let refused = play.run(Command::ClaimCall(Box::new(watches)));
    assert_eq!(refused, Err(Refusal::InsufficientRole { needs }));
    // The end of the turn is the end of the call.
    let mut play = waits();
    play.run(claims("laptop", None)).unwrap();
    play.run(Command::Cancel(Box::new(Cancel::new(Scope::All, "")))).unwrap();
    assert_eq!(play.run(answers("laptop", Some(1))), Err(Refusal::InteractionClosed));
}

#[test]
fn an_answer_that_was_judged_by_another_question_is_not_taken() {
    let mut play = waits();
    let judged = |at: u64| {
        let Command::Answer(request) = answer("q", "ann", "yes") else { unreachable!() };
        Command::Answer(Box::new(Answer { judged: Some(Serial(at)), ..*request }))
    };
    let place = play.session.status().unwrap().interactions[0].serial.0;
    for other in [0, place + 1] {
        assert_eq!(play.run(judged(other)), Err(Refusal::QuestionDiffers));
    }
    play.run(judged(place)).unwrap();
}

pub(super) fn starts(call: &str) -> ToolMark {
    let (tool, arguments) = (ToolName::parse("mail").unwrap(), words("to bob"));
    ToolMark { call: CallId::parse(call).unwrap(), step: ToolStep::Started { tool, arguments } }
}

pub(super) fn finishes(call: &str) -> ToolMark {
    let step = ToolStep::Finished { result: words("sent"), failed: false };
    ToolMark { call: CallId::parse(call).unwrap(), step }
}

fn tools(epoch: u64, seq: u64, tools: Vec<ToolMark>) -> Command {
    reports("t1", epoch, TurnOutput { seq, tools, ..TurnOutput::default() })
}

fn key(turn: &str, call: &str) -> u128 {
    let seed = tool_key::seed(&SessionId::parse("s").unwrap(), Incarnation(1));
    tool_key::of(seed, &turn_id(turn), &CallId::parse(call).unwrap())
}

/// What came of the call `c` of a turn.
pub(super) fn result(turn: &str, epoch: u64, text: &str) -> Command {
    let call = CallId::parse("c").unwrap();
    let (key, turn, epoch) = (key(turn, "c"), turn_id(turn), TurnEpoch(epoch));
    let result = words(text);
    Command::ToolResult(Box::new(ToolResult { turn, call, key, epoch, result, failed: false }))
}

fn doubts(claimed: &Applied) -> Vec<(String, u128, u64)> {
    let Applied::Claimed { turn } = claimed else { panic!("{claimed:?}") };
    let doubt = |tool: &ToolStatus| (tool.call.as_str().to_owned(), tool.key, tool.epoch.0);
    turn.tools.iter().map(doubt).collect()
}

/// A turn whose worker began a call.
fn calls() -> Play {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(tools(1, 0, vec![starts("c")])).unwrap();
    play
}

#[test]
fn a_worker_that_takes_over_learns_which_calls_are_in_doubt_and_under_which_key() {
    let mut play = calls();
    play.run(tools(1, 1, vec![starts("d"), starts("c")])).unwrap();
    play.run(tools(1, 2, vec![finishes("d")])).unwrap();
    let keys = |play: &Play| {
        let key = |event: &Event| match event.fact.as_deref() {
            Some(Fact::ToolStarted { call, key, .. } | Fact::ToolFinished { call, key, .. }) => {
                Some((call.as_str().to_owned(), *key))
            }
            _ => None,
        };
        play.log().iter().filter_map(key).collect::<Vec<_>>()
    };
    let (c, d) = (("c".to_owned(), key("t1", "c")), ("d".to_owned(), key("t1", "d")));
    assert_eq!(keys(&play), [c.clone(), d.clone(), d], "the same again is no change");
    play.wait(1_000).run(Command::Tick).unwrap();
    let claimed = play.run(claim("t1", "x", 2)).unwrap();
    assert_eq!(doubts(&claimed), [("c".to_owned(), c.1, 1)]);
    // It makes the call again, under the same key.
    play.drain();
    play.run(tools(2, 0, vec![starts("c")])).unwrap();
    assert_eq!(keys(&play), [c]);
    play.run(tools(2, 1, vec![finishes("c")])).unwrap();
    assert_eq!(play.session.status().unwrap().turns[0].tools, []);
    assert_eq!(play.rendered(), "tool.started t1 to bob, tool.finished t1 sent");
}

#[test]
fn what_came_of_a_call_is_recorded_however_late_and_once() {
    let late = |applied: &Applied| match applied {
        Applied::ToolResult { serial, duplicate, late } => (serial.0, *duplicate, *late),
        other => panic!("{other:?}"),
    };
    // By the worker that has the turn.
    let mut play = calls();
    play.drain();
    let done = play.run(result("t1", 1, "sent")).unwrap();
    assert_eq!((late(&done).1, late(&done).2), (false, false));
    assert_eq!(play.rendered(), "tool.finished t1 sent");
    // By one that has lost it: its successor need not doubt any more.
    let mut play = calls();
    play.wait(1_000).run(Command::Tick).unwrap();
    play.run(claim("t1", "x", 2)).unwrap();
    play.drain();
    let fenced = tools(1, 1, vec![finishes("c")]);
    assert!(matches!(play.run(fenced), Err(Refusal::Fenced { .. })));
    let done = play.run(result("t1", 1, "sent")).unwrap();
    assert!(!late(&done).1 && late(&done).2);
    assert_eq!(play.session.status().unwrap().turns[0].tools, []);
    // After the turn's end.
    play.run(emit("t1", 2, Some(0), "", Then::Complete)).unwrap();
    let again = play.run(result("t1", 1, "sent")).unwrap();
    assert_eq!(late(&again), (late(&done).0, true, true));
    let other = play.run(result("t1", 1, "bounced")).unwrap();
    assert!(!late(&other).1 && late(&other).2);
    assert_eq!(play.rendered(), "tool.finished sent, turn.completed t1, tool.finished bounced");
    let Command::ToolResult(request) = result("t1", 1, "sent") else { unreachable!() };
    let wrong = Command::ToolResult(Box::new(ToolResult { key: 1, ..*request }));
    assert_eq!(play.run(wrong), Err(Refusal::NoSuchToolCall));
    play.run(Command::Close { producer: None }).unwrap();
    assert!(matches!(play.run(result("t1", 1, "new")), Err(Refusal::Closed { .. })));
}

#[test]
fn calls_that_are_under_way_are_bounded() {
    let mut play = calls();
    let more = |from: usize, many: usize| {
        (from..from + many).map(|at| starts(&format!("c{at}"))).collect::<Vec<_>>()
    };
    let limit = limits::TOOL_CALLS;
    let refused = play.run(tools(1, 1, more(0, limit)));
    assert_eq!(refused, Err(Refusal::TooManyToolCalls { limit }));
    play.run(tools(1, 1, more(0, limit - 1))).unwrap();
    assert!(play.run(tools(1, 2, vec![starts("one more")])).is_err());
    play.run(tools(1, 2, vec![finishes("c"), finishes("unknown")])).unwrap();
    play.run(tools(1, 3, vec![starts("one more")])).unwrap();
}

#[test]
fn a_call_that_is_begun_again_has_a_result_again() {
    let mut play = calls();
    play.run(result("t1", 1, "sent")).unwrap();
    play.wait(1_000).run(Command::Tick).unwrap();
    play.run(claim("t1", "x", 2)).unwrap();
    play.run(tools(2, 0, vec![starts("c")])).unwrap();
    let again = play.run(result("t1", 2, "sent")).unwrap();
    assert!(
        matches!(again, Applied::ToolResult { duplicate: false, late: false, .. }),
        "{again:?}"
    );
    assert_eq!(play.session.status().unwrap().turns[0].tools, [], "nobody need doubt any more");
    let again = play.run(result("t1", 2, "sent")).unwrap();
    assert!(matches!(again, Applied::ToolResult { duplicate: true, .. }), "{again:?}");
}

#[test]
fn a_log_of_something_takes_no_results_of_calls() {
    let mut play = Play::new();
    let config =
        Config { content_type: ContentType::parse("text/plain").ok(), ..Config::default() };
    play.session = Session::absent(SessionId::parse("s").unwrap());
    let create = Create { config, fork: None, events: Vec::new(), close: false };
    play.run(create.into()).unwrap();
    let refused = play.run(result("t1", 1, "sent"));
    assert!(matches!(refused, Err(Refusal::OtherContentType { .. })), "{refused:?}");
}
