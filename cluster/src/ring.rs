//! Where a key lives: key → slot → group → nodes. Pure arithmetic, equal on every node for ever.
//!
//! Slots come from a stable hash (xxh3-64). Groups own equal, contiguous runs of slots. A group's
//! replicas are the first distinct nodes clockwise from the group's own point on a hash ring with
//! virtual points, refined so that no node carries more than its even share (consistent hashing with
//! bounded loads, Mirrokni, Thorup and Zadimoghaddam, 2016).

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::ids::{GroupId, NodeId, Slot};
use crate::limits::SLOTS;

/// Points of one node on the ring.
const POINTS: u64 = 64;

/// The slot of `key`; fixed at the cluster's bootstrap.
pub fn slot(key: &[u8]) -> Slot {
    let slot = xxh3_64(key) % u64::from(SLOTS);
    Slot(u16::try_from(slot).expect("a remainder of SLOTS fits"))
}

/// The group that carries `slot` where `groups` (at least 1) groups carry all slots. Never group 0.
pub fn group(slot: Slot, groups: u32) -> GroupId {
    GroupId(1 + u32::from(slot.0) * groups / u32::from(SLOTS))
}

/// The slots that `group` carries.
pub fn slots(group_id: GroupId, groups: u32) -> impl Iterator<Item = Slot> {
    (0..SLOTS).map(Slot).filter(move |slot| group(*slot, groups) == group_id)
}

/// Which nodes replicate each group; the first of a group's nodes is its preferred leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    replicas: BTreeMap<GroupId, Vec<NodeId>>,
}

impl Placement {
    /// Places groups 1..=`groups` on `nodes`, `replication` times where there are that many nodes.
    pub fn of(nodes: &[NodeId], groups: u32, replication: usize) -> Self {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        let copies = replication.min(nodes.len());
        if copies == 0 {
            return Placement::default();
        }
        let ring = ring(&nodes);
        let share = |count: usize| (groups as usize * count).div_ceil(nodes.len());
        let (mut loads, mut leads) = (BTreeMap::new(), BTreeMap::new());
        let mut replicas = BTreeMap::new();
        for group in (1..=groups).map(GroupId) {
            let walk = clockwise(&ring, group, nodes.len());
            let mut chosen = choose(&walk, copies, &mut loads, share(copies));
            let first = chosen
                .iter()
                .position(|node| leads.get(node).copied().unwrap_or(0) < share(1))
                .unwrap_or(0);
            chosen[..=first].rotate_right(1);
            *leads.entry(chosen[0]).or_insert(0usize) += 1;
            replicas.insert(group, chosen);
        }
        Placement { replicas }
    }

    /// The same placement under other names: each node is called what `names` has for it.
    #[must_use]
    pub fn renamed(mut self, names: &BTreeMap<NodeId, NodeId>) -> Self {
        for node in self.replicas.values_mut().flatten() {
            *node = names.get(node).copied().unwrap_or(*node);
        }
        self
    }

    /// The nodes of `group`, preferred leader first; empty for an unknown group.
    pub fn replicas(&self, group: GroupId) -> &[NodeId] {
        self.replicas.get(&group).map_or(&[], Vec::as_slice)
    }

    /// The groups that `node` replicates.
    pub fn groups_of(&self, node: NodeId) -> Vec<GroupId> {
        let mine = self.replicas.iter().filter(|(_, nodes)| nodes.contains(&node));
        mine.map(|(group, _)| *group).collect()
    }

    /// Every group with its nodes.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &[NodeId])> {
        self.replicas.iter().map(|(group, nodes)| (*group, nodes.as_slice()))
    }
}

fn ring(nodes: &[NodeId]) -> Vec<(u64, NodeId)> {
    let mut ring: Vec<_> = nodes
        .iter()
        .flat_map(|node| (0..POINTS).map(|point| (point_of(node.0, point), *node)))
        .collect();
    ring.sort_unstable();
    ring
}

fn point_of(id: u64, point: u64) -> u64 {
    xxh3_64_with_seed(&id.to_le_bytes(), point)
}

/// All nodes in ring order, starting at the group's own point.
fn clockwise(ring: &[(u64, NodeId)], group: GroupId, nodes: usize) -> Vec<NodeId> {
    let start = xxh3_64_with_seed(&group.0.to_le_bytes(), u64::MAX);
    let first = ring.partition_point(|(point, _)| *point < start);
    let mut walk = Vec::with_capacity(nodes);
    for (_, node) in ring[first..].iter().chain(&ring[..first]) {
        if !walk.contains(node) {
            walk.push(*node);
        }
    }
    walk
}

/// The first `copies` nodes with room; where too few have it, the lightest of the others.
fn choose(
    walk: &[NodeId],
    copies: usize,
    loads: &mut BTreeMap<NodeId, usize>,
    share: usize,
) -> Vec<NodeId> {
    let room = |node: &NodeId| loads.get(node).copied().unwrap_or(0) < share;
    let mut chosen: Vec<NodeId> = walk.iter().copied().filter(room).take(copies).collect();
    while chosen.len() < copies {
        let rest = walk.iter().filter(|node| !chosen.contains(node));
        let lightest = rest.min_by_key(|node| loads.get(node).copied().unwrap_or(0));
        chosen.push(*lightest.expect("copies never exceed the nodes"));
    }
    for node in &chosen {
        *loads.entry(*node).or_insert(0) += 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn the_hash_of_a_key_never_changes() {
        assert_eq!(slot(b"chat-1"), Slot(SLOT_OF_CHAT_1));
        assert_eq!(group(Slot(0), 12), GroupId(1));
        assert_eq!(group(Slot(1023), 12), GroupId(12));
    }

    /// Golden: where this number changes, every existing cluster loses its sessions.
    const SLOT_OF_CHAT_1: u16 = 763;

    proptest! {
        #[test]
        fn every_group_has_its_copies_on_distinct_nodes(count in 1u64..12, groups in 1u32..64) {
            let placement = Placement::of(&nodes(count), groups, 3);
            for (_, replicas) in placement.iter() {
                let mut distinct = replicas.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), 3.min(count as usize));
                prop_assert_eq!(replicas.len(), distinct.len());
            }
            prop_assert_eq!(placement.iter().count(), groups as usize);
        }

        #[test]
        fn no_node_carries_more_than_its_share(count in 3u64..12, groups in 1u32..64) {
            let placement = Placement::of(&nodes(count), groups, 3);
            let share = (groups as usize * 3).div_ceil(count as usize);
            for node in nodes(count) {
                let load = placement.groups_of(node).len();
                // The last groups may find too few nodes with room; two over is the worst seen.
                prop_assert!(load <= share + 2, "{} carries {} of {}", node, load, share);
            }
        }

        #[test]
        fn one_more_node_moves_little(count in 3u64..11, groups in 12u32..48) {
            let before = Placement::of(&nodes(count), groups, 3);
            let after = Placement::of(&nodes(count + 1), groups, 3);
            let moved: usize = before
                .iter()
                .map(|(group, old)| {
                    after.replicas(group).iter().filter(|node| !old.contains(node)).count()
                })
                .sum();
            let ideal = (groups as usize * 3).div_ceil(count as usize + 1);
            prop_assert!(moved <= ideal * 5 / 2 + 6, "moved {} where {} is ideal", moved, ideal);
        }

        #[test]
        fn every_slot_has_one_group(groups in 1u32..=1024) {
            let total: usize =
                (1..=groups).map(|id| slots(GroupId(id), groups).count()).sum();
            prop_assert_eq!(total, SLOTS as usize);
            prop_assert!((1..=groups).all(|id| 0 < slots(GroupId(id), groups).count()));
        }
    }
}
