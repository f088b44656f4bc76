//! Starts of a node whose workers are lost, because they ended.

use std::fmt;

use cluster::ids::NodeId;

use crate::session::NodeStart;

/// Starts of a node that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::runtime) enum Gone {
    /// All: the node is.
    All(NodeId),
    /// Those before this one, which lives.
    Before(NodeId, u64),
}

impl Gone {
    pub(super) fn has(self, start: NodeStart) -> bool {
        match self {
            Gone::All(node) => start.node == node.0,
            Gone::Before(node, boot) => start.node == node.0 && start.boot < boot,
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::All(node) => write!(f, "node {} is gone", node.0),
            Gone::Before(node, _) => write!(f, "node {} has started anew", node.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: NodeId = NodeId(2);

    #[test]
    fn the_starts_of_a_node_before_the_one_that_lives_are_gone() {
        let start = |node, boot| NodeStart { node, boot };
        let gone = Gone::Before(OTHER, 7);
        let starts = [start(OTHER.0, 6), start(OTHER.0, 7), start(OTHER.0, 8), start(9, 6)];
        assert_eq!(starts.map(|start| gone.has(start)), [true, false, false, false]);
        assert_eq!(starts.map(|start| Gone::All(OTHER).has(start)), [true, true, true, false]);
    }
}
