//! Watches the space of the disks, so that what takes space is refused before anything fails to be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::limits::{
    SPACE_INTERVAL, SPACE_LAST, SPACE_PIECE, SPACE_PIECE_MIN, SPACE_RESERVE_BYTES,
    SPACE_RESERVE_SHARE, SPACE_START,
};
use crate::session::command::Class;

/// The space of one disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub free: u64,
    pub total: u64,
    /// Below this no content is taken.
    pub reserve: u64,
}

/// What the disks have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Enough = 0,
    /// No content: what is small, what ends something and what makes room.
    Short = 1,
    /// Only what ends something or makes room.
    Last = 2,
}

impl Room {
    fn of(free: u64, total: u64) -> Room {
        Room { free, total, reserve: SPACE_RESERVE_BYTES.min(total / SPACE_RESERVE_SHARE) }
    }

    pub fn level(self) -> Level {
        match self.free {
            free if free < self.reserve / SPACE_LAST => Level::Last,
            free if free < self.reserve => Level::Short,
            _ => Level::Enough,
        }
    }

    /// What a node needs to start. One whose disk is short starts, since deletes make room; one whose store
    /// failed would fail again, and waits for the whole reserve.
    pub fn to_start(self, has_failed: bool) -> u64 {
        if has_failed { self.reserve } else { self.reserve / SPACE_START }
    }
}

impl Level {
    /// Whether a command is taken.
    pub(super) fn takes(self, class: Class) -> bool {
        match class {
            Class::Control => true,
            Class::Small => self < Level::Last,
            Class::Data => self < Level::Short,
        }
    }
}

/// The level of a node's disks, as it was seen last.
#[derive(Debug, Default)]
pub struct Space {
    level: AtomicU8,
    #[cfg(test)]
    pretended: std::sync::Mutex<Option<Room>>,
}

impl Space {
    pub(super) fn level(&self) -> Level {
        match self.level.load(Ordering::Acquire) {
            0 => Level::Enough,
            1 => Level::Short,
            _ => Level::Last,
        }
    }

    /// Sets what every disk is taken for, until the next call.
    #[cfg(test)]
    pub(crate) fn pretend(&self, room: Option<Room>) {
        *self.pretended.lock().expect("no panic under this lock") = room;
        let level = room.map_or(Level::Enough, Room::level);
        self.level.store(level as u8, Ordering::Release);
    }

    #[cfg(test)]
    fn seen(&self, room: Room) -> Room {
        self.pretended.lock().expect("no panic under this lock").unwrap_or(room)
    }

    #[cfg(not(test))]
    fn seen(&self, room: Room) -> Room {
        room
    }

    /// Looks at the disks of `dirs` and gives the one with the least room. May block.
    ///
    /// # Errors
    /// The system does not report it; nothing has changed.
    pub(super) fn look(&self, dirs: &[PathBuf]) -> io::Result<Option<Room>> {
        let rooms = dirs.iter().map(|dir| look(dir)).collect::<io::Result<Vec<_>>>()?;
        let rooms: Vec<Room> = rooms.into_iter().map(|room| self.seen(room)).collect();
        let least = rooms.iter().copied().max_by_key(|room| (room.level(), u64::MAX - room.free));
        let level = least.map_or(Level::Enough, Room::level);
        let before = self.level();
        self.level.store(level as u8, Ordering::Release);
        if level != before {
            tracing::warn!(?rooms, ?level, "the space on the disks changed");
        }
        Ok(least)
    }
}

/// The size of something that is written as a whole, on a disk of `total` bytes: `most`, and less on a small one,
/// so that the reserve is several of them.
pub fn piece(total: u64, most: u64) -> u64 {
    (total / SPACE_PIECE).clamp(SPACE_PIECE_MIN.min(most), most)
}

/// The space of the disk that holds `dir`. May block.
///
/// # Errors
/// The system does not report it.
pub fn look(dir: &Path) -> io::Result<Room> {
    let space = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Ok(Room::of(bytes(space.f_bavail), bytes(space.f_blocks)))
}

/// Pause between two looks.
pub(super) async fn pause() {
    tokio::time::sleep(SPACE_INTERVAL).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_has_a_small_reserve() {
        for (free, total, level) in [
            (256 << 20, 1 << 40, Level::Enough),
            (255 << 20, 1 << 40, Level::Short),
            (128 << 20, 1 << 40, Level::Short),
            (127 << 20, 1 << 40, Level::Last),
            (0, 1 << 40, Level::Last),
            // A disk of 96 MiB would otherwise be full for ever.
            (25 << 20, 96 << 20, Level::Enough),
            (23 << 20, 96 << 20, Level::Short),
            (11 << 20, 96 << 20, Level::Last),
            (0, 0, Level::Enough),
        ] {
            assert_eq!(Room::of(free, total).level(), level, "{free} of {total}");
        }
    }

    #[test]
    fn what_takes_most_space_is_refused_first_and_what_makes_room_never() {
        let taken =
            |level: Level| [Class::Data, Class::Small, Class::Control].map(|c| level.takes(c));
        assert_eq!(taken(Level::Enough), [true, true, true]);
        assert_eq!(taken(Level::Short), [false, true, true]);
        assert_eq!(taken(Level::Last), [false, false, true]);
    }

    #[test]
    fn a_node_starts_on_a_disk_that_is_short_unless_its_store_failed_there() {
        let room = Room::of(100 << 20, 1 << 40);
        assert_eq!(room.level(), Level::Last);
        assert!(room.to_start(false) <= room.free && room.free < room.to_start(true));
        let nothing = Room::of(1 << 20, 1 << 40);
        assert!(nothing.free < nothing.to_start(false));
    }
}
