//! Faults in what readers are given.

use rand::rngs::StdRng;

use super::super::checker::index::Index;
use super::super::checker::{Expectations, Findings};
use super::super::history::{Call, Control, Cursor, Event, History, Kind, Record};
use super::{acked, appends, choose, index, plant};

/// A frame of a session with a final log: its line, and its content.
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

pub(super) fn ghost(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let line = frame(h, e, rng)?;
    let mut history = h.clone();
    let mut copy = h.events[line].clone();
    let Kind::Deliver { session, incarnation, record, .. } = &mut copy.kind else { return None };
    let log = index(h, e).books[&(session.as_str(), *incarnation)].log.as_ref()?.tail;
    *record = Record { serial: log + 1, value: "ghost".to_owned(), chain: None, fact: None };
    let (session, incarnation) = (session.clone(), *incarnation);
    history.events.insert(line + 1, copy);
    plant(&mut history, line, &session, incarnation, appends("ghost", None), None);
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

pub(super) fn skip(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, _) = pair(h, rng)?;
    let mut history = h.clone();
    history.events.remove(line);
    Some(history)
}

pub(super) fn repeat(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, _) = pair(h, rng)?;
    let mut history = h.clone();
    let copy = history.events[line].clone();
    history.events.insert(line, copy);
    Some(history)
}

pub(super) fn swap_frames(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (a, b) = pair(h, rng)?;
    let mut history = h.clone();
    let (first, second) = (history.events[a].kind.clone(), history.events[b].kind.clone());
    (history.events[a].kind, history.events[b].kind) = (second, first);
    Some(history)
}

/// A later connection that begins with the frame its cursor already covers.
pub(super) fn time_travel(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
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

/// A control of the same reader, put after the frame at `line`.
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

pub(super) fn early_end(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let unasked = |session: &str| {
        !h.events.iter().any(|event| {
            matches!(&event.kind, Kind::Inv { session: s, call: Call::Delete, .. } if s == session)
        })
    };
    let (line, _) = pair(h, rng)?;
    let Kind::Deliver { session, .. } = &h.events[line].kind else { return None };
    unasked(session).then(|| control_after(h, line, |_| Control::End))
}

pub(super) fn false_gap(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

pub(super) fn resume_ahead(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
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

pub(super) fn false_reset(h: &History, _: &Expectations, rng: &mut StdRng) -> Option<History> {
    let (line, _) = pair(h, rng)?;
    Some(control_after(h, line, |_| Control::Reset { to: 1 }))
}

/// The last frames of a reader that stays attached are missing.
pub(super) fn never_done(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
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

/// An acknowledged value of one incarnation is shown to a reader in another.
pub(super) fn crossing(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    let index = index(h, e);
    let (_, incarnation, _, serial, value) = choose(rng, acked(&index))?;
    let shown = h.events.iter().rposition(
        |event| matches!(&event.kind, Kind::Deliver { record, .. } if record.value == value),
    )?;
    let mut history = h.clone();
    if let Kind::Deliver { incarnation: other, record, .. } = &mut history.events[shown].kind {
        *other = incarnation + 1;
        record.serial = serial;
    }
    Some(history)
}
