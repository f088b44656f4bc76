//! A cluster in one process: real nodes down to their sessions, on disks in memory that lie and fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::group::Group;
use cluster::host::{Bootstrap, Host, HostParts};
use cluster::ids::{GroupId, NodeId};
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Journal, JournalConfig, Round};
use cluster::membership::Member;
use cluster::raft::{Checkpoints, Timers};
use cluster::transport::{MemoryConfig, MemoryNetwork, Transport};
use outlive::runtime::Runtime;
use outlive::store::Store;
use outlive::store::fault::Fault;
use outlive::store::memory::MemoryDisk;
use tokio::task::JoinSet;

use crate::clock::NodeClock;

const OFTEN: Checkpoints = Checkpoints { every_entries: 40, kept_entries: 10, lag_entries: 60 };
const TIMERS: Timers = Timers { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300 };

/// The nodes that run now, as clients reach them; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Nodes(Arc<Mutex<BTreeMap<u64, Arc<Runtime>>>>);

/// What of a node survives its crashes.
pub(crate) struct Place {
    pub(crate) journal: FaultDisk,
    pub(crate) store: MemoryDisk,
    pub(crate) clock: Arc<NodeClock>,
    dir: tempfile::TempDir,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) host: Arc<Host>,
    pub(crate) runtime: Arc<Runtime>,
    /// Whether its store has failed: then its process begins again.
    pub(crate) fault: Fault,
    journal: Journal,
    writer: JoinSet<()>,
}

pub(crate) struct World {
    pub(crate) network: MemoryNetwork,
    pub(crate) places: BTreeMap<u64, Place>,
    pub(crate) running: BTreeMap<u64, Node>,
    pub(crate) nodes: Nodes,
    members: Vec<Member>,
    pub(crate) groups: u32,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The machine goes down: what was not synced may be lost.
    PowerCut,
    /// `kill -9`: what the journal wrote is kept.
    Killed,
    /// It was asked to.
    Stopped,
}

impl Nodes {
    pub(crate) fn all(&self) -> BTreeMap<u64, Arc<Runtime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, node: u64, runtime: Option<Arc<Runtime>>) {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match runtime {
            Some(runtime) => nodes.insert(node, runtime),
            None => nodes.remove(&node),
        };
    }
}

impl World {
    /// `count` nodes, not started yet.
    pub(crate) fn new(network: MemoryConfig, seed: u64, count: u64, groups: u32) -> World {
        let member = |node| Member {
            node: NodeId(node),
            peer: format!("m{node}"),
            client: format!("http://m{node}"),
        };
        let place = |node: u64| Place {
            journal: FaultDisk::new(seed ^ (node << 32)),
            store: MemoryDisk::new(seed ^ (node << 40)),
            clock: NodeClock::new(),
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        World {
            network: MemoryNetwork::new(network),
            places: (1..=count).map(|node| (node, place(node))).collect(),
            running: BTreeMap::new(),
            nodes: Nodes::default(),
            members: (1..=count).map(member).collect(),
            groups,
        }
    }

    pub(crate) async fn start(&mut self, node: u64) {
        if self.running.contains_key(&node) {
            return;
        }
        let place = &self.places[&node];
        let config = JournalConfig {
            dir: PathBuf::from("/journal"),
            segment_bytes: 64 << 10,
            tail_bytes: 64 << 10,
        };
        let disk = Arc::new(place.journal.clone());
        let (journal, mut writer) = Journal::open(disk, config).expect("the journal recovers");
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
        let store = Store::in_memory(&place.store);
        let fault = store.fault().clone();
        let clock = place.clock.clone();
        let members = self.members.clone();
        let parts = HostParts {
            local: NodeId(node),
            dir: place.dir.path().to_path_buf(),
            journal: journal.clone(),
            bootstrap: Bootstrap { members, groups: self.groups, replication: 3, join: false },
            timers: TIMERS,
            checkpoints: OFTEN,
            clock,
            control: None,
            store: u128::from(node),
            removed: Arc::default(),
            secret: u128::from(node),
        };
        let network = self.network.clone();
        let host = Host::connect(parts, async |service| {
            Ok(network.join(NodeId(node), service) as Arc<dyn Transport>)
        });
        let host = host.await.expect("the host starts");
        let runtime = Runtime::start("simulated", store, host.clone()).await;
        self.nodes.set(node, Some(runtime.clone()));
        self.running.insert(node, Node { host, runtime, fault, journal, writer: driver });
    }

    /// Ends a node, if it runs.
    pub(crate) async fn end(&mut self, node: u64, ending: Ending) {
        let Some(ended) = self.running.remove(&node) else { return };
        self.nodes.set(node, None);
        let Node { host: _, runtime, fault, journal, mut writer } = ended;
        let place = &self.places[&node];
        if ending == Ending::Stopped {
            runtime.drain().await;
            runtime.close().await;
            journal.close();
            while writer.join_next().await.is_some() {}
        } else {
            self.network.crash(NodeId(node));
            match ending {
                Ending::PowerCut => place.journal.crash(),
                _ => place.journal.kill(),
            }
            place.store.crash();
            // A process that is dead writes nothing down.
            fault.report("the end of the process", &"it is dead");
            runtime.close().await;
            writer.shutdown().await;
        }
        // Locks of the process are free, and nothing of it writes any more.
        place.journal.kill();
        place.store.crash();
        place.journal.restart();
    }

    /// A copy of all that a node has on its disks now: what a restored image of its machine holds.
    pub(crate) fn image(&self, node: u64, seed: u64) -> Place {
        let place = &self.places[&node];
        let dir = tempfile::tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(place.dir.path()).expect("it can be read") {
            let entry = entry.expect("it can be read");
            if entry.file_type().expect("it has a kind").is_file() {
                let to = dir.path().join(entry.file_name());
                std::fs::copy(entry.path(), to).expect("it can be copied");
            }
        }
        let (journal, store) = (place.journal.image(), place.store.image(seed));
        Place { journal, store, clock: place.clock.clone(), dir }
    }

    /// Puts other disks into a node that does not run.
    pub(crate) fn swap(&mut self, node: u64, place: Place) {
        assert!(!self.running.contains_key(&node), "node {node} runs");
        self.places.insert(node, place);
    }

    pub(crate) fn group(&self, node: u64, group: u32) -> Option<Arc<Group>> {
        self.running.get(&node)?.host.group(GroupId(group))
    }

    /// The node that leads `group` and runs.
    pub(crate) fn leader(&self, group: u32) -> Option<u64> {
        let leads = |node: &u64| self.group(*node, group).is_some_and(|group| group.leads());
        self.running.keys().copied().find(leads)
    }

    /// Waits until every group has a leader.
    pub(crate) async fn all_led(&self) {
        while !(0..=self.groups).all(|group| self.leader(group).is_some()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
