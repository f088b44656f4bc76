//! What sessions keep on this node's disk: heads, sealed blocks of events, pieces of files, deadlines, marks,
//! and the names that live.
//!
//! Nothing here is the truth: the journal is. Writes are not synced one by one; [`Store::persist`]
//! makes everything before it durable, and the journal is purged only after that (S3). The keys and
//! values lie in an [`engine`], on disk or, for tests, in memory.

mod engine;
pub mod fault;
pub mod kept;
mod keys;
mod lsm;
#[cfg(any(test, tokio_unstable))]
pub mod memory;
mod pieces;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cluster::codec;
use serde::Serialize;

use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::runtime::aside;
use engine::{Engine, Table};
use fault::Fault;
use kept::{BLOCK_VERSION, Block, HEAD_VERSION, Head};
pub use pieces::PlacedPiece;
use watch::Watch;

/// The store of one node. Clones share it. Every call may block on the disk.
///
/// A write that fails is the end of the store (see [`fault`]): all later writes are refused.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
    fault: Fault,
    watch: Arc<Watch>,
    /// What was deleted since the store was opened: blocks, pieces of files, and logs, whole or in part.
    freed: Arc<AtomicU64>,
}

impl Store {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// The disk is unusable or the store damaged; it may be removed, and is rebuilt from other replicas
    /// only under a new node id.
    pub fn open(dir: &Path) -> io::Result<Store> {
        let store = Store::over(Arc::new(lsm::Lsm::open(dir)?));
        store.list_anew()?;
        watch::start(&store.engine, &store.watch, &store.fault)?;
        Ok(store)
    }

    fn over(engine: Arc<dyn Engine>) -> Store {
        let (fault, watch, freed) = Default::default();
        Store { engine, fault, watch, freed }
    }

    /// Opens the store on a disk in memory; whoever had it open has it no more.
    #[cfg(any(test, tokio_unstable))]
    pub fn in_memory(disk: &memory::MemoryDisk) -> Store {
        Store::over(Arc::new(disk.open()))
    }

    /// Whether the store has failed.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Writes, unless the store has failed; where it fails now, everyone who waits for that is notified.
    fn write(
        &self,
        what: &'static str,
        work: impl FnOnce(&dyn Engine) -> io::Result<()>,
    ) -> io::Result<()> {
        self.fault.check()?;
        let begun = self.watch.begin();
        let work = || work(&*self.engine);
        // An engine that is behind holds its callers up: that must not be a thread of the runtime.
        let done = if self.watch.is_pressed() { aside(work) } else { work() };
        drop(begun);
        done.inspect_err(|error| self.fault.report(what, error))
    }

    /// Returns once writes need not wait for a sync. A task that awaits this before it writes holds up no thread.
    pub async fn synced(&self) {
        self.watch.synced().await;
    }

    /// Makes everything written before this call durable.
    ///
    /// # Errors
    /// Nothing may be concluded about what is on disk.
    pub fn persist(&self) -> io::Result<()> {
        self.write("a sync", |engine| self.watch.sync(|| engine.persist()))
    }

    /// The head of a session, if it was ever written.
    ///
    /// # Errors
    /// The disk fails or the head is damaged.
    pub fn head(&self, shard: u32, id: &SessionId) -> io::Result<Option<Head>> {
        let bytes = self.engine.get(Table::Heads, &keys::head(shard, id))?;
        bytes.map(|bytes| head_of(&bytes)).transpose()
    }

    /// Writes the head of a session.
    ///
    /// # Errors
    /// The head may or may not be replaced.
    pub fn put_head<S: Serialize, E: Serialize>(
        &self,
        shard: u32,
        id: &SessionId,
        head: &Head<S, E>,
    ) -> io::Result<()> {
        let bytes = codec::encode(HEAD_VERSION, head);
        self.write("a head", |engine| engine.insert(Table::Heads, keys::head(shard, id), bytes))
    }

    /// Writes any bytes in place of a head.
    #[cfg(test)]
    pub(crate) fn put_head_bytes(
        &self,
        shard: u32,
        id: &SessionId,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.engine.insert(Table::Heads, keys::head(shard, id), bytes.to_vec())
    }

    /// Heads of a shard in byte order of their ids: those beginning with `prefix`, after `after`.
    pub fn heads(
        &self,
        shard: u32,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = io::Result<(String, Head)>> + use<> {
        let range = keys::heads_range(shard, prefix, after);
        self.engine.snapshot().rows(Table::Heads, range).map(|row| {
            let (key, value) = row?;
            Ok((keys::id_of_head(&key)?, head_of(&value)?))
        })
    }

    /// Lists a session, or lists it no more. To be written before the head with the same content: what a power
    /// cut keeps of both is then made good by whoever applies the journal again.
    ///
    /// # Errors
    /// It may or may not be listed.
    pub fn put_living(&self, shard: u32, id: &SessionId, lives: bool) -> io::Result<()> {
        let key = keys::head(shard, id);
        self.write("a name", |engine| match lives {
            true => engine.insert(Table::Living, key, Vec::new()),
            false => engine.remove(Table::Living, &key),
        })
    }

    /// The heads of listed sessions, in the order and range of [`Store::heads`]: names that were deleted cost
    /// nothing here.
    pub fn living(
        &self,
        shard: u32,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = io::Result<(String, Head)>> + use<> {
        let range = keys::heads_range(shard, prefix, after);
        let engine = self.engine.clone();
        self.engine.snapshot().keys(Table::Living, range).filter_map(move |key| {
            let head = key.and_then(|key| {
                let Some(bytes) = engine.get(Table::Heads, &key)? else { return Ok(None) };
                Ok(Some((keys::id_of_head(&key)?, head_of(&bytes)?)))
            });
            head.transpose()
        })
    }

    /// Makes the list of a store that has none yet.
    fn list_anew(&self) -> io::Result<()> {
        let all = || (Bound::Unbounded, Bound::Unbounded);
        let view = self.engine.snapshot();
        if view.keys(Table::Living, all()).next().is_some() {
            return Ok(());
        }
        for row in view.rows(Table::Heads, all()) {
            let (key, value) = row?;
            let head: Head = head_of(&value)?;
            if head.session.is_live() {
                let key = key.to_vec();
                self.write("a name", |engine| engine.insert(Table::Living, key, Vec::new()))?;
            }
        }
        Ok(())
    }

    /// Heads of a shard that know an entry from `since` on, in byte order of their ids. Of the others only the
    /// first field is decoded.
    pub fn heads_since(
        &self,
        shard: u32,
        since: u64,
    ) -> impl Iterator<Item = io::Result<(String, Head)>> + use<> {
        let range = keys::heads_range(shard, "", None);
        let heads = self.engine.snapshot().rows(Table::Heads, range);
        heads.filter_map(move |row| changed_head(row, since).transpose())
    }

    /// Writes a sealed block that begins with `first`.
    ///
    /// # Errors
    /// The block may or may not be there.
    pub fn put_block<E: Serialize>(
        &self,
        at: &LogOf<'_>,
        first: Serial,
        block: &Block<E>,
    ) -> io::Result<()> {
        let bytes = codec::encode(BLOCK_VERSION, block);
        self.write("a block", |engine| engine.insert(Table::Blocks, keys::block(at, first), bytes))
    }

    /// Sealed blocks in order, beginning with the one that holds `from`.
    pub fn blocks(
        &self,
        at: &LogOf<'_>,
        from: Serial,
    ) -> impl Iterator<Item = io::Result<Block>> + use<> {
        let view = self.engine.snapshot();
        let holds = view.keys(Table::Blocks, keys::blocks_to(at, from)).next_back();
        let (start, failed) = match holds {
            Some(Ok(key)) => (Some(key.to_vec()), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        // A reader that does not know where to begin does not begin somewhere else.
        let found = failed.is_none();
        let rows = found.then(|| view.rows(Table::Blocks, keys::blocks_from(at, start)));
        let blocks = rows.into_iter().flatten().map(|row| decode(BLOCK_VERSION, &row?.1));
        failed.map(Err).into_iter().chain(blocks)
    }

    /// The sealed blocks whose last event came with entry `since` or later, newest first.
    pub fn newest_blocks(
        &self,
        at: &LogOf<'_>,
        since: u64,
    ) -> impl Iterator<Item = io::Result<Block>> + use<> {
        let range = keys::blocks_from(at, None);
        let blocks = self.engine.snapshot().rows(Table::Blocks, range).rev();
        let blocks = blocks.map(|row| decode::<Block>(BLOCK_VERSION, &row?.1));
        blocks.take_while(move |block| block.as_ref().map_or(true, |block| since <= block.index))
    }

    /// Removes the blocks that end before `first`, or all where none is given. Those before the one that holds `from`
    /// are known to be gone.
    ///
    /// # Errors
    /// Some may be left; removing again is harmless.
    pub fn free_blocks(
        &self,
        at: &LogOf<'_>,
        from: Option<Serial>,
        first: Option<Serial>,
    ) -> io::Result<()> {
        let view = self.engine.snapshot();
        let holds =
            from.and_then(|from| view.keys(Table::Blocks, keys::blocks_to(at, from)).next_back());
        let start = holds.transpose()?.map(|key| key.to_vec());
        let mut keys = view.keys(Table::Blocks, keys::blocks_from(at, start)).peekable();
        while let Some(key) = keys.next().transpose()? {
            if let Some(first) = first {
                // A block ends before the next one begins.
                let ends = match keys.peek() {
                    Some(Ok(next)) => keys::first_of_block(next)? <= first,
                    Some(Err(_)) => continue,
                    None => match self.engine.get(Table::Blocks, &key)? {
                        None => true,
                        Some(last) => {
                            let last: Block = decode(BLOCK_VERSION, &last)?;
                            last.last().is_some_and(|last| last < first)
                        }
                    },
                };
                if !ends {
                    return Ok(());
                }
            }
            self.write("a freed block", |engine| engine.remove(Table::Blocks, &key))?;
            self.note_freed();
        }
        Ok(())
    }

    /// Counts what was deleted since the store was opened: blocks, pieces of files, and logs, whole or in part. The
    /// disk has it still, until the store is compacted.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Counts something that the next head of a session does not have any more.
    pub fn note_freed(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the disk what was removed, if that can be done within so many free bytes; returns whether it was. May
    /// take long.
    ///
    /// # Errors
    /// Nothing is lost; what is given back is unknown.
    pub fn compact(&self, free_bytes: u64) -> io::Result<bool> {
        self.fault.check()?;
        self.engine.compact(free_bytes)
    }

    /// Takes everything off the disk that was removed or overwritten before the call, if that can be done within so
    /// many free bytes; returns whether it was. What is read meanwhile may be left. May take long.
    ///
    /// # Errors
    /// Nothing is lost; what was erased is unknown.
    pub fn erase(&self, free_bytes: u64) -> io::Result<bool> {
        self.fault.check()?;
        self.engine.erase(free_bytes)
    }

    /// Remembers that the session should be looked at at `due`, in place of `instead_of`.
    ///
    /// # Errors
    /// Either deadline may be remembered.
    pub fn put_deadline(
        &self,
        shard: u32,
        id: &SessionId,
        due: Option<Millis>,
        instead_of: Option<Millis>,
    ) -> io::Result<()> {
        if let Some(due) = due {
            let key = keys::deadline(shard, due, id);
            self.write("a deadline", |engine| engine.insert(Table::Deadlines, key, Vec::new()))?;
        }
        if let Some(old) = instead_of.filter(|old| Some(*old) != due) {
            let key = keys::deadline(shard, old, id);
            self.write("a deadline", |engine| engine.remove(Table::Deadlines, &key))?;
        }
        Ok(())
    }

    /// Whether the session is filed under this deadline.
    ///
    /// # Errors
    /// The disk fails.
    pub fn is_filed(&self, shard: u32, id: &SessionId, due: Millis) -> io::Result<bool> {
        let row = self.engine.get(Table::Deadlines, &keys::deadline(shard, due, id))?;
        Ok(row.is_some())
    }

    /// Sessions of a shard whose deadline has come, each with the deadline under which it is filed, earliest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn due(
        &self,
        shard: u32,
        now: Millis,
        limit: usize,
    ) -> io::Result<Vec<(Millis, SessionId)>> {
        let range = keys::deadlines_to(shard, now);
        let due = self.engine.snapshot().keys(Table::Deadlines, range).take(limit);
        due.map(|key| keys::parts_of_deadline(&key?)).collect()
    }

    /// The mark of a shard's last checkpoint, with the index after it.
    ///
    /// # Errors
    /// The disk fails or the mark is damaged.
    pub fn mark(&self, shard: u32) -> io::Result<Option<(u64, Bytes)>> {
        let bytes = self.engine.get(Table::Marks, &shard.to_be_bytes())?;
        bytes.map(|bytes| decode(kept::MARK_VERSION, &bytes)).transpose()
    }

    /// Makes everything written before this call durable, and then the mark of a shard that records it. The engine
    /// keeps writes in their order, so that a mark which a power cut leaves has all before it; the first sync does
    /// not rely on that.
    ///
    /// # Errors
    /// Either mark may be there.
    pub fn cover(&self, shard: u32, next: u64, mark: &Bytes) -> io::Result<()> {
        self.persist()?;
        self.put_mark(shard, next, mark)?;
        self.persist()
    }

    fn put_mark(&self, shard: u32, next: u64, mark: &Bytes) -> io::Result<()> {
        let bytes = codec::encode(kept::MARK_VERSION, &(next, mark));
        let key = shard.to_be_bytes().to_vec();
        self.write("a mark", |engine| engine.insert(Table::Marks, key, bytes))
    }
}

/// The head, if it knows an entry from `since` on.
fn changed_head(row: io::Result<(Bytes, Bytes)>, since: u64) -> io::Result<Option<(String, Head)>> {
    let (key, value) = row?;
    let next: u64 = codec::decode_first(HEAD_VERSION, &value)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if next <= since {
        return Ok(None);
    }
    Ok(Some((keys::id_of_head(&key)?, head_of(&value)?)))
}

/// A head, and none that breaks the rules of sessions.
fn head_of(bytes: &[u8]) -> io::Result<Head> {
    let head: Head = decode(HEAD_VERSION, bytes)?;
    let checked = head.session.check();
    checked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(head)
}

fn decode<T: serde::de::DeserializeOwned>(version: u8, bytes: &[u8]) -> io::Result<T> {
    codec::decode(version, bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// One life of one session's log.
#[derive(Clone, Copy, Debug)]
pub struct LogOf<'a> {
    pub shard: u32,
    pub id: &'a SessionId,
    pub incarnation: Incarnation,
}
