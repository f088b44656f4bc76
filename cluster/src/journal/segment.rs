//! One segment: a file with a header sector, and batches after it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, File};
use super::record::{checksum, u32_at, u64_at};
use crate::limits::{JOURNAL_AHEAD_BYTES, JOURNAL_SMALL_BYTES};

/// Batches begin at multiples of this, and a disk writes this much as a whole.
pub(super) const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"outlvjrn";
const VERSION: u32 = 1;
const HEADER: usize = 64;
static ZEROS: [u8; JOURNAL_AHEAD_BYTES] = [0; JOURNAL_AHEAD_BYTES];

/// A segment that is open for writing.
pub(super) struct Segment {
    pub(super) seq: u64,
    pub(super) file: Arc<dyn File>,
    /// Offset at which the next batch begins.
    pub(super) end: u64,
    /// Bytes that are allocated to it.
    pub(super) size: u64,
    /// Offset up to which something was written, be it zeros.
    pub(super) reached: u64,
}

/// The contents of a segment's header.
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
        let end = SECTOR as u64;
        Ok(Segment { seq: header.seq, file, end, size: header.size, reached: end })
    }

    /// Writes a batch at the end; it is durable, and the segment longer, once the caller has synced it.
    ///
    /// A small batch also writes zeros over the zeros after it, now and then. Blocks that are only
    /// allocated cost each sync that first writes to them a change of the file's metadata; so one
    /// sync pays for many.
    pub(super) fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        self.file.write_at(batch, self.end)?;
        let end = self.end + batch.len() as u64;
        if self.reached < end {
            self.reached = end;
            let room = usize::try_from(self.size.saturating_sub(end)).unwrap_or(usize::MAX);
            if batch.len() <= JOURNAL_SMALL_BYTES && 0 < room {
                let zeros = &ZEROS[..room.min(ZEROS.len())];
                self.file.write_at(zeros, end)?;
                self.reached += zeros.len() as u64;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::fault_disk::FaultDisk;
    use super::*;

    #[test]
    fn one_small_batch_reaches_ahead_for_many_and_a_large_one_only_for_itself() {
        let (disk, ahead) = (FaultDisk::new(1), JOURNAL_AHEAD_BYTES as u64);
        disk.create_dir(Path::new("/j")).unwrap();
        let size = 2 * ahead;
        let header = Header { seq: 1, journal: 7, size };
        let mut segment = Segment::create(&disk, Path::new("/j"), header).unwrap();
        let mut append = |length: usize| {
            segment.write(&vec![1; length]).unwrap();
            segment.end += length as u64;
            (segment.end, segment.reached)
        };

        let (first, reached) = append(SECTOR);
        assert_eq!(reached, first + ahead);
        assert_eq!(append(SECTOR), (first + SECTOR as u64, reached));
        let (large, reached) = append(JOURNAL_AHEAD_BYTES + SECTOR);
        assert_eq!(reached, large);
        assert_eq!(append(SECTOR).1, size, "no further than the segment goes");
        assert_eq!(segment.file.size().unwrap(), size);
    }
}
