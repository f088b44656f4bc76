//! The transport of a node that has no peers.

use std::time::Duration;

use bytes::Bytes;

use super::{BoxFuture, CallError, Lane, Stream, Transport};
use crate::ids::NodeId;

/// Reaches no peers. A cluster of one runs on it, with no port open.
#[derive(Clone, Copy, Debug)]
pub struct SingleNode {
    local: NodeId,
}

impl SingleNode {
    /// A transport of one node that has no peers.
    pub fn new(local: NodeId) -> SingleNode {
        SingleNode { local }
    }
}

fn nobody<T: Send + 'static>() -> BoxFuture<Result<T, CallError>> {
    Box::pin(async { Err(CallError::Unreachable("this node has no peers".into())) })
}

impl Transport for SingleNode {
    fn call(
        &self,
        _to: NodeId,
        _lane: Lane,
        _request: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<Result<Bytes, CallError>> {
        nobody()
    }

    fn tell(&self, _to: NodeId, _lane: Lane, _note: Bytes) {}

    fn open(
        &self,
        _to: NodeId,
        _priority: i32,
        _hello: Bytes,
    ) -> BoxFuture<Result<Stream, CallError>> {
        nobody()
    }

    fn set_peer(&self, _id: NodeId, _addr: String) {}

    fn remove_peer(&self, _id: NodeId) {}

    fn connected(&self) -> Vec<NodeId> {
        Vec::new()
    }

    fn local(&self) -> NodeId {
        self.local
    }

    fn shutdown(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }
}
