//! A node's clock: what it shows runs beside the true time, drifts and jumps; what elapses is right.

use std::sync::{Arc, Mutex, PoisonError};

use cluster::clock::Clock;
use tokio::time::Instant;

/// When every run begins, in milliseconds since 1970.
const START_MS: f64 = 1_700_000_000_000.0;

/// What one node takes for the time. It survives the node's crashes.
pub(crate) struct NodeClock {
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    /// The true time at which the clock was last set, and what it showed then.
    set: Instant,
    shown_ms: f64,
    /// Milliseconds that it counts in one.
    rate: f64,
}

impl NodeClock {
    /// A clock that is right.
    pub(crate) fn new() -> Arc<NodeClock> {
        let state = State { set: Instant::now(), shown_ms: START_MS, rate: 1.0 };
        Arc::new(NodeClock { begun: Instant::now(), state: Mutex::new(state) })
    }

    /// Jumps by `by_ms`, and counts `rate` milliseconds in one from now on.
    pub(crate) fn set(&self, by_ms: f64, rate: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shown_ms = state.now() + by_ms;
        *state = State { set: Instant::now(), shown_ms, rate };
    }

    /// Shows the same as another clock, and is right again.
    pub(crate) fn follow(&self, right: &NodeClock) {
        let shown_ms = right.state.lock().unwrap_or_else(PoisonError::into_inner).now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { set: Instant::now(), shown_ms, rate: 1.0 };
    }
}

impl State {
    fn now(&self) -> f64 {
        self.shown_ms + self.set.elapsed().as_secs_f64() * 1000.0 * self.rate
    }
}

impl Clock for NodeClock {
    #[expect(clippy::cast_sign_loss, reason = "a time of this age")]
    fn now_ms(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now().max(0.0) as u64
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
