//! S11: whoever speaks into a turn is told once what became of it: consumed, deferred or dropped (A11).

use std::collections::BTreeMap;

use super::super::super::report::Code;
use super::super::super::turn::What;
use super::super::Findings;
use super::super::index::{Index, Told};
use super::Story;

pub(super) fn check(index: &Index<'_>, story: &Story<'_, '_>, out: &mut Findings) {
    let book = story.book;
    // A service that gives none at all does not promise them yet.
    let mut told = index.books.values().flat_map(|book| &book.told);
    if !told.any(|told| told.fact.what.is_final_receipt()) {
        return;
    }
    let mut finals: BTreeMap<&str, Vec<&Told<'_>>> = BTreeMap::new();
    let mut accepted: BTreeMap<&str, &Told<'_>> = BTreeMap::new();
    for told in story.told() {
        let Some(input) = told.fact.input.as_deref() else { continue };
        match told.fact.what {
            What::Accepted => {
                accepted.entry(input).or_insert(told);
            }
            what if what.is_final_receipt() || what == What::Delivered => {
                if !accepted.contains_key(input) {
                    let text = format!("a receipt for {input:?} at {} comes first", told.serial);
                    out.in_book(Code::A11, book, &[told.line], text);
                }
                let finals = finals.entry(input).or_default();
                if what.is_final_receipt() {
                    finals.push(told);
                } else if let Some(earlier) = finals.first() {
                    let text = format!("{input:?} is delivered at {} after its end", told.serial);
                    out.in_book(Code::A11, book, &[earlier.line, told.line], text);
                }
            }
            _ => {}
        }
    }
    for (input, told) in accepted {
        let steers = told.fact.turn != input && !told.fact.held;
        match finals.get(input).map_or(&[][..], Vec::as_slice) {
            [] if steers => {
                let text = format!("nobody says what became of input {input:?}");
                out.in_book(Code::A11, book, &[told.line], text);
            }
            [first, second, ..] => {
                let (a, b) = (first.fact.what, second.fact.what);
                let text = format!("input {input:?} has two ends: {a:?} and {b:?}");
                out.in_book(Code::A11, book, &[first.line, second.line], text);
            }
            _ => {}
        }
    }
}
