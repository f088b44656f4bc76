//! A cluster in one process: real groups and journals, links in memory, disks that lie, a machine that counts.
#![allow(dead_code, unreachable_pub, reason = "each test target uses a part")]

pub mod counter;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster::clock::{Clock, TokioClock};
use cluster::group::{Class, Fate, Flow, Group};
use cluster::host::{Application, Bootstrap, Host, HostParts};
use cluster::ids::{GroupId, MapVersion, NodeId};
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Journal, JournalConfig, Round};
use cluster::membership::{Change, Member};
use cluster::raft::{Checkpoints, Timers};
use cluster::transport::{BoxFuture, MemoryConfig, MemoryNetwork, Stream, Transport};
use tokio::task::JoinSet;

use counter::{Counters, Shelf};

/// Nobody talks above the cluster in these tests.
struct Silent;

impl Application for Silent {
    fn call(&self, _from: NodeId, message: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(async move { Ok(message) })
    }

    fn stream(&self, _from: NodeId, _hello: Bytes, _stream: Stream) -> BoxFuture<()> {
        Box::pin(async {})
    }
}

/// What time it is when a world begins.
const START_MS: u64 = 1_700_000_000_000;

/// A wall clock that a test sets wrong; what elapses is right.
struct WrongClock {
    truth: Arc<TokioClock>,
    wrong: Arc<AtomicI64>,
}

impl Clock for WrongClock {
    fn now_ms(&self) -> u64 {
        self.truth.now_ms().saturating_add_signed(self.wrong.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        self.truth.elapsed_ms()
    }
}

/// One node's lasting things: they survive its crashes.
pub struct Place {
    pub disk: Arc<FaultDisk>,
    pub shelf: Shelf,
    pub dir: tempfile::TempDir,
    /// The disk's id.
    pub store: u128,
    /// What the disk seals its words with; no other has it.
    pub secret: u128,
}

static SECRETS: AtomicU64 = AtomicU64::new(1);

/// A running node.
pub struct Node {
    pub host: Arc<Host>,
    writer: JoinSet<()>,
}

pub struct World {
    pub network: MemoryNetwork,
    pub places: BTreeMap<u64, Place>,
    pub nodes: BTreeMap<u64, Node>,
    members: Vec<Member>,
    groups: u32,
    seed: u64,
    clock: Arc<TokioClock>,
    /// How wrong the wall clocks of the nodes are, in ms; survives their crashes.
    wrong: BTreeMap<u64, Arc<AtomicI64>>,
    checkpoints: Checkpoints,
    segment_bytes: u64,
    pub timers: Timers,
}

pub const TIMERS: Timers = Timers { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300 };

impl World {
    /// `count` nodes, not started yet.
    pub fn new(seed: u64, count: u64, groups: u32) -> World {
        World::over(MemoryConfig::new(seed), seed, count, groups)
    }

    /// The same over a network of the caller's choice.
    pub fn over(network: MemoryConfig, seed: u64, count: u64, groups: u32) -> World {
        let members = (1..=count).map(member).collect();
        let places = (1..=count).map(|node| (node, place(seed, node))).collect();
        World {
            network: MemoryNetwork::new(network),
            places,
            nodes: BTreeMap::new(),
            members,
            groups,
            seed,
            clock: TokioClock::starting_at(START_MS),
            wrong: (1..=count).map(|node| (node, Arc::default())).collect(),
            checkpoints: Checkpoints::default(),
            segment_bytes: 256 << 10,
            timers: TIMERS,
        }
    }

    /// Sets by how much the wall clock of a node is wrong, in ms.
    pub fn set_clock(&self, node: u64, wrong_ms: i64) {
        self.wrong[&node].store(wrong_ms, Ordering::Relaxed);
    }

    /// What time it really is, in ms.
    pub fn true_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn clock_of(&mut self, node: u64) -> Arc<WrongClock> {
        let wrong = self.wrong.entry(node).or_default().clone();
        Arc::new(WrongClock { truth: self.clock.clone(), wrong })
    }

    /// Lets checkpoints, purges and the ends of segments happen often.
    #[must_use]
    pub fn forgetful(mut self, checkpoints: Checkpoints, segment_bytes: u64) -> World {
        (self.checkpoints, self.segment_bytes) = (checkpoints, segment_bytes);
        self
    }

    /// Starts every node and waits until every group has a leader.
    pub async fn all_up(mut self) -> World {
        for node in self.places.keys().copied().collect::<Vec<_>>() {
            self.start(node).await;
        }
        self.all_led().await;
        self
    }

    /// Starts `count` nodes and waits until every group has a leader.
    pub async fn up(seed: u64, count: u64, groups: u32) -> World {
        World::new(seed, count, groups).all_up().await
    }

    pub async fn start(&mut self, node: u64) {
        let members = self.members.clone();
        self.start_with(
            node,
            Bootstrap { members, groups: self.groups, replication: 3, join: false },
        )
        .await;
    }

    /// Starts a node that was not there at the bootstrap.
    pub async fn join(&mut self, node: u64) {
        self.start_newcomer(node, true).await;
    }

    /// The same for a node that believes that it founds the cluster with the others.
    pub async fn start_as_founder(&mut self, node: u64) {
        self.start_newcomer(node, false).await;
    }

    async fn start_newcomer(&mut self, node: u64, join: bool) {
        let me = member(node);
        self.places.insert(node, place(self.seed, node));
        let mut members = self.members.clone();
        members.push(me);
        self.start_with(node, Bootstrap { members, groups: self.groups, replication: 3, join })
            .await;
    }

    async fn start_with(&mut self, node: u64, bootstrap: Bootstrap) {
        let clock = self.clock_of(node);
        let place = &self.places[&node];
        let config = JournalConfig {
            dir: PathBuf::from("/journal"),
            segment_bytes: self.segment_bytes,
            tail_bytes: 64 << 10,
        };
        let (journal, mut writer) = Journal::open(place.disk.clone(), config).expect("it recovers");
        let (notify, looks) = (writer.notify(), journal.clone());
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            loop {
                notify.notified().await;
                // A disk takes its time; meanwhile more gathers.
                tokio::time::sleep(Duration::from_micros(300)).await;
                loop {
                    match writer.round() {
                        Round::Closed | Round::Poisoned => return,
                        Round::Held => tokio::time::sleep(Duration::from_millis(100)).await,
                        // It looks for space again, as `Writer::run` does, though nothing is to be written.
                        Round::Idle | Round::Wrote if looks.full() => {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        Round::Idle | Round::Wrote => break,
                    }
                }
            }
        });
        let network = self.network.clone();
        let parts = HostParts {
            local: NodeId(node),
            dir: place.dir.path().to_path_buf(),
            store: place.store,
            journal,
            bootstrap,
            timers: self.timers,
            checkpoints: self.checkpoints,
            clock,
            control: None,
            removed: Arc::default(),
            secret: place.secret,
        };
        let host = Host::connect(parts, async |service| {
            Ok(network.join(NodeId(node), service) as Arc<dyn Transport>)
        });
        let host = host.await.expect("the host starts");
        host.run(Arc::new(Counters { shelf: place.shelf.clone() }), Arc::new(Silent));
        self.nodes.insert(node, Node { host, writer: driver });
    }

    /// Ends a node as `kill -9` does: what was written is kept, though nothing was synced.
    pub async fn kill(&mut self, node: u64) {
        let Some(Node { host, mut writer }) = self.nodes.remove(&node) else { return };
        self.network.crash(NodeId(node));
        self.places[&node].disk.kill();
        host.close().await;
        writer.shutdown().await;
        self.places[&node].shelf.crash();
    }

    /// Takes a node's disk away, and gives it an empty one.
    pub fn wipe(&mut self, node: u64, salt: u64) -> Place {
        let empty = place(self.seed ^ salt, node);
        let old = self.places.insert(node, empty).expect("the node exists");
        self.places.get_mut(&node).expect("it was put there").shelf.watch = old.shelf.watch.clone();
        old
    }

    /// A copy of everything that is durable at a node now, as an operator's backup has it.
    pub fn image(&self, node: u64) -> Place {
        let place = &self.places[&node];
        let dir = tempfile::tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(place.dir.path()).expect("the node's directory") {
            let entry = entry.expect("the node's directory");
            if entry.file_type().expect("a kind").is_file() {
                std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("a copy");
            }
        }
        let Place { store, secret, .. } = *place;
        Place { disk: place.disk.image().into(), shelf: place.shelf.image(), dir, store, secret }
    }

    /// Puts another disk into a node that is down, and gives the one that it had.
    pub fn swap(&mut self, node: u64, place: Place) -> Place {
        assert!(!self.nodes.contains_key(&node), "node {node} is running");
        self.places.insert(node, place).expect("the node exists")
    }

    /// Ends a node as a power cut does: nothing more is sent, what was not synced may be lost.
    pub async fn crash(&mut self, node: u64) {
        let Some(Node { host, mut writer }) = self.nodes.remove(&node) else { return };
        self.network.crash(NodeId(node));
        self.places[&node].disk.crash();
        host.close().await;
        writer.shutdown().await;
        self.places[&node].shelf.crash();
        self.places[&node].disk.restart();
    }

    /// The node that leads `group` and is up.
    pub fn leader(&self, group: u32) -> Option<u64> {
        let leads = |node: &Node| node.host.group(GroupId(group)).is_some_and(|g| g.leads());
        self.nodes.iter().find(|(_, node)| leads(node)).map(|(id, _)| *id)
    }

    pub fn group(&self, node: u64, group: u32) -> Option<Arc<Group>> {
        self.nodes.get(&node)?.host.group(GroupId(group))
    }

    pub async fn all_led(&self) {
        let groups = self.groups;
        eventually("every group has a leader", || {
            (1..=groups).all(|group| self.leader(group).is_some())
        })
        .await;
    }

    /// Proposes at the leader until it is committed.
    pub async fn add(&self, group: u32, text: &str) -> Fate {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            assert!(tokio::time::Instant::now() < deadline, "{text} was not committed in time");
            let leader = self.leader(group).and_then(|node| self.group(node, group));
            if let Some(leader) = leader {
                match propose(&leader, text).await {
                    Fate::Refused { .. } => (),
                    fate => return fate,
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks whoever leads the system group for a change of the members until it is agreed on.
    pub async fn change_members(&self, change: impl Fn(MapVersion) -> Change) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let refusal = match self.leader(0) {
                Some(leader) => {
                    let host = &self.nodes[&leader].host;
                    let at = host.map().borrow().version;
                    match host.change_members(change(at)).await {
                        Ok(_) => return,
                        Err(why) => why.to_string(),
                    }
                }
                None => "nobody leads".into(),
            };
            assert!(
                tokio::time::Instant::now() < deadline,
                "the members did not change: {refusal}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether `group` has these voters and nobody else, as its leader says.
    pub fn has_members(&self, group: u32, wanted: &[u64]) -> bool {
        let leader = self.leader(group).and_then(|node| self.group(node, group));
        leader.is_some_and(|leader| {
            let report = leader.report();
            let mut voters: Vec<u64> = report.voters.iter().map(|node| node.0).collect();
            voters.sort_unstable();
            voters == wanted && report.learners.is_empty() && !report.joint && report.agreed
        })
    }

    /// What the machine of `group` on `node` has applied.
    pub fn applied(&self, node: u64, group: u32) -> Vec<String> {
        self.places[&node].shelf.live(GroupId(group))
    }
}

pub async fn propose(group: &Group, text: &str) -> Fate {
    let permit = match group.admit(Class::Data, Flow::default(), text.len()) {
        Ok(permit) => permit,
        Err(error) => panic!("{text} is not admitted: {error}"),
    };
    let (reported, fate) = tokio::sync::oneshot::channel();
    let reported = Box::new(move |fate| drop(reported.send(fate)));
    group.propose(permit, Bytes::copy_from_slice(text.as_bytes()), reported);
    fate.await.unwrap_or(Fate::Unknown("the node stopped".into()))
}

/// A node as it is listed.
pub fn member(node: u64) -> Member {
    Member { node: NodeId(node), peer: format!("m{node}"), client: String::new() }
}

fn place(seed: u64, node: u64) -> Place {
    Place {
        disk: FaultDisk::new(seed ^ (node << 32)).into(),
        shelf: Shelf::default(),
        dir: tempfile::tempdir().expect("a temporary directory"),
        store: u128::from(seed) << 64 | u128::from(node),
        secret: u128::from(SECRETS.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Waits, in the test's own time, until the condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
