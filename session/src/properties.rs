//! What holds after any commands in any order (S1, S2, S6, S10, S11).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::stored::read_back;
use super::*;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::limits;

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::TEXT),
        Just(Format::JSON),
        Just(Format::parse("text/plain; charset=utf-8").unwrap()),
    ]
}

/// Small numbers, so that retries, gaps, stale and new epochs all happen.
fn origin() -> impl Strategy<Value = Origin> {
    (0..3_usize, 0..3_u64, 0..6_u64).prop_map(|(name, epoch, seq)| Origin {
        producer: ProducerId::parse(["a", "b", "c"][name]).unwrap(),
        epoch: ProducerEpoch(epoch),
        seq,
    })
}

pub(super) fn append() -> impl Strategy<Value = Append> {
    let payload = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let event = (format(), payload).prop_map(|(format, payload)| NewEvent { format, payload });
    (
        prop::collection::vec(event, 0..4),
        prop::option::weighted(0.8, origin()),
        prop::bool::weighted(0.03),
        prop::option::weighted(0.1, (0..20_u64).prop_map(Serial)),
    )
        .prop_map(|(events, producer, close, expect)| Append {
            events,
            producer,
            close,
            expect,
            content_type: None,
            order: None,
        })
}

pub(super) fn append_each() -> impl Strategy<Value = AppendEach> {
    let payload = prop::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    let event = payload.prop_map(|payload| NewEvent { format: Format::TEXT, payload });
    (prop::collection::vec(event, 0..5), origin()).prop_map(|(events, first)| AppendEach {
        events,
        first,
        content_type: None,
    })
}

fn config() -> impl Strategy<Value = Config> {
    (
        prop::option::weighted(0.5, 0..500_u64),
        prop::option::weighted(0.5, 0..200_u64),
        prop::option::weighted(0.3, 0..500_u64),
        prop::bool::ANY,
    )
        .prop_map(|(max_age_ms, max_bytes, ttl_ms, labelled)| Config {
            retention: Retention { max_age_ms, max_bytes },
            ttl_ms,
            expires_at: None,
            content_type: None,
            labels: labelled.then(|| ("a".to_owned(), "b".to_owned())).into_iter().collect(),
            policy: Policy::default(),
        })
}

fn name() -> impl Strategy<Value = SessionId> {
    prop_oneof![Just("f"), Just("g")].prop_map(|name| SessionId::parse(name).unwrap())
}

fn fork() -> impl Strategy<Value = ForkRequest> {
    (name(), 0..9_u64, 0..3_u64, 0..3_000_u64).prop_map(|(source, at, key, until)| {
        let (incarnation, at) = (Incarnation::FIRST, Serial(at));
        let fork = Fork { source, incarnation, root: incarnation, at, anchor: at, sub: 0, key };
        ForkRequest { fork, anchored: false, until: Millis(until), inherited: None }
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => config().prop_map(Command::from),
        20 => append().prop_map(Command::Append),
        10 => append_each().prop_map(|each| Command::AppendEach(Box::new(each))),
        1 => prop::option::of(origin()).prop_map(|producer| Command::Close { producer }),
        1 => prop::option::of((0..3_u32).prop_map(Incarnation))
            .prop_map(|incarnation| Command::Delete { incarnation }),
        1 => (name(), 0..3_u64, prop::option::of((0..20_u64).prop_map(Serial)))
            .prop_map(|(fork, key, at)| Command::Hold { fork, key, at, content_type: None }),
        1 => (name(), 0..3_u64).prop_map(|(fork, key)| Command::Confirm { fork, key }),
        1 => (name(), 0..3_u64).prop_map(|(fork, key)| Command::Release { fork, key }),
        1 => (name(), 0..3_u64).prop_map(|(source, key)| Command::Settle { source, key }),
        1 => (fork(), config()).prop_map(|(fork, config)| {
            Create { config, fork: Some(fork), ..Create::default() }.into()
        }),
        1 => Just(Command::Touch),
        2 => Just(Command::Tick),
        1 => (0..30_u64).prop_map(|before| Command::Trim { before: Serial(before) }),
    ]
}

/// Commands with the time at which each comes, which may run backwards.
fn script() -> impl Strategy<Value = Vec<(Millis, Command)>> {
    prop::collection::vec((-5_i64..60, command()), 1..80).prop_map(|steps| {
        let mut now = 1_000_i64;
        let timed = |(wait, command)| {
            now += wait;
            (Millis(now.unsigned_abs()), command)
        };
        steps.into_iter().map(timed).collect()
    })
}

fn created() -> Session {
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let command = Command::from(Config::default());
    session.apply(Millis(1_000), &command, &mut Vec::new()).unwrap();
    session
}

fn either() -> impl Strategy<Value = Session> {
    prop_oneof![Just(Session::absent(SessionId::parse("s").unwrap())), Just(created())]
}

/// The answer that a retry of a request answered so must get.
fn again(first: &Applied) -> Applied {
    match first.clone() {
        Applied::Appended { first, last, closed, seq, .. } => {
            Applied::Appended { first, last, duplicate: true, closed, seq }
        }
        Applied::Closed { tail, .. } => Applied::Closed { tail, duplicate: true, again: true },
        other => other,
    }
}

/// The newest request of the producer is another matter at another time.
fn without_seq(answer: Applied) -> Applied {
    match answer {
        Applied::Appended { first, last, duplicate, closed, .. } => {
            Applied::Appended { first, last, duplicate, closed, seq: None }
        }
        other => other,
    }
}

/// Whether an answer reports that nothing changed.
fn is_no_change(answer: &Result<Applied, Refusal>) -> bool {
    matches!(
        answer,
        Err(_)
            | Ok(Applied::Unchanged
                | Applied::Created { created: false, .. }
                | Applied::Appended { duplicate: true, .. }
                | Applied::Closed { duplicate: true, .. })
    )
}

fn producer_of(command: &Command) -> Option<Origin> {
    match command {
        Command::Append(append) => append.producer.clone(),
        Command::Close { producer } => producer.clone(),
        _ => None,
    }
}

/// The requests of a producer that a command makes, and what each of them is answered where the command is
/// answered so.
fn requests(command: &Command, answer: &Applied) -> Vec<(Origin, Applied)> {
    let Command::AppendEach(each) = command else {
        return producer_of(command).map(|origin| (origin, answer.clone())).into_iter().collect();
    };
    let Applied::Appended { first: Some(begin), duplicate: false, closed: false, .. } = *answer
    else {
        panic!("new events are answered by their places: {answer:?}");
    };
    let one = |number: u64| {
        let origin = Origin { seq: each.first.seq + number, ..each.first.clone() };
        let place = Some(Serial(begin.0 + number));
        let (first, last, seq) = (place, place, Some(origin.seq));
        (origin, Applied::Appended { first, last, duplicate: false, closed: false, seq })
    };
    (0..each.events.len() as u64).map(one).collect()
}

proptest! {
    #[test]
    fn a_log_is_dense_chained_and_in_time(mut session in either(), script in script()) {
        let mut log: Vec<Event> = Vec::new();
        let mut life = session.incarnation();
        let mut chain = Incarnation::FIRST;
        let mut base = 0;
        for (at, command) in script {
            let before = session.clone();
            let mut out = Vec::new();
            let answer = session.apply(at, &command, &mut out);
            if is_no_change(&answer) {
                prop_assert_eq!(&session, &before);
                prop_assert!(out.is_empty());
            }
            if session.incarnation() != life {
                life = session.incarnation();
                chain = life.unwrap();
                log.clear();
                base = session.kept().and_then(|live| live.fork.as_ref()).map_or(0, |fork| fork.at.0);
            }
            for event in &out {
                prop_assert_eq!(event.serial, Serial(base + log.len() as u64 + 1));
                let (link, time) = log.last().map_or(
                    (chain::start(session.id(), chain), Millis(0)),
                    |last| (last.chain, last.time),
                );
                prop_assert_eq!(event.chain, chain::next(link, event));
                prop_assert!(time <= event.time);
                log.push(event.clone());
            }
            if let Ok(Applied::Appended { first, last, duplicate: false, .. }) = answer {
                prop_assert_eq!(out.first().map(|event| event.serial), first);
                prop_assert_eq!(out.last().map(|event| event.serial), last);
            }
            if let Some(status) = session.status() {
                prop_assert_eq!(status.tail, Serial(base + log.len() as u64));
                prop_assert!(Serial::ZERO < status.first && status.first <= status.tail.next());
                let link = log.last().map(|last| last.chain);
                prop_assert_eq!(
                    status.chain,
                    link.unwrap_or(chain::start(session.id(), chain))
                );
                let held = &log[status.first.0.saturating_sub(base + 1) as usize..];
                let bytes: usize = held.iter().map(|event| event.payload.len()).sum();
                prop_assert!(bytes as u64 <= status.bytes);
                prop_assert!(session.kept().unwrap().log.marks.len() <= limits::MARKS);
                prop_assert!(before.first() <= status.first || before.incarnation() != life);
            }
        }
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_leaves_no_event(script in script()) {
        let mut session = created();
        let mut answers: BTreeMap<(Incarnation, String, ProducerEpoch, u64), Applied> = BTreeMap::new();
        let mut taken: BTreeSet<(String, ProducerEpoch, u64)> = BTreeSet::new();
        for (at, command) in script {
            let answer = session.apply(at, &command, &mut Vec::new());
            let life = session.incarnation().unwrap();
            if let Ok(applied) = &answer
                && !is_no_change(&answer)
            {
                for (origin, applied) in requests(&command, applied) {
                    let name = origin.producer.as_str().to_owned();
                    let is_new = taken.insert((name.clone(), origin.epoch, origin.seq));
                    prop_assert!(is_new, "one request took effect in two lives");
                    let known = answers.insert((life, name, origin.epoch, origin.seq), applied);
                    prop_assert_eq!(known, None, "one request took effect twice");
                }
            }
            // Every request of a current epoch can be repeated at any time while the session lives.
            let mut back = read_back(&session);
            for ((of, name, epoch, seq), first) in &answers {
                let producer = ProducerId::parse(name).unwrap();
                let origin = Origin { producer, epoch: *epoch, seq: *seq };
                let Some(live) = session.live() else { continue };
                let newest = answers
                    .keys()
                    .filter(|(life, other, ..)| life == of && other == name)
                    .map(|(_, _, epoch, _)| *epoch)
                    .max();
                if *of != live.incarnation
                    || live.expires_at().is_some_and(|end| end <= live.now(at))
                {
                    continue;
                }
                let retry =
                    Command::Append(Append { producer: Some(origin), ..Append::default() });
                let mut out = Vec::new();
                let second = back.apply(at, &retry, &mut out);
                if newest == Some(*epoch) {
                    prop_assert_eq!(second.map(without_seq), Ok(without_seq(again(first))));
                } else {
                    let is_stale = matches!(second, Err(Refusal::StaleEpoch { .. }));
                    prop_assert!(is_stale, "an old epoch is not stale");
                }
                prop_assert!(out.is_empty());
                prop_assert_eq!(&back, &session);
            }
        }
    }

    /// A writer that sends ranges of its lines, in whatever pieces, as often as it likes and from wherever.
    #[test]
    fn each_line_is_there_once_in_its_order_however_the_ranges_lie(
        ranges in prop::collection::vec((0..30_u64, 1..12_usize, 0..2_u64), 1..40),
        others in prop::collection::vec(prop::bool::weighted(0.2), 40),
    ) {
        let mut session = created();
        let producer = ProducerId::parse("p").unwrap();
        let (mut held, mut log) = (None::<(ProducerEpoch, u64)>, Vec::new());
        for ((seq, count, epoch), other) in ranges.into_iter().zip(others) {
            let epoch = ProducerEpoch(epoch);
            if other {
                let payload = Bytes::from_static(b"other");
                let events = vec![NewEvent { format: Format::TEXT, payload }];
                let append = Command::Append(Append { events, ..Append::default() });
                session.apply(Millis(1_000), &append, &mut log).unwrap();
            }
            let last = seq + count as u64 - 1;
            let line = |seq: u64| NewEvent {
                format: Format::TEXT,
                payload: Bytes::from(format!("{epoch} {seq}")),
            };
            let events: Vec<_> = (seq..=last).map(line).collect();
            let first = Origin { producer: producer.clone(), epoch, seq };
            let each = AppendEach { events, first, content_type: None };
            let mut out = Vec::new();
            let answer = session.apply(Millis(1_000), &Command::AppendEach(Box::new(each)), &mut out);
            let answer = answer.map(|applied| match applied {
                Applied::Appended { duplicate, seq, .. } => (duplicate, seq),
                other => panic!("{other:?}"),
            });
            let expected = match held {
                Some((newer, _)) if epoch < newer => Err(Refusal::StaleEpoch {
                    producer: producer.clone(),
                    given: epoch,
                    held: newer,
                }),
                Some((same, newest)) if epoch == same && seq <= newest => {
                    Ok((true, Some(last.min(newest))))
                }
                Some((same, newest)) if epoch == same && seq != newest + 1 => {
                    Err(Refusal::SequenceGap { expected: newest + 1, received: seq })
                }
                Some((same, _)) if epoch != same && seq != 0 => {
                    Err(Refusal::EpochMustStartAtZero { received: seq })
                }
                None if seq != 0 => Err(Refusal::SequenceGap { expected: 0, received: seq }),
                _ => Ok((false, Some(last))),
            };
            prop_assert_eq!(&answer, &expected);
            match answer {
                Ok((false, _)) => {
                    held = Some((epoch, last));
                    prop_assert_eq!(out.len(), count);
                }
                _ => prop_assert!(out.is_empty()),
            }
            log.extend(out);
        }
        for (at, event) in log.iter().enumerate() {
            prop_assert_eq!(event.serial.0, at as u64 + 1);
            if let Some(origin) = &event.origin {
                let wanted = format!("{} {}", origin.epoch, origin.seq);
                prop_assert_eq!(&event.payload, wanted.as_bytes());
            }
        }
        let seqs: Vec<_> = log
            .iter()
            .filter_map(|event| event.origin.as_ref())
            .map(|origin| (origin.epoch, origin.seq))
            .collect();
        let dense = seqs.windows(2).all(|pair| {
            pair[1] == (pair[0].0, pair[0].1 + 1) || (pair[0].0 < pair[1].0 && pair[1].1 == 0)
        });
        prop_assert!(dense, "{seqs:?}");
    }

    #[test]
    fn a_session_that_was_stored_goes_on_as_if_it_had_never_been(
        start in either(),
        script in script(),
    ) {
        let (mut warm, mut stored) = (start.clone(), start);
        for (at, command) in script {
            stored = read_back(&stored);
            prop_assert_eq!(&stored, &warm);
            let sent = read_back(&command);
            prop_assert_eq!(&sent, &command);
            let (mut out, mut out_again) = (Vec::new(), Vec::new());
            let answer = warm.apply(at, &command, &mut out);
            prop_assert_eq!(answer, stored.apply(at, &sent, &mut out_again));
            for event in &out {
                prop_assert_eq!(&read_back(event), event);
            }
            prop_assert_eq!(out, out_again);
        }
        prop_assert_eq!(warm, stored);
    }

    #[test]
    fn a_tick_has_an_effect_exactly_from_the_deadline_on(
        mut session in either(),
        script in script(),
    ) {
        for (at, command) in script {
            let _ = session.apply(at, &command, &mut Vec::new());
            let deadline = session.tick_at();
            let tick = |at| {
                let mut copy = session.clone();
                copy.apply(at, &Command::Tick, &mut Vec::new()).unwrap() != Applied::Unchanged
            };
            match deadline {
                Some(at) => {
                    prop_assert!(tick(at), "nothing was due at the deadline");
                    let clock = session.live().unwrap().clock;
                    prop_assert!(at <= clock || !tick(Millis(at.0 - 1)), "it was due earlier");
                }
                None => prop_assert!(!tick(Millis(u64::MAX)), "something was due"),
            }
        }
    }

    #[test]
    fn a_damaged_session_is_found_out_or_works(
        script in script(),
        field in 0..14_usize,
        value in prop_oneof![Just(0), 0..40_u64, Just(u64::MAX), any::<u64>()],
        later in script(),
    ) {
        let mut session = created();
        for (at, command) in script {
            let _ = session.apply(at, &command, &mut Vec::new());
        }
        if let Life::Live(live) = &mut session.life {
            damage(live, field, value);
        }
        if session.check().is_ok() {
            for (at, command) in later {
                let _ = session.apply(at, &command, &mut Vec::new());
                prop_assert_eq!(&read_back(&session), &session);
            }
        }
    }
}

fn damage(live: &mut Live, field: usize, value: u64) {
    let (log, producers) = (&mut live.log, &mut live.producers.all);
    let first_runs = producers.iter_mut().filter_map(|producer| producer.runs.first_mut());
    match field {
        0 => log.first = Serial(value),
        1 => log.tail = Serial(value),
        2 => log.total = value,
        3 => live.clock = Millis(value),
        4 => live.touched_at = Millis(value),
        5 => log.marks.iter_mut().take(1).for_each(|mark| mark.first = Serial(value)),
        6 => log.marks.iter_mut().take(2).for_each(|mark| mark.before = value),
        7 => log.marks.clear(),
        8 => producers.iter_mut().for_each(|producer| producer.seq = value),
        9 => first_runs.for_each(|run| run.seq = value),
        10 => first_runs.for_each(|run| run.serial = Serial(value)),
        11 => first_runs.for_each(|run| run.events = value as u32),
        12 => first_runs.for_each(|run| run.length = value as u32),
        _ => producers.iter_mut().for_each(|producer| producer.runs.clear()),
    }
}
