//! The demo's cluster: three processes of this binary on loopback, and the agents that they start.
//!
//! Nothing of it outlives the demo: nodes die with the process that started them, agents when
//! their node's end of the pipe closes, and the directory is removed.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use cluster::ids::NodeId;
use cluster::transport::make_node_cert;
use tempfile::TempDir;

use super::process::{self, Blow, Process};

/// Nodes of the demo: as few as survive the loss of one.
pub(super) const NODES: usize = 3;
/// Name of the agent that all nodes run.
pub(super) const AGENT: &str = "demo";
const CLUSTER: &str = "demo";
/// Time after which the agents of a node that died are missed, in milliseconds.
const LEASE_MS: u64 = 3000;

/// Three nodes; they count from 1.
pub(super) struct Nodes {
    dir: TempDir,
    exe: PathBuf,
    ports: Vec<Ports>,
    /// The port of the page.
    page: Option<u16>,
    running: Vec<Option<Child>>,
    /// Agents that were seen: one that is stopped does not notice that its node is gone.
    agents: Vec<Process>,
}

#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    peer: u16,
}

/// An agent's process, and the node that minds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agent {
    pub(super) node: usize,
    pub(super) process: Process,
}

impl Nodes {
    /// Makes certificates and starts all nodes; they are not ready yet. The page on this port may send them requests.
    ///
    /// # Errors
    /// Names what is missing; what was started is gone then.
    pub(super) fn start_all(page: Option<u16>) -> anyhow::Result<Nodes> {
        sweep();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().context("make a directory")?;
        let exe = std::env::current_exe().context("find this binary")?;
        for node in 1..=NODES as u64 {
            make_node_cert(&dir.path().join("tls"), CLUSTER, NodeId(node))
                .with_context(|| format!("the certificate of node {node} cannot be made"))?;
        }
        let running = (0..NODES).map(|_| None).collect();
        let mut nodes = Nodes { dir, exe, ports: free_ports()?, page, running, agents: Vec::new() };
        for node in 1..=NODES {
            nodes.start(node)?;
        }
        Ok(nodes)
    }

    /// Where clients reach a node.
    pub(super) fn url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node - 1].http)
    }

    pub(super) fn urls(&self) -> Vec<String> {
        (1..=NODES).map(|node| self.url(node)).collect()
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// It runs already, or its process cannot be started.
    pub(super) fn start(&mut self, node: usize) -> anyhow::Result<u32> {
        if let Some(pid) = self.pid(node) {
            bail!("node {node} runs already, as process {pid}");
        }
        let dir = self.dir.path();
        let log = File::options().create(true).append(true).open(self.log(node))?;
        let ports = self.ports[node - 1];
        let mut command = Command::new(&self.exe);
        command
            .args(["serve", "--cluster", CLUSTER, "--node-id", &node.to_string()])
            .args(["--listen", &format!("127.0.0.1:{}", ports.http)])
            .args(["--peer-listen", &format!("127.0.0.1:{}", ports.peer)])
            .arg("--data-dir")
            .arg(dir.join(format!("node-{node}")))
            .arg("--tls-dir")
            .arg(dir.join("tls"))
            // A busy machine must not look like a dead node.
            .args(["--election-min-ms", "400", "--election-max-ms", "800"])
            .args(["--agent", &format!("{AGENT}=outlive agent demo --lease-ms {LEASE_MS}")]);
        // Elsewhere they end when the demo does so in peace.
        if cfg!(target_os = "linux") {
            command.args(["--ends-with", &std::process::id().to_string()]);
        }
        if let Some(port) = self.page {
            let origins = format!("http://127.0.0.1:{port},http://localhost:{port}");
            command.args(["--allow-origin", &origins]);
        }
        for (other, Ports { http, peer }) in self.ports.iter().enumerate() {
            let member = format!("{}=127.0.0.1:{peer}@http://127.0.0.1:{http}", other + 1);
            command.args(["--member", &member]);
        }
        // What is meant for a node of the user's own is not meant for these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OUTLIVE_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("node {node} cannot be started"))?;
        let pid = child.id();
        self.running[node - 1] = Some(child);
        Ok(pid)
    }

    /// kill -9, and gone; its process id.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn kill(&mut self, node: usize) -> anyhow::Result<u32> {
        self.note_agents();
        let Some(mut child) = self.running[node - 1].take() else {
            bail!("node {node} does not run");
        };
        child.kill()?;
        child.wait()?;
        Ok(child.id())
    }

    /// The process of a node, if it runs.
    pub(super) fn pid(&mut self, node: usize) -> Option<u32> {
        let running = &mut self.running[node - 1];
        // One that ended by itself is let go, so that the page shows it as down.
        if running.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
            *running = None;
        }
        running.as_ref().map(Child::id)
    }

    /// The agents that run now.
    pub(super) fn agents(&mut self) -> Vec<Agent> {
        let mut agents = Vec::new();
        for node in 1..=NODES {
            let Some(pid) = self.pid(node) else { continue };
            let found = process::descendants(pid).into_iter();
            agents.extend(found.map(|process| Agent { node, process }));
        }
        agents
    }

    /// Sends a signal to an agent; the agent that it was.
    ///
    /// # Errors
    /// No agent of these nodes has this process id.
    pub(super) fn strike(&mut self, pid: u32, blow: Blow) -> anyhow::Result<Agent> {
        self.note_agents();
        let agent = self.agents().into_iter().find(|agent| agent.process.pid == pid);
        match agent {
            Some(agent) if agent.process.strike(blow) => Ok(agent),
            _ => bail!("no agent has the process id {pid}"),
        }
    }

    /// The last lines that a node wrote.
    pub(super) fn log_end(&self, node: usize) -> String {
        let log = fs::read_to_string(self.log(node)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn log(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}.log"))
    }

    fn note_agents(&mut self) {
        self.agents.retain(Process::lives);
        let now = self.agents();
        self.agents.extend(now.into_iter().map(|agent| agent.process));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.note_agents();
        for child in self.running.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        for agent in &self.agents {
            agent.strike(Blow::Kill);
        }
    }
}

const PREFIX: &str = "outlive-demo-";

/// Removes what demos left behind that were killed themselves.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if !fs::exists(format!("/proc/{owner}")).unwrap_or(true) {
            // Another's directory cannot be removed, and need not be.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ports that are free now; all are held until all are known, so that no two are the same.
fn free_ports() -> anyhow::Result<Vec<Ports>> {
    let mut held = Vec::new();
    for _ in 0..NODES {
        held.push((TcpListener::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?));
    }
    let ports = held.iter().map(|(http, peer)| {
        Ok(Ports { http: http.local_addr()?.port(), peer: peer.local_addr()?.port() })
    });
    ports.collect()
}
