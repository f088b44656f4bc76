//! Broken histories: each mutation plants one known fault in a clean history, so that the checker
//! can show that it finds it.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::checker::index::{Index, Op, Outcome};
use super::checker::{Expectations, Findings};
use super::history::{
    Answer, Call, Control, Cursor, Event, History, Kind, OpId, Producer, ReadMode, Record,
};
use super::report::Code;

/// One way to break a history.
pub struct Mutation {
    pub name: &'static str,
    /// At least one of these must be reported.
    pub expected: &'static [Code],
    /// `None` when the history has no place for this fault.
    pub apply: fn(&History, &Expectations, &mut StdRng) -> Option<History>,
}

const fn mutation(
    name: &'static str,
    expected: &'static [Code],
    apply: fn(&History, &Expectations, &mut StdRng) -> Option<History>,
) -> Mutation {
    Mutation { name, expected, apply }
}

pub const ALL: &[Mutation] = &[
    mutation("the head of the final log is lost", &[Code::A1], |h, e, rng| lose(h, e, rng, 0)),
    mutation("the middle of the final log is lost", &[Code::A1], |h, e, rng| lose(h, e, rng, 1)),
    mutation("the tail of the final log is lost", &[Code::A1], |h, e, rng| lose(h, e, rng, 2)),
    mutation("an append stands twice", &[Code::A2], duplicate),
    mutation("one replica has two events swapped", &[Code::A3], diverge),
    mutation("one replica has another chain", &[Code::A3], chain),
    mutation("one replica is shorter", &[Code::A3], shorten),
    mutation("the final log has a hole", &[Code::A4], hole),
    mutation("a page has a hole", &[Code::A4], page_hole),
    mutation("an answer names too many serials", &[Code::A4], wide_answer),
    mutation("two appends change places", &[Code::A5], reorder),
    mutation("a tail is stale", &[Code::A6], stale_tail),
    mutation("a read is stale", &[Code::A6], stale_read),
    mutation("a tail comes before its append", &[Code::A6], early_tail),
    mutation("a reader sees what is never committed", &[Code::A7], ghost),
    mutation("a tail names what is never committed", &[Code::A7], ghost_tail),
    mutation("nobody asked for an event", &[Code::A8], phantom),
    mutation("a refused append is in the log", &[Code::A8], refused),
    mutation("an event is seen before it is asked", &[Code::A8], premature),
    mutation("a subscription skips a frame", &[Code::A9], skip),
    mutation("a subscription repeats a frame", &[Code::A9], repeat),
    mutation("a subscription swaps two frames", &[Code::A9], swap_frames),
    mutation("a subscription goes back after reconnecting", &[Code::A9], time_travel),
    mutation("a subscription ends cleanly too early", &[Code::A9], early_end),
    mutation("a gap hides kept events", &[Code::A9], false_gap),
    mutation("a subscription resumes ahead", &[Code::A9], resume_ahead),
    mutation("a subscription is reset for nothing", &[Code::A9], false_reset),
    mutation("a subscription never reaches the tail", &[Code::A9], never_done),
    mutation("an older epoch writes after a newer", &[Code::A10], zombie),
    mutation("a retry is answered with another serial", &[Code::A13], other_answer),
    mutation("a deleted incarnation answers", &[Code::A14], resurrected),
    mutation("a value crosses incarnations", &[Code::A14], crossing),
    mutation("an incarnation begins without a delete", &[Code::A14], undeleted),
    mutation("a call never ends", &[Code::A17], unfinished),
    mutation("a call ends twice", &[Code::Harness], twice),
];

fn index<'h>(history: &'h History, expect: &Expectations) -> Index<'h> {
    Index::build(history, expect, &mut Findings::default())
}

fn choose<T>(rng: &mut StdRng, from: impl IntoIterator<Item = T>) -> Option<T> {
    let mut all: Vec<T> = from.into_iter().collect();
    if all.is_empty() { None } else { Some(all.swap_remove(rng.random_range(0..all.len()))) }
}

/// Acknowledged appends with one attempt and one value, in the final log: (op, serial, value).
fn acked<'h>(index: &Index<'h>) -> Vec<(&'h str, u32, usize, u64, String)> {
    let mut found = Vec::new();
    for book in index.books.values() {
        let Some(log) = &book.log else { continue };
        for &write in &book.writes {
            let write = &index.writes[write];
            let (op, value) = (write.attempts[0], index.names[write.values[0]]);
            if write.attempts.len() == 1
                && write.values.len() == 1
                && let Some(Answer::Appended { first, .. }) = index.ops[op].answer()
                && log.first <= *first
            {
                found.push((book.session, book.incarnation, op, *first, value.to_owned()));
            }
        }
    }
    found
}

/// All final pages, with the session they belong to.
fn finals<'a>(
    history: &'a mut History,
    session: &str,
) -> impl Iterator<Item = (&'a mut u64, &'a mut u64, &'a mut Vec<Record>)> {
    let ops: Vec<OpId> = history
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Inv {
                op, session: at, call: Call::Read { mode: ReadMode::Final, .. }, ..
            } if at == session => Some(*op),
            _ => None,
        })
        .collect();
    history.events.iter_mut().filter_map(move |event| match &mut event.kind {
        Kind::Ok { op, answer: Answer::Page { first, tail: Some(tail), records, .. } }
            if ops.contains(op) =>
        {
            Some((first, tail, records))
        }
        _ => None,
    })
}

fn lose(h: &History, e: &Expectations, rng: &mut StdRng, part: u8) -> Option<History> {
    let index = index(h, e);
    let all = acked(&index);
    let (session, incarnation, _, serial, _) = choose(
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
    let _ = incarnation;
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

fn duplicate(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, .., value) = choose(rng, acked(&index(h, e)))?;
    let mut history = h.clone();
    for (_, tail, records) in finals(&mut history, session) {
        *tail += 1;
        records.push(Record { serial: *tail, value: value.clone(), chain: None });
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

fn diverge(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 2, |_, records, place| {
        let (a, b) = (records[place].value.clone(), records[place + 1].value.clone());
        (records[place].value, records[place + 1].value) = (b, a);
    })
}

fn chain(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 1, |_, records, place| {
        records[place].chain = records[place].chain.map(|chain| chain ^ 1);
    })
}

fn shorten(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 1, |tail, records, _| {
        records.pop();
        *tail -= 1;
    })
}

fn hole(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    one_replica(h, rng, 3, |_, records, place| {
        records.remove(place + 1);
    })
}

fn page_hole(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

fn wide_answer(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

/// Swaps two appends, one wholly after the other, in everything that was ever shown.
fn reorder(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

fn told_tail(op: &Op<'_>) -> Option<u64> {
    match (op.call, op.answer()) {
        (Call::Tail, Some(Answer::Tail { tail, .. })) => Some(*tail),
        _ => None,
    }
}

fn retell(h: &History, line: usize, to: u64) -> History {
    let mut history = h.clone();
    match &mut history.events[line].kind {
        Kind::Ok { answer: Answer::Tail { tail, .. }, .. } => *tail = to,
        Kind::Ok { answer: Answer::Page { tail, records, .. }, .. } => {
            *tail = Some(to);
            records.retain(|record| record.serial <= to);
        }
        _ => {}
    }
    history
}

fn stale_tail(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    stale(h, e, rng, |op| told_tail(op).is_some())
}

fn stale_read(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

fn early_tail(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let mut places = Vec::new();
    for (session, incarnation, op, serial, _) in acked(&index) {
        for read in index.books[&(session, incarnation)].answered.iter().map(|&r| &index.ops[r]) {
            if told_tail(read).is_some() && read.ret < index.ops[op].inv {
                places.push((read.done_line, serial));
            }
        }
    }
    let (line, to) = choose(rng, places)?;
    Some(retell(h, line, to))
}

/// A new append with the given outcome, put into the history at `line`.
fn plant(
    history: &mut History,
    line: usize,
    session: &str,
    incarnation: u32,
    call: Call,
    outcome: Option<Answer>,
) {
    let op = OpId(1_000_000);
    let at = history.events[line.min(history.events.len() - 1)].at;
    let (node, session) = ("n0".to_owned(), session.to_owned());
    let incarnation = Some(incarnation);
    let inv = Kind::Inv { op, client: 99, node, session, incarnation, call };
    let done = match outcome {
        Some(answer) => Kind::Ok { op, answer },
        None => Kind::Info { op, error: "timeout".to_owned() },
    };
    history.events.splice(line..line, [inv, done].map(|kind| Event { at, kind }));
}

fn appends(value: &str, producer: Option<Producer>) -> Call {
    Call::Append { values: vec![value.to_owned()], producer }
}

/// A frame of a session with a final log: its line, and what it says.
fn frame(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<usize> {
    let index = index(h, e);
    choose(
        rng,
        h.events.iter().enumerate().filter_map(|(line, event)| match &event.kind {
            Kind::Deliver { session, incarnation, .. } => {
                let book = &index.books[&(session.as_str(), *incarnation)];
                book.log.is_some().then_some(line)
            }
            _ => None,
        }),
    )
}

fn ghost(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let line = frame(h, e, rng)?;
    let mut history = h.clone();
    let mut copy = h.events[line].clone();
    let Kind::Deliver { session, incarnation, record, .. } = &mut copy.kind else { return None };
    let log = index(h, e).books[&(session.as_str(), *incarnation)].log.as_ref()?.tail;
    *record = Record { serial: log + 1, value: "ghost".to_owned(), chain: None };
    let (session, incarnation) = (session.clone(), *incarnation);
    history.events.insert(line + 1, copy);
    plant(&mut history, line, &session, incarnation, appends("ghost", None), None);
    Some(history)
}

fn ghost_tail(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let places = index.books.values().filter_map(|book| Some((book, book.log.as_ref()?.tail)));
    let (line, to) = choose(
        rng,
        places.flat_map(|(book, tail)| {
            let reads = book.answered.iter().map(|&place| &index.ops[place]);
            reads.filter(|op| told_tail(op).is_some()).map(move |op| (op.done_line, tail + 1))
        }),
    )?;
    Some(retell(h, line, to))
}

fn phantom(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (session, .., value) = choose(rng, acked(&index(h, e)))?;
    let mut history = h.clone();
    for (_, tail, records) in finals(&mut history, session) {
        if rng.random_bool(0.5) || records.is_empty() {
            *tail += 1;
            records.push(Record { serial: *tail, value: "phantom".to_owned(), chain: None });
        } else {
            for record in records.iter_mut().filter(|record| record.value == value) {
                record.value = "phantom".to_owned();
            }
        }
    }
    Some(history)
}

fn refused(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let (_, _, op, ..) = choose(rng, acked(&index))?;
    let (id, line) = (index.ops[op].id, index.ops[op].done_line);
    let mut history = h.clone();
    history.events[line].kind = Kind::Fail { op: id, error: "refused".to_owned() };
    Some(history)
}

/// Moves the call that wrote a delivered value behind its delivery.
fn premature(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

/// Consecutive lines of one subscription that are two frames of serials n, n + 1.
fn pair(h: &History, rng: &mut StdRng) -> Option<(usize, usize)> {
    let index = Index::build(h, &Expectations::default(), &mut Findings::default());
    let pairs = index.subs.values().flat_map(|lines| lines.windows(2));
    choose(
        rng,
        pairs.filter_map(|pair| match (&h.events[pair[0]].kind, &h.events[pair[1]].kind) {
            (Kind::Deliver { .. }, Kind::Deliver { .. }) => Some((pair[0], pair[1])),
            _ => None,
        }),
    )
}

fn skip(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, _) = pair(h, rng)?;
    let mut history = h.clone();
    history.events.remove(line);
    Some(history)
}

fn repeat(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, _) = pair(h, rng)?;
    let mut history = h.clone();
    let copy = history.events[line].clone();
    history.events.insert(line, copy);
    Some(history)
}

fn swap_frames(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (a, b) = pair(h, rng)?;
    let mut history = h.clone();
    let (first, second) = (history.events[a].kind.clone(), history.events[b].kind.clone());
    (history.events[a].kind, history.events[b].kind) = (second, first);
    Some(history)
}

/// A later connection that begins with the frame its cursor already covers.
fn time_travel(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let attached = h.events.iter().enumerate().filter_map(|(line, event)| match &event.kind {
        Kind::Ctl { sub, control: Control::Attach { cursor: Some(cursor) }, .. }
            if 0 < cursor.serial =>
        {
            Some((line, *sub, *cursor))
        }
        _ => None,
    });
    let (line, sub, cursor) = choose(rng, attached)?;
    let old = h.events.iter().find(|event| {
        matches!(&event.kind, Kind::Deliver { sub: s, incarnation, record, .. }
            if *s == sub && *incarnation == cursor.incarnation && record.serial == cursor.serial)
    })?;
    let mut history = h.clone();
    let at = h.events[line].at;
    history.events.insert(line + 1, Event { at, kind: old.kind.clone() });
    Some(history)
}

/// A control of the same reader, put behind the frame at `line`.
fn control_after(h: &History, line: usize, put: impl FnOnce(&Record) -> Control) -> History {
    let mut history = h.clone();
    let Event { at, kind: Kind::Deliver { sub, node, session, incarnation, record } } =
        h.events[line].clone()
    else {
        return history;
    };
    let control = put(&record);
    let kind = Kind::Ctl { sub, node, session, incarnation, control };
    history.events.insert(line + 1, Event { at, kind });
    history
}

fn early_end(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let unasked = |session: &str| {
        !h.events.iter().any(|event| {
            matches!(&event.kind, Kind::Inv { session: s, call: Call::Delete, .. } if s == session)
        })
    };
    let (line, _) = pair(h, rng)?;
    let Kind::Deliver { session, .. } = &h.events[line].kind else { return None };
    unasked(session).then(|| control_after(h, line, |_| Control::End))
}

fn false_gap(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, hidden) = pair(h, rng)?;
    let index = index(h, e);
    let Event { at, kind: Kind::Deliver { session, incarnation, record, .. } } = &h.events[line]
    else {
        return None;
    };
    let first = record.serial + 2;
    if first <= index.books[&(session.as_str(), *incarnation)].trimmable(*at) {
        return None;
    }
    let mut history = control_after(h, line, |_| Control::Gap { first });
    history.events.remove(hidden + 1);
    Some(history)
}

fn resume_ahead(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let attached = (0..h.events.len()).filter(|&line| {
        matches!(&h.events[line].kind,
            Kind::Ctl { control: Control::Attach { cursor: Some(c) }, .. } if 0 < c.serial)
    });
    let line = choose(rng, attached)?;
    let mut history = h.clone();
    if let Kind::Ctl { control: Control::Attach { cursor: Some(cursor) }, .. } =
        &mut history.events[line].kind
    {
        *cursor = Cursor { serial: cursor.serial + 5, ..*cursor };
    }
    Some(history)
}

fn false_reset(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, _) = pair(h, rng)?;
    Some(control_after(h, line, |_| Control::Reset { to: 1 }))
}

/// The last frames of a reader that stays attached are missing.
fn never_done(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let last = index.subs.values().filter_map(|lines| {
        let line = *lines.last()?;
        match &h.events[line].kind {
            Kind::Deliver { session, incarnation, .. } => {
                index.books[&(session.as_str(), *incarnation)].log.is_some().then_some(line)
            }
            _ => None,
        }
    });
    let line = choose(rng, last)?;
    let mut history = h.clone();
    history.events.remove(line);
    Some(history)
}

fn zombie(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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
        records.push(Record { serial, value: "zombie".to_owned(), chain: None });
    }
    let answer = Answer::Appended { incarnation, first: serial, last: serial };
    let call = appends("zombie", Some(old));
    plant(&mut history, begin, session, incarnation, call, Some(answer));
    Some(history)
}

fn other_answer(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

fn resurrected(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let mut places = Vec::new();
    for delete in index.ops.iter().filter(|op| *op.call == Call::Delete) {
        let Some(answer) = delete.answer() else { continue };
        let later = index.ops.iter().filter(|op| {
            op.session == delete.session && delete.ret < op.inv && told_tail(op).is_some()
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

/// An acknowledged value of one incarnation is shown to a reader in another.
fn crossing(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let (session, incarnation, _, serial, value) = choose(rng, acked(&index))?;
    let shown = h.events.iter().rposition(
        |event| matches!(&event.kind, Kind::Deliver { record, .. } if record.value == value),
    )?;
    let mut history = h.clone();
    if let Kind::Deliver { incarnation: other, record, .. } = &mut history.events[shown].kind {
        *other = incarnation + 1;
        record.serial = serial;
    }
    let _ = session;
    Some(history)
}

/// The session comes back under a new number although nobody deleted it.
fn undeleted(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
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

fn unfinished(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let line = choose(rng, index.ops.iter().map(|op| op.done_line))?;
    let mut history = h.clone();
    history.events.remove(line);
    Some(history)
}

fn twice(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let ended: Vec<_> =
        index.ops.iter().filter(|op| !matches!(op.outcome, Outcome::Open)).collect();
    let line = ended.choose(rng)?.done_line;
    let mut history = h.clone();
    let copy = history.events[line].clone();
    history.events.insert(line, copy);
    Some(history)
}
