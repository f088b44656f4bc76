//! Counts what shards were opened with, and queries other nodes about shards of which this one has no replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::ids::{GroupId, NodeId};
use futures::future::join_all;
use tokio::time::sleep;

use super::Allowance;
use crate::limits::{ALLOWANCE_INTERVAL, ALLOWANCE_KEPT};
use crate::runtime::blocking;
use crate::runtime::peer::wire::{Request, Response};
use crate::session::Holding;

impl Allowance {
    /// Keeps what is known about tenants up to date, until it is dropped.
    pub(in crate::runtime) async fn run(self: Arc<Self>) {
        loop {
            self.count().await;
            self.ask().await;
            sleep(ALLOWANCE_INTERVAL).await;
        }
    }

    /// Counts the shards that were opened since.
    async fn count(&self) {
        for shard in self.shards.all() {
            let Some(tally) = shard.tally().cloned() else { continue };
            let counted = blocking::off_thread(move || tally.count()).await.flatten();
            if let Err(error) = counted {
                tracing::warn!(shard = shard.number(), %error, "what its sessions hold is not known");
            }
        }
    }

    /// Queries one node in reach for each shard that is not counted here.
    async fn ask(&self) {
        let tenants: Vec<String> = {
            let mut looked_at = self.looked_at();
            looked_at.retain(|_, tenant| tenant.at.elapsed() < ALLOWANCE_KEPT);
            looked_at.keys().map(|name| name.to_string()).collect()
        };
        if tenants.is_empty() {
            return;
        }
        let request = self.whom_to_ask().into_iter().map(|(node, shards)| {
            let request = Request::Holdings { shards, tenants: tenants.clone() };
            self.host.call(node, request.encode(), ALLOWANCE_INTERVAL)
        });
        for answer in join_all(request).await {
            // A node that does not answer gets the request again, or another one does; until then its last answer
            // counts.
            if let Ok(Ok(Response::Holdings(holdings))) = answer.map(Response::decode) {
                self.take(&tenants, &holdings);
            }
        }
    }

    fn whom_to_ask(&self) -> BTreeMap<NodeId, Vec<u32>> {
        let map = self.host.map().borrow().clone();
        let connected = self.host.connected();
        let counted = |group: GroupId| {
            let shard = self.shards.get(group);
            shard.is_some_and(|shard| shard.tally().is_some_and(|tally| tally.is_counted()))
        };
        let mut request: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for (group, replicas) in map.placement.iter().filter(|(group, _)| !counted(*group)) {
            if let Some(node) = replicas.iter().copied().find(|node| connected.contains(node)) {
                request.entry(node).or_default().push(group.0);
            }
        }
        request
    }

    fn take(&self, tenants: &[String], holdings: &[(u32, u32, Holding)]) {
        let mut looked_at = self.looked_at();
        for (shard, tenant, holding) in holdings {
            let tenant = tenants.get(*tenant as usize);
            if let Some(known) = tenant.and_then(|tenant| looked_at.get_mut(&**tenant)) {
                known.elsewhere.insert(*shard, *holding);
            }
        }
    }

    /// What these tenants hold in these shards, for a node that has no replica of them: shard, place of the tenant in
    /// `tenants`, and what it holds.
    pub(in crate::runtime) fn holdings(
        &self,
        shards: &[u32],
        tenants: &[String],
    ) -> Vec<(u32, u32, Holding)> {
        let known = shards.iter().filter_map(|shard| self.shards.get(GroupId(*shard)));
        let each = known.flat_map(|shard| {
            let held = (0..).zip(tenants).filter_map(move |(place, tenant)| {
                let holding = shard.tally()?.holds(tenant)?;
                Some((shard.number(), place, holding))
            });
            held.collect::<Vec<_>>()
        });
        each.collect()
    }
}
