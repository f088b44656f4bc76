//! Places for connections: as many as there are descriptors for, beside those that the rest of the node needs.
//!
//! A node that runs out of descriptors can neither sync nor answer, so it refuses connections before that. Who
//! comes when all places are taken gets that answer; operators still get in.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::telemetry::Metrics;

/// The places of one node.
pub(super) struct Slots {
    usual: Arc<Semaphore>,
    /// For a moment, when there is no other.
    spare: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// One place; it is free again when this is dropped.
pub(super) struct Slot {
    metrics: Arc<Metrics>,
    is_spare: bool,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Slots {
        Slots::of(count(getrlimit(Resource::Nofile).current), metrics)
    }

    fn of(count: usize, metrics: &Arc<Metrics>) -> Slots {
        metrics.connections_limit.set(count as i64);
        Slots {
            usual: Arc::new(Semaphore::new(count)),
            spare: Arc::new(Semaphore::new(limits::CONNECTIONS_SPARE)),
            metrics: metrics.clone(),
        }
    }

    /// A place, if there is any.
    pub(super) fn take(&self) -> Option<Slot> {
        let take = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok();
        let (permit, is_spare) = match take(&self.usual) {
            Some(permit) => (permit, false),
            None => (take(&self.spare)?, true),
        };
        self.metrics.connections.inc();
        Some(Slot { metrics: self.metrics.clone(), is_spare, _permit: permit })
    }
}

impl Slot {
    /// Whether it is one of the last, where no connection stays.
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// How many connections a process may have that may open so many files; none is no limit.
fn count(files: Option<u64>) -> usize {
    let files = files.unwrap_or(u64::MAX);
    // Where that is hardly anything, the node is of some use still.
    let left = files.saturating_sub(limits::FILES_KEPT).max(files / 4);
    usize::try_from(left).unwrap_or(usize::MAX).min(limits::CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_rest_of_the_node_its_descriptors() {
        for (files, connections) in [
            (Some(64), 16),
            (Some(256), 64),
            (Some(1024), 512),
            (Some(4096), 3584),
            (Some(1 << 20), limits::CONNECTIONS),
            (None, limits::CONNECTIONS),
        ] {
            assert_eq!(count(files), connections, "{files:?}");
        }
    }

    #[test]
    fn when_all_places_are_taken_a_few_are_left_for_a_moment() {
        let metrics = Arc::new(Metrics::default());
        let slots = Slots::of(2, &metrics);
        let taken: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        let spare = taken.iter().filter(|slot| slot.is_spare()).count();
        assert_eq!((taken.len() - spare, spare), (2, limits::CONNECTIONS_SPARE));
        assert_eq!(metrics.connections.get(), 2 + limits::CONNECTIONS_SPARE as i64);
        drop(taken);
        assert_eq!(metrics.connections.get(), 0);
        assert!(!slots.take().unwrap().is_spare());
    }
}
