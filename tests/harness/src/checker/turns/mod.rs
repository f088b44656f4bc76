//! The promises about turns, one file each, over what the final log records of them.

mod branches;
mod cancels;
mod ends;
mod fencing;
mod inputs;
mod receipts;
mod tools;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Answer, Call};
use super::super::turn::{Fact, What};
use super::Findings;
use super::index::{Book, Index, Op, Recorded};

/// One turn, as the final log records it.
struct Turn<'h> {
    agent: &'h str,
    /// The serial that it begins with.
    from: u64,
    /// The events that end it: one, if all is well.
    ends: Vec<Recorded<'h>>,
}

/// One session's turns.
struct Story<'b, 'h> {
    book: &'b Book<'h>,
    turns: BTreeMap<&'h str, Turn<'h>>,
    /// Calls of this session in the order of their beginnings.
    calls: Vec<&'b Op<'h>>,
}

/// Judges one session's turns, if its whole log is known.
pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    let asks = |op: &&Op<'_>| {
        let turns =
            matches!(op.call, Call::Input { .. } | Call::Report { .. } | Call::Cancel { .. });
        turns && op.session == book.session
    };
    let calls: Vec<_> = index.ops.iter().filter(asks).collect();
    let whole = book.log.as_ref().is_some_and(|log| log.first <= 1);
    if !whole || calls.is_empty() && book.received.is_empty() {
        return;
    }
    let story = Story { book, turns: turns(book), calls };
    inputs::check(index, &story, out);
    receipts::check(index, &story, out);
    fencing::check(index, &story, out);
    ends::check(&story, out);
    cancels::check(&story, out);
    tools::check(&story, out);
    words::check(index, &story, out);
    branches::check(&story, out);
}

/// How often a turn of this session went on under another worker.
pub fn takeovers(book: &Book<'_>) -> usize {
    let mut seen = BTreeSet::new();
    let started = book.received.iter().filter(|received| received.fact.what == What::Started);
    started.filter(|received| !seen.insert(received.fact.turn.as_str())).count()
}

/// A turn begins with an input that has its name, or that was deferred to it.
fn turns<'h>(book: &Book<'h>) -> BTreeMap<&'h str, Turn<'h>> {
    let mut turns: BTreeMap<&str, Turn<'_>> = BTreeMap::new();
    let mut agents: BTreeMap<&str, &str> = BTreeMap::new();
    for received in &book.received {
        let Fact { what, turn, input, agent, held, .. } = received.fact;
        if let (What::Accepted, Some(input), Some(agent)) = (what, input, agent) {
            agents.insert(input, agent);
        }
        let begins = match what {
            What::Accepted => !held && input.as_ref() == Some(turn),
            What::Deferred => true,
            _ => false,
        };
        if begins && !turns.contains_key(turn.as_str()) {
            let agent = input.as_ref().and_then(|input| agents.get(input.as_str()).copied());
            let begun =
                Turn { agent: agent.unwrap_or(""), from: received.serial, ends: Vec::new() };
            turns.insert(turn, begun);
        }
        if what.is_terminal()
            && let Some(turn) = turns.get_mut(turn.as_str())
        {
            turn.ends.push(*received);
        }
    }
    turns
}

impl<'h> Story<'_, 'h> {
    fn received(&self) -> impl Iterator<Item = &Recorded<'h>> {
        self.book.received.iter()
    }

    /// Whether a turn was open in front of the event at this serial.
    fn is_open(&self, turn: &Turn<'_>, at: u64) -> bool {
        turn.from < at && turn.ends.first().is_none_or(|end| at < end.serial)
    }
}

/// Whether something was taken in now, and not at an earlier attempt.
fn is_new(op: &Op<'_>) -> bool {
    matches!(op.answer(), Some(Answer::OutputAccepted { duplicate: false, .. }))
}
