//! An import is the same chain: what was imported from a session has its events under their serials, with their hashes,
//! dense from where it begins to where it was left (A22).

use std::collections::HashMap;

use super::super::history::{Answer, Call};
use super::super::report::Code;
use super::Findings;
use super::index::{Book, Index, Sighting};

pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    let answered = book.answered.iter().map(|&place| &index.ops[place]);
    let mut imports = answered.filter(|op| matches!(op.call, Call::Import { .. })).peekable();
    if imports.peek().is_none() {
        return;
    }
    let (mut values, mut chains) = (HashMap::new(), HashMap::new());
    for seen in &book.sightings {
        values.entry(seen.serial).or_insert(seen);
        if let Some(chain) = seen.chain {
            chains.entry(seen.serial).or_insert((chain, seen));
        }
    }
    for op in imports {
        let Some(Answer::Imported { first, tail, chain, records, .. }) = op.answer() else {
            continue;
        };
        let mut wrong = |seen: Option<&Sighting<'_>>, text: String| {
            let lines: Vec<_> =
                seen.map(|seen| seen.line).into_iter().chain([op.done_line]).collect();
            out.in_book(Code::A22, book, &lines, text);
        };
        let dense = records.iter().map(|record| record.serial).eq(*first..=*tail);
        if !dense {
            wrong(None, format!("what was imported is not all from {first} to {tail}"));
        }
        for record in records {
            let serial = record.serial;
            if let Some(seen) = values.get(&serial)
                && index.names[seen.value] != record.value
            {
                let (a, b) = (index.names[seen.value], &record.value);
                wrong(Some(*seen), format!("event {serial} was {a:?} and was imported as {b:?}"));
            }
            if let (Some(chain), Some((known, seen))) = (record.chain, chains.get(&serial))
                && chain != *known
            {
                wrong(Some(*seen), format!("the chain at {serial} was {known:x} and is {chain:x}"));
            }
        }
        if let Some((known, seen)) = chains.get(tail)
            && chain != known
        {
            wrong(Some(*seen), format!("the import ends in {chain:x}, and the log in {known:x}"));
        }
    }
}
