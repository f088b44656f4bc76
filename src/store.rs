//! What sessions keep on this node's disk: heads, sealed blocks of events, deadlines and marks.
//!
//! Nothing here is the truth: the journal is. Writes are not synced one by one; [`Store::persist`] makes
//! everything before it durable, and the journal is purged only behind that (S3). The only place that
//! knows fjall.

pub mod kept;
mod keys;

use std::io;
use std::path::Path;

use bytes::Bytes;
use cluster::codec;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable,
};

use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::limits::STORE_CACHE_BYTES;
use kept::{BLOCK_VERSION, Block, HEAD_VERSION, Head};

/// The store of one node. Clones share it. Every call may block on the disk.
#[derive(Clone)]
pub struct Store {
    database: Database,
    heads: Keyspace,
    blocks: Keyspace,
    deadlines: Keyspace,
    marks: Keyspace,
}

impl Store {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// The disk is unusable or the store damaged; it may be removed, and is rebuilt from other replicas
    /// only under a new node id.
    pub fn open(dir: &Path) -> io::Result<Store> {
        let database = Database::builder(dir)
            .manual_journal_persist(true)
            .cache_size(STORE_CACHE_BYTES)
            .open()
            .map_err(io::Error::other)?;
        let plain = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let separated = || {
            let separation = KvSeparationOptions::default().separation_threshold(1024);
            KeyspaceCreateOptions::default().with_kv_separation(Some(separation))
        };
        Ok(Store {
            heads: plain("heads").map_err(io::Error::other)?,
            blocks: database.keyspace("blocks", separated).map_err(io::Error::other)?,
            deadlines: plain("deadlines").map_err(io::Error::other)?,
            marks: plain("marks").map_err(io::Error::other)?,
            database,
        })
    }

    /// Makes everything written before this call durable.
    ///
    /// # Errors
    /// Nothing may be concluded about what is on disk.
    pub fn persist(&self) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(io::Error::other)
    }

    /// The head of a session, if it was ever written.
    ///
    /// # Errors
    /// The disk fails or the head is damaged.
    pub fn head(&self, shard: u32, id: &SessionId) -> io::Result<Option<Head<'static>>> {
        let bytes = self.heads.get(keys::head(shard, id)).map_err(io::Error::other)?;
        bytes.map(|bytes| decode(HEAD_VERSION, &bytes)).transpose()
    }

    /// Writes the head of a session.
    ///
    /// # Errors
    /// The head may or may not be replaced.
    pub fn put_head(&self, shard: u32, id: &SessionId, head: &Head<'_>) -> io::Result<()> {
        let bytes = codec::encode(HEAD_VERSION, head);
        self.heads.insert(keys::head(shard, id), bytes).map_err(io::Error::other)
    }

    /// Writes any bytes in place of a head.
    #[cfg(test)]
    pub(crate) fn put_head_bytes(
        &self,
        shard: u32,
        id: &SessionId,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.heads.insert(keys::head(shard, id), bytes).map_err(io::Error::other)
    }

    /// Heads of a shard in byte order of their ids: those beginning with `prefix`, after `after`.
    pub fn heads(
        &self,
        shard: u32,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = io::Result<(String, Head<'static>)>> + use<> {
        let range = keys::heads_range(shard, prefix, after);
        self.database.snapshot().range(&self.heads, range).map(|guard| {
            let (key, value) = guard.into_inner().map_err(io::Error::other)?;
            Ok((keys::id_of_head(&key)?, decode(HEAD_VERSION, &value)?))
        })
    }

    /// Heads of a shard that know an entry from `since` on, in byte order of their ids. Of the others only the
    /// first field is decoded.
    pub fn heads_since(
        &self,
        shard: u32,
        since: u64,
    ) -> impl Iterator<Item = io::Result<(String, Head<'static>)>> + use<> {
        let range = keys::heads_range(shard, "", None);
        let heads = self.database.snapshot().range(&self.heads, range);
        heads.filter_map(move |guard| changed_head(guard.into_inner(), since).transpose())
    }

    /// Writes a sealed block.
    ///
    /// # Errors
    /// The block may or may not be there.
    pub fn put_block(&self, at: &LogOf<'_>, block: &Block<'_>) -> io::Result<()> {
        let first = block.first().expect("a block has events");
        let bytes = codec::encode(BLOCK_VERSION, block);
        self.blocks.insert(keys::block(at, first), bytes).map_err(io::Error::other)
    }

    /// Sealed blocks in order, beginning with the one that holds `from`.
    pub fn blocks(
        &self,
        at: &LogOf<'_>,
        from: Serial,
    ) -> impl Iterator<Item = io::Result<Block<'static>>> + use<> {
        let view = self.database.snapshot();
        let holds = view.range(&self.blocks, keys::blocks_to(at, from)).next_back();
        let start = holds.and_then(|guard| guard.key().ok()).map(|key| key.to_vec());
        let range = keys::blocks_from(at, start);
        view.range(&self.blocks, range).map(|guard| {
            let value = guard.value().map_err(io::Error::other)?;
            decode(BLOCK_VERSION, &value)
        })
    }

    /// The sealed blocks whose last event came with entry `since` or later, newest first.
    pub fn newest_blocks(
        &self,
        at: &LogOf<'_>,
        since: u64,
    ) -> impl Iterator<Item = io::Result<Block<'static>>> + use<> {
        let range = keys::blocks_from(at, None);
        let blocks = self.database.snapshot().range(&self.blocks, range).rev().map(|guard| {
            let value = guard.value().map_err(io::Error::other)?;
            decode::<Block<'static>>(BLOCK_VERSION, &value)
        });
        blocks.take_while(move |block| block.as_ref().map_or(true, |block| since <= block.index))
    }

    /// Removes the blocks that end before `first`, or all where none is given.
    ///
    /// # Errors
    /// Some may be left; removing again is harmless.
    pub fn free_blocks(&self, at: &LogOf<'_>, first: Option<Serial>) -> io::Result<()> {
        for guard in self.database.snapshot().range(&self.blocks, keys::blocks_from(at, None)) {
            let (key, value) = guard.into_inner().map_err(io::Error::other)?;
            if let Some(first) = first {
                let block: Block<'static> = decode(BLOCK_VERSION, &value)?;
                if block.last().is_none_or(|last| first <= last) {
                    return Ok(());
                }
            }
            self.blocks.remove(key).map_err(io::Error::other)?;
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
            self.deadlines.insert(key, b"").map_err(io::Error::other)?;
        }
        if let Some(old) = instead_of.filter(|old| Some(*old) != due) {
            let key = keys::deadline(shard, old, id);
            self.deadlines.remove(key).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Sessions of a shard whose deadline has come, earliest first, at most `limit`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn due(&self, shard: u32, now: Millis, limit: usize) -> io::Result<Vec<SessionId>> {
        let range = keys::deadlines_to(shard, now);
        let due = self.database.snapshot().range(&self.deadlines, range).take(limit);
        due.map(|guard| keys::id_of_deadline(&guard.key().map_err(io::Error::other)?)).collect()
    }

    /// The mark of a shard's last checkpoint, with the index behind it.
    ///
    /// # Errors
    /// The disk fails or the mark is damaged.
    pub fn mark(&self, shard: u32) -> io::Result<Option<(u64, Bytes)>> {
        let bytes = self.marks.get(shard.to_be_bytes()).map_err(io::Error::other)?;
        bytes.map(|bytes| decode(kept::MARK_VERSION, &bytes)).transpose()
    }

    /// Replaces the mark of a shard.
    ///
    /// # Errors
    /// Either mark may be there.
    pub fn put_mark(&self, shard: u32, next: u64, mark: &Bytes) -> io::Result<()> {
        let bytes = codec::encode(kept::MARK_VERSION, &(next, mark));
        self.marks.insert(shard.to_be_bytes(), bytes).map_err(io::Error::other)
    }
}

/// The head, if it knows an entry from `since` on.
fn changed_head(
    pair: fjall::Result<(fjall::UserKey, fjall::UserValue)>,
    since: u64,
) -> io::Result<Option<(String, Head<'static>)>> {
    let (key, value) = pair.map_err(io::Error::other)?;
    let next: u64 = codec::decode_first(HEAD_VERSION, &value)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if next <= since {
        return Ok(None);
    }
    Ok(Some((keys::id_of_head(&key)?, decode(HEAD_VERSION, &value)?)))
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
