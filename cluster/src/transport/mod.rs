//! Bytes between nodes.
