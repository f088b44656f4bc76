//! Peers that hold a certificate and break the rules, or hold none. Tests only.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig,
};
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

use super::{
    BoxFuture, Gate, Lane, QuicConfig, QuicTransport, Service, Stream, TlsMaterial, Transport,
    frame::{self, Kind},
    handshake::{self, CLOSE_PROTOCOL, Greeted, Hello},
    identity::Identity,
    make_node_cert,
};
use crate::ids::NodeId;

const VICTIM: NodeId = NodeId(1);
const HOSTILE: NodeId = NodeId(2);
const LONG: Duration = Duration::from_secs(60);

struct Open;

impl Gate for Open {
    fn admit(&self, _: NodeId, _: u128) -> Result<(), String> {
        Ok(())
    }
    fn refused(&self, _: NodeId, _: String) {}
}

struct Never;

impl Service for Never {
    fn call(&self, _: NodeId, _: Lane, _: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
    fn stream(&self, _: NodeId, _: Bytes, _: Stream) -> BoxFuture<()> {
        Box::pin(async {})
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn material(dir: &Path, id: NodeId) -> TlsMaterial {
    TlsMaterial::load(&make_node_cert(dir, "blue", id).unwrap()).unwrap()
}

fn victim(dir: &Path) -> Arc<QuicTransport> {
    let config = QuicConfig::new(VICTIM, "blue", 1, any_port(), material(dir, VICTIM));
    QuicTransport::start(config, Arc::new(Never), Arc::new(Open)).unwrap()
}

fn open() -> Arc<dyn Gate> {
    Arc::new(Open)
}

fn expected() -> Identity {
    Identity { cluster: "blue".into(), node: VICTIM }
}

async fn connect(victim: &QuicTransport, tls: rustls::ClientConfig) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client(any_port()).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let connecting = endpoint.connect_with(config, victim.local_addr(), "outlive-node").unwrap();
    // In TLS 1.3 a client gets its refusal only after it takes itself for connected.
    (endpoint, connecting.await.unwrap())
}

async fn greet(dir: &Path, victim: &QuicTransport) -> (Endpoint, Greeted) {
    let (endpoint, connection) =
        connect(victim, material(dir, HOSTILE).client(expected()).unwrap()).await;
    let own = Hello::new("blue".into(), HOSTILE, 2, 2);
    let Ok(greeted) = handshake::dialled(connection, &own, VICTIM, &open()).await else {
        panic!("the victim lets its peer in");
    };
    (endpoint, greeted)
}

async fn closed(connection: &Connection) -> ConnectionError {
    timeout(LONG, connection.closed()).await.expect("the victim closes the link")
}

fn broke_the_rules(error: ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_PROTOCOL => {
            String::from_utf8(close.reason.to_vec()).unwrap()
        }
        other => panic!("closed for another reason: {other}"),
    }
}

#[tokio::test]
async fn broken_frames_close_the_link_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let message = frame::chunks(Kind::Message, 0, Bytes::new()).concat();
    let answer = frame::chunks(Kind::Answer, 77, Bytes::new()).concat();
    let cases: [(&[u8], &str); 4] = [
        (&u32::MAX.to_be_bytes(), "a frame of 4294967295 bytes is out of bounds"),
        (&[0, 0, 0, 9, 99, 0, 0, 0, 0, 0, 0, 0, 0], "a frame has the unknown kind 99"),
        (&message, "Message does not belong on a lane"),
        (&answer, "an answer to the unknown call 77"),
    ];
    for (bytes, reason) in cases {
        let victim = victim(home.path());
        let (_endpoint, mut greeted) = greet(home.path(), &victim).await;
        greeted.lanes[1].0.write_all(bytes).await.unwrap();
        assert_eq!(broke_the_rules(closed(&greeted.connection).await), reason);
        victim.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_before_the_hello_is_not_served() {
    let home = tempfile::tempdir().unwrap();
    let victim = victim(home.path());
    let tls = material(home.path(), HOSTILE).client(expected()).unwrap();
    let (_endpoint, connection) = connect(&victim, tls).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let request = frame::chunks(Kind::Request, 1, "now".into()).concat();
    send.write_all(&request).await.unwrap();
    let reason = broke_the_rules(closed(&connection).await);
    assert_eq!(reason, "Request came before the hello");
    victim.shutdown().await;
}

#[tokio::test]
async fn a_hello_under_another_name_than_the_certificate_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let victim = victim(home.path());
    let tls = material(home.path(), HOSTILE).client(expected()).unwrap();
    let (_endpoint, connection) = connect(&victim, tls).await;
    let lie = Hello::new("blue".into(), NodeId(3), 2, 2);
    assert!(handshake::dialled(connection.clone(), &lie, VICTIM, &open()).await.is_err());
    assert_eq!(broke_the_rules(closed(&connection).await), "n2 says it is n3");
    victim.shutdown().await;
}

#[derive(Debug)]
struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let victim = victim(home.path());
    let mut tls = material(home.path(), HOSTILE).client(expected()).unwrap();
    tls.client_auth_cert_resolver = Arc::new(Nothing);
    let (_endpoint, connection) = connect(&victim, tls).await;
    let error = closed(&connection).await;
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    victim.shutdown().await;
}

/// Packets that begin as those of QUIC do, from a sender that nobody knows: what comes back is at most three times what
/// was sent (RFC 9000, 8.1), and peers are let in as ever.
#[tokio::test]
async fn a_flood_of_broken_packets_is_not_amplified_and_peers_come_in() {
    let home = tempfile::tempdir().unwrap();
    let victim = victim(home.path());
    let stranger = tokio::net::UdpSocket::bind(any_port()).await.unwrap();
    stranger.connect(victim.local_addr()).await.unwrap();
    let mut rng = rand::rngs::StdRng::seed_from_u64(24);
    let (mut sent, mut came) = (0, 0);
    let mut answer = [0; 2048];
    for round in 0..6_000_u32 {
        let mut packet = vec![0_u8; rng.random_range(1..1_400)];
        rng.fill(&mut packet[..]);
        let version: u32 = match round % 4 {
            0 => 1,
            // One that asks for those that are known.
            1 => 0x0a0a_0a0a,
            2 => 0,
            _ => rng.random(),
        };
        if round % 5 < 4 && 40 < packet.len() {
            // Long headers, with connection ids of 8 bytes, no token, and a length that is right or wrong.
            packet[0] = 0xc0 | (packet[0] & 0x3f);
            packet[1..5].copy_from_slice(&version.to_be_bytes());
            (packet[5], packet[14], packet[23]) = (8, 8, 0);
            if round % 3 == 0 {
                packet.resize(1_200, 7);
                packet[24..26].copy_from_slice(&(0x4000_u16 | 1_174).to_be_bytes());
            }
        }
        sent += stranger.send(&packet).await.unwrap();
        while let Ok(bytes) = stranger.try_recv(&mut answer) {
            came += bytes;
        }
    }
    let (_endpoint, greeted) = greet(home.path(), &victim).await;
    while let Ok(bytes) = stranger.try_recv(&mut answer) {
        came += bytes;
    }
    assert!(came <= 3 * sent, "{came} bytes for {sent}");
    assert_eq!(greeted.connection.close_reason(), None);
    victim.shutdown().await;
}

#[tokio::test]
async fn a_newer_link_of_the_same_peer_replaces_the_older() {
    let home = tempfile::tempdir().unwrap();
    let victim = victim(home.path());
    let (_first_endpoint, first) = greet(home.path(), &victim).await;
    let (_second_endpoint, second) = greet(home.path(), &victim).await;
    let error = closed(&first.connection).await;
    assert!(error.to_string().contains("replaced by a newer link"), "{error}");
    while victim.connected() != [HOSTILE] {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(second.connection.close_reason(), None);
    assert_eq!(victim.stats()[0].reconnects, 1);
    victim.shutdown().await;
}
