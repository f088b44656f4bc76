//! The engine on disk. The only place that knows fjall.
//!
//! An engine that could not write or flush takes no more writes until it is opened anew.

use std::error::Error;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable,
    Slice,
};

use rand::RngCore as _;

use super::engine::{Engine, KeyRange, Keys, Rows, Snapshot, Table};
use crate::limits::STORE_CACHE_BYTES;
use crate::runtime::space;

/// Values from this size on are kept beside the tree, in bytes: blocks are, most heads are not.
const SEPARATED_BYTES: u32 = 4096;

/// Tables of the engine in its first level from which on it is behind; from 20 on it slows writes down.
const L0_TABLES: usize = 12;
/// Full tables in memory from which on it is behind; from 4 on it lets writes wait. One that is being written is
/// nothing unusual.
const SEALED_TABLES: usize = 2;
/// What the engine keeps in memory before it writes it, in bytes.
const MEMTABLE_BYTES: u64 = 64 << 20;
/// Size of the engine's own journal, in bytes; on a small disk one in so many of it, and not less than the least.
const JOURNAL_BYTES: u64 = 512 << 20;
const JOURNAL_BYTES_MIN: u64 = 64 << 20;
const JOURNAL_SHARE: u64 = 8;
/// Files that the engine keeps open.
const OPEN_FILES: usize = 256;

/// Pause between two looks whether what was in memory is written.
const FLUSH_LOOK: Duration = Duration::from_millis(10);
/// A key that no table has; and how often it is removed before old versions are let go.
const NOTHING: [u8; 1] = [0];
const WRITES_AFTER: usize = 4;
/// Size from which on the engine begins another file of its journal, in bytes.
const JOURNAL_FILE_BYTES: u64 = 64 << 20;
/// A value that fills it, in bytes, and how many of those are in memory at once.
const FILLER_BYTES: usize = 1 << 20;
const FILLERS_IN_MEMORY: u64 = 16;
/// How often the engine is compacted to erase.
const ERASE_ROUNDS: usize = 3;
/// How often the engine is compacted at most, one time after the other.
const COMPACTIONS: usize = 4;

/// All tables lie in one keyspace, under a first byte of their own. A keyspace is flushed by itself, so with
/// several a killed process would leave a head without the blocks that it counts on.
pub(super) struct Lsm {
    database: Database,
    rows: Keyspace,
}

impl Lsm {
    /// Opens or creates the engine in `dir`.
    ///
    /// # Errors
    /// Also for one with a keyspace for each table, as builds before 0.1.0 made them: nothing is changed.
    pub(super) fn open(dir: &Path) -> io::Result<Lsm> {
        std::fs::create_dir_all(dir)?;
        let total = space::look(dir)?.total;
        let database = Database::builder(dir)
            .manual_journal_persist(true)
            .max_journaling_size((total / JOURNAL_SHARE).clamp(JOURNAL_BYTES_MIN, JOURNAL_BYTES))
            .cache_size(STORE_CACHE_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            .open()
            .map_err(failed)?;
        if database.keyspace_exists("heads") {
            let why =
                "the store was written by an older build, in a layout that this one does not read";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let options = || {
            // A file with anything in it that was removed is written anew, so that a compaction leaves nothing of it.
            let separation = KvSeparationOptions::default()
                .separation_threshold(SEPARATED_BYTES)
                .staleness_threshold(0.0)
                .age_cutoff(1.0);
            let memory = space::piece(total, MEMTABLE_BYTES);
            KeyspaceCreateOptions::default()
                .with_kv_separation(Some(separation))
                .max_memtable_size(memory)
        };
        let rows = database.keyspace("rows", options).map_err(failed)?;
        Ok(Lsm { database, rows })
    }

    /// Writes what is in memory, and lets go of all versions of the tree but the last ones.
    fn write_out(&self) -> io::Result<()> {
        // A version is let go once a few writes came after it.
        for _ in 0..WRITES_AFTER {
            self.rows.remove(NOTHING).map_err(failed)?;
        }
        self.rows.rotate_memtable().map_err(failed)?;
        while 0 < self.rows.sealed_memtable_count() {
            self.check()?;
            std::thread::sleep(FLUSH_LOOK);
        }
        Ok(())
    }

    /// Makes the engine begin another file of its journal, and remove the older ones. It does so only once a file has
    /// its full size: so that is filled.
    fn begin_journal(&self) -> io::Result<()> {
        let mut filler = vec![0; FILLER_BYTES];
        for written in 1..=JOURNAL_FILE_BYTES / FILLER_BYTES as u64 + 1 {
            // What can be compressed fills nothing.
            rand::rng().fill_bytes(&mut filler);
            self.rows.insert(NOTHING, &filler[..]).map_err(failed)?;
            if written % FILLERS_IN_MEMORY == 0 {
                self.write_out()?;
            }
        }
        // The first time it begins another one, and the second time the older ones are written out.
        self.write_out()?;
        self.write_out()
    }

    /// Size of the files in one of its folders: tables, or values that are separated from them.
    fn bytes_in(&self, folder: &str) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.rows.path().join(folder))? {
            // One that was removed meanwhile has none.
            bytes += entry?.metadata().map_or(0, |of| of.len());
        }
        Ok(bytes)
    }

    /// Flushes as the engine does by itself when it has much in memory.
    #[cfg(test)]
    pub(super) fn flush(&self) {
        self.rows.rotate_memtable_and_wait().expect("it flushes");
    }
}

/// The first byte of a table's keys. It may never change.
fn prefix(table: Table) -> u8 {
    match table {
        Table::Heads => 1,
        Table::Blocks => 2,
        Table::Deadlines => 3,
        Table::Marks => 4,
        Table::Living => 5,
        Table::Pieces => 6,
    }
}

fn key_in(table: Table, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 + key.len());
    whole.push(prefix(table));
    whole.extend_from_slice(key);
    whole
}

fn range_in(table: Table, (start, end): KeyRange) -> KeyRange {
    let start = match start {
        Bound::Unbounded => Bound::Included(vec![prefix(table)]),
        start => start.map(|key| key_in(table, &key)),
    };
    let end = match end {
        Bound::Unbounded => Bound::Excluded(vec![prefix(table) + 1]),
        end => end.map(|key| key_in(table, &key)),
    };
    (start, end)
}

/// A key as its table knows it.
fn own(key: Slice) -> Bytes {
    Bytes::from_owner(key).slice(1..)
}

impl Engine for Lsm {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        let value = self.rows.get(key_in(table, key)).map_err(failed)?;
        Ok(value.map(Bytes::from_owner))
    }

    fn insert(&self, table: Table, key: Vec<u8>, value: Vec<u8>) -> io::Result<()> {
        self.rows.insert(key_in(table, &key), value).map_err(failed)
    }

    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()> {
        self.rows.remove(key_in(table, key)).map_err(failed)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(View { at: self.database.snapshot(), rows: self.rows.clone() })
    }

    fn check(&self) -> io::Result<()> {
        self.database.persist(PersistMode::Buffer).map_err(failed)
    }

    fn is_pressed(&self) -> bool {
        SEALED_TABLES <= self.rows.sealed_memtable_count()
            || L0_TABLES <= self.rows.l0_table_count()
    }

    fn compact(&self, free_bytes: u64) -> io::Result<bool> {
        // What was removed is known to the tables only once it is written, too.
        self.write_out()?;
        // A first round finds out which values are not referred to; the next ones drop the files that have no other,
        // and write anew what is left in some of those that have few.
        for _ in 0..COMPACTIONS {
            let (tables, blobs) = (self.bytes_in("tables")?, self.bytes_in("blobs")?);
            let stale = self.rows.fragmented_blob_bytes();
            let left = blobs.saturating_sub(stale).min(stale.saturating_mul(3));
            tracing::debug!(tables, blobs, stale, "the store is to be compacted");
            if free_bytes < tables + left / 4 {
                return Ok(false);
            }
            self.rows.major_compact().map_err(failed)?;
            // The files are there until the engine has gone on from the version that had them.
            self.write_out()?;
            let now = self.bytes_in("blobs")?;
            if blobs <= now && self.rows.fragmented_blob_bytes() <= stale {
                break;
            }
        }
        Ok(true)
    }

    fn erase(&self, free_bytes: u64) -> io::Result<bool> {
        if free_bytes < JOURNAL_FILE_BYTES {
            return Ok(false);
        }
        self.begin_journal()?;
        // A first round finds out what is not referred to, the second one writes the files anew that have some of it;
        // what was read meanwhile is left to the third.
        for _ in 0..ERASE_ROUNDS {
            self.write_out()?;
            let (tables, blobs) = (self.bytes_in("tables")?, self.bytes_in("blobs")?);
            if free_bytes < tables + blobs {
                return Ok(false);
            }
            self.rows.major_compact().map_err(failed)?;
        }
        self.write_out()?;
        Ok(true)
    }

    fn persist(&self) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(failed)
    }
}

struct View {
    at: fjall::Snapshot,
    rows: Keyspace,
}

impl Snapshot for View {
    fn rows(&self, table: Table, range: KeyRange) -> Rows {
        let rows = self.at.range(&self.rows, range_in(table, range));
        Box::new(rows.map(|guard: Guard| {
            let (key, value): (Slice, Slice) = guard.into_inner().map_err(failed)?;
            Ok((own(key), Bytes::from_owner(value)))
        }))
    }

    fn keys(&self, table: Table, range: KeyRange) -> Keys {
        let keys = self.at.range(&self.rows, range_in(table, range));
        Box::new(keys.map(|guard: Guard| guard.key().map(own).map_err(failed)))
    }
}

/// The same error, under the kind that the system gave it.
fn failed(error: fjall::Error) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let mut kind = io::ErrorKind::Other;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            kind = error.kind();
        }
        cause = error.source();
    }
    io::Error::new(kind, error)
}
