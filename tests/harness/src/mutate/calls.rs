//! Faults in what callers are answered: stale, premature, contradictory, or never.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::checker::Expectations;
use super::super::checker::index::{Op, Outcome};
use super::super::history::{Answer, Call, History, Kind, ReadMode};
use super::{acked, choose, index, plant, reported_tail, retell};
use rand::seq::IndexedRandom;

pub(super) fn page_hole(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let line = choose(
        rng,
        index.ops.iter().filter_map(|op| match (op.call, op.answer()) {
            (Call::Read { mode, .. }, Some(Answer::Page { records, .. }))
                if *mode != ReadMode::Final && 3 <= records.len() =>
            {
                Some(op.done_line)
            }
            _ => None,
        }),
    )?;
    let mut history = h.clone();
    if let Kind::Ok { answer: Answer::Page { records, .. }, .. } = &mut history.events[line].kind {
        records.remove(1);
    }
    Some(history)
}

pub(super) fn wide_answer(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let (.., op, _, _) = choose(rng, acked(&index))?;
    let mut history = h.clone();
    if let Kind::Ok { answer: Answer::Appended { last, .. }, .. } =
        &mut history.events[index.ops[op].done_line].kind
    {
        *last += 1;
    }
    Some(history)
}

pub(super) fn stale_tail(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    stale(h, e, rng, |op| reported_tail(op).is_some())
}

pub(super) fn stale_read(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    stale(h, e, rng, |op| matches!(op.call, Call::Read { mode: ReadMode::Linearizable, .. }))
}

fn stale(
    h: &History,
    e: &Expectations,
    rng: &mut StdRng,
    kind: impl Fn(&Op<'_>) -> bool,
) -> Option<History> {
    let index = index(h, e);
    let mut places = Vec::new();
    for book in index.books.values() {
        let answered = || book.answered.iter().map(|&place| &index.ops[place]);
        for read in answered().filter(|op| kind(op)) {
            for write in answered().filter(|op| op.ret < read.inv) {
                if let (Call::Append { .. }, Some(Answer::Appended { first, .. })) =
                    (write.call, write.answer())
                {
                    places.push((read.done_line, first - 1));
                }
            }
        }
    }
    let (line, to) = choose(rng, places)?;
    Some(retell(h, line, to))
}

pub(super) fn early_tail(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let mut places = Vec::new();
    for (session, incarnation, op, serial, _) in acked(&index) {
        for read in index.books[&(session, incarnation)].answered.iter().map(|&r| &index.ops[r]) {
            if reported_tail(read).is_some() && read.ret < index.ops[op].inv {
                places.push((read.done_line, serial));
            }
        }
    }
    let (line, to) = choose(rng, places)?;
    Some(retell(h, line, to))
}

pub(super) fn ghost_tail(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let places = index.books.values().filter_map(|book| Some((book, book.log.as_ref()?.tail)));
    let (line, to) = choose(
        rng,
        places.flat_map(|(book, tail)| {
            let reads = book.answered.iter().map(|&place| &index.ops[place]);
            reads.filter(|op| reported_tail(op).is_some()).map(move |op| (op.done_line, tail + 1))
        }),
    )?;
    Some(retell(h, line, to))
}

pub(super) fn refused(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let (_, _, op, ..) = choose(rng, acked(&index))?;
    let (id, line) = (index.ops[op].id, index.ops[op].done_line);
    let mut history = h.clone();
    history.events[line].kind = Kind::Fail { op: id, error: "refused".to_owned() };
    Some(history)
}

/// Moves the call that wrote a delivered value after its delivery.
pub(super) fn premature(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let (_, _, op, serial, value) = choose(rng, acked(&index))?;
    let op = &index.ops[op];
    let seen = h.events.iter().position(|event| {
        matches!(&event.kind, Kind::Deliver { record, .. }
            if record.value == value && record.serial == serial)
    })?;
    let at = h.events[seen].at + 1;
    let mut history = h.clone();
    for line in [op.line, op.done_line] {
        history.events[line].at = history.events[line].at.max(at);
    }
    history.sort();
    Some(history)
}

pub(super) fn other_answer(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let keyed = acked(&index).into_iter().filter(|(.., op, _, _)| {
        matches!(index.ops[*op].call, Call::Append { producer: Some(_), .. })
    });
    let (session, incarnation, op, serial, _) = choose(rng, keyed)?;
    let op = &index.ops[op];
    let other = serial + rng.random_range(1..3);
    let answer = Answer::Appended { incarnation, first: other, last: other };
    let mut history = h.clone();
    plant(&mut history, op.done_line + 1, session, incarnation, op.call.clone(), Some(answer));
    Some(history)
}

pub(super) fn resurrected(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let mut places = Vec::new();
    for delete in index.ops.iter().filter(|op| *op.call == Call::Delete) {
        let Some(answer) = delete.answer() else { continue };
        let later = index.ops.iter().filter(|op| {
            op.session == delete.session && delete.ret < op.inv && reported_tail(op).is_some()
        });
        places.extend(later.map(|op| (op.done_line, answer.incarnation())));
    }
    let (line, old) = choose(rng, places)?;
    let mut history = h.clone();
    if let Kind::Ok { answer: Answer::Tail { incarnation, .. }, .. } =
        &mut history.events[line].kind
    {
        *incarnation = old;
    }
    Some(history)
}

pub(super) fn unfinished(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let line = choose(rng, index.ops.iter().map(|op| op.done_line))?;
    let mut history = h.clone();
    history.events.remove(line);
    Some(history)
}

pub(super) fn twice(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let ended: Vec<_> =
        index.ops.iter().filter(|op| !matches!(op.outcome, Outcome::Open)).collect();
    let line = ended.choose(rng)?.done_line;
    let mut history = h.clone();
    let copy = history.events[line].clone();
    history.events.insert(line, copy);
    Some(history)
}
