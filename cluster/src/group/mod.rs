//! One group on one node: admits commands, gathers them into entries, reopens what dies.
//!
//! The way of a command: [`Group::admit`] bounds it, [`Group::propose`] queues it, the proposer lets it
//! ride in the next entry, [`Fate`] reports its result. A command is of a [`Flow`]: none takes all of
//! the room, and none goes before all others.

mod fair;
mod proposer;
mod reads;
mod room;
mod upkeep;

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::fair::Flow;
use self::room::{Held, Room};
use crate::essential::essential;
use crate::ids::{EntryId, GroupId, NodeId};
use crate::journal::Journal;
use crate::limits::{
    ENTRY_BYTES, GROUP_QUEUE_BYTES, GROUP_QUEUE_COMMANDS, GROUP_RESERVE_BYTES, JOURNAL_QUEUE_BYTES,
    READS_WAITING,
};
use crate::machine::MachineFactory;
use crate::raft::{Broken, Checkpoints, Replica, Report, Rpc, Timers, with_random};
use crate::settled::Settled;
use crate::time::{GroupTime, NodeTime};
use crate::transport::{self, Transport};

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is on disk at a majority and was handed to the machine here, in this entry.
    Committed(EntryId),
    /// It never took effect and never will; the leader is elsewhere, perhaps there.
    Refused {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// It may or may not take effect.
    Unknown(String),
}

/// Which queue a command takes: control has a reserve of its own and goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What steers: interrupts, answers, leases. It has a reserve that data cannot take.
    Control,
    /// What is written: events, inputs.
    Data,
}

/// Room for one command; held until its fate is known.
#[derive(Debug)]
pub struct Permit {
    class: Class,
    flow: Flow,
    _room: Held,
}

/// Why no room was given. The command was not taken and never takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// No entry could carry it.
    #[error("the command has {bytes} bytes; {limit} is the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What one command may have.
        limit: usize,
    },
    /// In the group, or of the flow.
    #[error("too much waits in this group")]
    Full,
    /// The journal waits for space; data is refused until it has some.
    #[error("the disk of this node is full")]
    DiskFull,
}

pub(crate) type Reply = Box<dyn FnOnce(Fate) + Send>;

pub(crate) struct Proposal {
    command: Bytes,
    permit: Permit,
    reply: Reply,
}

/// Everything a group is opened with.
pub(crate) struct GroupOpening {
    pub(crate) id: GroupId,
    pub(crate) local: NodeId,
    pub(crate) journal: Journal,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) factory: Arc<dyn MachineFactory>,
    pub(crate) timers: Timers,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) staging: PathBuf,
}

/// A member of a group, for as long as the node runs.
pub struct Group {
    opening: GroupOpening,
    time: Arc<GroupTime>,
    current: RwLock<Option<Current>>,
    data: mpsc::Sender<Proposal>,
    control: mpsc::Sender<Proposal>,
    reads: mpsc::Sender<oneshot::Sender<Result<u64, ReadError>>>,
    data_room: Arc<Room>,
    control_room: Arc<Room>,
    report: watch::Sender<Report>,
    broken: Broken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone)]
struct Current {
    replica: Arc<Replica>,
    settled: Settled,
    /// Cancelled when this replica is given up: its `settled` moves no more.
    ended: CancellationToken,
}

/// One step of a change of a group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberStep {
    /// The node follows the group from now on, and has no vote yet.
    AddLearner(NodeId),
    /// These are the voters, and whoever was one is no member any more.
    Vote(Vec<NodeId>),
    /// These, which have no vote, are no members any more.
    Forget(Vec<NodeId>),
}

/// Why a read found no index to wait for. Nothing was read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed within its time that it still leads.
    #[error("the group has no leader that answers: {0}")]
    NoLeader(String),
    /// This node does not carry the group, or no longer.
    #[error("the group is not open on this node")]
    Closed,
}

/// What a command of `bytes` costs. Small ones cost memory, too: their envelope counts.
fn cost(bytes: usize) -> usize {
    bytes + 256
}

impl Group {
    /// Opens the group and keeps it open until [`Group::close`].
    pub(crate) fn open(opening: GroupOpening) -> Arc<Self> {
        let (data, data_queue) = mpsc::channel(GROUP_QUEUE_COMMANDS);
        let (control, control_queue) = mpsc::channel(GROUP_QUEUE_COMMANDS);
        let (reads, reads_queue) = mpsc::channel(READS_WAITING);
        let id = opening.id;
        let group = Arc::new(Group {
            time: GroupTime::new(opening.time.clone()),
            opening,
            current: RwLock::new(None),
            data,
            control,
            reads,
            data_room: Room::new(GROUP_QUEUE_BYTES),
            control_room: Room::new(GROUP_RESERVE_BYTES),
            report: watch::Sender::new(Report::default()),
            broken: Broken::new(id),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let reads = essential("reads", reads::run(group.clone(), reads_queue));
        group.tasks.spawn(group.stop.clone().run_until_cancelled_owned(reads));
        // These two see the stop themselves: one answers the callers that wait, the other closes what it opened.
        let proposer = proposer::run(group.clone(), control_queue, data_queue);
        group.tasks.spawn(essential("proposer", proposer));
        let upkeep = with_random(upkeep::keep_open(group.clone()));
        group.tasks.spawn(essential("upkeep", upkeep));
        group
    }

    /// Which group it is.
    pub fn id(&self) -> GroupId {
        self.opening.id
    }

    /// Why this node takes no part in the group any more, if that is so: what it holds for committed and
    /// what a leader sent cannot both be true. Nothing but another disk mends it.
    pub fn broken(&self) -> Option<String> {
        self.broken.reason()
    }

    /// Takes room for a command of `bytes`, without waiting. A flow may hold a share of the room, which sinks while
    /// others hold some.
    ///
    /// # Errors
    /// The command is too large, or there is no room for the flow now; nothing is held.
    pub fn admit(&self, class: Class, flow: Flow, bytes: usize) -> Result<Permit, AdmitError> {
        if ENTRY_BYTES < bytes {
            return Err(AdmitError::TooLarge { bytes, limit: ENTRY_BYTES });
        }
        if class == Class::Data && self.opening.journal.full() {
            return Err(AdmitError::DiskFull);
        }
        if class == Class::Data && JOURNAL_QUEUE_BYTES <= self.opening.journal.queued_bytes() {
            return Err(AdmitError::Full);
        }
        let room = match class {
            Class::Control => &self.control_room,
            Class::Data => &self.data_room,
        };
        let room = room.take(flow, cost(bytes).min(GROUP_RESERVE_BYTES));
        Ok(Permit { class, flow, _room: room.ok_or(AdmitError::Full)? })
    }

    /// Queues a command; `reply` gets its fate exactly once.
    pub fn propose(&self, permit: Permit, command: Bytes, reply: Reply) {
        let queue = match permit.class {
            Class::Control => &self.control,
            Class::Data => &self.data,
        };
        if let Err(error) = queue.try_send(Proposal { command, permit, reply }) {
            let (mpsc::error::TrySendError::Full(proposal)
            | mpsc::error::TrySendError::Closed(proposal)) = error;
            (proposal.reply)(Fate::Refused { leader: None });
        }
    }

    /// Waits until everything acknowledged before this call can be read here (ReadIndex).
    ///
    /// # Errors
    /// No leader with a majority answered; nothing may be concluded from local state.
    pub async fn linearize(&self) -> Result<(), ReadError> {
        let next = self.read_index().await?;
        self.reaches(next).await
    }

    /// Waits until everything before `next` can be read here.
    ///
    /// # Errors
    /// The group was closed meanwhile.
    pub async fn reaches(&self, next: u64) -> Result<(), ReadError> {
        let Some(last) = next.checked_sub(1) else { return Ok(()) };
        self.applied(last).await
    }

    /// Waits until everything up to `index` can be read here.
    pub(crate) async fn applied(&self, index: u64) -> Result<(), ReadError> {
        let Current { settled, ended, .. } = self.current().ok_or(ReadError::Closed)?;
        ended.run_until_cancelled(settled.reached(index)).await.ok_or(ReadError::Closed)
    }

    /// Index + 1 of an entry that covers everything acknowledged before this call.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        let (sender, receiver) = oneshot::channel();
        self.reads.try_send(sender).map_err(|_| ReadError::NoLeader("too many reads".into()))?;
        receiver.await.map_err(|_| ReadError::Closed)?
    }

    /// The time that an entry of this group would get now, in ms since the Unix epoch; never runs backwards.
    pub fn now_ms(&self) -> u64 {
        self.time.now_ms()
    }

    /// What this node knows of the group.
    pub fn report(&self) -> Report {
        self.current().map(|current| current.replica.report()).unwrap_or_default()
    }

    /// Follows [`Group::report`].
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Index + 1 up to which commands can be read here.
    pub fn settled_next(&self) -> u64 {
        self.current().map_or(0, |current| current.settled.next())
    }

    /// Members from which this leader has received nothing for two election times.
    pub fn silent_members(&self) -> Vec<NodeId> {
        self.current().map(|current| current.replica.silent_members()).unwrap_or_default()
    }

    /// Members that have not acknowledged this leader for so many heartbeats, since it leads.
    pub fn silent_for(&self, heartbeats: u32) -> Vec<NodeId> {
        let limit = Duration::from_millis(self.opening.timers.heartbeat_ms) * heartbeats;
        self.current().map(|current| current.replica.silent_for(limit)).unwrap_or_default()
    }

    /// The leader as far as this node knows; it may be out of reach, or gone.
    pub fn leader(&self) -> Option<NodeId> {
        self.current().and_then(|current| current.replica.leader())
    }

    /// Whether this node leads the group and a majority acknowledged it within two election times.
    pub fn leads(&self) -> bool {
        self.current().is_some_and(|current| current.replica.leads())
    }

    /// Whether a majority acknowledged this leader, or this follower received from its leader, within two election
    /// times. Whoever is out of touch may be wrong about all of the group's present.
    pub fn in_touch(&self) -> bool {
        self.current().is_some_and(|current| current.replica.in_touch())
    }

    /// Makes the machine durable and lets the journal forget what is behind.
    pub async fn checkpoint(&self) {
        if let Some(current) = self.current() {
            current.replica.checkpoint().await;
        }
    }

    /// Waits until all that is applied now is durable in the machine, or the group stops.
    pub async fn catch_up(&self) {
        let applied = self.report().applied.map(|id| id.index);
        if self.report().checkpoint < applied {
            self.checkpoint().await;
            let done = |report: &Report| applied <= report.checkpoint || !report.running;
            // It ends with the group.
            self.reports().wait_for(done).await.ok();
        }
    }

    /// Makes the machine durable, and lets the journal forget all that it then needs no more; a member that lacks
    /// some of it gets a snapshot. Returns when the machine is durable and the purge is requested.
    pub async fn cut(&self) {
        self.catch_up().await;
        if let (Some(current), Some(upto)) = (self.current(), self.report().checkpoint) {
            current.replica.purge(upto).await;
        }
    }

    /// Requests that `to` takes the lead.
    pub async fn transfer(&self, to: NodeId) {
        if let Some(current) = self.current() {
            current.replica.transfer(to).await;
        }
    }

    /// Founds the group on these nodes where it does not exist yet.
    pub(crate) async fn found(&self, voters: &[NodeId]) -> std::io::Result<()> {
        match self.current() {
            Some(current) => current.replica.found(voters).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn is_founded(&self) -> bool {
        match self.current() {
            Some(current) => current.replica.is_founded().await,
            None => false,
        }
    }

    /// Whether this node leads the group and the members, as agreed, are without `node`.
    pub(crate) fn has_dropped(&self, node: NodeId) -> bool {
        let report = self.report();
        let counted = report.voters.contains(&node) || report.learners.contains(&node);
        self.leads() && report.agreed && !report.joint && !counted
    }

    /// Takes one step of a change of the group's members. Leader only.
    pub(crate) async fn change_members(&self, step: &MemberStep) -> Result<(), String> {
        let replica = self.current().ok_or("the group is not open")?.replica;
        let done = match step {
            MemberStep::AddLearner(node) => replica.add_learner(*node).await,
            MemberStep::Vote(voters) => replica.change_voters(voters).await,
            MemberStep::Forget(learners) => replica.remove_learners(learners).await,
        };
        done.map_err(|error| error.to_string())
    }

    pub(crate) fn call(&self, rpc: Rpc) -> transport::BoxFuture<Result<Bytes, String>> {
        match self.current() {
            Some(current) => current.replica.call(rpc),
            None => Box::pin(async { Err("the group is not open yet".into()) }),
        }
    }

    pub(crate) async fn receive_snapshot(&self, hello: Bytes, stream: transport::Stream) {
        if let Some(current) = self.current() {
            current.replica.receive_snapshot(hello, stream).await;
        }
    }

    /// Stops taking part; nothing of the group runs when this returns.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn current(&self) -> Option<Current> {
        self.current.read().expect("no panic under this lock").clone()
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.opening.timers.election_max_ms)
    }
}
