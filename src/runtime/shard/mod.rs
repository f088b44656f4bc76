//! One group's sessions on this node: hands committed commands to their actors, in journal order.
//!
//! To the cluster crate this is a [`Machine`]. It keeps no session state of its own.

pub(super) mod sessions;
mod snapshot;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cluster::ids::GroupId;
use cluster::machine::{BoxFuture, Committed, Machine, SnapshotSource, Staged};
use cluster::settled::Settled;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::duty::World;
use super::envelope::{self, Envelope};
use super::session::Mail;
use crate::ids::{Millis, SessionId};
use crate::limits::UNSETTLED_ENTRIES;
use crate::store::Store;
use sessions::Sessions;

/// Reads committed entries of a group back from the journal.
pub(super) type Replay = Arc<dyn Fn(GroupId, u64) -> io::Result<Vec<Committed>> + Send + Sync>;

/// What all shards of a node share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) store: Store,
    /// Drawn anew by each process.
    pub(super) origin: u64,
    pub(super) numbers: Arc<AtomicU64>,
    pub(super) replay: Replay,
    pub(super) world: Arc<World>,
    /// Where actors run.
    pub(super) work: Handle,
}

/// One shard on this node.
pub(super) struct Shard {
    group: GroupId,
    common: Common,
    sessions: Sessions,
}

impl Shard {
    /// A shard whose entries below `next` are on disk.
    pub(super) fn new(
        group: GroupId,
        common: Common,
        supervisor: ractor::ActorCell,
        next: u64,
    ) -> Arc<Shard> {
        let shard = Arc::new_cyclic(|shard| {
            let sessions = Sessions::new(shard.clone(), supervisor, common.work.clone());
            Shard { group, common, sessions }
        });
        shard.sessions.handed_out(next);
        shard
    }

    pub(super) fn number(&self) -> u32 {
        self.group.0
    }

    pub(super) fn store(&self) -> &Store {
        &self.common.store
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(super) fn world(&self) -> &World {
        &self.common.world
    }

    pub(super) fn origin(&self) -> u64 {
        self.common.origin
    }

    pub(super) fn next_number(&self) -> u64 {
        self.common.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// What the journal has for a session from entry `next` up to the last one handed out.
    pub(super) fn replay(
        &self,
        id: &SessionId,
        next: u64,
    ) -> io::Result<Vec<(u64, Millis, Vec<Envelope>)>> {
        let upto = self.sessions.handed_out_next();
        let entries = (self.common.replay)(self.group, next)?;
        let mut found = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.id.index < upto) {
            let mine = route(entry.commands).into_iter().find(|(owner, _)| owner == id);
            found.extend(
                mine.map(|(_, envelopes)| (entry.id.index, Millis(entry.time_ms), envelopes)),
            );
        }
        Ok(found)
    }
}

/// Sorts an entry's commands by session, keeping their order within each.
fn route(commands: Vec<Bytes>) -> Vec<(SessionId, Vec<Envelope>)> {
    let mut routed: Vec<(SessionId, Vec<Envelope>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for command in commands {
        match envelope::decode(command) {
            Ok((id, envelope)) => {
                let place = *places.entry(id.clone()).or_insert_with(|| {
                    routed.push((id, Vec::new()));
                    routed.len() - 1
                });
                routed[place].1.push(envelope);
            }
            // Every replica reads the same bytes, so every replica skips it.
            Err(error) => tracing::error!(%error, "a committed command has no session"),
        }
    }
    routed
}

/// The shard as the cluster crate drives it.
pub(super) struct ShardMachine {
    pub(super) shard: Arc<Shard>,
    pub(super) settled: Settled,
    pub(super) mark: Option<Bytes>,
}

impl Machine for ShardMachine {
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Actors' mailboxes have no bound of their own (S10).
            self.settled.fewer_than(UNSETTLED_ENTRIES).await;
            let index = entry.id.index;
            let hold = self.settled.begin(index);
            let time = Millis(entry.time_ms);
            for (id, commands) in route(entry.commands) {
                let hold = hold.clone();
                self.shard.sessions.send(&id, Mail::Committed { index, time, commands, hold });
            }
            self.shard.sessions.handed_out(index + 1);
        })
    }

    fn checkpoint(&mut self, mark: Bytes) -> BoxFuture<'static, io::Result<()>> {
        let next = self.shard.sessions.handed_out_next();
        let flushed = self.shard.sessions.ask_all(Mail::Flush);
        self.mark = Some(mark.clone());
        let (store, number) = (self.shard.store().clone(), self.shard.number());
        let settled = self.settled.clone();
        Box::pin(async move {
            if 0 < next {
                settled.reached(next - 1).await;
            }
            all(flushed).await?;
            let persist = move || {
                store.put_mark(number, next, &mark)?;
                store.persist()
            };
            tokio::task::spawn_blocking(persist).await.map_err(io::Error::other)?
        })
    }

    fn mark(&self) -> Option<Bytes> {
        self.mark.clone()
    }

    fn applied_next(&self) -> u64 {
        self.settled.next()
    }

    fn snapshot(&self, since_next: u64) -> Box<dyn SnapshotSource> {
        Box::new(snapshot::Source::new(self.shard.clone(), since_next))
    }

    fn install(&mut self, staged: Staged, mark: Bytes, next: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            // What only memory knows must be on disk before the journal behind it goes.
            all(self.shard.sessions.ask_all(Mail::Flush)).await?;
            let shard = self.shard.clone();
            let kept = mark.clone();
            let work = move || {
                snapshot::install(&shard, &staged)?;
                shard.store().put_mark(shard.number(), next, &kept)?;
                shard.store().persist()
            };
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
            self.mark = Some(mark);
            self.shard.sessions.handed_out(next);
            all(self.shard.sessions.ask_all(Mail::Reload)).await
        })
    }
}

impl Drop for ShardMachine {
    fn drop(&mut self) {
        // The group is closed or will be opened anew; its actors belong to this opening.
        self.shard.sessions.stop();
    }
}

async fn all(answers: Vec<oneshot::Receiver<io::Result<()>>>) -> io::Result<()> {
    for answer in answers {
        answer.await.map_err(|_| io::Error::other("a session's actor has failed"))??;
    }
    Ok(())
}
