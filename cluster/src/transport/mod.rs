//! Bytes between nodes: calls on ordered lanes, and streams. The only place that knows quinn.
//!
//! Two implementations keep the same promises: [`QuicTransport`] between processes and
//! [`MemoryNetwork`] inside one, for tests. Neither knows what the bytes mean.
//!
//! Three outcomes of a call: answered (with bytes, or with the peer's refusal); certainly never
//! reached the peer ([`CallError::Unreachable`], [`CallError::TooLarge`]); unknown
//! ([`CallError::Lost`], [`CallError::Timeout`]).

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

use crate::{ids::NodeId, limits::REPLICATION_STRIPES};

mod accept;
#[cfg(test)]
mod adversarial;
mod dial;
mod frame;
mod handshake;
mod identity;
mod lane;
mod link;
mod memory;
mod peer;
mod pki;
mod quic;
mod renew;
mod revoked;
mod settings;
mod single;
mod socket;
mod stats;
mod stream;
mod tls;

pub use memory::{MemoryConfig, MemoryNetwork, MemoryTransport};
pub use pki::{make_dev_ca, make_node_cert};
pub use quic::{QuicConfig, QuicTransport, StartError};
pub use single::SingleNode;
pub use socket::SocketBuffers;
pub use stats::{LaneStats, LinkStats};
pub use stream::{RecvHalf, SendHalf, Stream, StreamError};
pub use tls::{TlsError, TlsFiles, TlsMaterial};

/// A boxed future without borrows.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A pipe between two nodes. Frames of one lane arrive in the order in which they were sent; lanes
/// do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, heartbeats, read index: small, and never after bulk.
    Control,
    /// Entries of the groups on this stripe, below [`REPLICATION_STRIPES`].
    Replication(u8),
    /// Work of clients that another node carries on.
    Forward,
}

/// Number of lanes of one link.
pub(crate) const LANES: usize = REPLICATION_STRIPES as usize + 2;

impl Lane {
    /// Every lane, in the order of [`Lane::index`].
    pub(crate) fn all() -> [Lane; LANES] {
        std::array::from_fn(|index| match index {
            0 => Lane::Control,
            _ if index < LANES - 1 => Lane::Replication((index - 1) as u8),
            _ => Lane::Forward,
        })
    }

    /// Place of this lane among all; a stripe beyond the last wraps round.
    pub(crate) fn index(self) -> usize {
        match self {
            Lane::Control => 0,
            Lane::Replication(stripe) => 1 + usize::from(stripe % REPLICATION_STRIPES),
            Lane::Forward => LANES - 1,
        }
    }

    /// Send priority of the lane's stream: the larger goes first.
    pub(crate) fn priority(self) -> i32 {
        match self {
            Lane::Control => 10,
            Lane::Replication(_) | Lane::Forward => 0,
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It certainly never reached the peer; it may be repeated.
    #[error("the call never left: {0}")]
    Unreachable(String),
    /// The link died after the call was written; whether it took effect is unknown.
    #[error("the link was lost with the call: {0}")]
    Lost(String),
    /// The deadline passed after the call was written; whether it took effect is unknown.
    #[error("no answer before the deadline")]
    Timeout,
    /// The peer's service answered with this error.
    #[error("the peer refused: {0}")]
    Refused(String),
    /// The request is beyond [`crate::limits::FRAME_BYTES`]; it was not sent.
    #[error("the request is larger than a frame")]
    TooLarge,
}

/// What a node does with what its peers send.
pub trait Service: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// Invoked in the order in which the peer sent on this lane: what needs that order is done
    /// inside, before the future is returned. The futures run concurrently and answers may overtake
    /// each other. A future is dropped when the link dies, and for a note at once, since no caller waits for
    /// its answer.
    /// `request` may share its memory with its neighbours: copy what is kept for long.
    fn call(&self, from: NodeId, lane: Lane, request: Bytes) -> BoxFuture<Result<Bytes, String>>;

    /// Serves a stream that a peer opened; `hello` names what it is for. Dropped with the link.
    fn stream(&self, from: NodeId, hello: Bytes, stream: Stream) -> BoxFuture<()>;
}

/// Who may talk to this node. Queried on both sides of a link, before any call is served.
pub trait Gate: Send + Sync + 'static {
    /// Checks whether `peer`, whose disk carries the random id `store`, is let in. May block.
    ///
    /// # Errors
    /// The text goes to the peer, which gets it through its own [`Gate::refused`].
    fn admit(&self, peer: NodeId, store: u128) -> Result<(), String>;

    /// Called when `by` refused this node; and again on every attempt.
    fn refused(&self, by: NodeId, reason: String);
}

/// Carries calls and streams to peers. Object safe; every method returns at once.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `to` and resolves with its answer.
    ///
    /// The frame takes its place in the lane when this is *invoked*, not when the future is polled,
    /// and `deadline` counts from there. A full lane is [`CallError::Unreachable`] at once. Dropping
    /// the future takes back a frame that is not yet written.
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<Result<Bytes, CallError>>;

    /// Sends `note` in the order of the lane's calls. It is served like a request, but no answer reports what
    /// came of it, and it may be lost: it must be news that comes again.
    fn tell(&self, to: NodeId, lane: Lane, note: Bytes);

    /// Opens a stream to `to` with its own flow control; of two, the larger priority is sent first.
    /// `hello` is at most [`crate::limits::STREAM_HELLO_BYTES`].
    fn open(&self, to: NodeId, priority: i32, hello: Bytes)
    -> BoxFuture<Result<Stream, CallError>>;

    /// Learns or changes where a peer listens (`host:port`), and keeps a link to it from now on.
    fn set_peer(&self, id: NodeId, addr: String);

    /// Forgets a peer and closes its link. Whether it may come back is the gate's decision.
    fn remove_peer(&self, id: NodeId);

    /// Peers with a live link now, ascending.
    fn connected(&self) -> Vec<NodeId>;

    /// The measured round trip to each peer with a live link, ascending by peer.
    fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        Vec::new()
    }

    /// The node that this transport belongs to.
    fn local(&self) -> NodeId;

    /// Closes every link and resolves when nothing of the transport runs any more.
    fn shutdown(&self) -> BoxFuture<()>;
}
