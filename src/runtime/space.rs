//! Watches the space of the disks, so that appends are refused before anything fails to be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::limits::{SPACE_INTERVAL, SPACE_RESERVE_BYTES, SPACE_RESERVE_SHARE};

/// The space of one disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub free: u64,
    /// Below this nothing more is taken.
    pub reserve: u64,
}

impl Room {
    fn of(free: u64, total: u64) -> Room {
        Room { free, reserve: SPACE_RESERVE_BYTES.min(total / SPACE_RESERVE_SHARE) }
    }

    /// Whether less than the reserve is free.
    pub fn is_short(self) -> bool {
        self.free < self.reserve
    }
}

/// The space of the disk that holds `dir`. May block.
///
/// # Errors
/// The system does not say.
pub fn look(dir: &Path) -> io::Result<Room> {
    let space = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Ok(Room::of(bytes(space.f_bavail), bytes(space.f_blocks)))
}

/// Sets `full` while less than the reserve is free on the disk of any of `dirs`. Never returns.
pub(super) async fn watch(dirs: Vec<PathBuf>, full: Arc<AtomicBool>) {
    loop {
        let looked = dirs.clone();
        let rooms = tokio::task::spawn_blocking(move || {
            looked.iter().map(|dir| look(dir)).collect::<io::Result<Vec<_>>>()
        });
        if let Ok(Ok(rooms)) = rooms.await {
            let now = rooms.iter().any(|room| room.is_short());
            if full.swap(now, Ordering::AcqRel) != now {
                tracing::warn!(?rooms, full = now, "the space on the disks changed");
            }
        }
        tokio::time::sleep(SPACE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_has_a_small_reserve() {
        for (free, total, short) in [
            (255 << 20, 1 << 40, true),
            (256 << 20, 1 << 40, false),
            // A disk of 96 MiB would otherwise be full for ever.
            (25 << 20, 96 << 20, false),
            (23 << 20, 96 << 20, true),
            (0, 0, false),
        ] {
            assert_eq!(Room::of(free, total).is_short(), short, "{free} of {total}");
        }
    }
}
