//! What operators see of one node: its metrics and its logs.
//!
//! A node owns one [`Metrics`] and hands it to whoever counts; nothing here is global, so many nodes
//! can live in one process.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// The counts of one node.
#[derive(Debug)]
pub struct Metrics {
    /// `outlive_requests_total`: requests by route and by `ok` or the code of their problem.
    pub requests: Family<RequestLabels, Counter>,
    /// `outlive_appended_events_total`: events acknowledged to writers of this node, without duplicates.
    pub appended_events: Counter,
    /// `outlive_appended_bytes_total`: their payload bytes.
    pub appended_bytes: Counter,
    /// `outlive_append_duration_seconds`: time from the whole request to its acknowledgement.
    pub append_duration_seconds: Histogram,
    /// `outlive_live_streams`: live streams open at this node.
    pub readers: Gauge,
    /// `outlive_delivered_events_total`: events handed to readers of this node.
    pub delivered_events: Counter,
    /// `outlive_history_events_total`: events read from logs for pages of messages, and for pages before a place.
    pub history_events: Counter,
    /// `outlive_connections`: connections of clients.
    pub connections: Gauge,
    /// `outlive_connections_limit`: how many there may be.
    pub connections_limit: Gauge,
    /// `outlive_connections_refused_total`: connections beyond the limit.
    pub connections_refused: Counter,
    /// `outlive_transit_bytes`: bytes of bodies, frames, lines and answers on their way.
    pub transit_bytes: Gauge,
    /// `outlive_transit_refused_total`: times that there was no room for more of them.
    pub transit_refused: Counter,
    /// `outlive_slow_consumers_total`: connections cut because the client did not read.
    pub slow_consumers: Counter,
    registry: Mutex<Registry>,
}

/// What a request is counted under; both come from fixed tables.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: &'static str,
    pub code: &'static str,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("outlive");
        // 0.1 ms to about 13 s.
        let append_duration_seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let metrics = Metrics {
            requests: Family::default(),
            appended_events: Counter::default(),
            appended_bytes: Counter::default(),
            append_duration_seconds,
            readers: Gauge::default(),
            delivered_events: Counter::default(),
            history_events: Counter::default(),
            connections: Gauge::default(),
            connections_limit: Gauge::default(),
            connections_refused: Counter::default(),
            transit_bytes: Gauge::default(),
            transit_refused: Counter::default(),
            slow_consumers: Counter::default(),
            registry: Mutex::default(),
        };
        let r = &mut registry;
        r.register("requests", "Requests by route and code", metrics.requests.clone());
        r.register(
            "appended_events",
            "Events acknowledged to writers",
            metrics.appended_events.clone(),
        );
        r.register(
            "appended_bytes",
            "Payload bytes acknowledged to writers",
            metrics.appended_bytes.clone(),
        );
        r.register(
            "append_duration_seconds",
            "Time from the whole request to its acknowledgement",
            metrics.append_duration_seconds.clone(),
        );
        r.register("live_streams", "Live streams open at this node", metrics.readers.clone());
        r.register(
            "delivered_events",
            "Events handed to readers",
            metrics.delivered_events.clone(),
        );
        r.register(
            "history_events",
            "Events read from logs for pages of messages and pages before a place",
            metrics.history_events.clone(),
        );
        metrics.register_connections(r);
        Metrics { registry: Mutex::new(registry), ..metrics }
    }
}

impl Metrics {
    fn register_connections(&self, r: &mut Registry) {
        r.register("connections", "Connections of clients", self.connections.clone());
        r.register(
            "connections_limit",
            "How many connections there may be",
            self.connections_limit.clone(),
        );
        r.register(
            "connections_refused",
            "Connections beyond the limit",
            self.connections_refused.clone(),
        );
        r.register(
            "transit_bytes",
            "Bytes of bodies, frames, lines and answers on their way",
            self.transit_bytes.clone(),
        );
        r.register(
            "transit_refused",
            "Times that there was no room for more of them",
            self.transit_refused.clone(),
        );
        r.register(
            "slow_consumers",
            "Connections cut because the client did not read",
            self.slow_consumers.clone(),
        );
    }

    /// Adds metrics of another part of the node; names get the prefix `outlive_`.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics as Prometheus text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))
            .expect("a string takes every text");
        out
    }
}

/// What is traced unless `RUST_LOG` is set: everything from INFO, and of the libraries what matters.
const USUAL: &str = "info,openraft=error,fjall=warn,lsm_tree=warn,ractor=warn";

/// Sends logs to standard error; `RUST_LOG` chooses them.
///
/// The first call in a process wins.
pub fn trace_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    let colours = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(io::stderr);
    let done = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if done.is_err() {
        tracing::debug!("logging was set up before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_told_as_text_and_others_may_add_theirs() {
        let metrics = Metrics::default();
        metrics.requests.get_or_create(&RequestLabels { route: "events", code: "ok" }).inc();
        let fsyncs: Counter = Counter::default();
        fsyncs.inc_by(3);
        metrics.register(|registry| registry.register("fsyncs", "Fsyncs", fsyncs));
        let text = metrics.text();
        for line in [
            "outlive_requests_total{route=\"events\",code=\"ok\"} 1",
            "outlive_fsyncs_total 3",
            "outlive_live_streams 0",
            "outlive_append_duration_seconds_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
