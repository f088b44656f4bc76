//! Actors: each owns one session, feeds it committed commands and serves its readers.
//!
//! The way of a command: `directory` (here or elsewhere) → `session` (the actor) → `cluster::group` → … → `shard` →
//! `session` again → `tail` → `reader`.
//!
//! What is not an actor is one of a few parts, from the bottom up: the [`Sessions`] of the cluster, wherever they
//! live; who is there ([`Presence`]), and who takes turns ([`Workers`]); for operators [`Members`], the
//! [`Comparison`] of replicas, and an [`Overview`]. Each is given the parts below it that it needs, and none knows one
//! above it or the whole ([`Runtime`]): `wiring` alone does. `tests/tidy` has who may name whom.

mod actions;
pub mod agent;
mod allowance;
mod aside;
mod asking;
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
pub mod ephemeral;
pub mod erase;
#[cfg(any(test, tokio_unstable))]
mod faults;
mod files;
mod flow;
pub mod following;
pub mod fork;
mod fork_reader;
mod gone;
pub mod members;
pub mod moved;
pub mod outcome;
mod overview;
mod peer;
pub mod presence;
pub mod reader;
mod ready;
#[cfg(test)]
mod rebuild_tests;
mod reclaim;
mod relay;
mod relays;
pub mod report;
mod served;
mod session;
mod sessions;
mod shard;
mod shards;
pub mod space;
mod status;
mod story;
mod supervisor;
pub mod tail;
mod tasks;
mod trust;
mod turn_queue;
mod wiring;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::essential::essential;
use cluster::host::Host;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use allowance::{Allowance, Allowances};
pub(crate) use aside::aside;
pub use asking::Asking;
pub use compare::Comparison;
pub use ephemeral::Ephemerals;
pub use files::FoundFile;
pub use members::{Members, MembersError, Progress, ShardProgress, Stage};
pub use outcome::{Reply, SubmitError, Unavailable};
pub use overview::Overview;
pub use peer::members::MemberChange;
pub use presence::Presence;
pub use reader::{AttachError, Delivery, Reader, Start};
pub use report::{
    ClusterReport, Home, MemberReport, NotReady, ReplicaReport, ShardReport, Summary,
};
pub use sessions::Sessions;
pub use tail::{Rendered, Shown};
pub use workers::Workers;

use crate::limits::STOP_CHECKPOINT;
use crate::store::Store;
use tasks::Tasks;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freshness {
    /// Everything acknowledged anywhere before the read began is seen (ReadIndex).
    #[default]
    Linearizable,
    /// Whatever this node has; a committed prefix.
    Local,
}

/// What a node runs, as the edge and the node see it. Each part takes what it needs and knows nothing of this:
/// `wiring` builds them in order.
pub struct Runtime {
    pub sessions: Arc<Sessions>,
    pub workers: Arc<Workers>,
    pub presence: Arc<Presence>,
    pub ephemerals: Arc<Ephemerals>,
    pub members: Arc<Members>,
    pub overview: Arc<Overview>,
    pub comparison: Arc<Comparison>,
    pub allowance: Arc<Allowance>,
    host: Arc<Host>,
    store: Store,
    pub(crate) space: Arc<space::Space>,
    draining: Arc<AtomicBool>,
    tasks: Tasks,
    supervisor: ractor::ActorCell,
}

impl Runtime {
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
        let groups = self.host.groups().into_iter();
        let checkpoints = groups.map(|group| async move { group.catch_up().await });
        let all = futures::future::join_all(checkpoints);
        if timeout(STOP_CHECKPOINT, all).await.is_err() {
            tracing::warn!("the store is not up to date; the next start applies the journal again");
        }
    }

    /// Stops everything of this node; what it acknowledged is on disk.
    pub async fn close(&self) {
        self.tasks.close().await;
        self.checkpoint().await;
        self.host.close().await;
        self.supervisor.stop(None);
        let store = self.store.clone();
        let persisted = blocking::off_thread(move || store.persist()).await;
        if !matches!(persisted, Ok(Ok(()))) {
            tracing::warn!("the store was not synced; the journal has it all");
        }
    }

    /// Refuses what takes space while a disk that holds one of `dirs` has little left, and gives some back.
    pub fn watch_space(&self, dirs: Vec<std::path::PathBuf>) {
        let (space, store, host) = (self.space.clone(), self.store.clone(), self.host.clone());
        let watch = essential("space", reclaim::run(dirs, space, store, host));
        self.tasks.spawn_until_stop(watch);
    }

    /// Takes what is deleted off the disk within a time.
    pub fn erase_deleted(&self, erasure: erase::Erasure) {
        let run = erase::run(erasure, self.store.clone(), self.host.clone());
        self.tasks.spawn_until_stop(essential("erasure", run));
    }
}
