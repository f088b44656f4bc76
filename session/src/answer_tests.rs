//! Answers that are cut, taken back in part, or put off: as scripts.

use super::people_tests::reports;
use super::turn_tests::{Play, claim, emit, input, turn_id, words};
use super::*;
use crate::ids::{AgentName, StepName, TurnEpoch};
use crate::limits;

#[test]
fn a_turn_that_is_completed_for_a_reason_tells_it() {
    let reason = || "length".to_owned();
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(emit("t1", 1, Some(0), "one two", Then::CompleteFor { reason: reason() })).unwrap();
    let turn = turn_id("t1");
    let ended = Fact::Ended { turn, end: End::Completed { reason: reason() } };
    assert_eq!(play.log().last().unwrap().fact.as_deref(), Some(&ended));
    let mut members = Vec::new();
    ended.members(&mut |name, member| members.push(format!("{name} {member:?}")));
    assert_eq!(members, [r#"reason Text("length")"#]);
}

fn output(seq: u64, mark: bool, rewind: bool, text: &str) -> TurnOutput {
    TurnOutput { seq, mark, rewind, events: vec![words(text)], ..TurnOutput::default() }
}

/// What the rewinds of a script name: their first and last serials.
fn rewinds(script: &[(u64, TurnOutput)]) -> Vec<(u64, u64)> {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    let mut has = 0;
    for (epoch, emitted) in script {
        if has < *epoch {
            play.run(lose(has, 0)).unwrap();
            has = *epoch;
            play.run(claim("t1", "w", has)).unwrap();
        }
        play.run(reports("t1", has, emitted.clone())).unwrap();
    }
    let from_to = |event: &Event| match event.fact.as_deref() {
        Some(Fact::Rewound { from, to, .. }) => Some((from.0, to.0)),
        _ => None,
    };
    play.log().iter().filter_map(from_to).collect()
}

#[test]
fn a_worker_takes_back_what_it_put_out_since_its_mark() {
    // 1 is the input and 2 the start of the turn.
    let kept = (1, output(0, false, false, "kept"));
    let tried = (1, output(1, true, false, "tr"));
    let more = (1, output(2, false, false, "ied"));
    let again = (1, output(3, false, true, "tried again"));
    let once_more = (1, output(4, false, true, "and again"));
    let script = [kept.clone(), tried, more, again.clone(), once_more];
    assert_eq!(rewinds(&script), [(4, 5), (7, 7)]);
    // Where nothing stands after the mark, nothing is taken back.
    let empty = (1, TurnOutput { seq: 1, mark: true, ..TurnOutput::default() });
    let first = (1, output(2, false, true, "first"));
    assert_eq!(rewinds(&[kept.clone(), empty, first]), []);
    // A mark is its worker's own: the next one supersedes all of it.
    let marked = (1, output(1, true, false, "marked"));
    let anew = (2, output(0, false, true, "anew"));
    assert_eq!(rewinds(&[kept.clone(), marked.clone(), anew]), [(3, 4)]);
    // And it is gone with the step.
    let step = StepName::parse("next").ok();
    let next = (1, TurnOutput { step, ..output(2, false, true, "of the next step") });
    assert_eq!(rewinds(&[kept, marked, next]), []);
}

fn lose(epoch: u64, wait_ms: u64) -> Command {
    let (cause, detail) = (Cause::Throttled, String::new());
    let epoch = TurnEpoch(epoch);
    Command::Lose(Box::new(Lose { turn: turn_id("t1"), epoch, cause, wait_ms, detail }))
}

#[test]
fn a_turn_that_is_put_off_waits_as_told_and_loses_no_attempt() {
    let mut play = Play::new();
    let request = Input::new(turn_id("t1"), AgentName::parse("a").unwrap(), words("go"));
    play.run(Command::Input(Box::new(Input { attempts: Some(1), ..request }))).unwrap();
    let mut pauses = Vec::new();
    for (epoch, wait_ms) in [(1, 3_000), (2, 0), (3, u64::MAX)] {
        play.run(claim("t1", "w", epoch)).unwrap();
        play.run(lose(epoch, wait_ms)).unwrap();
        let turns = play.session.status().unwrap().turns;
        let from = turns[0].waits_from.unwrap();
        pauses.push(from.since(play.now));
        play.wait(from.since(play.now));
    }
    assert_eq!(pauses, [3_000, 1_000, limits::RETRY_AFTER_MS_MAX]);
}

/// Where there is never room for it, its time to wait ends it.
#[test]
fn a_turn_that_is_put_off_for_ever_fails_in_the_end() {
    // Refused at once, and refused after the worker had waited for longer than any back-off.
    for had_ms in [0, limits::BACK_OFF_MS_MAX + 1_000] {
        let mut play = Play::new();
        play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
        for epoch in 1..1_000 {
            play.run(Command::Tick).unwrap();
            if play.run(claim("t1", "w", epoch)).is_err() {
                break;
            }
            for _ in 0..had_ms / 10_000 {
                play.wait(10_000);
                let beat = TurnReport::new(turn_id("t1"), TurnEpoch(epoch));
                play.run(Command::Report(Box::new(beat))).unwrap();
            }
            play.run(lose(epoch, limits::RETRY_AFTER_MS_MAX)).unwrap();
            play.wait(limits::RETRY_AFTER_MS_MAX);
        }
        assert!(play.rendered().ends_with("turn.failed t1"), "{had_ms}");
        assert!(play.session.status().unwrap().turns.is_empty());
    }
}

#[test]
fn a_turn_that_had_a_worker_is_not_failed_by_its_first_want_of_room() {
    let mut play = Play::under(Policy { wait_ms: Some(30_000), ..Policy::default() });
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let exited = Lose {
        turn: turn_id("t1"),
        epoch: TurnEpoch(1),
        cause: Cause::Exited,
        wait_ms: 0,
        detail: String::new(),
    };
    play.run(Command::Lose(Box::new(exited))).unwrap();
    play.run(claim("t1", "w", 2)).unwrap();
    for _ in 0..4 {
        play.wait(10_000);
        let beat = TurnReport::new(turn_id("t1"), TurnEpoch(2));
        play.run(Command::Report(Box::new(beat))).unwrap();
    }
    play.run(lose(2, 5_000)).unwrap();
    play.run(Command::Tick).unwrap();
    assert_eq!(play.session.status().unwrap().turns.len(), 1, "{}", play.rendered());
}
