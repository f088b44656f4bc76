//! The engine on disk. The only place that knows fjall.
//!
//! An engine that could not write or flush takes no more writes until it is opened anew.

use std::error::Error;
use std::io;
use std::path::Path;

use bytes::Bytes;
use fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable,
    Slice,
};

use super::engine::{Engine, KeyRange, Keys, Rows, Snapshot, Table};
use crate::limits::STORE_CACHE_BYTES;

/// Values from this size on are kept beside the tree of the blocks, in bytes.
const SEPARATED_BYTES: u32 = 1024;

/// Tables in the first level from which on the engine is behind; from 20 on it slows writes down.
const L0_TABLES: usize = 12;
/// Files that the engine keeps open.
const OPEN_FILES: usize = 256;

pub(super) struct Lsm {
    database: Database,
    tables: Tables,
}

#[derive(Clone)]
struct Tables {
    heads: Keyspace,
    blocks: Keyspace,
    deadlines: Keyspace,
    marks: Keyspace,
    living: Keyspace,
}

impl Lsm {
    /// Opens or creates the engine in `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Lsm> {
        let database = Database::builder(dir)
            .manual_journal_persist(true)
            .cache_size(STORE_CACHE_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            .open()
            .map_err(failed)?;
        let plain = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let separated = || {
            let separation = KvSeparationOptions::default().separation_threshold(SEPARATED_BYTES);
            KeyspaceCreateOptions::default().with_kv_separation(Some(separation))
        };
        let tables = Tables {
            heads: plain("heads").map_err(failed)?,
            blocks: database.keyspace("blocks", separated).map_err(failed)?,
            deadlines: plain("deadlines").map_err(failed)?,
            marks: plain("marks").map_err(failed)?,
            living: plain("living").map_err(failed)?,
        };
        Ok(Lsm { database, tables })
    }
}

impl Tables {
    fn of(&self, table: Table) -> &Keyspace {
        match table {
            Table::Heads => &self.heads,
            Table::Blocks => &self.blocks,
            Table::Deadlines => &self.deadlines,
            Table::Marks => &self.marks,
            Table::Living => &self.living,
        }
    }
}

impl Engine for Lsm {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        let value = self.tables.of(table).get(key).map_err(failed)?;
        Ok(value.map(Bytes::from_owner))
    }

    fn insert(&self, table: Table, key: Vec<u8>, value: Vec<u8>) -> io::Result<()> {
        self.tables.of(table).insert(key, value).map_err(failed)
    }

    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()> {
        self.tables.of(table).remove(key).map_err(failed)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(View { at: self.database.snapshot(), tables: self.tables.clone() })
    }

    fn check(&self) -> io::Result<()> {
        self.database.persist(PersistMode::Buffer).map_err(failed)
    }

    fn is_pressed(&self) -> bool {
        let many = |table: &Keyspace| L0_TABLES <= table.l0_table_count();
        let Tables { heads, blocks, deadlines, marks, living } = &self.tables;
        0 < self.database.outstanding_flushes()
            || [heads, blocks, deadlines, marks, living].into_iter().any(many)
    }

    fn persist(&self) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(failed)
    }
}

struct View {
    at: fjall::Snapshot,
    tables: Tables,
}

impl Snapshot for View {
    fn rows(&self, table: Table, range: KeyRange) -> Rows {
        Box::new(self.at.range(self.tables.of(table), range).map(|guard: Guard| {
            let (key, value): (Slice, Slice) = guard.into_inner().map_err(failed)?;
            Ok((Bytes::from_owner(key), Bytes::from_owner(value)))
        }))
    }

    fn keys(&self, table: Table, range: KeyRange) -> Keys {
        let keys = self.at.range(self.tables.of(table), range);
        Box::new(keys.map(|guard: Guard| guard.key().map(Bytes::from_owner).map_err(failed)))
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
