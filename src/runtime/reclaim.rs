//! Gives disk space back while there is little: what was deleted and trimmed leaves the disk soon, and not
//! when the engine or the journal come to it.
//!
//! Checkpoints let the journal go, whose segments are the most of what can be given back at once; then the
//! store is compacted, where that has room to be done in. No request waits for it.

use std::path::PathBuf;
use std::sync::Arc;

use cluster::host::Host;
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::blocking;
use super::space::{self, Level, Room, Space};
use crate::limits::{RECLAIM_INTERVAL, RECLAIM_ROUNDS, STOP_CHECKPOINT};
use crate::store::Store;

/// Watches the space of the disks that hold `dirs`, and gives back what it can while one is short. Never returns.
pub(super) async fn run(dirs: Vec<PathBuf>, space: Arc<Space>, store: Store, host: Arc<Host>) {
    let (mut done, mut rounds, mut again) = (None, 0, Instant::now());
    loop {
        let (looked, looking) = (dirs.clone(), space.clone());
        let looked = blocking::off_thread(move || looking.look(&looked)).await;
        let least = looked.ok().and_then(Result::ok).flatten();
        let freed = store.freed();
        match least {
            Some(room) if room.level() != Level::Enough => {
                // It is news that the disk is short, or something was freed since.
                if done != Some(freed) {
                    (done, rounds) = (Some(freed), RECLAIM_ROUNDS);
                }
                if 0 < rounds && again <= Instant::now() {
                    rounds -= 1;
                    reclaim(&store, &host, room).await;
                    again = Instant::now() + RECLAIM_INTERVAL;
                }
            }
            _ => done = None,
        }
        space::pause().await;
    }
}

async fn reclaim(store: &Store, host: &Host, room: Room) {
    let cut = host.groups().into_iter().map(|group| async move { group.cut().await });
    if timeout(STOP_CHECKPOINT, join_all(cut)).await.is_err() {
        tracing::warn!("some shards could not be brought to the disk, and hold up the journal");
    }
    // Where the journal gave something back, that is room to compact in.
    let (store, began) = (store.clone(), Instant::now());
    match blocking::off_thread(move || store.compact(room.free / 2)).await {
        Ok(Ok(true)) => tracing::info!(took = ?began.elapsed(), "the store was compacted"),
        Ok(Ok(false)) => tracing::info!("the store is compacted only once there is more room"),
        Ok(Err(error)) => tracing::warn!(%error, "the store was not compacted"),
        Err(error) => tracing::warn!(%error, "the store was not compacted"),
    }
}
