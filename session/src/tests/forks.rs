//! Forks: how they begin, and what holds them to their source.

use super::*;

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
    let fork = Some(ForkRequest { fork, anchored: true, until: Millis(until), inherited: None });
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
            fork at 3: fork_offset_out_of_range: the log ends at #2; it cannot be forked at #3
            fork: held up to #2, to begin before 121000 ms
            fork again: held up to #2, to begin before 121000 ms
            fork at 1: held up to #1, to begin before 121000 ms
            delete: 1 deleted, Requested
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
            release g: 1 deleted, Requested
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
            too late: fork_expired: the hold on the source ended before the fork began
            fork: created as 1
            fork again: exists as 1
            other place: config_differs: the session exists with another configuration
            other source: config_differs: the session exists with another configuration
            create: config_differs: the session exists with another configuration
            append x: #5 to #5
              #5 x at 1000 ms
            log: #1 to #5, 1 bytes
            deadline: none
            delete: 1 deleted, Requested
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
