//! Actors: each owns one session, feeds it committed commands and serves its readers.
//!
//! [`Runtime`] is what the edge sees: ask anything of any session at any node, and it is carried to where
//! the session lives. The way of a command: `directory` (here or elsewhere) → `session` (the actor) →
//! `cluster::group` → … → `shard` → `session` again → `tail` → `reader`.

pub mod agent;
mod aside;
mod blocking;
pub mod chance;
pub mod changes;
pub mod claim;
mod compare;
#[cfg(test)]
mod cut_tests;
mod directory;
mod effect;
mod envelope;
pub mod fork;
mod fork_reader;
pub mod members;
pub mod outcome;
mod peer;
pub mod presence;
pub mod reader;
mod ready;
#[cfg(test)]
mod rebuild_tests;
mod relay;
mod relays;
pub mod report;
mod served;
mod session;
mod shard;
mod shards;
pub mod space;
mod status;
mod story;
mod supervisor;
pub mod tail;
mod trust;
mod turn_queue;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster::essential::essential;
use cluster::host::Host;
use cluster::ids::NodeId;
use cluster::time::TimeReport;
use ractor::Actor;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub(crate) use aside::aside;
pub use members::{MembersError, Progress, ShardProgress, Stage};
pub use outcome::{Reply, SubmitError, Unavailable};
pub use peer::members::MemberChange;
pub use reader::{AttachError, Delivery, Reader, Start};
pub use report::{
    ClusterReport, Home, MemberReport, NotReady, ReplicaReport, ShardReport, Summary,
};
pub use tail::{Rendered, Shown};

use crate::ids::{Cursor, Millis, Serial, SessionId};
use crate::limits::{CLAIMERS, PEER_PATIENCE, REBUILD_BYTES, STOP_CHECKPOINT};
use crate::session::{Command, Fork};
use crate::store::Store;
use directory::Directory;
use effect::World;
use peer::Door;
use reader::Attach;
use shard::Common;
use shards::{Factory, Shards};
use supervisor::Supervisor;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freshness {
    /// Everything acknowledged anywhere before the read began is seen (ReadIndex).
    #[default]
    Linearizable,
    /// Whatever this node has; a committed prefix.
    Local,
}

/// The runtime before its node runs: what the cluster crate is started with.
pub struct Foundation {
    shards: Arc<Shards>,
    door: Arc<Door>,
    world: Arc<World>,
    store: Store,
    supervisor: ractor::ActorCell,
}

impl Foundation {
    /// Prepares the sessions of a node on its store.
    pub async fn lay(store: Store, journal: cluster::journal::Journal) -> Foundation {
        let world = Arc::new(World::default());
        let common = Common {
            store: store.clone(),
            origin: chance::draw::<u64>().max(1),
            numbers: Arc::new(AtomicU64::new(1)),
            world: world.clone(),
            work: tokio::runtime::Handle::current(),
            purged: {
                let journal = journal.clone();
                let next = |id: cluster::ids::EntryId| id.index + 1;
                Arc::new(move |group| journal.state(group).purged.map_or(0, next))
            },
            last: {
                let journal = journal.clone();
                Arc::new(move |group| journal.state(group).last.map_or(0, |last| last.index + 1))
            },
            replay: Arc::new(move |group, range| {
                cluster::replay::committed(&journal, group, range, REBUILD_BYTES)
            }),
        };
        let shards = Shards::new(common);
        let spawned = Actor::spawn(None, Supervisor, shards.clone()).await;
        let (supervisor, _join) = spawned.expect("an actor without a name always starts");
        shards.supervise(supervisor.get_cell());
        let supervisor = supervisor.get_cell();
        Foundation { shards, door: Arc::default(), world, store, supervisor }
    }

    /// Moves in around the host, and has it run.
    pub fn build(self, cluster_name: &str, host: Arc<Host>) -> Arc<Runtime> {
        let Foundation { shards, door, world, store, supervisor } = self;
        let full = Arc::new(AtomicBool::new(false));
        let directory = Directory::new(host.clone(), shards.clone(), full.clone());
        let tasks = TaskTracker::new();
        let runtime = Arc::new_cyclic(|me| Runtime {
            me: me.clone(),
            relays: relays::Relays::default(),
            turn_queue: turn_queue::TurnQueue::default(),
            served: Arc::default(),
            claimers: tokio::sync::Semaphore::new(CLAIMERS),
            cluster_name: cluster_name.to_string(),
            host: host.clone(),
            shards: shards.clone(),
            store,
            directory,
            readers: Arc::new(AtomicU64::new(0)),
            draining: AtomicBool::new(false),
            full,
            world: world.clone(),
            presence: presence::Presence::new(Millis(host.time().now_or_own_ms())),
            comparison: compare::Comparison::default(),
            tasks,
            stop: tokio_util::sync::CancellationToken::new(),
            supervisor,
        });
        door.open(Arc::downgrade(&runtime));
        world.open(Arc::downgrade(&runtime));
        host.run(Arc::new(Factory(shards.clone())), door);
        let stop = runtime.stop.clone().cancelled_owned();
        let sweep = essential("sweep", shards.sweep(host));
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = sweep => () }
        });
        let stop = runtime.stop.clone().cancelled_owned();
        let tidy = essential("turn_queue", claim::tidy(runtime.me.clone()));
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = tidy => () }
        });
        let stop = runtime.stop.clone().cancelled_owned();
        let compared = compare::run(runtime.me.clone());
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = compared => () }
        });
        let stop = runtime.stop.clone().cancelled_owned();
        let told = presence::gossip::run(runtime.me.clone(), runtime.presence.clone());
        let told = essential("presence", told);
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = told => () }
        });
        runtime
    }
}

/// The sessions of the cluster, as seen from this node.
pub struct Runtime {
    me: std::sync::Weak<Runtime>,
    relays: relays::Relays,
    turn_queue: turn_queue::TurnQueue,
    served: Arc<served::Served>,
    /// Places for workers for whom other nodes are asked.
    claimers: tokio::sync::Semaphore,
    cluster_name: String,
    host: Arc<Host>,
    shards: Arc<Shards>,
    store: Store,
    directory: Directory,
    readers: Arc<AtomicU64>,
    draining: AtomicBool,
    /// Whether the disk is nearly full.
    full: Arc<AtomicBool>,
    world: Arc<World>,
    presence: Arc<presence::Presence>,
    comparison: compare::Comparison,
    tasks: TaskTracker,
    stop: tokio_util::sync::CancellationToken,
    supervisor: ractor::ActorCell,
}

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
        id: &SessionId,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, SubmitError> {
        self.directory.submit(id, &command, deadline).await
    }

    /// Attaches a reader. Where it starts is linearizable: everything acknowledged before this call will
    /// be delivered if it lies after the cursor.
    ///
    /// # Errors
    /// The session does not exist, or nobody with a majority answers; no reader exists then.
    pub async fn attach(
        &self,
        id: &SessionId,
        start: Start,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        self.attach_as(id, &Attach { start, freshness, parent_of_fork: None }, deadline).await
    }

    /// Attaches a reader wherever the session has a replica.
    async fn attach_as(
        &self,
        id: &SessionId,
        attach: &Attach,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let here = self.directory.local(id).is_some();
        if self.directory.serves(id, attach.freshness) {
            return self.attach_here(id, attach, deadline).await;
        }
        match self.attach_elsewhere(id, attach).await {
            // Its own replica may be in touch again by now.
            Err(AttachError::Unavailable(_)) if here => {
                self.attach_here(id, attach, deadline).await
            }
            attached => attached,
        }
    }

    /// Attaches a reader at another node's replica.
    async fn attach_elsewhere(
        &self,
        id: &SessionId,
        attach: &Attach,
    ) -> Result<Reader, AttachError> {
        let none = || Unavailable::NoQuorum("no replica is in reach".into());
        let group = self.directory.group_of(id).ok_or_else(none)?;
        let mut last = AttachError::from(none());
        for node in self.directory.replicas(group) {
            // A link to a dead node is noticed late; the next replica is asked in time.
            let attached = relay::Relayed::attach(self, node, id, attach);
            let silent = || Unavailable::NoQuorum(format!("node {node} does not answer"));
            let attached = timeout(PEER_PATIENCE, attached).await;
            match attached.unwrap_or_else(|_| Err(silent().into())) {
                Ok(own) => {
                    let counted = self.count_reader()?;
                    if attach.parent_of_fork.is_some() {
                        return Ok(Reader::parent_of_fork(own, counted));
                    }
                    let ending = || Unavailable::NoQuorum("this node is ending".into());
                    let runtime = self.me.upgrade().ok_or_else(ending)?;
                    let joined = relays::Joined::new(&runtime, node, id, own);
                    return Ok(Reader::relayed(joined, counted));
                }
                Err(AttachError::Unavailable(error)) => last = error.into(),
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Attaches a reader at this node's own replica; to the source too, if the session is a fork.
    async fn attach_here(
        &self,
        id: &SessionId,
        attach: &Attach,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let counted = self.count_reader()?;
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let (group, shard) = self.directory.local(id).ok_or_else(none)?;
        if attach.freshness == Freshness::Linearizable {
            self.directory.linearize(&group, deadline).await?;
        }
        let looked = self.directory.look(&shard, id).await?.ok_or(AttachError::NotFound)?;
        let (store, number) = (self.store.clone(), shard.number());
        let inherits = looked.inherits.clone();
        let own = Reader::attach(number, id.clone(), store.clone(), looked, attach, counted)?;
        match inherits {
            Some(fork) => self.read_fork(own, &fork, attach, deadline).await,
            None => Ok(own),
        }
    }

    /// Puts what a fork inherits in front of its reader, if the reader needs it.
    async fn read_fork(
        &self,
        own: Reader,
        fork: &Fork,
        attach: &Attach,
        deadline: Instant,
    ) -> Result<Reader, AttachError> {
        let cursor = own.cursor();
        let resets = cursor.incarnation != own.status().incarnation;
        if !resets && fork.at <= cursor.serial {
            return Ok(own);
        }
        let start = match attach.start {
            Start::Beginning => Start::Beginning,
            _ if resets => {
                Start::After(Cursor { incarnation: fork.incarnation, serial: Serial::ZERO })
            }
            _ => Start::After(Cursor { incarnation: fork.incarnation, serial: cursor.serial }),
        };
        let freshness = attach.freshness;
        let source = Attach { start, freshness, parent_of_fork: Some(fork.incarnation) };
        let inherited = Box::pin(self.attach_as(&fork.source, &source, deadline)).await?;
        if resets && fork.at <= inherited.cursor().serial {
            return Ok(own);
        }
        let own = own.skipped_to(fork.at);
        if fork.at <= inherited.cursor().serial {
            // Retention took all of it.
            return Ok(own);
        }
        let counted = self.count_reader()?;
        let before = resets.then_some(cursor);
        Ok(Reader::fork_reader(
            fork_reader::ForkReader::new(inherited, fork.at, own, before),
            counted,
        ))
    }

    /// This node's number.
    pub fn node(&self) -> u64 {
        self.host.local().0
    }

    /// The nodes of the cluster, as far as this one knows.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.host.members()
    }

    /// The time on this node. What is due in a session is decided by the time of its entries: see
    /// [`Runtime::time_of`].
    pub fn now(&self) -> Millis {
        Millis(self.host.time().now_or_own_ms())
    }

    /// The time in the session's next entry, where this node has a replica, and the node's time elsewhere.
    pub fn time_of(&self, id: &SessionId) -> Millis {
        let group = self.directory.group_of(id).and_then(|group| self.host.group(group));
        group.map_or_else(|| self.now(), |group| Millis(group.now_ms()))
    }

    /// How this node's clock stands to those of the others.
    pub fn clock(&self) -> TimeReport {
        self.host.time().report()
    }

    /// Lets the actors of sessions leave that nobody used for `idle`; they cost disk then, not memory.
    pub fn passivate(&self, idle: Duration) {
        self.shards.passivate(idle);
    }

    /// Session actors that are live on this node.
    pub fn live_sessions(&self) -> usize {
        self.shards.live_sessions()
    }

    /// Hands the leads over and takes no new readers; requests are still served.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.host.drain().await;
    }

    /// Brings the store up to date, so that the next start has little to apply again.
    async fn checkpoint(&self) {
        if self.store.fault().reason().is_some() {
            return;
        }
        let checkpoints = self.host.groups().into_iter().map(|group| async move {
            let applied = group.report().applied.map(|id| id.index);
            if group.report().checkpoint < applied {
                group.checkpoint().await;
                let mut reports = group.reports();
                let done = |report: &cluster::raft::Report| {
                    applied <= report.checkpoint || !report.running
                };
                // It ends with the group.
                reports.wait_for(done).await.ok();
            }
        });
        let all = futures::future::join_all(checkpoints);
        if timeout(STOP_CHECKPOINT, all).await.is_err() {
            tracing::warn!("the store is not up to date; the next start applies the journal again");
        }
    }

    /// Stops everything of this node; what it acknowledged is on disk.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.checkpoint().await;
        self.host.close().await;
        self.supervisor.stop(None);
        let store = self.store.clone();
        let persisted = blocking::off_thread(move || store.persist()).await;
        if !matches!(persisted, Ok(Ok(()))) {
            tracing::warn!("the store was not synced; the journal has it all");
        }
    }

    /// Refuses appends while a disk that holds one of `dirs` has little space left.
    pub fn watch_space(self: &Arc<Self>, dirs: Vec<std::path::PathBuf>) {
        let full = self.full.clone();
        let stop = self.stop.clone().cancelled_owned();
        let watch = essential("space", space::watch(dirs, full));
        self.tasks.spawn(async {
            tokio::select! { () = stop => (), () = watch => () }
        });
    }

    /// Makes the session's actor on this node fail, if it has a replica.
    #[cfg(any(test, tokio_unstable))]
    pub fn fail_actor(&self, id: &SessionId) {
        if let Some((_, shard)) = self.directory.local(id) {
            shard.actors().send(id, session::Mail::Fail);
        }
    }

    /// Has the store fail, as its disk would.
    #[cfg(test)]
    pub(crate) fn fail_store(&self, why: &str) {
        self.store.fault().report("a test", &why);
    }

    /// Commits what no version of this program can read.
    #[cfg(test)]
    pub(crate) fn propose_unreadable(&self, id: &SessionId) {
        let (group, _) = self.directory.local(id).expect("its replica is here");
        let permit = group.admit(cluster::group::Class::Control, 100).expect("there is room");
        let ticket = envelope::Ticket { origin: 0, number: 0 };
        group.propose(permit, envelope::encode(ticket, id, &[200, 1, 2, 3]), Box::new(|_| ()));
    }

    /// Has this node's replica alone apply a command to the session, as a fault of its disk would.
    #[cfg(test)]
    pub(crate) async fn corrupt(&self, id: &SessionId, command: &Command) {
        let (_, shard) = self.directory.local(id).expect("its replica is here");
        let looked = self.directory.look(&shard, id).await.expect("it answers").expect("it lives");
        let envelope = envelope::Envelope {
            ticket: envelope::Ticket { origin: 0, number: 0 },
            command: envelope::plain(command),
        };
        let settled = cluster::settled::Settled::starting_at(0);
        let mail = session::Mail::Committed {
            index: looked.next,
            time: self.now(),
            commands: vec![envelope],
            hold: settled.begin(0),
        };
        shard.actors().send(id, mail);
        settled.reached(0).await;
    }

    fn count_reader(&self) -> Result<reader::Counted, AttachError> {
        reader::Counted::new(&self.readers).ok_or(AttachError::TooManyReaders)
    }
}
