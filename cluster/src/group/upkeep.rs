//! Keeps a group open: reopens it from the journal when Raft stops, and triggers its checkpoints.
//!
//! openraft ends a group for good on a storage error or a panic; the other groups go on, and this one
//! comes back from disk (a group that cannot is tried again, more slowly each time).

use std::io;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Current, Group};
use crate::blocking::off_thread;
use crate::limits::{CARE_INTERVAL, REOPEN_MAX, REOPEN_MIN, REPORT_INTERVAL};
use crate::raft::{Opening, Replica, Report};

/// Opens the group, watches it, and opens it again when it stops, until the group is closed.
pub(super) async fn keep_open(group: Arc<Group>) {
    let mut pause = REOPEN_MIN;
    while !group.stop.is_cancelled() {
        match open(&group).await {
            Ok(current) => {
                let opened = Instant::now();
                tokio::select! {
                    biased;
                    () = group.stop.cancelled() => (),
                    () = group.broken.happened() => (),
                    () = watch(&group, &current) => {
                        tracing::error!(group = %group.id(), "the group stopped and is reopened");
                    }
                }
                group.current.write().expect("no panic under this lock").take();
                current.ended.cancel();
                current.replica.close().await;
                // One that stops as soon as it is open would otherwise read its journal again and again.
                if REOPEN_MAX < opened.elapsed() {
                    pause = REOPEN_MIN;
                }
            }
            Err(error) => {
                tracing::error!(group = %group.id(), %error, "the group cannot be opened");
            }
        }
        if group.broken.reason().is_some() {
            group.report.send_replace(Report::default());
            return;
        }
        group.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(REOPEN_MAX);
    }
}

async fn open(group: &Group) -> io::Result<Current> {
    let opening = &group.opening;
    let (factory, id) = (opening.factory.clone(), opening.id);
    factory.vacated(id).await;
    let (machine, settled) = off_thread(move || factory.open(id)).await??;
    let replica = Replica::open(Opening {
        group: opening.id,
        local: opening.local,
        journal: opening.journal.clone(),
        transport: opening.transport.clone(),
        machine,
        settled: settled.clone(),
        time: group.time.clone(),
        timers: opening.timers,
        checkpoints: opening.checkpoints,
        staging: opening.staging.clone(),
        broken: group.broken.clone(),
    })
    .await?;
    let (replica, ended) = (Arc::new(replica), CancellationToken::new());
    let current = Current { replica, settled, ended };
    *group.current.write().expect("no panic under this lock") = Some(current.clone());
    Ok(current)
}

/// Publishes reports and triggers checkpoints until the replica stops.
async fn watch(group: &Group, current: &Current) {
    let mut seen = Report { running: true, ..Report::default() };
    let (mut request, mut purged) = (None, None);
    loop {
        // An idle group looks now and then whether its old entries hold up the journal.
        let changed = current.replica.changed(&seen);
        seen = match tokio::time::timeout(CARE_INTERVAL, changed).await {
            Ok(changed) => changed,
            Err(_) => seen,
        };
        group.report.send_replace(seen.clone());
        if !seen.running {
            return;
        }
        let Some(applied) = seen.applied.map(|id| id.index) else { continue };
        let covered = seen.checkpoint.max(request);
        let since = covered.map_or(applied + 1, |covered| applied.saturating_sub(covered));
        let pinning = since < group.opening.checkpoints.every_entries && pins(group);
        if group.opening.checkpoints.every_entries <= since || (pinning && 0 < since) {
            request = Some(applied);
            current.replica.checkpoint().await;
        }
        let kept = if pinning { 0 } else { group.opening.checkpoints.kept_entries };
        let upto = seen.checkpoint.and_then(|checkpoint| checkpoint.checked_sub(kept));
        if purged.max(seen.purged) < upto {
            purged = upto;
            current.replica.purge(upto.expect("it is above an option")).await;
        }
        // A busy group reports thousands of changes a second; no reader needs each of them.
        tokio::time::sleep(REPORT_INTERVAL).await;
    }
}

/// Whether this group's oldest entry keeps the journal's oldest segment.
fn pins(group: &Group) -> bool {
    group.opening.journal.pinned_by().iter().any(|(pinning, _)| *pinning == group.id())
}
