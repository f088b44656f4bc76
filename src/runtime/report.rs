//! What operators see: members, shards, positions.

use cluster::ids::MapVersion;
use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::session::Standing;

/// One line of a list of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: SessionId,
    pub incarnation: Incarnation,
    /// See [`crate::session::Session::root`].
    pub root: Incarnation,
    pub tail: Serial,
    pub closed: bool,
    pub created_at: Millis,
    pub updated_at: Millis,
    /// Whether it is frozen, or put away.
    pub standing: Standing,
}

/// Why a node should get no traffic. Each reason has its line in OPERATIONS, under its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The node does not have its cluster's map.
    NoMap,
    /// It follows in some shard, and received from no leader for two election times.
    NoLeader { shard: u32 },
    /// It leads some shard, and no majority acknowledged it for two election times.
    NoQuorum { shard: u32 },
    /// Its replica of some shard has this many of the entries still to apply that the leader has committed.
    Lagging { shard: u32, entries: u64 },
    /// The disk is full.
    DiskFull,
    /// This node's wall clock is ahead of those of a majority by this much, behind where negative.
    ClockSkewed { skew_ms: i64 },
    /// The store takes no more writes; the node is about to begin again.
    StoreFailed,
    /// The node is handing over its leaderships and stops.
    Draining,
    /// What this replica holds for committed and what a leader sent cannot both be true: it takes part no more.
    Broken { shard: u32 },
    /// So many sessions are not here what they are at most of their other replicas.
    ReplicasDiffer { sessions: usize },
    /// The process was signalled to stop.
    Stopping,
}

impl NotReady {
    /// The name for it that clients and operators see; stable.
    pub fn code(&self) -> &'static str {
        match self {
            NotReady::NoMap => "no_map",
            NotReady::NoLeader { .. } => "no_leader",
            NotReady::NoQuorum { .. } => "no_quorum",
            NotReady::Lagging { .. } => "lagging",
            NotReady::DiskFull => "disk_full",
            NotReady::ClockSkewed { .. } => "clock_skewed",
            NotReady::StoreFailed => "store_failed",
            NotReady::Broken { .. } => "broken",
            NotReady::ReplicasDiffer { .. } => "replicas_differ",
            NotReady::Draining => "draining",
            NotReady::Stopping => "stopping",
        }
    }
}

/// The cluster as gathered by one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterReport {
    pub cluster: String,
    /// Who gathered it.
    pub node: u64,
    /// Version of the agreed map.
    pub version: MapVersion,
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
    /// Who leads it with a majority behind; none where no node reports to be it.
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
    /// As far as this node knows; none where it knows of none.
    pub leader: Option<u64>,
    pub replicas: Vec<u64>,
}
