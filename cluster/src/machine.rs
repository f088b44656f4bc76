//! What a group applies its commands to: the seam between this crate and everything that has meaning.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;

use crate::ids::{EntryId, GroupId};
use crate::settled::Settled;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One committed entry: many commands, one time.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Which entry of the group it is.
    pub id: EntryId,
    /// Leader's clock in ms since the Unix epoch; never below an earlier entry of the same leader.
    pub time_ms: u64,
    /// In the order in which they were proposed; empty for entries of Raft's own.
    pub commands: Vec<Bytes>,
}

/// The state of one group on one replica.
///
/// Calls never overlap, except the futures of [`Machine::checkpoint`] and the sources of
/// [`Machine::snapshot`], which run beside later calls.
pub trait Machine: Send + Sync + 'static {
    /// Hands over the commands of one entry, in journal order, and advances `settled` past its index
    /// when their effect can be read. Waits only to bound memory.
    ///
    /// # Errors
    /// This replica cannot make of the entry what the others make of it. The group stops here, and begins
    /// again at its last checkpoint: to go on without the entry would be another state under the same name.
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, io::Result<()>>;

    /// Makes everything applied until now, and `mark`, durable. The returned future ends when that is
    /// true; a mark is only ever replaced by a later one.
    fn checkpoint(&mut self, mark: Bytes) -> BoxFuture<'static, io::Result<()>>;

    /// The latest durable mark, or none on a fresh disk.
    fn mark(&self) -> Option<Bytes>;

    /// Index + 1 of the last entry whose effect is durable or can be replayed from here on.
    fn applied_next(&self) -> u64;

    /// Everything that changed at or after index `since_next`, as chunks to send to another replica.
    /// The source may be ahead of the latest checkpoint, never behind it.
    fn snapshot(&self, since_next: u64) -> Box<dyn SnapshotSource>;

    /// Replaces older state by what another replica's source gave, and makes it and `mark` durable.
    fn install(&mut self, staged: Staged, mark: Bytes, next: u64) -> BoxFuture<'_, io::Result<()>>;
}

/// Chunks of a snapshot, each at most [`crate::limits::FRAME_BYTES`] / 2 long.
pub trait SnapshotSource: Send + 'static {
    /// The next chunk; none at the end. Blocking reads are allowed.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>>;
}

/// A completely received snapshot, kept in a file of our own until it is installed.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
}

impl Staged {
    pub(crate) fn new(path: PathBuf) -> Self {
        Staged { path }
    }

    /// Reads the chunks back in the order in which the source gave them.
    ///
    /// # Errors
    /// The file is unreadable or damaged; nothing was changed.
    pub fn chunks(&self) -> io::Result<StagedChunks> {
        Ok(StagedChunks { file: io::BufReader::new(std::fs::File::open(&self.path)?) })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A leftover is removed at the next start.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Iterator over the chunks of a [`Staged`] snapshot.
#[derive(Debug)]
pub struct StagedChunks {
    file: io::BufReader<std::fs::File>,
}

impl Iterator for StagedChunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        read_chunk(&mut self.file).transpose()
    }
}

/// Writes one chunk as length, CRC-32 and bytes.
pub(crate) fn write_chunk(out: &mut impl io::Write, chunk: &[u8]) -> io::Result<()> {
    let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc32fast::hash(chunk).to_le_bytes())?;
    out.write_all(chunk)
}

fn read_chunk(file: &mut impl io::Read) -> io::Result<Option<Bytes>> {
    let mut head = [0u8; 8];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if crate::limits::FRAME_BYTES < length {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a staged chunk is too long"));
    }
    let mut chunk = vec![0; length];
    file.read_exact(&mut chunk)?;
    if crc32fast::hash(&chunk) != u32::from_le_bytes([e, f, g, h]) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a staged chunk is damaged"));
    }
    Ok(Some(chunk.into()))
}

/// Makes the machine of each group that this node replicates.
pub trait MachineFactory: Send + Sync + 'static {
    /// Opens the machine of `group` with what its disk holds. `settled` starts at its applied index.
    ///
    /// # Errors
    /// The disk does not give the state back; the group stays out of service.
    fn open(&self, group: GroupId) -> io::Result<(Box<dyn Machine>, Settled)>;

    /// Returns once nothing of an earlier opening of `group` runs any more: only then may it be opened.
    fn vacated(&self, _group: GroupId) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
