//! What openraft runs on: tokio, whose groups look at their timers at the same instants.
//!
//! Each group of openraft looks at its timers five times in a heartbeat's interval (every 13/64 of it, as the docs of
//! `openraft::Config::heartbeat_interval` have it), at a random phase. With many groups on one node nearly each look is
//! a wake-up of a sleeping thread. Here waits that are long enough end on a common grid, so all groups of a node look
//! at once, and what they send to a peer goes together.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_tokio::{TokioInstant, TokioRuntime};

/// Grid of a process that has not opened a group yet: none.
static GRID_US: AtomicU64 = AtomicU64::new(0);
/// Where the grid begins.
static BEGIN: OnceLock<TokioInstant> = OnceLock::new();

/// Has the waits of this process's groups end at multiples of this period from now on.
pub(super) fn align(period: Duration) {
    GRID_US.store(u64::try_from(period.as_micros()).unwrap_or(0), Ordering::Relaxed);
}

/// Tokio, with aligned waits until an instant. Waits for a while are as ever.
#[derive(Debug)]
pub(crate) struct Aligned(TokioRuntime);

impl AsyncRuntime for Aligned {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        let now = TokioInstant::now();
        let left = if now < deadline { deadline - now } else { Duration::ZERO };
        let begin = *BEGIN.get_or_init(|| now);
        let since = if begin < now { now - begin } else { Duration::ZERO };
        let grid = Duration::from_micros(GRID_US.load(Ordering::Relaxed));
        TokioRuntime::sleep(aligned(since, left, grid))
    }

    fn timeout<R, F>(duration: Duration, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Aligned(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// How long to wait so that it is at least `left` and ends on the grid, `since` after the grid's begin. What is much
/// shorter than the grid is left as it is: it is no timer of a group.
fn aligned(since: Duration, left: Duration, grid: Duration) -> Duration {
    let (since_us, left_us, grid_us) = (since.as_micros(), left.as_micros(), grid.as_micros());
    if grid_us == 0 || left_us * 64 < grid_us {
        return left;
    }
    let end_us = (since_us + left_us).div_ceil(grid_us) * grid_us;
    Duration::from_micros(u64::try_from(end_us - since_us).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(since_us: u64, left_us: u64) -> u64 {
        let us = Duration::from_micros;
        u64::try_from(aligned(us(since_us), us(left_us), us(20_000)).as_micros()).unwrap()
    }

    #[test]
    fn waits_end_on_the_grid_and_never_early() {
        for (since, left, waits) in [
            (0, 20_000, 20_000),
            (7_000, 5_000, 13_000),
            (20_000, 1_000, 20_000),
            (500, 19_500, 19_500),
        ] {
            assert_eq!(wait(since, left), waits, "{left} µs at {since}");
        }
        for since in (0..60_000).step_by(371) {
            let waits = wait(since, 20_000);
            assert!((20_000..40_000).contains(&waits) && (since + waits).is_multiple_of(20_000));
        }
        assert_eq!(wait(3, 100), 100, "a wait that is no timer's stays");
        let us = Duration::from_micros;
        assert_eq!(aligned(us(3), us(7_000), us(0)), us(7_000), "without a grid, too");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_wakes_before_the_instant_that_was_waited_for() {
        let begun = TokioInstant::now();
        for us in [1, 99, 1_000, 25_000] {
            let deadline = begun + Duration::from_micros(us);
            Aligned::sleep_until(deadline).await;
            assert!(deadline <= TokioInstant::now(), "{us} µs");
        }
    }
}
