//! What the comparison of replicas has found, among a node's metrics.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::runtime::Runtime;

/// Reports `outlive_sessions_compared_total` and `outlive_sessions_differing`.
pub(super) struct ComparisonCounts(pub(super) Weak<Runtime>);

impl fmt::Debug for ComparisonCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComparisonCounts")
    }
}

impl Collector for ComparisonCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(runtime) = self.0.upgrade() else { return Ok(()) };
        let (compared, differing) = runtime.comparison.compared();
        let counter = ConstCounter::new(compared);
        let help = "Sessions whose copy here was compared with those of other replicas";
        let kind = counter.metric_type();
        counter.encode(encoder.encode_descriptor("sessions_compared", help, None, kind)?)?;
        let gauge = ConstGauge::new(i64::try_from(differing).unwrap_or(i64::MAX));
        let help = "Sessions whose copies differ between replicas";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor("sessions_differing", help, None, kind)?)
    }
}
