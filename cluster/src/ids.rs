//! Names of the things this crate knows: nodes, groups, slots, and places in a group's log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One process of the cluster; chosen by the operator, from 1, never reused for another disk.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

/// One Raft group on every node that replicates it. Group 0 is the system group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group that agrees on members and the map.
    pub const SYSTEM: GroupId = GroupId(0);
}

/// One of [`crate::limits::SLOTS`] equal parts of all keys; fixed at the cluster's bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u16);

/// Counts the changes of the cluster's [map](crate::membership::Map); the first one is
/// [`Self::BIRTH`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MapVersion(pub u64);

impl MapVersion {
    /// Nothing is agreed yet: there is no map.
    pub const NONE: MapVersion = MapVersion(0);
    /// That of the first map, with the members that found the cluster.
    pub const BIRTH: MapVersion = MapVersion(1);

    /// That of the map after the next change.
    #[must_use]
    pub fn next(self) -> MapVersion {
        MapVersion(self.0.checked_add(1).expect("members do not change 2^64 times"))
    }
}

/// Place of one entry in one group's journal: (term, leader, index). Ordered as Raft orders.
///
/// `term` and `node` name the leader that wrote the entry; `index` is dense from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EntryId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// That leader.
    pub node: u64,
    /// Its place in the log of the group, from 0 without a gap.
    pub index: u64,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

impl fmt::Display for MapVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-n{}-{}", self.term, self.node, self.index)
    }
}
