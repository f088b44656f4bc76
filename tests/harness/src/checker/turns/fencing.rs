//! S4: a turn is one worker's at a time. Epochs grow and belong to one claim (A12); a worker whose turn was
//! lost or given to another has nothing in the log after that, and is refused (A10).

use std::collections::{BTreeMap, HashMap};

use super::super::super::history::{Answer, Call, Taken};
use super::super::super::report::Code;
use super::super::super::turn::What;
use super::super::Findings;
use super::super::index::{Index, NEVER, Op};
use super::{Story, is_new};

pub(super) fn check(index: &Index<'_>, story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    let mut holders: BTreeMap<&str, u64> = BTreeMap::new();
    let mut started: HashMap<u64, &str> = HashMap::new();
    let mut last = (0, None);
    for received in story.received() {
        let turn = received.fact.turn.as_str();
        let Some(epoch) = received.fact.epoch else {
            if received.fact.what.is_terminal() {
                holders.remove(turn);
            }
            continue;
        };
        let holder = holders.get(turn).copied();
        match received.fact.what {
            What::Started => {
                if epoch <= last.0 {
                    let text =
                        format!("epoch {epoch} is given at {} after {}", received.serial, last.0);
                    let lines: Vec<usize> = last.1.into_iter().chain([received.line]).collect();
                    out.in_book(Code::A12, book, &lines, text);
                }
                if let Some(holder) = holder {
                    let text =
                        format!("{turn:?} is given at {} while {holder} has it", received.serial);
                    out.in_book(Code::A12, book, &[received.line], text);
                }
                last = (epoch.max(last.0), Some(received.line));
                holders.insert(turn, epoch);
                started.insert(epoch, turn);
            }
            What::ToolFinished if received.fact.late => {}
            What::Output | What::Lost | What::Stalled | What::ToolStarted | What::ToolFinished => {
                if holder != Some(epoch) {
                    let text = format!(
                        "{:?} of {turn:?} at {} by epoch {epoch}; it belongs to {holder:?}",
                        received.fact.what, received.serial
                    );
                    out.in_book(Code::A10, book, &[received.line], text);
                }
                if received.fact.what == What::Lost {
                    holders.remove(turn);
                }
            }
            _ => {}
        }
    }
    claims(index, story, &started, out);
}

/// The answers to workers fit the log, and those that were replaced get no more successes.
fn claims(
    index: &Index<'_>,
    story: &Story<'_, '_>,
    started: &HashMap<u64, &str>,
    out: &mut Findings,
) {
    let book = story.book;
    let mut given: HashMap<u64, &Op<'_>> = HashMap::new();
    // Of each turn: the earliest moment at which a worker knew that an epoch had it.
    let mut known: BTreeMap<&str, BTreeMap<u64, &Op<'_>>> = BTreeMap::new();
    for op in &index.ops {
        let (Call::Claim { .. }, Some(Answer::Claimed { taken: Some(taken) })) =
            (op.call, op.answer())
        else {
            continue;
        };
        let Taken { session, turn, epoch } = taken;
        if session != book.session {
            continue;
        }
        if started.get(epoch) != Some(&turn.as_str()) {
            let text = format!("a claim was given {turn:?} as {epoch}, which never started");
            out.in_book(Code::A12, book, &[op.line, op.done_line], text);
        }
        if let Some(other) = given.insert(*epoch, op) {
            let text = format!("two claims were given epoch {epoch}");
            out.in_book(Code::A12, book, &[other.done_line, op.done_line], text);
        }
        known.entry(turn).or_default().insert(*epoch, op);
    }
    for op in story.calls.iter().filter(|op| is_new(op)) {
        let Call::Report { turn, epoch, .. } = op.call else { continue };
        let later = known.get(turn.as_str()).and_then(|all| all.range(epoch + 1..).next());
        if let Some((other, claim)) = later
            && claim.ret < op.inv
            && claim.ret != NEVER
        {
            let text = format!("epoch {epoch} of {turn:?} was heard although {other} had the turn");
            out.in_book(Code::A10, book, &[claim.done_line, op.line, op.done_line], text);
        }
    }
}
