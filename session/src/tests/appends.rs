//! Appends: retries, producers, order and size.

use super::*;

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
            order 10: stream_seq_conflict: the stream seq does not come after "2"
            order 2: stream_seq_conflict: the stream seq does not come after "2"
            order long: stream_seq_too_long: the stream seq has 257 bytes; the limit is 256
            order 20: #4 to #4, closed
              #4 g at 1000 ms
            closed comes first: closed: the session was closed at #4
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
            delete: 1 deleted, Requested
            create with ttl 0: bad_config: the configuration cannot be kept: ttl_ms must be at least 1
        "#]],
    );
}
