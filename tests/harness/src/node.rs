//! One node inside the test's process, alone, on a free port and a temporary directory.

use std::sync::Arc;

use cluster::clock::{Clock, SystemClock};
use outlive::config::{LogFormat, ServeConfig, WebhookReach};
use outlive::node::Node;

/// Pages of this origin may send requests to a node of a test.
#[allow(dead_code, reason = "not every test is a page")]
pub const ALLOWED_ORIGIN: &str = "http://page.example:3000";

pub struct TestNode {
    pub url: String,
    pub node: Node,
    dir: tempfile::TempDir,
}

impl TestNode {
    /// Stops the node and starts it again with what is on its disk.
    #[allow(dead_code, reason = "not every test restarts its node")]
    pub async fn restart(self) -> TestNode {
        self.restart_as(|_| ()).await
    }

    /// The same with another configuration.
    #[allow(dead_code, reason = "not every test restarts its node")]
    pub async fn restart_as(self, change: impl FnOnce(&mut ServeConfig)) -> TestNode {
        self.node.stop().await;
        start(self.dir, Arc::new(SystemClock), change).await
    }
}

/// Starts a node and waits until it is ready.
pub async fn start_single() -> TestNode {
    start_single_by(Arc::new(SystemClock)).await
}

/// The same by a clock of the test's choice.
pub async fn start_single_by(clock: Arc<dyn Clock>) -> TestNode {
    start(tempfile::tempdir().expect("a temporary directory"), clock, |_| ()).await
}

/// The same with another configuration.
#[allow(dead_code, reason = "not every test configures its node")]
pub async fn start_single_with(change: impl FnOnce(&mut ServeConfig)) -> TestNode {
    let dir = tempfile::tempdir().expect("a temporary directory");
    start(dir, Arc::new(SystemClock), change).await
}

async fn start(
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    change: impl FnOnce(&mut ServeConfig),
) -> TestNode {
    let mut config = ServeConfig {
        node_id: 1,
        cluster: "test".into(),
        listen: ([127, 0, 0, 1], 0).into(),
        peer_listen: None,
        data_dir: dir.path().join("data"),
        members: Vec::new(),
        join: false,
        tls_dir: None,
        groups: 2,
        heartbeat_ms: 50,
        election_min_ms: 100,
        election_max_ms: 200,
        checkpoint_entries: 64,
        long_poll_ms: 500,
        file_keep_ms: 24 * 60 * 60 * 1000,
        erase_within_ms: 0,
        webhook_reach: WebhookReach::Loopback,
        allow_hosts: Vec::new(),
        allow_origins: vec![ALLOWED_ORIGIN.parse().expect("an origin")],
        public: outlive::config::PublicConfig::default(),
        admin_listen: None,
        root_key: None,
        insecure: false,
        client_tls: None,
        issuers: Vec::new(),
        log: LogFormat::Text,
        agents: Vec::new(),
        quotas: None,
    };
    change(&mut config);
    let node = Node::start_by(&config, None, clock).await.expect("the node starts");
    while !node.runtime.overview.not_ready().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    TestNode { url: format!("http://{}", node.address), node, dir }
}
