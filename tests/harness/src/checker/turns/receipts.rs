//! S11: whoever sends an input into a turn gets one receipt for it: it was consumed, or dropped; or it was
//! deferred, to a turn that begins with it or in which it is consumed or dropped in its turn (A11).

use std::collections::BTreeMap;

use super::super::super::report::Code;
use super::super::super::turn::What;
use super::super::Findings;
use super::super::index::{Index, Recorded};
use super::Story;

/// How far an input came.
struct Way<'b, 'h> {
    accepted: &'b Recorded<'h>,
    /// The turn in which it is to be consumed.
    turn: &'h str,
    end: Option<&'b Recorded<'h>>,
}

pub(super) fn check(index: &Index<'_>, story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    // A service that gives none at all does not promise them yet.
    let mut received = index.books.values().flat_map(|book| &book.received);
    if !received.any(|received| received.fact.what.is_final_receipt()) {
        return;
    }
    let mut ways: BTreeMap<&str, Way<'_, '_>> = BTreeMap::new();
    for received in story.received() {
        let Some(input) = received.fact.input.as_deref() else { continue };
        let what = received.fact.what;
        if what == What::Accepted && !received.fact.held {
            let turn = received.fact.turn.as_str();
            ways.entry(input).or_insert(Way { accepted: received, turn, end: None });
        }
        if !what.is_final_receipt() && what != What::Delivered {
            continue;
        }
        let Some(way) = ways.get_mut(input) else {
            let text = format!("{what:?} of {input:?} at {} comes before it", received.serial);
            out.in_book(Code::A11, book, &[received.line], text);
            continue;
        };
        if let Some(end) = way.end {
            let (a, at) = (end.fact.what, received.serial);
            let text = format!("input {input:?} has two ends: {a:?}, and {what:?} at {at}");
            out.in_book(Code::A11, book, &[end.line, received.line], text);
        } else if way.turn == input {
            let text =
                format!("{what:?} at {} of {input:?}, with which a turn begins", received.serial);
            out.in_book(Code::A11, book, &[way.accepted.line, received.line], text);
        } else if what == What::Deferred {
            way.turn = received.fact.turn.as_str();
        } else if received.fact.turn != way.turn {
            let text = format!("{what:?} of {input:?} at {} in another turn", received.serial);
            out.in_book(Code::A11, book, &[way.accepted.line, received.line], text);
        }
        if matches!(what, What::Consumed | What::Dropped) {
            way.end = Some(received);
        }
    }
    for (input, way) in ways {
        if way.turn != input && way.end.is_none() {
            let text = format!("nobody says what became of input {input:?} in {:?}", way.turn);
            out.in_book(Code::A11, book, &[way.accepted.line], text);
        }
    }
}
