//! One journal per node, shared by all groups: what a group must not forget, in order, on disk.
//!
//! Entries, votes, truncations and purges of every group ride in one queue to one [`Writer`]; one
//! sync serves everybody who waits. No timers: what gathers while a sync is in flight rides in the
//! next one. The format, and what recovery detects, is in `docs/JOURNAL.md`. Keeps S3's "on disk".

mod batch;
pub mod disk;
pub mod fault_disk;
mod index;
mod ledger;
mod log;
mod queue;
mod read;
mod record;
mod recovery;
mod segment;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use self::disk::{Disk, File};
use self::index::Index;
use self::queue::{Item, Shared, State};
pub use self::read::Found;
use self::record::{Kind, Record};
use self::segment::{Header, SECTOR, Segment};
pub use self::writer::{Round, Writer};
use crate::ids::{EntryId, GroupId};
use crate::limits::RECORD_BYTES;

/// Where a journal is, and how large its parts are.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Directory that holds nothing else; created when missing.
    pub dir: PathBuf,
    /// Size of one segment, in bytes; usually [`crate::limits::SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Bytes of recent payload kept in memory for each group.
    pub tail_bytes: usize,
}

/// One entry of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which entry it is.
    pub id: EntryId,
    /// What the group wrote in it; the journal does not look inside.
    pub payload: Bytes,
}

/// Called once, from the writer: `Ok` after the sync, an error when it will never be durable.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// How one group stands, everything accepted included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The last vote, as Raft encoded it.
    pub vote: Option<Bytes>,
    /// How far the log was known to be committed, as Raft encoded it; may be behind.
    pub committed: Option<Bytes>,
    /// The last entry that was given up because a checkpoint covers it.
    pub purged: Option<EntryId>,
    /// The last entry; what was purged last when there is none.
    pub last: Option<EntryId>,
}

/// Counters since the journal was opened, and gauges as of now. Bytes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Syncs of batches.
    pub fsyncs: u64,
    /// Batches written.
    pub batches: u64,
    /// Records written: entries, votes, cuts.
    pub records: u64,
    /// Everything written: frames, records, padding.
    pub bytes_written: u64,
    /// Payload alone.
    pub payload_bytes: u64,
    /// Torn bytes that recovery cut.
    pub cut_bytes: u64,
    /// Segment files made.
    pub segments_created: u64,
    /// Segment files whose every record was given up.
    pub segments_removed: u64,
    /// Rounds that could not write for lack of space.
    pub stalls: u64,
    /// Segments on disk, the spare included.
    pub segments: u64,
    /// Bytes allocated on disk.
    pub disk_bytes: u64,
    /// Bytes accepted and not durable.
    pub queued_bytes: u64,
}

/// Why a journal does not open. Nothing on disk was changed by the first three.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something durable is damaged or lost; repair is for a person, or from another replica.
    #[error("segment {segment:016x} is damaged at offset {offset}: {what}")]
    Corrupt {
        /// The file's number.
        segment: u64,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A later program wrote it.
    #[error("segment {segment:016x} has format {found}; this program knows 1")]
    Format {
        /// The file's number.
        segment: u64,
        /// The format that its header names.
        found: u32,
    },
    /// Another process holds the directory.
    #[error("the journal is in use by another process")]
    Locked,
    /// May be repeated.
    #[error("the journal cannot be opened: {0}")]
    Io(#[from] io::Error),
}

/// The handle to the journal of this node; clones are cheap. Dropping the last one closes it.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Journal {
    /// Recovers what is on disk, or begins a new journal. The writer must then be driven.
    ///
    /// # Errors
    /// See [`OpenError`]: damage below the durable mark refuses, and truncates nothing.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
    ) -> Result<(Journal, Writer), OpenError> {
        let JournalConfig { dir, segment_bytes, tail_bytes } = config;
        disk.create_dir(&dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent)?;
        }
        let guard = disk.lock(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::Io(error),
        })?;
        let recovered = match recovery::recover(disk.as_ref(), &dir)? {
            Some(recovered) => recovered,
            None => {
                let journal = disk.random();
                let header = Header { seq: 1, journal, size: segment_bytes.max(4 * SECTOR as u64) };
                Segment::create(disk.as_ref(), &dir, header)?;
                let missing = io::Error::other("the new segment is not there");
                recovery::recover(disk.as_ref(), &dir)?.ok_or(missing)?
            }
        };
        let segments: BTreeMap<u64, Arc<dyn File>> =
            recovered.segments.iter().map(|segment| (segment.seq, segment.file.clone())).collect();
        let disk_bytes = recovered.segments.iter().map(|segment| segment.size).sum();
        let stats = JournalStats { cut_bytes: recovered.cut_bytes, ..JournalStats::default() };
        let state = State {
            index: Index::new(&recovered.ledger, tail_bytes),
            queue: VecDeque::new(),
            queued_bytes: 0,
            noted: BTreeMap::new(),
            segments,
            active: recovered.segments[recovered.active].seq,
            stats: JournalStats { disk_bytes, ..stats },
            full: false,
            sleeps: false,
            closed: false,
            rolls: Vec::new(),
            poison: None,
        };
        let shared = Arc::new(Shared {
            journal: recovered.journal,
            state: Mutex::new(state),
            wake: Condvar::new(),
            notify: Arc::new(Notify::new()),
        });
        let place = writer::Home { disk, dir, segment_bytes, _guard: guard };
        let writer = Writer::new(shared.clone(), place, recovered)?;
        Ok((Journal { handle: Arc::new(Handle { shared }) }, writer))
    }

    /// Appends entries, which may overwrite the group's tail; they are readable when this returns.
    ///
    /// # Errors
    /// Nothing happened and `done` is not called: a payload above `RECORD_BYTES`, entries that are
    /// not contiguous with the log (`InvalidInput`), or a journal that is closed or failed.
    pub fn append(&self, group: GroupId, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        for entry in &entries {
            check_size(&entry.payload)?;
        }
        let record =
            |entry: &Entry| Record::new(Kind::Entry, group, entry.id, entry.payload.clone());
        let mut items: Vec<Item> = entries.iter().map(record).map(Item::new).collect();
        match items.last_mut() {
            Some(item) => item.done = Some(done),
            None => items.push(Item { record: None, stamp: 0, done: Some(done) }),
        }
        let mut state = self.handle.shared.lock();
        state.check()?;
        if let Some(why) = state.index.group(group).refuses(&entries) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{group}: {why}")));
        }
        if let Some(first) = entries.first().map(|entry| entry.id.index)
            && state.index.group(group).begin(first)
        {
            let id = EntryId { index: first, ..EntryId::default() };
            state.push(Item::new(Record::new(Kind::Begin, group, id, Bytes::new())));
        }
        let stamp = state.index.push(group, &entries);
        for (stamp, item) in (stamp..).zip(items) {
            state.push(Item { stamp, ..item });
        }
        self.handle.shared.wake(state);
        Ok(())
    }

    /// Replaces the group's vote.
    pub fn save_vote(&self, group: GroupId, vote: Bytes, done: Done) {
        if let Err(error) = check_size(&vote) {
            return done(Err(error));
        }
        let record = Record::new(Kind::Vote, group, EntryId::default(), vote.clone());
        self.submit(record, done, |index| index.group(group).vote = Some(vote));
    }

    /// Notes what is committed. Costs no sync: it rides with the next record, so a crash may
    /// forget it.
    pub fn note_committed(&self, group: GroupId, committed: Bytes) {
        let mut state = self.handle.shared.lock();
        if state.check().is_ok() && check_size(&committed).is_ok() {
            state.index.group(group).committed = Some(committed.clone());
            state.noted.insert(group, committed);
        }
    }

    /// Drops the entries after `last`; all of them for `None`.
    pub fn truncate_after(&self, group: GroupId, last: Option<u64>, done: Done) {
        let (kind, from) = match last {
            Some(last) => (Kind::Truncate, last.saturating_add(1)),
            None => (Kind::Clear, 0),
        };
        let id = EntryId { index: last.unwrap_or(0), ..EntryId::default() };
        let record = Record::new(kind, group, id, Bytes::new());
        self.submit(record, done, |index| index.group(group).truncate_from(from));
    }

    /// Drops the entries up to `upto`. Beyond the last one, the log is empty and goes on after it.
    pub fn purge(&self, group: GroupId, upto: EntryId, done: Done) {
        let record = Record::new(Kind::Purge, group, upto, Bytes::new());
        self.submit(record, done, |index| index.group(group).purge(upto));
    }

    /// Begins a segment, so that everything before can leave the disk once no group needs it. Gives the number of the
    /// new one, when there is space for it; an error if the journal is closed or fails before.
    pub fn roll(&self) -> oneshot::Receiver<u64> {
        let (roll, rolled) = oneshot::channel();
        let mut state = self.handle.shared.lock();
        if state.check().is_ok() {
            state.rolls.push(roll);
            self.handle.shared.wake(state);
        }
        rolled
    }

    /// The number of the oldest segment: nothing that was written to an older one is on the disk.
    pub fn oldest(&self) -> u64 {
        *self.handle.shared.lock().segments.keys().next().expect("the active one is there")
    }

    fn submit(&self, record: Record, done: Done, change: impl FnOnce(&mut Index)) {
        let mut state = self.handle.shared.lock();
        if let Err(error) = state.check() {
            drop(state);
            return done(Err(error));
        }
        change(&mut state.index);
        state.push(Item { record: Some(record), stamp: 0, done: Some(done) });
        self.handle.shared.wake(state);
    }

    /// How a group stands.
    pub fn state(&self, group: GroupId) -> GroupState {
        self.handle.shared.lock().index.state(group)
    }

    /// Every group that ever wrote something here, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        self.handle.shared.lock().index.groups()
    }

    /// The id of the entry at `index`, or of the last purged one.
    pub fn id_of(&self, group: GroupId, index: u64) -> Option<EntryId> {
        self.handle.shared.lock().index.id_of(group, index)
    }

    /// The counters as of now.
    pub fn stats(&self) -> JournalStats {
        let state = self.handle.shared.lock();
        JournalStats {
            segments: state.segments.len() as u64,
            queued_bytes: state.queued_bytes as u64,
            ..state.stats
        }
    }

    /// Bytes that were accepted and are not durable. The caller keeps them below
    /// [`crate::limits::JOURNAL_QUEUE_BYTES`]; the journal itself never refuses for it.
    pub fn queued_bytes(&self) -> usize {
        self.handle.shared.lock().queued_bytes
    }

    /// Whether space is running out: take no new work, but votes and what is under way.
    pub fn full(&self) -> bool {
        self.handle.shared.lock().full
    }

    /// Groups whose oldest entry keeps the oldest segment from being removed, with that entry:
    /// who is to snapshot and purge. Empty while the oldest segment is in use anyway.
    pub fn pinned_by(&self) -> Vec<(GroupId, EntryId)> {
        let state = self.handle.shared.lock();
        match state.segments.keys().next() {
            Some(oldest) if *oldest < state.active => state.index.pinning(*oldest),
            _ => Vec::new(),
        }
    }

    /// Takes nothing more; the writer finishes what waits and ends.
    pub fn close(&self) {
        self.handle.shared.close();
    }
}

fn check_size(payload: &Bytes) -> io::Result<()> {
    if payload.len() <= RECORD_BYTES {
        return Ok(());
    }
    let text = format!("{} bytes are too many for one record", payload.len());
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
