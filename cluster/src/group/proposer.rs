//! Lets commands ride: whatever gathers while an entry is in flight goes into the next one (no timers).

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Fate, Group, Proposal};
use crate::limits::{ENTRY_BYTES, ENTRY_COMMANDS};
use crate::raft::{Replica, ReplicaError};

/// Proposes until the group stops, one entry after the other: what would fill a second one in flight makes
/// the next one larger, which costs less. Whoever still waits then is told that it never happened.
pub(super) async fn run(
    group: Arc<Group>,
    mut control: mpsc::Receiver<Proposal>,
    mut data: mpsc::Receiver<Proposal>,
) {
    let mut stopped = pin!(group.stop.cancelled());
    let mut last_ms = 0;
    loop {
        let first = tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(proposal) = control.recv() => proposal,
            Some(proposal) = data.recv() => proposal,
        };
        let batch = gather(first, &mut control, &mut data);
        // The group's time, never backwards (S6).
        let Some(now_ms) = group.stop.run_until_cancelled(group.time.stamp_ms()).await else {
            tell(batch, &Fate::Refused { leader: None });
            break;
        };
        last_ms = now_ms.max(last_ms);
        let commands: Vec<Bytes> = batch.iter().map(|proposal| proposal.command.clone()).collect();
        let fate = match group.current() {
            Some(current) => decided(&current.replica, last_ms, &commands).await,
            None => Fate::Refused { leader: None },
        };
        tell(batch, &fate);
    }
    for queue in [&mut control, &mut data] {
        queue.close();
        while let Ok(proposal) = queue.try_recv() {
            (proposal.told)(Fate::Refused { leader: None });
        }
    }
}

/// What becomes of an entry with these commands. A replica that is closed answers, too.
async fn decided(replica: &Replica, time_ms: u64, commands: &[Bytes]) -> Fate {
    let applied = match replica.propose(time_ms, commands).await {
        Ok(applied) => applied.await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(id) => Fate::Committed(id),
        Err(ReplicaError::NotLeader { leader }) => Fate::Refused { leader },
        Err(ReplicaError::Unknown(text)) => Fate::Unknown(text),
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
