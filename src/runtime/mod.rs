//! Actors: each owns one session, feeds it committed commands and serves its readers.
//!
//! [`Runtime`] is what the edge sees: ask anything of any session at any node, and it is carried to where
//! the session lives.

pub mod outcome;
pub mod reader;
pub mod report;
pub mod tail;

use tokio::time::Instant;

pub use outcome::{Reply, SubmitError, Unavailable};
pub use reader::{AttachError, Delivery, Reader, Start};
pub use report::{
    ClusterReport, Home, MemberReport, NotReady, ReplicaReport, ShardReport, Summary,
};
pub use tail::Shown;

use crate::ids::SessionId;
use crate::session::{Command, Status};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Everything acknowledged anywhere before the read began is seen (ReadIndex).
    #[default]
    Linearizable,
    /// Whatever this node has; a committed prefix.
    Local,
}

/// The sessions of the cluster, as seen from this node.
pub struct Runtime {}

impl Runtime {
    /// Commits `command` wherever the session lives and returns what it did there.
    ///
    /// Holds the request while a leader is elected. Repeats a command of unknown outcome by itself where
    /// that is safe (it has a producer, or has the same effect twice).
    ///
    /// # Errors
    /// See [`SubmitError`]; each says whether the command may have taken effect.
    pub async fn submit(
        &self,
        _id: &SessionId,
        _command: Command,
        _deadline: Instant,
    ) -> Result<Reply, SubmitError> {
        unimplemented!()
    }

    /// Attaches a reader. Where it starts is linearizable: everything acknowledged before this call will
    /// be delivered if it lies behind the cursor.
    ///
    /// # Errors
    /// The session does not exist, or nobody with a majority answers; no reader exists then.
    pub async fn attach(
        &self,
        _id: &SessionId,
        _start: Start,
        _freshness: Freshness,
        _deadline: Instant,
    ) -> Result<Reader, AttachError> {
        unimplemented!()
    }

    /// What the session is now; none where it does not exist.
    ///
    /// # Errors
    /// Nobody with a majority answers before the deadline.
    pub async fn status(
        &self,
        _id: &SessionId,
        _freshness: Freshness,
        _deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        unimplemented!()
    }

    /// Up to `limit` live sessions whose id begins with `prefix`, in byte order of their ids, after `after`.
    ///
    /// # Errors
    /// A shard does not answer before the deadline.
    pub async fn list(
        &self,
        _prefix: &str,
        _after: Option<&str>,
        _limit: usize,
        _deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        unimplemented!()
    }

    /// Members, shards, leaders, positions and lag, gathered from all nodes that answer.
    pub async fn cluster(&self) -> ClusterReport {
        unimplemented!()
    }

    /// Where the session lives, or would live: every node knows without asking.
    pub fn home(&self, _id: &SessionId) -> Home {
        unimplemented!()
    }

    /// Why this node should not be sent traffic now; empty when it is ready.
    pub fn not_ready(&self) -> Vec<NotReady> {
        unimplemented!()
    }
}
