//! S11, S4: all answers to one producer key name one place, and a producer's numbers stand in the
//! log in their order (A13); nothing of an older epoch follows a newer one (A10).

use std::collections::BTreeMap;

use super::super::history::Answer;
use super::super::report::Code;
use super::Findings;
use super::index::{Book, Index, WriteId};

pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    let mut producers: BTreeMap<&str, Vec<(u64, u64, u64, WriteId)>> = BTreeMap::new();
    for &write in &book.writes {
        same_answer(index, book, write, out);
        let Some(producer) = index.writes[write].producer else { continue };
        let place = index.writes[write].values.iter().find_map(|value| book.place.get(value));
        if let Some(&serial) = place {
            let key = (serial, producer.epoch, producer.seq, write);
            producers.entry(&producer.id).or_default().push(key);
        }
    }
    for (id, mut keys) in producers {
        keys.sort_unstable();
        for pair in keys.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let code = match (after.1.cmp(&before.1), after.2.cmp(&before.2)) {
                (std::cmp::Ordering::Less, _) => Code::A10,
                (std::cmp::Ordering::Equal, std::cmp::Ordering::Less) => Code::A13,
                _ => continue,
            };
            let lines = [before.3, after.3].map(|w| index.ops[index.writes[w].attempts[0]].line);
            let text = format!(
                "producer {id:?}: epoch {} number {} at {} precedes epoch {} number {} at {}",
                before.1, before.2, before.0, after.1, after.2, after.0
            );
            out.in_book(code, book, &lines, text);
        }
    }
}

fn same_answer(index: &Index<'_>, book: &Book<'_>, write: WriteId, out: &mut Findings) {
    let mut received: Option<(u64, u64, usize)> = None;
    for op in index.writes[write].attempts.iter().map(|&op| &index.ops[op]) {
        let Some(Answer::Appended { incarnation, first, last }) = op.answer() else { continue };
        if *incarnation != book.incarnation {
            continue;
        }
        let (a, b, line) = *received.get_or_insert((*first, *last, op.done_line));
        if (a, b) != (*first, *last) {
            let text = format!("one key was answered {a}..={b} and {first}..={last}");
            out.in_book(Code::A13, book, &[line, op.done_line], text);
        }
    }
}
