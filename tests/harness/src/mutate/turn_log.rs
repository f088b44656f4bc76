//! Final logs of turns, and what is done to them.

use std::collections::HashMap;

use super::super::history::{Answer, Call, Event, History, Kind, OpId, ReadMode, Record};
use super::super::turn::{Fact, Then};

/// One session's final log.
pub(super) struct Page<'h> {
    pub(super) session: &'h str,
    pub(super) records: &'h [Record],
}

pub(super) fn pages(h: &History) -> Vec<Page<'_>> {
    let mut pages: Vec<Page<'_>> = Vec::new();
    for event in &h.events {
        let Kind::Inv { op, session, call: Call::Read { mode: ReadMode::Final, .. }, .. } =
            &event.kind
        else {
            continue;
        };
        let answer = h.events.iter().find_map(|event| match &event.kind {
            Kind::Ok { op: this, answer: Answer::Page { records, .. } } if this == op => {
                Some(records)
            }
            _ => None,
        });
        if let Some(records) = answer
            && pages.iter().all(|page| page.session != session)
        {
            pages.push(Page { session, records });
        }
    }
    pages
}

pub(super) fn fact(record: &Record) -> &Fact {
    record.fact.as_deref().expect("all events of these histories are about turns")
}

/// Places in logs that are as wished: the session and the place.
pub(super) fn spots(
    h: &History,
    wished: impl Fn(&[Record], usize) -> bool,
) -> Vec<(String, usize)> {
    let mut spots = Vec::new();
    for page in pages(h) {
        let places = (0..page.records.len()).filter(|&at| wished(page.records, at));
        spots.extend(places.map(|at| (page.session.to_owned(), at)));
    }
    spots
}

/// The same change to the log that every node gives; frames of the session are left out.
pub(super) fn rewrite(h: &History, session: &str, change: impl Fn(&mut Vec<Record>)) -> History {
    let mut history = h.clone();
    history
        .events
        .retain(|event| !matches!(&event.kind, Kind::Deliver { session: at, .. } if at == session));
    for (_, tail, records) in super::finals(&mut history, session) {
        change(records);
        for (serial, record) in (1..).zip(records.iter_mut()) {
            (record.serial, record.chain) = (serial, None);
        }
        *tail = records.len() as u64;
    }
    history
}

pub(super) fn record(value: &str, fact: Fact) -> Record {
    Record { serial: 0, value: value.to_owned(), chain: None, fact: Some(Box::new(fact)) }
}

/// A call that no client made, after line `line`.
pub(super) fn plant(
    h: &mut History,
    line: usize,
    session: &str,
    call: Call,
    answer: Option<Answer>,
) {
    let (op, at) = (OpId(1_000_000), h.events[line].at);
    let (node, session) = ("n0".to_owned(), session.to_owned());
    let inv = Kind::Inv { op, client: 99, node, session, incarnation: None, call };
    let done = match answer {
        Some(answer) => Kind::Ok { op, answer },
        None => Kind::Info { op, error: "timeout".to_owned() },
    };
    let behind = line + 1;
    h.events.splice(behind..behind, [inv, done].map(|kind| Event { at, kind }));
}

pub(super) fn emit(turn: &str, epoch: u64, seq: Option<u64>, value: Option<&str>) -> Call {
    let values = value.map(str::to_owned).into_iter().collect();
    Call::Report { turn: turn.to_owned(), epoch, seq, values, then: Then::GoOn }
}

/// The line of the outcome, the session and the call of everything that was answered with yes.
pub(super) fn answered(h: &History) -> Vec<(usize, String, Call, Answer)> {
    let mut calls = HashMap::new();
    let mut all = Vec::new();
    for (line, event) in h.events.iter().enumerate() {
        match &event.kind {
            Kind::Inv { op, session, call, .. } => {
                calls.insert(op, (session, call));
            }
            Kind::Ok { op, answer } => {
                if let Some((session, call)) = calls.get(op) {
                    all.push((line, (*session).clone(), (*call).clone(), answer.clone()));
                }
            }
            _ => {}
        }
    }
    all
}
