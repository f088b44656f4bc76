//! One segment: a file with a header sector, and batches behind it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, File};
use super::record::{checksum, u32_at, u64_at};

/// Batches begin at multiples of this, and a disk writes this much as a whole.
pub(super) const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"outlvjrn";
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// A segment that is open for writing.
pub(super) struct Segment {
    pub(super) seq: u64,
    pub(super) file: Arc<dyn File>,
    /// Offset at which the next batch begins.
    pub(super) end: u64,
    /// Bytes that are allocated to it.
    pub(super) size: u64,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) seq: u64,
    pub(super) journal: u64,
    pub(super) size: u64,
}

/// What the first sector of a segment file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    Valid(Header),
    /// Nothing but zeros: its creation was interrupted, or a sector is lost.
    Blank,
    Version(u32),
    Damaged,
}

impl Segment {
    /// Creates a segment, empty and durable, or leaves nothing behind.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, header: Header) -> io::Result<Segment> {
        let path = path(dir, header.seq);
        let file = disk.create(&path)?;
        let made = file
            .allocate(header.size)
            .and_then(|()| file.write_at(&header.encode(), 0))
            .and_then(|()| file.sync_data());
        if let Err(error) = made {
            disk.remove(&path)?;
            disk.sync_dir(dir)?;
            return Err(error);
        }
        disk.sync_dir(dir)?;
        Ok(Segment { seq: header.seq, file, end: SECTOR as u64, size: header.size })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == SECTOR as u64
    }

    /// Bytes left for the next batch.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.size.saturating_sub(self.end)).unwrap_or(usize::MAX)
    }
}

impl Header {
    fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.journal.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_le_bytes());
        let crc = checksum(&bytes[..60], &[]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Reads the first sector of a segment file.
pub(super) fn parse(file: &[u8]) -> Head {
    let sector = &file[..file.len().min(SECTOR)];
    if sector.iter().all(|byte| *byte == 0) {
        return Head::Blank;
    }
    if sector.len() < SECTOR
        || &sector[..8] != MAGIC
        || u32_at(sector, 60) != checksum(&sector[..60], &[])
    {
        return Head::Damaged;
    }
    if u32_at(sector, 8) != VERSION {
        return Head::Version(u32_at(sector, 8));
    }
    let header =
        Header { seq: u64_at(sector, 16), journal: u64_at(sector, 24), size: u64_at(sector, 32) };
    if sector[HEADER..].iter().any(|byte| *byte != 0) || sector[..] != header.encode() {
        return Head::Damaged;
    }
    Head::Valid(header)
}

pub(super) fn path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:016x}.seg"))
}

/// The sequence number in a file name, if it is a segment's.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let seq = u64::from_str_radix(digits, 16).ok()?;
    (format!("{seq:016x}") == digits).then_some(seq)
}
