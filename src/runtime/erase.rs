//! Takes what was deleted off the disk, within a time that the operator sets. It would lie there for as long as the
//! journal's segment is in use and the store's file has something else in it.
//!
//! When it is due stands in a file, so that a node which is often restarted comes to it, too.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cluster::host::Host;
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::blocking;
use super::space::{self, Level};
use crate::limits::{ERASE_RETRY, STOP_CHECKPOINT};
use crate::store::Store;

/// What a node needs to know about it.
pub struct Erasure {
    /// How long what was deleted may lie on the disk. It is begun after half of that.
    pub within: Duration,
    /// Holds when it is due, in milliseconds since the Unix epoch; there while something is to be erased.
    pub file: PathBuf,
    /// The directory of the store.
    pub store: PathBuf,
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
                    due = Some(Instant::now() + ERASE_RETRY.min(erasure.within / 2));
                }
            }
        }
        space::pause().await;
    }
}

impl Erasure {
    /// How long it may wait: as the file says, or half of the time from now on, which the file then says.
    fn left(&self) -> Duration {
        let (most, now) = (self.within / 2, SystemTime::now());
        let filed = std::fs::read_to_string(&self.file).ok().and_then(|text| text.parse().ok());
        let left = filed.map(|due| {
            let due = SystemTime::UNIX_EPOCH + Duration::from_millis(due);
            due.duration_since(now).unwrap_or_default()
        });
        if let Some(left) = left.filter(|left| *left <= most) {
            return left;
        }
        let due = (now + most).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = std::fs::write(&self.file, due.as_millis().to_string()) {
            tracing::warn!(%error, "a restart will put off when what was deleted is erased");
        }
        most
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
    let (store, dir) = (store.clone(), erasure.store.clone());
    let compact = move || {
        let room = space::look(&dir)?;
        match room.level() == Level::Enough && store.erase(room.free / 2)? {
            true => Ok(()),
            false => Err(io::Error::other("the store has no room to be compacted in")),
        }
    };
    blocking::off_thread(compact).await.map_err(io::Error::other)?
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
