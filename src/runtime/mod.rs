//! Actors: each owns one session, feeds it committed commands and serves its readers.
//!
//! [`Runtime`] is what the edge sees: ask anything of any session at any node, and it is carried to where
//! the session lives. The way of a command: `directory` (here or elsewhere) → `session` (the actor) →
//! `cluster::group` → … → `shard` → `session` again → `tail` → `reader`.

mod actions;
pub mod agent;
mod aside;
mod attach;
mod blocking;
pub mod chance;
pub mod changes;
pub mod claim;
mod compare;
#[cfg(test)]
mod cut_tests;
mod directory;
mod effect;
mod envelope;
#[cfg(any(test, tokio_unstable))]
mod faults;
pub mod fork;
mod fork_reader;
pub mod members;
pub mod outcome;
mod overview;
mod peer;
pub mod presence;
pub mod reader;
mod ready;
#[cfg(test)]
mod rebuild_tests;
mod relay;
mod relays;
pub mod report;
mod served;
mod session;
mod shard;
mod shards;
pub mod space;
mod status;
mod story;
mod supervisor;
pub mod tail;
mod trust;
mod turn_queue;
mod wiring;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster::essential::essential;
use cluster::host::Host;
use cluster::ids::NodeId;
use cluster::time::TimeReport;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub(crate) use aside::aside;
pub use members::{MembersError, Progress, ShardProgress, Stage};
pub use outcome::{Reply, SubmitError, Unavailable};
pub use peer::members::MemberChange;
pub use reader::{AttachError, Delivery, Reader, Start};
pub use report::{
    ClusterReport, Home, MemberReport, NotReady, ReplicaReport, ShardReport, Summary,
};
pub use tail::{Rendered, Shown};
pub use wiring::Foundation;

use crate::ids::{Millis, SessionId};
use crate::limits::STOP_CHECKPOINT;
use crate::session::Command;
use crate::store::Store;
use directory::Directory;
use effect::World;
use shards::Shards;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freshness {
    /// Everything acknowledged anywhere before the read began is seen (ReadIndex).
    #[default]
    Linearizable,
    /// Whatever this node has; a committed prefix.
    Local,
}

/// The sessions of the cluster, as seen from this node.
pub struct Runtime {
    me: std::sync::Weak<Runtime>,
    relays: relays::Relays,
    turn_queue: turn_queue::TurnQueue,
    served: Arc<served::Served>,
    /// Places for workers for whom other nodes are asked.
    claimers: tokio::sync::Semaphore,
    cluster_name: String,
    host: Arc<Host>,
    shards: Arc<Shards>,
    store: Store,
    directory: Directory,
    readers: Arc<AtomicU64>,
    draining: AtomicBool,
    /// Whether the disk is nearly full.
    full: Arc<AtomicBool>,
    world: Arc<World>,
    presence: Arc<presence::Presence>,
    comparison: compare::Comparison,
    tasks: TaskTracker,
    stop: tokio_util::sync::CancellationToken,
    supervisor: ractor::ActorCell,
}

impl Runtime {
    /// Commits `command` wherever the session lives and returns what it did there.
    ///
    /// Holds the request while a leader is elected. Repeats a command of unknown outcome by itself where
    /// that is safe (it has a producer, or has the same effect twice).
    ///
    /// # Errors
    /// See [`SubmitError`]; each says whether the command may have taken effect.
    pub async fn submit(
        &self,
        id: &SessionId,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, SubmitError> {
        self.directory.submit(id, &command, deadline).await
    }

    /// This node's number.
    pub fn node(&self) -> u64 {
        self.host.local().0
    }

    /// The nodes of the cluster, as far as this one knows.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.host.members()
    }

    /// The time on this node. What is due in a session is decided by the time of its entries: see
    /// [`Runtime::time_of`].
    pub fn now(&self) -> Millis {
        Millis(self.host.time().now_or_own_ms())
    }

    /// The time in the session's next entry, where this node has a replica, and the node's time elsewhere.
    pub fn time_of(&self, id: &SessionId) -> Millis {
        let group = self.directory.group_of(id).and_then(|group| self.host.group(group));
        group.map_or_else(|| self.now(), |group| Millis(group.now_ms()))
    }

    /// How this node's clock stands to those of the others.
    pub fn clock(&self) -> TimeReport {
        self.host.time().report()
    }

    /// Lets the actors of sessions leave that nobody used for `idle`; they cost disk then, not memory.
    pub fn passivate(&self, idle: Duration) {
        self.shards.passivate(idle);
    }

    /// Session actors that are live on this node.
    pub fn live_sessions(&self) -> usize {
        self.shards.live_sessions()
    }

    /// Hands the leads over and takes no new readers; requests are still served.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.host.drain().await;
    }

    /// Brings the store up to date, so that the next start has little to apply again.
    async fn checkpoint(&self) {
        if self.store.fault().reason().is_some() {
            return;
        }
        let checkpoints = self.host.groups().into_iter().map(|group| async move {
            let applied = group.report().applied.map(|id| id.index);
            if group.report().checkpoint < applied {
                group.checkpoint().await;
                let mut reports = group.reports();
                let done = |report: &cluster::raft::Report| {
                    applied <= report.checkpoint || !report.running
                };
                // It ends with the group.
                reports.wait_for(done).await.ok();
            }
        });
        let all = futures::future::join_all(checkpoints);
        if timeout(STOP_CHECKPOINT, all).await.is_err() {
            tracing::warn!("the store is not up to date; the next start applies the journal again");
        }
    }

    /// Stops everything of this node; what it acknowledged is on disk.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.checkpoint().await;
        self.host.close().await;
        self.supervisor.stop(None);
        let store = self.store.clone();
        let persisted = blocking::off_thread(move || store.persist()).await;
        if !matches!(persisted, Ok(Ok(()))) {
            tracing::warn!("the store was not synced; the journal has it all");
        }
    }

    /// Refuses appends while a disk that holds one of `dirs` has little space left.
    pub fn watch_space(self: &Arc<Self>, dirs: Vec<std::path::PathBuf>) {
        let full = self.full.clone();
        let stop = self.stop.clone().cancelled_owned();
        let watch = essential("space", space::watch(dirs, full));
        self.tasks.spawn(async {
            tokio::select! { () = stop => (), () = watch => () }
        });
    }
}
