//! The agreed list of nodes, and the map that every node derives from it by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::change::{Change, Judgement};
use crate::ids::{GroupId, MapVersion, NodeId};
use crate::limits::SYSTEM_VOTERS;
use crate::ring::{self, Placement};

/// One node, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// `host:port` for peers.
    pub peer: String,
    /// URL for clients; not used in here.
    pub client: String,
}

/// What the cluster has agreed on about its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Counts the changes.
    pub version: MapVersion,
    /// Groups that carry slots, 1..=groups.
    pub groups: u32,
    /// The nodes that belong.
    pub members: BTreeMap<NodeId, Member>,
    /// Nodes that were taken out. An id is never used again: its disk acknowledged what its successor has
    /// not seen.
    pub removed: BTreeSet<NodeId>,
    pub(super) replication: u32,
    /// Whose place on the ring a node has, where it is not its own: a replacement stands where the node
    /// stood that it replaces, so that nothing else moves.
    places: BTreeMap<NodeId, NodeId>,
}

impl Roster {
    /// Carries `change` out, unless it is refused or done already.
    pub(super) fn apply(&mut self, change: Change) {
        if self.judge(&change) != Ok(Judgement::Needed) {
            return;
        }
        match change {
            Change::Found { groups, replication, members } => {
                self.groups = groups;
                self.replication = replication;
                self.members = members.into_iter().map(|member| (member.node, member)).collect();
            }
            Change::Add { member, .. } => {
                self.members.insert(member.node, member);
            }
            Change::Remove { node, .. } => {
                self.take_out(node);
            }
            Change::Replace { node, with, .. } => {
                let place = self.take_out(node);
                self.places.insert(with.node, place);
                self.members.insert(with.node, with);
            }
        }
        self.version = self.version.next();
    }

    /// Takes a node out for ever; returns its place on the ring.
    fn take_out(&mut self, node: NodeId) -> NodeId {
        self.members.remove(&node);
        self.removed.insert(node);
        self.places.remove(&node).unwrap_or(node)
    }

    fn placement(&self) -> Placement {
        let place = |node: &NodeId| self.places.get(node).copied().unwrap_or(*node);
        let nodes: BTreeMap<NodeId, NodeId> =
            self.members.keys().map(|node| (place(node), *node)).collect();
        let places: Vec<NodeId> = nodes.keys().copied().collect();
        Placement::of(&places, self.groups, self.replication as usize).renamed(&nodes)
    }
}

/// Who belongs and where everything lives; at [`MapVersion::NONE`] nothing is agreed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    roster: Roster,
    /// Which node carries which group, and which group which slot; follows from the list alone.
    pub placement: Placement,
}

impl Map {
    pub(super) fn of(roster: Roster) -> Map {
        let placement = roster.placement();
        Map { roster, placement }
    }

    /// The group that carries `key`; none before the bootstrap.
    pub fn group_of(&self, key: &[u8]) -> Option<GroupId> {
        (0 < self.groups).then(|| ring::group(ring::slot(key), self.groups))
    }

    /// The map as it would be after `change`.
    #[must_use]
    pub fn after(&self, change: Change) -> Map {
        let mut roster = self.roster.clone();
        roster.apply(change);
        Map::of(roster)
    }

    /// The nodes that vote in `group`; for the system group the first few of all members.
    pub fn voters(&self, group: GroupId) -> Vec<NodeId> {
        if group == GroupId::SYSTEM {
            return self.members.keys().copied().take(SYSTEM_VOTERS).collect();
        }
        let mut voters = self.placement.replicas(group).to_vec();
        voters.sort_unstable();
        voters
    }

    /// The nodes that follow `group` without a vote.
    pub fn learners(&self, group: GroupId) -> Vec<NodeId> {
        let voters = if group == GroupId::SYSTEM { SYSTEM_VOTERS } else { usize::MAX };
        self.members.keys().copied().skip(voters).collect()
    }

    /// The groups that `node` has a part in, the system group first.
    pub fn groups_of(&self, node: NodeId) -> Vec<GroupId> {
        let mut groups = vec![GroupId::SYSTEM];
        groups.extend(self.placement.groups_of(node));
        groups
    }
}

impl Deref for Map {
    type Target = Roster;

    fn deref(&self) -> &Roster {
        &self.roster
    }
}
