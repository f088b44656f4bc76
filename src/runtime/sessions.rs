//! The sessions of the cluster, wherever they live: what callers at this node request of them.
//!
//! `attach` serves readers, `status` looks at sessions and lists them, `fork` begins one as another was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::host::Host;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::changes::{Change, Feeds};
use super::directory::Directory;
use super::outcome::{Reply, SubmitError};
use super::relays::Relays;
use super::shards::Shards;
use crate::ids::{Millis, SessionId};
use crate::session::{Command, Grant};
use crate::store::Store;

/// All sessions, as seen from one node.
pub struct Sessions {
    pub(super) host: Arc<Host>,
    pub(super) shards: Arc<Shards>,
    pub(super) store: Store,
    pub(super) directory: Arc<Directory>,
    pub(super) feeds: Arc<Feeds>,
    pub(super) relays: Relays,
    /// Readers that are attached at this node.
    pub(super) readers: Arc<AtomicU64>,
}

impl Sessions {
    /// Commits `command` wherever the session lives and returns what it did there.
    ///
    /// Holds the request while a leader is elected. Repeats a command of unknown outcome by itself where
    /// that is safe (it has a producer, or has the same effect twice).
    ///
    /// # Errors
    /// See [`SubmitError`]; each states whether the command may have taken effect.
    pub async fn submit(
        &self,
        id: &SessionId,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, SubmitError> {
        self.directory.submit(id, &command, None, deadline).await
    }

    /// The same for a caller with this grant, which was judged here and is judged again where the session lives, if
    /// that is at another node.
    ///
    /// # Errors
    /// As above.
    pub async fn submit_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, SubmitError> {
        self.directory.submit(id, &command, grant, deadline).await
    }

    /// The time on this node. What is due in a session is decided by the time of its entries: see
    /// [`Sessions::time_of`].
    pub fn now(&self) -> Millis {
        Millis(self.host.time().now_or_own_ms())
    }

    /// The time in the session's next entry, where this node has a replica, and the node's time elsewhere.
    pub fn time_of(&self, id: &SessionId) -> Millis {
        let group = self.directory.group_of(id).and_then(|group| self.host.group(group));
        group.map_or_else(|| self.now(), |group| Millis(group.now_ms()))
    }

    /// Lets the actors of sessions leave that were not used for `idle`; they cost disk then, not memory.
    pub fn passivate(&self, idle: Duration) {
        self.shards.passivate(idle);
    }

    /// Session actors that are live on this node.
    pub fn live(&self) -> usize {
        self.shards.live_sessions()
    }

    /// What changes from now on among the sessions that clients name.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.feeds.others.subscribe()
    }

    /// What changes from now on among reserved names.
    pub fn reserved_changes(&self) -> broadcast::Receiver<Change> {
        self.feeds.reserved.subscribe()
    }

    /// Whether this node may act for the session now (S8).
    pub fn leads(&self, id: &SessionId) -> bool {
        self.directory.local(id).is_some_and(|(group, _)| group.leads())
    }

    /// The shards that this node leads now.
    pub fn led_shards(&self) -> BTreeSet<u32> {
        let led = self.host.groups().into_iter().filter(|group| group.leads());
        led.map(|group| group.id().0).collect()
    }

    /// Whether every session has a replica here, so that [`Sessions::changes`] has all.
    pub fn sees_all(&self) -> bool {
        let groups = self.host.map().borrow().groups;
        0 < groups && self.shards.all().len() >= groups as usize
    }

    /// Readers that are attached at this node.
    pub(super) fn reader_count(&self) -> u64 {
        self.readers.load(Ordering::Relaxed)
    }
}
