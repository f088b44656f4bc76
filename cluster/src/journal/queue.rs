//! What waits for the writer, and what readers see meanwhile: the state that both sides share
//! behind one short mutex.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::disk::File;
use super::index::Index;
use super::record::Record;
use super::{Done, JournalStats};
use crate::ids::GroupId;

/// One record that waits to be written, or only a caller that waits.
pub(super) struct Item {
    pub(super) record: Option<Record>,
    /// Distinguishes an entry from one that overwrites it.
    pub(super) stamp: u64,
    pub(super) done: Option<Done>,
}

impl Item {
    pub(super) fn new(record: Record) -> Item {
        Item { record: Some(record), stamp: 0, done: None }
    }

    pub(super) fn size(&self) -> usize {
        self.record.as_ref().map_or(0, Record::size)
    }
}

pub(super) struct State {
    pub(super) index: Index,
    pub(super) queue: VecDeque<Item>,
    /// Bytes of records that were accepted and are not durable.
    pub(super) queued_bytes: usize,
    /// Committed marks that ride with the next record.
    pub(super) noted: BTreeMap<GroupId, Bytes>,
    pub(super) segments: BTreeMap<u64, Arc<dyn File>>,
    /// Sequence number of the segment that is written to.
    pub(super) active: u64,
    pub(super) stats: JournalStats,
    pub(super) full: bool,
    pub(super) closed: bool,
    /// Who waits for a segment that begins with what comes now.
    pub(super) rolls: Vec<oneshot::Sender<u64>>,
    /// The writer sleeps until it is woken.
    pub(super) sleeps: bool,
    /// The error that ended the journal.
    pub(super) poison: Option<Arc<io::Error>>,
}

pub(super) struct Shared {
    pub(super) journal: u64,
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
    pub(super) notify: Arc<Notify>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the writer see what was changed. One that is awake looks anyway, and each wake-up is a system call.
    pub(super) fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleeps = std::mem::take(&mut state.sleeps);
        drop(state);
        if sleeps {
            self.wake.notify_one();
        }
        self.notify.notify_one();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(state);
    }

    /// Sleeps until woken, or for `most`; may return early.
    pub(super) fn sleep<'s>(
        &self,
        mut state: MutexGuard<'s, State>,
        most: Option<Duration>,
    ) -> MutexGuard<'s, State> {
        state.sleeps = true;
        let mut state = match most {
            Some(most) => {
                let woken = self.wake.wait_timeout(state, most);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.sleeps = false;
        state
    }
}

impl State {
    /// # Errors
    /// The journal takes nothing any more.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.poison {
            Some(error) => Err(copy(error)),
            None if self.closed => Err(closed()),
            None => Ok(()),
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.queued_bytes += item.size();
        self.queue.push_back(item);
    }
}

pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the journal is closed")
}

/// The same error once more, for the next who waits.
pub(super) fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the journal failed: {error}"))
}
