//! Read indexes for many readers at once: those who wait share the next round, never a running one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Group, ReadError};
use crate::codec;
use crate::ids::NodeId;
use crate::raft::{ReadIndexAnswer, Rpc, RpcKind, WIRE_VERSION};
use crate::relay;
use crate::transport::{CallError, Lane};

type Waiting = oneshot::Sender<Result<u64, ReadError>>;

/// Answers rounds of readers until the queue closes.
pub(super) async fn run(group: Arc<Group>, mut queue: mpsc::Receiver<Waiting>) {
    while let Some(first) = queue.recv().await {
        let mut readers = vec![first];
        while let Ok(next) = queue.try_recv() {
            readers.push(next);
        }
        let index = round(&group).await;
        for reader in readers {
            // A reader that gave up needs no answer.
            reader.send(index.clone()).ok();
        }
    }
}

async fn round(group: &Group) -> Result<u64, ReadError> {
    let current = group.current().ok_or(ReadError::Closed)?;
    let no_leader = |text: String| ReadError::NoLeader(text);
    let local = group.opening.local;
    match current.replica.leader() {
        None => Err(no_leader("an election is under way".into())),
        Some(leader) if leader == local => {
            let request = tokio::time::timeout(group.timeout(), current.replica.read_index());
            let request = request.await.map_err(|_| no_leader("no majority answers".into()))?;
            request.map_err(|error| no_leader(error.to_string()))
        }
        Some(leader) => {
            let request = ask(group, leader, current.replica.in_touch()).await;
            let answer = request.map_err(|error| no_leader(error.to_string()))?;
            let answer: ReadIndexAnswer = codec::decode(WIRE_VERSION, &answer)
                .map_err(|error| no_leader(error.to_string()))?;
            Ok(answer.next)
        }
    }
}

/// Requests the read index from the leader, by a third node where the link to it is cut. A link that just
/// died is noticed late: a node that receives nothing from the leader any more tries a third node first.
async fn ask(group: &Group, leader: NodeId, hears_it: bool) -> Result<Bytes, CallError> {
    let rpc = Rpc::new(RpcKind::ReadIndex, group.id(), Vec::new());
    let (transport, within) = (group.opening.transport.clone(), group.timeout());
    if !hears_it {
        let until = Instant::now() + within;
        let request = relay::by_third(&*transport, leader, Lane::Control, &rpc, until).await;
        if request.is_ok() {
            return request;
        }
    }
    relay::call(transport, leader, Lane::Control, rpc, within).await
}
