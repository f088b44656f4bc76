//! One journal per node.
