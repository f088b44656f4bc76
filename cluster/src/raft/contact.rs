//! Whether a member is in touch with its group: as a leader with a majority, as a follower with its leader.
//!
//! A leader that no majority acknowledged for two election times falls silent, so that the others, should
//! A leader that no majority acknowledged for two election times falls silent, so that the others, should
//! they receive from it still, elect one that works. Left to itself openraft takes no more proposals then,
//! but goes on with its heartbeats, and all members that receive them wait for it. Now and then it sends
//! again for a moment: a leader whose log the others need must be able to come back.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use openraft::alias::{InstantOf, WatchReceiverOf};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, RaftMetrics};

use super::types::Types;
use crate::limits::{OUT_OF_TOUCH_ELECTIONS, PROBE_ELECTIONS, SILENT_ELECTIONS};

type Metrics = RaftMetrics<Types>;
type Instant = InstantOf<Types>;

/// What one member knows of its contact with the others.
pub(super) struct Contact {
    local: u64,
    /// The longest election time.
    election: Duration,
    metrics: OnceLock<WatchReceiverOf<Types, Metrics>>,
    /// When it last took something from a leader.
    received: Mutex<Option<Instant>>,
    /// The term that it leads, and when it was first seen to.
    led: Mutex<Option<(u64, Instant)>>,
}

impl Contact {
    pub(super) fn new(local: u64, election: Duration) -> Contact {
        Contact {
            local,
            election,
            metrics: OnceLock::new(),
            received: Mutex::default(),
            led: Mutex::default(),
        }
    }

    /// Follows what openraft knows, from when it runs.
    pub(super) fn follow(&self, metrics: WatchReceiverOf<Types, Metrics>) {
        // It is set once, by who makes it.
        self.metrics.set(metrics).ok();
    }

    /// Something that a leader sent was taken.
    pub(super) fn received(&self) {
        *self.received.lock().expect("no panic under this lock") = Some(Instant::now());
    }

    /// Whether a majority acknowledged this leader, or this follower received from its leader, within two election
    /// times.
    pub(super) fn is_kept(&self) -> bool {
        let Some(metrics) = self.metrics.get() else { return false };
        let metrics = metrics.borrow_watched();
        let limit = self.election * OUT_OF_TOUCH_ELECTIONS;
        if metrics.state.is_leader() {
            return self.unacknowledged(&metrics) < limit;
        }
        let received = *self.received.lock().expect("no panic under this lock");
        metrics.current_leader.is_some_and(|leader| leader != self.local)
            && received.is_some_and(|received| received.elapsed() < limit)
    }

    /// Whether this leader is to send nothing now.
    pub(super) fn is_silent(&self) -> bool {
        let Some(metrics) = self.metrics.get() else { return false };
        let metrics = metrics.borrow_watched();
        if !metrics.state.is_leader() {
            return false;
        }
        let limit = self.election * OUT_OF_TOUCH_ELECTIONS;
        let Some(beyond) = self.unacknowledged(&metrics).checked_sub(limit) else { return false };
        let silent = self.election * SILENT_ELECTIONS;
        let cycle = silent + self.election * PROBE_ELECTIONS;
        beyond.as_nanos() % cycle.as_nanos() < silent.as_nanos()
    }

    /// Members that have not acknowledged this leader for as long as makes one out of touch.
    pub(super) fn silent_members(&self) -> Vec<u64> {
        self.silent_for(self.election * OUT_OF_TOUCH_ELECTIONS)
    }

    /// Members that have not acknowledged this leader for `limit`, since it leads.
    pub(super) fn silent_for(&self, limit: Duration) -> Vec<u64> {
        let Some(metrics) = self.metrics.get() else { return Vec::new() };
        let metrics = metrics.borrow_watched();
        let Some(acknowledged) = &metrics.heartbeat else { return Vec::new() };
        let led_since = self.led_since(metrics.current_term);
        let others = acknowledged.iter().filter(|(node, _)| **node != self.local);
        let silent = others.filter(|(_, at)| {
            let since = at.map(|at| at.into_inner()).max(Some(led_since));
            since.is_some_and(|since| limit <= since.elapsed())
        });
        silent.map(|(node, _)| *node).collect()
    }

    /// For how long no majority has acknowledged this leader; a new one begins at zero.
    fn unacknowledged(&self, metrics: &Metrics) -> Duration {
        let mut voters = metrics.membership_config.membership().voter_ids();
        if voters.next() == Some(self.local) && voters.next().is_none() {
            return Duration::ZERO;
        }
        let acknowledged = metrics.last_quorum_acked.map(|at| at.into_inner());
        let since = acknowledged.max(Some(self.led_since(metrics.current_term)));
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn led_since(&self, term: u64) -> Instant {
        let mut led = self.led.lock().expect("no panic under this lock");
        match *led {
            Some((known, since)) if known == term => since,
            _ => led.insert((term, Instant::now())).1,
        }
    }
}
