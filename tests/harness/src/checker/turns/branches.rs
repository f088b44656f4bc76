//! A conversation is a tree: a branch begins with an event that has its number, after a message that was there; whoever
//! sends an input does so on a branch that exists, and all output of a turn stands on the branch of what it answers
//! (A21).

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::report::Code;
use super::super::super::turn::What;
use super::super::Findings;
use super::Story;

pub(super) fn check(story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let (mut branches, mut messages) = (BTreeSet::from([0]), BTreeSet::from([0]));
    let mut of_input: BTreeMap<&str, u64> = BTreeMap::new();
    for received in story.received().filter(|received| received.fact.what.is_output()) {
        let (serial, branch) = (received.serial, received.fact.branch);
        let mut wrong = |text: String| {
            let text = format!("{:?} at {serial} on branch {branch}: {text}", received.fact.what);
            out.in_book(Code::A21, book, &[received.line], text);
        };
        let is_input = received.fact.what == What::Accepted;
        if is_input && branch == serial {
            branches.insert(branch);
        }
        if !branches.contains(&branch) {
            wrong("there is no such branch".into());
        }
        match received.fact.parent {
            Some(parent) if !messages.contains(&parent) => {
                wrong(format!("it follows {parent}, where nothing is said"));
            }
            None if is_input && branch == serial => wrong("it says not what it follows".into()),
            _ => {}
        }
        messages.insert(serial);
        let turn = received.fact.turn.as_str();
        if is_input && let Some(input) = received.fact.input.as_deref() {
            of_input.insert(input, branch);
        }
        // What is held back may come to be answered together.
        if let Some(answered) = of_input.get(turn).filter(|_| !received.fact.held)
            && *answered != branch
        {
            wrong(format!("turn {turn:?} answers something on branch {answered}"));
        }
    }
}
