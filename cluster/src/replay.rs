//! Reads committed entries of a group back from the journal, for a machine that lost a part of its state.

use std::io;
use std::ops::Range;

use crate::ids::GroupId;
use crate::journal::Journal;
use crate::machine::Committed;
use crate::raft::decode_entry;

/// The first entries of `group` in `range`, as they were handed to the machine: up to `max_bytes` of them,
/// but at least one. The caller knows how far they are committed. May block on the disk.
///
/// # Errors
/// The journal does not give them back, or does not have the first one (any more).
pub fn committed(
    journal: &Journal,
    group: GroupId,
    range: Range<u64>,
    max_bytes: usize,
) -> io::Result<Vec<Committed>> {
    let first = range.start;
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let entries = journal.read(group, range, max_bytes)?;
    if entries.first().is_none_or(|entry| first < entry.id.index) {
        let text = format!("the journal does not have entry {first} of {group}");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    entries.into_iter().map(decode_entry).collect()
}
