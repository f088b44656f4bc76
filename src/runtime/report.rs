//! What operators see: members, shards, positions.

use crate::ids::{Incarnation, Millis, Serial};

/// One line of a list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub id: String,
    pub incarnation: Incarnation,
    /// See [`crate::session::Session::root`].
    pub root: Incarnation,
    pub tail: Serial,
    pub closed: bool,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// Why a node should get no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The node has not heard of its cluster's map.
    NoMap,
    /// Some shard that it replicates has no known leader.
    NoLeader { shard: u32 },
    /// Some shard lags behind its leader's journal by this many entries.
    Lagging { shard: u32, entries: u64 },
    /// The disk is full.
    DiskFull,
    /// This node's wall clock is ahead of those of a majority by this much, behind where negative.
    ClockSkewed { skew_ms: i64 },
    /// The node is handing over its leaderships and stops.
    Draining,
}

/// The cluster as gathered by one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterReport {
    pub cluster: String,
    /// Who gathered it.
    pub node: u64,
    /// Version of the agreed map.
    pub epoch: u64,
    pub members: Vec<MemberReport>,
    pub shards: Vec<ShardReport>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberReport {
    pub node: u64,
    /// Where peers reach it.
    pub peer: String,
    /// Where clients reach it; empty where unknown.
    pub http: String,
    /// Whether it answered the node that gathered.
    pub reachable: bool,
    pub leads: u32,
    pub replicates: u32,
    pub sessions_in_memory: u64,
    pub readers: u64,
    pub draining: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardReport {
    pub shard: u32,
    pub leader: Option<u64>,
    pub term: u64,
    pub replicas: Vec<ReplicaReport>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaReport {
    pub node: u64,
    pub voter: bool,
    /// Last entry in its journal.
    pub last: u64,
    /// Last entry that readers can see.
    pub applied: u64,
    /// Entries behind the leader's last.
    pub lag: u64,
}

/// Where a session lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    pub shard: u32,
    /// As far as this node knows.
    pub leader: Option<u64>,
    pub replicas: Vec<u64>,
}
