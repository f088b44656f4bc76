//! One group's sessions on this node: hands committed commands to their actors, in journal order.
//!
//! To the cluster crate this is a [`Machine`]. It keeps no session state of its own.
//! `actors` has the live actors; `snapshot` sends what another replica lacks.

pub(super) mod actors;
pub(super) mod recent;
mod snapshot;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use bytes::Bytes;
use cluster::ids::GroupId;
use cluster::machine::{BoxFuture, Committed, Machine, SnapshotSource, Staged};
use cluster::settled::Settled;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::allowance::tally::Tally;
use super::blocking;
use super::effect::World;
use super::envelope::{self, Envelope};
use super::session::Mail;
use crate::ids::{Millis, SessionId};
use crate::limits::{CHECKPOINT_PATIENCE, REPLAY_ACTORS, UNSETTLED_ENTRIES};
use crate::store::Store;
use crate::store::kept::Head;
use actors::Actors;
use recent::Recent;

/// Reads committed entries of a group back from the journal, some at a time.
pub(super) type Replay =
    Arc<dyn Fn(GroupId, Range<u64>) -> io::Result<Vec<Committed>> + Send + Sync>;

/// What all shards of a node share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) store: Store,
    /// Drawn anew by each process.
    pub(super) origin: u64,
    pub(super) numbers: Arc<AtomicU64>,
    pub(super) replay: Replay,
    /// Index + 1 of the last entry of a group that the journal has purged.
    pub(super) purged: Arc<dyn Fn(GroupId) -> u64 + Send + Sync>,
    /// Index + 1 of a group's last entry in the journal.
    pub(super) last: Arc<dyn Fn(GroupId) -> u64 + Send + Sync>,
    pub(super) world: Arc<World>,
    /// Where actors run.
    pub(super) work: Handle,
    /// Whether what sessions hold is summed by tenant.
    pub(super) tallies: bool,
}

/// One shard on this node.
pub(super) struct Shard {
    group: GroupId,
    common: Common,
    actors: Actors,
    tally: Option<Arc<Tally>>,
    recent: Recent,
    /// Index + 1 of the last entry that the store holds the effects of, for every session: its mark.
    covered_next: AtomicU64,
    /// Index + 1 of the last entry that was in the journal when the shard was opened.
    replayed_next: u64,
    /// Since when checkpoints fail.
    failing_since: Mutex<Option<Instant>>,
    /// Why this replica can apply nothing more.
    broken: OnceLock<String>,
    /// Whether a snapshot's heads are taken: those of actors would be older. Held while one is written.
    installing: RwLock<bool>,
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
            let actors = Actors::new(shard.clone(), supervisor, common.work.clone());
            let covered_next = AtomicU64::new(next);
            let replayed_next = (common.last)(group);
            let (failing_since, broken) = (Mutex::default(), OnceLock::new());
            // As the heads are before any actor is started.
            let heads = || Box::new(common.store.heads(group.0, "", None));
            let tally = common.tallies.then(|| Arc::new(Tally::of(heads())));
            Shard {
                group,
                common,
                actors,
                tally,
                // Of what was in the journal before, heads may have some that is not applied anew.
                recent: Recent::new(next.max(replayed_next)),
                covered_next,
                replayed_next,
                failing_since,
                broken,
                installing: RwLock::default(),
            }
        });
        shard.actors.handed_out(next);
        shard
    }

    pub(super) fn number(&self) -> u32 {
        self.group.0
    }

    pub(super) fn store(&self) -> &Store {
        &self.common.store
    }

    /// Lets an actor write its head.
    ///
    /// # Errors
    /// A snapshot is being installed, and has a newer one perhaps; or the store fails.
    pub(super) fn put_head<S: Serialize, E: Serialize>(
        &self,
        id: &SessionId,
        head: &Head<S, E>,
    ) -> io::Result<()> {
        let installing = self.installing.read().expect("no panic happens under this lock");
        if *installing {
            return Err(io::Error::other("a snapshot is being installed"));
        }
        self.store().put_head(self.number(), id, head)
    }

    fn set_installing(&self, installs: bool) {
        *self.installing.write().expect("no panic happens under this lock") = installs;
    }

    pub(super) fn actors(&self) -> &Actors {
        &self.actors
    }

    pub(super) fn world(&self) -> &World {
        &self.common.world
    }

    /// What its sessions hold by tenant, where that is summed.
    pub(super) fn tally(&self) -> Option<&Arc<Tally>> {
        self.tally.as_ref()
    }

    /// The sessions that changed last.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Writes down all heads that lack something, so that they can be read.
    ///
    /// # Errors
    /// One may lack something still.
    pub(super) async fn flush(&self) -> io::Result<()> {
        all(self.actors.ask_all(Mail::Flush)).await?;
        match self.actors.a_lost_one() {
            None => Ok(()),
            Some(id) => {
                let id = id.for_operators();
                Err(io::Error::other(format!("session {id} is not rebuilt yet")))
            }
        }
    }

    /// Stops the shard on this node: a committed command cannot be understood here, so that this replica
    /// can no longer hold what the others hold.
    pub(super) fn stop(&self, why: String) {
        tracing::error!(shard = self.group.0, %why, "this replica of the shard stops");
        // The first reason is the one that counts.
        self.broken.set(why).ok();
    }

    /// The store holds the effects of all entries below `next`, durably.
    fn covers(&self, next: u64) {
        self.covered_next.fetch_max(next, Ordering::AcqRel);
        *self.failing_since() = None;
    }

    /// A checkpoint failed and will be tried again; where that goes on, the node must begin again from its
    /// journal, which grows for as long as there is none.
    fn checkpoint_failed(&self, error: &io::Error) {
        let since = *self.failing_since().get_or_insert_with(Instant::now);
        if CHECKPOINT_PATIENCE < since.elapsed() {
            self.store().fault().report("a checkpoint", error);
        }
    }

    fn failing_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_since.lock().expect("no panic happens under this lock")
    }

    pub(super) fn origin(&self) -> u64 {
        self.common.origin
    }

    pub(super) fn next_number(&self) -> u64 {
        self.common.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives `each` what the journal has for a session, from entry `next` up to the last one handed out.
    /// Reads the journal piece by piece, since it holds all sessions of the shard, and not below the store's
    /// mark, where it may be purged. May block on the disk.
    ///
    /// # Errors
    /// The journal does not have it all, or `each` failed; what came before was given.
    pub(super) fn replay(
        &self,
        id: &SessionId,
        next: u64,
        mut each: impl FnMut(u64, Millis, Vec<Envelope>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = next.max(self.covered_next.load(Ordering::Acquire));
        let upto = self.actors.handed_out_next();
        while next < upto {
            for entry in (self.common.replay)(self.group, next..upto)? {
                next = entry.id.index + 1;
                let mine = route(entry.commands)?.into_iter().find(|(owner, _)| owner == id);
                if let Some((_, envelopes)) = mine {
                    each(entry.id.index, Millis(entry.time_ms), envelopes)?;
                }
            }
        }
        Ok(())
    }
}

/// Sorts an entry's commands by session, keeping their order within each.
///
/// # Errors
/// A command is unreadable: this replica cannot know what the others make of it.
fn route(commands: Vec<Bytes>) -> io::Result<Vec<(SessionId, Vec<Envelope>)>> {
    let mut routed: Vec<(SessionId, Vec<Envelope>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for command in commands {
        let (id, envelope) = envelope::decode(command)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let place = *places.entry(id.clone()).or_insert_with(|| {
            routed.push((id, Vec::new()));
            routed.len() - 1
        });
        routed[place].1.push(envelope);
    }
    Ok(routed)
}

/// The shard as the cluster crate drives it.
pub(super) struct ShardMachine {
    pub(super) shard: Arc<Shard>,
    pub(super) settled: Settled,
    pub(super) mark: Option<Bytes>,
}

impl ShardMachine {
    /// What is purged is covered by the store, and what is covered or settled was handed out: what any session
    /// lacks is in the journal. Held in builds that check themselves.
    fn check_positions(&self) {
        if cfg!(debug_assertions) {
            let (purged, settled) =
                ((self.shard.common.purged)(self.shard.group), self.settled.next());
            let covered = self.shard.covered_next.load(Ordering::Acquire);
            let handed_out = self.shard.actors.handed_out_next();
            debug_assert!(
                purged <= covered && covered.max(settled) <= handed_out,
                "{}: purged {purged} covered {covered} settled {settled} handed out {handed_out}",
                self.shard.group
            );
        }
    }
}

impl Machine for ShardMachine {
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            // Actors' mailboxes have no bound of their own (S10).
            self.settled.fewer_than(UNSETTLED_ENTRIES).await;
            if let Some(why) = self.shard.broken.get() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, why.clone()));
            }
            let index = entry.id.index;
            if index < self.shard.replayed_next && REPLAY_ACTORS <= self.shard.actors.count() {
                self.shard.actors.make_room().await;
            }
            let time = Millis(entry.time_ms);
            let routed = route(entry.commands)?;
            let hold = self.settled.begin(index);
            // Counted first: mail that a failing actor drops is replayed by its successor.
            self.shard.actors.handed_out(index + 1);
            for (id, commands) in routed {
                let hold = hold.clone();
                // Before it settles, also where an actor fails: who looks for changes wakes its successor.
                self.shard.recent.touch(&id, index + 1);
                self.shard.actors.send(&id, Mail::Committed { index, time, commands, hold });
            }
            self.check_positions();
            Ok(())
        })
    }

    fn checkpoint(&mut self, mark: Bytes) -> BoxFuture<'static, io::Result<()>> {
        self.check_positions();
        let next = self.shard.actors.handed_out_next();
        let flushed = self.shard.actors.ask_all(Mail::Flush);
        self.mark = Some(mark.clone());
        let (store, number) = (self.shard.store().clone(), self.shard.number());
        let settled = self.settled.clone();
        let shard = self.shard.clone();
        let covered = async move {
            if 0 < next {
                settled.reached(next - 1).await;
            }
            all(flushed).await?;
            // An actor that failed after it got the request is lost now; so is one that failed before and whose
            // successor did not get it. The journal before a mark goes: no session may be missing in it.
            if let Some(id) = shard.actors.a_lost_one() {
                let id = id.for_operators();
                return Err(io::Error::other(format!("session {id} is not rebuilt yet")));
            }
            let persist = move || {
                store.cover(number, next, &mark)?;
                shard.covers(next);
                Ok(())
            };
            blocking::off_thread(persist).await?
        };
        let shard = self.shard.clone();
        Box::pin(async move { covered.await.inspect_err(|error| shard.checkpoint_failed(error)) })
    }

    fn mark(&self) -> Option<Bytes> {
        self.mark.clone()
    }

    fn applied_next(&self) -> u64 {
        self.settled.next()
    }

    fn snapshot(&self, since_next: u64) -> Box<dyn SnapshotSource> {
        Box::new(snapshot::Source::new(&self.shard, since_next))
    }

    fn install(&mut self, staged: Staged, mark: Bytes, next: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            // What only memory knows must be on disk before the journal that has it goes.
            all(self.shard.actors.ask_all(Mail::Flush)).await?;
            let shard = self.shard.clone();
            let kept = mark.clone();
            let work = move || {
                // Where this fails the replica is opened anew, and its actors write nothing more.
                shard.set_installing(true);
                snapshot::install(&shard, &staged)?;
                shard.store().cover(shard.number(), next, &kept)?;
                shard.covers(next);
                Ok::<(), io::Error>(())
            };
            blocking::off_thread(work).await??;
            self.mark = Some(mark);
            self.shard.recent.raise(next);
            self.shard.actors.handed_out(next);
            self.check_positions();
            all(self.shard.actors.ask_all(Mail::Reload)).await?;
            self.shard.set_installing(false);
            Ok(())
        })
    }
}

impl Drop for ShardMachine {
    fn drop(&mut self) {
        // The group is closed or will be opened anew; its actors belong to this opening.
        self.shard.actors.stop();
    }
}

async fn all(answers: Vec<oneshot::Receiver<io::Result<()>>>) -> io::Result<()> {
    for answer in answers {
        answer.await.map_err(|_| io::Error::other("a session's actor has failed"))??;
    }
    Ok(())
}
