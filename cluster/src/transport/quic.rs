//! The transport between processes: one QUIC link for each pair of nodes, mutually authenticated.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, RwLock},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, TransportConfig, crypto::rustls::QuicClientConfig,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BoxFuture, CallError, Gate, Lane, LinkStats, Service, SocketBuffers, Stream, TlsError,
    TlsFiles, TlsMaterial, Transport, accept, dial,
    handshake::{CLOSE_SHUTDOWN, Hello},
    identity::Identity,
    peer::Peer,
    renew,
    settings::{self, Drivers},
    socket,
};
use crate::{essential::essential, ids::NodeId};

/// How long a shutdown waits for closed links to drain.
const DRAIN: Duration = Duration::from_secs(3);

/// What a transport needs to know.
#[derive(Debug)]
pub struct QuicConfig {
    /// This node.
    pub local: NodeId,
    /// Id of the cluster; must be the one in the certificate.
    pub cluster: String,
    /// Random id of this node's disk, which peers pin.
    pub store: u128,
    /// The UDP address to listen at; port 0 takes a free one.
    pub listen: SocketAddr,
    /// This node's certificate and key, and the authorities that peers' must be from.
    pub tls: TlsMaterial,
    /// Where it was read, if it is to be read again when the files change.
    pub tls_files: Option<TlsFiles>,
    /// Peers known from the start, each as `host:port`.
    pub peers: Vec<(NodeId, String)>,
    /// A link without a packet for this long is dead.
    pub idle_timeout: Duration,
    /// A quiet link is probed this often.
    pub keep_alive: Duration,
    /// Runtime for quinn's drivers and Raft's lanes; the caller's own where absent.
    pub control: Option<Handle>,
}

impl QuicConfig {
    /// A configuration without peers: links die after 4 s of silence and are probed every 500 ms.
    pub fn new(
        local: NodeId,
        cluster: impl Into<String>,
        store: u128,
        listen: SocketAddr,
        tls: TlsMaterial,
    ) -> QuicConfig {
        QuicConfig {
            local,
            cluster: cluster.into(),
            store,
            listen,
            tls,
            tls_files: None,
            peers: Vec::new(),
            idle_timeout: Duration::from_secs(4),
            keep_alive: Duration::from_millis(500),
            control: None,
        }
    }
}

/// Why a transport did not start. Nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate names another node or cluster.
    #[error("the certificate is for {found}, not for {wanted}")]
    Identity {
        /// The name in it.
        found: String,
        /// The name of this node.
        wanted: String,
    },
    /// The address is not to be had.
    #[error("cannot listen on {listen}: {error}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// What every task of one transport shares.
pub(super) struct Core {
    pub(super) own: Hello,
    pub(super) local_addr: SocketAddr,
    pub(super) service: Arc<dyn Service>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) main: Handle,
    pub(super) drivers: Arc<Drivers>,
    tls: RwLock<Arc<TlsMaterial>>,
    transport: Arc<TransportConfig>,
    endpoint: Mutex<Option<Endpoint>>,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    complaint: Mutex<Option<(String, Instant)>>,
}

impl Core {
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.lock().expect("nothing panics while it holds the endpoint").clone()
    }

    pub(super) fn client_config(&self, expected: Identity) -> Result<ClientConfig, String> {
        let tls = self.tls().client(expected).map_err(|error| error.to_string())?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        Ok(config)
    }

    /// What new links begin under.
    pub(super) fn tls(&self) -> Arc<TlsMaterial> {
        self.tls.read().expect("nothing panics while it holds the certificates").clone()
    }

    pub(super) fn set_tls(&self, tls: Arc<TlsMaterial>) {
        *self.tls.write().expect("nothing panics while it holds the certificates") = tls;
    }

    pub(super) fn transport(&self) -> Arc<TransportConfig> {
        self.transport.clone()
    }

    pub(super) fn all_peers(&self) -> Vec<Arc<Peer>> {
        self.peers().values().cloned().collect()
    }

    /// The peer, known from now on; its dialler sleeps until there is an address.
    pub(super) fn peer(self: &Arc<Self>, id: NodeId) -> Arc<Peer> {
        let mut peers = self.peers();
        if let Some(peer) = peers.get(&id) {
            return peer.clone();
        }
        let peer = Arc::new(Peer::new(id, self.stop.child_token()));
        peers.insert(id, peer.clone());
        let keep = essential("dialler", dial::keep(self.clone(), peer.clone()));
        let keep = peer.stop.clone().run_until_cancelled_owned(keep);
        self.tasks.spawn_on(keep, &self.drivers.handle);
        peer
    }

    /// Returns whether `reason` is news, so that strangers cannot flood the logs.
    pub(super) fn first_complaint(&self, reason: &str, now: Instant, again: Duration) -> bool {
        let mut last = self.complaint.lock().expect("nothing panics while it holds the complaint");
        let known = last
            .as_ref()
            .is_some_and(|(text, at)| text == reason && now.duration_since(*at) < again);
        if !known {
            *last = Some((reason.into(), now));
        }
        !known
    }

    fn known(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.peers().get(&id).cloned()
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Peer>>> {
        self.peers.lock().expect("nothing panics while it holds the peers")
    }

    fn close(&self) -> Option<Endpoint> {
        let endpoint =
            self.endpoint.lock().expect("nothing panics while it holds the endpoint").take();
        if let Some(endpoint) = &endpoint {
            endpoint.close(CLOSE_SHUTDOWN, b"shutting down");
        }
        self.stop.cancel();
        self.tasks.close();
        endpoint
    }
}

/// The transport between processes. Dropping it closes every link without waiting.
pub struct QuicTransport {
    core: Arc<Core>,
    buffers: SocketBuffers,
}

impl QuicTransport {
    /// Binds the socket, and keeps links to all known peers from now on. Must run inside tokio.
    ///
    /// # Errors
    /// Nothing runs and no port is taken.
    pub fn start(
        config: QuicConfig,
        service: Arc<dyn Service>,
        gate: Arc<dyn Gate>,
    ) -> Result<Arc<QuicTransport>, StartError> {
        let wanted = Identity { cluster: config.cluster.clone(), node: config.local };
        let found = config.tls.identity()?;
        if found != wanted {
            let (found, wanted) = (found.to_string(), wanted.to_string());
            return Err(StartError::Identity { found, wanted });
        }
        let transport = settings::transport(config.idle_timeout, config.keep_alive);
        let server = renew::accepting(&config.tls, &config.cluster, transport.clone())?;

        let main = Handle::current();
        let handle = config.control.unwrap_or_else(|| main.clone());
        let drivers = Arc::new(Drivers { handle, tasks: TaskTracker::new() });
        let listen = |error| StartError::Listen { listen: config.listen, error };
        let (socket, buffers) = socket::bind(config.listen).map_err(listen)?;
        let endpoint =
            Endpoint::new(EndpointConfig::default(), Some(server), socket, drivers.clone())
                .map_err(listen)?;
        let core = Arc::new(Core {
            own: Hello::new(config.cluster, config.local, config.store, rand::random()),
            local_addr: endpoint.local_addr().map_err(listen)?,
            service,
            gate,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            main,
            drivers,
            tls: RwLock::new(Arc::new(config.tls)),
            transport,
            endpoint: Mutex::new(Some(endpoint.clone())),
            peers: Mutex::default(),
            complaint: Mutex::default(),
        });
        let accept = essential("acceptor", accept::run(core.clone(), endpoint));
        let accept = core.stop.clone().run_until_cancelled_owned(accept);
        core.tasks.spawn_on(accept, &core.drivers.handle);
        if let Some(files) = config.tls_files {
            let renew = essential("certificates", renew::run(core.clone(), files));
            let renew = core.stop.clone().run_until_cancelled_owned(renew);
            core.tasks.spawn_on(renew, &core.main);
        }
        let transport = Arc::new(QuicTransport { core, buffers });
        for (id, addr) in config.peers {
            transport.set_peer(id, addr);
        }
        Ok(transport)
    }

    /// Where this node listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.core.local_addr
    }

    /// Socket buffers as the kernel gave them.
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// Counts for every known peer, ascending.
    pub fn stats(&self) -> Vec<LinkStats> {
        let peers = self.core.all_peers();
        let stats = |peer: &Arc<Peer>| {
            let link = peer.link();
            peer.counters.stats(peer.id, link.as_ref().map(|link| &link.connection))
        };
        peers.iter().map(stats).collect()
    }

    fn link(&self, to: NodeId) -> Result<Arc<super::link::Link>, CallError> {
        let link = self.core.known(to).and_then(|peer| peer.link());
        link.ok_or_else(|| CallError::Unreachable(format!("no link to {to}")))
    }
}

impl Transport for QuicTransport {
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<Result<Bytes, CallError>> {
        let until = Instant::now() + deadline;
        match self.link(to).and_then(|link| link.lane(lane).submit(request)) {
            Ok(mut ticket) => async move {
                match timeout_at(until, ticket.answer()).await {
                    Ok(answer) => answer,
                    Err(_) => Err(ticket.expire()),
                }
            }
            .boxed(),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }

    fn tell(&self, to: NodeId, lane: Lane, note: Bytes) {
        if let Ok(link) = self.link(to) {
            link.lane(lane).note(note);
        }
    }

    fn open(
        &self,
        to: NodeId,
        priority: i32,
        hello: Bytes,
    ) -> BoxFuture<Result<Stream, CallError>> {
        let link = self.link(to);
        async move { link?.open(priority, hello).await }.boxed()
    }

    fn set_peer(&self, id: NodeId, addr: String) {
        if id != self.core.own.node && !self.core.stop.is_cancelled() {
            self.core.peer(id).set_addr(addr);
        }
    }

    fn remove_peer(&self, id: NodeId) {
        let peer = self.core.peers().remove(&id);
        if let Some(peer) = peer {
            peer.stop.cancel();
            if let Some(link) = peer.link() {
                link.close(CLOSE_SHUTDOWN, "the peer was removed");
            }
        }
    }

    fn connected(&self) -> Vec<NodeId> {
        let peers = self.core.peers();
        peers.values().filter(|peer| peer.link().is_some()).map(|peer| peer.id).collect()
    }

    fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        let peers = self.core.peers();
        let linked = peers.values().filter_map(|peer| Some((peer.id, peer.link()?)));
        linked.map(|(peer, link)| (peer, link.connection.rtt())).collect()
    }

    fn local(&self) -> NodeId {
        self.core.own.node
    }

    fn shutdown(&self) -> BoxFuture<()> {
        let endpoint = self.core.close();
        let core = self.core.clone();
        async move {
            core.tasks.wait().await;
            if let Some(endpoint) = endpoint {
                // Lets peers receive the close; one that is gone must not hold us up.
                let _ = timeout(DRAIN, endpoint.wait_idle()).await;
            }
            core.peers().clear();
            core.drivers.tasks.close();
            let _ = timeout(DRAIN, core.drivers.tasks.wait()).await;
        }
        .boxed()
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.core.close();
    }
}
