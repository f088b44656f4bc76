//! The entries of one group, by index: contiguous, cut at the tail by truncation and overwriting,
//! at the head by purging.

use std::collections::VecDeque;
use std::ops::Range;

use crate::ids::EntryId;

/// Something kept for each entry from `first` on.
#[derive(Clone, Debug)]
pub(super) struct Log<T> {
    first: u64,
    slots: VecDeque<T>,
    /// Index of the first entry ever; counts until something was purged.
    base: u64,
    purged: Option<EntryId>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log { first: 0, slots: VecDeque::new(), base: 0, purged: None }
    }
}

impl<T> Log<T> {
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Index after the last entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn purged(&self) -> Option<EntryId> {
        self.purged
    }

    /// Where the first entry belongs, after what was purged.
    pub(super) fn start(&self) -> u64 {
        self.purged.map_or(self.base, |purged| purged.index + 1)
    }

    /// Sets the index of the first entry ever. Without it, that is 0.
    pub(super) fn begin(&mut self, index: u64) {
        self.base = index;
        if self.slots.is_empty() {
            self.first = self.start();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn get(&self, index: u64) -> Option<&T> {
        self.slots.get(self.place(index)?)
    }

    pub(super) fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        let place = self.place(index)?;
        self.slots.get_mut(place)
    }

    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first)?).ok()
    }

    /// The part of `range` that has entries.
    pub(super) fn clamp(&self, range: Range<u64>) -> Range<u64> {
        let start = range.start.max(self.first);
        start..range.end.min(self.next()).max(start)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (self.first..).zip(&self.slots)
    }

    /// Whether an entry with this index may come: it follows or overwrites one that is here, or is
    /// the first of a log that holds none and was never purged.
    pub(super) fn takes(&self, index: u64) -> bool {
        match self.purged {
            None if self.slots.is_empty() => true,
            None => index <= self.next(),
            Some(purged) => purged.index < index && index <= self.next(),
        }
    }

    /// Puts an entry, and returns those it displaces. An empty log goes on at any index.
    pub(super) fn push(&mut self, index: u64, slot: T) -> VecDeque<T> {
        let dropped = self.truncate_from(index);
        if self.slots.is_empty() {
            self.first = index;
        }
        self.slots.push_back(slot);
        dropped
    }

    /// Drops the entries from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) -> VecDeque<T> {
        if self.next() <= index {
            return VecDeque::new();
        }
        let kept = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let dropped = self.slots.split_off(kept);
        if self.slots.is_empty() {
            self.first = self.start();
        }
        dropped
    }

    /// Drops the entries up to `upto`, and goes on after it if that is beyond the last.
    pub(super) fn purge(&mut self, upto: EntryId) -> VecDeque<T> {
        if self.purged.is_some_and(|purged| upto.index <= purged.index) {
            return VecDeque::new();
        }
        self.purged = Some(upto);
        if upto.index < self.first {
            if self.slots.is_empty() {
                self.first = upto.index + 1;
            }
            return VecDeque::new();
        }
        let kept = if upto.index < self.next() {
            let count = usize::try_from(upto.index + 1 - self.first).unwrap_or(usize::MAX);
            self.slots.split_off(count)
        } else {
            VecDeque::new()
        };
        self.first = upto.index + 1;
        std::mem::replace(&mut self.slots, kept)
    }
}
