//! Takes what was deleted off the disk, within a time that the operator sets. It would lie there for as long as the
//! journal's segment is in use and the store's file has something else in it.
//!
//! When it is due stands in a file, so that a node which is often restarted comes to it, too.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::clock::Clock;
use cluster::host::Host;
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::blocking;
use super::space::{self, Level};
use crate::ids::{Serial, SessionId};
use crate::limits::{ERASE_RETRY, STOP_CHECKPOINT};
use crate::store::kept::Head;
use crate::store::{LogOf, Store};

/// What a node needs to know about it.
pub struct Erasure {
    /// How long what was deleted may lie on the disk, in milliseconds. It is begun after half of that.
    pub within_ms: u64,
    /// Holds when it is due, in milliseconds since the Unix epoch; there while something is to be erased.
    pub file: PathBuf,
    /// The directory of the store.
    pub store: PathBuf,
    /// This node's time.
    pub clock: Arc<dyn Clock>,
}

/// Erases again and again, when something was deleted. Never returns.
pub(super) async fn run(erasure: Erasure, store: Store, host: Arc<Host>) {
    // What was deleted before this start is not known, and may be there still.
    let (mut erased, mut due) = (None, None);
    loop {
        let freed = store.freed();
        if due.is_none() && erased != Some(freed) {
            due = Some(Instant::now() + erasure.left());
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            let begun = Instant::now();
            match erase(&erasure, &store, &host).await {
                Ok(()) => {
                    tracing::info!(took = ?begun.elapsed(), "what was deleted is off the disk");
                    (erased, due) = (Some(freed), None);
                    erasure.forget();
                }
                Err(why) => {
                    tracing::warn!(%why, "what was deleted is on the disk still; tried again");
                    due = Some(
                        Instant::now()
                            + ERASE_RETRY.min(Duration::from_millis(erasure.within_ms / 2)),
                    );
                }
            }
        }
        space::pause().await;
    }
}

impl Erasure {
    /// How long it may wait: as the file says, or half of the time from now on, which the file then says.
    fn left(&self) -> Duration {
        let (most_ms, now_ms) = (self.within_ms / 2, self.clock.now_ms());
        let filed = std::fs::read_to_string(&self.file).ok();
        let left_ms = filed.and_then(|text| text.parse::<u64>().ok());
        let left_ms = left_ms.map(|due_ms| due_ms.saturating_sub(now_ms));
        if let Some(left_ms) = left_ms.filter(|left_ms| *left_ms <= most_ms) {
            return Duration::from_millis(left_ms);
        }
        let due_ms = now_ms.saturating_add(most_ms);
        if let Err(error) = std::fs::write(&self.file, due_ms.to_string()) {
            tracing::warn!(%error, "a restart will put off when what was deleted is erased");
        }
        Duration::from_millis(most_ms)
    }

    fn forget(&self) {
        // One that is left makes it due once more.
        std::fs::remove_file(&self.file).ok();
    }
}

/// Everything that was deleted before the call is on no disk of this node afterwards.
///
/// # Errors
/// Some of it may be there still.
async fn erase(erasure: &Erasure, store: &Store, host: &Host) -> io::Result<()> {
    cut(host).await?;
    let shards: Vec<u32> = host.groups().iter().map(|group| group.id().0).collect();
    let (store, dir) = (store.clone(), erasure.store.clone());
    let compact = move || {
        for shard in shards {
            free(&store, shard)?;
        }
        let room = space::look(&dir)?;
        match room.level() == Level::Enough && store.erase(room.free / 2)? {
            true => Ok(()),
            false => Err(io::Error::other("the store has no room to be compacted in")),
        }
    };
    blocking::off_thread(compact).await.map_err(io::Error::other)?
}

/// Frees what sessions have given up of their logs and have not come to free: they do it by many events at once, and a
/// snapshot brings a head and leaves the older blocks. May block.
fn free(store: &Store, shard: u32) -> io::Result<()> {
    for head in store.heads(shard, "", None) {
        let (id, Head { session, .. }) = head?;
        let first = session.first();
        let Some(incarnation) = session.incarnation().filter(|_| session.is_kept()) else {
            continue;
        };
        if Serial(1) < first {
            let id = SessionId::read(&id)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            store.free_blocks(&LogOf { shard, id: &id, incarnation }, None, Some(first))?;
        }
    }
    Ok(())
}

/// Brings all groups to the store, and removes the journal's segments of before.
async fn cut(host: &Host) -> io::Result<()> {
    let (journal, end) = (host.journal(), Instant::now() + STOP_CHECKPOINT);
    let first = timeout(STOP_CHECKPOINT, journal.roll()).await?.map_err(io::Error::other)?;
    while journal.oldest() < first {
        let cut = host.groups().into_iter().map(|group| async move { group.cut().await });
        timeout(STOP_CHECKPOINT, join_all(cut)).await?;
        if end < Instant::now() {
            let pinning: Vec<u32> = journal.pinned_by().iter().map(|(group, _)| group.0).collect();
            return Err(io::Error::other(format!("shards {pinning:?} hold the journal up")));
        }
        space::pause().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(u64);

    impl Clock for At {
        fn now_ms(&self) -> u64 {
            self.0
        }

        fn elapsed_ms(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_restart_puts_nothing_off_and_a_clock_that_jumped_only_by_half_of_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let left_at = |now_ms| {
            let (file, store) = (dir.path().join("erase-at"), dir.path().into());
            let erasure = Erasure { within_ms: 1_000, file, store, clock: Arc::new(At(now_ms)) };
            (erasure.left().as_millis(), erasure)
        };
        assert_eq!(left_at(5_000).0, 500);
        assert_eq!(left_at(5_200).0, 300, "the file says so");
        assert_eq!(left_at(9_000).0, 0, "it was due meanwhile");
        assert_eq!(left_at(1_000).0, 500, "the clock was ahead");
        std::fs::write(dir.path().join("erase-at"), "soon").unwrap();
        let (left, erasure) = left_at(2_000);
        assert_eq!(left, 500);
        erasure.forget();
        assert_eq!(left_at(8_000).0, 500);
    }
}
