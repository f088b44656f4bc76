//! How this node is and how the cluster is, for operators.
//!
//! `ready` has the reasons why the node should get no traffic, `trust` those why it cannot be believed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::host::Host;
use cluster::ids::NodeId;
use cluster::membership::Map;
use cluster::time::TimeReport;
use futures::future::join_all;

use super::compare::Comparison;
use super::directory::Directory;
use super::peer::wire::{Condition, Request, Response, Standing};
use super::report::{ClusterReport, MemberReport, ReplicaReport, ShardReport};
use super::sessions::Sessions;
use super::space::Space;
use crate::limits::REPORT_WAIT;
use crate::store::fault::Fault;

/// One node's view of itself and of the others.
pub struct Overview {
    pub(super) cluster_name: String,
    pub(super) host: Arc<Host>,
    pub(super) directory: Arc<Directory>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) comparison: Arc<Comparison>,
    pub(super) store: Fault,
    pub(super) space: Arc<Space>,
    /// Whether the node hands over what it leads, and stops.
    pub(super) draining: Arc<AtomicBool>,
}

impl Overview {
    /// How this node's clock stands to those of the others.
    pub fn clock(&self) -> TimeReport {
        self.host.time().report()
    }

    /// Members, shards, leaders, positions and lag, gathered from all nodes that answer.
    pub async fn cluster(&self) -> ClusterReport {
        let map = self.host.map().borrow().clone();
        let request = map.members.keys().map(|node| self.condition_of(*node));
        let conditions: BTreeMap<NodeId, Condition> =
            join_all(request).await.into_iter().flatten().collect();
        ClusterReport {
            cluster: self.cluster_name.clone(),
            node: self.host.local().0,
            version: map.version,
            members: members(&map, &conditions),
            shards: shards(&map, &conditions),
        }
    }

    /// The measured round trip to each peer in reach, by its number.
    pub fn round_trips(&self) -> Vec<(u64, std::time::Duration)> {
        let trips = self.host.round_trips().into_iter();
        trips.map(|(peer, round_trip)| (peer.0, round_trip)).collect()
    }

    async fn condition_of(&self, node: NodeId) -> Option<(NodeId, Condition)> {
        if node == self.host.local() {
            return Some((node, self.condition()));
        }
        match self.directory.ask(node, &Request::Report, REPORT_WAIT).await {
            Ok(Response::Report(condition)) => Some((node, condition)),
            _ => None,
        }
    }

    /// How this node is.
    pub(super) fn condition(&self) -> Condition {
        let standings = self.host.groups().into_iter().map(|group| {
            let report = group.report();
            Standing {
                shard: group.id().0,
                term: report.term,
                leads: group.leads(),
                voter: report.voters.contains(&self.host.local()),
                last: report.last.unwrap_or(0),
                applied: group.settled_next().saturating_sub(1),
            }
        });
        Condition {
            sessions_in_memory: self.sessions.live() as u64,
            readers: self.sessions.reader_count(),
            draining: self.draining.load(Ordering::Acquire),
            shards: standings.collect(),
        }
    }
}

fn members(map: &Arc<Map>, conditions: &BTreeMap<NodeId, Condition>) -> Vec<MemberReport> {
    let member = |(node, member): (&NodeId, &cluster::membership::Member)| {
        let condition = conditions.get(node);
        let leads = condition.map_or(0, |condition| {
            condition.shards.iter().filter(|standing| standing.leads && 0 < standing.shard).count()
        });
        let known = condition.cloned().unwrap_or_default();
        MemberReport {
            node: node.0,
            peer: member.peer.clone(),
            http: member.client.clone(),
            reachable: condition.is_some(),
            leads: u32::try_from(leads).unwrap_or(u32::MAX),
            replicates: u32::try_from(map.placement.groups_of(*node).len()).unwrap_or(u32::MAX),
            sessions_in_memory: known.sessions_in_memory,
            readers: known.readers,
            draining: known.draining,
        }
    };
    map.members.iter().map(member).collect()
}

fn shards(map: &Arc<Map>, conditions: &BTreeMap<NodeId, Condition>) -> Vec<ShardReport> {
    let shard = |shard: u32| {
        let standings: Vec<(NodeId, &Standing)> = conditions
            .iter()
            .flat_map(|(node, condition)| {
                let mine = condition.shards.iter().filter(move |standing| standing.shard == shard);
                mine.map(move |standing| (*node, standing))
            })
            .collect();
        // Each has a majority behind it; of two, for a moment, the later term leads.
        let leader = standings.iter().filter(|(_, standing)| standing.leads);
        let leader = leader.max_by_key(|(_, standing)| standing.term);
        let last = leader.map_or(0, |(_, standing)| standing.last);
        let replica = |(node, standing): &(NodeId, &Standing)| ReplicaReport {
            node: node.0,
            voter: standing.voter,
            last: standing.last,
            applied: standing.applied,
            lag: last.saturating_sub(standing.last),
        };
        ShardReport {
            shard,
            leader: leader.map(|(node, _)| node.0),
            term: standings.iter().map(|(_, standing)| standing.term).max().unwrap_or(0),
            replicas: standings.iter().map(replica).collect(),
        }
    };
    (1..=map.groups).map(shard).collect()
}
