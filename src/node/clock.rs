//! How a node's clock stands to the others', among its metrics, read with each scrape.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::runtime::Runtime;

/// Reports `outlive_clock_…`.
pub(super) struct ClockGauges(Weak<Runtime>);

impl ClockGauges {
    pub(super) fn new(runtime: &Arc<Runtime>) -> ClockGauges {
        ClockGauges(Arc::downgrade(runtime))
    }
}

impl fmt::Debug for ClockGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockGauges")
    }
}

impl Collector for ClockGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(runtime) = self.0.upgrade() else { return Ok(()) };
        let clock = runtime.overview.clock();
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let flag = |is: bool| f64::from(u8::from(is));
        for (name, help, value) in [
            (
                "clock_skew_seconds",
                "How far the wall clock is ahead of those of a majority",
                seconds(clock.skew_ms),
            ),
            (
                "clock_lag_seconds",
                "How far the time in new entries is behind the wall clocks of a majority",
                seconds(clock.lag_ms),
            ),
            ("clock_skewed", "Whether the clock is too far off to lead", flag(clock.is_far)),
            ("clock_agreed", "Whether a majority's clocks are known", flag(clock.is_agreed)),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
