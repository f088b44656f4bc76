//! What does not fit into a page: it waits for the next one, or it is marked that something is missing (S10).

use std::pin::pin;
use std::task::{Context, Waker};

use super::properties::{block, paged};
use super::world_tests::{World, text};
use super::{Found, Log, PageRequest, Side, end_of, newest, one, read};
use crate::edge::attached::Visibility;
use crate::edge::content::raw::Object;
use crate::ids::{InteractionId, KindName, Serial, StepName, TurnEpoch, TurnId};
use crate::limits::{MESSAGES_BYTES, MESSAGES_QUESTIONS, MESSAGES_READ_BYTES};
use crate::session::{
    Answer, Ask, Command, Format, NewEvent, Role, Then, TurnOutput, TurnReport, View,
};

/// A turn under way, and its worker's output.
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

    fn emit(&mut self, world: &mut World, output: TurnOutput) {
        let output = Some(TurnOutput { seq: self.seq, ..output });
        self.seq += 1;
        let report = TurnReport { output, ..TurnReport::new(self.turn.clone(), self.epoch) };
        assert!(world.run(Command::Report(Box::new(report))));
    }

    /// Asks a question, and is answered.
    fn ask(&mut self, world: &mut World, name: &str, question: &str, answer: &str) {
        let (interaction, kind) = (InteractionId::parse(name).unwrap(), KindName::parse("text"));
        let (question, kind) = (text(question), kind.unwrap());
        let ask = Ask {
            interaction: interaction.clone(),
            kind,
            question,
            deadline_ms: None,
            role: Role::Participant,
        };
        self.emit(world, TurnOutput { ask: vec![ask], ..TurnOutput::default() });
        let (content, role) = (text(answer), Role::Controller);
        let answer = Answer { role, ..Answer::new(interaction, content) };
        assert!(world.run(Command::Answer(Box::new(answer))));
    }
}

fn chunk(json: &str) -> NewEvent {
    let format = Format::parse("ai-sdk/1").unwrap();
    NewEvent { format, payload: json.as_bytes().to_vec().into() }
}

/// A call, or what came of it.
fn call(step: &str, result: Option<&str>) -> TurnOutput {
    let json = match result {
        None => {
            r#"{"type":"tool-input-available","toolCallId":"k","toolName":"t","input":{}}"#.into()
        }
        Some(result) => {
            format!(r#"{{"type":"tool-output-available","toolCallId":"k","output":"{result}"}}"#)
        }
    };
    TurnOutput {
        step: StepName::parse(step).ok(),
        events: vec![chunk(&json)],
        ..TurnOutput::default()
    }
}

fn step(name: &str, words: &str) -> TurnOutput {
    TurnOutput {
        step: StepName::parse(name).ok(),
        events: vec![text(words)],
        ..TurnOutput::default()
    }
}

/// So many KiB.
fn large(kib: usize) -> String {
    "y".repeat(kib << 10)
}

#[test]
fn what_was_superseded_does_not_end_the_history() {
    let mut world = World::new();
    let mut turn = Turn::begin(&mut world, 0);
    turn.emit(&mut world, step("x", &large(200)));
    turn.emit(&mut world, step("y", &large(100)));
    let internal = TurnOutput { internal: true, ..step("y", "a draft") };
    turn.emit(&mut world, TurnOutput { rewind: true, ..internal });
    let status = world.status();
    let mut log = Log::of(&world.log);
    let page = block(newest(&mut log, &status, 10, (Visibility::Public, View::default()))).unwrap();
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
fn a_name_that_no_turn_has_is_not_looked_for_in_the_whole_log() {
    let mut world = World::new();
    let mut names = Vec::new();
    while world.log.iter().map(|event| event.payload.len()).sum::<usize>() < 3 * MESSAGES_READ_BYTES
    {
        let mut turn = Turn::begin(&mut world, 0);
        turn.emit(
            &mut world,
            TurnOutput { events: vec![text(&large(200))], ..TurnOutput::default() },
        );
        turn.emit(&mut world, TurnOutput { then: Then::Complete, ..TurnOutput::default() });
        names.push(turn.turn);
    }
    let status = world.status();
    // How many requests there are, and the last answer.
    let ask = |name: &TurnId| {
        let (mut before, mut questions) = (None, 0);
        loop {
            let mut log = Log::of(&world.log);
            questions += 1;
            let found = block(end_of(&mut log, &status, name, before)).unwrap();
            let room = MESSAGES_READ_BYTES * 2;
            assert!(log.bytes <= room, "{} bytes were read", log.bytes);
            match found {
                Found::NotSince(place) => {
                    assert!(before.is_none_or(|before| place < before), "it gets on");
                    before = Some(place);
                }
                found => return (questions, matches!(found, Found::Ended(_))),
            }
        }
    };
    assert_eq!(ask(names.last().unwrap()), (1, true));
    let (questions, found) = ask(&names[0]);
    assert!(found && (2..=6).contains(&questions), "the oldest is found by request {questions}");
    let (questions, found) = ask(&TurnId::parse("none").unwrap());
    assert!(!found && (2..=6).contains(&questions), "{questions}");
}

#[test]
fn what_is_left_of_trimmed_messages_is_told_once() {
    let mut world = World::new();
    let (mut one, mut two) = (Turn::begin(&mut world, 0), Turn::begin(&mut world, 1));
    for words in ["a", &large(200)] {
        one.emit(&mut world, TurnOutput { events: vec![text(words)], ..TurnOutput::default() });
        two.emit(&mut world, TurnOutput { events: vec![text(words)], ..TurnOutput::default() });
    }
    let ids = [world.status().tail.0 - 3, world.status().tail.0 - 2].map(Serial);
    world.run(Command::Trim { before: ids[1].next() });
    let (status, visibility) = (world.status(), Visibility::All);
    for side in [Side::Newer, Side::Older] {
        let listed = paged(&world.log, &status, side, 10, visibility).unwrap();
        assert_eq!(listed.keys().copied().collect::<Vec<_>>(), ids, "{side:?}");
    }
    for (place, expected) in [(ids[0], &ids[1..]), (ids[1], &[])] {
        let request =
            PageRequest { side: Side::Newer, place, limit: 10, visibility, view: View::default() };
        let page = block(read(&mut Log::of(&world.log), &status, request)).unwrap();
        let listed: Vec<_> = page.messages.iter().map(|(id, _)| *id).collect();
        assert_eq!(listed, expected, "after {place}");
    }
}

#[test]
fn a_message_with_many_questions_leaves_out_words_and_says_so() {
    let mut world = World::new();
    let mut turn = Turn::begin(&mut world, 0);
    for at in 0..10 {
        turn.ask(&mut world, &format!("q{at}"), &large(100), &large(100));
    }
    let (status, mut log) = (world.status(), Log::of(&world.log));
    let page = block(newest(&mut log, &status, 10, (Visibility::All, View::default()))).unwrap();
    let (_, message) = page.messages.last().unwrap();
    let json = message.to_string();
    assert!(json.len() < MESSAGES_BYTES + (64 << 10), "{} bytes", json.len());
    let questions = Object::parse(&json).unwrap();
    let questions = questions.objects("questions");
    let listed =
        |name: &str| questions.iter().filter(|questions| questions.get(name).is_some()).count();
    let counts = ["interaction", "serial", "answered", "question", "answer"].map(listed);
    assert_eq!(counts, [10, 10, 10, 1, 1]);
}

#[test]
fn a_message_has_as_many_questions_as_there_is_room_for() {
    let mut world = World::new();
    let mut turn = Turn::begin(&mut world, 0);
    for at in 0..MESSAGES_QUESTIONS + 6 {
        turn.ask(&mut world, &format!("q{at}"), "?", "!");
    }
    let (status, mut log) = (world.status(), Log::of(&world.log));
    let page = block(newest(&mut log, &status, 10, (Visibility::All, View::default()))).unwrap();
    let message = page.messages.last().unwrap().1.to_string();
    let message = Object::parse(&message).unwrap();
    assert_eq!(message.number("questions_cut"), Some(6));
    let questions = message.objects("questions");
    assert_eq!(questions.len(), MESSAGES_QUESTIONS);
    assert_eq!(questions[0].text("interaction").as_deref(), Some("q6"));
}

#[test]
fn a_message_is_told_the_results_that_it_has_room_for_on_every_page() {
    let mut world = World::new();
    let mut turns = [Turn::begin(&mut world, 0), Turn::begin(&mut world, 1)];
    for turn in &mut turns {
        turn.emit(&mut world, call("x", None));
    }
    let calls = world.status().tail;
    for turn in &mut turns {
        turn.emit(&mut world, call("y", Some(&large(254))));
        turn.emit(&mut world, call("z", Some(&large(3))));
    }
    let (status, visibility) = (world.status(), Visibility::All);
    let request = PageRequest {
        side: Side::Older,
        place: calls.next(),
        limit: 10,
        visibility,
        view: View::default(),
    };
    let page = block(read(&mut Log::of(&world.log), &status, request)).unwrap();
    assert_eq!(page.messages.len(), 4);
    for (id, message) in &page.messages[2..] {
        let message = message.to_string();
        assert!(message.contains(r#""state":"output""#), "{id} of {}", page.messages.len());
        let alone = block(one(&mut Log::of(&world.log), &status, *id, visibility)).unwrap();
        assert_eq!(alone.unwrap().to_string(), message);
    }
}

#[test]
fn what_is_internal_ends_the_message_before_it_for_everyone() {
    let mut world = World::new();
    let mut turn = Turn::begin(&mut world, 0);
    turn.emit(&mut world, TurnOutput { events: vec![text("a")], ..TurnOutput::default() });
    let id = world.status().tail;
    let internal = TurnOutput { events: vec![text("b")], internal: true, ..TurnOutput::default() };
    turn.emit(&mut world, internal);
    let status = world.status();
    for visibility in [Visibility::All, Visibility::Public] {
        for limit in [1, 10] {
            let listed = paged(&world.log, &status, Side::Newer, limit, visibility).unwrap();
            let message = Object::parse(&listed[&id]).unwrap();
            assert!(message.is_true("complete"), "{visibility:?}, {limit} a page");
        }
    }
}

#[test]
fn others_have_their_turn_between_two_messages() {
    let mut world = World::new();
    for agent in 0..20 {
        world.input(agent, 0, false);
    }
    let (status, mut log) = (world.status(), Log::of(&world.log));
    let mut reading = pin!(newest(&mut log, &status, 100, (Visibility::All, View::default())));
    let mut context = Context::from_waker(Waker::noop());
    let waits = (0..).take_while(|_| reading.as_mut().poll(&mut context).is_pending()).count();
    assert!(20 <= waits, "it waits {waits} times");
}

#[test]
fn of_a_message_that_is_too_long_to_be_read_the_end_is_told() {
    let mut world = World::new();
    let mut turn = Turn::begin(&mut world, 0);
    let (size, count) = (250 << 10, 300);
    for _ in 0..count {
        turn.emit(
            &mut world,
            TurnOutput { events: vec![text(&"y".repeat(size))], ..TurnOutput::default() },
        );
    }
    let id = world.status().message;
    turn.emit(&mut world, TurnOutput { events: vec![text("the end")], ..TurnOutput::default() });
    let visibility = Visibility::All;
    let check = |world: &World, place: Serial| {
        let (status, mut log) = (world.status(), Log::of(&world.log));
        let request =
            PageRequest { side: Side::Older, place, limit: 10, visibility, view: View::default() };
        let page = block(read(&mut log, &status, request)).unwrap();
        assert!(log.bytes <= 2 * MESSAGES_READ_BYTES, "{} bytes were read", log.bytes);
        assert_eq!(page.older, Some(id));
        let (first, message) = &page.messages[0];
        assert_eq!(*first, id);
        let json = message.to_string();
        let message = Object::parse(&json).unwrap();
        let (listed, cut) = (message.text("text").unwrap(), message.number("cut").unwrap());
        assert!(listed.ends_with("ythe end"), "the end is listed");
        assert_eq!(listed.len() as u64 + cut, (size * count) as u64 + 7);
        let mut log = Log::of(&world.log);
        let alone = block(one(&mut log, &status, id, visibility)).unwrap();
        assert!(log.bytes <= 2 * MESSAGES_READ_BYTES, "{} bytes were read", log.bytes);
        assert!(alone.unwrap().to_string() == json, "alone it is the same");
    };
    check(&world, world.status().tail.next());
    // Where something follows, it is on the page before that.
    let place = world.status().tail.next();
    world.input(1, 0, false);
    check(&world, place);
    let status = world.status();
    for side in [Side::Older, Side::Newer] {
        let listed = paged(&world.log, &status, side, 10, visibility).unwrap();
        let ids: Vec<_> = listed.keys().copied().collect();
        assert_eq!(ids, [Serial(id.0 - 2), id, place], "{side:?}");
    }
}
