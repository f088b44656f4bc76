//! A run counts only if it bites: too few faults, unknown outcomes or final reads prove nothing,
//! and nothing proven is a failure.

use std::collections::{BTreeMap, HashMap};

use super::super::history::{Answer, Call, Kind};
use super::super::turn::{What, WhenBusy};
use super::Expectations;
use super::index::{Index, Outcome};
use super::turns;

/// What was counted, and why it is not enough.
pub fn check(
    index: &Index<'_>,
    expect: &Expectations,
) -> (BTreeMap<&'static str, usize>, Vec<String>) {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut leaders: HashMap<u32, &str> = HashMap::new();
    let mut count = |what, n| *counts.entry(what).or_default() += n;
    count("events", index.history.events.len());
    for op in &index.ops {
        match (op.outcome, op.call) {
            (Outcome::Ok(Answer::Appended { .. }), Call::Append { .. }) => count("ok appends", 1),
            (Outcome::Ok(_), Call::Input { when_busy: WhenBusy::Interrupt, .. })
            | (Outcome::Ok(_), Call::Cancel { .. }) => count("interrupts", 1),
            (Outcome::Ok(_), Call::Input { .. }) => count("ok inputs", 1),
            (Outcome::Ok(_), Call::Report { .. }) => count("ok says", 1),
            (Outcome::Ok(Answer::Claimed { taken: Some(_) }), _) => count("claims", 1),
            (Outcome::Ok(_), Call::Read { .. } | Call::Tail) => count("ok reads", 1),
            (Outcome::Unknown, _) => count("unknown outcomes", 1),
            (Outcome::Failed, _) => count("refusals", 1),
            _ => {}
        }
    }
    for event in &index.history.events {
        match &event.kind {
            Kind::Nemesis { .. } => count("faults", 1),
            Kind::Deliver { .. } => count("deliveries", 1),
            Kind::Leader { shard, node }
                if leaders.insert(*shard, node).is_some_and(|before| before != node) =>
            {
                count("leader changes", 1);
            }
            _ => {}
        }
    }
    for received in index.books.values().flat_map(|book| &book.received) {
        match received.fact.what {
            What::Started => count("turns started", 1),
            What::Lost => count("workers lost", 1),
            What::Cancelled => count("turns cancelled", 1),
            what if what.is_terminal() => count("turns done", 1),
            what if what.is_final_receipt() => count("receipts", 1),
            _ => {}
        }
    }
    count("takeovers", index.books.values().map(turns::takeovers).sum());
    let retries: usize = index.writes.iter().map(|write| write.attempts.len() - 1).sum();
    count("retries", retries);

    let mut missing = Vec::new();
    for (what, least) in [
        ("ok appends", expect.ok_appends),
        ("unknown outcomes", expect.unknown),
        ("faults", expect.nemesis),
        ("leader changes", expect.leader_changes),
        ("deliveries", expect.deliveries),
        ("takeovers", expect.takeovers),
        ("interrupts", expect.interrupts),
    ] {
        let found = counts.get(what).copied().unwrap_or(0);
        if found < least {
            missing.push(format!("{found} {what}, at least {least} wanted"));
        }
    }
    unread(index, expect, &mut missing);
    (counts, missing)
}

/// The latest incarnation of each session was read to the end on enough nodes, unless deleted.
fn unread(index: &Index<'_>, expect: &Expectations, missing: &mut Vec<String>) {
    let mut latest = BTreeMap::new();
    for book in index.books.values() {
        latest.insert(book.session, book);
    }
    for (session, book) in latest {
        let gone = index.ops.iter().any(|op| {
            op.session == session && *op.call == Call::Delete && op.may_act_in(book.incarnation)
        });
        let nodes = book.replicas.len();
        if nodes < expect.final_nodes && !gone && !expect.expiry {
            let least = expect.final_nodes;
            missing.push(format!("{session}: final reads of {nodes} nodes, {least} wanted"));
        }
    }
}
