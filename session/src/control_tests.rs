//! Examples of pauses, and of a person who takes over.

use super::people_tests::{audience, control, from, lose, take};
use super::turn_tests::{Play, claim, emit, input, turn_id};
use super::*;

#[test]
fn people_pause_and_resume_turns() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    let (by, role) = (None, Role::Controller);
    let pause = Pause { scope: Scope::All, by: by.clone(), role };
    let pause = || Command::Pause(Box::new(pause.clone()));
    let resume = Resume { scope: Scope::All, by, role };
    let resume = || Command::Resume(Box::new(resume.clone()));
    assert_eq!(play.run(pause()).unwrap(), Applied::Paused { turns: 1 });
    assert_eq!(play.run(pause()).unwrap(), Applied::Paused { turns: 0 });
    assert_eq!(play.run(claim("t1", "w", 1)), Err(Refusal::TurnAlreadyClaimed));
    play.run(audience(1)).unwrap();
    play.rendered();
    play.run(resume()).unwrap();
    assert_eq!(play.rendered(), "turn.resumed t1");
    play.run(pause()).unwrap();
    play.run(input("s1", "a", WhenBusy::Steer)).unwrap();
    assert_eq!(play.rendered(), "turn.paused t1, input.accepted t1 please s1, turn.resumed t1");
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(pause()).unwrap();
    play.rendered();
    play.run(lose("t1", 1, Cause::Disconnected)).unwrap();
    assert_eq!(play.rendered(), "agent.lost t1, turn.paused t1");
    let observer = Pause { scope: Scope::All, by: None, role: Role::Observer };
    let needs = Role::Controller;
    assert_eq!(
        play.run(Command::Pause(Box::new(observer))),
        Err(Refusal::InsufficientRole { needs })
    );
}

#[test]
fn a_person_takes_over_and_hands_back() {
    let mut play = Play::new();
    play.run(from("user", "t1")).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(take("sue", Role::Controller)).unwrap();
    play.run(take("sue", Role::Controller)).unwrap();
    play.rendered();
    let by = "sue".to_owned();
    assert_eq!(play.run(take("bob", Role::Controller)), Err(Refusal::ControlledByOther { by }));
    play.run(emit("t1", 1, Some(0), "draft", Then::Complete)).unwrap();
    let drafted = play.session.status().unwrap();
    assert_eq!(drafted.control.mode, Mode::Manual);
    play.run(from("user", "i1")).unwrap();
    play.run(from("sue", "p1")).unwrap();
    play.run(from("user", "i2")).unwrap();
    assert!(matches!(
        play.run(from("user", "i2")).unwrap(),
        Applied::Input { duplicate: true, .. }
    ));
    assert_eq!(
        play.rendered(),
        "turn.output t1 draft, turn.completed t1, input.accepted i1 hi, person.message hi, input.accepted i2 hi"
    );
    assert_eq!(play.session.effects(play.now), []);
    play.run(control("sue", Role::Controller, ControlVerb::Release)).unwrap();
    play.run(control("sue", Role::Controller, ControlVerb::Release)).unwrap();
    assert_eq!(play.rendered(), "control.released");
    let turn = play.session.status().unwrap().turns.remove(0);
    assert_eq!((turn.turn, turn.input.0 < turn.last_input.0), (turn_id("i2"), true));
    play.run(take("sue", Role::Controller)).unwrap();
    play.run(take("boss", Role::Supervisor)).unwrap();
    play.rendered();
    play.wait(10_000).run(Command::Tick).unwrap();
    assert!(play.rendered().starts_with("control.expired"));
    assert_eq!(play.session.status().unwrap().control.holder, None);
}

#[test]
fn what_is_held_back_can_be_cancelled_and_begins_nothing_then() {
    let mut play = Play::new();
    play.run(take("sue", Role::Controller)).unwrap();
    play.run(from("user", "i1")).unwrap();
    play.rendered();
    let other = Cancel::new(Scope::Turn(turn_id("i2")), "no");
    assert_eq!(
        play.run(Command::Cancel(Box::new(other))).unwrap(),
        Applied::Cancelled { turns: 0 }
    );
    let cancel = Cancel::new(Scope::Turn(turn_id("i1")), "no");
    assert_eq!(
        play.run(Command::Cancel(Box::new(cancel))).unwrap(),
        Applied::Cancelled { turns: 1 }
    );
    assert!(play.rendered().contains("turn.cancelled i1"));
    // Of two that are held, none ends without the other.
    play.run(from("user", "i3")).unwrap();
    play.run(from("user", "i4")).unwrap();
    play.rendered();
    let cancel = |scope| Command::Cancel(Box::new(Cancel::new(scope, "no")));
    for name in ["i3", "i4"] {
        let one = play.run(cancel(Scope::Turn(turn_id(name)))).unwrap();
        assert_eq!(one, Applied::Cancelled { turns: 0 });
    }
    assert_eq!(play.run(cancel(Scope::All)).unwrap(), Applied::Cancelled { turns: 1 });
    assert!(play.rendered().contains("turn.cancelled i4"));
    play.run(from("user", "i5")).unwrap();
    // All that is held becomes one turn, so it is on one branch.
    let Command::Input(mut elsewhere) = from("user", "i7") else { unreachable!() };
    let (life, message, branch) = (Incarnation(1), Serial::ZERO, Serial::ZERO);
    let found = Some(Found { life, message, branch });
    elsewhere.follows = Some(Follows { message, again: false, found });
    let refused = play.run(Command::Input(elsewhere));
    assert_eq!(refused, Err(Refusal::ControlledByOther { by: "sue".into() }));
    play.run(control("sue", Role::Controller, ControlVerb::Release)).unwrap();
    assert_eq!(play.session.status().unwrap().turns.remove(0).turn, turn_id("i5"));
    // A session that is closed ends what is held, too.
    play.run(take("sue", Role::Controller)).unwrap();
    play.run(from("user", "i6")).unwrap();
    play.rendered();
    play.run(Command::Close { producer: None }).unwrap();
    assert!(play.rendered().contains("turn.cancelled i6"));
}
