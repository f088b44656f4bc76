//! A bounded feed of what changed on this node, for those that would otherwise poll.
//!
//! It is a hint, never the truth: who falls behind learns it and looks for itself, and a node learns of
//! the sessions alone that it has a replica of. Every replica publishes (S8).

use tokio::sync::broadcast;

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
    pub(super) reserved: broadcast::Sender<Change>,
    pub(super) others: broadcast::Sender<Change>,
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
