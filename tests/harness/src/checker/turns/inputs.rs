//! S11: an input that was acknowledged stands in the log exactly once, where and in the turn that the
//! answer says, and did what it was to do to a busy agent (A11).

use std::collections::BTreeMap;

use super::super::super::history::{Answer, Call};
use super::super::super::report::Code;
use super::super::super::turn::{Scope, What, WhenBusy};
use super::super::Findings;
use super::super::index::{Index, Op, Told};
use super::Story;

pub(super) fn check(index: &Index<'_>, story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let mut asked: BTreeMap<&str, Vec<&Op<'_>>> = BTreeMap::new();
    for op in &story.calls {
        if let Call::Input { input, .. } = op.call {
            asked.entry(input).or_default().push(op);
        }
    }
    let mut found: BTreeMap<&str, Vec<&Told<'_>>> = BTreeMap::new();
    for told in story.told().filter(|told| told.fact.what == What::Accepted) {
        found.entry(told.fact.input.as_deref().unwrap_or("")).or_default().push(told);
    }
    for (input, places) in &found {
        if let [first, second, ..] = places[..] {
            let text = format!("input {input:?} is at {} and at {}", first.serial, second.serial);
            out.in_book(Code::A11, book, &[first.line, second.line], text);
        }
        let told = places[0];
        let writer = index.writer[told.value].map(|write| &index.writes[write]);
        let Some(ops) = asked.get(input) else {
            let text = format!("input {input:?} at {} was never asked for", told.serial);
            out.in_book(Code::A8, book, &[told.line], text);
            continue;
        };
        if writer.is_none_or(|write| write.key != super::super::index::Key::Input(input)) {
            let text = format!("input {input:?} at {} has another one's text", told.serial);
            out.in_book(Code::A8, book, &[told.line, ops[0].line], text);
        }
        busy(story, told, ops[0], out);
    }
    for (input, ops) in &asked {
        for op in ops {
            let Some(Answer::Accepted { turn, serial, .. }) = op.answer() else { continue };
            let place = found.get(input).map(|places| places[0]);
            // Who asks again hears of the turn in which it is now.
            let deferred = || {
                let mut all = story.told();
                all.any(|told| {
                    told.fact.what == What::Deferred
                        && told.fact.input.as_deref() == Some(input)
                        && told.fact.turn == *turn
                })
            };
            let fits =
                |told: &Told<'_>| told.serial == *serial && (told.fact.turn == *turn || deferred());
            if !place.is_some_and(fits) {
                let place = place.map(|told| (told.serial, &told.fact.turn));
                let text = format!(
                    "input {input:?} was acknowledged at {serial} in {turn:?}; it is at {place:?}"
                );
                out.in_book(Code::A11, book, &[op.line, op.done_line], text);
            }
        }
    }
}

/// An input does what it asked for where its agent has an open turn.
fn busy(story: &Story<'_, '_>, told: &Told<'_>, op: &Op<'_>, out: &mut Findings) {
    let Call::Input { input, agent, when_busy, .. } = op.call else { return };
    let (book, turn) = (story.book, told.fact.turn.as_str());
    let mut wrong = |text: String| {
        let text = format!("input {input:?} ({when_busy:?}) at {}: {text}", told.serial);
        out.in_book(Code::A11, book, &[op.line, told.line], text);
    };
    if told.fact.held {
        return;
    }
    if turn != input {
        if *when_busy != WhenBusy::Steer {
            wrong(format!("it was spoken into {turn:?}"));
        }
        if !story.turns.get(turn).is_some_and(|turn| story.is_open(turn, told.serial)) {
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
    for (other, _) in open.filter(|(_, turn)| story.is_open(turn, told.serial)) {
        wrong(format!("{other:?} is still open"));
    }
}
