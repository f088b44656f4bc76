//! Room in memory for what is on its way between clients and sessions, all of it together (S10).
//!
//! Bodies, frames, lines and answers take room as their bytes come, never as they are announced. A part of it
//! is kept for what is small, so that an interrupt finds room however much of the rest is taken.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{self, Problem};
use crate::limits;
use crate::telemetry::Metrics;

/// Unit in which room is counted, in bytes.
const UNIT: usize = 1 << 10;

/// The room of one node.
pub(super) struct Room {
    common: Arc<Semaphore>,
    /// For what is small, where there is no other.
    reserve: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Room that a request holds; given back when it is dropped.
pub(super) struct Hold {
    room: Arc<Room>,
    common: Option<OwnedSemaphorePermit>,
    reserve: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes: usize, metrics: &Arc<Metrics>) -> Arc<Room> {
        let units = (bytes / UNIT).max(limits::TRANSIT_RESERVE_SHARE);
        let reserve = units / limits::TRANSIT_RESERVE_SHARE;
        Arc::new(Room {
            common: Arc::new(Semaphore::new(units - reserve)),
            reserve: Arc::new(Semaphore::new(reserve)),
            metrics: metrics.clone(),
        })
    }

    /// Room for nothing yet.
    pub(super) fn hold(self: &Arc<Room>) -> Hold {
        Hold { room: self.clone(), common: None, reserve: None }
    }

    /// Room for so many bytes.
    ///
    /// # Errors
    /// There is none; nothing happened.
    pub(super) fn hold_for(self: &Arc<Room>, bytes: usize) -> Result<Hold, Problem> {
        let mut hold = self.hold();
        if hold.reach(bytes) { Ok(hold) } else { Err(crowded()) }
    }
}

/// The answer where there is no room.
pub(super) fn crowded() -> Problem {
    Problem::new(&error::OVERLOADED, "too many bytes wait on this node; try later")
}

impl Hold {
    /// Holds room for so many bytes in all, if there is any; else as much as before.
    pub(super) fn reach(&mut self, bytes: usize) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        if more == 0 {
            return true;
        }
        let taken = u32::try_from(more).ok().is_some_and(|units| {
            take(&self.room.common, units, &mut self.common)
                || bytes <= limits::TRANSIT_SMALL_BYTES
                    && take(&self.room.reserve, units, &mut self.reserve)
        });
        if taken {
            self.count(more as i64);
        } else {
            self.room.metrics.transit_refused.inc();
        }
        taken
    }

    /// Waits for room for so many bytes in all. Cancel safe: what is held stays as it was.
    pub(super) async fn reached(&mut self, bytes: usize) {
        if self.reach(bytes) {
            return;
        }
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        let units = u32::try_from(more).expect("nobody waits for that much");
        let permit = self.room.common.clone().acquire_many_owned(units).await;
        add(&mut self.common, permit.expect("nobody closes it"));
        self.count(more as i64);
    }

    /// Gives back what is beyond so many bytes.
    pub(super) fn keep(&mut self, bytes: usize) {
        let mut less = self.units().saturating_sub(bytes.div_ceil(UNIT));
        self.count(-(less as i64));
        for held in [&mut self.reserve, &mut self.common] {
            let Some(permit) = held else { continue };
            let part = less.min(permit.num_permits());
            drop(permit.split(part));
            less -= part;
        }
    }

    fn units(&self) -> usize {
        let held = |permit: &Option<OwnedSemaphorePermit>| {
            permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
        };
        held(&self.common) + held(&self.reserve)
    }

    fn count(&self, units: i64) {
        self.room.metrics.transit_bytes.inc_by(units * UNIT as i64);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.count(-(self.units() as i64));
    }
}

fn take(of: &Arc<Semaphore>, units: u32, held: &mut Option<OwnedSemaphorePermit>) -> bool {
    match of.clone().try_acquire_many_owned(units) {
        Ok(permit) => {
            add(held, permit);
            true
        }
        Err(_) => false,
    }
}

fn add(held: &mut Option<OwnedSemaphorePermit>, permit: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(permit),
        None => *held = Some(permit),
    }
}

/// How much room a node has in a machine with so much memory, in bytes; unknown is none that matters.
pub(super) fn size(memory: Option<u64>) -> usize {
    let share = memory.map_or(u64::MAX, |bytes| bytes / limits::TRANSIT_MEMORY_SHARE);
    usize::try_from(share).unwrap_or(usize::MAX).min(limits::TRANSIT_BYTES)
}

/// Memory that this process may use, in bytes: the machine's, or less where its control group has less.
pub(super) fn memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    least(machine.as_deref(), group.as_deref())
}

fn least(machine: Option<&str>, group: Option<&str>) -> Option<u64> {
    let machine = machine.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
    });
    let group = group.and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_finds_room_when_nothing_else_does() {
        let metrics = Arc::new(Metrics::default());
        let room = Room::new(1 << 20, &metrics);
        let mut large = Vec::new();
        while let Ok(hold) = room.hold_for(64 << 10) {
            large.push(hold);
        }
        assert_eq!(large.len(), 14, "an eighth is kept");
        assert!(room.hold_for(limits::TRANSIT_SMALL_BYTES + 1).is_err());
        let mut small = room.hold_for(limits::TRANSIT_SMALL_BYTES).unwrap();
        assert!(!small.reach(limits::TRANSIT_SMALL_BYTES + 1), "it is small no more");
        assert_eq!(metrics.transit_bytes.get(), (14 << 16) + (16 << 10));
        large.pop();
        assert!(small.reach(limits::TRANSIT_SMALL_BYTES + 1));
        small.keep(1);
        drop((large, small));
        assert_eq!(metrics.transit_bytes.get(), 0);
        assert!(room.hold_for(896 << 10).is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_when_it_is_given_back() {
        let room = Room::new(1 << 20, &Arc::new(Metrics::default()));
        let all = room.hold_for(896 << 10).unwrap();
        let mut hold = room.hold();
        tokio::select! {
            biased;
            () = hold.reached(64 << 10) => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        drop(all);
        hold.reached(64 << 10).await;
        drop(hold);
        assert!(room.hold_for(896 << 10).is_ok(), "who stopped waiting took nothing");
    }

    #[test]
    fn the_room_fits_the_machine() {
        let machine = "MemFree: 1 kB\nMemTotal:        4096 kB\n";
        assert_eq!(least(Some(machine), Some("max\n")), Some(4 << 20));
        assert_eq!(least(Some(machine), Some("1048576\n")), Some(1 << 20));
        assert_eq!(least(None, None), None);
        assert_eq!(size(Some(4 << 20)), 1 << 20);
        assert_eq!(size(Some(1 << 40)), limits::TRANSIT_BYTES);
        assert_eq!(size(None), limits::TRANSIT_BYTES);
    }
}
