//! The two clocks of a machine: what it shows, and how long it runs. [`crate::time`] makes of them, and of
//! what other nodes show, the time that goes into entries (S6).
//!
//! A clock is an argument, so that tests decide what time it is. Nothing about safety reads it.

use std::sync::Arc;

use rustix::time::ClockId;

/// What a node knows of time by itself.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch; may jump either way.
    fn now_ms(&self) -> u64;

    /// Milliseconds since some moment in the past; never jumps, and goes on while the machine sleeps.
    fn elapsed_ms(&self) -> u64;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where wall time enters")]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed_ms(&self) -> u64 {
        #[cfg(target_os = "linux")]
        const SINCE_BOOT: ClockId = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const SINCE_BOOT: ClockId = ClockId::Monotonic;
        let since = rustix::time::clock_gettime(SINCE_BOOT);
        let part = |part: i64| u64::try_from(part).unwrap_or(0);
        part(since.tv_sec) * 1000 + part(since.tv_nsec) / 1_000_000
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
        self.start_ms.saturating_add(self.elapsed_ms())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
