//! The links' round trips among a node's metrics, read with each scrape.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::runtime::Runtime;

/// Reports `outlive_peer_round_trip_seconds`.
pub(super) struct RoundTrips(pub(super) Weak<Runtime>);

impl fmt::Debug for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundTrips")
    }
}

impl Collector for RoundTrips {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Measured round trip to each peer in reach";
        let (name, kind) = ("peer_round_trip_seconds", MetricType::Gauge);
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        let trips =
            self.0.upgrade().map(|runtime| runtime.overview.round_trips()).unwrap_or_default();
        for (peer, round_trip) in trips {
            let labels = [("peer", peer.to_string())];
            let gauge = ConstGauge::new(round_trip.as_secs_f64());
            gauge.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
