//! Broken histories: each mutation plants one known fault in a clean history, so that the checker
//! can show that it finds it.

mod calls;
mod imports;
mod log;
mod readers;
mod turn_log;
mod turns;

use rand::Rng;
use rand::rngs::StdRng;

use super::checker::index::{Index, Op};
use super::checker::{Expectations, Findings};
use super::history::{Answer, Call, Event, History, Kind, OpId, Producer, ReadMode, Record};
use super::report::Code;

/// One way to break a history.
pub struct Mutation {
    pub name: &'static str,
    /// At least one of these must be reported.
    pub expected: &'static [Code],
    /// `None` when the history has no place for this fault.
    pub apply: fn(&History, &Expectations, &mut StdRng) -> Option<History>,
}

const fn mutation(
    name: &'static str,
    expected: &'static [Code],
    apply: fn(&History, &Expectations, &mut StdRng) -> Option<History>,
) -> Mutation {
    Mutation { name, expected, apply }
}

pub const ALL: &[Mutation] = &[
    mutation("the head of the final log is lost", &[Code::A1], |h, e, rng| log::lose(h, e, rng, 0)),
    mutation("the middle of the final log is lost", &[Code::A1], |h, e, rng| {
        log::lose(h, e, rng, 1)
    }),
    mutation("the tail of the final log is lost", &[Code::A1], |h, e, rng| log::lose(h, e, rng, 2)),
    mutation("an append stands twice", &[Code::A2], log::duplicate),
    mutation("one replica has two events swapped", &[Code::A3], log::diverge),
    mutation("one replica has another chain", &[Code::A3], log::chain),
    mutation("one replica is shorter", &[Code::A3], log::shorten),
    mutation("the final log has a hole", &[Code::A4], log::hole),
    mutation("a page has a hole", &[Code::A4], calls::page_hole),
    mutation("an answer names too many serials", &[Code::A4], calls::wide_answer),
    mutation("two appends change places", &[Code::A5], log::reorder),
    mutation("a tail is stale", &[Code::A6], calls::stale_tail),
    mutation("a read is stale", &[Code::A6], calls::stale_read),
    mutation("a tail comes before its append", &[Code::A6], calls::early_tail),
    mutation("a reader sees what is never committed", &[Code::A7], readers::ghost),
    mutation("a tail names what is never committed", &[Code::A7], calls::ghost_tail),
    mutation("nobody asked for an event", &[Code::A8], log::phantom),
    mutation("a refused append is in the log", &[Code::A8], calls::refused),
    mutation("an event is seen before it is asked", &[Code::A8], calls::premature),
    mutation("a subscription skips a frame", &[Code::A9], readers::skip),
    mutation("a subscription repeats a frame", &[Code::A9], readers::repeat),
    mutation("a subscription swaps two frames", &[Code::A9], readers::swap_frames),
    mutation("a subscription goes back after reconnecting", &[Code::A9], readers::time_travel),
    mutation("a subscription ends cleanly too early", &[Code::A9], readers::early_end),
    mutation("a gap hides kept events", &[Code::A9], readers::false_gap),
    mutation("a subscription resumes ahead", &[Code::A9], readers::resume_ahead),
    mutation("a subscription is reset for nothing", &[Code::A9], readers::false_reset),
    mutation("a subscription never reaches the tail", &[Code::A9], readers::never_done),
    mutation("an older epoch writes after a newer", &[Code::A10], log::zombie),
    mutation("a retry is answered with another serial", &[Code::A13], calls::other_answer),
    mutation("a deleted incarnation answers", &[Code::A14], calls::resurrected),
    mutation("a value crosses incarnations", &[Code::A14], readers::crossing),
    mutation("an incarnation begins without a delete", &[Code::A14], log::undeleted),
    mutation("an import has another event", &[Code::A22], imports::event),
    mutation("an import has another chain", &[Code::A22], imports::chain),
    mutation("an import ends in another chain", &[Code::A22], imports::end),
    mutation("an import lacks an event", &[Code::A22], imports::lost),
    mutation("a call never ends", &[Code::A17], calls::unfinished),
    mutation("a call ends twice", &[Code::Harness], calls::twice),
];

/// Those that need a history with turns.
pub const TURNS: &[Mutation] = &[
    mutation("a worker that was replaced is written down", &[Code::A10], turns::zombie_word),
    mutation("a call begins without the turn", &[Code::A10], turns::zombie_call),
    mutation("a call begins again under another key", &[Code::A13], turns::another_key),
    mutation("two devices make one call", &[Code::A12], turns::two_devices),
    mutation("a worker that was replaced is heard", &[Code::A10], turns::zombie_beat),
    mutation("an epoch is given twice", &[Code::A12], turns::epoch_twice),
    mutation("two workers are given the same", &[Code::A12], turns::claimed_twice),
    mutation("a word follows the cancel", &[Code::A19], turns::word_after_cancel),
    mutation("a turn ends twice", &[Code::A18], turns::ends_twice),
    mutation("a turn never ends", &[Code::A18], turns::never_ends),
    mutation("a steer is lost", &[Code::A11], turns::steer_lost),
    mutation("an input is taken twice", &[Code::A11], turns::input_doubled),
    mutation("an input is answered with another serial", &[Code::A11], turns::input_answered_twice),
    mutation("a cancel is lost", &[Code::A11], turns::cancel_lost),
    mutation("a cancel before its turn is lost", &[Code::A11], turns::early_cancel_lost),
    mutation("a cancel has its effect twice", &[Code::A11], turns::cancelled_twice),
    mutation("a turn is cancelled by nobody", &[Code::A8], turns::cancelled_by_nobody),
    mutation("an interrupt interrupts nothing", &[Code::A11], turns::interrupts_nothing),
    mutation("a word is lost", &[Code::A20], turns::word_lost),
    mutation("a word stands twice", &[Code::A2], turns::word_doubled),
    mutation("two words change places", &[Code::A20], turns::words_swapped),
    mutation("nobody said a word", &[Code::A8], turns::word_of_nobody),
    mutation("a word stands in another turn", &[Code::A8], turns::word_elsewhere),
    mutation("a repetition is answered with other places", &[Code::A13], turns::other_places),
    mutation("a completed turn failed", &[Code::A20], turns::other_end),
    mutation("an input has no receipt", &[Code::A11], turns::no_receipt),
    mutation("an input has two receipts", &[Code::A11], turns::two_receipts),
    mutation("an answer stands on another branch", &[Code::A21], turns::other_branch),
];

fn index<'h>(history: &'h History, expect: &Expectations) -> Index<'h> {
    Index::build(history, expect, &mut Findings::default())
}

fn choose<T>(rng: &mut StdRng, from: impl IntoIterator<Item = T>) -> Option<T> {
    let mut all: Vec<T> = from.into_iter().collect();
    if all.is_empty() { None } else { Some(all.swap_remove(rng.random_range(0..all.len()))) }
}

/// Acknowledged appends with one attempt and one value, in the final log: (op, serial, value).
fn acked<'h>(index: &Index<'h>) -> Vec<(&'h str, u32, usize, u64, String)> {
    let mut found = Vec::new();
    for book in index.books.values() {
        let Some(log) = &book.log else { continue };
        for &write in &book.writes {
            let write = &index.writes[write];
            let (op, value) = (write.attempts[0], index.names[write.values[0]]);
            if write.attempts.len() == 1
                && write.values.len() == 1
                && let Some(Answer::Appended { first, .. }) = index.ops[op].answer()
                && log.first <= *first
            {
                found.push((book.session, book.incarnation, op, *first, value.to_owned()));
            }
        }
    }
    found
}

/// All final pages, with the session they belong to.
fn finals<'a>(
    history: &'a mut History,
    session: &str,
) -> impl Iterator<Item = (&'a mut u64, &'a mut u64, &'a mut Vec<Record>)> {
    let ops: Vec<OpId> = history
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Inv {
                op, session: at, call: Call::Read { mode: ReadMode::Final, .. }, ..
            } if at == session => Some(*op),
            _ => None,
        })
        .collect();
    history.events.iter_mut().filter_map(move |event| match &mut event.kind {
        Kind::Ok { op, answer: Answer::Page { first, tail: Some(tail), records, .. } }
            if ops.contains(op) =>
        {
            Some((first, tail, records))
        }
        _ => None,
    })
}

fn reported_tail(op: &Op<'_>) -> Option<u64> {
    match (op.call, op.answer()) {
        (Call::Tail, Some(Answer::Tail { tail, .. })) => Some(*tail),
        _ => None,
    }
}

fn retell(h: &History, line: usize, to: u64) -> History {
    let mut history = h.clone();
    match &mut history.events[line].kind {
        Kind::Ok { answer: Answer::Tail { tail, .. }, .. } => *tail = to,
        Kind::Ok { answer: Answer::Page { tail, records, .. }, .. } => {
            *tail = Some(to);
            records.retain(|record| record.serial <= to);
        }
        _ => {}
    }
    history
}

/// A new append with the given outcome, put into the history at `line`.
fn plant(
    history: &mut History,
    line: usize,
    session: &str,
    incarnation: u32,
    call: Call,
    outcome: Option<Answer>,
) {
    let op = OpId(1_000_000);
    let at = history.events[line.min(history.events.len() - 1)].at;
    let (node, session) = ("n0".to_owned(), session.to_owned());
    let incarnation = Some(incarnation);
    let inv = Kind::Inv { op, client: 99, node, session, incarnation, call };
    let done = match outcome {
        Some(answer) => Kind::Ok { op, answer },
        None => Kind::Info { op, error: "timeout".to_owned() },
    };
    history.events.splice(line..line, [inv, done].map(|kind| Event { at, kind }));
}

fn appends(value: &str, producer: Option<Producer>) -> Call {
    Call::Append { values: vec![value.to_owned()], producer }
}
