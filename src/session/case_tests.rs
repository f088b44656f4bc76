//! Cases of turns from the field, told as scripts: lives that follow each other, budgets, memory, and time to live.

use super::people_tests::answer;
use super::turn_tests::{Play, cancel, claim, input, said, say, turn_id};
use super::*;
use crate::ids::{ParticipantName, ProducerId};

/// Whoever has a number from an earlier life has no right in a later one (S4, S11).
#[test]
fn nothing_of_a_life_that_is_over_acts_in_the_next_one() {
    let mut play = Play::new();
    let create = || Command::from(Config::default());
    let take = |name: &str| {
        let participant = ParticipantName::parse(name).unwrap();
        let (by, verb) = (Sender { participant, device: None }, Verb::Take { mode: Mode::Assist });
        let (role, note) = (Role::Controller, String::new());
        Command::Control(Box::new(ControlAsked { verb, by, for_ms: 1_000, note, role }))
    };
    let write = |epoch, seq| {
        let producer = Some(Origin { producer: ProducerId::parse("p").unwrap(), epoch, seq });
        Command::Append(Append { events: vec![said("x")], producer, ..Append::default() })
    };
    for life in 1..=3_u64 {
        play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
        let taken = play.run(claim("t1", "w", life)).unwrap();
        let Applied::Claimed { turn } = taken else { panic!("{taken:?}") };
        assert_eq!(turn.seat.unwrap().epoch, life);
        // The worker of the life before speaks, ends, and is lost.
        let fenced = Err(Refusal::Fenced { given: life - 1, held: life });
        assert_eq!(play.run(say("t1", life - 1, Some(0), "old", Then::GoOn)), fenced);
        assert_eq!(play.run(say("t1", life - 1, Some(0), "", Then::Complete)), fenced);
        let lose = Lose {
            turn: turn_id("t1"),
            epoch: life - 1,
            cause: Cause::Disconnected,
            detail: String::new(),
        };
        assert_eq!(play.run(Command::Lose(Box::new(lose))), Ok(Applied::Lost { was: false }));
        let new = play.run(say("t1", life, Some(0), "new", Then::GoOn)).unwrap();
        assert!(matches!(new, Applied::Said { duplicate: false, places: Some(_), .. }));
        let taken = play.run(take("ada")).unwrap();
        assert!(matches!(taken, Applied::Control { epoch, .. } if epoch == life), "{taken:?}");
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
        play.session = Session::thaw(play.session.freeze()).unwrap();
        play.run(create()).unwrap();
        play.session = Session::thaw(play.session.freeze()).unwrap();
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
