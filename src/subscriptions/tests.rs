//! What a subscription does, change by change.

use std::collections::BTreeMap;

use expect_test::expect;
use proptest::prelude::*;

use super::change::{Change, Token, kept};
use super::place::LogPosition;
use super::secret::{self, Keys};
use super::state::{Deliver, Plan, Refused, State};
use super::{Named, wake};
use crate::ids::{Incarnation, Millis};

const LEASE_MS: u64 = 1000;

fn plan(deliver: Deliver) -> Plan {
    let pattern = Some("e/*".to_owned());
    Plan { deliver, pattern, streams: Vec::new(), lease_ttl_ms: LEASE_MS, description: None }
}

fn pull() -> State {
    State::new(plan(Deliver::Pull("w".into())), "http://h".into(), Millis(0))
}

fn named() -> Named {
    Named { tenant: None, id: "s".into() }
}

fn token(text: &str) -> Token {
    secret::hash(text)
}

fn linked(paths: &[&str]) -> Change {
    let streams = paths.iter().map(|path| ((*path).to_owned(), None)).collect();
    Change::Linked { explicit: false, streams }
}

fn woken(generation: u64, streams: &[(&str, u64)]) -> Change {
    let streams = streams.iter().map(|(path, tail)| ((*path).to_owned(), LogPosition(1, *tail)));
    Change::Woken {
        wake: format!("w_{generation}"),
        generation,
        token: None,
        streams: streams.collect(),
    }
}

fn claimed(generation: u64, holder: &str) -> Change {
    Change::Claimed { generation, holder: holder.into(), token: token(holder) }
}

fn acked(generation: u64, tail: u64, done: bool) -> Change {
    Change::Acked { generation, acks: vec![("e/a".into(), LogPosition(1, tail))], done }
}

/// Applies changes at their times and returns which were refused, and why.
fn check(changes: &[(u64, Change)], wanted: &[(usize, Refused)]) -> State {
    let mut state = pull();
    let mut refused = Vec::new();
    for (at, (ms, change)) in changes.iter().enumerate() {
        let before = state.clone();
        if let Err(why) = state.apply(Millis(*ms), change) {
            assert_eq!(state, before, "a refusal changes nothing");
            refused.push((at, why));
        }
    }
    assert_eq!(refused, wanted);
    state
}

#[test]
fn one_holder_at_a_time_and_an_old_generation_does_nothing() {
    let state = check(
        &[
            (0, linked(&["e/a"])),
            (0, woken(1, &[("e/a", 3)])),
            (1, claimed(1, "first")),
            (2, claimed(1, "second")),
            (3, acked(1, 2, false)),
            (4, acked(1, 1, false)),
            (5, acked(1, 3, true)),
            (6, acked(1, 3, true)),
            (7, Change::Released { generation: 1 }),
            (8, woken(2, &[("e/a", 4)])),
            (9, acked(1, 4, true)),
        ],
        &[
            (3, Refused::Claimed { holder: "first".into(), generation: 1 }),
            (5, Refused::Offset("a later offset is acknowledged already")),
            (7, Refused::Fenced),
            (8, Refused::Fenced),
            (10, Refused::Fenced),
        ],
    );
    assert_eq!(state.links["e/a"].acked, Some(LogPosition(1, 3)));
    assert_eq!(state.past, [token("first")]);
}

#[test]
fn a_lease_ends_by_the_time_of_the_log_and_a_heartbeat_keeps_it() {
    let heartbeat = Change::Acked { generation: 1, acks: Vec::new(), done: false };
    let state = check(
        &[
            (0, linked(&["e/a"])),
            (0, woken(1, &[("e/a", 3)])),
            (10, claimed(1, "a")),
            (1000, heartbeat.clone()),
            (1999, woken(2, &[("e/a", 3)])),
            (2000, heartbeat),
            (2001, acked(1, 3, true)),
            (2001, woken(2, &[("e/a", 3)])),
            (2002, claimed(2, "b")),
        ],
        &[(4, Refused::Awake), (5, Refused::Fenced), (6, Refused::Fenced)],
    );
    assert_eq!((state.generation, state.links["e/a"].acked), (2, None));
}

#[test]
fn a_wake_that_nobody_was_told_of_stays_and_is_tried_again_later_and_later() {
    let failed = || Change::Failed { generation: 1 };
    let state = check(
        &[
            (0, linked(&["e/a"])),
            (0, woken(1, &[("e/a", 3)])),
            (50, failed()),
            (90_000, failed()),
            (90_001, woken(2, &[("e/a", 9)])),
        ],
        &[(4, Refused::Awake)],
    );
    assert_eq!((state.failures, state.retry_at), (2, Some(Millis(92_000))));
    let delivered = Change::Delivered { generation: 1, done: true };
    let state = check(
        &[
            (0, linked(&["e/a"])),
            (0, woken(1, &[("e/a", 3)])),
            (50, failed()),
            (60, delivered.clone()),
            (61, delivered),
        ],
        &[(4, Refused::Fenced)],
    );
    assert_eq!((state.failures, state.links["e/a"].acked), (0, Some(LogPosition(1, 3))));
}

#[test]
fn news_of_many_streams_make_one_wake_and_what_comes_meanwhile_the_next() {
    let keys = Keys::read(&secret::generate()).unwrap();
    let mut state = pull();
    let tails = |a, b| {
        BTreeMap::from([("e/a".into(), LogPosition(1, a)), ("e/b".into(), LogPosition(2, b))])
    };
    let apply = |state: &mut State, changes: &[Change]| {
        changes.iter().try_for_each(|change| state.apply(Millis(1), change)).unwrap();
    };
    assert_eq!(
        wake::awaken(&named(), &state, &BTreeMap::from([("x".into(), LogPosition(1, 1))]), &keys),
        []
    );
    let changes = wake::awaken(&named(), &state, &tails(2, 0), &keys);
    assert_eq!(changes.len(), 2, "both join, and one has news: {changes:?}");
    apply(&mut state, &changes);
    apply(&mut state, &[claimed(1, "a"), acked(1, 2, true)]);
    assert_eq!(wake::awaken(&named(), &state, &tails(2, 0), &keys), []);
    let changes = wake::awaken(&named(), &state, &tails(7, 1), &keys);
    let [Change::Woken { generation: 2, streams, .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(streams, &[("e/a".into(), LogPosition(1, 7)), ("e/b".into(), LogPosition(2, 1))]);
    // Another life of a stream is news from its first event on.
    assert!(
        LogPosition(3, 1).is_news(Some(LogPosition(2, 9)))
            && !LogPosition(3, 0).is_news(Some(LogPosition(2, 9)))
    );
}

#[test]
fn the_shapes_in_the_log_stay() {
    let life = Some(Incarnation(1));
    let shown = |change: &Change| {
        let event = change.event(life);
        assert_eq!(Change::read(&event.payload, Incarnation(1)).as_ref(), Some(change));
        assert_eq!(Change::read(&event.payload, Incarnation(2)), None);
        String::from_utf8(event.payload.to_vec()).unwrap() + "\n"
    };
    let hash = Token("h".into());
    let mut state = pull();
    for change in [linked(&["e/a"]), woken(1, &[("e/a", 3)]), claimed(1, "a")] {
        state.apply(Millis(5), &change).unwrap();
    }
    state.wake.as_mut().unwrap().token = Some(hash.clone());
    let plan = plan(Deliver::Webhook("http://u".into()));
    let mut all = vec![
        Change::Created { plan, base: "http://h".into() },
        linked(&["e/a"]),
        Change::Unlinked { streams: vec!["e/a".into()] },
        Change::Dropped { streams: vec!["e/a".into()] },
        woken(1, &[("e/a", 3)]),
        Change::Delivered { generation: 1, done: false },
        Change::Announced { generation: 1 },
        Change::Failed { generation: 1 },
        Change::Claimed { generation: 1, holder: "a".into(), token: hash },
        acked(1, 3, true),
        Change::Released { generation: 1 },
    ];
    all.extend(kept(&state, 1));
    expect![[r#"
        {"v":1,"life":1,"change":{"type":"created","plan":{"deliver":{"webhook":"http://u"},"pattern":"e/*","lease_ttl_ms":1000},"base":"http://h"}}
        {"v":1,"life":1,"change":{"type":"linked","explicit":false,"streams":[["e/a",null]]}}
        {"v":1,"life":1,"change":{"type":"unlinked","streams":["e/a"]}}
        {"v":1,"life":1,"change":{"type":"dropped","streams":["e/a"]}}
        {"v":1,"life":1,"change":{"type":"woken","wake":"w_1","generation":1,"streams":[["e/a",[1,3]]]}}
        {"v":1,"life":1,"change":{"type":"delivered","generation":1,"done":false}}
        {"v":1,"life":1,"change":{"type":"announced","generation":1}}
        {"v":1,"life":1,"change":{"type":"failed","generation":1}}
        {"v":1,"life":1,"change":{"type":"claimed","generation":1,"holder":"a","token":"h"}}
        {"v":1,"life":1,"change":{"type":"acked","generation":1,"acks":[["e/a",[1,3]]],"done":true}}
        {"v":1,"life":1,"change":{"type":"released","generation":1}}
        {"v":1,"life":1,"change":{"type":"kept","state":{"plan":{"deliver":{"pull":"w"},"pattern":"e/*","lease_ttl_ms":1000},"base":"http://h","created_at":0,"generation":1,"wake":{"id":"w_1","streams":{"e/a":[1,3]},"token":"h","holder":"a","delivered":true,"until":1005},"failures":0}}}
        {"v":1,"life":1,"change":{"type":"links","links":[["e/a",{"explicit":false,"acked":null}]]}}
    "#]]
    .assert_eq(&all.iter().map(shown).collect::<String>());
}

/// Any change, of a generation near the present one.
fn any_change() -> impl Strategy<Value = Change> {
    let (generation, tail) = (0..8_u64, 0..6_u64);
    (0..11, generation, tail, any::<bool>()).prop_map(|(kind, generation, tail, flag)| match kind {
        0 => linked(&["e/a", "e/b"]),
        1 => Change::Unlinked { streams: vec!["e/a".into()] },
        2 => Change::Delivered { generation, done: flag },
        3 => Change::Announced { generation },
        4 => Change::Failed { generation },
        5 => Change::Claimed { generation, holder: "a".into(), token: token("a") },
        6 => Change::Released { generation },
        7 | 8 => acked(generation, tail, flag),
        _ => woken(generation, &[("e/a", tail)]),
    })
}

proptest! {
    #[test]
    fn generations_grow_and_nothing_acknowledged_is_taken_back(
        changes in prop::collection::vec((0..600_u64, any_change()), 1..80),
    ) {
        let (mut state, mut now) = (pull(), 0);
        for (span, change) in changes {
            now += span;
            let before = state.clone();
            let outcome = state.apply(Millis(now), &change);
            prop_assert!(before.generation <= state.generation);
            prop_assert!(state.generation <= before.generation + 1);
            for (path, link) in &state.links {
                let was = before.links.get(path).and_then(|link| link.acked);
                prop_assert!(was <= link.acked, "{path}");
            }
            if outcome.is_err() {
                prop_assert_eq!(&before, &state);
            }
            if before.current(Millis(now)).is_some() && before.generation < state.generation {
                return Err(TestCaseError::fail("a wake was pushed aside"));
            }
            // A log that begins anew has the same content.
            let mut again = pull();
            for change in kept(&state, 1) {
                match change {
                    Change::Kept { state } => again = *state,
                    change => again.apply(Millis(now), &change).unwrap(),
                }
            }
            prop_assert_eq!(&again, &state);
        }
    }
}
