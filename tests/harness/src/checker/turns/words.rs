//! S11: output of a worker that was acknowledged is in the log, in the order of its numbers, without a hole
//! (A20); a repetition is answered with the same places (A13).

use std::collections::BTreeMap;

use super::super::super::history::{Answer, Call};
use super::super::super::report::Code;
use super::super::super::turn::{Then, What};
use super::super::Findings;
use super::super::index::{Index, Key, Op};
use super::Story;

/// All attempts at one request of a worker.
type Attempts<'b, 'h> = Vec<&'b Op<'h>>;

pub(super) fn check(index: &Index<'_>, story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    // By turn and epoch, by number.
    let mut leases: BTreeMap<(&str, u64), BTreeMap<u64, Attempts<'_, '_>>> = BTreeMap::new();
    for op in &story.calls {
        if let Call::Report { turn, epoch, seq: Some(seq), .. } = op.call {
            leases.entry((turn, *epoch)).or_default().entry(*seq).or_default().push(op);
        }
    }
    for ((turn, epoch), reports) in &leases {
        let mut next = 0;
        let mut behind = false;
        // From the last to the first: what comes before something that was taken was taken.
        for (seq, attempts) in reports.iter().rev() {
            let Call::Report { values, .. } = attempts[0].call else { continue };
            behind |= attempts.iter().any(|op| op.answer().is_some());
            for value in values {
                let there = index.value(value).is_some_and(|id| book.place.contains_key(&id));
                if behind && !there {
                    let text = format!("{value:?}, said as {seq} in {turn:?} by {epoch}, is lost");
                    out.in_book(Code::A20, book, &[attempts[0].line, attempts[0].done_line], text);
                }
                behind |= there;
            }
            answers(index, story, attempts, out);
        }
        for (seq, attempts) in reports {
            let Call::Report { values, .. } = attempts[0].call else { continue };
            for value in values {
                let place = index.value(value).and_then(|id| book.place.get(&id));
                let Some(&place) = place else { continue };
                if place < next {
                    let text = format!(
                        "{value:?}, said as {seq} in {turn:?} by {epoch}, is at {place}, before what was said before it"
                    );
                    out.in_book(Code::A20, book, &[attempts[0].line], text);
                }
                next = next.max(place);
            }
        }
    }
    for received in story.received().filter(|received| received.fact.what == What::Output) {
        let Some(write) = index.writer[received.value] else { continue };
        let fits = match index.writes[write].key {
            Key::Report { turn, epoch, .. } => {
                turn == received.fact.turn && Some(epoch) == received.fact.epoch
            }
            _ => false,
        };
        if !fits {
            let text = format!("the output at {} was said elsewhere", received.serial);
            out.in_book(Code::A8, book, &[received.line], text);
        }
    }
}

/// The answers to one request of a worker are true, and always the same.
fn answers(index: &Index<'_>, story: &Story<'_, '_>, attempts: &[&Op<'_>], out: &mut Findings) {
    let book = story.book;
    let mut known: Option<((u64, u64), usize)> = None;
    for op in attempts {
        let (Call::Report { turn, values, then, .. }, Some(Answer::OutputAccepted { places, .. })) =
            (op.call, op.answer())
        else {
            continue;
        };
        if let Some((first, last)) = *places {
            let (received, line) = *known.get_or_insert(((first, last), op.done_line));
            if received != (first, last) {
                let text = format!("one request was answered {received:?} and {first}..={last}");
                out.in_book(Code::A13, book, &[line, op.done_line], text);
            }
            for value in values {
                let place = index.value(value).and_then(|id| book.place.get(&id));
                if place.is_some_and(|place| !(first..=last).contains(place)) {
                    let text = format!(
                        "{value:?} was acknowledged at {first}..={last}; it is at {place:?}"
                    );
                    out.in_book(Code::A20, book, &[op.line, op.done_line], text);
                }
            }
        }
        let end = story.turns.get(turn.as_str()).and_then(|turn| turn.ends.first());
        if *then == Then::Complete && end.is_none_or(|end| end.fact.what != What::Completed) {
            let end = end.map(|end| end.fact.what);
            let text =
                format!("turn {turn:?} was completed, as its worker was told; it is {end:?}");
            out.in_book(Code::A20, book, &[op.line, op.done_line], text);
        }
    }
}
