//! What time it is: the time in entries goes by elapsed time, and follows the wall clocks of a majority.
//!
//! A node compares its wall clock with those of the other members. [`NodeTime`] goes on by the time that
//! elapses, runs a little faster or slower towards what a majority shows, and jumps only forward, to what a
//! majority has shown for a while. `GroupTime` is the same for one group, and never below the time of an
//! entry that is committed there (S6): if that is in the future, it goes on from there, slowly, until the
//! others come. So no clock of one node deletes anything by being early, nor freezes anything by being late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::codec::{self, CodecError};
use crate::ids::NodeId;
use crate::limits::{
    CLOCK_AGE_MS, CLOCK_ALONE_PATIENCE_MS, CLOCK_PATIENCE_MS, CLOCK_ROUND_TRIP_MS, CLOCK_SLEW_PART,
    CLOCK_TOLERANCE_MS, FIRST_TIME_WAIT,
};

const VERSION: u8 = 1;

/// A node's answer to a request for its clocks, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    wall_ms: u64,
    /// Its [`NodeTime`], where it has one.
    time_ms: Option<u64>,
}

/// What another node's clocks showed, as differences to the time that elapsed here, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: i64,
    time: Option<i64>,
    at_ms: u64,
}

/// What a majority of wall clocks agrees on, in milliseconds since the Unix epoch.
///
/// Where only a bare majority answers, a part of it may be wrong and they are apart; between them,
/// nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// A majority shows this or a later time.
    at_least: u64,
    /// A majority shows this or an earlier time.
    at_most: u64,
}

impl Bounds {
    /// From what the clocks show that were read, among so many members; none without a majority.
    fn of(mut shown: Vec<u64>, members: usize) -> Option<Bounds> {
        let majority = members / 2 + 1;
        shown.sort_unstable();
        let at_least = shown[shown.len().checked_sub(majority)?];
        Some(Bounds { at_least, at_most: shown[majority - 1] })
    }

    /// How far `time_ms` is ahead of what a majority shows; negative where it is behind.
    fn distance(&self, time_ms: u64) -> i64 {
        signed(time_ms, time_ms.clamp(self.at_least, self.at_most))
    }
}

/// `a - b`.
fn signed(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a < b { i64::MIN } else { i64::MAX })
}

/// A moment from which time goes on by what elapses, while it makes up for a known error.
#[derive(Clone, Copy, Debug)]
struct Base {
    time_ms: u64,
    elapsed_ms: u64,
    /// How much is to be made up: later where positive.
    error_ms: i64,
}

impl Base {
    fn at(&self, elapsed_ms: u64) -> u64 {
        let passed = elapsed_ms.saturating_sub(self.elapsed_ms);
        let bend = i64::try_from(passed / CLOCK_SLEW_PART).unwrap_or(i64::MAX);
        let straight = self.time_ms.saturating_add(passed);
        straight.saturating_add_signed(self.error_ms.clamp(-bend, bend))
    }
}

/// A node's time, as far as it follows from the readings. Pure: what elapses is an argument.
#[derive(Debug, Default)]
struct Reference {
    base: Option<Base>,
    /// Since when a majority shows a much later time without a break.
    late_since: Option<u64>,
}

impl Reference {
    fn at(&self, elapsed_ms: u64) -> Option<u64> {
        self.base.map(|base| base.at(elapsed_ms))
    }

    /// Takes what a majority shows now; returns whether time jumped.
    ///
    /// `peers` are the times of other nodes: a node that starts among them goes by theirs.
    fn steer(
        &mut self,
        elapsed_ms: u64,
        bounds: Option<Bounds>,
        mut peers: Vec<u64>,
        patience_ms: u64,
    ) -> bool {
        let now_ms = self.at(elapsed_ms);
        let Some(bounds) = bounds else {
            // No clocks to go by: it goes on straight.
            self.late_since = None;
            self.base = now_ms.map(|time_ms| Base { time_ms, elapsed_ms, error_ms: 0 });
            return false;
        };
        let Some(now_ms) = now_ms else {
            peers.sort_unstable();
            let time_ms = peers.get(peers.len() / 2).copied().unwrap_or(bounds.at_least);
            self.base = Some(Base { time_ms, elapsed_ms, error_ms: 0 });
            return false;
        };
        let error_ms = bounds.distance(now_ms).saturating_neg();
        if error_ms <= CLOCK_TOLERANCE_MS as i64 {
            self.late_since = None;
        } else {
            let since = *self.late_since.get_or_insert(elapsed_ms);
            if patience_ms <= elapsed_ms.saturating_sub(since) {
                self.late_since = None;
                self.base = Some(Base { time_ms: bounds.at_least, elapsed_ms, error_ms: 0 });
                return true;
            }
        }
        self.base = Some(Base { time_ms: now_ms, elapsed_ms, error_ms });
        false
    }
}

/// How a node stands to the time of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeReport {
    /// How far this node's wall clock is ahead of those of a majority, in ms; negative where it is behind.
    pub skew_ms: i64,
    /// Whether that is so far that this node should not lead.
    pub is_far: bool,
    /// How far the time in new entries is behind what a majority shows, in ms; negative where it is ahead.
    pub lag_ms: i64,
    /// Whether the clocks of a majority were read recently, this node's included.
    pub is_agreed: bool,
}

#[derive(Debug, Default)]
struct State {
    reference: Reference,
    readings: BTreeMap<NodeId, Reading>,
    report: TimeReport,
}

/// The time of one node, in milliseconds since the Unix epoch. It never runs backwards.
pub struct NodeTime {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    known: watch::Sender<bool>,
}

impl NodeTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<NodeTime> {
        Arc::new(NodeTime { clock, state: Mutex::default(), known: watch::Sender::new(false) })
    }

    /// The time; none until the clocks of a majority were read, this node's included.
    pub fn now_ms(&self) -> Option<u64> {
        let state = self.state();
        state.reference.at(self.clock.elapsed_ms())
    }

    /// The time, or what this node's own clock shows as long as it knows nothing better.
    pub fn now_or_own_ms(&self) -> u64 {
        self.now_ms().unwrap_or_else(|| self.clock.now_ms())
    }

    /// How this node's clock stands to the others'.
    pub fn report(&self) -> TimeReport {
        self.state().report
    }

    /// What this node answers to a request for its clocks.
    pub(crate) fn shown(&self) -> Bytes {
        let shown = Shown { wall_ms: self.clock.now_ms(), time_ms: self.now_ms() };
        codec::encode(VERSION, &shown).into()
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.clock.elapsed_ms()
    }

    /// Takes the answer of another node to a request that was sent when `requested_ms` had elapsed here.
    ///
    /// # Errors
    /// The answer is unreadable and was not taken.
    pub(crate) fn hear(
        &self,
        from: NodeId,
        requested_ms: u64,
        answer: &[u8],
    ) -> Result<(), CodecError> {
        let Shown { wall_ms, time_ms } = codec::decode(VERSION, answer)?;
        let at_ms = self.clock.elapsed_ms();
        let trip = at_ms.saturating_sub(requested_ms);
        if trip <= CLOCK_ROUND_TRIP_MS {
            // It was shown at any moment in between; the middle is the best guess.
            let moment = requested_ms + trip / 2;
            let time = time_ms.map(|time_ms| signed(time_ms, moment));
            let reading = Reading { wall: signed(wall_ms, moment), time, at_ms };
            self.state().readings.insert(from, reading);
        }
        Ok(())
    }

    /// Steers by the recent readings of these members' clocks; `local` is this node.
    pub(crate) fn settle(&self, members: &BTreeSet<NodeId>, local: NodeId) {
        let mut state = self.state();
        let State { reference, readings, report } = &mut *state;
        let before_ms = self.clock.elapsed_ms();
        let own_ms = self.clock.now_ms();
        let elapsed_ms = self.clock.elapsed_ms();
        if CLOCK_ROUND_TRIP_MS < elapsed_ms.saturating_sub(before_ms) {
            // The process was stopped between two looks: they do not belong together.
            return;
        }
        readings.retain(|node, reading| {
            members.contains(node) && elapsed_ms.saturating_sub(reading.at_ms) < CLOCK_AGE_MS
        });
        let now = |offset: i64| elapsed_ms.saturating_add_signed(offset);
        let own = members.contains(&local).then_some(own_ms);
        let shown = readings.values().map(|reading| now(reading.wall)).chain(own).collect();
        let peers = readings.values().filter_map(|reading| reading.time.map(now)).collect();
        let bounds = Bounds::of(shown, members.len());
        let patience_ms =
            if members.len() == 1 { CLOCK_ALONE_PATIENCE_MS } else { CLOCK_PATIENCE_MS };
        if reference.steer(elapsed_ms, bounds, peers, patience_ms) {
            tracing::warn!("time jumps forward, to where the clocks of a majority are");
        }
        report.is_agreed = bounds.is_some();
        if let (Some(bounds), Some(now_ms)) = (bounds, reference.at(elapsed_ms)) {
            report.skew_ms = bounds.distance(own_ms);
            report.lag_ms = bounds.distance(now_ms).saturating_neg();
            report.is_far = is_far(report.skew_ms, report.is_far);
            self.known.send_replace(true);
        }
    }

    /// Waits until there is a time.
    async fn known(&self) {
        // The sender lives in here.
        self.known.subscribe().wait_for(|known| *known).await.ok();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }
}

/// Whether a clock is too far off; one that was must come nearer than one that was not.
fn is_far(skew_ms: i64, was_far: bool) -> bool {
    let limit_ms = if was_far { CLOCK_TOLERANCE_MS / 2 } else { CLOCK_TOLERANCE_MS };
    limit_ms < skew_ms.unsigned_abs()
}

/// The time of an entry that was committed, and how it went on from there.
#[derive(Clone, Copy, Debug)]
struct Floor {
    time_ms: u64,
    elapsed_ms: u64,
    /// The node's own time is behind it and must come near, or is not known.
    slow: bool,
}

impl Floor {
    fn at(&self, elapsed_ms: u64) -> u64 {
        let passed = elapsed_ms.saturating_sub(self.elapsed_ms);
        let lost = if self.slow { passed.div_ceil(CLOCK_SLEW_PART) } else { 0 };
        self.time_ms.saturating_add(passed - lost)
    }
}

/// The time of one group on one node, in milliseconds since the Unix epoch: it never runs backwards, and
/// is never below the time of an entry that this node has applied.
pub(crate) struct GroupTime {
    node: Arc<NodeTime>,
    floor: Mutex<Option<Floor>>,
}

impl GroupTime {
    pub(crate) fn new(node: Arc<NodeTime>) -> Arc<GroupTime> {
        Arc::new(GroupTime { node, floor: Mutex::default() })
    }

    /// The time, or what this node's own clock shows as long as it knows nothing better.
    pub(crate) fn now_ms(&self) -> u64 {
        self.known_ms().unwrap_or_else(|| self.node.clock.now_ms())
    }

    /// The time for the next entry. Waits a while for a majority's clocks where nothing at all is known.
    pub(crate) async fn stamp_ms(&self) -> u64 {
        if let Some(known) = self.known_ms() {
            return known;
        }
        tokio::time::timeout(FIRST_TIME_WAIT, self.node.known()).await.ok();
        self.now_ms()
    }

    /// Takes note of the time of an entry of this group.
    pub(crate) fn observe(&self, time_ms: u64) {
        let mut floor = self.floor.lock().expect("no panic under this lock");
        let (now, elapsed_ms) = self.look(&mut floor);
        if now.is_none_or(|now| now < time_ms) {
            let slow = self.node.now_ms().is_some();
            *floor = Some(Floor { time_ms, elapsed_ms, slow });
        }
    }

    fn known_ms(&self) -> Option<u64> {
        self.look(&mut self.floor.lock().expect("no panic under this lock")).0
    }

    fn look(&self, floor: &mut Option<Floor>) -> (Option<u64>, u64) {
        let (node, elapsed_ms) = (self.node.now_ms(), self.node.clock.elapsed_ms());
        let Some(floor) = floor else { return (node, elapsed_ms) };
        let at_ms = floor.at(elapsed_ms);
        if node.is_some() && !floor.slow {
            *floor = Floor { time_ms: at_ms, elapsed_ms, slow: true };
        }
        (Some(node.map_or(at_ms, |node| node.max(at_ms))), elapsed_ms)
    }
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
