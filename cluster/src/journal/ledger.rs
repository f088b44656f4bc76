//! What is durable, group by group: the replay of all synced records in order. Recovery builds it,
//! the writer keeps it up, and from it alone is decided which segments may go.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::log::Log;
use super::record::{Kind, Record};
use crate::ids::{EntryId, GroupId};

/// An entry on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryPlace {
    pub(super) term: u64,
    pub(super) node: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Payload bytes.
    pub(super) length: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) log: Log<EntryPlace>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    groups: BTreeMap<GroupId, Group>,
    /// Live entries of each segment that has any.
    live: BTreeMap<u64, u64>,
}

impl Ledger {
    pub(super) fn groups(&self) -> &BTreeMap<GroupId, Group> {
        &self.groups
    }

    /// Whether no live entry is in `segment`.
    pub(super) fn is_dead(&self, segment: u64) -> bool {
        !self.live.contains_key(&segment)
    }

    /// Takes one synced record of `group`; `place` is where it lies.
    ///
    /// # Errors
    /// An entry that leaves a hole after entries that are here: no writer produces that.
    pub(super) fn apply(
        &mut self,
        kind: Kind,
        group: GroupId,
        index: u64,
        place: EntryPlace,
        payload: impl FnOnce() -> Bytes,
    ) -> Result<(), &'static str> {
        let state = self.groups.entry(group).or_default();
        let id = EntryId { term: place.term, node: place.node, index };
        let dropped = match kind {
            Kind::Entry if !state.log.is_empty() && state.log.next() < index => {
                return Err("an entry leaves a hole in its group");
            }
            Kind::Entry => {
                *self.live.entry(place.segment).or_default() += 1;
                state.log.push(index, place)
            }
            Kind::Truncate => state.log.truncate_from(index + 1),
            Kind::Clear => state.log.truncate_from(0),
            Kind::Purge => state.log.purge(id),
            Kind::Begin => {
                state.log.begin(index);
                return Ok(());
            }
            Kind::Vote => {
                state.vote = Some(payload());
                return Ok(());
            }
            Kind::Committed => {
                state.committed = Some(payload());
                return Ok(());
            }
        };
        for place in dropped {
            if let Some(count) = self.live.get_mut(&place.segment) {
                *count -= 1;
                if *count == 0 {
                    self.live.remove(&place.segment);
                }
            }
        }
        Ok(())
    }

    /// A group whose entries do not start where they should, if there is one.
    pub(super) fn hole(&self) -> Option<GroupId> {
        let holed = |group: &Group| group.log.first() != group.log.start();
        self.groups.iter().find(|(_, group)| holed(group)).map(|(id, _)| *id)
    }

    /// The records with the state of every group, entries apart: the head of a new segment.
    pub(super) fn head(&self) -> Vec<Record> {
        let mut head = Vec::new();
        for (id, group) in &self.groups {
            if let Some(vote) = &group.vote {
                head.push(Record::new(Kind::Vote, *id, EntryId::default(), vote.clone()));
            }
            if let Some(committed) = &group.committed {
                head.push(Record::new(Kind::Committed, *id, EntryId::default(), committed.clone()));
            }
            if let Some(purged) = group.log.purged() {
                head.push(Record::new(Kind::Purge, *id, purged, Bytes::new()));
            } else if group.log.start() != 0 {
                let start = EntryId { index: group.log.start(), ..EntryId::default() };
                head.push(Record::new(Kind::Begin, *id, start, Bytes::new()));
            }
        }
        head
    }
}
