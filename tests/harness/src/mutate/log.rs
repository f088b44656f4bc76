//! Faults in the log itself: lost, doubled, moved, invented, or different on one replica.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::checker::Expectations;
use super::super::history::{Answer, Call, History, Kind, Producer, ReadMode, Record};
use super::{acked, appends, choose, finals, index, plant};

pub(super) fn lose(h: &History, e: &Expectations, rng: &mut StdRng, part: u8) -> Option<History> {
    let index = index(h, e);
    let all = acked(&index);
    let (session, _, _, serial, _) = choose(
        rng,
        all.into_iter().filter(|(session, incarnation, _, serial, _)| {
            let book = &index.books[&(*session, *incarnation)];
            let log = book.log.as_ref().expect("acked looks only at books with a log");
            match part {
                // A trim that was allowed would excuse the loss.
                0 => *serial == log.first && book.trimmable(u64::MAX) <= log.first,
                1 => log.first < *serial && *serial < log.tail,
                _ => *serial == log.tail,
            }
        }),
    )?;
    let mut history = h.clone();
    for (first, tail, records) in finals(&mut history, session) {
        records.retain(|record| record.serial != serial);
        match part {
            0 => *first = serial + 1,
            2 => *tail = serial - 1,
            _ => {}
        }
        if part == 1 {
            for record in records.iter_mut().filter(|record| serial < record.serial) {
                record.serial -= 1;
            }
            *tail -= 1;
        }
    }
    Some(history)
}

pub(super) fn duplicate(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, .., value) = choose(rng, acked(&index(h, e)))?;
    let mut history = h.clone();
    for (_, tail, records) in finals(&mut history, session) {
        *tail += 1;
        records.push(Record { serial: *tail, value: value.clone(), chain: None, fact: None });
    }
    Some(history)
}

fn one_replica(
    h: &History,
    rng: &mut StdRng,
    least: usize,
    change: impl FnOnce(&mut u64, &mut Vec<Record>, usize),
) -> Option<History> {
    let mut history = h.clone();
    let found = history.events.iter().enumerate().filter_map(|(line, event)| match &event.kind {
        Kind::Inv { op, session, call: Call::Read { mode: ReadMode::Final, .. }, .. } => {
            Some((line, *op, session.clone()))
        }
        _ => None,
    });
    let (_, op, _) = choose(
        rng,
        found.filter(|(_, wanted, _)| {
            h.events.iter().any(|event| {
                matches!(&event.kind, Kind::Ok { op, answer: Answer::Page { records, .. } }
                    if op == wanted && least <= records.len())
            })
        }),
    )?;
    let at = rng.random_range(0..least.max(1));
    for event in &mut history.events {
        if let Kind::Ok { op: this, answer: Answer::Page { tail: Some(tail), records, .. } } =
            &mut event.kind
            && *this == op
        {
            let place = at * (records.len() - 1) / least.max(1);
            change(tail, records, place);
            break;
        }
    }
    Some(history)
}

pub(super) fn diverge(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 2, |_, records, place| {
        let (a, b) = (records[place].value.clone(), records[place + 1].value.clone());
        (records[place].value, records[place + 1].value) = (b, a);
    })
}

pub(super) fn chain(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 1, |_, records, place| {
        records[place].chain = records[place].chain.map(|chain| chain ^ 1);
    })
}

pub(super) fn shorten(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 1, |tail, records, _| {
        records.pop();
        *tail -= 1;
    })
}

pub(super) fn hole(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 3, |_, records, place| {
        records.remove(place + 1);
    })
}

/// Swaps two appends, one wholly after the other, in everything that was ever shown.
pub(super) fn reorder(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let all = acked(&index);
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (a, b))).filter(|(a, b)| {
        (a.0, a.1) == (b.0, b.1) && index.ops[a.2].ret < index.ops[b.2].inv && a.3 < b.3
    });
    let (a, b) = choose(rng, pairs)?;
    let (a_line, b_line) = (index.ops[a.2].done_line, index.ops[b.2].done_line);
    let swap = |value: &mut String| {
        if *value == a.4 {
            value.clone_from(&b.4);
        } else if *value == b.4 {
            value.clone_from(&a.4);
        }
    };
    let mut history = h.clone();
    for (line, event) in history.events.iter_mut().enumerate() {
        match &mut event.kind {
            Kind::Deliver { record, .. } => swap(&mut record.value),
            Kind::Ok { answer: Answer::Page { records, .. }, .. } => {
                records.iter_mut().for_each(|record| swap(&mut record.value));
            }
            Kind::Ok { answer: Answer::Appended { first, last, .. }, .. } => {
                let serial = if line == a_line {
                    b.3
                } else if line == b_line {
                    a.3
                } else {
                    continue;
                };
                (*first, *last) = (serial, serial);
            }
            _ => {}
        }
    }
    Some(history)
}

pub(super) fn phantom(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, .., value) = choose(rng, acked(&index(h, e)))?;
    let mut history = h.clone();
    for (_, tail, records) in finals(&mut history, session) {
        if rng.random_bool(0.5) || records.is_empty() {
            *tail += 1;
            records.push(Record {
                serial: *tail,
                value: "phantom".to_owned(),
                chain: None,
                fact: None,
            });
        } else {
            for record in records.iter_mut().filter(|record| record.value == value) {
                record.value = "phantom".to_owned();
            }
        }
    }
    Some(history)
}

pub(super) fn zombie(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let mut places = Vec::new();
    for book in index.books.values().filter(|book| book.log.is_some()) {
        for producer in book.writes.iter().filter_map(|&write| index.writes[write].producer) {
            if 0 < producer.epoch {
                places.push((book.session, book.incarnation, producer.clone()));
            }
        }
    }
    let (session, incarnation, newer) = choose(rng, places)?;
    let serial = index.books[&(session, incarnation)].log.as_ref()?.tail + 1;
    let old = Producer { id: newer.id, epoch: newer.epoch - 1, seq: 77 };
    let begin = h.events.iter().position(|event| {
        matches!(&event.kind, Kind::Inv { call: Call::Read { mode: ReadMode::Final, .. }, .. })
    })?;
    let mut history = h.clone();
    for (_, tail, records) in finals(&mut history, session) {
        *tail += 1;
        records.push(Record { serial, value: "zombie".to_owned(), chain: None, fact: None });
    }
    let answer = Answer::Appended { incarnation, first: serial, last: serial };
    let call = appends("zombie", Some(old));
    plant(&mut history, begin, session, incarnation, call, Some(answer));
    Some(history)
}

/// The session comes back under a new number although it was not deleted.
pub(super) fn undeleted(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let deleted =
        h.events.iter().any(|event| matches!(&event.kind, Kind::Inv { call: Call::Delete, .. }));
    let last = h.events.iter().filter_map(|event| match &event.kind {
        Kind::Inv { session, .. } => Some(session.as_str()),
        _ => None,
    });
    let session = choose(rng, last)?;
    if deleted {
        return None;
    }
    let mut history = h.clone();
    let end = h.events.len();
    let answer = Answer::Tail { incarnation: 2, tail: 0 };
    plant(&mut history, end, session, 2, Call::Tail, Some(answer));
    Some(history)
}
