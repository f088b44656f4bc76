//! One node inside the test's process, alone, on a free port and a temporary directory.

use outlive::config::{LogFormat, ServeConfig};
use outlive::node::Node;

pub struct TestNode {
    pub url: String,
    pub node: Node,
    _dir: tempfile::TempDir,
}

/// Starts a node and waits until it is ready.
pub async fn start_single() -> TestNode {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = ServeConfig {
        node_id: 1,
        cluster: "test".into(),
        listen: ([127, 0, 0, 1], 0).into(),
        peer_listen: None,
        data_dir: dir.path().join("data"),
        members: Vec::new(),
        tls_dir: None,
        groups: 2,
        heartbeat_ms: 50,
        election_min_ms: 100,
        election_max_ms: 200,
        checkpoint_entries: 64,
        long_poll_ms: 500,
        log: LogFormat::Text,
    };
    let node = Node::start(&config, None).await.expect("the node starts");
    while !node.runtime.not_ready().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    TestNode { url: format!("http://{}", node.address), node, _dir: dir }
}
