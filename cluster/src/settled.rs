//! How far a machine has really applied: the highest index below which every entry's work is done.
//!
//! A machine may hand an entry's commands to many actors. Each of them holds a [`Hold`]; the entry is
//! settled when the last hold is dropped. Reads wait for this number, never for "handed out".

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// The settled watermark of one group on one node. Indexes arrive in order, holds end in any order.
#[derive(Clone, Debug)]
pub struct Settled {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    open: Mutex<VecDeque<(u64, bool)>>,
    /// Index + 1 of the last settled entry; 0 before the first.
    next: watch::Sender<u64>,
}

/// Keeps one entry unsettled until it is dropped.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    index: u64,
}

impl Settled {
    /// A watermark at which everything below `next` is already settled.
    pub fn starting_at(next: u64) -> Self {
        let (sender, _) = watch::channel(next);
        Settled { shared: Arc::new(Shared { open: Mutex::default(), next: sender }) }
    }

    /// Registers the entry at `index`, above every earlier one, as begun.
    pub fn begin(&self, index: u64) -> Arc<Hold> {
        self.lock().push_back((index, false));
        Arc::new(Hold { shared: self.shared.clone(), index })
    }

    /// Moves the watermark to `next` at once, after an installed snapshot.
    pub fn jump(&self, next: u64) {
        self.shared.next.send_if_modified(|current| {
            let forward = *current < next;
            if forward {
                *current = next;
            }
            forward
        });
    }

    /// Index + 1 of the last entry that is settled together with all before it; 0 at first.
    pub fn next(&self) -> u64 {
        *self.shared.next.borrow()
    }

    /// Entries begun and not settled.
    pub fn unsettled(&self) -> usize {
        self.lock().len()
    }

    /// Returns once the entry at `index` and all before it are settled.
    pub async fn reached(&self, index: u64) {
        let mut receiver = self.shared.next.subscribe();
        let reached = receiver.wait_for(|next| index < *next).await;
        reached.expect("the sender lives in self");
    }

    /// Returns once fewer than `limit` entries are unsettled.
    pub async fn fewer_than(&self, limit: usize) {
        let mut receiver = self.shared.next.subscribe();
        while limit <= self.unsettled() {
            receiver.changed().await.expect("the sender lives in self");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, bool)>> {
        self.shared.open.lock().expect("no panic happens under this lock")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().expect("no panic happens under this lock");
        if let Ok(at) = open.binary_search_by_key(&self.index, |(index, _)| *index) {
            open[at].1 = true;
        }
        let mut last = None;
        while let Some(&(index, true)) = open.front() {
            last = Some(index);
            open.pop_front();
        }
        drop(open);
        if let Some(index) = last {
            self.shared.next.send_if_modified(|next| {
                let forward = *next <= index;
                if forward {
                    *next = index + 1;
                }
                forward
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_settled_only_with_all_before_it() {
        let settled = Settled::starting_at(5);
        let fifth = settled.begin(5);
        let sixth = settled.begin(6);
        drop(sixth);
        assert_eq!(settled.next(), 5);
        let shared = fifth.clone();
        drop(fifth);
        assert_eq!(settled.next(), 5);
        drop(shared);
        assert_eq!((settled.next(), settled.unsettled()), (7, 0));
    }
}
