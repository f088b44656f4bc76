//! The hash that runs through a log, by which two copies of it are compared at any serial.
//!
//! ```text
//! chain_0 = xxh3_64(session id ‖ incarnation)
//! chain_n = xxh3_64(chain_{n-1} ‖ serial ‖ epoch ‖ format length ‖ format ‖ fact ‖ payload)
//! ```
//!
//! Integers are little endian: chains, serials and epochs take 8 bytes, the incarnation and the format
//! length 4. An event without origin has epoch 0. A fact is its name, its turn and its agent (or empty
//! texts) and then its members in their order ([`super::Fact::members`]), each after its name: a text after
//! its length (4 bytes), a number in 8 bytes, a flag in one. What is absent has no member; an event without
//! a fact has nothing there. The hash is xxHash's XXH3, 64 bits, without seed. It finds accidents and bugs,
//! not attackers.

use xxhash_rust::xxh3::Xxh3;

use super::event::Event;
use crate::ids::{Incarnation, SessionId};

/// The chain before the first event.
pub fn start(id: &SessionId, incarnation: Incarnation) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(id.full().as_bytes());
    hash.update(&incarnation.0.to_le_bytes());
    hash.digest()
}

/// The chain at `event`, given the chain before it; the field `event.chain` is not looked at.
pub fn next(previous: u64, event: &Event) -> u64 {
    let format = event.format.as_str().as_bytes();
    let format_len = u32::try_from(format.len()).expect("a format is short");
    let mut hash = Xxh3::new();
    hash.update(&previous.to_le_bytes());
    hash.update(&event.serial.0.to_le_bytes());
    hash.update(&event.origin.as_ref().map_or(0, |origin| origin.epoch.0).to_le_bytes());
    hash.update(&format_len.to_le_bytes());
    hash.update(format);
    if let Some(fact) = &event.fact {
        fact.feed(event.agent.as_ref(), &mut |bytes| hash.update(bytes));
    }
    hash.update(&event.payload);
    hash.digest()
}
