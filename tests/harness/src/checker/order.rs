//! S2: serials are dense. A batch takes as many serials as it has values, in its order; a page is a
//! run of serials that begins after its cursor, or at the oldest kept event (A4).

use super::super::history::{Answer, Call, Record};
use super::super::report::Code;
use super::Findings;
use super::index::{Book, Index, Op, WriteId};

pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    for &place in &book.answered {
        let op = &index.ops[place];
        match (op.call, op.answer()) {
            (Call::Append { values, .. }, Some(Answer::Appended { first, last, .. }))
                if *first == 0
                    || last.checked_sub(*first).map(|n| n + 1) != Some(values.len() as u64) =>
            {
                let text = format!("{} values took {first}..={last}", values.len());
                out.in_book(Code::A4, book, &[op.line, op.done_line], text);
            }
            (Call::Read { after, .. }, Some(Answer::Page { first, tail, records, .. })) => {
                page(book, op, *after, *first, records, out);
                if let (Some(tail), Some(last)) = (tail, records.last())
                    && *tail < last.serial
                {
                    let text = format!("a page goes to {}, past its tail {tail}", last.serial);
                    out.in_book(Code::A6, book, &[op.done_line], text);
                }
            }
            _ => {}
        }
    }
    for &write in &book.writes {
        batch(index, book, write, out);
    }
}

fn page(
    book: &Book<'_>,
    op: &Op<'_>,
    after: u64,
    first: u64,
    records: &[Record],
    out: &mut Findings,
) {
    let limit = book.trimmable(op.ret);
    if limit < first {
        let text = format!("a page says the log begins at {first}; at most {limit} can be true");
        out.in_book(Code::A4, book, &[op.line, op.done_line], text);
    }
    for (next, record) in (after.saturating_add(1).max(first)..).zip(records) {
        if record.serial != next {
            let text = format!("a page after {after} has {} where {next} belongs", record.serial);
            return out.in_book(Code::A4, book, &[op.line, op.done_line], text);
        }
    }
}

/// The values of one write stand side by side, all of them or (after the trim) the later ones.
fn batch(index: &Index<'_>, book: &Book<'_>, write: WriteId, out: &mut Findings) {
    let Some((first, _)) = index.extent(write, book) else { return };
    let write = &index.writes[write];
    let line = index.ops[write.attempts[0]].line;
    for (i, value) in write.values.iter().enumerate() {
        let (wanted, found) = (first + i as u64, book.place.get(value));
        let kept = book.log.as_ref().is_some_and(|log| log.first <= wanted);
        if found.is_some_and(|&found| found != wanted) || found.is_none() && kept {
            let text = format!("a batch has its value {i} at {found:?} instead of {wanted}");
            out.in_book(Code::A4, book, &[line], text);
        }
    }
}
