//! The demo: three real nodes and a scripted agent on this machine, a page to watch and hurt them
//! from, and a script that does what the page offers and judges what comes of it.
//!
//! It is a client like any other: whatever is shown comes over the public API (S2, S7). Only
//! signals to processes and their ids go through a server of its own. `page/` is the page: the
//! `EventSource` and `fetch` of every browser, on the public API.

mod door;
mod nodes;
mod play;
mod process;
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

pub use self::play::play;

use self::nodes::{NODES, Nodes};
use self::server::Server;

/// Where the page is if no port is given and this one is free.
const PORT: u16 = 4400;
/// Time that nodes have to get ready; a machine may be busy with much else.
const READY: Duration = Duration::from_secs(180);
/// Pause between two looks at something that will come.
const LOOK: Duration = Duration::from_millis(50);
/// The one conversation of the page.
const SESSION: &str = "demo";
/// Time without any watcher after which the agent pauses; a refresh is quicker.
const UNWATCHED_MS: u64 = 10_000;

/// Serves the page until it is ended.
///
/// # Errors
/// Nodes cannot be started, or the port cannot be had. Nothing is left behind.
pub async fn show(port: Option<u16>) -> anyhow::Result<()> {
    let listener = listen(port).await?;
    let at = listener.local_addr()?;
    println!("starting three nodes …");
    let requested = stop_signal()?;
    let running = async {
        let nodes = Arc::new(Mutex::new(Nodes::start_all(Some(at.port()))?));
        let http = http()?;
        ready(&http, &nodes).await?;
        create(&http, &nodes, SESSION, UNWATCHED_MS).await?;
        let server = Server::new(at.port(), nodes.clone(), SESSION)?;
        for node in 1..=NODES {
            let mut nodes = nodes.lock().expect("no holder panics");
            let pid = nodes.pid(node).unwrap_or_default();
            println!("node {node}  {}  process {pid}", nodes.url(node));
        }
        println!("\n  open http://{at}/\n\nCtrl-C ends everything and removes its data.");
        server.run(listener).await;
        Ok(())
    };
    tokio::select! {
        ended = running => ended,
        () = requested => Ok(()),
    }
}

async fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let address = ("127.0.0.1", port.unwrap_or(PORT));
    match TcpListener::bind(address).await {
        Err(why) if port.is_none() && why.kind() == std::io::ErrorKind::AddrInUse => {
            Ok(TcpListener::bind(("127.0.0.1", 0)).await?)
        }
        bound => bound.with_context(|| format!("listen on 127.0.0.1:{}", address.1)),
    }
}

/// Resolves when the process is signalled to end. From the call on, that does not end it by itself, so
/// that what it started is ended first.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn http() -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).no_proxy();
    Ok(builder.pool_idle_timeout(Duration::from_secs(5)).build()?)
}

/// Waits until every node reports that it is ready.
async fn ready(http: &reqwest::Client, nodes: &Mutex<Nodes>) -> anyhow::Result<()> {
    for node in 1..=NODES {
        node_ready(http, nodes, node).await?;
    }
    Ok(())
}

async fn node_ready(
    http: &reqwest::Client,
    nodes: &Mutex<Nodes>,
    node: usize,
) -> anyhow::Result<()> {
    let url = format!("{}/readyz", nodes.lock().expect("no holder panics").url(node));
    let deadline = Instant::now() + READY;
    loop {
        let answer = http.get(&url).timeout(Duration::from_secs(2)).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        let ended = nodes.lock().expect("no holder panics").pid(node).is_none();
        if ended || deadline < Instant::now() {
            let log = nodes.lock().expect("no holder panics").log_end(node);
            bail!(
                "node {node} {}; its log ends:\n{log}",
                if ended { "ended" } else { "is not ready" }
            );
        }
        sleep(LOOK).await;
    }
}

/// Creates a session in which an input to a busy agent is a correction, and which pauses unwatched.
async fn create(
    http: &reqwest::Client,
    nodes: &Mutex<Nodes>,
    session: &str,
    unwatched_ms: u64,
) -> anyhow::Result<()> {
    let urls = nodes.lock().expect("no holder panics").urls();
    let policy = json!({ "when_busy": "steer", "unwatched": { "pause_after_ms": unwatched_ms } });
    let deadline = Instant::now() + READY;
    for url in urls.iter().cycle() {
        let request = http.put(format!("{url}/v1/sessions/{session}"));
        let answer = request.json(&json!({ "policy": policy })).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if answer.status().is_client_error() => {
                let problem: Value = answer.json().await.unwrap_or_default();
                bail!("the session cannot be created: {problem}");
            }
            _ if deadline < Instant::now() => break,
            _ => sleep(LOOK).await,
        }
    }
    bail!("no node creates the session")
}
