//! Reads committed entries of a group back from the journal, for a machine that lost a part of its state.

use std::io;

use crate::ids::GroupId;
use crate::journal::Journal;
use crate::machine::Committed;
use crate::raft::decode_entry;

/// Entries of `group` from index `next` on, as they were handed to the machine. The caller knows how far
/// they are committed.
///
/// # Errors
/// The journal does not give them back, or has purged some of them.
pub fn committed(journal: &Journal, group: GroupId, next: u64) -> io::Result<Vec<Committed>> {
    let entries = journal.read(group, next..u64::MAX, usize::MAX)?;
    if entries.first().is_some_and(|entry| next < entry.id.index) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the entries are purged"));
    }
    entries.into_iter().map(decode_entry).collect()
}
