//! The cluster's clock: milliseconds since the Unix epoch, asked for by leaders alone (S6).
//!
//! A clock is an argument, so that tests decide what time it is. Nothing about safety reads it.

use std::sync::Arc;

/// Gives the time that a leader stamps into its entries.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch; may jump either way.
    fn now_ms(&self) -> u64;
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where wall time enters")]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that follows tokio's, for tests under paused time.
#[derive(Clone, Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    start_ms: u64,
}

impl TokioClock {
    /// A clock that shows `start_ms` now.
    pub fn starting_at(start_ms: u64) -> Arc<Self> {
        Arc::new(TokioClock { start: tokio::time::Instant::now(), start_ms })
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start_ms.saturating_add(elapsed)
    }
}
