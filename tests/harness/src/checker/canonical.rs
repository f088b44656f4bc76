//! S2: an event, once numbered, never changes. One serial has one value and one chain (A3), and one
//! value has one serial (A2), whoever looks, wherever, whenever.

use std::collections::HashMap;

use super::super::report::Code;
use super::Findings;
use super::index::{Book, Index, Sighting, ValueId};

pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    let mut by_serial: HashMap<u64, &Sighting<'_>> = HashMap::new();
    let mut by_value: HashMap<ValueId, &Sighting<'_>> = HashMap::new();
    let mut chains: HashMap<u64, (u64, usize)> = HashMap::new();
    for seen in &book.sightings {
        let serial = seen.serial;
        let known = by_serial.entry(serial).or_insert(seen);
        if known.value != seen.value {
            let (a, b) = (index.names[known.value], index.names[seen.value]);
            let text = format!("serial {serial} is {a:?} and {b:?}");
            out.in_book(Code::A3, book, &[known.line, seen.line], text);
        }
        let known = by_value.entry(seen.value).or_insert(seen);
        if known.serial != serial {
            let name = index.names[seen.value];
            let text = format!("value {name:?} stands at {} and at {serial}", known.serial);
            out.in_book(Code::A2, book, &[known.line, seen.line], text);
        }
        if let Some(chain) = seen.chain {
            let (known, line) = *chains.entry(serial).or_insert((chain, seen.line));
            if known != chain {
                let text = format!("the chain at {serial} is {known:x} and {chain:x}");
                out.in_book(Code::A3, book, &[line, seen.line], text);
            }
        }
    }
}
