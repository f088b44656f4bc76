//! The first messages on a new link: who uses which protocol for which disk, and whether it may.
//!
//! The dialler opens the control lane and sends a hello; the acceptor queries its gate and sends a hello; the
//! dialler queries its gate, opens the other lanes and sends a welcome. Only then is a call served, on
//! either side. A refusal closes the link with its reason, so the refused side gets it.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use serde::{Deserialize, Serialize};

use super::{
    Gate, LANES, Lane,
    frame::{self, Decoder, Frame, HEADER_BYTES, Kind},
    identity::Identity,
};
use crate::{blocking::off_thread, codec, ids::NodeId, limits::REASON_BYTES};

/// Version of the hello record itself.
const HELLO_VERSION: u8 = 1;
/// Version of what follows on the lanes.
const PROTOCOL: u32 = 1;
/// A hello larger than this is no hello.
const HELLO_BYTES: usize = 1024;

/// Application codes of a closed link; sent between nodes, so they never change.
pub(super) const CLOSE_SHUTDOWN: VarInt = VarInt::from_u32(0);
pub(super) const CLOSE_PROTOCOL: VarInt = VarInt::from_u32(1);
pub(super) const CLOSE_REFUSED: VarInt = VarInt::from_u32(2);
pub(super) const CLOSE_REPLACED: VarInt = VarInt::from_u32(3);

/// What a node sends about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) cluster: String,
    pub(super) node: NodeId,
    pub(super) store: u128,
    /// Random for each start of a process, which distinguishes a restarted peer from a slow one.
    pub(super) instance: u64,
}

impl Hello {
    pub(super) fn new(cluster: String, node: NodeId, store: u128, instance: u64) -> Hello {
        Hello { protocol: PROTOCOL, cluster, node, store, instance }
    }
}

/// Why no link came to be.
#[derive(Debug)]
pub(super) enum GreetError {
    /// The peer let us not in, for this reason.
    Refused(NodeId, String),
    /// Anything else, our own refusal included.
    Failed(String),
}

/// The two directions of one lane, and what was read of it beyond its first frame.
pub(super) type LaneStreams = (SendStream, RecvStream, Decoder);

/// A link on which both sides have let each other in.
pub(super) struct Greeted {
    pub(super) connection: Connection,
    pub(super) peer: Hello,
    /// Who dialled.
    pub(super) dialler: NodeId,
    pub(super) lanes: Vec<LaneStreams>,
}

/// The dialler's side; the handshake has proved that the peer is `expected`.
pub(super) async fn dialled(
    connection: Connection,
    own: &Hello,
    expected: NodeId,
    gate: &Arc<dyn Gate>,
) -> Result<Greeted, GreetError> {
    match dialled_inner(&connection, own, expected, gate).await {
        Ok((peer, lanes)) => Ok(Greeted { connection, peer, dialler: own.node, lanes }),
        Err(reason) => Err(diagnose(&connection, expected, reason)),
    }
}

async fn dialled_inner(
    connection: &Connection,
    own: &Hello,
    expected: NodeId,
    gate: &Arc<dyn Gate>,
) -> Result<(Hello, Vec<LaneStreams>), String> {
    let mut lanes: Vec<LaneStreams> = Vec::with_capacity(LANES);
    let (mut send, mut recv) = connection.open_bi().await.map_err(text)?;
    set_priority(&send, Lane::Control.priority());
    let mut decoder = Decoder::default();
    write(&mut send, Kind::Hello, 0, codec::encode(HELLO_VERSION, own).into()).await?;
    let peer = hello(read_first(&mut recv, &mut decoder, HELLO_BYTES).await?, own, expected)?;
    admit(connection, gate, &peer).await?;
    lanes.push((send, recv, decoder));
    for lane in Lane::all().into_iter().skip(1) {
        let (mut send, recv) = connection.open_bi().await.map_err(text)?;
        set_priority(&send, lane.priority());
        write(&mut send, Kind::Lane, lane.index() as u64, Bytes::new()).await?;
        lanes.push((send, recv, Decoder::default()));
    }
    write(&mut lanes[0].0, Kind::Welcome, 0, Bytes::new()).await?;
    Ok((peer, lanes))
}

/// The acceptor's side; the peer's name is taken from its certificate.
pub(super) async fn accepted(
    connection: Connection,
    own: &Hello,
    gate: &Arc<dyn Gate>,
) -> Result<Greeted, GreetError> {
    let identity = peer_identity(&connection).map_err(GreetError::Failed)?;
    if identity.node == own.node {
        let reason = format!("{} called under our own name", connection.remote_address());
        connection.close(CLOSE_REFUSED, b"this is you");
        return Err(GreetError::Failed(reason));
    }
    match accepted_inner(&connection, own, identity.node, gate).await {
        Ok((peer, lanes)) => Ok(Greeted { connection, peer, dialler: identity.node, lanes }),
        Err(reason) => Err(diagnose(&connection, identity.node, reason)),
    }
}

async fn accepted_inner(
    connection: &Connection,
    own: &Hello,
    from: NodeId,
    gate: &Arc<dyn Gate>,
) -> Result<(Hello, Vec<LaneStreams>), String> {
    let mut lanes: Vec<LaneStreams> = Vec::with_capacity(LANES);
    let (mut send, mut recv) = connection.accept_bi().await.map_err(text)?;
    set_priority(&send, Lane::Control.priority());
    let mut decoder = Decoder::default();
    let peer = hello(read_first(&mut recv, &mut decoder, HELLO_BYTES).await?, own, from)?;
    admit(connection, gate, &peer).await?;
    write(&mut send, Kind::Hello, 0, codec::encode(HELLO_VERSION, own).into()).await?;
    let welcome = read_first(&mut recv, &mut decoder, HELLO_BYTES).await?;
    if welcome.kind != Kind::Welcome {
        return Err(format!("{:?} came before the welcome", welcome.kind));
    }
    lanes.push((send, recv, decoder));
    // Streams are accepted in the order in which they were opened.
    for lane in Lane::all().into_iter().skip(1) {
        let (send, mut recv) = connection.accept_bi().await.map_err(text)?;
        set_priority(&send, lane.priority());
        let mut decoder = Decoder::default();
        let first = read_first(&mut recv, &mut decoder, HELLO_BYTES).await?;
        if first.kind != Kind::Lane || first.id != lane.index() as u64 {
            return Err(format!("{:?} {} is not {lane:?}", first.kind, first.id));
        }
        lanes.push((send, recv, decoder));
    }
    Ok((peer, lanes))
}

/// The first frame of a stream, whose body is at most `limit` bytes; what follows stays in `decoder`.
pub(super) async fn read_first(
    recv: &mut RecvStream,
    decoder: &mut Decoder,
    limit: usize,
) -> Result<Frame, String> {
    loop {
        if let Some(frame) = decoder.next().map_err(text)? {
            return Ok(frame);
        }
        if HEADER_BYTES + limit <= decoder.buffered() {
            return Err("the first frame is too large".into());
        }
        match recv
            .read_chunk(HEADER_BYTES + limit - decoder.buffered(), true)
            .await
            .map_err(text)?
        {
            Some(chunk) => decoder.push(chunk.bytes),
            None => return Err("the stream ended before its first frame".into()),
        }
    }
}

async fn write(send: &mut SendStream, kind: Kind, id: u64, body: Bytes) -> Result<(), String> {
    let mut chunks = frame::chunks(kind, id, body);
    send.write_all_chunks(&mut chunks).await.map_err(text)
}

fn hello(frame: Frame, own: &Hello, expected: NodeId) -> Result<Hello, String> {
    if frame.kind != Kind::Hello {
        return Err(format!("{:?} came before the hello", frame.kind));
    }
    let peer: Hello = codec::decode(HELLO_VERSION, &frame.body).map_err(text)?;
    if peer.protocol != own.protocol {
        return Err(format!("protocol {} is not {}", peer.protocol, own.protocol));
    }
    if peer.cluster != own.cluster {
        return Err(format!("cluster {} is not {}", peer.cluster, own.cluster));
    }
    if peer.node != expected {
        return Err(format!("{} says it is {}", expected, peer.node));
    }
    Ok(peer)
}

/// Queries the gate, which may write to its disk, beside the thread that heartbeats live on.
async fn admit(connection: &Connection, gate: &Arc<dyn Gate>, peer: &Hello) -> Result<(), String> {
    let (gate, node, store) = (gate.clone(), peer.node, peer.store);
    let admitted = off_thread(move || gate.admit(node, store)).await.map_err(text)?;
    admitted.map_err(|reason| {
        connection.close(CLOSE_REFUSED, clip(&reason).as_bytes());
        format!("we refused {}: {reason}", peer.node)
    })
}

/// Distinguishes the peer's refusal from every other failure, and closes what is still open.
fn diagnose(connection: &Connection, peer: NodeId, reason: String) -> GreetError {
    match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(close)) if close.error_code == CLOSE_REFUSED => {
            GreetError::Refused(peer, String::from_utf8_lossy(&close.reason).into_owned())
        }
        Some(ConnectionError::LocallyClosed) => GreetError::Failed(reason),
        Some(error) => GreetError::Failed(error.to_string()),
        None => {
            connection.close(CLOSE_PROTOCOL, clip(&reason).as_bytes());
            GreetError::Failed(reason)
        }
    }
}

fn peer_identity(connection: &Connection) -> Result<Identity, String> {
    let certificates = connection.peer_identity().ok_or("the peer has no certificate")?;
    let chain = certificates
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .map_err(|_| "the peer has no certificate")?;
    Identity::of_certificate(chain.first().ok_or("the peer has no certificate")?)
}

/// The longest beginning of `text` that fits into the packet that closes a link.
pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_BYTES)]
}

fn set_priority(send: &SendStream, priority: i32) {
    // Fails only on a stream that is gone, which the next write reports.
    let _ = send.set_priority(priority);
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_hello_stay_as_they_are() {
        let hello = Hello::new("blue".into(), NodeId(3), 7, 9);
        let bytes = codec::encode(HELLO_VERSION, &hello);
        assert_eq!(bytes, [1, 1, 4, b'b', b'l', b'u', b'e', 3, 7, 9]);
        assert_eq!(codec::decode::<Hello>(HELLO_VERSION, &bytes).unwrap(), hello);
    }

    #[test]
    fn a_clipped_reason_is_still_text() {
        assert_eq!(clip("short"), "short");
        let long = "ä".repeat(REASON_BYTES);
        assert_eq!(clip(&long).len(), REASON_BYTES);
        assert!(clip(&format!("x{long}")).len() < REASON_BYTES);
    }
}
