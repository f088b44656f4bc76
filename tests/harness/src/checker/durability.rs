//! S3: an acknowledged append is in the final log, at its serial, on every replica (A1); the final
//! log is dense (A4); all replicas end at the same place (A3).

use super::super::history::{Answer, Call};
use super::super::report::Code;
use super::index::{Book, Index, Log, NEVER};
use super::{Expectations, Findings};

pub fn check(index: &Index<'_>, book: &Book<'_>, expect: &Expectations, out: &mut Findings) {
    let Some(log) = &book.log else { return };
    for (node, replica) in &book.replicas {
        let limit = book.trimmable(NEVER);
        if limit < replica.first {
            let text = format!(
                "the log of {node} begins at {}; at most what is before {limit} may be gone (head)",
                replica.first
            );
            out.in_book(Code::A1, book, &[replica.line], text);
        }
        let mut next = replica.first;
        for &serial in replica.serials.range(next..) {
            if serial != next {
                let text = format!("the log of {node} has no {next}..{serial}");
                out.in_book(Code::A4, book, &[replica.line], text);
            }
            next = serial + 1;
        }
        if next != replica.tail + 1 {
            let text = format!("the log of {node} has no {next}..={}", replica.tail);
            out.in_book(Code::A4, book, &[replica.line], text);
        }
        if replica.tail != log.tail && !expect.replicas_may_lag {
            let text = format!("{node} ends at {}, another at {}", replica.tail, log.tail);
            out.in_book(Code::A3, book, &[replica.line, log.line], text);
        }
    }
    for &op in &book.answered {
        let op = &index.ops[op];
        let (Call::Append { values, .. }, Some(Answer::Appended { first, .. })) =
            (op.call, op.answer())
        else {
            continue;
        };
        for (serial, value) in (*first..).zip(values) {
            let found = log.values.get(&serial).map(|&id| index.names[id]);
            if log.first <= serial && found != Some(value.as_str()) {
                let part = part(log, serial);
                let text = format!("acknowledged {value:?} at {serial} ({part}); found {found:?}");
                out.in_book(Code::A1, book, &[op.line, op.done_line, log.line], text);
            }
        }
    }
}

fn part(log: &Log, serial: u64) -> &'static str {
    let first = log.values.keys().min().copied().unwrap_or(0);
    let last = log.values.keys().max().copied().unwrap_or(0);
    if last < serial {
        "tail"
    } else if serial < first {
        "head"
    } else {
        "middle"
    }
}
