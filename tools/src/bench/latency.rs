//! Times of many things that happened, in microseconds, as one histogram.

use std::sync::{Arc, Mutex, MutexGuard};

use hdrhistogram::Histogram;

use super::Report;

/// Largest time that is distinguished from larger ones: five minutes.
const MOST_US: u64 = 300_000_000;

/// Shared by all who measure the same thing; clones are the same histogram.
#[derive(Clone)]
pub struct Latency(Arc<Mutex<Histogram<u64>>>);

impl Default for Latency {
    fn default() -> Latency {
        let histogram = Histogram::new_with_bounds(1, MOST_US, 3);
        Latency(Arc::new(Mutex::new(histogram.expect("the bounds are in order"))))
    }
}

impl Latency {
    /// Adds `count` times of the same length.
    pub fn record(&self, us: u64, count: u64) {
        self.histogram().saturating_record_n(us.max(1), count);
    }

    /// The time that so many of a hundred stay within, in milliseconds.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.histogram().value_at_percentile(percent) as f64 / 1000.0
    }

    /// Reports the usual percentiles as `name`.
    pub fn tell(&self, name: &str, report: &mut Report) {
        for (suffix, percent) in [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)] {
            report.tell(format!("{name} {suffix}"), self.percentile_ms(percent), "ms");
        }
    }

    fn histogram(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().expect("no panic happens under this lock")
    }
}
