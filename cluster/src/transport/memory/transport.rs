//! One node's end of the memory network.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{MemoryNetwork, Node, State, ordered, pipe::pipe};
use crate::{
    ids::NodeId,
    limits::{FRAME_BYTES, LANE_QUEUE_FRAMES, STREAM_HELLO_BYTES},
    transport::{BoxFuture, CallError, Lane, Stream, Transport},
};

/// A node's transport; dead once its node crashes, also when the node joins again.
#[derive(Debug)]
pub struct MemoryTransport {
    pub(super) network: MemoryNetwork,
    pub(super) local: NodeId,
    pub(super) joining: u64,
}

/// A request on its way.
pub(super) struct Envelope {
    at: Instant,
    lost: bool,
    request: Bytes,
    reply: oneshot::Sender<Result<Bytes, CallError>>,
}

/// One direction of one lane.
#[derive(Clone)]
struct Way {
    network: MemoryNetwork,
    from: NodeId,
    to: NodeId,
    lane: Lane,
    node: Node,
}

impl MemoryTransport {
    /// The peer, if there is a live link to it.
    fn peer(&self, state: &State, to: NodeId) -> Result<Node, CallError> {
        let alive = state.nodes.get(&self.local).is_some_and(|node| node.joining == self.joining);
        let idle_timeout = self.network.config.idle_timeout;
        if !alive || to == self.local || !state.linked(self.local, to, idle_timeout) {
            return Err(CallError::Unreachable(format!("no link to {to}")));
        }
        Ok(state.nodes[&to].clone())
    }

    fn submit(
        &self,
        to: NodeId,
        lane: Lane,
        request: Bytes,
    ) -> Result<oneshot::Receiver<Result<Bytes, CallError>>, CallError> {
        if FRAME_BYTES < request.len() {
            return Err(CallError::TooLarge);
        }
        let node = self.peer(&self.network.state(), to)?;
        let (at, lost) = (Instant::now() + self.network.delay(), self.network.loses());
        let mut state = self.network.state();
        let queue = state.lanes.entry((self.local, to, lane)).or_insert_with(|| {
            let (queue, envelopes) = mpsc::channel(LANE_QUEUE_FRAMES);
            let (network, from) = (self.network.clone(), self.local);
            let way = Way { network, from, to, lane, node: node.clone() };
            let carry = node.end.clone().run_until_cancelled_owned(carry(way, envelopes));
            node.tasks.spawn(carry);
            queue
        });
        let (reply, answer) = oneshot::channel();
        queue
            .try_send(Envelope { at, lost, request, reply })
            .map_err(|_| CallError::Unreachable("lane full".into()))?;
        Ok(answer)
    }
}

/// Delivers the requests of one lane, each at its time and never before an earlier one.
async fn carry(way: Way, mut envelopes: mpsc::Receiver<Envelope>) {
    while let Some(envelope) = envelopes.recv().await {
        sleep_until(envelope.at).await;
        let future = if way.network.blocks(way.from, way.to) || envelope.lost {
            None
        } else {
            Some(way.node.service.call(way.from, way.lane, envelope.request))
        };
        let answer = answer(way.clone(), future, envelope.lost, envelope.reply);
        way.node.tasks.spawn(way.node.end.clone().run_until_cancelled_owned(answer));
    }
}

/// Brings the answer back, or the news that there is none.
async fn answer(
    way: Way,
    future: Option<BoxFuture<Result<Bytes, String>>>,
    lost: bool,
    reply: oneshot::Sender<Result<Bytes, CallError>>,
) {
    let lost_frame = || Err(CallError::Lost("a frame was lost".into()));
    let Some(future) = future else {
        if !lost {
            sleep(way.network.config.idle_timeout).await;
        }
        let _ = reply.send(lost_frame());
        return;
    };
    let answer = future.await.map_err(CallError::Refused);
    let (delay, lost) = (way.network.delay(), way.network.loses());
    sleep(delay).await;
    if way.network.blocks(way.to, way.from) {
        sleep(way.network.config.idle_timeout).await;
        let _ = reply.send(lost_frame());
        return;
    }
    let _ = reply.send(if lost { lost_frame() } else { answer });
}

impl Transport for MemoryTransport {
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<Result<Bytes, CallError>> {
        let until = Instant::now() + deadline;
        match self.submit(to, lane, request) {
            Ok(answer) => async move {
                match timeout_at(until, answer).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => Err(CallError::Lost("the node crashed".into())),
                    Err(_) => Err(CallError::Timeout),
                }
            }
            .boxed(),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }

    fn tell(&self, to: NodeId, lane: Lane, note: Bytes) {
        // No caller waits for its result.
        drop(self.submit(to, lane, note));
    }

    fn open(
        &self,
        to: NodeId,
        _priority: i32,
        hello: Bytes,
    ) -> BoxFuture<Result<Stream, CallError>> {
        if STREAM_HELLO_BYTES < hello.len() {
            return futures::future::ready(Err(CallError::TooLarge)).boxed();
        }
        let (network, from) = (self.network.clone(), self.local);
        let mut state = network.state();
        let opened = self.peer(&state, to).map(|node| {
            let end = state.streams.entry(ordered(from, to)).or_default().clone();
            (node, end)
        });
        drop(state);
        async move {
            let (node, end) = opened?;
            if network.blocks(from, to) || network.blocks(to, from) {
                return Err(CallError::Unreachable("the nodes are apart".into()));
            }
            let (there, here) = (pipe(&network, &end), pipe(&network, &end));
            let (ours, theirs) = (Stream::memory(there.0, here.1), Stream::memory(here.0, there.1));
            let (delay, service) = (network.delay(), node.service.clone());
            let serve = async move {
                sleep(delay).await;
                service.stream(from, hello, theirs).await;
            };
            node.tasks.spawn(node.end.clone().run_until_cancelled_owned(serve));
            Ok(ours)
        }
        .boxed()
    }

    /// Every node knows every other.
    fn set_peer(&self, _id: NodeId, _addr: String) {}

    /// Every node knows every other; use a partition to part them.
    fn remove_peer(&self, _id: NodeId) {}

    fn connected(&self) -> Vec<NodeId> {
        let state = self.network.state();
        let others: Vec<NodeId> = state.nodes.keys().copied().collect();
        others.into_iter().filter(|id| self.peer(&state, *id).is_ok()).collect()
    }

    fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        let latency = &self.network.config.latency;
        let round_trip = *latency.start() + *latency.end();
        self.connected().into_iter().map(|peer| (peer, round_trip)).collect()
    }

    fn local(&self) -> NodeId {
        self.local
    }

    fn shutdown(&self) -> BoxFuture<()> {
        let current = self.network.state().nodes.get(&self.local).map(|node| node.joining);
        let node = match current {
            Some(joining) if joining == self.joining => self.network.remove(self.local),
            _ => None,
        };
        async move {
            if let Some(node) = node {
                node.tasks.wait().await;
            }
        }
        .boxed()
    }
}
