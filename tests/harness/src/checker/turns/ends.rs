//! S9: every turn that was accepted has exactly one end (A18). S5: nothing of it follows its end, but what
//! became of inputs (A19).

use std::collections::BTreeMap;

use super::super::super::report::Code;
use super::super::Findings;
use super::super::index::Recorded;
use super::Story;

pub(super) fn check(story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let line = book.log.as_ref().map_or(0, |log| log.line);
    for (turn, received) in &story.turns {
        match &received.ends[..] {
            [] => {
                let text = format!("turn {turn:?}, accepted at {}, has no end", received.from);
                out.in_book(Code::A18, book, &[line], text);
            }
            [_] => {}
            [first, second, ..] => {
                let text = format!("turn {turn:?} ends at {} and {}", first.serial, second.serial);
                out.in_book(Code::A18, book, &[first.line, second.line], text);
            }
        }
    }
    let mut over: BTreeMap<&str, &Recorded<'_>> = BTreeMap::new();
    for received in story.received() {
        let (turn, what) = (received.fact.turn.as_str(), received.fact.what);
        if turn.is_empty() {
            continue;
        }
        if let Some(end) = over.get(turn)
            && !what.is_final_receipt()
            && !what.is_terminal()
        {
            let text = format!(
                "{what:?} of {turn:?} at {} after its end at {}",
                received.serial, end.serial
            );
            out.in_book(Code::A19, book, &[end.line, received.line], text);
        }
        let known = story.turns.get(turn).is_some_and(|turn| turn.from <= received.serial);
        if !known && !received.fact.held {
            let text =
                format!("{what:?} at {} of turn {turn:?}, which nobody asked for", received.serial);
            out.in_book(Code::A18, book, &[received.line], text);
        }
        if what.is_terminal() {
            over.entry(turn).or_insert(received);
        }
    }
}
