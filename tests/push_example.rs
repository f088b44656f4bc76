//! The route of `docs/examples/ai-sdk` as an agent, where Node.js is there.

use std::process::{Child, Command, Stdio};

use harness::endpoint::{ask, node, until};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs the example with its dependencies; none where this machine has no Node.js or no packages.
fn example() -> Option<(Running, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/ai-sdk");
    if !std::path::Path::new(dir).join("node_modules/ai").exists() {
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(dir);
        if !install.status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: the AI SDK cannot be installed here; its example was not run");
            return None;
        }
    }
    let mut node = Command::new("node");
    node.arg("agent.mjs").current_dir(dir).env("PORT", "0").stdout(Stdio::piped());
    let mut running = Running(node.spawn().ok()?);
    let stdout = running.0.stdout.take().expect("it is piped");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let port = line.trim().rsplit(' ').next().expect("a port").to_owned();
    Some((running, format!("http://127.0.0.1:{port}/api/chat")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_built_with_the_ai_sdk_is_an_agent() {
    let Some((_running, route)) = example() else { return };
    let agent = format!("kind = \"push\"\nprotocol = \"ai-sdk\"\nurl = \"{route}\"");
    let (cluster, _file) = node(&agent).await;
    let url = cluster.url(1);
    ask(&url, "t1", "say this back to me").await;
    let received = until(&url, "turn.completed").await;
    let output: String =
        received.iter().filter_map(|received| received.strip_prefix("text:")).collect();
    assert_eq!(output, "say this back to me", "{received:?}");
}
