//! What readers see: every accepted entry of every group, durable or not yet, with the newest
//! payloads in memory and the place of the others on disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::ledger::{EntryPlace, Ledger};
use super::log::Log;
use super::{Entry, GroupState};
use crate::ids::{EntryId, GroupId};

/// One entry. Its payload stays in memory at least until it has a place on disk.
#[derive(Debug)]
pub(super) struct Slot {
    term: u64,
    node: u64,
    length: u32,
    /// Distinguishes this entry from one that overwrote it at the same index.
    stamp: u64,
    place: Option<(u64, u64)>,
    payload: Option<Bytes>,
}

/// Where the payload of an entry is.
pub(super) enum Payload {
    Memory(Bytes),
    Disk(EntryPlace),
}

#[derive(Debug, Default)]
pub(super) struct Group {
    log: Log<Slot>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    /// Entries from this index on have their payload in memory.
    tail: u64,
    tail_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    groups: BTreeMap<GroupId, Group>,
    stamp: u64,
    tail_bytes: usize,
}

impl Index {
    /// The index of what was recovered; each group keeps up to `tail_bytes` in memory.
    pub(super) fn new(ledger: &Ledger, tail_bytes: usize) -> Index {
        let mut groups = BTreeMap::new();
        for (id, from) in ledger.groups() {
            let mut log = Log::default();
            if let Some(purged) = from.log.purged() {
                log.purge(purged);
            } else {
                log.begin(from.log.start());
            }
            for (index, place) in from.log.iter() {
                let EntryPlace { term, node, segment, offset, length } = *place;
                let place = Some((segment, offset));
                log.push(index, Slot { term, node, length, stamp: 0, place, payload: None });
            }
            let (vote, committed) = (from.vote.clone(), from.committed.clone());
            let tail = log.next();
            groups.insert(*id, Group { log, vote, committed, tail, tail_bytes: 0 });
        }
        Index { groups, stamp: 0, tail_bytes }
    }

    pub(super) fn group(&mut self, group: GroupId) -> &mut Group {
        self.groups.entry(group).or_default()
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    pub(super) fn state(&self, group: GroupId) -> GroupState {
        self.groups.get(&group).map_or_else(GroupState::default, |group| GroupState {
            vote: group.vote.clone(),
            committed: group.committed.clone(),
            purged: group.log.purged(),
            last: group.last(),
        })
    }

    pub(super) fn id_of(&self, group: GroupId, index: u64) -> Option<EntryId> {
        let group = self.groups.get(&group)?;
        group.id_of(index).or_else(|| group.log.purged().filter(|purged| purged.index == index))
    }

    /// Puts entries that [`Group::refuses`] did not refuse; returns the stamp of the first.
    pub(super) fn push(&mut self, group: GroupId, entries: &[Entry]) -> u64 {
        let stamp = self.stamp + 1;
        self.stamp += entries.len() as u64;
        let group = self.groups.entry(group).or_default();
        for (stamp, entry) in (stamp..).zip(entries) {
            group.push(entry, stamp);
        }
        stamp
    }

    /// Notes where an entry lies, unless it was dropped or overwritten meanwhile.
    pub(super) fn placed(&mut self, group: GroupId, index: u64, stamp: u64, place: (u64, u64)) {
        let limit = self.tail_bytes;
        let Some(group) = self.groups.get_mut(&group) else { return };
        if let Some(slot) = group.log.get_mut(index)
            && slot.stamp == stamp
        {
            slot.place = Some(place);
            group.evict(limit);
        }
    }

    /// Entries of `range`, at least one if there is one, up to `max_bytes` of payload.
    pub(super) fn find(
        &self,
        group: GroupId,
        range: std::ops::Range<u64>,
        max_bytes: usize,
    ) -> Vec<(EntryId, Payload)> {
        let mut found = Vec::new();
        let Some(group) = self.groups.get(&group) else { return found };
        let mut bytes = 0_usize;
        for index in group.log.clamp(range) {
            let Some(slot) = group.log.get(index) else { break };
            bytes = bytes.saturating_add(slot.length as usize);
            if max_bytes < bytes && !found.is_empty() {
                break;
            }
            let id = EntryId { term: slot.term, node: slot.node, index };
            let payload = match (&slot.payload, slot.place) {
                (Some(payload), _) => Payload::Memory(payload.clone()),
                (None, Some((segment, offset))) => {
                    let EntryId { term, node, .. } = id;
                    Payload::Disk(EntryPlace { term, node, segment, offset, length: slot.length })
                }
                (None, None) => unreachable!("a payload leaves memory after it has a place"),
            };
            found.push((id, payload));
        }
        found
    }

    /// Groups whose first entry lies in `segment`.
    pub(super) fn pinning(&self, segment: u64) -> Vec<(GroupId, EntryId)> {
        let first = |group: &Group| {
            let slot = group.log.get(group.log.first())?;
            slot.place.filter(|place| place.0 == segment)?;
            group.id_of(group.log.first())
        };
        self.groups.iter().filter_map(|(id, group)| Some((*id, first(group)?))).collect()
    }
}

impl Group {
    fn last(&self) -> Option<EntryId> {
        if self.log.is_empty() { self.log.purged() } else { self.id_of(self.log.next() - 1) }
    }

    fn id_of(&self, index: u64) -> Option<EntryId> {
        let slot = self.log.get(index)?;
        Some(EntryId { term: slot.term, node: slot.node, index })
    }

    /// Why these entries cannot come next; `None` when they can.
    pub(super) fn refuses(&self, entries: &[Entry]) -> Option<String> {
        let first = entries.first()?.id.index;
        if !self.log.takes(first) {
            let next = self.log.next();
            return Some(format!("entry {first} leaves a hole or is purged; the next is {next}"));
        }
        let dense = (first..).zip(entries).all(|(index, entry)| entry.id.index == index);
        (!dense).then(|| format!("the entries from {first} on are not contiguous"))
    }

    /// Lets the log begin at `index`; `false` when it does anyway, or has begun.
    pub(super) fn begin(&mut self, index: u64) -> bool {
        let begins =
            self.log.is_empty() && self.log.purged().is_none() && self.log.start() != index;
        if begins {
            self.log.begin(index);
            self.tail = self.log.next();
        }
        begins
    }

    fn push(&mut self, entry: &Entry, stamp: u64) {
        let slot = Slot {
            term: entry.id.term,
            node: entry.id.node,
            length: u32::try_from(entry.payload.len()).expect("bounded by RECORD_BYTES"),
            stamp,
            place: None,
            payload: Some(entry.payload.clone()),
        };
        let dropped = self.log.push(entry.id.index, slot);
        self.forget(dropped);
        self.tail = self.tail.min(entry.id.index).max(self.log.first());
        self.tail_bytes += entry.payload.len();
    }

    pub(super) fn truncate_from(&mut self, index: u64) {
        let dropped = self.log.truncate_from(index);
        self.forget(dropped);
        self.tail = self.tail.min(self.log.next());
    }

    pub(super) fn purge(&mut self, upto: EntryId) {
        let dropped = self.log.purge(upto);
        self.forget(dropped);
        self.tail = self.tail.max(self.log.first()).min(self.log.next());
    }

    fn forget(&mut self, dropped: impl IntoIterator<Item = Slot>) {
        for slot in dropped {
            self.tail_bytes -= slot.payload.map_or(0, |payload| payload.len());
        }
    }

    fn evict(&mut self, limit: usize) {
        while limit < self.tail_bytes {
            let Some(slot) = self.log.get_mut(self.tail) else { break };
            if slot.place.is_none() {
                break;
            }
            self.tail_bytes -= slot.payload.take().map_or(0, |payload| payload.len());
            self.tail += 1;
        }
    }
}
