//! Faults in what was imported: another event, another chain, an event less.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::checker::Expectations;
use super::super::history::{Answer, History, Kind, Record};
use super::{choose, index};

/// Changes one record of an import that the final log has, too.
fn import(
    h: &History,
    e: &Expectations,
    rng: &mut StdRng,
    change: impl FnOnce(&mut Vec<Record>, usize, &mut u64),
) -> Option<History> {
    let index = index(h, e);
    let all = index.ops.iter().filter_map(|op| match op.answer()? {
        Answer::Imported { incarnation, records, .. } if !records.is_empty() => {
            index.books[&(op.session, *incarnation)].log.as_ref()?;
            Some(op.done_line)
        }
        _ => None,
    });
    let line = choose(rng, all)?;
    let mut history = h.clone();
    let Kind::Ok { answer: Answer::Imported { records, chain, .. }, .. } =
        &mut history.events[line].kind
    else {
        return None;
    };
    let at = rng.random_range(0..records.len());
    change(records, at, chain);
    Some(history)
}

pub(super) fn event(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    import(h, e, rng, |records, at, _| records[at].value = "another".into())
}

pub(super) fn chain(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    import(h, e, rng, |records, at, _| records[at].chain = Some(7))
}

pub(super) fn end(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    import(h, e, rng, |_, _, chain| *chain ^= 1)
}

pub(super) fn lost(h: &History, e: &Expectations, rng: &mut StdRng) -> Option<History> {
    import(h, e, rng, |records, at, _| drop(records.remove(at)))
}
