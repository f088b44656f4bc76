//! Subscriptions: a worker is woken when streams have news, by webhook or by an event on another stream, and works
//! under a lease that is fenced by generations.
//!
//! A subscription belongs to a tenant, as its streams do. It is a session of its own (`named`), whose log holds what
//! happened to it (`change`); what it is, is the sum of that (`state`). Any node changes it by compare-and-swap
//! (`verbs`, `ledger`); the node that leads it does what the world is owed (`worker`, S8), and derives that from
//! the state alone, so a crash loses nothing. What it shows is in the format of the Durable Streams dialect (`shown`).

mod change;
mod fault;
mod glob;
mod ledger;
mod named;
mod place;
mod scan;
mod secret;
mod shown;
mod signing_keys;
mod state;
mod target;
#[cfg(test)]
mod tests;
mod trigger;
mod verbs;
mod wake;
mod webhook;
mod worker;

use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::fault::Fault;
pub use self::named::Named;
pub use self::place::LogPosition;
use self::secret::Keys;
pub use self::secret::tenant_of;
pub use self::state::{Deliver, Plan, Refused};
pub use self::verbs::{Acked, Lease};
use crate::config::WebhookReach;
use crate::ids::TenantName;
use crate::runtime::Sessions;

/// Where clients and webhooks reach all of it.
pub const ROOT: &str = "/v1/stream/__ds";

/// What requests and workers of one node share.
pub struct Subscriptions {
    sessions: Arc<Sessions>,
    keys: OnceCell<Arc<Keys>>,
    caller: webhook::Caller,
}

impl Subscriptions {
    pub fn new(sessions: Arc<Sessions>, reach: WebhookReach) -> Subscriptions {
        Subscriptions { sessions, keys: OnceCell::new(), caller: webhook::Caller::new(reach) }
    }

    /// Works for the subscriptions that this node leads, until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        trigger::run(self, stop).await;
    }

    /// The keys of a tenant.
    async fn keys(
        &self,
        tenant: Option<&TenantName>,
        deadline: Instant,
    ) -> Result<Arc<Keys>, Fault> {
        let load = || async { signing_keys::load(&self.sessions, deadline).await.map(Arc::new) };
        let keys = self.keys.get_or_try_init(load).await?;
        Ok(tenant.map_or_else(|| keys.clone(), |tenant| Arc::new(keys.of(tenant))))
    }
}
