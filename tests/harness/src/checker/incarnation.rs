//! S2: incarnations follow each other, and only a delete begins the next one. A deleted one answers
//! no client and takes nothing (A14).

use std::collections::BTreeMap;

use super::super::history::{Call, ReadMode};
use super::super::report::Code;
use super::index::{Index, NEVER};
use super::{Expectations, Findings};

/// A call placed among incarnations: `rank` is twice the incarnation, plus one for its delete.
struct Placed {
    rank: u64,
    inv: u64,
    ret: u64,
    line: usize,
}

pub fn check(index: &Index<'_>, expect: &Expectations, out: &mut Findings) {
    let mut sessions: BTreeMap<&str, Vec<Placed>> = BTreeMap::new();
    for book in index.books.values() {
        let placed = sessions.entry(book.session).or_default();
        let base = 2 * u64::from(book.incarnation);
        for op in book.answered.iter().map(|&place| &index.ops[place]) {
            if matches!(op.call, Call::Read { mode: ReadMode::Stale, .. }) {
                continue;
            }
            let rank = base + u64::from(*op.call == Call::Delete);
            placed.push(Placed { rank, inv: op.inv, ret: op.ret, line: op.line });
        }
        for &write in &book.writes {
            match index.span(write, book.incarnation) {
                Some(span) if span.ret == NEVER => {
                    placed.push(Placed { rank: base, inv: span.inv, ret: NEVER, line: span.line });
                }
                Some(_) => {}
                None => strayed(index, book, write, out),
            }
        }
    }
    for (session, mut placed) in sessions {
        placed.sort_by_key(|call| (call.rank, call.inv));
        let Some(first) = placed.first() else { continue };
        // Within one rank there is no order: compare with the latest beginning of lower ranks.
        let (mut latest, mut lower) = ((first.inv, first.line), None);
        let mut rank = first.rank;
        for call in &placed {
            if rank < call.rank {
                rank = call.rank;
                lower = Some(latest);
            }
            if let Some((inv, line)) = lower
                && call.ret < inv
            {
                let text = format!(
                    "incarnation {}: a later incarnation, or its delete, answered before this began",
                    call.rank / 2
                );
                out.add(Code::A14, session, &[call.line, line], text);
            }
            latest = latest.max((call.inv, call.line));
        }
    }
    if !expect.expiry {
        undeleted(index, out);
    }
}

fn strayed(index: &Index<'_>, book: &super::index::Book<'_>, write: usize, out: &mut Findings) {
    let write = &index.writes[write];
    let attempts = || write.attempts.iter().map(|&op| &index.ops[op]);
    if attempts().all(|op| op.failed()) {
        return; // A8 reports it.
    }
    let name = index.names[write.values[0]];
    let lines: Vec<usize> = attempts().map(|op| op.line).collect();
    let text = format!("value {name:?} was written in another incarnation");
    out.in_book(Code::A14, book, &lines, text);
}

/// Each incarnation after the first that was seen needs a delete requested before it was seen.
fn undeleted(index: &Index<'_>, out: &mut Findings) {
    let mut deletes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for op in index.ops.iter().filter(|op| !op.failed() && *op.call == Call::Delete) {
        deletes.entry(op.session).or_default().push(op.inv);
    }
    let mut base: BTreeMap<&str, u32> = BTreeMap::new();
    for book in index.books.values() {
        let base = *base.entry(book.session).or_insert(book.incarnation);
        let answers = book.answered.iter().map(|&op| (index.ops[op].ret, index.ops[op].done_line));
        let seen = book.sightings.iter().map(|seen| (seen.at, seen.line)).chain(answers).min();
        let Some((at, line)) = seen else { continue };
        let request = deletes.get(book.session).map_or(0, |d| d.partition_point(|inv| *inv <= at));
        if request < (book.incarnation - base) as usize {
            let text = format!("seen after {request} deletes only");
            out.in_book(Code::A14, book, &[line], text);
        }
    }
}
