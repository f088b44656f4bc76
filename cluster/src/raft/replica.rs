//! One member of one group: a running openraft instance behind plain types.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::storage::RaftLogStorage as _;
use openraft::{ChangeMembers, Config, EmptyNode, Raft, ReadPolicy, SnapshotPolicy};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::apply::Applier;
use super::contact::Contact;
use super::history::{Broken, History};
use super::inbound::Inbound;
use super::log::GroupLog;
use super::outbound::Links;
use super::types::{Types, entry_id};
use super::wire::{ReadIndexAnswer, Rpc, encode_batch};
use crate::ids::{EntryId, GroupId, NodeId};
use crate::journal::Journal;
use crate::limits::{CHECKPOINT_ENTRIES, KEPT_ENTRIES, LAG_ENTRIES, PROBE_ELECTIONS};
use crate::machine::Machine;
use crate::settled::Settled;
use crate::time::GroupTime;
use crate::transport::{self, Transport};

pub(super) type RaftHandle = Raft<Types, Applier>;

/// Election and heartbeat times of every group of a node, in milliseconds.
///
/// A killed leader is replaced after about 1.6 × `election_max_ms`: followers wait out the leader's
/// lease (the maximum) and then a random time between the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// The shortest time without a leader before a follower stands for election.
    pub election_min_ms: u64,
    /// The longest, and the lease that a leader has.
    pub election_max_ms: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Timers { heartbeat_ms: 100, election_min_ms: 300, election_max_ms: 600 }
    }
}

/// When a group is checkpointed, and how much log it keeps then; all in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// Applied since the last checkpoint: time for the next one.
    pub every_entries: u64,
    /// Kept before a checkpoint, so that a member that was away for a moment catches up from the log.
    pub kept_entries: u64,
    /// A member that lacks more than this is not yet worth a vote. Above `kept_entries`.
    pub lag_entries: u64,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Checkpoints {
            every_entries: CHECKPOINT_ENTRIES,
            kept_entries: KEPT_ENTRIES,
            lag_entries: LAG_ENTRIES,
        }
    }
}

/// Everything that a replica is opened with.
pub(crate) struct Opening {
    pub(crate) group: GroupId,
    pub(crate) local: NodeId,
    pub(crate) journal: Journal,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) settled: Settled,
    pub(crate) time: Arc<GroupTime>,
    pub(crate) timers: Timers,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) staging: PathBuf,
    pub(crate) broken: Broken,
}

/// Why a replica did not carry out a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Nothing happened; send it to the leader, where one is known.
    #[error("not the leader; the leader is {leader:?}")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// It may or may not happen.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// What a replica knows of its group now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The term that it is in.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Index of the last entry in the journal.
    pub last: Option<u64>,
    /// Place of the last entry handed to the machine.
    pub applied: Option<EntryId>,
    /// Index of the last entry that a majority has, as its leader reports: ahead of `last` where this member
    /// catches up.
    pub committed: Option<u64>,
    /// Index of the last entry that was given up because a checkpoint covers it.
    pub purged: Option<u64>,
    /// Index of the last entry that the latest checkpoint covers.
    pub checkpoint: Option<u64>,
    /// Members that vote.
    pub voters: Vec<NodeId>,
    /// Whether a change of the voters is half done: majorities of the old and of the new ones are needed.
    pub joint: bool,
    /// Whether the members are committed, and not only in this node's log.
    pub agreed: bool,
    /// Members that are fed and do not vote.
    pub learners: Vec<NodeId>,
    /// Known by the leader alone: the last index that each member has on disk.
    pub matched: BTreeMap<NodeId, Option<u64>>,
    /// False once Raft has stopped for good.
    pub running: bool,
}

/// A running member of a group.
pub struct Replica {
    raft: RaftHandle,
    group: GroupId,
    inbound: Inbound,
    contact: Arc<Contact>,
    /// Closes when no task works on the machine any more.
    at_work: tokio::sync::Mutex<mpsc::Receiver<()>>,
    stop: CancellationToken,
}

impl Replica {
    /// Recovers the group from the journal and takes part in it.
    pub(crate) async fn open(opening: Opening) -> io::Result<Self> {
        let Opening { group, local, journal, transport, machine, settled, .. } = opening;
        let Opening { time, timers, checkpoints, staging, broken, .. } = opening;
        let deadline = Duration::from_millis(timers.election_max_ms.max(timers.heartbeat_ms * 4));
        let election = Duration::from_millis(timers.election_max_ms);
        let contact = Arc::new(Contact::new(local.0, election));
        let links = Links { transport, group, deadline, contact: contact.clone() };
        let stop = CancellationToken::new();
        let (working, at_work) = mpsc::channel(1);
        let history = History::new(journal.clone(), group, broken);
        let mut log = GroupLog::new(journal, group, history.clone());
        if let Some(last_ms) = log.last_time().await? {
            time.observe(last_ms);
        }
        history.commit(log.read_committed().await?.as_ref());
        let applier =
            Applier::new(machine, settled.clone(), time, history.clone(), stop.clone(), working)?;
        let config = Arc::new(config(timers, checkpoints)?);
        let raft =
            Raft::new(local.0, config, links, log, applier).await.map_err(io::Error::other)?;
        contact.follow(raft.metrics());
        let inbound = Inbound {
            raft: raft.clone(),
            group,
            history,
            settled,
            staging,
            contact: contact.clone(),
        };
        Ok(Replica { raft, group, inbound, contact, at_work: at_work.into(), stop })
    }

    /// Founds the group with these voters. Does nothing where the group exists.
    pub(crate) async fn found(&self, voters: &[NodeId]) -> io::Result<()> {
        let voters: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        match self.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Whether the group has a log or a vote.
    pub(crate) async fn is_founded(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    /// Queues one entry with these commands, under the leadership held now. When the call has returned
    /// the entry's place in the order is taken; the future resolves when it is applied here.
    ///
    /// # Errors
    /// `NotLeader`: nothing happened and nothing will. `Unknown`: it may yet.
    pub(crate) async fn propose(
        &self,
        time_ms: u64,
        commands: &[Bytes],
    ) -> Result<impl Future<Output = Result<EntryId, ReplicaError>> + Send + use<>, ReplicaError>
    {
        let leader = self
            .raft
            .as_leader()
            .map_err(|forward| ReplicaError::NotLeader { leader: forward.leader_id.map(NodeId) })?;
        let term = leader.to_committed_leader_id();
        let (responder, answer) = openraft::impls::ProgressResponder::complete_only();
        let write = self.raft.write(encode_batch(time_ms, commands)).with_leader(term);
        write
            .responder(responder)
            .await
            .map_err(|fatal| ReplicaError::Unknown(fatal.to_string()))?;
        Ok(async {
            match answer.await {
                Ok(Ok(written)) => Ok(entry_id(&written.log_id)),
                // openraft answers this only for what it never appended.
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(ReplicaError::NotLeader { leader: forward.leader_id.map(NodeId) })
                }
                Ok(Err(error)) => Err(ReplicaError::Unknown(error.to_string())),
                Err(_) => Err(ReplicaError::Unknown("the group stopped".into())),
            }
        })
    }

    /// A place in the order below which everything acknowledged until now lies (Raft's ReadIndex).
    pub(crate) async fn read_index(&self) -> Result<u64, ReplicaError> {
        Ok(read_index(&self.raft).await?.next)
    }

    /// The leader as far as this member knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader.map(NodeId)
    }

    /// Whether this member leads now, as far as it knows: one whom no majority acknowledges does not.
    pub fn leads(&self) -> bool {
        self.raft.is_leader() && self.in_touch()
    }

    /// Whether a majority acknowledged this leader, or this follower received from its leader, within two election
    /// times.
    pub fn in_touch(&self) -> bool {
        self.contact.is_kept()
    }

    /// Members that have not acknowledged this leader for two election times.
    pub(crate) fn silent_members(&self) -> Vec<NodeId> {
        self.contact.silent_members().into_iter().map(NodeId).collect()
    }

    /// Members that have not acknowledged this leader for `limit`, since it leads.
    pub(crate) fn silent_for(&self, limit: Duration) -> Vec<NodeId> {
        self.contact.silent_for(limit).into_iter().map(NodeId).collect()
    }

    /// What this member knows of its group.
    pub fn report(&self) -> Report {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let proposed = metrics.membership_config.log_id().as_ref();
        let matched = metrics.replication.unwrap_or_default();
        Report {
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            last: metrics.last_log_index,
            applied: metrics.last_applied.as_ref().map(entry_id),
            committed: metrics.cluster_committed.as_ref().map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            checkpoint: metrics.snapshot.map(|id| id.index),
            voters: membership.voter_ids().map(NodeId).collect(),
            joint: 1 < membership.get_joint_config().len(),
            agreed: proposed <= metrics.last_applied.as_ref(),
            learners: membership.learner_ids().map(NodeId).collect(),
            matched: matched
                .into_iter()
                .map(|(node, id)| (NodeId(node), id.map(|id| id.index)))
                .collect(),
            running: metrics.running_state.is_ok(),
        }
    }

    /// Resolves when anything in [`Replica::report`] may have changed.
    pub(crate) async fn changed(&self, seen: &Report) -> Report {
        let mut metrics = self.raft.metrics();
        loop {
            let now = self.report();
            if now != *seen || metrics.changed().await.is_err() {
                return now;
            }
        }
    }

    /// Starts a checkpoint of the machine; the log before it is purged when it is done.
    pub(crate) async fn checkpoint(&self) {
        // A stopped group is seen and reopened by its supervisor.
        self.raft.trigger().snapshot().await.ok();
    }

    /// Forgets the log up to `upto`, as far as the latest checkpoint covers it.
    pub(crate) async fn purge(&self, upto: u64) {
        self.raft.trigger().purge_log(upto).await.ok();
    }

    /// Requests that `to` takes over the lead.
    pub(crate) async fn transfer(&self, to: NodeId) {
        self.raft.trigger().transfer_leader(to.0).await.ok();
    }

    /// Lets a node follow the group without a vote. Leader only; returns when that is committed, which does not
    /// show how far the node has come.
    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<(), ReplicaError> {
        self.raft.add_learner(node.0, EmptyNode {}, false).await.map_err(unknown)?;
        Ok(())
    }

    /// Makes `voters` the group's voters; all of them are members already. Leader only; returns when both
    /// halves of the change are committed.
    pub(crate) async fn change_voters(&self, voters: &[NodeId]) -> Result<(), ReplicaError> {
        let voters = voters.iter().map(|node| node.0).collect();
        let change = ChangeMembers::ReplaceAllVoters(voters);
        self.raft.change_membership(change, false).await.map_err(unknown)?;
        Ok(())
    }

    /// Takes out nodes that have no vote. Leader only.
    pub(crate) async fn remove_learners(&self, nodes: &[NodeId]) -> Result<(), ReplicaError> {
        let nodes = nodes.iter().map(|node| node.0).collect();
        let change = ChangeMembers::RemoveNodes(nodes);
        self.raft.change_membership(change, false).await.map_err(unknown)?;
        Ok(())
    }

    pub(crate) fn call(&self, rpc: Rpc) -> transport::BoxFuture<Result<Bytes, String>> {
        self.inbound.call(rpc)
    }

    pub(crate) async fn receive_snapshot(&self, hello: Bytes, stream: transport::Stream) {
        if let Err(error) = self.inbound.snapshot(hello, stream).await {
            tracing::warn!(group = %self.group, error, "a snapshot was not received");
        }
    }

    /// Stops taking part. When this returns, no task works on the machine any more, nor begins to:
    /// openraft itself does not wait for its worker and for snapshots that are being built.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.raft.shutdown().await.ok();
        while self.at_work.lock().await.recv().await.is_some() {}
    }
}

fn unknown(error: impl std::fmt::Display) -> ReplicaError {
    ReplicaError::Unknown(error.to_string())
}

/// The read index of a leader that a majority has just acknowledged; never from a lease.
pub(super) async fn read_index(raft: &RaftHandle) -> Result<ReadIndexAnswer, ReplicaError> {
    use openraft::errors::LinearizableReadError::{ForwardToLeader, QuorumNotEnough};
    match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((read, _)) => {
            Ok(ReadIndexAnswer { next: read.index() + 1, leader: NodeId(*raft.node_id()) })
        }
        Err(RaftError::APIError(ForwardToLeader(forward))) => {
            Err(ReplicaError::NotLeader { leader: forward.leader_id.map(NodeId) })
        }
        Err(RaftError::APIError(QuorumNotEnough(error))) => {
            Err(ReplicaError::Unknown(error.to_string()))
        }
        Err(error) => Err(ReplicaError::Unknown(error.to_string())),
    }
}

/// Pauses between the tries to reach a member, in openraft's notation: doubling, up to half of the time for which a
/// leader out of touch sends again. With longer ones each try might fall into its silence, for ever.
fn backoff(timers: Timers) -> String {
    let most = (timers.election_max_ms * u64::from(PROBE_ELECTIONS) / 2).clamp(1, 1_000);
    format!("{}ms ..{most}ms", most.min(100))
}

fn config(timers: Timers, checkpoints: Checkpoints) -> io::Result<Config> {
    if checkpoints.lag_entries <= checkpoints.kept_entries {
        let text = "lag_entries must be above kept_entries";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let config = Config {
        cluster_name: "outlive".into(),
        heartbeat_interval: timers.heartbeat_ms,
        heartbeat_min_interval: Some(timers.heartbeat_ms / 2),
        election_timeout_min: timers.election_min_ms,
        election_timeout_max: timers.election_max_ms,
        enable_pre_vote: Some(true),
        // A leader that comes back in its old term may have lost entries that it sent before its own
        // disk had them, and would write others at their places under the same ids.
        enable_leader_restore: Some(false),
        max_payload_entries: 64,
        max_append_entries: Some(256),
        api_channel_size: Some(1024),
        notification_channel_size: Some(8192),
        state_machine_channel_size: Some(256),
        // Snapshots are checkpoints that we trigger; those that fail would end the group.
        snapshot_policy: SnapshotPolicy::Never,
        // The log is purged on our request alone: openraft's own rule may request less than was requested before,
        // which it takes for a bug of its own.
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: checkpoints.lag_entries,
        install_snapshot_timeout: 600_000,
        backoff: backoff(timers),
        ..Config::default()
    };
    #[cfg(not(tokio_unstable))]
    super::runtime::align(Duration::from_millis((timers.heartbeat_ms * 13 / 64).max(1)));
    config.validate().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_speaks_up_tries_each_member_meanwhile() {
        for election_max_ms in [1, 300, 600, 2_000, 30_000] {
            let timers = Timers { election_max_ms, ..Timers::default() };
            let pauses = openraft::Config { backoff: backoff(timers), ..Default::default() };
            let pauses: Vec<_> = pauses.build_backoff().take(20).collect();
            let speaks = Duration::from_millis(election_max_ms) * PROBE_ELECTIONS;
            let longest = pauses.iter().max().copied().unwrap_or_default();
            assert!(longest <= speaks.max(Duration::from_millis(1)), "{pauses:?} in {speaks:?}");
        }
    }
}
