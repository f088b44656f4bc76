//! A bounded feed of what changed on this node, for those who would otherwise ask again and again.
//!
//! It is a hint, never the truth: who falls behind is told so and looks for itself, and a node hears of
//! the sessions alone that it has a replica of. Every replica publishes (S8).

use std::collections::BTreeSet;

use tokio::sync::broadcast;

use super::Runtime;
use crate::ids::{Incarnation, Serial, SessionId};
use crate::limits::CHANGES;

/// Commands were applied to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: SessionId,
    /// See [`crate::session::Session::root`].
    pub root: Incarnation,
    pub tail: Serial,
    /// Whether the session exists.
    pub live: bool,
}

/// The feeds of one node: reserved names change seldom, so who wants only those is not woken by others.
pub(super) struct Feeds {
    reserved: broadcast::Sender<Change>,
    others: broadcast::Sender<Change>,
}

impl Default for Feeds {
    fn default() -> Feeds {
        let (reserved, others) = (broadcast::Sender::new(CHANGES), broadcast::Sender::new(CHANGES));
        Feeds { reserved, others }
    }
}

impl Feeds {
    /// Publishes, if anybody listens.
    pub(super) fn tell(&self, id: &SessionId, change: impl FnOnce() -> Change) {
        let feed = if id.is_reserved() { &self.reserved } else { &self.others };
        if 0 < feed.receiver_count() {
            // The last listener may have left this moment.
            feed.send(change()).ok();
        }
    }
}

impl Runtime {
    /// What changes from now on among the sessions that clients name.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.world.feeds.others.subscribe()
    }

    /// What changes from now on among reserved names.
    pub fn reserved_changes(&self) -> broadcast::Receiver<Change> {
        self.world.feeds.reserved.subscribe()
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

    /// Whether every session has a replica here, so that [`Runtime::changes`] tells of all.
    pub fn sees_all(&self) -> bool {
        let groups = self.host.map().borrow().groups;
        0 < groups && self.shards.all().len() >= groups as usize
    }
}
