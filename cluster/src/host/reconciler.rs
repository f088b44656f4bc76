//! What a node does unasked: opens its groups, founds them at the bootstrap, follows the map, balances leads.
//!
//! All of it is derived from the map and the groups' own reports, once per round; a round that finds
//! nothing to do does nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Host;
use super::far::Far;
use super::follow::{Wanted, follow};
use super::steady::Steadiness;
use crate::group::Group;
use crate::ids::{GroupId, MapVersion, NodeId};
use crate::limits::{CARE_INTERVAL, FOUND_PATIENCE_ROUNDS, SYSTEM_VOTERS, TRANSFER_LAG};
use crate::machine::MachineFactory;
use crate::membership::{Change, Map};
use crate::raft::{Rpc, RpcKind};
use crate::transport::{BoxFuture, Lane};

/// Cares for the node until it is dropped.
pub(super) async fn run(host: Arc<Host>, factory: Arc<dyn MachineFactory>) {
    host.open_group(GroupId::SYSTEM, &factory);
    let mut map = host.map();
    let mut tended = Tended::default();
    let (mut rounds, mut steadiness, mut far) = (0, Steadiness::default(), Far::default());
    loop {
        far.watch(&host);
        round(&host, &factory, rounds, &mut tended, &mut steadiness).await;
        rounds += 1;
        let pause = tokio::time::sleep(CARE_INTERVAL);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                changed = map.changed() => {
                    changed.expect("the host holds the sender");
                    break;
                }
                () = &mut pause => break,
                () = tended.one_is_done() => (),
            }
        }
    }
}

/// Groups that are being founded or changed. Each is on its own: one that hangs holds up no other.
#[derive(Default)]
struct Tended {
    groups: BTreeSet<GroupId>,
    work: FuturesUnordered<BoxFuture<GroupId>>,
}

impl Tended {
    /// Begins to tend a group, unless that is under way.
    fn begin(&mut self, host: &Arc<Host>, group: Arc<Group>, map: Arc<Map>, rounds: u32) {
        let id = group.id();
        if self.groups.insert(id) {
            let host = host.clone();
            self.work.push(Box::pin(async move {
                tend(&host, &group, &map, rounds).await;
                id
            }));
        }
    }

    async fn one_is_done(&mut self) {
        match self.work.next().await {
            Some(id) => {
                self.groups.remove(&id);
            }
            None => std::future::pending().await,
        }
    }
}

async fn round(
    host: &Arc<Host>,
    factory: &Arc<dyn MachineFactory>,
    rounds: u32,
    tended: &mut Tended,
    steadiness: &mut Steadiness,
) {
    let map = host.map.borrow().clone();
    let Some(system) = host.group(GroupId::SYSTEM) else { return };
    for member in map.members.values().filter(|member| member.node != host.local()) {
        host.transport.set_peer(member.node, member.peer.clone());
    }
    tended.begin(host, system, map.clone(), rounds);
    for id in map.placement.groups_of(host.local()) {
        host.open_group(id, factory);
    }
    watch_peers(host, &map, steadiness);
    part(host, &map);
    let mut moved = false;
    for group in host.groups().into_iter().filter(|group| group.id() != GroupId::SYSTEM) {
        tended.begin(host, group.clone(), map.clone(), rounds);
        if group.leads() {
            // One transfer a round: a lead that moves costs its sessions a moment.
            let replicas = map.placement.replicas(group.id());
            moved = moved || balance(host, &group, replicas, steadiness).await;
        }
    }
}

/// Founds the group where that is due, and brings its members to those of the map.
async fn tend(host: &Host, group: &Group, map: &Map, rounds: u32) {
    if group.id() == GroupId::SYSTEM {
        found_system(host, group, rounds).await;
        if group.leads() {
            agree_on_birth(host, map).await;
        }
    } else if map.version == MapVersion::BIRTH {
        found(host, group, map.placement.replicas(group.id()), rounds).await;
    }
    if group.leads() {
        follow(group, host.local(), &Wanted::of(map, group.id())).await;
    } else if map.version != MapVersion::NONE && !map.groups_of(host.local()).contains(&group.id())
    {
        leave(host, group.id(), map).await;
    }
}

/// Closes a group that lives elsewhere, once its leader answers that it counts on this node no more: what
/// this node has of it grows old from then on.
async fn leave(host: &Host, id: GroupId, map: &Map) {
    for node in map.voters(id) {
        let rpc = Rpc::new(RpcKind::Dropped, id, Vec::new()).encode();
        if host.transport.call(node, Lane::Control, rpc, CARE_INTERVAL).await.is_ok() {
            tracing::info!(group = %id, "the group lives elsewhere and is closed here");
            host.close_group(id).await;
            return;
        }
    }
}

/// Keeps out who was removed, once no group of this node counts on it any more.
fn part(host: &Host, map: &Map) {
    if map.removed.contains(&host.local()) {
        return;
    }
    let mut counted = BTreeSet::new();
    for id in map.groups_of(host.local()) {
        let report = host.group(id).map(|group| group.report()).unwrap_or_default();
        if report.voters.is_empty() {
            // It is not open yet, and may count on anybody.
            return;
        }
        counted.extend(report.voters.into_iter().chain(report.learners));
    }
    for node in map.removed.iter().filter(|node| !counted.contains(node)) {
        if host.parts.removed.keep_out(*node) {
            tracing::info!(%node, "the node was removed and has no access any more");
        }
        host.transport.remove_peer(*node);
    }
}

/// Founds the system group on the nodes that the operator named. All name the same, so that it is
/// harmless if more than one does it.
async fn found_system(host: &Host, system: &Group, rounds: u32) {
    let bootstrap = &host.parts.bootstrap;
    if bootstrap.join || system.is_founded().await {
        return;
    }
    let mut nodes: Vec<NodeId> = bootstrap.members.iter().map(|member| member.node).collect();
    nodes.sort_unstable();
    if lives_already(host, &nodes).await {
        tracing::info!("the cluster lives already; this node waits until it is added to it");
        return;
    }
    nodes.truncate(SYSTEM_VOTERS);
    found_by_rank(host, system, &nodes, rounds).await;
}

/// Whether some other node has a map: then there is nothing to found, and the system group comes by itself.
async fn lives_already(host: &Host, nodes: &[NodeId]) -> bool {
    let met = host.transport.connected();
    for node in nodes.iter().filter(|node| met.contains(node)) {
        let rpc = Rpc::new(RpcKind::Born, GroupId::SYSTEM, Vec::new()).encode();
        if host.transport.call(*node, Lane::Control, rpc, CARE_INTERVAL).await.is_ok() {
            return true;
        }
    }
    false
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
    // A node that has not met a majority may have a wiped disk that no peer could refuse yet.
    if !enough || rounds < FOUND_PATIENCE_ROUNDS * u32::try_from(rank).unwrap_or(u32::MAX) {
        return;
    }
    if let Err(error) = group.found(nodes).await {
        tracing::warn!(group = %group.id(), %error, "the group was not founded");
    }
}

async fn agree_on_birth(host: &Host, map: &Map) {
    if map.version != MapVersion::NONE {
        return;
    }
    let bootstrap = &host.parts.bootstrap;
    let (groups, replication, members) =
        (bootstrap.groups, bootstrap.replication, bootstrap.members.clone());
    if let Err(error) = host.change_members(Change::Found { groups, replication, members }).await {
        tracing::warn!(%error, "the bootstrap was not agreed on");
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
