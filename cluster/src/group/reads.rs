//! Read indexes for many readers at once: those who wait share the next round, never a running one.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Group, ReadError};
use crate::codec;
use crate::raft::{READ_INDEX_VERSION, ReadIndexAnswer, Rpc, RpcKind};
use crate::transport::Lane;

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
            let asked = tokio::time::timeout(group.timeout(), current.replica.read_index());
            let asked = asked.await.map_err(|_| no_leader("no majority answers".into()))?;
            asked.map_err(|error| no_leader(error.to_string()))
        }
        Some(leader) => {
            let rpc = Rpc::new(RpcKind::ReadIndex, group.id(), Vec::new()).encode();
            let transport = &group.opening.transport;
            let asked = transport.call(leader, Lane::Control, rpc, group.timeout()).await;
            let answer = asked.map_err(|error| no_leader(error.to_string()))?;
            let answer: ReadIndexAnswer = codec::decode(READ_INDEX_VERSION, &answer)
                .map_err(|error| no_leader(error.to_string()))?;
            Ok(answer.next)
        }
    }
}
