//! The demo as people and CI start it: the script passes, only its own page is obeyed, and nothing outlives it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use harness::browser::{self, DevTools};
use harness::cluster::client;
use harness::load::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn demo(arguments: &[&str], temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlive"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

fn left_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn the_script_passes_every_row() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(&["--headless"], temporary.path()).output().expect("the demo runs");
    let (received, why) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{received}");
    assert!(output.status.success(), "{received}\n{why}");
    assert!(received.contains("lost 0 | duplicated 0 | out of order 0"), "{received}");
    assert_eq!(left_in(temporary.path()), Vec::<String>::new());
}

/// A demo with its page.
struct Page {
    child: Child,
    url: String,
}

impl Page {
    fn open(temporary: &Path) -> Page {
        let mut command = demo(&["--port", "0"], temporary);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the demo runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut page = Page { child, url: String::new() };
        let mut lines = output.lines().map(|line| line.expect("text"));
        let at = lines.find_map(|line| line.trim().strip_prefix("open ").map(str::to_owned));
        page.url = at.expect("it tells where the page is").trim_end_matches('/').to_owned();
        page
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
        self.child.wait().expect("our own child")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn state(url: &str) -> Value {
    let answer = client().get(format!("{url}/state")).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

/// The processes of all nodes and agents.
fn processes(state: &Value) -> Vec<i64> {
    let nodes = state["nodes"].as_array().expect("nodes");
    let agents = nodes.iter().flat_map(|node| node["agents"].as_array().expect("agents"));
    nodes.iter().chain(agents).filter_map(|process| process["pid"].as_i64()).collect()
}

fn lives(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    state.flatten().is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[tokio::test]
async fn only_its_own_page_can_hurt_the_demo() {
    let temporary = tempfile::tempdir().expect("a directory");
    let page = Page::open(temporary.path());
    let url = page.url.clone();
    let answer = client().get(&url).send().await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    let text = answer.text().await.expect("a page");
    let (_, rest) = text.split_once("name=\"demo-key\" content=\"").expect("a key");
    let key = rest.split('"').next().expect("a key");
    let before = state(&url).await["nodes"][1]["pid"].as_i64().expect("node 2 runs");
    let act = async |origin: &str, key: &str| {
        let request = client().post(format!("{url}/act")).header("origin", origin);
        let request =
            request.header("x-demo-key", key).json(&json!({ "do": "kill-node", "node": 2 }));
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    for (origin, key) in [("http://evil.example", key), (url.as_str(), "0"), (url.as_str(), "")] {
        assert_eq!(act(origin, key).await.0, 403, "{origin}");
    }
    assert!(lives(before));
    let (status, received) = act(&url, key).await;
    assert_eq!(status, 200, "{received}");
    assert!(received.contains(&format!("kill -9 {before}")), "{received}");
    assert_eq!(state(&url).await["nodes"][1]["pid"], Value::Null);
    assert!(!lives(before));
    assert!(page.end(Signal::TERM).success());
    assert_eq!(left_in(temporary.path()), Vec::<String>::new());
}

/// What the page does is done in a browser: it asks, the answer comes word by word, and a stop ends it.
#[tokio::test]
async fn the_page_asks_and_stops_in_a_browser() {
    let Some(chromium) = browser::chromium() else { return };
    let (temporary, dir) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
    let page = Page::open(temporary.path());
    let _browser = browser::open(&chromium, dir.path(), &[DevTools::FLAG], &page.url);
    let mut tools = DevTools::of(dir.path()).await;
    let mut shows = async |what: &str, expression: &str| {
        eventually(what, async || tools.value(expression).await == true).await;
    };
    shows("what can be asked", "!!document.querySelector('#asks button')").await;
    shows("it is clicked", "(document.querySelector('#asks button').click(), true)").await;
    let words = "(document.querySelector('.answer .content')?.textContent.split(' ').length ?? 0)";
    shows("an answer comes", &format!("10 < {words}")).await;
    shows("nothing is amiss", "document.querySelector('#hint').hidden").await;
    shows("it is stopped", "(document.querySelector('#stop').click(), true)").await;
    shows("it is free again", "document.querySelector('#send').textContent === 'Ask'").await;
    assert!(page.end(Signal::TERM).success());
}

#[tokio::test]
async fn nothing_outlives_a_demo_that_is_killed() {
    let temporary = tempfile::tempdir().expect("a directory");
    let page = Page::open(temporary.path());
    let mut all = Vec::new();
    eventually("three nodes and three agents run", async || {
        all = processes(&state(&page.url).await);
        6 <= all.len()
    })
    .await;
    // One that is frozen sees no end of its pipe.
    let agent = i32::try_from(all[3]).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(agent, Signal::STOP).expect("an agent of ours");
    page.end(Signal::KILL);
    eventually("nodes and agents are gone", async || !all.iter().any(|pid| lives(*pid))).await;
    // Its data is removed by the next one.
    let next = Page::open(temporary.path());
    assert_eq!(left_in(temporary.path()).len(), 1);
    assert!(next.end(Signal::INT).success());
    assert_eq!(left_in(temporary.path()), Vec::<String>::new());
}
