//! What operators see of tenants: those with quotas of their own by name, and all others together.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use session::ids::TenantName;

use super::{Cost, Exceeded};
use crate::config::QuotaConfig;
use crate::telemetry::Metrics;

/// Stands for the default tenant; no tenant can be called so.
const DEFAULT: &str = "(default)";
/// Stands for all tenants without quotas of their own.
pub const OTHER: &str = "(other)";

/// How a tenant is called in metrics.
pub fn label(tenant: Option<&TenantName>) -> &str {
    tenant.map_or(DEFAULT, TenantName::as_str)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusedLabels {
    tenant: String,
    policy: String,
}

/// The counts of a node.
pub(super) struct Counts {
    named: HashMap<Option<TenantName>, TenantCounts>,
    others: TenantCounts,
}

/// Those of one tenant.
#[derive(Clone, Debug)]
pub(super) struct TenantCounts {
    /// `outlive_tenant_appends_total`
    appends: Counter,
    /// `outlive_tenant_bytes_total`
    bytes: Counter,
    /// `outlive_tenant_inputs_total`
    inputs: Counter,
    /// `outlive_tenant_controls_total`
    controls: Counter,
    /// `outlive_tenant_live_streams`
    pub(super) streams: Gauge,
    /// `outlive_tenant_refused_total`
    refused: Family<RefusedLabels, Counter>,
    name: String,
}

#[derive(Default)]
struct Families {
    appends: Family<TenantLabel, Counter>,
    bytes: Family<TenantLabel, Counter>,
    inputs: Family<TenantLabel, Counter>,
    controls: Family<TenantLabel, Counter>,
    streams: Family<TenantLabel, Gauge>,
    refused: Family<RefusedLabels, Counter>,
}

impl Families {
    fn register(&self, r: &mut Registry) {
        r.register(
            "tenant_appends",
            "Commands of a tenant that bring content",
            self.appends.clone(),
        );
        r.register("tenant_bytes", "Payload bytes of them", self.bytes.clone());
        r.register("tenant_inputs", "Inputs of a tenant", self.inputs.clone());
        r.register(
            "tenant_controls",
            "Commands of a tenant that end something or make room",
            self.controls.clone(),
        );
        r.register("tenant_live_streams", "Streams of a tenant", self.streams.clone());
        r.register("tenant_refused", "Requests over a quota", self.refused.clone());
    }

    fn of(&self, name: &str) -> TenantCounts {
        let label = TenantLabel { tenant: name.to_owned() };
        TenantCounts {
            appends: self.appends.get_or_create(&label).clone(),
            bytes: self.bytes.get_or_create(&label).clone(),
            inputs: self.inputs.get_or_create(&label).clone(),
            controls: self.controls.get_or_create(&label).clone(),
            streams: self.streams.get_or_create(&label).clone(),
            refused: self.refused.clone(),
            name: name.to_owned(),
        }
    }
}

impl Counts {
    /// They are shown where there are metrics for them.
    pub(super) fn new(config: &QuotaConfig, metrics: Option<&Metrics>) -> Counts {
        let families = Families::default();
        if let Some(metrics) = metrics {
            metrics.register(|registry| families.register(registry));
        }
        let named = config.tenants.keys();
        let own = |tenant: &Option<TenantName>| families.of(label(tenant.as_ref()));
        let named = named.map(|tenant| (tenant.clone(), own(tenant))).collect();
        Counts { named, others: families.of(OTHER) }
    }

    pub(super) fn of(&self, tenant: Option<&TenantName>) -> TenantCounts {
        let own = (!self.named.is_empty()).then(|| tenant.cloned());
        let own = own.and_then(|tenant| self.named.get(&tenant));
        own.unwrap_or(&self.others).clone()
    }
}

impl TenantCounts {
    pub(super) fn took(&self, cost: &Cost) {
        self.appends.inc_by(cost.appends);
        self.bytes.inc_by(cost.bytes);
        self.inputs.inc_by(cost.inputs);
        self.controls.inc_by(cost.controls);
    }

    pub(super) fn refuse(&self, exceeded: Exceeded) -> Exceeded {
        self.refused_by(format!("{}-{}", exceeded.holder.name(), exceeded.quota.name()));
        exceeded
    }

    /// Counts a refusal under the name of its policy, which is one of few.
    pub(super) fn refused_by(&self, policy: String) {
        let labels = RefusedLabels { tenant: self.name.clone(), policy };
        self.refused.get_or_create(&labels).inc();
    }
}
