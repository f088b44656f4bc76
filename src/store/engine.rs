//! The key-value engine below the store: the seam where tests put an engine that fails.
//!
//! Tables are ordered by key. Writes take effect in order and are durable once [`Engine::persist`]
//! returned; a power cut before that leaves a prefix of them, over all tables. Every call may block on the
//! disk.

use std::io;
use std::ops::Bound;

use bytes::Bytes;

/// What the store keeps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Heads,
    Blocks,
    Deadlines,
    Marks,
    /// The names of sessions that live.
    Living,
    /// The bytes of sessions' files.
    Pieces,
}

/// Where a range of keys begins and ends.
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Keys with their values, in order, from either end.
pub(super) type Rows = Box<dyn DoubleEndedIterator<Item = io::Result<(Bytes, Bytes)>> + Send>;

/// Keys alone; their values are not read.
pub(super) type Keys = Box<dyn DoubleEndedIterator<Item = io::Result<Bytes>> + Send>;

/// An open engine.
pub(super) trait Engine: Send + Sync + 'static {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// Writes a value in place of an older one.
    ///
    /// # Errors
    /// The value may or may not be there, and nothing can be written to this engine any more.
    fn insert(&self, table: Table, key: Vec<u8>, value: Vec<u8>) -> io::Result<()>;

    /// Removes a key; one that is not there is fine.
    ///
    /// # Errors
    /// The key may or may not be there, and nothing can be written to this engine any more.
    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()>;

    /// All tables as they are now.
    fn snapshot(&self) -> Box<dyn Snapshot>;

    /// Gives what was written to the system, and finds out whether the engine takes writes: it may have
    /// failed at work of its own.
    ///
    /// # Errors
    /// Nothing can be written to this engine any more.
    fn check(&self) -> io::Result<()>;

    /// Whether it is about to hold writes up, because its own work is behind.
    fn is_pressed(&self) -> bool;

    /// Makes everything written before this call durable.
    ///
    /// # Errors
    /// Nothing may be concluded about what is on disk, and nothing can be written any more.
    fn persist(&self) -> io::Result<()>;

    /// Gives the disk what was removed, if that can be done within so many free bytes; returns whether it was.
    ///
    /// # Errors
    /// Nothing is lost; what is given back is unknown.
    fn compact(&self, free_bytes: u64) -> io::Result<bool>;

    /// As [`Engine::compact`]: afterwards no file has anything that was removed or overwritten before the call,
    /// unless a snapshot is open that has it.
    ///
    /// # Errors
    /// Nothing is lost; what was erased is unknown.
    fn erase(&self, free_bytes: u64) -> io::Result<bool>;
}

/// What was in an engine at one moment.
pub(super) trait Snapshot: Send {
    fn rows(&self, table: Table, range: KeyRange) -> Rows;

    fn keys(&self, table: Table, range: KeyRange) -> Keys;
}
