//! S5, S11: a cancel that was acknowledged had its effect by then, once (A11); no output of a worker is taken after
//! it (A19); and no turn is cancelled unless a client requested it (A8).

use std::collections::BTreeMap;

use super::super::super::history::{Answer, Call};
use super::super::super::report::Code;
use super::super::super::turn::{Scope, What, WhenBusy};
use super::super::Findings;
use super::super::index::Op;
use super::{Story, Turn, is_new};

pub(super) fn check(story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let mut effects: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for op in &story.calls {
        let (Call::Cancel { scope }, Some(Answer::Cancelled { turns, tail })) =
            (op.call, op.answer())
        else {
            continue;
        };
        for (name, turn) in story.turns.iter().filter(|(name, turn)| covers(scope, name, turn)) {
            effect(story, op, *tail, (name, turn), out);
        }
        let Scope::Turn(name) = scope else { continue };
        if *turns == 0 {
            continue;
        }
        let (times, line) = effects.entry(name).or_insert((0, op.done_line));
        *times += turns;
        if 1 < *times {
            let text = format!("turn {name:?} was cancelled {times} times");
            out.in_book(Code::A11, book, &[*line, op.done_line], text);
        }
        let end = story.turns.get(name.as_str()).and_then(|turn| turn.ends.first());
        if end.is_none_or(|end| end.fact.what != What::Cancelled || *tail < end.serial) {
            let text = format!("turn {name:?} was said to be cancelled by {tail}; it was not");
            out.in_book(Code::A11, book, &[op.line, op.done_line], text);
        }
    }
    for (name, turn) in &story.turns {
        let Some(end) = turn.ends.first().filter(|end| end.fact.what == What::Cancelled) else {
            continue;
        };
        let request = |op: &&Op<'_>| match op.call {
            Call::Cancel { scope } => !op.failed() && covers(scope, name, turn),
            Call::Input { agent, when_busy: WhenBusy::Interrupt, .. } => {
                !op.failed() && agent == turn.agent
            }
            _ => false,
        };
        if !story.calls.iter().any(request) {
            let text = format!("turn {name:?} was cancelled at {} by nobody", end.serial);
            out.in_book(Code::A8, book, &[end.line], text);
        }
    }
}

/// One turn that a cancel names.
fn effect(
    story: &Story<'_, '_>,
    op: &Op<'_>,
    tail: u64,
    (name, turn): (&str, &Turn<'_>),
    out: &mut Findings,
) {
    let (book, end) = (story.book, turn.ends.first());
    let ended = end.is_some_and(|end| end.serial <= tail);
    if turn.from <= tail {
        if !ended {
            let text =
                format!("turn {name:?}, open since {}, outlived a cancel at {tail}", turn.from);
            out.in_book(Code::A11, book, &[op.line, op.done_line], text);
        }
        let incoming = |other: &&&Op<'_>| {
            let is_report = matches!(other.call, Call::Report { turn, .. } if turn == name);
            is_report && is_new(other) && op.ret < other.inv
        };
        if let Some(incoming) = story.calls.iter().find(incoming) {
            let text = format!("a worker of {name:?} was heard after the cancel");
            out.in_book(Code::A19, book, &[op.done_line, incoming.line, incoming.done_line], text);
        }
    } else if matches!(op.call, Call::Cancel { scope: Scope::Turn(_) })
        && !story.received().any(|received| {
            // Its input was there, in another turn: nothing was to be cancelled.
            received.serial <= tail && received.fact.input.as_deref() == Some(name)
        })
    {
        let begun = |received: &&super::super::index::Recorded<'_>| {
            received.fact.turn == name && matches!(received.fact.what, What::Started | What::Output)
        };
        let began = story.received().find(begun);
        if began.is_some() || end.is_some_and(|end| end.fact.what != What::Cancelled) {
            let text = format!("turn {name:?} was cancelled before it came, and began");
            out.in_book(Code::A11, book, &[op.line, op.done_line], text);
        }
    }
}

fn covers(scope: &Scope, name: &str, turn: &Turn<'_>) -> bool {
    match scope {
        Scope::Turn(request) => request == name,
        Scope::Agent(agent) => agent == turn.agent,
        Scope::All => true,
    }
}
