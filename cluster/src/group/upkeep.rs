//! Keeps a group open: reopens it from the journal when Raft stops, and triggers its checkpoints.
//!
//! openraft ends a group for good on a storage error or a panic; the other groups go on, and this one
//! comes back from disk (a group that cannot is tried again, more slowly each time).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Current, Group};
use crate::limits::{CHECKPOINT_ENTRIES, REOPEN_MAX, REOPEN_MIN};
use crate::raft::{Opening, Replica, Report};

/// Opens the group, watches it, and opens it again when it stops. Never returns.
pub(super) async fn keep_open(group: Arc<Group>) {
    let mut pause = REOPEN_MIN;
    loop {
        match open(&group).await {
            Ok(current) => {
                pause = REOPEN_MIN;
                watch(&group, &current).await;
                tracing::error!(group = %group.id(), "the group stopped and is reopened");
                group.current.write().expect("no panic under this lock").take();
                current.replica.close().await;
            }
            Err(error) => {
                tracing::error!(group = %group.id(), %error, "the group cannot be opened");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REOPEN_MAX);
    }
}

async fn open(group: &Group) -> io::Result<Current> {
    let opening = &group.opening;
    let (machine, settled) = opening.factory.open(opening.id)?;
    let replica = Replica::open(Opening {
        group: opening.id,
        local: opening.local,
        journal: opening.journal.clone(),
        transport: opening.transport.clone(),
        machine,
        settled: settled.clone(),
        timers: opening.timers,
        staging: opening.staging.clone(),
    })
    .await?;
    let current = Current { replica: Arc::new(replica), settled };
    *group.current.write().expect("no panic under this lock") = Some(current.clone());
    Ok(current)
}

/// Publishes reports and triggers checkpoints until the replica stops.
async fn watch(group: &Group, current: &Current) {
    let mut seen = Report { running: true, ..Report::default() };
    let mut checkpointed = None;
    loop {
        seen = current.replica.changed(&seen).await;
        group.report.send_replace(seen.clone());
        if !seen.running {
            return;
        }
        let applied = seen.applied.map_or(0, |id| id.index);
        let behind =
            applied - checkpointed.unwrap_or_else(|| seen.purged.unwrap_or(0)).min(applied);
        if CHECKPOINT_ENTRIES <= behind {
            checkpointed = Some(applied);
            current.replica.checkpoint().await;
        }
        // A busy group reports thousands of changes a second; nobody needs each of them.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
