//! The workers at this node, and the turns that they look for.
//!
//! `claim` finds a turn and takes it, `served` knows which agents anybody works for, `agent` has workers on links.

use std::sync::Arc;

use cluster::host::Host;
use cluster::ids::GroupId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::directory::Directory;
use super::ephemeral::Ephemerals;
use super::served::Served;
use super::sessions::Sessions;
use super::tasks::Tasks;
use super::turn_queue::TurnQueue;
use crate::limits::{CLAIMERS, SWEEP_INTERVAL};

/// What the workers of one node share.
pub struct Workers {
    /// Where their turns are.
    pub sessions: Arc<Sessions>,
    pub(super) ephemerals: Arc<Ephemerals>,
    pub(super) host: Arc<Host>,
    pub(super) directory: Arc<Directory>,
    /// The turns that wait in sessions that this node leads.
    pub(super) turn_queue: Arc<TurnQueue>,
    pub(super) served: Arc<Served>,
    /// Places for workers for whom other nodes get requests.
    pub(super) claimers: Semaphore,
    pub(super) tasks: Tasks,
}

impl Workers {
    pub(super) fn new(
        host: Arc<Host>,
        directory: Arc<Directory>,
        (sessions, ephemerals): (Arc<Sessions>, Arc<Ephemerals>),
        turn_queue: Arc<TurnQueue>,
        tasks: Tasks,
    ) -> Workers {
        let (served, claimers) = (Arc::default(), Semaphore::new(CLAIMERS));
        Workers { sessions, ephemerals, host, directory, turn_queue, served, claimers, tasks }
    }

    /// The number of their node.
    pub fn node(&self) -> u64 {
        self.host.local().0
    }

    /// Keeps the queue of turns in order, until it is dropped.
    pub(super) async fn tidy(self: Arc<Self>) {
        let leads = |shard| self.host.group(GroupId(shard)).is_some_and(|group| group.leads());
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.turn_queue.tidy(Instant::now(), leads);
            self.served.tidy();
        }
    }
}
