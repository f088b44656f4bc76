//! What holds for sub-turns: each begins once, their turn waits for them and ends after them.

use super::people_tests::{answer, asks, reports};
use super::turn_tests::{Play, cancel, claim, emit, input, turn_id, words};
use super::*;
use crate::ids::{AgentName, TurnEpoch};

pub(super) fn sub(name: &str, agent: &str) -> SubTurn {
    SubTurn {
        turn: turn_id(name),
        agent: AgentName::parse(agent).unwrap(),
        content: words(&format!("do {name}")),
        attempts: None,
        progress_timeout_ms: None,
    }
}

fn begins(seq: u64, begin: &[SubTurn], then: Then) -> TurnOutput {
    TurnOutput { seq, begin: begin.to_vec(), then, ..TurnOutput::default() }
}

/// A turn `t1` of `a` that a worker has, in epoch 1.
fn begun() -> Play {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.rendered();
    play
}

fn turn(play: &Play, name: &str) -> TurnStatus {
    let turns = play.session.status().unwrap().turns;
    turns.into_iter().find(|turn| turn.turn == turn_id(name)).expect("it is open")
}

fn states(play: &Play, name: &str) -> Vec<&'static str> {
    turn(play, name).subturns.iter().map(|below| below.state.name()).collect()
}

#[test]
fn a_turn_waits_for_all_that_it_began() {
    let mut play = begun();
    let both = [sub("s1", "b"), sub("s2", "a")];
    play.run(reports("t1", 1, begins(0, &both, Then::WaitAll))).unwrap();
    assert_eq!(
        play.rendered(),
        "input.accepted s1 do s1, input.accepted s2 do s2, turn.waiting t1"
    );
    let above = turn(&play, "t1");
    assert_eq!((above.state, above.joins), (TurnState::Waiting, Some(Joins::All)));
    // Also its own agent works beside it, at once.
    play.run(claim("s1", "w", 2)).unwrap();
    play.run(claim("s2", "w", 3)).unwrap();
    assert_eq!(turn(&play, "s1").parent, Some(turn_id("t1")));
    play.run(emit("s2", 3, Some(0), "done", Then::Complete)).unwrap();
    assert_eq!(states(&play, "t1"), ["open", "completed"]);
    assert_eq!(play.run(claim("t1", "w", 4)), Err(Refusal::TurnAlreadyClaimed));
    play.run(emit("s1", 2, Some(0), "", Then::Fail { reason: "no".into() })).unwrap();
    assert_eq!(turn(&play, "t1").state, TurnState::Queued);
    let Applied::Claimed { turn: given } = play.run(claim("t1", "w", 4)).unwrap() else { panic!() };
    let given: Vec<_> = given.subturns.iter().map(|below| below.state.name()).collect();
    assert_eq!(given, ["failed", "completed"]);
    // Nothing is left to wait for.
    play.run(emit("t1", 4, Some(0), "", Then::WaitAll)).unwrap();
    assert_eq!(turn(&play, "t1").state, TurnState::Queued);
}

#[test]
fn a_turn_that_waits_for_any_misses_none() {
    let mut play = begun();
    let both = [sub("s1", "b"), sub("s2", "c")];
    play.run(reports("t1", 1, begins(0, &both, Then::GoOn))).unwrap();
    // One is over before the turn waits, and the worker was not told.
    play.run(claim("s1", "w", 2)).unwrap();
    play.run(emit("s1", 2, Some(0), "", Then::Complete)).unwrap();
    play.run(emit("t1", 1, Some(1), "", Then::WaitAny)).unwrap();
    play.run(claim("t1", "w", 3)).unwrap();
    play.run(emit("t1", 3, Some(0), "", Then::WaitAny)).unwrap();
    let above = turn(&play, "t1");
    assert_eq!((above.state, above.joins), (TurnState::Waiting, Some(Joins::Any)));
    play.run(cancel(Scope::Turn(turn_id("s2")))).unwrap();
    assert_eq!(states(&play, "t1"), ["completed", "cancelled"]);
    assert_eq!(turn(&play, "t1").state, TurnState::Queued);
}

#[test]
fn who_takes_over_repeats_what_began_and_it_begins_once() {
    let mut play = begun();
    play.run(reports("t1", 1, begins(0, &[sub("s1", "b")], Then::GoOn))).unwrap();
    play.run(emit("t1", 1, Some(1), "", Then::Release)).unwrap();
    play.run(claim("t1", "w", 2)).unwrap();
    play.rendered();
    play.run(reports("t1", 2, begins(0, &[sub("s1", "b"), sub("s2", "b")], Then::GoOn))).unwrap();
    assert_eq!(play.rendered(), "input.accepted s2 do s2");
    // Not under other content, nor what is a turn of somebody else.
    play.run(input("t2", "b", WhenBusy::Parallel)).unwrap();
    for other in [sub("s1", "c"), SubTurn { content: words("please t2"), ..sub("t2", "b") }] {
        let report = reports("t1", 2, begins(1, &[other], Then::GoOn));
        assert_eq!(play.run(report), Err(Refusal::InputDiffers));
    }
    let twice = reports("t1", 2, begins(1, &[sub("s3", "b"), sub("s3", "b")], Then::GoOn));
    assert_eq!(play.run(twice), Err(Refusal::InputDiffers));
    // A worker that has lost the turn begins nothing.
    let late = reports("t1", 1, begins(2, &[sub("s3", "b")], Then::GoOn));
    assert!(matches!(play.run(late), Err(Refusal::Fenced { .. })));
}

#[test]
fn the_end_of_a_turn_is_that_of_all_below_it_which_comes_first() {
    let end = |by: Command| {
        let mut play = begun();
        play.run(reports("t1", 1, begins(0, &[sub("s1", "b")], Then::GoOn))).unwrap();
        play.run(claim("s1", "w", 2)).unwrap();
        play.run(reports("s1", 2, begins(0, &[sub("s2", "c")], Then::WaitAll))).unwrap();
        play.run(input("t2", "b", WhenBusy::Queue)).unwrap();
        play.rendered();
        play.run(by).unwrap();
        (play.rendered(), play)
    };
    let (rendered, play) = end(cancel(Scope::Turn(turn_id("t1"))));
    assert_eq!(rendered, "turn.cancelled s2, turn.cancelled s1, turn.cancelled t1");
    // What people sent to the same agent goes on.
    assert_eq!(turn(&play, "t2").state, TurnState::Queued);
    let (rendered, _) = end(emit("t1", 1, Some(1), "", Then::Complete));
    assert_eq!(rendered, "turn.cancelled s2, turn.cancelled s1, turn.completed t1");
    let (rendered, _) = end(emit("t1", 1, Some(1), "", Then::Fail { reason: "no".into() }));
    assert_eq!(rendered, "turn.cancelled s2, turn.cancelled s1, turn.failed t1");
    let (rendered, _) = end(cancel(Scope::All));
    assert_eq!(
        rendered,
        "turn.cancelled s2, turn.cancelled s1, turn.cancelled t1, turn.cancelled t2"
    );
    let (rendered, play) = end(cancel(Scope::Turn(turn_id("s1"))));
    assert_eq!(rendered, "turn.cancelled s2, turn.cancelled s1");
    assert_eq!(states(&play, "t1"), ["cancelled"]);
    let (rendered, _) = end(Command::Close { producer: None });
    assert!(rendered.starts_with("turn.cancelled s2, turn.cancelled s1, turn.cancelled t1"));
}

#[test]
fn turns_begin_turns_up_to_a_depth_and_a_number() {
    let mut play = begun();
    let mut above = ("t1".to_owned(), 1);
    for depth in 1..=limits::SUB_TURN_DEPTH as u64 {
        let name = format!("s{depth}");
        let report = begins(0, &[sub(&name, "b")], Then::WaitAll);
        play.run(reports(&above.0, above.1, report)).unwrap();
        play.run(claim(&name, "w", depth + 1)).unwrap();
        above = (name, depth + 1);
    }
    let deeper = reports(&above.0, above.1, begins(0, &[sub("deep", "b")], Then::GoOn));
    assert!(matches!(play.run(deeper), Err(Refusal::TooManySubTurns { .. })));

    let mut play = begun();
    let names: Vec<String> = (0..=limits::SUB_TURNS).map(|at| format!("s{at}")).collect();
    let all: Vec<SubTurn> = names.iter().map(|name| sub(name, "b")).collect();
    let refused = play.run(reports("t1", 1, begins(0, &all, Then::GoOn)));
    assert!(matches!(refused, Err(Refusal::TooManySubTurns { .. })));
    play.run(reports("t1", 1, begins(0, &all[1..], Then::GoOn))).unwrap();
    assert_eq!(states(&play, "t1").len(), limits::SUB_TURNS);
}

#[test]
fn a_turn_that_is_at_work_gets_on_with_what_it_began() {
    let mut play = begun();
    play.run(reports("t1", 1, begins(0, &[sub("s1", "b")], Then::GoOn))).unwrap();
    play.run(claim("s1", "w", 2)).unwrap();
    play.rendered();
    // Both live; only the lower one puts something out.
    for seq in 0..8 {
        for (turn, epoch) in [("t1", 1), ("s1", 2)] {
            play.run(emit(turn, epoch, None, "", Then::GoOn)).unwrap();
        }
        play.run(emit("s1", 2, Some(seq), "x", Then::GoOn)).unwrap();
        play.wait(900).run(Command::Tick).unwrap();
    }
    assert!(!play.rendered().contains("agent.stalled"));
}

#[test]
fn an_input_and_an_answer_wake_a_turn_that_waits_and_a_cancel_that_came_before_holds() {
    let mut play = begun();
    play.run(cancel(Scope::Turn(turn_id("s2")))).unwrap();
    let both = [sub("s1", "b"), sub("s2", "b")];
    play.run(reports("t1", 1, begins(0, &both, Then::WaitAll))).unwrap();
    assert_eq!(states(&play, "t1"), ["open", "cancelled"]);
    play.run(input("i2", "a", WhenBusy::Steer)).unwrap();
    let above = turn(&play, "t1");
    assert_eq!((above.state, above.last_input > above.input), (TurnState::Queued, true));
    // What goes to an agent that a turn began goes into that turn, where it has no other.
    let Applied::Input { turn: into, .. } = play.run(input("i3", "b", WhenBusy::Steer)).unwrap()
    else {
        panic!()
    };
    assert_eq!(into, turn_id("s1"));
    assert_eq!(turn(&play, "s1").lease.map(|lease| lease.epoch), None::<TurnEpoch>);
}

#[test]
fn what_came_while_the_worker_decided_to_wait_is_not_slept_through() {
    let mut play = begun();
    play.run(reports("t1", 1, begins(0, &[sub("s1", "b")], Then::GoOn))).unwrap();
    play.run(input("i2", "a", WhenBusy::Steer)).unwrap();
    play.run(emit("t1", 1, Some(1), "", Then::WaitAll)).unwrap();
    assert_eq!(turn(&play, "t1").state, TurnState::Queued);
    play.run(claim("t1", "w", 2)).unwrap();
    play.run(emit("t1", 2, Some(0), "", Then::WaitAll)).unwrap();
    assert_eq!(turn(&play, "t1").state, TurnState::Waiting);
}

#[test]
fn who_waits_for_one_that_asks_people_has_all_the_time_and_an_input_instead_ends_both() {
    let unwatched = Unwatched::Cancel { after_ms: 1_000 };
    let mut play = Play::under(Policy { unwatched, ..Policy::default() });
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, begins(0, &[sub("s1", "b")], Then::GoOn))).unwrap();
    play.run(claim("s1", "w", 2)).unwrap();
    play.run(reports("s1", 2, asks(0, "q", None, Then::Wait))).unwrap();
    for watchers in [1, 0] {
        play.run(Command::Audience(Audience { watchers, controllers: 0 })).unwrap();
    }
    play.rendered();
    // Its worker lives, and has nothing to do but to wait.
    for _ in 0..20 {
        play.run(emit("t1", 1, None, "", Then::GoOn)).unwrap();
        play.wait(900).run(Command::Tick).unwrap();
    }
    assert_eq!(play.rendered(), "");
    play.run(emit("t1", 1, Some(1), "", Then::WaitAll)).unwrap();
    play.wait(60_000).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "turn.waiting t1");
    play.run(answer("q", "ann", "yes")).unwrap();
    assert_eq!(turn(&play, "s1").state, TurnState::Queued);
    // Then nobody minds it any more: first what is below.
    play.run(Command::Tick).unwrap();
    play.run(Command::Tick).unwrap();
    assert!(play.rendered().ends_with("turn.cancelled s1, turn.cancelled t1"));

    let mut play = begun();
    let both = TurnOutput {
        ask: asks(0, "q", None, Then::GoOn).ask,
        ..begins(0, &[sub("s1", "b")], Then::WaitAll)
    };
    play.run(reports("t1", 1, both)).unwrap();
    play.rendered();
    play.run(input("t2", "a", WhenBusy::Instead)).unwrap();
    let rendered = play.rendered();
    assert!(
        rendered.contains("turn.cancelled s1, interaction.expired t1, turn.cancelled t1"),
        "{rendered}"
    );
}
