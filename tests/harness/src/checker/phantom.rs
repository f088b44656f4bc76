//! S1, S3: nothing is seen that no client requested, that was refused, or that was not requested yet (A8),
//! and nothing is seen that is not in the log in the end (A7).

use super::super::report::Code;
use super::Findings;
use super::index::{Book, Index, Sighting, Source};

pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    for seen in &book.sightings {
        phantom(index, book, seen, out);
        if matches!(seen.source, Source::Read | Source::Deliver) {
            ghost(index, book, seen, out);
        }
    }
    for &op in &book.answered {
        let op = &index.ops[op];
        let tail = match op.answer() {
            Some(super::super::history::Answer::Tail { tail, .. }) => *tail,
            Some(super::super::history::Answer::Page { tail: Some(tail), .. }) => *tail,
            _ => continue,
        };
        if let Some(log) = &book.log
            && log.tail < tail
        {
            let text = format!("tail {tail} was told, but the final log ends at {}", log.tail);
            out.in_book(Code::A7, book, &[op.done_line, log.line], text);
        }
    }
}

fn phantom(index: &Index<'_>, book: &Book<'_>, seen: &Sighting<'_>, out: &mut Findings) {
    if seen.fact.is_some_and(|fact| !fact.what.is_output()) {
        return; // The service wrote it; `turns` judges whether it should have.
    }
    let (name, serial) = (index.names[seen.value], seen.serial);
    let Some(write) = index.writer[seen.value] else {
        let text = format!("value {name:?} at {serial} was never asked for");
        return out.in_book(Code::A8, book, &[seen.line], text);
    };
    let write = &index.writes[write];
    let attempts = || write.attempts.iter().map(|&op| &index.ops[op]);
    let Some(first) = attempts().find(|op| !op.failed()) else {
        let lines: Vec<usize> = attempts().map(|op| op.done_line).chain([seen.line]).collect();
        let text = format!("value {name:?} at {serial} was refused");
        return out.in_book(Code::A8, book, &lines, text);
    };
    if write.session != book.session {
        let text = format!("value {name:?} at {serial} belongs to session {}", write.session);
        out.in_book(Code::A8, book, &[first.line, seen.line], text);
    }
    if seen.at < first.inv {
        let text = format!("value {name:?} at {serial} was seen before it was asked for");
        out.in_book(Code::A8, book, &[seen.line, first.line], text);
    }
}

fn ghost(index: &Index<'_>, book: &Book<'_>, seen: &Sighting<'_>, out: &mut Findings) {
    let Some(log) = &book.log else { return };
    if log.first <= seen.serial && log.values.get(&seen.serial) != Some(&seen.value) {
        let (name, serial) = (index.names[seen.value], seen.serial);
        let text = format!("value {name:?} was shown at {serial}, where the final log has it not");
        out.in_book(Code::A7, book, &[seen.line, log.line], text);
    }
}
