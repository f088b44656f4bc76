//! S11: an input that was acknowledged stands in the log exactly once, where and in the turn that the
//! answer names, and did what it was to do to a busy agent (A11).

use std::collections::BTreeMap;

use super::super::super::history::{Answer, Call};
use super::super::super::report::Code;
use super::super::super::turn::{Scope, What, WhenBusy};
use super::super::Findings;
use super::super::index::{Index, Op, Recorded};
use super::Story;

pub(super) fn check(index: &Index<'_>, story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let mut request: BTreeMap<&str, Vec<&Op<'_>>> = BTreeMap::new();
    for op in &story.calls {
        if let Call::Input { input, .. } = op.call {
            request.entry(input).or_default().push(op);
        }
    }
    let mut found: BTreeMap<&str, Vec<&Recorded<'_>>> = BTreeMap::new();
    for received in story.received().filter(|received| received.fact.what == What::Accepted) {
        found.entry(received.fact.input.as_deref().unwrap_or("")).or_default().push(received);
    }
    for (input, places) in &found {
        if let [first, second, ..] = places[..] {
            let text = format!("input {input:?} is at {} and at {}", first.serial, second.serial);
            out.in_book(Code::A11, book, &[first.line, second.line], text);
        }
        let received = places[0];
        let writer = index.writer[received.value].map(|write| &index.writes[write]);
        let Some(ops) = request.get(input) else {
            let text = format!("input {input:?} at {} was never asked for", received.serial);
            out.in_book(Code::A8, book, &[received.line], text);
            continue;
        };
        if writer.is_none_or(|write| write.key != super::super::index::Key::Input(input)) {
            let text = format!("input {input:?} at {} has another one's text", received.serial);
            out.in_book(Code::A8, book, &[received.line, ops[0].line], text);
        }
        busy(story, received, ops[0], out);
    }
    for (input, ops) in &request {
        for op in ops {
            let Some(Answer::Accepted { turn, serial, .. }) = op.answer() else { continue };
            let place = found.get(input).map(|places| places[0]);
            // A repeated request is answered with the turn in which the input is now.
            let deferred = || {
                let mut all = story.received();
                all.any(|received| {
                    received.fact.what == What::Deferred
                        && received.fact.input.as_deref() == Some(input)
                        && received.fact.turn == *turn
                })
            };
            let fits = |received: &Recorded<'_>| {
                received.serial == *serial && (received.fact.turn == *turn || deferred())
            };
            if !place.is_some_and(fits) {
                let place = place.map(|received| (received.serial, &received.fact.turn));
                let text = format!(
                    "input {input:?} was acknowledged at {serial} in {turn:?}; it is at {place:?}"
                );
                out.in_book(Code::A11, book, &[op.line, op.done_line], text);
            }
        }
    }
}

/// An input does what it requested where its agent has an open turn.
fn busy(story: &Story<'_, '_>, received: &Recorded<'_>, op: &Op<'_>, out: &mut Findings) {
    let Call::Input { input, agent, when_busy, .. } = op.call else { return };
    let (book, turn) = (story.book, received.fact.turn.as_str());
    let mut wrong = |text: String| {
        let text = format!("input {input:?} ({when_busy:?}) at {}: {text}", received.serial);
        out.in_book(Code::A11, book, &[op.line, received.line], text);
    };
    if received.fact.held {
        return;
    }
    if turn != input {
        if *when_busy != WhenBusy::Steer {
            wrong(format!("it was spoken into {turn:?}"));
        }
        if !story.turns.get(turn).is_some_and(|turn| story.is_open(turn, received.serial)) {
            wrong(format!("it was spoken into {turn:?}, which is not open"));
        }
        return;
    }
    // Who cancelled it before it came cancelled what it does, too.
    let early = |op: &&Op<'_>| matches!(op.call, Call::Cancel { scope: Scope::Turn(turn) } if turn == input);
    if !matches!(when_busy, WhenBusy::Interrupt | WhenBusy::Reject | WhenBusy::Steer)
        || story.calls.iter().any(early)
    {
        return;
    }
    let open = story.turns.iter().filter(|(_, turn)| turn.agent == agent);
    for (other, _) in open.filter(|(_, turn)| story.is_open(turn, received.serial)) {
        wrong(format!("{other:?} is still open"));
    }
}
