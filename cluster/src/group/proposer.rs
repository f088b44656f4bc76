//! Lets commands ride: whatever gathers while entries are in flight goes into the next one (no timers).

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::{Fate, Group, Proposal};
use crate::limits::{ENTRIES_IN_FLIGHT, ENTRY_BYTES, ENTRY_COMMANDS};
use crate::raft::ReplicaError;

/// Proposes until both queues close.
pub(super) async fn run(
    group: Arc<Group>,
    mut control: mpsc::Receiver<Proposal>,
    mut data: mpsc::Receiver<Proposal>,
) {
    let in_flight = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
    let mut last_ms = 0;
    loop {
        let slot = in_flight.clone().acquire_owned().await.expect("it is never closed");
        let first = tokio::select! {
            biased;
            Some(proposal) = control.recv() => proposal,
            Some(proposal) = data.recv() => proposal,
            else => return,
        };
        let batch = gather(first, &mut control, &mut data);
        // The leader's clock, never backwards within its term here (S6).
        last_ms = group.opening.clock.now_ms().max(last_ms);
        let commands: Vec<Bytes> = batch.iter().map(|proposal| proposal.command.clone()).collect();
        let Some(current) = group.current() else {
            tell(batch, &Fate::Refused { leader: None });
            continue;
        };
        match current.replica.propose(last_ms, &commands).await {
            Ok(applied) => {
                group.tasks.spawn(async move {
                    let fate = match applied.await {
                        Ok(id) => Fate::Committed(id),
                        Err(ReplicaError::NotLeader { leader }) => Fate::Refused { leader },
                        Err(ReplicaError::Unknown(text)) => Fate::Unknown(text),
                    };
                    drop(slot);
                    tell(batch, &fate);
                });
            }
            Err(ReplicaError::NotLeader { leader }) => tell(batch, &Fate::Refused { leader }),
            Err(ReplicaError::Unknown(text)) => tell(batch, &Fate::Unknown(text)),
        }
    }
}

fn tell(batch: Vec<Proposal>, fate: &Fate) {
    for proposal in batch {
        (proposal.told)(fate.clone());
    }
}

fn gather(
    first: Proposal,
    control: &mut mpsc::Receiver<Proposal>,
    data: &mut mpsc::Receiver<Proposal>,
) -> Vec<Proposal> {
    let mut bytes = first.command.len();
    let mut batch = vec![first];
    while batch.len() < ENTRY_COMMANDS && bytes < ENTRY_BYTES {
        let Ok(next) = control.try_recv().or_else(|_| data.try_recv()) else { break };
        bytes += next.command.len();
        batch.push(next);
    }
    batch
}
