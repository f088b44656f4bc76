//! What sessions keep on this node's disk: heads, sealed blocks of events, deadlines and marks.
//!
//! Nothing here is the truth: the journal is. Writes are not synced one by one; [`Store::persist`] makes
//! everything before it durable, and the journal is purged only behind that (S3). The keys and values
//! lie in an [`engine`], on disk or, for tests, in memory.

mod engine;
pub mod kept;
mod keys;
mod lsm;
#[cfg(any(test, tokio_unstable))]
pub mod memory;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cluster::codec;

use crate::ids::{Incarnation, Millis, Serial, SessionId};
use engine::{Engine, Table};
use kept::{BLOCK_VERSION, Block, HEAD_VERSION, Head};

/// The store of one node. Clones share it. Every call may block on the disk.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
}

impl Store {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// The disk is unusable or the store damaged; it may be removed, and is rebuilt from other replicas
    /// only under a new node id.
    pub fn open(dir: &Path) -> io::Result<Store> {
        Ok(Store { engine: Arc::new(lsm::Lsm::open(dir)?) })
    }

    /// Opens the store on a disk in memory; whoever had it open has it no more.
    #[cfg(any(test, tokio_unstable))]
    pub fn in_memory(disk: &memory::MemoryDisk) -> Store {
        Store { engine: Arc::new(disk.open()) }
    }

    /// Makes everything written before this call durable.
    ///
    /// # Errors
    /// Nothing may be concluded about what is on disk.
    pub fn persist(&self) -> io::Result<()> {
        self.engine.persist()
    }

    /// The head of a session, if it was ever written.
    ///
    /// # Errors
    /// The disk fails or the head is damaged.
    pub fn head(&self, shard: u32, id: &SessionId) -> io::Result<Option<Head<'static>>> {
        let bytes = self.engine.get(Table::Heads, &keys::head(shard, id))?;
        bytes.map(|bytes| decode(HEAD_VERSION, &bytes)).transpose()
    }

    /// Writes the head of a session.
    ///
    /// # Errors
    /// The head may or may not be replaced.
    pub fn put_head(&self, shard: u32, id: &SessionId, head: &Head<'_>) -> io::Result<()> {
        let bytes = codec::encode(HEAD_VERSION, head);
        self.engine.insert(Table::Heads, keys::head(shard, id), bytes)
    }

    /// Heads of a shard in byte order of their ids: those beginning with `prefix`, after `after`.
    pub fn heads(
        &self,
        shard: u32,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = io::Result<(String, Head<'static>)>> + use<> {
        let range = keys::heads_range(shard, prefix, after);
        self.engine.snapshot().rows(Table::Heads, range).map(|row| {
            let (key, value) = row?;
            Ok((keys::id_of_head(&key)?, decode(HEAD_VERSION, &value)?))
        })
    }

    /// Writes a sealed block.
    ///
    /// # Errors
    /// The block may or may not be there.
    pub fn put_block(&self, at: &LogOf<'_>, block: &Block<'_>) -> io::Result<()> {
        let first = block.first().expect("a block has events");
        let bytes = codec::encode(BLOCK_VERSION, block);
        self.engine.insert(Table::Blocks, keys::block(at, first), bytes)
    }

    /// Sealed blocks in order, beginning with the one that holds `from`.
    pub fn blocks(
        &self,
        at: &LogOf<'_>,
        from: Serial,
    ) -> impl Iterator<Item = io::Result<Block<'static>>> + use<> {
        let view = self.engine.snapshot();
        let holds = view.keys(Table::Blocks, keys::blocks_to(at, from)).next_back();
        let (start, failed) = match holds {
            Some(Ok(key)) => (Some(key.to_vec()), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        // Whoever cannot tell where to begin does not begin somewhere else.
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
    ) -> impl Iterator<Item = io::Result<Block<'static>>> + use<> {
        let range = keys::blocks_from(at, None);
        let blocks = self.engine.snapshot().rows(Table::Blocks, range).rev();
        let blocks = blocks.map(|row| decode::<Block<'static>>(BLOCK_VERSION, &row?.1));
        blocks.take_while(move |block| block.as_ref().map_or(true, |block| since <= block.index))
    }

    /// Removes the blocks that end before `first`, or all where none is given.
    ///
    /// # Errors
    /// Some may be left; removing again is harmless.
    pub fn free_blocks(&self, at: &LogOf<'_>, first: Option<Serial>) -> io::Result<()> {
        let view = self.engine.snapshot();
        for row in view.rows(Table::Blocks, keys::blocks_from(at, None)) {
            let (key, value) = row?;
            if let Some(first) = first {
                let block: Block<'static> = decode(BLOCK_VERSION, &value)?;
                if block.last().is_none_or(|last| first <= last) {
                    return Ok(());
                }
            }
            self.engine.remove(Table::Blocks, &key)?;
        }
        Ok(())
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
            self.engine.insert(Table::Deadlines, key, Vec::new())?;
        }
        if let Some(old) = instead_of.filter(|old| Some(*old) != due) {
            let key = keys::deadline(shard, old, id);
            self.engine.remove(Table::Deadlines, &key)?;
        }
        Ok(())
    }

    /// Sessions of a shard whose deadline has come, earliest first, at most `limit`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn due(&self, shard: u32, now: Millis, limit: usize) -> io::Result<Vec<SessionId>> {
        let range = keys::deadlines_to(shard, now);
        let due = self.engine.snapshot().keys(Table::Deadlines, range).take(limit);
        due.map(|key| keys::id_of_deadline(&key?)).collect()
    }

    /// The mark of a shard's last checkpoint, with the index behind it.
    ///
    /// # Errors
    /// The disk fails or the mark is damaged.
    pub fn mark(&self, shard: u32) -> io::Result<Option<(u64, Bytes)>> {
        let bytes = self.engine.get(Table::Marks, &shard.to_be_bytes())?;
        bytes.map(|bytes| decode(kept::MARK_VERSION, &bytes)).transpose()
    }

    /// Replaces the mark of a shard.
    ///
    /// # Errors
    /// Either mark may be there.
    pub fn put_mark(&self, shard: u32, next: u64, mark: &Bytes) -> io::Result<()> {
        let bytes = codec::encode(kept::MARK_VERSION, &(next, mark));
        self.engine.insert(Table::Marks, shard.to_be_bytes().to_vec(), bytes)
    }
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
