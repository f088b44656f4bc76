//! One record: something that happened to one group. Format in `docs/JOURNAL.md`.

use bytes::Bytes;

use crate::ids::{EntryId, GroupId};

/// Bytes of a record before its payload.
pub(super) const HEADER: usize = 40;

/// The kinds of records; the numbers are the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entry = 1,
    Vote = 2,
    Committed = 3,
    Truncate = 4,
    Clear = 5,
    Purge = 6,
    Begin = 7,
}

impl Kind {
    fn parse(byte: u8) -> Option<Kind> {
        use Kind::{Begin, Clear, Committed, Entry, Purge, Truncate, Vote};
        [Entry, Vote, Committed, Truncate, Clear, Purge, Begin]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A record ready to be written; only the segment's salt is missing.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) group: GroupId,
    pub(super) id: EntryId,
    pub(super) payload: Bytes,
    header: [u8; HEADER],
}

/// A record as it lies in a segment, its CRC verified.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) kind: Kind,
    pub(super) group: GroupId,
    pub(super) id: EntryId,
    pub(super) payload: &'a [u8],
}

impl Record {
    /// `payload` is at most [`crate::limits::RECORD_BYTES`].
    pub(super) fn new(kind: Kind, group: GroupId, id: EntryId, payload: Bytes) -> Record {
        let mut header = [0; HEADER];
        let length = u32::try_from(payload.len()).expect("a record is bounded by RECORD_BYTES");
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[8] = kind as u8;
        header[12..16].copy_from_slice(&group.0.to_le_bytes());
        header[16..24].copy_from_slice(&id.term.to_le_bytes());
        header[24..32].copy_from_slice(&id.node.to_le_bytes());
        header[32..40].copy_from_slice(&id.index.to_le_bytes());
        let crc = checksum(&header[4..], &payload);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        Record { kind, group, id, payload, header }
    }

    /// Bytes it takes in a segment.
    pub(super) fn size(&self) -> usize {
        HEADER + self.payload.len()
    }

    pub(super) fn write(&self, salt: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&(u32_at(&self.header, 0) ^ salt).to_le_bytes());
        out.extend_from_slice(&self.header[4..]);
        out.extend_from_slice(&self.payload);
    }
}

impl Parsed<'_> {
    pub(super) fn size(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// Reads the record at the start of `bytes`; `None` when it does not verify.
pub(super) fn parse(bytes: &[u8], salt: u32) -> Option<Parsed<'_>> {
    let header = bytes.get(..HEADER)?;
    let length = usize::try_from(u32_at(header, 4)).ok()?;
    let payload = bytes.get(HEADER..HEADER.checked_add(length)?)?;
    if u32_at(header, 0) ^ salt != checksum(&header[4..], payload) || header[9..12] != [0; 3] {
        return None;
    }
    let id =
        EntryId { term: u64_at(header, 16), node: u64_at(header, 24), index: u64_at(header, 32) };
    let group = GroupId(u32_at(header, 12));
    Some(Parsed { kind: Kind::parse(header[8])?, group, id, payload })
}

/// The number that makes a segment's records verify nowhere else.
pub(super) fn salt(journal: u64, segment: u64) -> u32 {
    checksum(&journal.to_le_bytes(), &segment.to_le_bytes())
}

pub(super) fn checksum(head: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(rest);
    hasher.finalize()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
