//! Cases of turns from the field, as scripts: lives that follow each other, budgets, memory, and time to live.

use super::people_tests::{answer, asks, audience, reports};
use super::stored::read_back;
use super::turn_tests::{Play, cancel, claim, emit, input, turn_id, words};
use super::*;
use crate::ids::{
    AgentName, ControlEpoch, ParticipantName, ProducerEpoch, ProducerId, StepName, TurnEpoch,
};
use crate::limits;

/// Whoever has a number from an earlier life has no right in a later one (S4, S11).
#[test]
fn nothing_of_a_life_that_is_over_acts_in_the_next_one() {
    let mut play = Play::new();
    let create = || Command::from(Config::default());
    let take = |name: &str| {
        let participant = ParticipantName::parse(name).unwrap();
        let (by, verb) =
            (Sender { participant, device: None }, ControlVerb::Take { mode: Mode::Assist });
        let (role, note) = (Role::Controller, String::new());
        Command::Control(Box::new(ControlRequest { verb, by, for_ms: 1_000, note, role }))
    };
    let write = |epoch, seq| {
        let (producer, epoch) = (ProducerId::parse("p").unwrap(), ProducerEpoch(epoch));
        let producer = Some(Origin { producer, epoch, seq });
        Command::Append(Append { events: vec![words("x")], producer, ..Append::default() })
    };
    for life in 1..=3_u64 {
        play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
        let taken = play.run(claim("t1", "w", life)).unwrap();
        let Applied::Claimed { turn } = taken else { panic!("{taken:?}") };
        assert_eq!(turn.lease.unwrap().epoch, TurnEpoch(life));
        // The worker of the life before sends output, ends, and is lost.
        let fenced = Err(Refusal::Fenced { given: TurnEpoch(life - 1), held: TurnEpoch(life) });
        assert_eq!(play.run(emit("t1", life - 1, Some(0), "old", Then::GoOn)), fenced);
        assert_eq!(play.run(emit("t1", life - 1, Some(0), "", Then::Complete)), fenced);
        let lose = Lose {
            turn: turn_id("t1"),
            epoch: TurnEpoch(life - 1),
            cause: Cause::Disconnected,
            wait_ms: 0,
            detail: String::new(),
        };
        assert_eq!(play.run(Command::Lose(Box::new(lose))), Ok(Applied::Lost { was: false }));
        let new = play.run(emit("t1", life, Some(0), "new", Then::GoOn)).unwrap();
        assert!(matches!(new, Applied::OutputAccepted { duplicate: false, places: Some(_), .. }));
        let taken = play.run(take("ada")).unwrap();
        let Applied::Control { epoch, .. } = taken else { panic!("{taken:?}") };
        assert_eq!(epoch, ControlEpoch(life));
        // A repeat of what the producer wrote in the life before writes nothing; a new epoch does.
        if 1 < life {
            let again = play.run(write(life - 1, 0));
            assert!(matches!(again, Err(Refusal::StaleEpoch { .. })), "{again:?}");
            let gap = play.run(write(life, 1));
            assert!(matches!(gap, Err(Refusal::EpochMustStartAtZero { .. })), "{gap:?}");
        }
        play.run(write(life, 0)).unwrap();
        assert_eq!(play.session.status().unwrap().producers, 1);
        // By a request, or by its time; what is left is kept.
        play.run(Command::Delete { incarnation: None }).unwrap();
        play.session = read_back(&play.session);
        play.run(create()).unwrap();
        play.session = read_back(&play.session);
        assert_eq!(play.session.status().unwrap().producers, 0);
    }
}

/// A node repeats by itself what it has no answer to; the life that took the first try may be over by then.
#[test]
fn a_repetition_of_an_input_or_an_answer_is_not_taken_in_a_later_life() {
    let mut play = Play::new();
    play.wait(60_000).run(Command::Delete { incarnation: None }).unwrap();
    play.run(Config::default().into()).unwrap();
    play.wait(1_000);
    let key = |age_ms| CommandKey { key: 7, within_ms: 60_000, age_ms };
    let mut again = |age_ms, command| {
        play.session.apply_once(play.now, &key(age_ms), &command, &mut Vec::new())
    };
    let unknown = Err(Refusal::OutcomeForgotten);
    let steer = || input("t1", "a", WhenBusy::Steer);
    assert_eq!(again(Some(2_000), steer()), unknown);
    assert_eq!(again(Some(2_000), cancel(Scope::Turn(turn_id("t1")))), unknown);
    // A first try is taken, and is known again by its name.
    assert!(matches!(again(None, steer()), Ok(Applied::Input { duplicate: false, .. })));
    play.wait(60_000);
    let again =
        play.session.apply_once(play.now, &key(Some(2_000)), &steer(), &mut Vec::new()).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, .. }));
}

#[test]
fn another_input_of_the_same_name_is_no_repetition() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(input("s1", "a", WhenBusy::Steer)).unwrap();
    for known in ["t1", "s1"] {
        let differs = |agent: &str, text: &str| {
            let agent = AgentName::parse(agent).unwrap();
            Command::Input(Box::new(Input::new(turn_id(known), agent, words(text))))
        };
        assert_eq!(play.run(differs("a", "something else")), Err(Refusal::InputDiffers));
        assert_eq!(play.run(differs("b", &format!("please {known}"))), Err(Refusal::InputDiffers));
        // How it was to be treated then does not matter any more.
        let again = play.run(input(known, "a", WhenBusy::Queue)).unwrap();
        assert!(matches!(again, Applied::Input { duplicate: true, .. }));
    }
    assert_eq!(play.rendered(), "input.accepted t1 please t1, input.accepted t1 please s1");
}

#[test]
fn cancels_of_turns_that_nobody_asked_for_push_no_input_out_of_memory() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(cancel(Scope::All)).unwrap();
    for at in 0..2 * limits::INPUTS {
        play.run(cancel(Scope::Turn(turn_id(&format!("never{at}"))))).unwrap();
    }
    let again = play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, .. }), "{again:?}");
    // The last ones still hold, once each.
    play.rendered();
    let last = format!("never{}", 2 * limits::INPUTS - 1);
    play.run(input(&last, "a", WhenBusy::Steer)).unwrap();
    assert!(play.rendered().ends_with(&format!("turn.cancelled {last}")));
    assert_eq!(read_back(&play.session), play.session);
}

/// A person who has control chats on while an input is held back for the agent.
#[test]
fn what_is_held_back_is_known_when_its_turn_begins() {
    let mut play = Play::new();
    let ada = || Sender { participant: ParticipantName::parse("ada").unwrap(), device: None };
    let control = |verb| {
        let (by, role, note) = (ada(), Role::Controller, String::new());
        Command::Control(Box::new(ControlRequest { verb, by, for_ms: 60_000, note, role }))
    };
    play.run(control(ControlVerb::Take { mode: Mode::Manual })).unwrap();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    for at in 0..=limits::INPUTS {
        let agent = AgentName::parse("a").unwrap();
        let input = Input::new(turn_id(&format!("word{at}")), agent, words("hm"));
        play.run(Command::Input(Box::new(Input { sender: Some(ada()), ..input }))).unwrap();
    }
    play.run(control(ControlVerb::Release)).unwrap();
    let again = play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, .. }), "{again:?}");
    play.run(cancel(Scope::All)).unwrap();
    assert_eq!(play.run(claim("t1", "w", 1)), Err(Refusal::TurnEnded));
}

/// `rewind`: each worker emits anew what the last one emitted. `step`: each begins a step of its own.
fn lost_again_and_again(rewind: bool, step: bool, had_ms: u64) -> (Vec<u64>, String) {
    let mut play = Play::new();
    let (turn, agent) = (turn_id("t1"), AgentName::parse("a").unwrap());
    let attempts = Some(4);
    play.run(Command::Input(Box::new(Input { attempts, ..Input::new(turn, agent, words("go")) })))
        .unwrap();
    let mut pauses = Vec::new();
    for epoch in 1..=12 {
        if play.run(claim("t1", "w", epoch)).is_err() {
            break;
        }
        let step = step.then(|| StepName::parse(&format!("step{epoch}")).unwrap());
        let output =
            TurnOutput { step, rewind, events: vec![words("one ")], ..TurnOutput::default() };
        let first =
            TurnReport { output: Some(output), ..TurnReport::new(turn_id("t1"), TurnEpoch(epoch)) };
        play.run(Command::Report(Box::new(first))).unwrap();
        play.run(emit("t1", epoch, Some(1), "two", Then::GoOn)).unwrap();
        play.wait(had_ms);
        let (turn, detail) = (turn_id("t1"), String::new());
        let (epoch, cause) = (TurnEpoch(epoch), Cause::Disconnected);
        let lose = Lose { turn, epoch, cause, wait_ms: 0, detail };
        play.run(Command::Lose(Box::new(lose))).unwrap();
        let turns = play.session.status().unwrap().turns;
        let Some(from) = turns.first().and_then(|turn| turn.waits_from) else { break };
        pauses.push(from.since(play.now));
        play.wait(from.since(play.now));
    }
    (pauses, play.rendered())
}

#[test]
fn output_that_is_rewound_forgives_no_failure_and_the_pauses_grow_whatever_was_said() {
    let (pauses, rendered) = lost_again_and_again(true, false, 0);
    assert_eq!(pauses, [0, 1_000, 2_000]);
    assert!(rendered.ends_with("agent.lost t1, turn.failed t1"), "{rendered}");
    // What a later worker goes on after stays, and so does a step that is over.
    for step in [false, true] {
        let (pauses, rendered) = lost_again_and_again(step, step, 0);
        let doubled = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000];
        assert_eq!(pauses[..7], doubled);
        assert_eq!(pauses[7..], [60_000; 5]);
        assert!(!rendered.contains("turn.failed"), "{rendered}");
    }
    // Once in a minute is no storm, but nothing is forgiven.
    let (pauses, rendered) = lost_again_and_again(true, false, 60_000);
    assert_eq!(pauses, [0, 0, 0]);
    assert!(rendered.ends_with("turn.failed t1"), "{rendered}");
}

#[test]
fn a_worker_that_gives_its_turn_back_again_and_again_waits_ever_longer() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    let mut pauses = Vec::new();
    for epoch in 1..=5 {
        play.run(claim("t1", "w", epoch)).unwrap();
        play.run(emit("t1", epoch, Some(0), "", Then::Release)).unwrap();
        let from = play.session.status().unwrap().turns[0].waits_from.unwrap();
        pauses.push(from.since(play.now));
        play.wait(from.since(play.now));
    }
    assert_eq!(pauses, [0, 1_000, 2_000, 4_000, 8_000]);
    assert_eq!(play.session.status().unwrap().turns[0].failures, 0);
}

#[test]
fn who_speaks_instead_of_answering_lets_the_turn_go_on_with_its_question_open() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, asks(0, "i1", None, Then::Wait))).unwrap();
    assert_eq!(play.session.effects(play.now), []);
    let steered = play.run(input("s1", "a", WhenBusy::Steer)).unwrap();
    let Applied::Input { turn, serial, .. } = steered else { panic!("{steered:?}") };
    assert_eq!((turn, play.session.effects(play.now).len()), (turn_id("t1"), 1));
    let taken = play.run(claim("t1", "w", 2)).unwrap();
    let Applied::Claimed { turn } = taken else { panic!("{taken:?}") };
    assert_eq!((turn.last_input, turn.state), (serial, TurnState::Waiting));
    assert_eq!(play.session.status().unwrap().interactions.len(), 1);
    // It waits on, and the answer still counts.
    play.run(emit("t1", 2, Some(0), "as you like", Then::Wait)).unwrap();
    assert_eq!(play.session.effects(play.now), []);
    play.run(answer("i1", "ada", "yes")).unwrap();
    assert_eq!(play.session.effects(play.now).len(), 1);
}

#[test]
fn a_session_that_is_at_work_or_watched_does_not_expire() {
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let config = Config { ttl_ms: Some(3_000), ..Config::default() };
    session.apply(Millis(0), &config.into(), &mut Vec::new()).unwrap();
    let mut play = Play { session, ..Play::new() };
    let ends = |play: &Play| play.session.status().unwrap().expires_at;
    assert_eq!(ends(&play), Some(Millis(3_000)));
    // A turn, whether it waits, is worked on, or waits for people.
    play.wait(1_000).run(input("t1", "a", WhenBusy::Steer)).unwrap();
    assert_eq!(ends(&play), None);
    play.wait(60_000).run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, asks(0, "i1", None, Then::Wait))).unwrap();
    assert_eq!(play.session.tick_at(), None, "who waits for people has all the time");
    play.wait(60_000).run(answer("i1", "ada", "yes")).unwrap();
    play.run(claim("t1", "w", 2)).unwrap();
    play.wait(500).run(emit("t1", 2, Some(0), "", Then::Complete)).unwrap();
    let now = play.now;
    assert_eq!(ends(&play), Some(now.after(3_000)));
    // A participant who is present; the time begins when the last one leaves.
    play.wait(2_000).run(audience(2)).unwrap();
    assert_eq!(ends(&play), None);
    play.wait(60_000).run(audience(1)).unwrap();
    play.wait(60_000).run(audience(0)).unwrap();
    let now = play.now;
    assert_eq!(ends(&play), Some(now.after(3_000)));
    // A paused turn does not keep it: perhaps no participant ever comes again.
    play.run(input("t2", "a", WhenBusy::Steer)).unwrap();
    let pause = Pause { scope: Scope::All, by: None, role: Role::Controller };
    play.wait(1_000).run(Command::Pause(Box::new(pause))).unwrap();
    let now = play.now;
    assert_eq!(ends(&play), Some(now.after(3_000)));
    play.wait(3_000);
    assert_eq!(play.run(input("t3", "a", WhenBusy::Steer)), Err(Refusal::NotFound));
}

/// Whoever deletes what they have looked at does not delete what came since.
#[test]
fn a_session_in_which_something_happened_meanwhile_is_not_deleted() {
    let mut play = Play::new();
    let status = play.session.status().unwrap();
    let (incarnation, tail) = (status.incarnation, status.tail);
    let delete = |tail| Command::DeleteUnchanged { incarnation, tail };
    play.run(input("t1", "a", WhenBusy::Queue)).unwrap();
    let moved = play.session.tail();
    let refused = Refusal::SerialMismatch { expected: tail, tail: moved };
    assert_eq!(play.run(delete(tail)), Err(refused));
    play.run(delete(moved)).unwrap();
    assert!(play.session.status().is_none());
    play.run(Config::default().into()).unwrap();
    assert!(matches!(play.run(delete(Serial::ZERO)), Err(Refusal::OtherIncarnation { .. })));
}

#[test]
fn parallel_turns_of_one_agent_go_beside_each_other() {
    let mut play = Play::new();
    for name in ["t1", "t2", "t3"] {
        play.run(input(name, "a", WhenBusy::Parallel)).unwrap();
    }
    play.run(input("t4", "a", WhenBusy::Queue)).unwrap();
    assert_eq!(play.session.effects(play.now).len(), 3, "the fourth waits for all of them");
    for (turn, key) in [("t1", 1), ("t2", 2), ("t3", 3)] {
        play.run(claim(turn, "w", key)).unwrap();
    }
    assert_eq!(play.run(claim("t4", "w", 4)), Err(Refusal::TurnAlreadyClaimed));
    // An input that one of them has not received is a turn of its own, after those that go on.
    play.run(input("t5", "a", WhenBusy::Parallel)).unwrap();
    play.run(claim("t5", "w", 5)).unwrap();
    play.run(cancel(Scope::Turn(turn_id("t4")))).unwrap();
    play.run(input("i6", "a", WhenBusy::Steer)).unwrap();
    play.run(emit("t5", 4, Some(0), "done", Then::Complete)).unwrap();
    assert_eq!(play.run(claim("i6", "w", 6)), Err(Refusal::TurnAlreadyClaimed));
    for (turn, epoch) in [("t1", 1), ("t2", 2), ("t3", 3)] {
        play.run(emit(turn, epoch, Some(0), "done", Then::Complete)).unwrap();
    }
    play.run(claim("i6", "w", 7)).unwrap();
}

#[test]
fn inputs_of_a_while_become_one_turn() {
    let mut play = Play::under(Policy { merge_ms: Some(500), ..Policy::default() });
    play.run(input("t1", "a", WhenBusy::Merge)).unwrap();
    assert_eq!(play.run(claim("t1", "w", 1)), Err(Refusal::TurnAlreadyClaimed), "more may come");
    play.wait(499);
    let into = play.run(input("i2", "a", WhenBusy::Merge)).unwrap();
    assert!(matches!(into, Applied::Input { turn, .. } if turn == turn_id("t1")));
    assert_eq!(play.session.effects(play.now).len(), 0);
    assert_eq!(play.session.deadline(), Some(Millis(500)), "the first one counts");
    play.wait(1);
    let taken = play.run(claim("t1", "w", 1)).unwrap();
    assert!(matches!(taken, Applied::Claimed { turn } if turn.last_input == Serial(2)));
    // Where the agent works, those that come become the next turn together.
    for name in ["t3", "i4"] {
        let next = play.run(input(name, "a", WhenBusy::Merge)).unwrap();
        assert!(matches!(next, Applied::Input { turn, .. } if turn == turn_id("t3")));
    }
    play.wait(500).rendered();
    play.run(emit("t1", 1, Some(0), "both", Then::Complete)).unwrap();
    assert_eq!(play.rendered(), "turn.output t1 both, input.consumed i2, turn.completed t1");
    play.run(claim("t3", "w", 2)).unwrap();
}

#[test]
fn an_input_that_merges_is_not_spoken_into_a_turn_that_does_not() {
    let mut play = Play::under(Policy { merge_ms: Some(500), ..Policy::default() });
    play.run(input("t1", "a", WhenBusy::Queue)).unwrap();
    let own = play.run(input("t2", "a", WhenBusy::Merge)).unwrap();
    assert!(matches!(own, Applied::Input { turn, .. } if turn == turn_id("t2")));
}

#[test]
fn an_input_that_rolls_back_takes_the_place_of_the_turn_that_it_cancels() {
    let is_read = |play: &Play, at: Serial| {
        play.session.status().unwrap().branches.current_view().has(Serial::ZERO, at)
    };
    let rolls = |name: &str| input(name, "a", WhenBusy::Rollback);
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(emit("t1", 1, Some(0), "an answer", Then::Complete)).unwrap();
    let answer = Serial(3);
    // Nothing goes on: it follows what was there.
    play.run(rolls("t2")).unwrap();
    assert!(!play.session.status().unwrap().branches.is_tree());
    play.run(claim("t2", "w", 2)).unwrap();
    play.run(emit("t2", 2, Some(0), "half an ans", Then::GoOn)).unwrap();
    let before = play.session.tail();
    play.rendered();
    play.run(rolls("t3")).unwrap();
    assert_eq!(play.rendered(), "turn.cancelled t2, input.accepted t3 please t3");
    let branches = play.session.status().unwrap().branches;
    let [branch] = branches.all[..] else { panic!("{branches:?}") };
    assert_eq!((branch.parent, branch.of), (answer, Serial::ZERO));
    assert_eq!(branches.current, branch.begin);
    assert!(is_read(&play, answer) && !is_read(&play, before), "what was rolled back is left out");
    // Again, and of more than one turn: the oldest counts.
    play.run(input("t4", "a", WhenBusy::Queue)).unwrap();
    play.run(rolls("t5")).unwrap();
    let branches = play.session.status().unwrap().branches;
    assert_eq!((branches.all[1].parent, branches.all[1].of), (answer, Serial::ZERO));
    // Of the first turn of all nothing is left.
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(rolls("t2")).unwrap();
    let branches = play.session.status().unwrap().branches;
    assert_eq!((branches.all[0].parent, branches.all[0].begin), (Serial::ZERO, Serial(3)));
    let again = play.run(rolls("t2")).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, .. }));
}

#[test]
fn it_is_remembered_where_a_turn_ended_and_which_turn_heard_an_input() {
    let place = |play: &Play, name: &str| {
        let TurnPlace { turn, input, ended } = play.session.place_of(&turn_id(name)).unwrap();
        (turn.as_str().to_owned(), input.0, ended.map(|ended| ended.0))
    };
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    for name in ["i2", "i3"] {
        play.run(input(name, "a", WhenBusy::Steer)).unwrap();
    }
    assert_eq!(place(&play, "i3"), ("t1".into(), 4, None));
    play.run(emit("t1", 1, Some(0), "", Then::Complete)).unwrap();
    assert_eq!(place(&play, "t1"), ("t1".into(), 1, Some(5)));
    assert_eq!(place(&play, "i3"), ("i2".into(), 4, None), "it was left to another");
    play.run(cancel(Scope::All)).unwrap();
    assert_eq!(place(&play, "i2").2, Some(play.session.tail().0));
    assert_eq!(play.session.place_of(&turn_id("none")), None);
}
