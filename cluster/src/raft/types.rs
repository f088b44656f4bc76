//! The types that openraft is generic over, fixed here once, and their journal form.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use openraft::alias::{LogIdOf, StoredMembershipOf, VoteOf};
use serde::{Deserialize, Serialize};

use crate::ids::EntryId;

/// What one entry carries: the encoded commands of one batch of its group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(not(tokio_unstable))]
pub(crate) type Runtime = super::runtime::Aligned;
/// The deterministic tests seed every random choice (`--cfg tokio_unstable`), and groups look at their timers whenever
/// they like.
#[cfg(tokio_unstable)]
pub(crate) type Runtime =
    openraft_rt::deterministic_rng::DeterministicRng<openraft_rt_tokio::TokioRuntime>;

/// Runs `work`, and everything that openraft spawns in it, with openraft's random numbers.
#[cfg(not(tokio_unstable))]
pub(crate) fn with_random<F: Future>(work: F) -> F {
    work
}

/// Runs `work`, and everything that openraft spawns in it, with the next of the seeded random numbers.
#[cfg(tokio_unstable)]
pub(crate) fn with_random<F: Future>(work: F) -> impl Future<Output = F::Output> {
    Runtime::scope(seed::next(), work)
}

/// Where openraft's random numbers come from under the deterministic tests.
#[cfg(tokio_unstable)]
pub mod seed {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(0);

    /// Starts the random numbers of this process anew; one seed per process.
    pub fn start(seed: u64) {
        NEXT.store(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), Ordering::Relaxed);
    }

    pub(super) fn next() -> u64 {
        NEXT.fetch_add(0x6a09_e667_f3bc_c909, Ordering::Relaxed)
    }
}

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Payload,
        R = (),
        NodeId = u64,
        Node = openraft::EmptyNode,
        AsyncRuntime = Runtime,
);

pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type Membership = StoredMembershipOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;

/// Our name for a log id.
pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// openraft's name for an entry id.
pub(crate) fn log_id(id: EntryId) -> LogId {
    let leader = openraft::impls::leader_id_adv::LeaderId { term: id.term, node_id: id.node };
    LogId { leader_id: leader, index: id.index }
}
