//! Calls of tools: a call has one key for all who make it, and no other call has it (A13). A call that a client is to
//! make is one device's at a time: each claim has an epoch of its own, in order (A12).

use std::collections::BTreeMap;

use super::super::super::report::Code;
use super::super::super::turn::What;
use super::super::Findings;
use super::super::index::Recorded;
use super::Story;

pub(super) fn check(story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let mut keys: BTreeMap<(&str, &str), &Recorded<'_>> = BTreeMap::new();
    let mut calls: BTreeMap<&str, &Recorded<'_>> = BTreeMap::new();
    let mut claims: BTreeMap<&str, &Recorded<'_>> = BTreeMap::new();
    for received in story.received() {
        let fact = received.fact;
        match fact.what {
            What::ToolStarted | What::ToolFinished => {
                let (Some(call), Some(key)) = (fact.call.as_deref(), fact.key.as_deref()) else {
                    continue;
                };
                let first = *keys.entry((fact.turn.as_str(), call)).or_insert(received);
                let other = *calls.entry(key).or_insert(received);
                let named =
                    |of: &Recorded<'_>| of.fact.turn == fact.turn && of.fact.call == fact.call;
                if first.fact.key.as_deref() != Some(key) || !named(other) {
                    let text = format!("call {call:?} of {:?} has the key {key}", fact.turn);
                    let lines = [first.line, other.line, received.line];
                    out.in_book(Code::A13, book, &lines, text);
                }
            }
            What::CallClaimed => {
                let Some(interaction) = fact.interaction.as_deref() else { continue };
                let before = claims.insert(interaction, received);
                let next = before.and_then(|before| before.fact.epoch).unwrap_or(0) + 1;
                if fact.epoch != Some(next) {
                    let text = format!("{interaction:?} is claimed as {:?}", fact.epoch);
                    let lines: Vec<usize> = before
                        .map(|before| before.line)
                        .into_iter()
                        .chain([received.line])
                        .collect();
                    out.in_book(Code::A12, book, &lines, text);
                }
            }
            _ => {}
        }
    }
}
