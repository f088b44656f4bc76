//! A network inside one process, for tests: the promises of the real one, and every misfortune it
//! may meet, chosen by one seed.
//!
//! Under a paused current-thread runtime the same seed gives the same run, bit by bit: there is one
//! source of randomness, no map whose order is random, and no clock but tokio's.
//!
//! A partition swallows calls as a dead cable does: the caller sees its deadline pass, or the link
//! die after `idle_timeout`, whichever is first. Streams break at once.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Lane, Service};
use crate::ids::NodeId;

mod pipe;
mod transport;

pub(super) use pipe::{MemoryReceiver, MemorySender};
use transport::Envelope;
pub use transport::MemoryTransport;

/// How the network behaves while it is not partitioned.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Decides every latency and every loss.
    pub seed: u64,
    /// One-way delay, drawn evenly for each frame. Lanes stay in order.
    pub latency: RangeInclusive<Duration>,
    /// Share of frames that are lost; their calls end as lost. Streams lose nothing.
    pub loss: f64,
    /// After this much of a partition its links are dead, and calls fail at once.
    pub idle_timeout: Duration,
}

impl MemoryConfig {
    /// 200 to 800 µs one way, no loss, links that die after 4 s of silence.
    pub fn new(seed: u64) -> MemoryConfig {
        MemoryConfig {
            seed,
            latency: Duration::from_micros(200)..=Duration::from_micros(800),
            loss: 0.0,
            idle_timeout: Duration::from_secs(4),
        }
    }
}

/// The network; clones are the same one.
#[derive(Clone)]
pub struct MemoryNetwork {
    config: Arc<MemoryConfig>,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: SmallRng,
    joined: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Directions that carry nothing, and since when.
    blocked: BTreeMap<(NodeId, NodeId), Instant>,
    lanes: BTreeMap<(NodeId, NodeId, Lane), mpsc::Sender<Envelope>>,
    /// One for each pair of nodes, lower first; cancelled when the streams between them break.
    streams: BTreeMap<(NodeId, NodeId), CancellationToken>,
}

#[derive(Clone)]
struct Node {
    /// Which joining of this node it is; an earlier one is dead.
    joining: u64,
    service: Arc<dyn Service>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").field("config", &self.config).finish_non_exhaustive()
    }
}

impl MemoryNetwork {
    /// An empty network.
    pub fn new(config: MemoryConfig) -> MemoryNetwork {
        let state = State {
            rng: SmallRng::seed_from_u64(config.seed),
            joined: 0,
            nodes: BTreeMap::new(),
            blocked: BTreeMap::new(),
            lanes: BTreeMap::new(),
            streams: BTreeMap::new(),
        };
        MemoryNetwork { config: Arc::new(config), state: Arc::new(Mutex::new(state)) }
    }

    /// Starts a node: new, or again after [`MemoryNetwork::crash`]. A running one crashes first.
    pub fn join(&self, id: NodeId, service: Arc<dyn Service>) -> Arc<MemoryTransport> {
        self.crash(id);
        let mut state = self.state();
        state.joined += 1;
        let (joining, end) = (state.joined, CancellationToken::new());
        state.nodes.insert(id, Node { joining, service, tasks: TaskTracker::new(), end });
        Arc::new(MemoryTransport { network: self.clone(), local: id, joining })
    }

    /// Ends a node without notice: its tasks are dropped, calls to and from it are lost.
    pub fn crash(&self, id: NodeId) {
        self.remove(id);
    }

    /// Cuts the direction from `from` to `to`. Cut both for a whole partition, see
    /// [`MemoryNetwork::partition`].
    pub fn partition_one_way(&self, from: NodeId, to: NodeId) {
        let mut state = self.state();
        state.blocked.entry((from, to)).or_insert_with(Instant::now);
        state.break_streams(|pair| pair == ordered(from, to));
    }

    /// Cuts both directions between two nodes.
    pub fn partition(&self, a: NodeId, b: NodeId) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// Restores both directions between two nodes.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        let mut state = self.state();
        state.blocked.remove(&(a, b));
        state.blocked.remove(&(b, a));
    }

    /// Restores everything.
    pub fn heal_all(&self) {
        self.state().blocked.clear();
    }

    /// Removes a node and returns what of it still has to end.
    fn remove(&self, id: NodeId) -> Option<Node> {
        let mut state = self.state();
        let node = state.nodes.remove(&id)?;
        state.lanes.retain(|(from, to, _), _| *from != id && *to != id);
        state.break_streams(|(low, high)| low == id || high == id);
        drop(state);
        node.end.cancel();
        node.tasks.close();
        Some(node)
    }

    fn delay(&self) -> Duration {
        let (low, high) = (self.config.latency.start(), self.config.latency.end());
        let nanos = self.state().rng.random_range(low.as_nanos() as u64..=high.as_nanos() as u64);
        Duration::from_nanos(nanos)
    }

    fn loses(&self) -> bool {
        self.state().rng.random_bool(self.config.loss)
    }

    fn blocks(&self, from: NodeId, to: NodeId) -> bool {
        self.state().blocked.contains_key(&(from, to))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the network")
    }
}

impl State {
    /// Returns whether a link between two running nodes is alive, as either would see it.
    fn linked(&self, a: NodeId, b: NodeId, idle_timeout: Duration) -> bool {
        let dead = |from, to| {
            self.blocked.get(&(from, to)).is_some_and(|since| idle_timeout <= since.elapsed())
        };
        self.nodes.contains_key(&a) && self.nodes.contains_key(&b) && !dead(a, b) && !dead(b, a)
    }

    fn break_streams(&mut self, among: impl Fn((NodeId, NodeId)) -> bool) {
        self.streams.retain(|pair, end| {
            let broken = among(*pair);
            if broken {
                end.cancel();
            }
            !broken
        });
    }
}

fn ordered(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}
