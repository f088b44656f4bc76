//! What holds for questions: the first answer, their end, who takes them back, and for whom they are.

use super::people_tests::{answer, asks, reports};
use super::turn_tests::{Play, claim, input};
use super::*;
use crate::ids::InteractionId;

#[test]
fn the_first_answer_holds() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, asks(0, "q", None, Then::GoOn))).unwrap();
    play.run(reports("t1", 1, asks(1, "q", None, Then::Wait))).unwrap();
    assert_eq!(
        play.rendered(),
        "input.accepted t1 please t1, turn.started t1, interaction.requested t1 may I?, turn.waiting t1"
    );
    let state = |play: &Play| play.session.status().unwrap().turns[0].state;
    assert_eq!(state(&play), TurnState::Waiting);
    assert_eq!((play.session.tick_at(), play.session.deadline()), (None, None));
    play.run(answer("q", "ann", "yes")).unwrap();
    let again = play.run(answer("q", "ann", "yes")).unwrap();
    assert!(matches!(again, Applied::Answered { duplicate: true, .. }));
    let by = "ann".to_owned();
    let at = Serial(5);
    assert_eq!(
        play.run(answer("q", "bob", "no")),
        Err(Refusal::InteractionAlreadyAnswered { by, at })
    );
    assert_eq!(play.run(answer("r", "bob", "no")), Err(Refusal::NoSuchInteraction));
    assert_eq!(
        (play.rendered().as_str(), state(&play)),
        ("interaction.resolved t1 yes", TurnState::Queued)
    );
    play.run(claim("t1", "w", 2)).unwrap();
    play.run(reports("t1", 2, asks(0, "r", Some(50), Then::GoOn))).unwrap();
    play.rendered();
    play.wait(50).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "interaction.expired t1");
    assert_eq!(play.run(answer("r", "bob", "no")), Err(Refusal::InteractionClosed));
    play.run(reports("t1", 2, asks(1, "s", None, Then::Complete))).unwrap();
    assert_eq!(
        play.rendered(),
        "interaction.requested t1 may I?, interaction.expired t1, turn.completed t1"
    );
}

fn takes_back(seq: u64, name: &str, then: Then) -> TurnOutput {
    let interaction = InteractionId::parse(name).unwrap();
    let withdraw = vec![Withdraw { interaction, reason: "found it".into() }];
    TurnOutput { seq, withdraw, then, ..TurnOutput::default() }
}

#[test]
fn a_question_that_is_taken_back_has_that_end_alone() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, asks(0, "q", Some(50), Then::GoOn))).unwrap();
    play.run(reports("t1", 1, asks(1, "r", None, Then::GoOn))).unwrap();
    play.rendered();
    let unknown = play.run(reports("t1", 1, takes_back(2, "x", Then::GoOn)));
    assert_eq!((unknown, play.rendered().as_str()), (Err(Refusal::NoSuchInteraction), ""));
    // It waits for the one that is left.
    play.run(reports("t1", 1, takes_back(2, "q", Then::Wait))).unwrap();
    play.run(reports("t1", 1, takes_back(2, "q", Then::Wait))).unwrap();
    assert_eq!(play.rendered(), "interaction.withdrawn t1, turn.waiting t1");
    assert_eq!(play.run(answer("q", "ann", "yes")), Err(Refusal::InteractionClosed));
    play.wait(50).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "", "its time is not over once more");
    play.run(answer("r", "ann", "yes")).unwrap();
    play.run(claim("t1", "w", 2)).unwrap();
    play.rendered();
    play.run(reports("t1", 2, takes_back(0, "r", Then::GoOn))).unwrap();
    assert_eq!(play.rendered(), "", "it was answered, and stays so");
    let again = play.run(answer("r", "ann", "yes")).unwrap();
    assert!(matches!(again, Applied::Answered { duplicate: true, .. }));
}

#[test]
fn who_takes_a_question_back_may_ask_another_in_its_place() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    for seq in 0..limits::INTERACTIONS as u64 {
        play.run(reports("t1", 1, asks(seq, &format!("q{seq}"), None, Then::GoOn))).unwrap();
    }
    let seq = limits::INTERACTIONS as u64;
    let more = asks(seq, "more", None, Then::GoOn);
    let limit = limits::INTERACTIONS;
    assert_eq!(
        play.run(reports("t1", 1, more.clone())),
        Err(Refusal::TooManyInteractions { limit })
    );
    let withdraw = takes_back(seq, "q0", Then::GoOn).withdraw;
    play.run(reports("t1", 1, TurnOutput { withdraw, ..more })).unwrap();
}

#[test]
fn a_question_that_is_forgotten_may_be_taken_back() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let mut seq = 0;
    for at in 0..=limits::ANSWERS {
        let name = format!("q{at}");
        play.run(reports("t1", 1, asks(seq, &name, None, Then::GoOn))).unwrap();
        play.run(reports("t1", 1, takes_back(seq + 1, &name, Then::GoOn))).unwrap();
        seq += 2;
    }
    play.drain();
    play.run(reports("t1", 1, takes_back(seq, "q0", Then::Complete))).unwrap();
    assert_eq!(play.rendered(), "turn.completed t1");
}

#[test]
fn nobody_takes_back_what_another_turn_asked() {
    let mut play = Play::new();
    for (turn, agent) in [("t1", "a"), ("t2", "b")] {
        play.run(input(turn, agent, WhenBusy::Steer)).unwrap();
    }
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(claim("t2", "w", 2)).unwrap();
    play.run(reports("t1", 1, asks(0, "q", None, Then::GoOn))).unwrap();
    play.rendered();
    let other = play.run(reports("t2", 2, takes_back(0, "q", Then::GoOn)));
    assert_eq!((other, play.rendered().as_str()), (Err(Refusal::NoSuchInteraction), ""));
    play.run(answer("q", "ann", "yes")).unwrap();
}

#[test]
fn a_question_may_be_for_some_alone() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let mut emitted = asks(0, "q", None, Then::Wait);
    emitted.ask[0].role = Role::Supervisor;
    play.run(reports("t1", 1, emitted)).unwrap();
    let Command::Answer(request) = answer("q", "ann", "yes") else { unreachable!() };
    let by = |role| Command::Answer(Box::new(Answer { role, ..(*request).clone() }));
    let needs = Role::Supervisor;
    for role in [Role::Participant, Role::Controller] {
        assert_eq!(play.run(by(role)), Err(Refusal::InsufficientRole { needs }));
    }
    assert_eq!(play.session.status().unwrap().interactions[0].role, needs);
    play.run(by(Role::Supervisor)).unwrap();
}
