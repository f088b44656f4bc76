//! One node: everything that runs in a process, from its start to its end.
//!
//! Order of the start: configuration, the client port, the directory, the journal, the store, the links,
//! the groups. Order of the end: leads handed over, clients sent away, groups closed, journal drained.
//!
//! A node whose store fails hands over what it leads, leaves the rest as it is, and begins again.

mod agents;
mod clock;
mod compared;
mod descriptors;
mod held;
mod journal;
mod links;
mod restart;
mod room;
mod signals;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cluster::clock::{Clock, SystemClock};
use cluster::essential::essential;
use cluster::home::{Home, Refusals};
use cluster::host::{Bootstrap, Host, HostParts};
use cluster::ids::NodeId;
use cluster::journal::disk::RealDisk;
use cluster::journal::{Journal, JournalConfig};
use cluster::limits::{JOURNAL_TAIL_BYTES, REPLICATION, SEGMENT_BYTES};
use cluster::membership::Member;
use cluster::raft::{Checkpoints, Timers};
use cluster::transport::{
    QuicConfig, QuicTransport, Service, SingleNode, TlsFiles, TlsMaterial, Transport,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clock::ClockGauges;
use self::compared::ComparisonCounts;
use self::held::HeldByTenants;
use self::journal::JournalCounts;
use self::links::RoundTrips;
use crate::auth::{self, Auth, Quotas};
use crate::config::ServeConfig;
use crate::edge::{self, certificate::Certificate};
use crate::limits::{ABANDON_WAIT, ALONE_SLOWER};
use crate::runtime::agent::body::Agents;
use crate::runtime::erase::Erasure;
use crate::runtime::{Runtime, space};
use crate::store::Store;
use crate::store::fault::Fault;
use crate::subscriptions::Subscriptions;
use crate::telemetry::Metrics;
use crate::tls;

/// Runs the node until it is signalled to stop (SIGTERM or SIGINT). Where its store fails it begins again.
///
/// # Errors
/// Names what kept it from starting or made it stop.
pub fn run(config: ServeConfig) -> anyhow::Result<()> {
    descriptors::raise();
    // Heartbeats and links live on a thread of their own, so that busy sessions never silence a node.
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("outlive-links")
        .enable_all()
        .build()?;
    let work = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(work_threads())
        .thread_name("outlive-work")
        .enable_all()
        .build()?;
    let handle = control.handle().clone();
    let done = work.block_on(async {
        let _signals = signals::survive()?;
        let node = Node::start(&config, Some(handle)).await?;
        tracing::info!(node = config.node_id, address = %node.address, "serving");
        begin_again_at_last(node.store.clone())?;
        let ended = node.until_stopped().await;
        match &ended {
            Ok(End::StoreFailed) => node.abandon().await,
            Ok(End::Requested) | Err(_) => node.stop().await,
        }
        ended
    });
    control.shutdown_background();
    match done? {
        End::Requested => Ok(()),
        End::StoreFailed => Err(restart::in_place()).context("begin again after the store failed"),
    }
}

/// Begins again some time after the store failed, whatever the runtime's threads do by then: writes that do
/// not come back may hold them.
fn begin_again_at_last(store: Fault) -> std::io::Result<()> {
    let wait = move || {
        futures::executor::block_on(store.reported());
        std::thread::sleep(2 * ABANDON_WAIT);
        let error = restart::in_place();
        tracing::error!(%error, "the process cannot begin again; it ends");
        std::process::abort();
    };
    std::thread::Builder::new().name("outlive-restart".into()).spawn(wait).map(drop)
}

/// Why a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a signal.
    Requested,
    /// Nothing more can be written to the store; what it lacks is in the journal.
    StoreFailed,
}

/// Threads for sessions and clients: all cores but the one that links and groups need. Each thread more
/// than there are cores costs switches between them, and helps no task.
fn work_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1))
}

/// A running node.
pub struct Node {
    /// Where clients are served.
    pub address: SocketAddr,
    /// Where operators are, if it is another place.
    pub admin_address: Option<SocketAddr>,
    pub runtime: Arc<Runtime>,
    pub metrics: Arc<Metrics>,
    agents: Agents,
    home: Arc<Home>,
    store: Fault,
    refused: watch::Receiver<Option<String>>,
    journal: Journal,
    writer: JoinHandle<()>,
    edge: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    /// Starts a node; links run on `control` where it is given.
    ///
    /// # Errors
    /// Names what is not usable; nothing runs then.
    pub async fn start(
        config: &ServeConfig,
        control: Option<tokio::runtime::Handle>,
    ) -> anyhow::Result<Node> {
        Node::start_by(config, control, Arc::new(SystemClock)).await
    }

    /// The same by a clock of the caller's choice.
    ///
    /// # Errors
    /// Names what is not usable; nothing runs then.
    pub async fn start_by(
        config: &ServeConfig,
        control: Option<tokio::runtime::Handle>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Node> {
        tls::install();
        let (listener, admin) = listeners(config).await?;
        let address = listener.local_addr()?;
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let settings = settings(config, address)?;
        let local = NodeId(config.node_id);
        let home = Arc::new(Home::open(&config.data_dir, &config.cluster, local)?);
        let dirs = [
            ("journal", config.data_dir.join("journal")),
            ("store", config.data_dir.join("store")),
        ];
        room::wait_for(&dirs, &listener).await.context("look at the disks")?;
        let (journal, writer) = open_journal(&config.data_dir.join("journal"))?;
        let store = Store::open(&config.data_dir.join("store")).context("open the store")?;
        let fault = store.fault().clone();
        let at = (address, clock.clone(), control.clone());
        let parts = host_parts(config, &home, &journal, at);
        let linked = home.clone();
        let links = async |service| links(config, &linked, service, control).await;
        let host = Host::connect(parts, links);
        let host = host.await.context("start the links")?;
        let refused = host.refused();
        let allowances = held::allowances(config.quotas.as_ref());
        let runtime = Runtime::start_within(allowances, &config.cluster, store, host).await;
        if 0 < config.erase_within_ms {
            runtime.erase_deleted(erasure(config, clock.clone()));
        }
        runtime.watch_space(dirs.into_iter().map(|(_, dir)| dir).collect());
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        register(&metrics, &journal, &runtime);
        let sessions = runtime.sessions.clone();
        let subscriptions = Arc::new(Subscriptions::new(sessions, config.webhook_reach));
        let auth = Auth::new(&runtime.sessions, who_may_ask(config, &metrics))?;
        let serving = edge::serve(
            (listener, admin),
            runtime.clone(),
            auth,
            subscriptions.clone(),
            metrics.clone(),
            settings,
            stop.clone(),
        );
        let edge = TaskTracker::new();
        edge.spawn(essential("edge", serving));
        edge.spawn(essential("subscriptions", subscriptions.run(stop.clone())));
        edge.close();
        let bodies = agents::bodies(&config.agents);
        let agents = Agents::start(runtime.workers.clone(), bodies).await;
        let store = fault;
        Ok(Node {
            address,
            admin_address,
            runtime,
            metrics,
            agents,
            home,
            refused,
            store,
            journal,
            writer,
            edge,
            stop,
        })
    }

    /// Waits for a signal to stop, or for the store to fail.
    ///
    /// # Errors
    /// So many peers know this node with another disk that it cannot be part of its cluster, or it was shown that
    /// this disk was rolled back, or it was removed from the cluster: it must not go on.
    pub async fn until_stopped(&self) -> anyhow::Result<End> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (mut refusals, mut refused) = (self.home.refusals(), self.refused.clone());
        let outcast = async {
            let members = &self.runtime.members;
            let out = |refusals: &Refusals| refusals.outcast(members.local(), &members.nodes());
            // The sender lives in the home.
            let refusals = refusals.wait_for(|refusals| out(refusals).is_some()).await;
            refusals.ok().and_then(|refusals| out(&refusals))
        };
        let reason = tokio::select! {
            _ = terminate.recv() => return Ok(End::Requested),
            _ = interrupt.recv() => return Ok(End::Requested),
            _ = self.store.reported() => return Ok(End::StoreFailed),
            reason = outcast => reason,
            reason = refused.wait_for(Option::is_some) => reason.ok().and_then(|why| why.clone()),
        };
        bail!(reason.unwrap_or_else(|| "its peers refuse this node".into()))
    }

    /// Hands over what can be handed over and leaves everything else as it is: the process ends now. What was
    /// acknowledged is in the journal.
    async fn abandon(&self) {
        let work = async {
            self.runtime.drain().await;
            self.agents.stop().await;
        };
        if tokio::time::timeout(ABANDON_WAIT, work).await.is_err() {
            tracing::warn!("not everything could be handed over in time");
        }
    }

    /// Hands over what can be handed over and ends everything; what was acknowledged is on disk.
    pub async fn stop(self) {
        self.agents.stop().await;
        self.runtime.drain().await;
        self.stop.cancel();
        self.edge.wait().await;
        self.runtime.close().await;
        self.journal.close();
        drop(tokio::task::spawn_blocking(move || self.writer.join()).await);
    }
}

fn checkpoints(config: &ServeConfig) -> Checkpoints {
    Checkpoints {
        every_entries: config.checkpoint_entries,
        kept_entries: config.checkpoint_entries / 2,
        lag_entries: config.checkpoint_entries.saturating_mul(4),
    }
}

/// A node without links has no peers to receive its heartbeats, and no elections to lose: its groups wake by them all
/// the same, many times for each. All spans grow together, since a heartbeat that comes near an election is refused.
fn timers(config: &ServeConfig) -> Timers {
    let slower = if config.peer_listen.is_none() { ALONE_SLOWER } else { 1 };
    Timers {
        heartbeat_ms: config.heartbeat_ms * slower,
        election_min_ms: config.election_min_ms * slower,
        election_max_ms: config.election_max_ms * slower,
    }
}

/// What the cluster's side of the node is made of.
fn host_parts(
    config: &ServeConfig,
    home: &Arc<Home>,
    journal: &Journal,
    (address, clock, control): (SocketAddr, Arc<dyn Clock>, Option<tokio::runtime::Handle>),
) -> HostParts {
    HostParts {
        local: NodeId(config.node_id),
        dir: config.data_dir.clone(),
        store: home.store(),
        journal: journal.clone(),
        bootstrap: bootstrap(config, address),
        checkpoints: checkpoints(config),
        timers: timers(config),
        clock,
        removed: home.removed(),
        control,
        secret: home.secret(),
    }
}

fn erasure(config: &ServeConfig, clock: Arc<dyn Clock>) -> Erasure {
    Erasure {
        within_ms: config.erase_within_ms,
        clock,
        file: config.data_dir.join("erase-at"),
        store: config.data_dir.join("store"),
    }
}

/// Where clients come, and operators.
async fn listeners(config: &ServeConfig) -> anyhow::Result<(TcpListener, Option<TcpListener>)> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {} for clients", config.listen))?;
    let Some(at) = config.admin_listen else { return Ok((listener, None)) };
    let admin = TcpListener::bind(at).await;
    Ok((listener, Some(admin.with_context(|| format!("listen on {at} for operators"))?)))
}

/// The links to other nodes; of a node that is alone, none.
async fn links(
    config: &ServeConfig,
    home: &Arc<Home>,
    service: Arc<dyn Service>,
    control: Option<tokio::runtime::Handle>,
) -> std::io::Result<Arc<dyn Transport>> {
    let local = NodeId(config.node_id);
    let Some(listen) = config.peer_listen else { return Ok(Arc::new(SingleNode::new(local))) };
    let files = tls_files(config).map_err(std::io::Error::other)?;
    let tls = TlsMaterial::load(&files).map_err(std::io::Error::other)?;
    let mut quic = QuicConfig::new(local, &config.cluster, home.store(), listen, tls);
    quic.tls_files = Some(files);
    quic.control = control;
    let transport = QuicTransport::start(quic, service, home.clone());
    Ok(transport.map_err(std::io::Error::other)?)
}

fn settings(config: &ServeConfig, address: SocketAddr) -> anyhow::Result<edge::Settings> {
    let ServeConfig { members, allow_hosts, allow_origins, .. } = config;
    let certificate = config.client_tls.clone().map(Certificate::load).transpose();
    Ok(edge::Settings {
        long_poll: Duration::from_millis(config.long_poll_ms),
        file_keep_ms: config.file_keep_ms,
        door: edge::Door::new(address, members, allow_hosts, allow_origins),
        public: config.public.clone(),
        certificate: certificate.map_err(anyhow::Error::msg).context("serve clients by TLS")?,
    })
}

/// Registers the metrics of the node's parts.
fn register(metrics: &Metrics, journal: &Journal, runtime: &Arc<Runtime>) {
    let counts = Box::new(JournalCounts(journal.clone()));
    metrics.register(|registry| registry.register_collector(counts));
    let clocks = Box::new(ClockGauges::new(runtime));
    metrics.register(|registry| registry.register_collector(clocks));
    let counts = Box::new(ComparisonCounts(Arc::downgrade(runtime)));
    metrics.register(|registry| registry.register_collector(counts));
    let ephemerals = &runtime.ephemerals;
    let (sent, dropped) = (ephemerals.sent.clone(), ephemerals.dropped.clone());
    metrics.register(|registry| {
        registry.register("ephemeral", "Messages that are not kept, sent at this node", sent);
        registry.register("ephemeral_dropped", "Of those, found no room at this node", dropped);
    });
    let held = Box::new(HeldByTenants(Arc::downgrade(runtime)));
    metrics.register(|registry| registry.register_collector(held));
    let trips = Box::new(RoundTrips(Arc::downgrade(runtime)));
    metrics.register(|registry| registry.register_collector(trips));
}

fn who_may_ask<'c>(config: &'c ServeConfig, metrics: &Metrics) -> auth::Settings<'c> {
    auth::Settings {
        root_key: config.root_key.clone(),
        issuers: config.issuers.clone(),
        insecure: config.insecure,
        dir: &config.data_dir,
        quotas: Quotas::new(config.quotas.clone(), metrics),
    }
}

fn open_journal(dir: &Path) -> anyhow::Result<(Journal, JoinHandle<()>)> {
    let total = space::look(dir).context("look at the disk of the journal")?.total;
    let config = JournalConfig {
        dir: dir.to_path_buf(),
        segment_bytes: space::piece(total, SEGMENT_BYTES),
        tail_bytes: JOURNAL_TAIL_BYTES,
    };
    let (journal, mut writer) =
        Journal::open(Arc::new(RealDisk), config).context("open the journal")?;
    writer.on_fatal(Box::new(|error| {
        // A failed sync must never be tried again: what the disk has is unknown.
        tracing::error!(%error, "the journal's disk failed; the process ends");
        std::process::abort();
    }));
    let thread = std::thread::Builder::new().name("outlive-journal".into());
    Ok((journal, thread.spawn(move || writer.run())?))
}

fn tls_files(config: &ServeConfig) -> anyhow::Result<TlsFiles> {
    let dir = config.tls_dir.as_ref().context("a cluster needs certificates (tls_dir)")?;
    let name = format!("{}-node-{}", config.cluster, config.node_id);
    Ok(TlsFiles {
        ca: dir.join("ca.pem"),
        cert: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    })
}

fn bootstrap(config: &ServeConfig, address: SocketAddr) -> Bootstrap {
    let local = NodeId(config.node_id);
    let members = if config.members.is_empty() {
        vec![Member { node: local, peer: String::new(), client: format!("http://{address}") }]
    } else {
        let member = |member: &crate::config::Member| Member {
            node: NodeId(member.id),
            peer: member.peer.clone(),
            client: member.http.clone(),
        };
        config.members.iter().map(member).collect()
    };
    let replication = u32::try_from(REPLICATION).expect("replication is small");
    Bootstrap { members, groups: config.groups, replication, join: config.join }
}
