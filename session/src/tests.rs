//! What a session answers, as scripts: each line is a command, its answer and the events it left.

mod appends;
mod forks;
mod retention;

use std::fmt::Write;

use bytes::Bytes;
use expect_test::{Expect, expect};

use super::*;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::limits;

struct Script {
    session: Session,
    time: Millis,
    shown: String,
}

impl Script {
    fn new() -> Script {
        let id = SessionId::parse("s").unwrap();
        Script { session: Session::absent(id), time: Millis(1_000), shown: String::new() }
    }

    fn wait(&mut self, span_ms: u64) {
        self.time = self.time.after(span_ms);
    }

    fn run(&mut self, shown: &str, command: Command) {
        let before = self.session.clone();
        let mut events = Vec::new();
        let answer = self.session.apply(self.time, &command, &mut events);
        write!(self.shown, "{shown}: ").unwrap();
        match answer {
            Ok(applied) => writeln!(self.shown, "{}", show(&applied)).unwrap(),
            Err(refusal) => {
                assert_eq!(self.session, before, "a refusal changes nothing");
                writeln!(self.shown, "{}: {refusal}", refusal.code()).unwrap();
            }
        }
        for event in events {
            let text = String::from_utf8_lossy(&event.payload);
            writeln!(self.shown, "  {} {text} at {}", event.serial, event.time).unwrap();
        }
    }

    fn create(&mut self) {
        self.create_with("create", Config::default());
    }

    fn create_with(&mut self, shown: &str, config: Config) {
        self.run(shown, Command::from(config));
    }

    fn append(&mut self, words: &str) {
        self.run(&format!("append {words}"), Command::Append(append(words)));
    }

    fn append_by(&mut self, producer: &str, words: &str) {
        let append = Append { producer: Some(origin(producer)), ..append(words) };
        self.run(&format!("{producer} append {words}"), Command::Append(append));
    }

    fn append_each_by(&mut self, producer: &str, words: &str) {
        let (first, events) = (origin(producer), append(words).events);
        let each = AppendEach { events, first, content_type: None };
        self.run(&format!("{producer} append each {words}"), Command::AppendEach(Box::new(each)));
    }

    fn append_and_close_by(&mut self, producer: &str, words: &str) {
        let append = Append { producer: Some(origin(producer)), close: true, ..append(words) };
        self.run(&format!("{producer} append {words} and close"), Command::Append(append));
    }

    fn append_behind(&mut self, tail: u64, words: &str) {
        let append = Append { expect: Some(Serial(tail)), ..append(words) };
        self.run(&format!("append {words} after #{tail}"), Command::Append(append));
    }

    fn close(&mut self) {
        self.run("close", Command::Close { producer: None });
    }

    fn close_by(&mut self, producer: &str) {
        let command = Command::Close { producer: Some(origin(producer)) };
        self.run(&format!("{producer} close"), command);
    }

    fn delete(&mut self, incarnation: Option<u32>) {
        let incarnation = incarnation.map(Incarnation);
        self.run("delete", Command::Delete { incarnation });
    }

    fn tick(&mut self) {
        self.run("tick", Command::Tick);
    }

    fn touch(&mut self) {
        self.run("touch", Command::Touch);
    }

    fn trim(&mut self, before: u64) {
        self.run(&format!("trim before #{before}"), Command::Trim { before: Serial(before) });
    }

    fn show_deadline(&mut self) {
        let deadline = self.session.deadline();
        match deadline {
            Some(at) => writeln!(self.shown, "deadline: {at}").unwrap(),
            None => writeln!(self.shown, "deadline: none").unwrap(),
        }
    }

    fn show_log(&mut self) {
        let (first, tail) = (self.session.first(), self.session.tail());
        let bytes = self.session.status().map_or(0, |status| status.bytes);
        writeln!(self.shown, "log: {first} to {tail}, {bytes} bytes").unwrap();
    }
}

fn show(applied: &Applied) -> String {
    match applied {
        Applied::Created { incarnation, created: true, .. } => format!("created as {incarnation}"),
        Applied::Created { incarnation, created: false, .. } => format!("exists as {incarnation}"),
        Applied::Appended { first, last, duplicate, closed, .. } => {
            let place = match (first, last) {
                (Some(first), Some(last)) => format!("{first} to {last}"),
                _ => "place forgotten".to_owned(),
            };
            let duplicate = if *duplicate { ", duplicate" } else { "" };
            let closed = if *closed { ", closed" } else { "" };
            format!("{place}{duplicate}{closed}")
        }
        Applied::Closed { tail, duplicate, .. } => {
            format!("closed at {tail}{}", if *duplicate { ", duplicate" } else { "" })
        }
        Applied::Deleted { incarnation, reason } => format!("{incarnation} deleted, {reason:?}"),
        Applied::Touched { until: Some(until) } => format!("lives until {until}"),
        Applied::Touched { until: None } => "lives".to_owned(),
        Applied::Trimmed { first } => format!("begins at {first}"),
        Applied::Unchanged => "unchanged".to_owned(),
        Applied::Held { at, until, .. } => format!("held up to {at}, to begin before {until}"),
        Applied::Settled => "settled".to_owned(),
        other => unreachable!("{other:?} is about turns, which have tests of their own"),
    }
}

fn append(words: &str) -> Append {
    let new = |word: &str| NewEvent {
        format: Format::TEXT,
        payload: Bytes::copy_from_slice(word.as_bytes()),
    };
    Append { events: words.split_whitespace().map(new).collect(), ..Append::default() }
}

/// `name:epoch:seq`
fn origin(text: &str) -> Origin {
    let mut parts = text.split(':');
    let producer = ProducerId::parse(parts.next().unwrap()).unwrap();
    let mut number = || parts.next().unwrap().parse().unwrap();
    Origin { producer, epoch: ProducerEpoch(number()), seq: number() }
}

fn check(script: impl FnOnce(&mut Script), expected: Expect) {
    let mut rendered = Script::new();
    script(&mut rendered);
    expected.assert_eq(&rendered.shown);
}

#[test]
fn a_session_is_created_once_and_numbers_its_events() {
    check(
        |s| {
            s.append("early");
            s.create();
            s.wait(5);
            s.append("a b");
            s.create();
            s.create_with("create with ttl", Config { ttl_ms: Some(9), ..Config::default() });
            s.append("c");
        },
        expect![[r#"
            append early: not_found: the session does not exist
            create: created as 1
            append a b: #1 to #2
              #1 a at 1005 ms
              #2 b at 1005 ms
            create: exists as 1
            create with ttl: config_differs: the session exists with another configuration
            append c: #3 to #3
              #3 c at 1005 ms
        "#]],
    );
}

#[test]
fn a_deleted_session_comes_back_as_another() {
    check(
        |s| {
            s.delete(None);
            s.create();
            s.append_by("p:0:0", "a");
            s.delete(Some(2));
            s.delete(Some(1));
            s.append("b");
            s.delete(Some(1));
            s.tick();
            s.create();
            s.append_by("p:0:0", "a");
            s.append_by("p:1:0", "a");
            s.delete(Some(1));
        },
        expect![[r#"
            delete: not_found: the session does not exist
            create: created as 1
            p:0:0 append a: #1 to #1
              #1 a at 1000 ms
            delete: other_incarnation: the session is in its incarnation 1; 2 was meant
            delete: 1 deleted, Requested
            append b: not_found: the session does not exist
            delete: not_found: the session does not exist
            tick: unchanged
            create: created as 2
            p:0:0 append a: stale_epoch: producer p wrote in epoch 0 in an earlier life of the session; a greater one is next
            p:1:0 append a: #1 to #1
              #1 a at 1000 ms
            delete: other_incarnation: the session is in its incarnation 2; 1 was meant
        "#]],
    );
}

#[test]
fn a_session_nobody_touches_ends_on_time_with_or_without_a_tick() {
    check(
        |s| {
            let config = Config { ttl_ms: Some(100), ..Config::default() };
            s.create_with("create", config.clone());
            s.show_deadline();
            s.wait(99);
            s.tick();
            s.touch();
            s.wait(99);
            s.append("a");
            s.show_deadline();
            s.wait(100);
            s.append("late");
            s.touch();
            s.create_with("create", config);
            s.show_log();
            s.wait(100);
            s.tick();
            s.show_deadline();
        },
        expect![[r#"
            create: created as 1
            deadline: 1100 ms
            tick: unchanged
            touch: lives until 1199 ms
            append a: #1 to #1
              #1 a at 1198 ms
            deadline: 1298 ms
            append late: not_found: the session does not exist
            touch: not_found: the session does not exist
            create: created as 2
            log: #1 to #0, 0 bytes
            tick: 2 deleted, Expired
            deadline: none
        "#]],
    );
}

#[test]
fn a_session_may_begin_with_events_and_closed() {
    check(
        |s| {
            let Append { events, .. } = append("a b");
            let create = Create { events, close: true, ..Create::default() };
            s.run("create", create.clone().into());
            s.run("create", create.into());
            s.append("c");
            s.run("delete", Command::Delete { incarnation: None });
            let events = vec![append("x").events.remove(0); limits::APPEND_EVENTS + 1];
            s.run("create", Create { events, ..Create::default() }.into());
        },
        expect![[r#"
            create: created as 1
              #1 a at 1000 ms
              #2 b at 1000 ms
            create: exists as 1
            append c: closed: the session was closed at #2
            delete: 1 deleted, Requested
            create: too_many_events: the append carries 1001 events; the limit is 1000
        "#]],
    );
}

#[test]
fn a_time_of_expiry_holds_whoever_writes() {
    check(
        |s| {
            let config = Config { expires_at: Some(Millis(1_100)), ..Config::default() };
            s.create_with("create", config.clone());
            s.wait(99);
            s.append("a");
            s.touch();
            s.show_deadline();
            s.wait(1);
            s.append("b");
            s.tick();
            let both = Config { ttl_ms: Some(1), ..config };
            s.create_with("both", both);
        },
        expect![[r#"
            create: created as 1
            append a: #1 to #1
              #1 a at 1099 ms
            touch: lives until 1100 ms
            deadline: 1100 ms
            append b: not_found: the session does not exist
            tick: 1 deleted, Expired
            both: bad_config: the configuration cannot be kept: a time to live and a time of expiry exclude each other
        "#]],
    );
}

#[test]
fn the_time_of_events_never_runs_backwards() {
    check(
        |s| {
            s.create();
            s.append("a");
            s.time = Millis(900);
            s.append("b");
            s.delete(None);
            s.create();
            s.append("c");
        },
        expect![[r#"
            create: created as 1
            append a: #1 to #1
              #1 a at 1000 ms
            append b: #2 to #2
              #2 b at 1000 ms
            delete: 1 deleted, Requested
            create: created as 2
            append c: #1 to #1
              #1 c at 1000 ms
        "#]],
    );
}

#[test]
fn an_idle_session_is_small() {
    let config = Config { ttl_ms: Some(1), ..Config::default() };
    let id = SessionId::parse("s").unwrap();
    let mut session = Session::absent(id);
    let mut out = Vec::new();
    session.apply(Millis(0), &Command::from(config), &mut out).unwrap();
    let (run, mark) = (size_of::<producers::Run>(), size_of::<log::Mark>());
    let sizes = format!(
        "Session {}, Producer {}, Run {run}, Mark {mark}, Event {}, Command {}",
        size_of::<Session>(),
        size_of::<producers::Producer>(),
        size_of::<Event>(),
        size_of::<Command>(),
    );
    expect!["Session 128, Producer 64, Run 24, Mark 24, Event 136, Command 120"].assert_eq(&sizes);
}
