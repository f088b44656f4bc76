//! One batch: what one sync made durable. Its frame carries the batch number, which is the durable
//! mark: a valid frame proves that every batch with a lower number was durable.

use super::record::{Record, checksum, salt, u32_at, u64_at};
use super::segment::SECTOR;

/// Bytes of a batch before its first record.
pub(super) const FRAME: usize = 64;
const MAGIC: &[u8; 4] = b"obat";

/// The first bytes of a batch, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) length: usize,
    pub(super) records: u32,
    body_crc: u32,
}

/// Where a batch is to go, or is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) journal: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Frame {
    /// Bytes of the whole batch, padding included.
    pub(super) fn size(&self) -> usize {
        padded(FRAME + self.length)
    }

    /// Whether `bytes`, which begin with this frame, hold the whole batch unharmed.
    pub(super) fn covers(&self, bytes: &[u8]) -> bool {
        bytes.get(FRAME..self.size()).is_some_and(|body| crc32fast::hash(body) == self.body_crc)
    }
}

/// Bytes that `length` bytes of frame and records take in a segment.
pub(super) fn padded(length: usize) -> usize {
    length.next_multiple_of(SECTOR)
}

/// Builds a batch in `buffer`, and calls `placed` with the offset of each record in the segment.
pub(super) fn write<'a>(
    buffer: &mut Vec<u8>,
    spot: Spot,
    number: u64,
    records: impl Iterator<Item = &'a Record>,
    mut placed: impl FnMut(u64),
) {
    buffer.clear();
    buffer.resize(FRAME, 0);
    let salt = salt(spot.journal, spot.segment);
    let mut count = 0_u32;
    for record in records {
        placed(spot.offset + buffer.len() as u64);
        record.write(salt, buffer);
        count += 1;
    }
    let length = u32::try_from(buffer.len() - FRAME).expect("a batch is bounded");
    buffer.resize(padded(buffer.len()), 0);
    let body_crc = crc32fast::hash(&buffer[FRAME..]);
    buffer[..4].copy_from_slice(MAGIC);
    buffer[8..16].copy_from_slice(&spot.journal.to_le_bytes());
    buffer[16..24].copy_from_slice(&spot.segment.to_le_bytes());
    buffer[24..32].copy_from_slice(&spot.offset.to_le_bytes());
    buffer[32..40].copy_from_slice(&number.to_le_bytes());
    buffer[40..44].copy_from_slice(&length.to_le_bytes());
    buffer[44..48].copy_from_slice(&count.to_le_bytes());
    buffer[48..52].copy_from_slice(&body_crc.to_le_bytes());
    let crc = checksum(&buffer[8..FRAME], &[]);
    buffer[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the frame at the start of `bytes`; `None` when it is not one, or not one of this spot.
pub(super) fn parse(bytes: &[u8], spot: Spot) -> Option<Frame> {
    let frame = bytes.get(..FRAME)?;
    let here = &frame[..4] == MAGIC
        && u32_at(frame, 4) == checksum(&frame[8..], &[])
        && u64_at(frame, 8) == spot.journal
        && u64_at(frame, 16) == spot.segment
        && u64_at(frame, 24) == spot.offset;
    here.then(|| Frame {
        number: u64_at(frame, 32),
        length: u32_at(frame, 40) as usize,
        records: u32_at(frame, 44),
        body_crc: u32_at(frame, 48),
    })
}
