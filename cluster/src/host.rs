//! A node: its journal, its links, its groups, and the latest map that it has received.

mod acknowledged;
mod clocks;
mod far;
mod follow;
mod reconciler;
mod rejoin;
mod service;
mod steady;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::acknowledged::Acknowledged;
use self::rejoin::{Introduced, Rejoin};
use self::service::Switchboard;
use crate::clock::Clock;
use crate::essential::essential;
use crate::group::{Class, Fate, Flow, Group, GroupOpening};
use crate::ids::{EntryId, GroupId, MapVersion, NodeId};
use crate::journal::Journal;
use crate::limits::DRAIN_INTERVAL;
use crate::machine::{Machine, MachineFactory};
use crate::membership::{self, Change, Judgement, Map, Member, Membership, Refusal};
use crate::raft::{Checkpoints, Rpc, RpcKind, Timers, with_random};
use crate::relay;
use crate::removed::Removed;
use crate::seal::Sealer;
use crate::settled::Settled;
use crate::time::NodeTime;
use crate::transport::{self, CallError, Lane, Service, Stream, Transport};

/// What the layer above does with messages from its own kind on other nodes.
pub trait Application: Send + Sync + 'static {
    /// Answers one message. Invoked in the order in which the peer sent.
    fn call(&self, from: NodeId, message: Bytes) -> transport::BoxFuture<Result<Bytes, String>>;

    /// Serves a stream that a peer's application opened.
    fn stream(&self, from: NodeId, hello: Bytes, stream: Stream) -> transport::BoxFuture<()>;
}

/// How the cluster is bootstrapped, or where an existing one is met.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Every node that the operator names, this one included.
    pub members: Vec<Member>,
    /// Groups that carry slots; fixed for ever.
    pub groups: u32,
    /// Members of each group, fewer while there are fewer nodes; fixed for ever.
    pub replication: u32,
    /// True for a node that is added to a cluster which lives already: it founds nothing.
    pub join: bool,
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It never happened, and the same request never will.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It never happened; the system group is led elsewhere, perhaps there.
    #[error("the system group is led by another node")]
    NotLeader(Option<NodeId>),
    /// It never happened; try again.
    #[error("{0}")]
    Busy(String),
    /// It may yet happen; repeating it is harmless.
    #[error("it may yet happen: {0}")]
    Unknown(String),
}

/// Everything a node runs on.
pub struct HostParts {
    /// This node.
    pub local: NodeId,
    /// The node's data directory.
    pub dir: PathBuf,
    /// The random id of this node's disk, by which peers distinguish it from another; see [`crate::home::Home`].
    pub store: u128,
    /// What all groups of the node are written to.
    pub journal: Journal,
    /// How the cluster begins.
    pub bootstrap: Bootstrap,
    /// Elections and heartbeats, of every group.
    pub timers: Timers,
    /// When the machines are made durable and the journal is cut.
    pub checkpoints: Checkpoints,
    /// What the leaders of this node stamp entries by.
    pub clock: Arc<dyn Clock>,
    /// Nodes that are kept out, shared with the gate of the links.
    pub removed: Arc<Removed>,
    /// Runtime that the groups live on, with their links; the caller's own where absent. Nothing on it
    /// ever blocks, since heartbeats wait for it.
    pub control: Option<Handle>,
    /// What this node seals its own announcements with; see [`crate::home::Home::secret`].
    pub secret: u128,
}

/// A node: linked to its peers once it is connected, with groups once it runs.
pub struct Host {
    parts: HostParts,
    staging: PathBuf,
    transport: Arc<dyn Transport>,
    switchboard: Arc<Switchboard>,
    time: Arc<NodeTime>,
    groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    /// Set by [`Host::drain`]: this node takes no leads any more.
    draining: AtomicBool,
    map: watch::Sender<Arc<Map>>,
    /// What peers acknowledged to this node, and which of them let it in.
    acknowledged: Acknowledged,
    rejoin: Arc<Rejoin>,
    boot: u64,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Host {
    /// Links the node to its peers; it has no groups, and answers no requests, before [`Host::run`]. What runs above
    /// it is built in between, around this host. `connect` makes the transport around the service that it is given.
    ///
    /// # Errors
    /// The directory or the transport is not usable; nothing runs.
    pub async fn connect<F, C>(parts: HostParts, connect: C) -> io::Result<Arc<Self>>
    where
        C: FnOnce(Arc<dyn Service>) -> F,
        F: Future<Output = io::Result<Arc<dyn Transport>>>,
    {
        let staging = parts.dir.join("staging");
        prepare(&staging)?;
        let switchboard = Arc::new(Switchboard::default());
        let transport = connect(switchboard.clone()).await?;
        for member in &parts.bootstrap.members {
            if member.node != parts.local {
                transport.set_peer(member.node, member.peer.clone());
            }
        }
        let acknowledged = Acknowledged::open(parts.dir.clone());
        let sealer = Sealer::new(parts.secret);
        // By the time, so that they grow; and what is random keeps two of the same moment apart.
        let boot = parts.clock.now_ms() << 20 | u64::from(rand::random::<u32>() >> 12);
        Ok(Arc::new(Host {
            time: NodeTime::new(parts.clock.clone()),
            parts,
            staging,
            transport,
            switchboard,
            groups: RwLock::default(),
            draining: AtomicBool::new(false),
            map: watch::Sender::new(Arc::default()),
            acknowledged,
            rejoin: Arc::new(Rejoin::new(sealer)),
            boot,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Opens the groups, with machines of `factory`, and lets `application` answer its peers. Once, until
    /// [`Host::close`], which lets go of both.
    pub fn run(
        self: &Arc<Self>,
        factory: Arc<dyn MachineFactory>,
        application: Arc<dyn Application>,
    ) {
        self.switchboard.connect(self, application);
        let stop = self.stop.clone().cancelled_owned();
        // Nothing is added to the journal yet: all of this is durable.
        let recovered = rejoin::positions(self.journal()).unwrap_or_default();
        let reconciling = essential("reconciler", reconciler::run(self.clone(), factory));
        let control = self.parts.control.clone().unwrap_or_else(Handle::current);
        let reconciling = with_random(async {
            tokio::select! { () = stop => (), () = reconciling => () }
        });
        // What it opens lives where it does.
        self.tasks.spawn_on(reconciling, &control);
        let clocks = essential("clocks", clocks::run(self.clone()));
        let clocks = self.stop.clone().run_until_cancelled_owned(clocks);
        self.tasks.spawn_on(clocks, &control);
        let stop = self.stop.clone().cancelled_owned();
        let announced = essential("announcements", rejoin::run(self.clone(), recovered));
        let announced = async {
            tokio::select! { () = stop => (), () = announced => () }
        };
        self.tasks.spawn_on(announced, &control);
    }

    /// This node.
    pub fn local(&self) -> NodeId {
        self.parts.local
    }

    /// Becomes the reason when a peer shows this node that it has less than it acknowledged, or when those
    /// that only report so leave it no majority: it takes no part any more, and must end.
    pub fn refused(&self) -> watch::Receiver<Option<String>> {
        self.rejoin.refused()
    }

    /// Peers that report, without a proof, that this node has less than it acknowledged: it takes no part with them.
    pub fn accusers(&self) -> Vec<NodeId> {
        self.rejoin.accusers()
    }

    /// The last entry of a group that a node has reported to this one as committed, with all before it.
    pub fn acknowledged(&self, by: NodeId, group: GroupId) -> Option<EntryId> {
        self.acknowledged.committed(by, group)
    }

    /// The number of this start of the node. A later one has a greater number, unless the clock was set back.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The starts of all nodes, as far as they have reported them to this one: its own, and those that it has let in.
    pub fn boots(&self) -> Vec<(NodeId, u64)> {
        let mut boots = self.acknowledged.boots();
        boots.push((self.local(), self.boot));
        boots
    }

    /// Follows the agreed map.
    pub fn map(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    /// The group's member on this node, if it has one.
    pub fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        self.groups.read().expect("no panic under this lock").get(&id).cloned()
    }

    /// Every group that has a member on this node.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.read().expect("no panic under this lock").values().cloned().collect()
    }

    /// The journal of this node.
    pub fn journal(&self) -> &Journal {
        &self.parts.journal
    }

    /// The members of the map, or those that the operator named before there is one.
    pub fn members(&self) -> BTreeSet<NodeId> {
        let map = self.map.borrow();
        if map.version == MapVersion::NONE {
            return self.parts.bootstrap.members.iter().map(|member| member.node).collect();
        }
        map.members.keys().copied().collect()
    }

    /// The time on this node, and how its clock stands to the others'.
    pub fn time(&self) -> &NodeTime {
        &self.time
    }

    /// Peers with a live link.
    pub fn connected(&self) -> Vec<NodeId> {
        self.transport.connected()
    }

    /// The measured round trip to each peer with a live link.
    pub fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        self.transport.round_trips()
    }

    /// Peers that are too far for this node's timers: a heartbeat must be answered before the next is due.
    /// Beyond that leaders lose their leads and reads that must not be stale are refused.
    pub fn too_far(&self) -> Vec<(NodeId, Duration)> {
        let bound = Duration::from_millis(self.parts.timers.heartbeat_ms);
        self.round_trips().into_iter().filter(|(_, round_trip)| bound < *round_trip).collect()
    }

    /// Sends a message to the application of another node, by a third where the link to it is cut.
    pub fn call(
        &self,
        to: NodeId,
        message: Bytes,
        deadline: Duration,
    ) -> transport::BoxFuture<Result<Bytes, CallError>> {
        let rpc = Rpc::new(RpcKind::Application, GroupId::SYSTEM, message);
        relay::call(self.transport.clone(), to, Lane::Forward, rpc, deadline)
    }

    /// Opens a stream to the application of another node.
    pub fn open(
        &self,
        to: NodeId,
        hello: Bytes,
    ) -> transport::BoxFuture<Result<Stream, CallError>> {
        let rpc = Rpc::new(RpcKind::Application, GroupId::SYSTEM, hello).encode();
        self.transport.open(to, 0, rpc)
    }

    /// How this node would be listed, if it was given its own addresses.
    pub fn own_member(&self) -> Option<Member> {
        let mut members = self.parts.bootstrap.members.iter();
        members.find(|member| member.node == self.local()).cloned()
    }

    /// Agrees on a change of the members; the groups follow by themselves. Only where the system group is led.
    /// Repeating a change that is done has no effect.
    ///
    /// # Errors
    /// See [`ChangeError`]; each states whether it may yet happen.
    pub async fn change_members(&self, change: Change) -> Result<Judgement, ChangeError> {
        if self.map.borrow().judge(&change)? == Judgement::Done {
            return Ok(Judgement::Done);
        }
        let group = self.group(GroupId::SYSTEM);
        let group = group.ok_or(ChangeError::NotLeader(None))?;
        match self.agree(&group, &change).await? {
            Fate::Committed(id) => {
                group
                    .applied(id.index)
                    .await
                    .map_err(|why| ChangeError::Unknown(why.to_string()))?;
                // Another change may have come first; then this one had no effect.
                match self.map.borrow().judge(&change)? {
                    Judgement::Done => Ok(Judgement::Needed),
                    Judgement::Needed => Err(Refusal::ChangedMeanwhile.into()),
                }
            }
            Fate::Refused { leader } => Err(ChangeError::NotLeader(leader)),
            Fate::Unknown(text) => Err(ChangeError::Unknown(text)),
        }
    }

    /// Hands every lead to another member, and is given none back. Returns when this node leads nothing,
    /// or when no member took what is left for two elections' time.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let patience = Duration::from_millis(2 * self.parts.timers.election_max_ms);
        let drained = async {
            while self.hand_over().await {
                tokio::time::sleep(DRAIN_INTERVAL).await;
            }
        };
        if tokio::time::timeout(patience, drained).await.is_err() {
            tracing::warn!("some leads found no taker");
        }
    }

    /// Requests the best other member of each group that is led here to lead it; returns whether any is led here.
    async fn hand_over(&self) -> bool {
        let mut leading = false;
        for group in self.groups() {
            let report = group.report();
            let others = report.voters.iter().filter(|node| **node != self.local());
            let best = others.max_by_key(|node| report.matched.get(node).copied().flatten());
            if let (true, Some(best)) = (group.leads(), best) {
                leading = true;
                group.transfer(*best).await;
            }
        }
        leading
    }

    /// Stops the node; nothing of it runs when this returns, and all it acknowledged is on disk.
    pub async fn close(self: &Arc<Self>) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        for group in self.groups() {
            group.close().await;
        }
        self.groups.write().expect("no panic under this lock").clear();
        rejoin::save(self).await;
        self.transport.shutdown().await;
        self.switchboard.disconnect();
    }

    /// Whether this node takes leads.
    fn willing(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("the node is being drained".into());
        }
        if self.time.report().is_far {
            return Err("the clock of the node is wrong".into());
        }
        Ok(())
    }

    async fn agree(&self, group: &Group, change: &Change) -> Result<Fate, ChangeError> {
        let command = membership::encode(change);
        let permit = group.admit(Class::Control, Flow::default(), command.len());
        let permit = permit.map_err(|error| ChangeError::Busy(error.to_string()))?;
        let (reply, fate) = tokio::sync::oneshot::channel();
        group.propose(permit, command, Box::new(move |fate| drop(reply.send(fate))));
        fate.await.map_err(|_| ChangeError::Unknown("the node is closing".into()))
    }

    async fn close_group(&self, id: GroupId) {
        if let Some(group) = self.group(id) {
            group.close().await;
            self.groups.write().expect("no panic under this lock").remove(&id);
        }
    }

    fn open_group(&self, id: GroupId, factory: &Arc<dyn MachineFactory>) {
        let mut groups = self.groups.write().expect("no panic under this lock");
        groups.entry(id).or_insert_with(|| {
            Group::open(GroupOpening {
                id,
                local: self.parts.local,
                journal: self.parts.journal.clone(),
                transport: Arc::new(Introduced {
                    transport: self.transport.clone(),
                    rejoin: self.rejoin.clone(),
                }),
                factory: Arc::new(Machines {
                    dir: self.parts.dir.clone(),
                    map: self.map.clone(),
                    others: factory.clone(),
                }),
                timers: self.parts.timers,
                checkpoints: self.parts.checkpoints,
                time: self.time.clone(),
                staging: self.staging.clone(),
            })
        });
    }
}

/// Gives the system group its machine, and gets those of all others from the layer above.
struct Machines {
    dir: PathBuf,
    map: watch::Sender<Arc<Map>>,
    others: Arc<dyn MachineFactory>,
}

impl MachineFactory for Machines {
    fn vacated(&self, group: GroupId) -> crate::machine::BoxFuture<'_, ()> {
        Box::pin(async move {
            if group != GroupId::SYSTEM {
                self.others.vacated(group).await;
            }
        })
    }

    fn open(&self, group: GroupId) -> io::Result<(Box<dyn Machine>, Settled)> {
        if group != GroupId::SYSTEM {
            return self.others.open(group);
        }
        let (machine, settled) = Membership::open(self.dir.clone(), self.map.clone())?;
        Ok((Box::new(machine), settled))
    }
}

/// An empty directory for snapshots under way; leftovers of an earlier run are removed.
fn prepare(staging: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(staging)
}
