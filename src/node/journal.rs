//! The journal's counters among a node's metrics, read with each scrape.

use std::fmt;

use cluster::journal::Journal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reports `outlive_journal_…`.
pub(super) struct JournalCounts(pub(super) Journal);

impl fmt::Debug for JournalCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalCounts")
    }
}

impl Collector for JournalCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.0.stats();
        for (name, help, count) in [
            ("fsyncs", "Syncs of batches", stats.fsyncs),
            ("records", "Records written", stats.records),
            ("bytes_written", "Bytes written, with frames and padding", stats.bytes_written),
            ("payload_bytes", "Bytes of the records' payloads", stats.payload_bytes),
            ("stalls", "Rounds that could not write for lack of space", stats.stalls),
        ] {
            let counter = ConstCounter::new(count);
            let name = format!("journal_{name}");
            counter.encode(encoder.encode_descriptor(
                &name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        for (name, help, value) in [
            ("segments", "Segments on disk, the spare included", stats.segments),
            ("disk_bytes", "Bytes allocated on disk", stats.disk_bytes),
            ("queued_bytes", "Bytes accepted and not durable", stats.queued_bytes),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let name = format!("journal_{name}");
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
