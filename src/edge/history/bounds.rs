//! What does not fit into a page: it waits for the next one, or it is told that something is missing (S10).

use super::properties::{World, block, paged, text};
use super::{Log, PageRequest, Side, newest, read};
use crate::edge::attached::Visibility;
use crate::edge::content::raw::Object;
use crate::ids::{Serial, StepName, TurnEpoch, TurnId};
use crate::session::{Command, Said, Say};

/// A turn under way, and what its worker says in it.
struct Turn {
    turn: TurnId,
    epoch: TurnEpoch,
    seq: u64,
}

impl Turn {
    /// The next turn of an agent, with the input that begins it.
    fn begin(world: &mut World, agent: u8) -> Turn {
        world.input(agent, 0, false);
        world.step((3, 0, agent));
        let turn = world.status().turns.last().unwrap().clone();
        Turn { turn: turn.turn, epoch: turn.lease.unwrap().epoch, seq: 0 }
    }

    fn say(&mut self, world: &mut World, said: Said) {
        let said = Some(Said { seq: self.seq, ..said });
        self.seq += 1;
        let say = Say { said, ..Say::new(self.turn.clone(), self.epoch) };
        assert!(world.run(Command::Say(Box::new(say))));
    }
}

fn step(name: &str, words: &str) -> Said {
    Said { step: StepName::parse(name).ok(), events: vec![text(words)], ..Said::default() }
}

/// So many KiB.
fn large(kib: usize) -> String {
    "y".repeat(kib << 10)
}

#[test]
fn what_was_superseded_does_not_end_the_history() {
    let mut world = World::new();
    let mut turn = Turn::begin(&mut world, 0);
    turn.say(&mut world, step("x", &large(200)));
    turn.say(&mut world, step("y", &large(100)));
    let internal = Said { internal: true, ..step("y", "a draft") };
    turn.say(&mut world, Said { rewind: true, ..internal });
    let status = world.status();
    let mut log = Log::of(&world.log);
    let page = block(newest(&mut log, &status, 10, Visibility::Public)).unwrap();
    let texts = page
        .messages
        .iter()
        .map(|(_, it)| Object::parse(&it.to_string()).unwrap().text("text").unwrap().len());
    assert_eq!(texts.collect::<Vec<_>>(), [2, 200 << 10], "the input, and the step that stands");
    assert_eq!(page.older, None);
    let newer = paged(&world.log, &status, Side::Newer, 10, Visibility::Public).unwrap();
    assert_eq!(newer.len(), 2);
}

#[test]
fn what_is_left_of_trimmed_messages_is_told_once() {
    let mut world = World::new();
    let (mut one, mut two) = (Turn::begin(&mut world, 0), Turn::begin(&mut world, 1));
    for words in ["a", &large(200)] {
        one.say(&mut world, Said { events: vec![text(words)], ..Said::default() });
        two.say(&mut world, Said { events: vec![text(words)], ..Said::default() });
    }
    let ids = [world.status().tail.0 - 3, world.status().tail.0 - 2].map(Serial);
    world.run(Command::Trim { before: ids[1].next() });
    let (status, visibility) = (world.status(), Visibility::All);
    for side in [Side::Newer, Side::Older] {
        let told = paged(&world.log, &status, side, 10, visibility).unwrap();
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), ids, "{side:?}");
    }
    for (place, expected) in [(ids[0], &ids[1..]), (ids[1], &[])] {
        let request = PageRequest { side: Side::Newer, place, limit: 10, visibility };
        let page = block(read(&mut Log::of(&world.log), &status, request)).unwrap();
        let told: Vec<_> = page.messages.iter().map(|(id, _)| *id).collect();
        assert_eq!(told, expected, "after {place}");
    }
}
