//! What a session answers, told as scripts: each line is a command, its answer and the events it left.

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
        Applied::Held { at, until } => format!("held up to {at}, to begin before {until}"),
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
    let mut told = Script::new();
    script(&mut told);
    expected.assert_eq(&told.shown);
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
fn a_retry_is_answered_as_the_first_time() {
    check(
        |s| {
            s.create();
            s.append_by("p:0:0", "a b");
            s.append_by("q:7:0", "x");
            s.append_by("p:0:1", "c");
            s.append_by("p:0:0", "a b");
            s.append_by("p:0:1", "another body");
            s.append_by("q:7:0", "x");
            s.append_by("p:0:2", "d");
        },
        expect![[r#"
            create: created as 1
            p:0:0 append a b: #1 to #2
              #1 a at 1000 ms
              #2 b at 1000 ms
            q:7:0 append x: #3 to #3
              #3 x at 1000 ms
            p:0:1 append c: #4 to #4
              #4 c at 1000 ms
            p:0:0 append a b: #1 to #2, duplicate
            p:0:1 append another body: #4 to #4, duplicate
            q:7:0 append x: #3 to #3, duplicate
            p:0:2 append d: #5 to #5
              #5 d at 1000 ms
        "#]],
    );
}

#[test]
fn a_producer_counts_from_zero_without_a_hole_and_epochs_only_grow() {
    check(
        |s| {
            s.create();
            s.append_by("p:3:1", "a");
            s.append_by("p:3:0", "a");
            s.append_by("p:3:2", "c");
            s.append_by("p:2:0", "zombie");
            s.append_by("p:2:9", "zombie");
            s.append_by("p:4:1", "d");
            s.append_by("p:4:0", "d");
            s.append_by("p:3:0", "a");
            s.append_by("p:4:0", "d");
        },
        expect![[r#"
            create: created as 1
            p:3:1 append a: sequence_gap: seq 0 comes next, not 1
            p:3:0 append a: #1 to #1
              #1 a at 1000 ms
            p:3:2 append c: sequence_gap: seq 1 comes next, not 2
            p:2:0 append zombie: stale_epoch: producer p is at epoch 3; 2 is stale
            p:2:9 append zombie: stale_epoch: producer p is at epoch 3; 2 is stale
            p:4:1 append d: epoch_must_start_at_zero: a new epoch begins with seq 0, not 1
            p:4:0 append d: #2 to #2
              #2 d at 1000 ms
            p:3:0 append a: stale_epoch: producer p is at epoch 4; 3 is stale
            p:4:0 append d: #2 to #2, duplicate
        "#]],
    );
}

#[test]
fn each_event_of_a_range_is_a_request_and_a_known_beginning_is_all_that_is_answered() {
    check(
        |s| {
            s.create();
            s.append_each_by("p:0:1", "b");
            s.append_each_by("p:0:0", "a b c");
            s.append_by("p:0:1", "again");
            s.append("other");
            s.append_each_by("p:0:1", "b c");
            s.append_each_by("p:0:2", "c d e");
            s.append_each_by("p:0:3", "d e");
            s.append_each_by("p:0:0", "a b c d e");
            s.append_each_by("p:0:6", "g h");
            s.append_each_by("p:1:1", "b");
            s.append_each_by("p:1:0", "A");
            s.append_each_by("p:0:5", "f");
            s.append_each_by("p:1:1", "");
            s.close();
            s.append_each_by("p:1:0", "A B");
            s.append_each_by("p:1:1", "B");
        },
        expect![[r#"
            create: created as 1
            p:0:1 append each b: sequence_gap: seq 0 comes next, not 1
            p:0:0 append each a b c: #1 to #3
              #1 a at 1000 ms
              #2 b at 1000 ms
              #3 c at 1000 ms
            p:0:1 append again: #2 to #2, duplicate
            append other: #4 to #4
              #4 other at 1000 ms
            p:0:1 append each b c: #2 to #3, duplicate
            p:0:2 append each c d e: #3 to #3, duplicate
            p:0:3 append each d e: #5 to #6
              #5 d at 1000 ms
              #6 e at 1000 ms
            p:0:0 append each a b c d e: #1 to #6, duplicate
            p:0:6 append each g h: sequence_gap: seq 5 comes next, not 6
            p:1:1 append each b: epoch_must_start_at_zero: a new epoch begins with seq 0, not 1
            p:1:0 append each A: #7 to #7
              #7 A at 1000 ms
            p:0:5 append each f: stale_epoch: producer p is at epoch 1; 0 is stale
            p:1:1 append each : no_events: the append carries no event
            close: closed at #7
            p:1:0 append each A B: #7 to #7, duplicate
            p:1:1 append each B: closed: the session was closed at #7
        "#]],
    );
}

#[test]
fn a_closed_session_still_answers_retries_and_nothing_else() {
    check(
        |s| {
            s.create();
            s.append_by("p:1:0", "a");
            s.append_and_close_by("p:1:1", "b");
            s.append_and_close_by("p:1:1", "b");
            s.append_by("p:1:0", "a");
            s.append_by("p:1:2", "c");
            s.append_by("p:1:5", "gap");
            s.append_by("p:0:0", "zombie");
            s.append_by("new:0:0", "c");
            s.append("c");
            s.append_behind(0, "c");
            s.close();
            s.close_by("p:1:2");
            s.close_by("p:0:0");
        },
        expect![[r#"
            create: created as 1
            p:1:0 append a: #1 to #1
              #1 a at 1000 ms
            p:1:1 append b and close: #2 to #2, closed
              #2 b at 1000 ms
            p:1:1 append b and close: #2 to #2, duplicate, closed
            p:1:0 append a: #1 to #1, duplicate
            p:1:2 append c: closed: the session was closed at #2
            p:1:5 append gap: sequence_gap: seq 2 comes next, not 5
            p:0:0 append zombie: stale_epoch: producer p is at epoch 1; 0 is stale
            new:0:0 append c: closed: the session was closed at #2
            append c: closed: the session was closed at #2
            append c after #0: closed: the session was closed at #2
            close: closed at #2, duplicate
            p:1:2 close: closed at #2, duplicate
            p:0:0 close: stale_epoch: producer p is at epoch 1; 0 is stale
        "#]],
    );
}

#[test]
fn a_close_is_a_request_like_others_and_leaves_no_event() {
    check(
        |s| {
            s.close();
            s.create();
            s.append_by("p:0:0", "a");
            s.close_by("p:0:5");
            s.close_by("p:0:0");
            s.close_by("p:0:1");
            s.close_by("p:0:1");
            s.append_by("p:0:1", "a retry with a body");
            s.append_by("p:0:2", "b");
            s.create();
        },
        expect![[r#"
            close: not_found: the session does not exist
            create: created as 1
            p:0:0 append a: #1 to #1
              #1 a at 1000 ms
            p:0:5 close: sequence_gap: seq 1 comes next, not 5
            p:0:0 close: #1 to #1, duplicate
            p:0:1 close: closed at #1
            p:0:1 close: closed at #1, duplicate
            p:0:1 append a retry with a body: closed at #1, duplicate
            p:0:2 append b: closed: the session was closed at #1
            create: exists as 1
        "#]],
    );
}

#[test]
fn a_retry_from_long_ago_is_still_a_duplicate() {
    check(
        |s| {
            s.create();
            for seq in 0..=64 {
                s.append_by(&format!("p:0:{seq}"), "a");
                s.append("b");
            }
            s.shown.clear();
            s.append_by("p:0:0", "a");
            s.append_by("p:0:1", "a");
        },
        expect![[r#"
            p:0:0 append a: place forgotten, duplicate
            p:0:1 append a: #3 to #3, duplicate
        "#]],
    );
}

#[test]
fn an_append_can_insist_on_its_place() {
    check(
        |s| {
            s.create();
            s.append_behind(0, "a b");
            s.append_behind(0, "lost the race");
            s.append_behind(2, "c");
            s.append_behind(9, "from the future");
        },
        expect![[r#"
            create: created as 1
            append a b after #0: #1 to #2
              #1 a at 1000 ms
              #2 b at 1000 ms
            append lost the race after #0: serial_mismatch: the log ends at #2, not at #0
            append c after #2: #3 to #3
              #3 c at 1000 ms
            append from the future after #9: serial_mismatch: the log ends at #3, not at #9
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
            delete: 1 deleted, Asked
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

fn held(fork: &str, key: u64, at: Option<u64>) -> Command {
    let fork = SessionId::parse(fork).unwrap();
    Command::Hold { fork, key, at: at.map(Serial), content_type: None }
}

fn released(fork: &str, key: u64) -> Command {
    Command::Release { fork: SessionId::parse(fork).unwrap(), key }
}

fn fork_of(source: &str, at: u64, until: u64) -> Create {
    let (incarnation, at) = (Incarnation(3), Serial(at));
    let source = SessionId::parse(source).unwrap();
    let fork = Fork { source, incarnation, root: incarnation, at, anchor: at, sub: 0, key: 7 };
    let fork = Some(ForkRequest { fork, anchored: true, until: Millis(until) });
    Create { fork, ..Create::default() }
}

#[test]
fn a_source_that_has_forks_is_kept_until_the_last_of_them_lets_go() {
    check(
        |s| {
            s.create();
            s.append("a b");
            s.run("fork at 3", held("f", 1, Some(3)));
            s.run("fork", held("f", 1, None));
            s.run("fork again", held("f", 1, None));
            s.run("fork at 1", held("g", 2, Some(1)));
            s.run("delete", Command::Delete { incarnation: None });
            s.show_log();
            s.append("c");
            s.touch();
            s.create();
            s.run("delete", Command::Delete { incarnation: None });
            s.run("fork", held("h", 3, None));
            s.tick();
            s.run("release f for another", released("f", 9));
            s.run("release f", released("f", 1));
            s.run("release f again", released("f", 1));
            s.run("release g", released("g", 2));
            s.create();
        },
        expect![[r#"
            create: created as 1
            append a b: #1 to #2
              #1 a at 1000 ms
              #2 b at 1000 ms
            fork at 3: fork_beyond_tail: the log ends at #2; it cannot be forked at #3
            fork: held up to #2, to begin before 121000 ms
            fork again: held up to #2, to begin before 121000 ms
            fork at 1: held up to #1, to begin before 121000 ms
            delete: 1 deleted, Asked
            log: #1 to #2, 2 bytes
            append c: gone: the session was deleted; its log is kept for its forks alone
            touch: gone: the session was deleted; its log is kept for its forks alone
            create: gone: the session was deleted; its log is kept for its forks alone
            delete: gone: the session was deleted; its log is kept for its forks alone
            fork: gone: the session was deleted; its log is kept for its forks alone
            tick: unchanged
            release f for another: settled
            release f: settled
            release f again: settled
            release g: 1 deleted, Asked
            create: created as 2
        "#]],
    );
}

#[test]
fn a_fork_goes_on_where_its_source_was_and_owes_it_the_end() {
    check(
        |s| {
            s.run("too late", fork_of("a", 4, 1_000).into());
            s.run("fork", fork_of("a", 4, 1_001).into());
            s.run("fork again", fork_of("a", 4, 0).into());
            s.run("other place", fork_of("a", 5, 9_000).into());
            s.run("other source", fork_of("b", 4, 9_000).into());
            s.create();
            s.append("x");
            s.show_log();
            s.show_deadline();
            s.run("delete", Command::Delete { incarnation: None });
            s.show_deadline();
            assert_eq!(s.session.effects(s.time).len(), 1);
            s.create();
            s.append("y");
            let source = SessionId::parse("a").unwrap();
            s.run("settle", Command::Settle { source, key: 7 });
            s.show_deadline();
            assert_eq!(s.session.effects(s.time), []);
        },
        expect![[r#"
            too late: hold_ended: the hold on the source ended before the fork began
            fork: created as 1
            fork again: exists as 1
            other place: config_differs: the session exists with another configuration
            other source: config_differs: the session exists with another configuration
            create: config_differs: the session exists with another configuration
            append x: #5 to #5
              #5 x at 1000 ms
            log: #1 to #5, 1 bytes
            deadline: none
            delete: 1 deleted, Asked
            deadline: 1000 ms
            create: created as 2
            append y: #1 to #1
              #1 y at 1000 ms
            settle: settled
            deadline: none
        "#]],
    );
}

#[test]
fn a_hold_that_nobody_confirms_is_asked_about() {
    let mut s = Script::new();
    s.create();
    s.run("fork", held("f", 1, None));
    s.run("fork", held("g", 1, None));
    let confirm = |fork: &str| Command::Confirm { fork: SessionId::parse(fork).unwrap(), key: 1 };
    s.run("confirm", confirm("g"));
    s.wait(limits::HOLD_MS - 1);
    assert_eq!(s.session.effects(s.time), []);
    s.wait(1);
    assert_eq!(s.session.deadline(), Some(s.time));
    let fork = SessionId::parse("f").unwrap();
    assert_eq!(s.session.effects(s.time), [Effect::AskFork { fork, key: 1 }]);
    s.run("confirm", confirm("f"));
    assert_eq!(s.session.deadline(), None);
}

#[test]
fn a_log_keeps_to_its_content_type_and_to_the_order_of_its_writers() {
    let typed = |words: &str, content_type: &str| {
        let content_type = Some(ContentType::parse(content_type).unwrap());
        Command::Append(Append { content_type, ..append(words) })
    };
    let ordered = |words: &str, order: &str| {
        Command::Append(Append { order: Some(order.into()), ..append(words) })
    };
    check(
        |s| {
            let content_type = Some(ContentType::parse("Text/Plain; charset=utf-8").unwrap());
            s.create_with("create", Config { content_type, ..Config::default() });
            s.run("plain", typed("a", "text/plain"));
            s.run("html", typed("b", "text/html"));
            s.append("any");
            s.run("order 2", ordered("c", "2"));
            s.run("order 10", ordered("d", "10"));
            s.run("order 2", ordered("e", "2"));
            s.run("order long", ordered("f", &"9".repeat(257)));
            s.run("order 20", Command::Append(Append { close: true, ..append("g") }));
            s.run("closed comes first", typed("h", "text/html"));
        },
        expect![[r#"
            create: created as 1
            plain: #1 to #1
              #1 a at 1000 ms
            html: other_content_type: the log is made of Text/Plain; charset=utf-8
            append any: #2 to #2
              #2 any at 1000 ms
            order 2: #3 to #3
              #3 c at 1000 ms
            order 10: out_of_order: the order mark does not come after "2"
            order 2: out_of_order: the order mark does not come after "2"
            order long: order_too_long: the order mark has 257 bytes; the limit is 256
            order 20: #4 to #4, closed
              #4 g at 1000 ms
            closed comes first: closed: the session was closed at #4
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
            delete: 1 deleted, Asked
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
fn old_events_are_given_up_and_new_ones_never() {
    check(
        |s| {
            let retention = Retention { max_age_ms: Some(1_000), max_bytes: Some(64) };
            s.create_with("create", Config { retention, ..Config::default() });
            s.show_deadline();
            s.append("aaaaaaaaaa bbbbbbbbbb");
            s.wait(500);
            s.append("cccccccccc");
            s.show_deadline();
            s.wait(500);
            s.tick();
            s.show_log();
            s.wait(499);
            s.tick();
            s.append("d");
            s.wait(1);
            s.tick();
            s.show_log();
            s.append(&"x".repeat(80));
            s.append(&"y".repeat(63));
            s.show_log();
            s.append("z");
            s.show_log();
            s.wait(1_000);
            s.tick();
            s.show_log();
            s.append("e");
        },
        expect![[r#"
            create: created as 1
            deadline: none
            append aaaaaaaaaa bbbbbbbbbb: #1 to #2
              #1 aaaaaaaaaa at 1000 ms
              #2 bbbbbbbbbb at 1000 ms
            append cccccccccc: #3 to #3
              #3 cccccccccc at 1500 ms
            deadline: 2000 ms
            tick: begins at #3
            log: #3 to #3, 10 bytes
            tick: unchanged
            append d: #4 to #4
              #4 d at 2499 ms
            tick: begins at #4
            log: #4 to #4, 1 bytes
            append xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: #5 to #5
              #5 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx at 2500 ms
            append yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy: #6 to #6
              #6 yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy at 2500 ms
            log: #4 to #6, 144 bytes
            append z: #7 to #7
              #7 z at 2500 ms
            log: #6 to #7, 64 bytes
            tick: begins at #8
            log: #8 to #7, 0 bytes
            append e: #8 to #8
              #8 e at 3500 ms
        "#]],
    );
}

#[test]
fn a_trim_gives_up_exactly_what_it_names() {
    check(
        |s| {
            s.create();
            s.append("a bb ccc");
            s.trim(1);
            s.trim(3);
            s.show_log();
            s.trim(2);
            s.trim(99);
            s.show_log();
            s.append("d");
            s.show_log();
            s.close();
            s.trim(5);
        },
        expect![[r#"
            create: created as 1
            append a bb ccc: #1 to #3
              #1 a at 1000 ms
              #2 bb at 1000 ms
              #3 ccc at 1000 ms
            trim before #1: begins at #1
            trim before #3: begins at #3
            log: #3 to #3, 3 bytes
            trim before #2: begins at #3
            trim before #99: begins at #4
            log: #4 to #3, 0 bytes
            append d: #4 to #4
              #4 d at 1000 ms
            log: #4 to #4, 1 bytes
            close: closed at #4
            trim before #5: begins at #5
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
            delete: 1 deleted, Asked
            create: created as 2
            append c: #1 to #1
              #1 c at 1000 ms
        "#]],
    );
}

#[test]
fn an_append_beyond_a_limit_is_refused_whole() {
    check(
        |s| {
            s.create();
            s.append("");
            let of = |bytes: usize, count: usize| {
                let payload = Bytes::from(vec![b'x'; bytes]);
                let events = vec![NewEvent { format: Format::RAW, payload }; count];
                Command::Append(Append { events, ..Append::default() })
            };
            s.run("1001 events", of(1, limits::APPEND_EVENTS + 1));
            s.run("a large event", of(limits::EVENT_BYTES + 1, 1));
            s.run("a large append", of(limits::EVENT_BYTES, 4));
            let zero = Config { ttl_ms: Some(0), ..Config::default() };
            s.delete(None);
            s.create_with("create with ttl 0", zero);
        },
        expect![[r#"
            create: created as 1
            append : no_events: the append carries no event
            1001 events: too_many_events: the append carries 1001 events; the limit is 1000
            a large event: event_too_large: an event has 262145 bytes; the limit is 262144
            a large append: append_too_large: the append has 1048588 bytes; the limit is 983040
            delete: 1 deleted, Asked
            create with ttl 0: bad_config: the configuration cannot be kept: ttl_ms must be at least 1
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
