//! Watches the space of the disk, so that appends are refused before anything fails to be written.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::limits::{SPACE_INTERVAL, SPACE_RESERVE_BYTES};

/// Sets `full` while less than the reserve is free. Never returns.
pub(super) async fn watch(dir: PathBuf, full: Arc<AtomicBool>) {
    loop {
        let dir = dir.clone();
        let space = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&dir)).await;
        if let Ok(Ok(space)) = space {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let now = free < SPACE_RESERVE_BYTES;
            if full.swap(now, Ordering::AcqRel) != now {
                tracing::warn!(free, full = now, "the space on the disk changed");
            }
        }
        tokio::time::sleep(SPACE_INTERVAL).await;
    }
}
