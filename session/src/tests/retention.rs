//! What a log gives up, by age, by size and by request.

use super::*;

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
