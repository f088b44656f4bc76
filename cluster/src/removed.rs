//! Nodes that were removed from the cluster and that nothing needs any more: they have no access.
//!
//! One list, filled by the host from the agreed members, and consulted wherever a peer comes in: at the gate of
//! new links, and at each message of a link that is there.

use std::collections::BTreeSet;
use std::sync::RwLock;

use crate::ids::NodeId;

/// How a refusal begins that means: you are no member any more.
pub(crate) const REMOVED: &str = "removed from the cluster";

/// The nodes that are kept out.
#[derive(Debug, Default)]
pub struct Removed {
    nodes: RwLock<BTreeSet<NodeId>>,
}

impl Removed {
    /// Keeps `node` out from now on; returns whether it was let in before.
    pub(crate) fn keep_out(&self, node: NodeId) -> bool {
        self.nodes.write().expect("no panic under this lock").insert(node)
    }

    /// Whether a node is kept out.
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.read().expect("no panic under this lock").contains(&node)
    }

    /// Checks whether a peer is let in.
    ///
    /// # Errors
    /// The text is for the peer.
    pub(crate) fn admit(&self, node: NodeId) -> Result<(), String> {
        if !self.contains(node) {
            return Ok(());
        }
        Err(format!(
            "{REMOVED}: node {} is no member any more and its id is never used again; its data is of no \
             use, and a new node needs another --node-id and an empty data directory",
            node.0
        ))
    }
}
