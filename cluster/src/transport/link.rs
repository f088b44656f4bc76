//! One live link to one peer: its lanes, and the streams that the peer opens.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    BoxFuture, CallError, LANES, Lane, Stream,
    frame::{self, Decoder, Kind},
    handshake::{
        CLOSE_PROTOCOL, CLOSE_REFUSED, CLOSE_REPLACED, CLOSE_SHUTDOWN, Greeted, LaneStreams, clip,
        read_first,
    },
    lane::{self, LaneShared, Outgoing},
    peer::Peer,
    quic::Core,
};
use crate::{ids::NodeId, limits::STREAM_HELLO_BYTES};

/// How long opening a stream waits for a free place, and a new stream for its first frame.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Link {
    pub(super) peer: NodeId,
    /// The peer's process, as it named itself.
    pub(super) instance: u64,
    pub(super) dialler: NodeId,
    pub(super) connection: Connection,
    lanes: [Arc<LaneShared>; LANES],
    /// Cancelled when the link is dead; drops every task of it.
    end: CancellationToken,
}

impl Link {
    pub(super) fn lane(&self, lane: Lane) -> &Arc<LaneShared> {
        &self.lanes[lane.index()]
    }

    pub(super) fn close(&self, code: VarInt, reason: &str) {
        self.connection.close(code, clip(reason).as_bytes());
    }

    /// Opens a stream whose first frame names what it is for.
    pub(super) async fn open(&self, priority: i32, hello: Bytes) -> Result<Stream, CallError> {
        if STREAM_HELLO_BYTES < hello.len() {
            return Err(CallError::TooLarge);
        }
        let unreachable = |text: String| CallError::Unreachable(text);
        let (mut send, recv) = timeout(OPEN_TIMEOUT, self.connection.open_bi())
            .await
            .map_err(|_| unreachable(format!("{} has too many streams open", self.peer)))?
            .map_err(|error| unreachable(error.to_string()))?;
        let _ = send.set_priority(priority);
        let mut chunks = frame::chunks(Kind::Open, i64::from(priority) as u64, hello);
        let used = if chunks[1].is_empty() { 1 } else { 2 };
        send.write_all_chunks(&mut chunks[..used])
            .await
            .map_err(|error| CallError::Lost(error.to_string()))?;
        Ok(Stream::quic(send, recv, Decoder::default()))
    }
}

/// Brings a greeted link to life, unless a better one is there.
pub(super) fn start(core: &Arc<Core>, peer: &Arc<Peer>, greeted: Greeted) {
    let mut queues = Vec::with_capacity(LANES);
    let lanes = Lane::all().map(|lane| {
        let (shared, queue) = LaneShared::new(lane, peer.counters.clone());
        queues.push(queue);
        shared
    });
    let link = Arc::new(Link {
        peer: peer.id,
        instance: greeted.peer.instance,
        dialler: greeted.dialler,
        connection: greeted.connection,
        lanes,
        end: core.stop.child_token(),
    });
    if !peer.install(&link, core.own.node) {
        link.close(CLOSE_REPLACED, "another link is kept");
        return;
    }
    tracing::info!(node = %core.own.node, peer = %peer.id, addr = %link.connection.remote_address(), "linked");
    let lanes = Lane::all().into_iter().zip(greeted.lanes).zip(queues);
    for ((lane, streams), queue) in lanes {
        start_lane(core, &link, lane, streams, queue);
    }
    let streams = accept_streams(core.clone(), link.clone());
    spawn(core, &link, &core.main, streams.boxed());
    watch(core, peer, &link);
}

/// Raft's messages are handled beside quinn's drivers: that needs no other thread to be woken, and a busy main
/// runtime never delays a heartbeat.
fn start_lane(
    core: &Arc<Core>,
    link: &Arc<Link>,
    lane: Lane,
    (send, recv, decoder): LaneStreams,
    queue: mpsc::Receiver<Outgoing>,
) {
    let handle = if lane == Lane::Forward { &core.main } else { &core.drivers.handle };
    let shared = link.lane(lane).clone();
    // Work of clients may be long; Raft's requests only wait, and a task for each would cost more.
    let elsewhere = (lane == Lane::Forward).then(|| -> lane::Spawn {
        let (core, link, handle) = (core.clone(), link.clone(), handle.clone());
        Box::new(move |future| spawn(&core, &link, &handle, future))
    });
    let writer = lane::write(shared.clone(), send, queue);
    let service = core.service.clone();
    let reader = lane::read(shared, recv, decoder, link.peer, service, elsewhere);
    for work in [writer.boxed(), reader.boxed()] {
        let faulty = link.clone();
        let work = async move {
            let reason = work.await;
            if faulty.connection.close_reason().is_none() {
                tracing::warn!(peer = %faulty.peer, reason, "a lane broke; the link is closed");
                faulty.close(CLOSE_PROTOCOL, &reason);
            }
        };
        spawn(core, link, handle, work.boxed());
    }
}

/// Runs `future` until it ends or the link does.
fn spawn(core: &Core, link: &Link, handle: &Handle, future: BoxFuture<()>) {
    let until_end = link.end.clone().run_until_cancelled_owned(future);
    core.tasks.spawn_on(
        async {
            until_end.await;
        },
        handle,
    );
}

async fn accept_streams(core: Arc<Core>, link: Arc<Link>) {
    while let Ok((send, recv)) = link.connection.accept_bi().await {
        let serve = serve_stream(core.clone(), link.clone(), send, recv);
        spawn(&core, &link, &core.main, serve.boxed());
    }
}

async fn serve_stream(
    core: Arc<Core>,
    link: Arc<Link>,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let mut decoder = Decoder::default();
    let first = match timeout(OPEN_TIMEOUT, read_first(&mut recv, &mut decoder, STREAM_HELLO_BYTES))
        .await
    {
        Ok(Ok(first)) if first.kind == Kind::Open => first,
        other => {
            tracing::debug!(peer = %link.peer, ?other, "a stream without an opening was dropped");
            let _ = send.reset(VarInt::from_u32(1));
            return;
        }
    };
    let _ = send.set_priority(first.id as i64 as i32);
    let stream = Stream::quic(send, recv, decoder);
    core.service.stream(link.peer, first.body, stream).await;
}

/// Waits for the link's death and ends all that depends on it.
fn watch(core: &Arc<Core>, peer: &Arc<Peer>, link: &Arc<Link>) {
    let (core_, peer, link) = (core.clone(), peer.clone(), link.clone());
    let watch = async move {
        let core = core_;
        let error = link.connection.closed().await;
        let reason = error.to_string();
        peer.uninstall(&link);
        for lane in &link.lanes {
            lane.close(&reason);
        }
        link.end.cancel();
        match error {
            ConnectionError::LocallyClosed => {}
            ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_REFUSED => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                core.gate.refused(link.peer, reason);
            }
            ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_SHUTDOWN => {
                tracing::info!(node = %core.own.node, peer = %link.peer, "the peer went away");
            }
            _ => tracing::warn!(node = %core.own.node, peer = %link.peer, reason, "link lost"),
        }
    };
    core.tasks.spawn_on(watch, &core.drivers.handle);
}
