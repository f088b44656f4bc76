//! What the journal's tests share.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cluster::ids::{EntryId, GroupId};
use cluster::journal::disk::Disk;
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Done, Entry, Journal, JournalConfig, OpenError, Writer};

pub(crate) const A: GroupId = GroupId(1);
pub(crate) const B: GroupId = GroupId(2);
pub(crate) const C: GroupId = GroupId(3);

pub(crate) const SEGMENT: u64 = 4096;

pub(crate) fn config() -> JournalConfig {
    JournalConfig { dir: PathBuf::from("/journal"), segment_bytes: SEGMENT, tail_bytes: 600 }
}

pub(crate) fn open(disk: &FaultDisk) -> Result<(Journal, Writer), OpenError> {
    Journal::open(Arc::new(disk.clone()), config())
}

/// The refusal of a journal that must not open.
pub(crate) fn refusal(disk: &FaultDisk) -> OpenError {
    match open(disk) {
        Ok(_) => panic!("a damaged journal opened"),
        Err(error) => error,
    }
}

pub(crate) fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, node: 1, index }
}

pub(crate) fn entry(term: u64, index: u64) -> Entry {
    Entry { id: id(term, index), payload: Bytes::from(format!("{term}.{index}")) }
}

pub(crate) fn entries(term: u64, range: Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

/// Everything in a group's log, as text.
pub(crate) fn payloads(journal: &Journal, group: GroupId) -> Vec<String> {
    let entries = journal.read(group, 0..u64::MAX, usize::MAX).unwrap();
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.payload).into_owned()).collect()
}

/// Every file of the journal with its bytes.
pub(crate) fn files(disk: &FaultDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = config().dir;
    let names = disk.list(&dir).unwrap();
    names.iter().map(|name| (dir.join(name), disk.bytes(&dir.join(name)))).collect()
}

/// A disk that holds these files and nothing else.
pub(crate) fn disk_with(files: &[(PathBuf, Vec<u8>)]) -> FaultDisk {
    let disk = FaultDisk::new(7);
    disk.create_dir(&config().dir).unwrap();
    for (path, bytes) in files {
        disk.put(path, bytes.clone());
    }
    disk
}

/// Counts the callbacks that were called with success and with an error.
#[derive(Clone, Default)]
pub(crate) struct Acks(Arc<[AtomicUsize; 2]>);

impl Acks {
    pub(crate) fn next(&self) -> Done {
        let counts = self.0.clone();
        Box::new(move |result| {
            counts[usize::from(result.is_err())].fetch_add(1, Ordering::SeqCst);
        })
    }

    pub(crate) fn ignore() -> Done {
        Box::new(|_| {})
    }

    pub(crate) fn good(&self) -> usize {
        self.0[0].load(Ordering::SeqCst)
    }

    pub(crate) fn bad(&self) -> usize {
        self.0[1].load(Ordering::SeqCst)
    }
}
