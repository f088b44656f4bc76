//! How much a tenant and a key may do: judged by each node for itself, before any request goes to a session.
//!
//! Rates are [`bucket`]s, open streams are counts. What is refused takes nothing from any of them, and never took
//! effect. What ends something or makes room has a rate of its own, so that speech over its quota stops no interrupt.

mod account;
mod bucket;
mod counts;

use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use session::command::Class;
use session::ids::TenantName;
use session::{Command, Refusal};
use tokio::time::Instant;

use self::account::{Account, Over, Table};
use self::bucket::Empty;
use self::counts::{Counts, TenantCounts};
pub use self::counts::{OTHER as OTHER_TENANTS, label as tenant_label};
use super::Caller;
use crate::config::{QuotaConfig, QuotaLimits};
use crate::limits::{QUOTA_KEYS, QUOTA_TENANTS};
use crate::telemetry::Metrics;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    Appends,
    Bytes,
    Inputs,
    Controls,
    Streams,
    Subscriptions,
}

/// Whose quota it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Tenant,
    /// A key, or a subject of an issuer.
    Key,
}

/// What a command takes of the rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    appends: u64,
    bytes: u64,
    inputs: u64,
    controls: u64,
}

/// A quota is used up. The request never took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub holder: Holder,
    pub quota: Quota,
    /// How many there may be: per second, or at once.
    pub limit: u32,
    /// How many more there may be now; the request needs more than that.
    pub left: u32,
    /// When the request may be sent again; where that depends on others, when it may be worth it.
    pub retry_after: Duration,
}

/// How long to wait for a place that another stream must leave.
const PLACE_WAIT: Duration = Duration::from_secs(1);

/// Whose quotas a caller uses.
pub(super) type Accounts = Vec<(Holder, Arc<Account>)>;

/// The quotas of a node and what is used of them.
pub struct Quotas {
    config: QuotaConfig,
    /// Whether any are configured; else those of keys count alone.
    is_on: bool,
    begun: Instant,
    tenants: Table<Tenant>,
    keys: Table<Box<str>>,
    counts: Counts,
}

/// A tenant as a key of a table: its name, which is empty for the default one.
type Tenant = Box<str>;

/// One of the streams that a tenant and a key may have open, until it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    accounts: Vec<Arc<Account>>,
    counts: TenantCounts,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.accounts.iter().for_each(|account| account.close_stream());
        self.counts.streams.dec();
    }
}

impl Quota {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Quota::Appends => "appends",
            Quota::Bytes => "bytes",
            Quota::Inputs => "inputs",
            Quota::Controls => "controls",
            Quota::Streams => "streams",
            Quota::Subscriptions => "subscriptions",
        }
    }

    /// Whether it is of a second; else it is of what there is at once.
    pub fn is_rate(self) -> bool {
        !matches!(self, Quota::Streams | Quota::Subscriptions)
    }
}

impl Holder {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Holder::Tenant => "tenant",
            Holder::Key => "key",
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (holder, what, limit) = (self.holder.name(), self.quota.name(), self.limit);
        match self.quota {
            Quota::Streams => {
                write!(f, "the {holder} may have {limit} streams open at once at a node")
            }
            Quota::Subscriptions => write!(f, "the {holder} may have {limit} subscriptions"),
            _ => write!(f, "the {holder} may send {limit} {what} per second to a node"),
        }
    }
}

impl Cost {
    /// What so many bytes take that are sent on and not kept.
    pub fn of_bytes(bytes: usize) -> Cost {
        Cost { appends: 1, bytes: bytes as u64, ..Cost::default() }
    }

    /// What a command takes.
    pub fn of(command: &Command) -> Cost {
        let bytes = command.content_bytes() as u64;
        match command.class() {
            Class::Control => Cost { controls: 1, ..Cost::default() },
            Class::Small | Class::Data => {
                let inputs = match command {
                    Command::Input(_) => 1,
                    Command::Report(report) => report.begins() as u64,
                    _ => 0,
                };
                Cost { appends: 1, bytes, inputs, controls: 0 }
            }
        }
    }
}

impl Quotas {
    /// Nothing is used yet. Where none are configured, keys may have some of their own.
    pub fn new(config: Option<QuotaConfig>, metrics: &Metrics) -> Quotas {
        let is_on = config.is_some();
        let config = config.unwrap_or_default();
        let counts = Counts::new(&config, is_on.then_some(metrics));
        let (tenants, keys) = (Table::new(QUOTA_TENANTS), Table::new(QUOTA_KEYS));
        Quotas { config, is_on, begun: Instant::now(), tenants, keys, counts }
    }

    /// Whether a caller is limited in anything.
    fn limits(&self, caller: &Caller) -> bool {
        self.is_on || caller.own_quotas().is_some()
    }

    /// Takes from the caller's quotas what this costs: all, or nothing.
    ///
    /// # Errors
    /// A quota of its key or of its tenant is used up; it is to be refused.
    pub fn take(&self, caller: &Caller, cost: &Cost) -> Result<(), Exceeded> {
        if !self.limits(caller) {
            return Ok(());
        }
        let now_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let counts = self.counts.of(caller.tenant());
        let accounts = caller.accounts(|| self.accounts(caller));
        // Always in this order.
        let mut held: Vec<(Holder, &Account, MutexGuard<'_, _>)> = accounts
            .iter()
            .map(|(holder, account)| {
                let buckets = account.buckets.lock().unwrap_or_else(PoisonError::into_inner);
                (*holder, &**account, buckets)
            })
            .collect();
        let over = held.iter().filter_map(|(holder, account, buckets)| {
            let over = account.look(buckets, now_ns, cost)?;
            Some((*holder, over))
        });
        if let Some((holder, over)) = over.max_by_key(|(_, over)| over.empty.wait_ns) {
            return Err(counts.refuse(exceeded(holder, over)));
        }
        for (_, account, buckets) in &mut held {
            account.take(buckets, now_ns, cost);
        }
        counts.took(cost);
        Ok(())
    }

    /// A place for one more stream of the caller's; none where they are not counted.
    ///
    /// # Errors
    /// Its key or its tenant has as many as it may.
    pub fn place(&self, caller: &Caller) -> Result<Option<StreamSlot>, Exceeded> {
        if !self.limits(caller) {
            return Ok(None);
        }
        let counts = self.counts.of(caller.tenant());
        counts.streams.inc();
        // What is there of it goes when it is dropped.
        let mut place = StreamSlot { accounts: Vec::new(), counts };
        for (holder, account) in caller.accounts(|| self.accounts(caller)).iter() {
            if let Err(limit) = account.open_stream() {
                let empty = Empty { wait_ns: PLACE_WAIT.as_nanos() as u64, left: 0 };
                let over = Over { quota: Quota::Streams, limit, empty };
                return Err(place.counts.refuse(exceeded(*holder, over)));
            }
            place.accounts.push(account.clone());
        }
        Ok(Some(place))
    }

    /// How many subscriptions a tenant may have, where that is limited.
    pub fn subscriptions(&self, tenant: Option<&TenantName>) -> Option<u32> {
        self.of_tenant(tenant).subscriptions
    }

    /// Why a tenant that has so many subscriptions may have no more.
    pub fn too_many_subscriptions(&self, tenant: Option<&TenantName>, limit: u32) -> Exceeded {
        let empty = Empty { wait_ns: PLACE_WAIT.as_nanos() as u64, left: 0 };
        let over = Over { quota: Quota::Subscriptions, limit, empty };
        self.counts.of(tenant).refuse(exceeded(Holder::Tenant, over))
    }

    /// Counts a command of a tenant's session that this refused, if it was because of what the tenant holds.
    pub fn refused(&self, tenant: Option<&TenantName>, refusal: &Refusal) {
        let what = match refusal {
            Refusal::TenantFull { what, .. } => what.name(),
            Refusal::TenantBusy { .. } => "open-turns",
            _ => return,
        };
        self.counts.of(tenant).refused_by(format!("tenant-{what}"));
    }

    /// Those of the key first: what it may not do is nothing to its tenant.
    fn accounts(&self, caller: &Caller) -> Accounts {
        // Its own are no way around those that every key has.
        let own = caller.own_quotas().copied().unwrap_or_default().within(self.config.key);
        let key = caller.key_name().filter(|_| own != QuotaLimits::default());
        let key = key.map(|name| (Holder::Key, self.keys.account(name, || own)));
        let tenant = caller.tenant();
        let name = tenant.map_or("", TenantName::as_str);
        let account = self.tenants.account(name, || self.of_tenant(tenant));
        key.into_iter().chain([(Holder::Tenant, account)]).collect()
    }

    fn of_tenant(&self, tenant: Option<&TenantName>) -> QuotaLimits {
        // Looked up without a copy of the name only where a tenant has quotas of its own.
        let own = (!self.config.tenants.is_empty()).then(|| tenant.cloned());
        let own = own.and_then(|tenant| self.config.tenants.get(&tenant).copied());
        own.unwrap_or(self.config.tenant)
    }
}

fn exceeded(holder: Holder, over: Over) -> Exceeded {
    Exceeded {
        holder,
        quota: over.quota,
        limit: over.limit,
        left: u32::try_from(over.empty.left).unwrap_or(u32::MAX),
        retry_after: Duration::from_nanos(over.empty.wait_ns),
    }
}

#[cfg(test)]
mod tests;
