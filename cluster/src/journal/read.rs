//! Reads entries back: what is recent from memory, what is older from the disk.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::File;
use super::index::Payload;
use super::record::{self, HEADER, Kind};
use super::{Entry, Journal, queue};
use crate::ids::{EntryId, GroupId};

/// Entries that were found. Those that only the disk has are not read yet.
pub struct Found {
    journal: u64,
    group: GroupId,
    parts: Vec<(EntryId, Part)>,
}

enum Part {
    Memory(Bytes),
    Disk { file: Option<Arc<dyn File>>, segment: u64, offset: u64, length: usize },
}

impl Journal {
    /// Finds the entries of `range` that are here, up to `max_bytes` of payload, but at least one.
    /// Does not wait for the disk.
    ///
    /// # Errors
    /// The journal has failed.
    pub fn find(&self, group: GroupId, range: Range<u64>, max_bytes: usize) -> io::Result<Found> {
        let state = self.handle.shared.lock();
        if let Some(error) = &state.poison {
            return Err(queue::copy(error));
        }
        let found = state.index.find(group, range, max_bytes).into_iter();
        let parts = found.map(|(id, payload)| match payload {
            Payload::Memory(payload) => (id, Part::Memory(payload)),
            Payload::Disk(place) => {
                let file = state.segments.get(&place.segment).cloned();
                let (segment, offset, length) =
                    (place.segment, place.offset, place.length as usize);
                (id, Part::Disk { file, segment, offset, length })
            }
        });
        Ok(Found { journal: self.handle.shared.journal, group, parts: parts.collect() })
    }

    /// [`Journal::find`] and [`Found::read`] in one.
    ///
    /// # Errors
    /// The disk fails, an entry does not verify any more, or the journal has failed.
    pub fn read(
        &self,
        group: GroupId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> io::Result<Vec<Entry>> {
        self.find(group, range, max_bytes)?.read()
    }
}

impl Found {
    /// Whether memory has all of it, so that [`Found::read`] does not block.
    pub fn is_in_memory(&self) -> bool {
        self.parts.iter().all(|(_, part)| matches!(part, Part::Memory(_)))
    }

    /// The entries.
    ///
    /// # Errors
    /// The disk fails, or an entry does not verify any more.
    pub fn read(self) -> io::Result<Vec<Entry>> {
        let Found { journal, group, parts } = self;
        let read = |(id, part)| match part {
            Part::Memory(payload) => Ok(Entry { id, payload }),
            Part::Disk { file: None, segment, offset, .. } => Err(rotten(segment, offset)),
            Part::Disk { file: Some(file), segment, offset, length } => {
                let mut bytes = vec![0; HEADER + length];
                let filled = file.read_at(&mut bytes, offset)?;
                let salt = record::salt(journal, segment);
                let good = record::parse(&bytes[..filled], salt).is_some_and(|record| {
                    record.kind == Kind::Entry && record.group == group && record.id == id
                });
                let payload = || Bytes::from(bytes).slice(HEADER..);
                good.then(|| Entry { id, payload: payload() })
                    .ok_or_else(|| rotten(segment, offset))
            }
        };
        parts.into_iter().map(read).collect()
    }
}

fn rotten(segment: u64, offset: u64) -> io::Error {
    let text = format!("segment {segment:016x} does not verify at offset {offset}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
