//! A cluster of real processes on loopback: started, killed -9, paused and ended by process id.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster::ids::NodeId;
use cluster::transport::{make_dev_ca, make_node_cert};
use serde_json::Value;
use tokio::time::Instant;

/// How long anything may take that is only slow.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Cluster {
    dir: PathBuf,
    /// Removes the directory, unless the test failed.
    keep: Option<tempfile::TempDir>,
    ports: Vec<(u16, u16)>,
    children: Vec<Option<Child>>,
    http: reqwest::Client,
    flags: Vec<String>,
    /// How many nodes were there at the bootstrap; the others join.
    bootstrapped: usize,
    /// Size of each node's disk, in MiB, where it has one of its own.
    disk_mib: Option<u32>,
}

impl Cluster {
    /// Starts `count` nodes with further `flags` and waits until all are ready.
    pub async fn up(count: usize, flags: &[&str]) -> Cluster {
        Cluster::up_on(count, flags, None).await
    }

    /// The same, with the data of each node on a disk of its own that only it sees, gone with its
    /// process. Needs user namespaces; see [`has_own_disks`].
    pub async fn up_on(count: usize, flags: &[&str], disk_mib: Option<u32>) -> Cluster {
        let keep =
            tempfile::Builder::new().prefix("outlive-chaos-").tempdir().expect("a directory");
        let dir = keep.path().to_path_buf();
        make_dev_ca(&dir.join("tls")).expect("a certificate authority");
        for node in 1..=count {
            make_node_cert(&dir.join("tls"), "chaos", NodeId(node as u64)).expect("a certificate");
        }
        let mut cluster = Cluster {
            dir,
            keep: Some(keep),
            ports: free_ports(count),
            children: (0..count).map(|_| None).collect(),
            http: client(),
            flags: flags.iter().map(|flag| (*flag).to_string()).collect(),
            bootstrapped: count,
            disk_mib,
        };
        for node in 1..=count {
            cluster.start(node);
        }
        for node in 1..=count {
            cluster.ready(node).await;
        }
        cluster
    }

    /// Gives further flags to nodes that are started from now on.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_string()));
    }

    /// Starts one node more, which waits to be taken in; returns its number.
    pub fn start_newcomer(&mut self) -> usize {
        self.ports.extend(free_ports(1));
        self.children.push(None);
        let node = self.size();
        make_node_cert(&self.dir.join("tls"), "chaos", NodeId(node as u64)).expect("a certificate");
        self.start(node);
        node
    }

    /// Runs `outlive cluster …` against one node, to its end.
    pub async fn run(&self, node: usize, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(binary());
        command.arg("cluster").args(arguments).args(["--url", &self.url(node)]);
        command.stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("no panic").expect("the binary starts")
    }

    pub fn size(&self) -> usize {
        self.ports.len()
    }

    pub fn url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node - 1].0)
    }

    pub fn urls(&self) -> Vec<String> {
        (1..=self.size()).map(|node| self.url(node)).collect()
    }

    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    /// Starts a node's process; it may not be ready yet.
    pub fn start(&mut self, node: usize) {
        let (http, peer) = self.ports[node - 1];
        let log = File::options().create(true).append(true).open(self.log(node)).expect("a log");
        let mut command = self.command(node);
        command
            .arg("serve")
            .args(["--node-id", &node.to_string(), "--cluster", "chaos"])
            .args(["--listen", &format!("127.0.0.1:{http}")])
            .args(["--peer-listen", &format!("127.0.0.1:{peer}")])
            .arg("--data-dir")
            .arg(self.data_dir(node))
            .arg("--tls-dir")
            .arg(self.dir.join("tls"));
        for (other, (http, peer)) in self.ports.iter().enumerate() {
            let member = format!("{}=127.0.0.1:{peer}@http://127.0.0.1:{http}", other + 1);
            command.args(["--member", &member]);
        }
        if self.bootstrapped < node {
            command.arg("--join");
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OUTLIVE_") {
                command.env_remove(name);
            }
        }
        command.args(&self.flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children[node - 1] = Some(command.spawn().expect("the binary starts"));
    }

    /// The binary, on a disk of its own if it is to have one.
    fn command(&self, node: usize) -> Command {
        let Some(mib) = self.disk_mib else { return Command::new(binary()) };
        std::fs::create_dir_all(self.data_dir(node)).expect("a directory");
        let mut command = Command::new("unshare");
        let mount = format!("mount -t tmpfs -o size={mib}m,mode=0700 none \"$0\" && exec \"$@\"");
        command.args(["-rm", "sh", "-c", &mount]).arg(self.data_dir(node)).arg(binary());
        command
    }

    /// Other data fills a node's own disk, down to less than its reserve; the file that does.
    #[allow(dead_code, reason = "not every test fills a disk")]
    pub fn fill_disk(&self, node: usize) -> (PathBuf, File) {
        let filler = self.own_disk(node).join("filler");
        let space = rustix::fs::statvfs(self.own_disk(node)).expect("its disk");
        let free = space.f_bavail * space.f_frsize;
        let file = File::create(&filler).expect("a file on its disk");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free - (100 << 20))
            .expect("room for the filler");
        (filler, file)
    }

    /// Process id of a running node.
    pub fn pid(&self, node: usize) -> u32 {
        self.children[node - 1].as_ref().expect("it runs").id()
    }

    /// The node's data as the node itself sees it.
    pub fn own_disk(&self, node: usize) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid(node)));
        root.join(self.data_dir(node).strip_prefix("/").expect("an absolute path"))
    }

    /// Waits until a node reports that it is ready.
    pub async fn ready(&mut self, node: usize) {
        let url = format!("{}/readyz", self.url(node));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = self.http.get(&url).send().await
                && answer.status().is_success()
            {
                return;
            }
            let ended = self.children[node - 1].as_mut().and_then(|c| c.try_wait().ok().flatten());
            if ended.is_some() || deadline < Instant::now() {
                panic!(
                    "node {node} is not ready ({ended:?}); its log ends:\n{}",
                    self.log_end(node)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// kill -9, and gone.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node - 1].take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// Signals a node to stop and waits until its process is gone.
    pub async fn stop(&mut self, node: usize) -> std::process::ExitStatus {
        self.signal(node, rustix::process::Signal::TERM);
        self.ended(node).await
    }

    /// Waits until a node's process has ended by itself.
    pub async fn ended(&mut self, node: usize) -> std::process::ExitStatus {
        let mut child = self.children[node - 1].take().expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "node {node} does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn pause(&self, node: usize) {
        self.signal(node, rustix::process::Signal::STOP);
    }

    pub fn resume(&self, node: usize) {
        self.signal(node, rustix::process::Signal::CONT);
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.children[node - 1].is_some()
    }

    /// The node that leads the session's shard, as one of `asked` believes.
    pub async fn leader(&self, session: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for node in (1..=self.size()).filter(|node| self.is_up(*node)) {
                let url = format!("{}/v1/sessions/{session}/home", self.url(node));
                let Ok(answer) = self.http.get(url).send().await else { continue };
                let Ok(home) = answer.json::<Value>().await else { continue };
                if let Some(leader) = home["leader"].as_u64() {
                    let leader = usize::try_from(leader).expect("a small number");
                    if self.is_up(leader) {
                        return leader;
                    }
                }
            }
            assert!(Instant::now() < deadline, "nobody knows who leads {session}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps the directory for those who look for the cause.
    pub fn keep(&mut self) -> &Path {
        if let Some(keep) = self.keep.take() {
            let _path = keep.keep();
        }
        &self.dir
    }

    fn signal(&self, node: usize, signal: rustix::process::Signal) {
        let child = self.children[node - 1].as_ref().expect("it runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("our own child");
    }

    fn log(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}.log"))
    }

    /// Where the nodes have their certificates, and the authority.
    pub fn tls_dir(&self) -> PathBuf {
        self.dir.join("tls")
    }

    /// How many lines of a node's log have this text.
    pub fn logged(&self, node: usize, text: &str) -> usize {
        let log = std::fs::read_to_string(self.log(node)).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    pub fn log_end(&self, node: usize) -> String {
        let log = std::fs::read_to_string(self.log(node)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs and data are kept in {}", self.keep().display());
        }
        for node in 1..=self.size() {
            self.kill(node);
        }
    }
}

/// Whether nodes can have disks of their own here.
pub fn has_own_disks() -> bool {
    let mut trial = Command::new("unshare");
    trial.args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"]);
    trial.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A client that answers within a bounded time.
pub fn client() -> reqwest::Client {
    outlive::tls::install();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(2))
        .pool_idle_timeout(Duration::from_secs(5))
        .build()
        .expect("a client")
}

/// The binary under test: this build's, or the one that `CHAOS_BINARY` names.
pub fn binary() -> PathBuf {
    std::env::var_os("CHAOS_BINARY").map_or_else(built, PathBuf::from)
}

/// What was built with the test that runs: cargo puts tests into a directory beside the binaries.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    let beside = test.parent().and_then(Path::parent).expect("it lies two directories deep");
    beside.join("outlive")
}

fn free_ports(count: usize) -> Vec<(u16, u16)> {
    // All are held until all are known, so that no two are the same.
    let held: Vec<_> = (0..count)
        .map(|_| {
            let http = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let peer = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            (http, peer)
        })
        .collect();
    let port = |(http, peer): &(TcpListener, UdpSocket)| {
        (http.local_addr().expect("bound").port(), peer.local_addr().expect("bound").port())
    };
    held.iter().map(port).collect()
}
