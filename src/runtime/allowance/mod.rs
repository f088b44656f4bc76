//! What a tenant may hold in the whole cluster: sessions, open turns, stored bytes. Judged where a request enters.
//!
//! Every replica sums what the sessions of its shards hold ([`tally`]); a node queries others about shards of which
//! it has no replica ([`gather`]). A command of a tenant that has as much as it may carries that with it
//! ([`Bounds`]), so that the session itself refuses what is new and answers what it took before as it did then.

mod gather;
pub(super) mod tally;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::host::Host;
use tokio::time::Instant;

use super::chance::Map;
use super::shards::Shards;
use crate::ids::{SessionId, TenantName};
use crate::limits::ALLOWANCE_TENANTS;
use crate::session::{Bounds, Command, Holding};

/// How much each tenant may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Each that is not named.
    pub each: Bounds,
    /// Those with bounds of their own; none stands for the default tenant.
    pub named: BTreeMap<Option<TenantName>, Bounds>,
}

impl Allowances {
    /// Whether any tenant is bounded, so that holdings must be counted.
    pub fn is_on(&self) -> bool {
        !self.each.is_none() || self.named.values().any(|bounds| !bounds.is_none())
    }

    fn of(&self, tenant: Option<&TenantName>) -> &Bounds {
        // Looked up without a copy of the name only where a tenant is named.
        let own = (!self.named.is_empty()).then(|| tenant.cloned());
        own.and_then(|tenant| self.named.get(&tenant)).unwrap_or(&self.each)
    }
}

/// What tenants hold, as far as this node knows, and how much they may.
pub struct Allowance {
    allowances: Allowances,
    shards: Arc<Shards>,
    host: Arc<Host>,
    /// Tenants that were looked at lately, by name.
    looked_at: Mutex<Map<Box<str>, LookedAt>>,
}

struct LookedAt {
    at: Instant,
    /// What it holds in shards without a replica here, by the last answers of other nodes.
    elsewhere: BTreeMap<u32, Holding>,
}

impl Allowance {
    pub(super) fn new(
        allowances: Allowances,
        shards: Arc<Shards>,
        host: Arc<Host>,
    ) -> Arc<Allowance> {
        Arc::new(Allowance { allowances, shards, host, looked_at: Mutex::default() })
    }

    /// What a command must not make more of, because the session's tenant has as much of it as it may.
    pub(super) fn bounds(&self, id: &SessionId, command: &Command) -> Bounds {
        if !self.allowances.is_on() {
            return Bounds::default();
        }
        let tenant = id.tenant();
        let bounds = self.allowances.of(tenant.as_ref()).of(command);
        let Some(owner) = tally::owner(id).filter(|_| !bounds.is_none()) else {
            return Bounds::default();
        };
        let held = self.held(&owner);
        let full = |limit: Option<u64>, held: u64| limit.filter(|limit| *limit <= held);
        Bounds {
            sessions: full(bounds.sessions, held.sessions),
            open_turns: full(bounds.open_turns, held.open_turns),
            stored_bytes: full(bounds.stored_bytes, held.stored_bytes),
        }
    }

    /// What a tenant holds in all shards that this node knows of.
    fn held(&self, tenant: &str) -> Holding {
        let mut held = Holding::default();
        let mut elsewhere = self.elsewhere(tenant);
        for shard in self.shards.all() {
            if let Some(here) = shard.tally().and_then(|tally| tally.holds(tenant)) {
                elsewhere.remove(&shard.number());
                held = add(held, here);
            }
        }
        elsewhere.into_values().fold(held, add)
    }

    fn elsewhere(&self, tenant: &str) -> BTreeMap<u32, Holding> {
        let mut looked_at = self.looked_at();
        let now = Instant::now();
        if let Some(known) = looked_at.get_mut(tenant) {
            known.at = now;
            return known.elsewhere.clone();
        }
        if looked_at.len() < ALLOWANCE_TENANTS {
            looked_at.insert(tenant.into(), LookedAt { at: now, elsewhere: BTreeMap::new() });
        }
        BTreeMap::new()
    }

    /// What tenants hold in the shards that this node leads: for those that are named by themselves, and for all others
    /// together. Added up over all nodes, each shard counts once.
    pub fn led(&self) -> (BTreeMap<Option<TenantName>, Holding>, Holding) {
        let names = self.allowances.named.keys();
        let mut named: BTreeMap<_, _> =
            names.map(|name| (name.clone(), Holding::default())).collect();
        let mut others = Holding::default();
        for shard in self.shards.all() {
            if !shard.world().leads(shard.number()) {
                continue;
            }
            let Some(tally) = shard.tally() else { continue };
            tally.each(|tenant, held| {
                let sum = named.get_mut(&TenantName::parse(tenant).ok()).unwrap_or(&mut others);
                *sum = add(*sum, held);
            });
        }
        (named, others)
    }

    /// Whether anybody is bounded.
    pub fn is_on(&self) -> bool {
        self.allowances.is_on()
    }

    fn looked_at(&self) -> MutexGuard<'_, Map<Box<str>, LookedAt>> {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(one: Holding, other: Holding) -> Holding {
    Holding {
        sessions: one.sessions.saturating_add(other.sessions),
        open_turns: one.open_turns.saturating_add(other.open_turns),
        stored_bytes: one.stored_bytes.saturating_add(other.stored_bytes),
    }
}
