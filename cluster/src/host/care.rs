//! What a node does unasked: opens its groups, founds them at the birth, follows the map, balances leads.
//!
//! All of it is derived from the map and the groups' own reports, once per round; a round that finds
//! nothing to do does nothing.

use std::sync::Arc;

use tokio::time::Instant;

use super::Host;
use super::far::Far;
use super::steady::Steadiness;
use crate::group::Group;
use crate::ids::{GroupId, NodeId};
use crate::limits::{CARE_INTERVAL, FOUND_PATIENCE_ROUNDS, SYSTEM_VOTERS, TRANSFER_LAG};
use crate::membership::{Change, Map};
use crate::raft::{Rpc, RpcKind};
use crate::transport::Lane;

/// Cares for the node until it is dropped.
pub(super) async fn run(host: Arc<Host>) {
    host.open_group(GroupId::SYSTEM);
    let mut map = host.map();
    let (mut rounds, mut steadiness, mut far) = (0, Steadiness::default(), Far::default());
    loop {
        far.watch(&host);
        round(&host, rounds, &mut steadiness).await;
        rounds += 1;
        tokio::select! {
            changed = map.changed() => changed.expect("the host holds the sender"),
            () = tokio::time::sleep(CARE_INTERVAL) => (),
        }
    }
}

async fn round(host: &Arc<Host>, rounds: u32, steadiness: &mut Steadiness) {
    let map = host.map.borrow().clone();
    let Some(system) = host.group(GroupId::SYSTEM) else { return };
    for member in map.members.values().filter(|member| member.node != host.local()) {
        host.transport.set_peer(member.node, member.peer.clone());
    }
    found_system(host, &system, rounds).await;
    if system.leads() {
        agree_on_birth(host, &map).await;
        follow(&system, &system_voters(&map)).await;
    }
    for id in map.placement.groups_of(host.local()) {
        host.open_group(id);
    }
    watch_peers(host, &map, steadiness);
    let mut moved = false;
    for group in host.groups().into_iter().filter(|group| group.id() != GroupId::SYSTEM) {
        let replicas = map.placement.replicas(group.id());
        if map.epoch == 1 {
            found(host, &group, replicas, rounds).await;
        }
        if group.leads() {
            follow(&group, replicas).await;
            // One transfer a round: a lead that moves costs its sessions a moment.
            moved = moved || balance(host, &group, replicas, steadiness).await;
        }
    }
}

/// Founds the system group on the nodes that the operator named. All name the same, so that it is
/// harmless if more than one does it.
async fn found_system(host: &Host, system: &Group, rounds: u32) {
    let birth = &host.parts.birth;
    if birth.join || system.is_founded().await {
        return;
    }
    let mut nodes: Vec<NodeId> = birth.members.iter().map(|member| member.node).collect();
    nodes.sort_unstable();
    nodes.truncate(SYSTEM_VOTERS);
    found_by_rank(host, system, &nodes, rounds).await;
}

async fn found(host: &Host, group: &Group, replicas: &[NodeId], rounds: u32) {
    if !group.is_founded().await {
        found_by_rank(host, group, replicas, rounds).await;
    }
}

/// The first of `nodes` founds; each other waits its turn, should those before it be away.
async fn found_by_rank(host: &Host, group: &Group, nodes: &[NodeId], rounds: u32) {
    let Some(rank) = nodes.iter().position(|node| *node == host.local()) else { return };
    let met = host.transport.connected();
    let enough = nodes.len() / 2 < 1 + nodes.iter().filter(|node| met.contains(node)).count();
    // Whoever has not met a majority may be a wiped disk that nobody could refuse yet.
    if !enough || rounds < FOUND_PATIENCE_ROUNDS * u32::try_from(rank).unwrap_or(u32::MAX) {
        return;
    }
    if let Err(error) = group.found(nodes).await {
        tracing::warn!(group = %group.id(), %error, "the group was not founded");
    }
}

async fn agree_on_birth(host: &Host, map: &Map) {
    if map.epoch != 0 {
        return;
    }
    let birth = &host.parts.birth;
    let (groups, replication, members) = (birth.groups, birth.replication, birth.members.clone());
    if let Err(error) = host.change(&Change::Found { groups, replication, members }).await {
        tracing::warn!(error, "the birth was not agreed on");
    }
}

fn system_voters(map: &Map) -> Vec<NodeId> {
    map.members.keys().copied().take(SYSTEM_VOTERS).collect()
}

/// Brings the group's members to what the map says.
async fn follow(group: &Group, wanted: &[NodeId]) {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let mut present = group.report().voters;
    present.sort_unstable();
    if wanted.is_empty() || wanted == present {
        return;
    }
    tracing::info!(group = %group.id(), ?present, ?wanted, "the group's members change");
    if let Err(error) = group.change_voters(&wanted).await {
        tracing::warn!(group = %group.id(), error, "the group's members did not change yet");
    }
}

/// Takes note of which peers are in trouble: out of reach, silent where they should acknowledge, or
/// without a lead that they preferably have.
fn watch_peers(host: &Host, map: &Map, steadiness: &mut Steadiness) {
    let connected = host.transport.connected();
    let mut troubled: Vec<NodeId> = Vec::new();
    for group in host.groups().into_iter().filter(|group| group.id() != GroupId::SYSTEM) {
        if group.leads() {
            troubled.extend(group.silent_members());
        }
        let Some(leader) = group.report().leader else { continue };
        let before = steadiness.leads(group.id(), leader);
        let preferred = map.placement.replicas(group.id()).first();
        troubled.extend(before.filter(|before| Some(before) == preferred));
    }
    let now = Instant::now();
    for peer in map.members.keys().filter(|node| **node != host.local()) {
        let away = !connected.contains(peer) || troubled.contains(peer);
        steadiness.look(*peer, away, now);
    }
}

/// Gives the lead to the preferred leader when it is there, steady and not behind.
async fn balance(
    host: &Host,
    group: &Group,
    replicas: &[NodeId],
    steadiness: &mut Steadiness,
) -> bool {
    let Some(&preferred) = replicas.first() else { return false };
    if preferred == host.local() || !steadiness.is_steady(preferred, Instant::now()) {
        return false;
    }
    let report = group.report();
    let matched = report.matched.get(&preferred).copied().flatten();
    let (Some(matched), Some(last)) = (matched, report.last) else { return false };
    let ready = report.voters.contains(&preferred) && last <= matched + TRANSFER_LAG;
    if ready && willing(host, preferred).await {
        tracing::info!(group = %group.id(), to = %preferred, "the lead moves to its preferred node");
        group.transfer(preferred).await;
        // Should it not lead then, or not for long, it is not steady.
        steadiness.leads(group.id(), preferred);
    }
    ready
}

/// Whether a node takes leads: one that is being drained, or whose clock is wrong, would only hand them on.
pub(super) async fn willing(host: &Host, node: NodeId) -> bool {
    let rpc = Rpc::new(RpcKind::Willing, GroupId::SYSTEM, Vec::new()).encode();
    host.transport.call(node, Lane::Control, rpc, CARE_INTERVAL).await.is_ok()
}
