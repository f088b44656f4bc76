//! Compares this node's clock with those of the other members, and keeps it from leading by a wrong one.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::{Host, reconciler};
use crate::group::Group;
use crate::ids::{GroupId, NodeId};
use crate::limits::{CLOCK_FIRST_INTERVAL, CLOCK_INTERVAL, CLOCK_ROUND_TRIP_MS};
use crate::raft::{Rpc, RpcKind};
use crate::transport::Lane;

/// Compares clocks until it is dropped.
pub(super) async fn run(host: Arc<Host>) {
    let mut was_far = false;
    loop {
        round(&host).await;
        let report = host.time.report();
        if report.is_far != was_far {
            was_far = report.is_far;
            let skew_ms = report.skew_ms;
            if was_far {
                tracing::error!(
                    skew_ms,
                    "this node's clock is far from the others'; it leads nothing"
                );
            } else {
                tracing::info!(skew_ms, "this node's clock is like the others' again");
            }
        }
        if report.is_far {
            step_back(&host).await;
        }
        let known = host.time.now_ms().is_some();
        tokio::time::sleep(if known { CLOCK_INTERVAL } else { CLOCK_FIRST_INTERVAL }).await;
    }
}

/// Requests the clocks of every member that is in reach, all at once.
async fn round(host: &Host) {
    let members = host.members();
    let connected = host.transport.connected();
    let peers = connected.into_iter().filter(|node| members.contains(node));
    join_all(peers.map(|node| ask(host, node))).await;
    host.time.settle(&members, host.local());
}

async fn ask(host: &Host, node: NodeId) {
    let rpc = Rpc::new(RpcKind::Clocks, GroupId::SYSTEM, Vec::new()).encode();
    let requested_ms = host.time.elapsed_ms();
    let patience = Duration::from_millis(CLOCK_ROUND_TRIP_MS);
    // A member that does not answer is left out of this round; that is all.
    let Ok(answer) = host.transport.call(node, Lane::Control, rpc, patience).await else { return };
    if let Err(error) = host.time.hear(node, requested_ms, &answer) {
        tracing::warn!(peer = %node, %error, "a peer's clock is unreadable");
    }
}

/// Hands each lead to a member that is as far and takes it. Where there is none it leads on: its time is the
/// group's, whatever its clock shows.
async fn step_back(host: &Host) {
    for group in host.groups().into_iter().filter(|group| group.leads()) {
        if let Some(taker) = taker(host, &group).await {
            tracing::info!(group = %group.id(), to = %taker, "the lead leaves a node with a wrong clock");
            group.transfer(taker).await;
        }
    }
}

async fn taker(host: &Host, group: &Group) -> Option<NodeId> {
    let report = group.report();
    let connected = host.transport.connected();
    let mut others: Vec<_> =
        report.voters.iter().copied().filter(|node| connected.contains(node)).collect();
    others.sort_by_key(|node| std::cmp::Reverse(report.matched.get(node).copied().flatten()));
    for node in others {
        if node != host.local() && reconciler::willing(host, node).await {
            return Some(node);
        }
    }
    None
}
