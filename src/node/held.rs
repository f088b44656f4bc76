//! What tenants hold and how much they may, among a node's metrics and settings.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::auth::quota::{OTHER_TENANTS, tenant_label};
use crate::config::{QuotaConfig, QuotaLimits};
use crate::runtime::{Allowances, Runtime};
use crate::session::{Bounds, Holding};

/// How much each tenant may hold; as much as it likes, where nothing is configured.
pub(super) fn allowances(quotas: Option<&QuotaConfig>) -> Allowances {
    let bounds = |limits: &QuotaLimits| Bounds {
        sessions: limits.sessions.map(u64::from),
        open_turns: limits.open_turns.map(u64::from),
        stored_bytes: limits.stored_bytes,
    };
    let Some(QuotaConfig { tenant, tenants, .. }) = quotas else { return Allowances::default() };
    let named = tenants.iter().map(|(name, limits)| (name.clone(), bounds(limits))).collect();
    Allowances { each: bounds(tenant), named }
}

/// Reports `outlive_tenant_sessions`, `outlive_tenant_open_turns` and `outlive_tenant_stored_bytes`: what tenants
/// hold in the shards that this node leads, so that the sum over all nodes is what they hold.
pub(super) struct HeldByTenants(pub(super) Weak<Runtime>);

impl fmt::Debug for HeldByTenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldByTenants")
    }
}

/// Name, help, and which part of what is held it reports.
type Shown = (&'static str, &'static str, fn(&Holding) -> u64);

const SHOWN: [Shown; 3] = [
    ("tenant_sessions", "Sessions of a tenant in the shards that this node leads", |held| {
        held.sessions
    }),
    ("tenant_open_turns", "Open turns of a tenant there", |held| held.open_turns),
    (
        "tenant_stored_bytes",
        "Bytes of payloads and files that a tenant's sessions keep there",
        |held| held.stored_bytes,
    ),
];

impl Collector for HeldByTenants {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(runtime) = self.0.upgrade() else { return Ok(()) };
        if !runtime.allowance.is_on() {
            return Ok(());
        }
        let (named, others) = runtime.allowance.led();
        let named = named.iter().map(|(tenant, held)| (tenant_label(tenant.as_ref()), held));
        let tenants: Vec<_> = named.chain([(OTHER_TENANTS, &others)]).collect();
        for (name, help, part) in SHOWN {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (tenant, held) in &tenants {
                let gauge = ConstGauge::new(i64::try_from(part(held)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("tenant", *tenant)])?)?;
            }
        }
        Ok(())
    }
}
