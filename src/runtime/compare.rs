//! Replicas compare their copies in the background: a difference is an alarm, never a silence.
//!
//! A session is at an agreed place when a replica has applied everything up to some entry and the session
//! has not changed since: its incarnation, tail and chain must then be the same everywhere. One session
//! after the other, slowly, for ever; each replica looks for itself, so that the one that is wrong finds out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cluster::ids::{GroupId, NodeId};
use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::blocking;
use super::directory::Directory;
use super::peer::wire::{Copied, Request, Response};
use super::shards::Shards;
use crate::ids::SessionId;
use crate::limits::{COMPARE_DEADLINE, COMPARE_INTERVAL, DIFFERING_SESSIONS, PEER_PATIENCE};
use crate::store::Store;

/// The comparison of this node's copies with those of others.
pub struct Comparison {
    directory: Arc<Directory>,
    shards: Arc<Shards>,
    store: Store,
    found: Found,
}

/// What was compared, and what differs.
#[derive(Debug, Default)]
struct Found {
    compared: AtomicU64,
    /// Sessions whose copies differ, and whether this node's own is the doubtful one.
    differing: Mutex<BTreeMap<SessionId, bool>>,
}

impl Found {
    /// Sessions of which this node's copy is, or may be, the wrong one.
    fn doubtful(&self) -> usize {
        self.differing().values().filter(|doubtful| **doubtful).count()
    }

    fn differing(&self) -> MutexGuard<'_, BTreeMap<SessionId, bool>> {
        self.differing.lock().expect("no panic under this lock")
    }

    /// The next session that differed when it was last compared; from the first one on again at the end.
    fn differing_after(&self, last: Option<&SessionId>) -> Option<SessionId> {
        let differing = self.differing();
        let next = last.and_then(|last| {
            differing.range((Bound::Excluded(last), Bound::Unbounded)).next().map(|(id, _)| id)
        });
        next.or_else(|| differing.keys().next()).cloned()
    }

    /// Notes how the copy of this node stands to those of others; returns whether that is a new alarm.
    fn note(&self, id: &SessionId, same: usize, different: usize) -> bool {
        self.compared.fetch_add(1, Ordering::Relaxed);
        let mut differing = self.differing();
        if different == 0 {
            differing.remove(id);
            return false;
        }
        let room = differing.len() < DIFFERING_SESSIONS || differing.contains_key(id);
        // Where most copies are like this one, another is wrong.
        let doubtful = same < different || same == 0;
        room && differing.insert(id.clone(), doubtful).is_none()
    }
}

impl Comparison {
    pub(super) fn new(directory: Arc<Directory>, shards: Arc<Shards>, store: Store) -> Comparison {
        Comparison { directory, shards, store, found: Found::default() }
    }

    /// Compares one session after the other, until it is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let (mut last, mut doubted) = (None, None);
        loop {
            tokio::time::sleep(COMPARE_INTERVAL).await;
            doubted = self.found.differing_after(doubted.as_ref());
            if let Some(id) = &doubted {
                self.compare(id).await;
            }
            last = self.next_to_compare(last).await;
            if let Some(Ok(id)) = last.as_ref().map(|(_, id)| SessionId::read(id)) {
                self.compare(&id).await;
            }
        }
    }

    /// Sessions of which this node's copy is, or may be, the wrong one.
    pub(super) fn doubtful(&self) -> usize {
        self.found.doubtful()
    }

    /// Sessions that were compared since the start, and those that differ between replicas now.
    pub fn compared(&self) -> (u64, usize) {
        (self.found.compared.load(Ordering::Relaxed), self.found.differing().len())
    }

    /// The session after `last`, in the order of shards and ids; none at the end.
    async fn next_to_compare(&self, last: Option<(GroupId, String)>) -> Option<(GroupId, String)> {
        let mut after = last.as_ref().map(|(_, id)| id.clone());
        let from = last.map_or(GroupId(0), |(shard, _)| shard);
        for shard in self.shards.all().into_iter().filter(|shard| from.0 <= shard.number()) {
            let (store, number) = (self.store.clone(), shard.number());
            let after = after.take().filter(|_| number == from.0);
            let next = move || store.heads(number, "", after.as_deref()).find_map(Result::ok);
            if let Ok(Some((id, _))) = blocking::off_thread(next).await {
                return Some((GroupId(number), id));
            }
        }
        None
    }

    /// Compares this node's copy of a session with all others that are in reach.
    async fn compare(&self, id: &SessionId) {
        let deadline = Instant::now() + COMPARE_DEADLINE;
        let Some((group, _)) = self.directory.local(id) else { return };
        let others = self.directory.replicas(group.id());
        if others.is_empty() {
            return;
        }
        let Some((mine, next)) = self.copy(id, 0, deadline).await else { return };
        let request = others.into_iter().map(|node| self.copy_at(node, id, next));
        let copies: Vec<_> = join_all(request).await.into_iter().flatten().collect();
        // Whatever they have applied is applied here, too: did it change the session?
        let reached = copies.iter().map(|(_, _, next)| *next).max().unwrap_or(0);
        let again = self.copy(id, reached, deadline).await;
        if copies.is_empty() || again.is_none_or(|(again, _)| again != mine) {
            return;
        }
        let different: Vec<_> = copies.iter().filter(|(_, copy, _)| *copy != mine).collect();
        if self.found.note(id, copies.len() - different.len(), different.len()) {
            for (node, copy, _) in different {
                tracing::error!(
                    shard = group.id().0, session = id.for_operators(), here = ?mine, other = %node, there = ?copy,
                    "two replicas hold different logs of this session; one disk or node is at fault: compare \
                     the session at all its replicas and replace the node that is wrong"
                );
            }
        }
    }

    /// This node's copy once everything before `next` is applied, and how far it has applied itself. None
    /// if it does not get there in time.
    pub(super) async fn copy(
        &self,
        id: &SessionId,
        next: u64,
        deadline: Instant,
    ) -> Option<(Option<Copied>, u64)> {
        let (group, shard) = self.directory.local(id)?;
        timeout_at(deadline, group.reaches(next)).await.ok()?.ok()?;
        let looked = self.directory.look_in(&shard, id).await.ok()?;
        let applied = looked.as_ref().map_or(0, |looked| looked.next).max(next);
        let copied = looked.and_then(|looked| looked.status).map(|status| Copied {
            incarnation: status.incarnation,
            tail: status.tail,
            chain: status.chain,
            closed: status.closed,
        });
        Some((copied, applied))
    }

    async fn copy_at(
        &self,
        node: NodeId,
        id: &SessionId,
        next: u64,
    ) -> Option<(NodeId, Option<Copied>, u64)> {
        let within_ms = u64::try_from(PEER_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Compare { session: id.clone(), next, within_ms };
        match self.directory.ask(node, &request, PEER_PATIENCE).await {
            Ok(Response::Compared { copy: Some((copied, next)) }) => Some((node, copied, next)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_that_stands_alone_is_the_doubtful_one() {
        let found = Found::default();
        let id = |text: &str| SessionId::parse(text).unwrap();
        assert!(!found.note(&id("same"), 2, 0));
        assert_eq!((found.doubtful(), found.differing().len()), (0, 0));
        assert!(found.note(&id("most are like this one"), 1, 1));
        assert_eq!((found.doubtful(), found.differing().len()), (0, 1));
        assert!(found.note(&id("alone"), 0, 2));
        assert!(found.note(&id("one against one"), 0, 1));
        assert_eq!((found.doubtful(), found.differing().len()), (2, 3));
        // It is reported once, and goes when the copies are the same again.
        assert!(!found.note(&id("alone"), 0, 2));
        assert!(!found.note(&id("alone"), 2, 0));
        assert_eq!((found.doubtful(), found.differing().len()), (1, 2));
    }
}
