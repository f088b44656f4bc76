//! A real browser: Chromium without a window, where this machine has it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::cluster::client;
use crate::load::eventually;
use crate::socket::PATIENCE;

/// A browser and all that it started.
pub struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
        self.0.wait().ok();
    }
}

/// The browser of this machine: `CHROMIUM` names it, where it is none of the usual ones. Says aloud that there is none.
pub fn chromium() -> Option<String> {
    let named = std::env::var("CHROMIUM").ok();
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let runs = |name: &String| {
        let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    };
    let found = named.into_iter().chain(usual).find(runs);
    if found.is_none() {
        println!("SKIPPED: there is no Chromium here, so nothing was tested in a browser");
        eprintln!("SKIPPED: there is no Chromium here, so nothing was tested in a browser");
    }
    found
}

/// Opens a page; the profile lies in `dir`.
pub fn open(browser: &str, dir: &Path, more: &[&str], url: &str) -> Browser {
    let profile = dir.join("profile");
    let mut command = Command::new(browser);
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(url)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Browser(command.spawn().expect("the browser starts"))
}

/// What a page is driven by: the DevTools protocol, of a browser that was opened with [`DevTools::FLAG`].
pub struct DevTools(WebSocketStream<TcpStream>, u64);

impl DevTools {
    pub const FLAG: &str = "--remote-debugging-port=0";

    /// Connects to the page of a browser whose profile lies in `dir`.
    pub async fn of(dir: &Path) -> DevTools {
        let mut found = None;
        eventually("the browser has its page", async || {
            let at = fs::read_to_string(dir.join("profile/DevToolsActivePort")).unwrap_or_default();
            let Some(port) = at.lines().next() else { return false };
            let list = client().get(format!("http://127.0.0.1:{port}/json/list")).send().await;
            let Ok(list) = list else { return false };
            let list: Value = list.json().await.unwrap_or_default();
            let mut pages = list.as_array().into_iter().flatten();
            found = pages.find(|target| target["type"] == "page").cloned();
            found.is_some()
        })
        .await;
        let page = found.expect("it was just found");
        let url = page["webSocketDebuggerUrl"].as_str().expect("a URL");
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
        let stream = TcpStream::connect(address.expect("an address")).await.expect("it listens");
        DevTools(client_async(url, stream).await.expect("a WebSocket").0, 0)
    }

    /// The value of an expression in the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        self.1 += 1;
        let request = json!({ "id": self.1, "method": "Runtime.evaluate",
            "params": { "expression": expression, "returnByValue": true, "awaitPromise": true } });
        self.0.send(Message::text(request.to_string())).await.expect("it is taken");
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("an answer in time");
            let frame = frame.expect("the browser lives").expect("a frame");
            let answer: Value = serde_json::from_slice(&frame.into_data()).unwrap_or_default();
            if answer["id"] == self.1 {
                return answer["result"]["result"]["value"].clone();
            }
        }
    }
}
