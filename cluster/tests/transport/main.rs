//! What the transport promises, over real sockets and over the memory network.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use cluster::{
    ids::NodeId,
    limits::{FRAME_BYTES, LANE_QUEUE_FRAMES, STREAM_HELLO_BYTES},
    transport::*,
};
use futures::FutureExt;
use tokio::time::{sleep, timeout};

mod certificates;
mod lanes;
mod links;
mod memory;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const LONG: Duration = Duration::from_secs(60);

/// A service that records what it sees and answers by the first byte of the request.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<(Lane, Bytes)>>,
    stuck: AtomicU64,
    streams: AtomicU64,
}

impl Recorder {
    fn seen(&self, lane: Lane) -> Vec<Bytes> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(on, _)| *on == lane).map(|(_, bytes)| bytes.clone()).collect()
    }
}

impl Service for Recorder {
    fn call(&self, _: NodeId, lane: Lane, request: Bytes) -> BoxFuture<Result<Bytes, String>> {
        self.seen.lock().unwrap().push((lane, request.clone()));
        match request.first() {
            Some(b'!') => async { Err("no".to_string()) }.boxed(),
            Some(b'p') => panic!("a service that panics"),
            Some(b'~') => {
                self.stuck.fetch_add(1, SeqCst);
                futures::future::pending().boxed()
            }
            _ => async move { Ok(request) }.boxed(),
        }
    }

    fn stream(&self, _: NodeId, hello: Bytes, mut stream: Stream) -> BoxFuture<()> {
        self.streams.fetch_add(1, SeqCst);
        async move {
            match &hello[..] {
                b"echo" => {
                    while let Some(Ok(message)) = stream.recv().await {
                        if stream.send(message).await.is_err() {
                            return;
                        }
                    }
                    let _ = stream.finish().await;
                }
                b"drop" => {
                    let _ = stream.send("half".into()).await;
                }
                _ => futures::future::pending::<()>().await,
            }
        }
        .boxed()
    }
}

/// A gate that refuses with a text, when it has one, and remembers refusals and stores.
#[derive(Default)]
struct Guard {
    refuse: Option<&'static str>,
    pinned: Mutex<BTreeMap<NodeId, u128>>,
    refusals: Mutex<Vec<(NodeId, String)>>,
    /// A disk that takes its time: it answers when it is told to, and says whether it was.
    slow: Option<Mutex<std::sync::mpsc::Receiver<()>>>,
    reported: AtomicU64,
}

impl Gate for Guard {
    fn admit(&self, peer: NodeId, store: u128) -> Result<(), String> {
        if let Some(text) = self.refuse {
            return Err(text.into());
        }
        if let Some(slow) = &self.slow {
            let reported = slow.lock().unwrap().recv_timeout(Duration::from_secs(3));
            self.reported.fetch_add(u64::from(reported.is_ok()), SeqCst);
        }
        match *self.pinned.lock().unwrap().entry(peer).or_insert(store) {
            pinned if pinned == store => Ok(()),
            pinned => Err(format!("{peer} had the disk {pinned}, now it has {store}")),
        }
    }

    fn refused(&self, by: NodeId, reason: String) {
        self.refusals.lock().unwrap().push((by, reason));
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn config(dir: &Path, id: NodeId) -> QuicConfig {
    let files = make_node_cert(dir, "blue", id).unwrap();
    let tls = TlsMaterial::load(&files).unwrap();
    let mut config = QuicConfig::new(id, "blue", u128::from(id.0) + 100, any_port(), tls);
    config.keep_alive = Duration::from_millis(100);
    config
}

struct Node {
    transport: Arc<QuicTransport>,
    service: Arc<Recorder>,
    gate: Arc<Guard>,
}

fn start_with(config: QuicConfig, gate: Guard) -> Node {
    let (service, gate) = (Arc::new(Recorder::default()), Arc::new(gate));
    let transport = QuicTransport::start(config, service.clone(), gate.clone()).unwrap();
    Node { transport, service, gate }
}

fn start(config: QuicConfig) -> Node {
    start_with(config, Guard::default())
}

fn meet(a: &Node, b: &Node) {
    a.transport.set_peer(b.transport.local(), b.transport.local_addr().to_string());
    b.transport.set_peer(a.transport.local(), a.transport.local_addr().to_string());
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(LONG, async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came true: {what}");
}

async fn linked(a: &Node, b: &Node) {
    let (one, two) = (a.transport.local(), b.transport.local());
    until("both are linked", || {
        a.transport.connected() == [two] && b.transport.connected() == [one]
    })
    .await;
}

async fn pair(dir: &Path) -> (Node, Node) {
    let (a, b) = (start(config(dir, ONE)), start(config(dir, TWO)));
    meet(&a, &b);
    linked(&a, &b).await;
    (a, b)
}

async fn stop(nodes: [Node; 2]) {
    for node in &nodes {
        timeout(LONG, node.transport.shutdown()).await.expect("a shutdown ends");
    }
}

fn numbered(number: u64) -> Bytes {
    Bytes::from(format!("#{number}"))
}
