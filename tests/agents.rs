//! Agents that nodes run by themselves: real processes, killed, stopped, made to fail, on real
//! clusters. Every word of the demo agent is counted.

use std::process::Command;
use std::time::Duration;

use harness::cluster::{Cluster, client};
use harness::load::eventually;
use harness::socket::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tools::demo_agent::story;

const TIMERS: &[&str] =
    &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];

/// A cluster whose nodes each run the demo_agent with these flags.
async fn cluster(nodes: usize, flags: &str) -> Cluster {
    let agent = format!("poet=outlive agent demo {flags}");
    Cluster::up(nodes, &[TIMERS, &["--agent", &agent]].concat()).await
}

async fn post(url: String, body: Value) -> Value {
    let request = client().post(&url).json(&body).timeout(Duration::from_secs(60));
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let answer = answer.json().await.unwrap_or(Value::Null);
    assert!(status.is_success(), "{url}: {status} {answer}");
    answer
}

async fn create(url: &str) {
    eventually("the session is created", async || {
        let answer = client().put(format!("{url}/v1/sessions/s")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

async fn ask(url: &str, input: &str, text: &str) {
    let body = json!({ "id": input, "agent": "poet", "content": { "text": text } });
    post(format!("{url}/v1/sessions/s/inputs"), body).await;
}

/// The log so far, as one node tells it.
async fn events(url: &str) -> Vec<Value> {
    let requested = client().get(format!("{url}/v1/sessions/s/events?limit=10000")).send().await;
    let Ok(answer) = requested else { return Vec::new() };
    let page: Value = answer.json().await.unwrap_or(Value::Null);
    page["events"].as_array().cloned().unwrap_or_default()
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

/// What was put out, as one text.
fn output(events: &[Value]) -> String {
    let output = events.iter().filter(|event| event["type"] == "turn.output");
    output.filter_map(|event| event["text"].as_str()).collect()
}

/// Waits until a node's log is as wanted, and returns it.
async fn until(what: &str, url: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut last = Vec::new();
    eventually(what, async || {
        last = events(url).await;
        wanted(&last)
    })
    .await;
    last
}

/// The process ids of a node's own agents.
fn agents_of(cluster: &Cluster, node: usize) -> Vec<Pid> {
    let parent = cluster.pid(node).to_string();
    let found = Command::new("pgrep").args(["-P", &parent]).output().expect("pgrep runs");
    let pids = String::from_utf8_lossy(&found.stdout);
    pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)).collect()
}

async fn one_agent_of(cluster: &Cluster, node: usize) -> Pid {
    let mut found = None;
    eventually("an agent runs", async || {
        found = agents_of(cluster, node).first().copied();
        found.is_some()
    })
    .await;
    found.expect("it runs")
}

fn lost(events: &[Value]) -> &Value {
    events.iter().find(|event| event["type"] == "agent.lost").expect("it was lost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_is_replaced_at_once_and_no_word_is_lost_or_doubled() {
    let cluster = cluster(1, "--every-ms 20 --words 150").await;
    let url = cluster.url(1);
    create(&url).await;
    ask(&url, "t", "a tale").await;
    until("it speaks", &url, |log| 10 <= count(log, "turn.output")).await;
    let agent = one_agent_of(&cluster, 1).await;
    kill_process(agent, Signal::KILL).expect("it runs");
    let log = until("it ends", &url, |log| 0 < count(log, "turn.completed")).await;
    assert_eq!(output(&log), story::text("a tale", 150));
    assert_eq!(count(&log, "turn.started"), 2);
    assert_eq!(lost(&log)["cause"], "exited");
    let detail = lost(&log)["detail"].as_str().expect("last words");
    assert!(detail.contains("signal: 9"), "{detail}");
    assert_ne!(one_agent_of(&cluster, 1).await, agent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agent_is_suspected_and_replaced_and_its_zombie_writes_nothing() {
    let cluster = cluster(1, "--every-ms 20 --words 150").await;
    let url = cluster.url(1);
    create(&url).await;
    ask(&url, "t", "a tale").await;
    until("it speaks", &url, |log| 10 <= count(log, "turn.output")).await;
    let agent = one_agent_of(&cluster, 1).await;
    kill_process(agent, Signal::STOP).expect("it runs");
    eventually("it is suspected", async || {
        let status = client().get(format!("{url}/v1/sessions/s")).send().await;
        let status: Value = status.expect("an answer").json().await.expect("JSON");
        let health = &status["turns"][0]["health"];
        ["suspect", "stalled", "recovering"].iter().any(|name| health == name)
    })
    .await;
    until("it is lost", &url, |log| 0 < count(log, "agent.lost")).await;
    // Killed by now, or about to be.
    let _gone = kill_process(agent, Signal::CONT);
    let log = until("it ends", &url, |log| 0 < count(log, "turn.completed")).await;
    assert_eq!(output(&log), story::text("a tale", 150));
    assert_eq!(count(&log, "turn.started"), 2);
    eventually("it is killed", async || !agents_of(&cluster, 1).contains(&agent)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_hears_steers_answers_and_the_cancel() {
    let cluster = cluster(1, "--every-ms 20 --words 100000").await;
    let url = cluster.url(1);
    create(&url).await;
    ask(&url, "t", "a tale /ask").await;
    until("it asks", &url, |log| 0 < count(log, "interaction.requested")).await;
    let body = json!({ "id": "more", "agent": "poet", "content": { "text": "with whales" } });
    post(format!("{url}/v1/sessions/s/inputs"), body).await;
    let log = until("it is delivered", &url, |log| 0 < count(log, "input.delivered")).await;
    let delivered = log.iter().find(|event| event["type"] == "input.delivered").expect("there");
    assert_eq!(delivered["input"], "more");
    // Answering over HTTP is another's; the steer is taken in after the question's end or the cancel.
    let body = json!({ "turn": "t", "reason": "enough" });
    post(format!("{url}/v1/sessions/s/cancel"), body).await;
    ask(&url, "t2", "another /words 10").await;
    let log = until("the next ends", &url, |log| 0 < count(log, "turn.completed")).await;
    // It stopped as it was told: it was not replaced.
    assert_eq!(count(&log, "agent.lost"), 0);
    let cancelled = log.iter().position(|event| event["type"] == "turn.cancelled");
    let later = &log[cancelled.expect("it was cancelled")..];
    assert_eq!(output(later), story::text("another /words 10", 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_ignores_a_cancel_is_killed_behind_the_grace() {
    let mut cluster = Cluster::up(1, TIMERS).await;
    cluster.stop(1).await;
    let file = cluster.data_dir(1).join("agents.toml");
    let text = "[agents.poet]\ncommand = [\"outlive\", \"agent\", \"demo\", \"--capacity\", \"1\"]\n\
                cancel_grace_ms = 500\n";
    std::fs::write(&file, text).expect("written");
    cluster.add_flags(&["--config", &file.to_string_lossy()]);
    cluster.start(1);
    cluster.ready(1).await;
    let url = cluster.url(1);
    create(&url).await;
    ask(&url, "t", "a tale /deaf").await;
    until("it speaks", &url, |log| 10 <= count(log, "turn.output")).await;
    let agent = one_agent_of(&cluster, 1).await;
    post(format!("{url}/v1/sessions/s/cancel"), json!({ "turn": "t" })).await;
    ask(&url, "t2", "another /words 5").await;
    // There is room for one: who holds it must go first.
    let log = until("the next ends", &url, |log| 0 < count(log, "turn.completed")).await;
    assert_ne!(one_agent_of(&cluster, 1).await, agent);
    let cancelled = log.iter().position(|event| event["type"] == "turn.cancelled");
    let later = &log[cancelled.expect("it was cancelled")..];
    assert_eq!(output(later), story::text("another /words 5", 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_goes_on_with_another_nodes_agent_when_its_node_is_killed() {
    // Their leases do not run out while anybody waits.
    let mut cluster = cluster(3, "--every-ms 30 --words 200 --lease-ms 600000").await;
    create(&cluster.url(1)).await;
    ask(&cluster.url(1), "t", "a tale").await;
    let log = until("it speaks", &cluster.url(1), |log| 10 <= count(log, "turn.output")).await;
    assert_eq!(count(&log, "turn.started"), 1);
    let status = client().get(format!("{}/v1/sessions/s", cluster.url(1))).send().await;
    let status: Value = status.expect("an answer").json().await.expect("JSON");
    let worker = status["turns"][0]["worker"].as_str().expect("a worker").to_owned();
    let node = worker.split_whitespace().nth(1).and_then(|node| node.parse().ok());
    let node: usize = node.expect("its name says where it is");
    cluster.kill(node);
    let other = cluster.url(1 + node % 3);
    let log = until("it ends", &other, |log| 0 < count(log, "turn.completed")).await;
    assert_eq!(output(&log), story::text("a tale", 200));
    assert!(2 <= count(&log, "turn.started"));
    assert_eq!(lost(&log)["cause"], "node_gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_goes_on_at_once_when_its_node_is_killed_and_is_back() {
    // Nobody misses a node that is alone, and of three one that is quick.
    for nodes in [1, 3] {
        let mut cluster = cluster(nodes, "--every-ms 30 --words 200 --lease-ms 600000").await;
        create(&cluster.url(1)).await;
        ask(&cluster.url(1), "t", "a tale").await;
        until("it speaks", &cluster.url(1), |log| 10 <= count(log, "turn.output")).await;
        let status = client().get(format!("{}/v1/sessions/s", cluster.url(1))).send().await;
        let status: Value = status.expect("an answer").json().await.expect("JSON");
        let worker = status["turns"][0]["worker"].as_str().expect("a worker").to_owned();
        let node = worker.split_whitespace().nth(1).and_then(|node| node.parse().ok());
        let node: usize = node.expect("its name says where it is");
        cluster.kill(node);
        cluster.start(node);
        cluster.ready(node).await;
        let url = cluster.url(node);
        let log = until("it ends", &url, |log| 0 < count(log, "turn.completed")).await;
        assert_eq!(output(&log), story::text("a tale", 200));
        assert_eq!(lost(&log)["cause"], "node_gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_node_that_does_not_lead_are_lost_with_it_and_those_of_others_are_not() {
    let mut cluster = Cluster::up(3, TIMERS).await;
    create(&cluster.url(1)).await;
    let leader = cluster.leader("s").await;
    let (gone, stays) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let worker = async |node: usize, agent: &str| {
        let mut client = Client::open_at(&cluster.url(node), "/v1/agents/ws", "none").await;
        let register = json!({ "type": "register", "agent": agent, "worker": format!("w{node}"), "lease_ms": 600_000 });
        client.send(&register).await;
        client.typed("registered").await;
        client
    };
    let begin = async |agent: &str| {
        let body = json!({ "id": agent, "agent": agent, "content": { "text": "go" } });
        post(format!("{}/v1/sessions/s/inputs", cluster.url(leader)), body).await;
    };
    let (mut lost_worker, mut kept_worker) = (worker(gone, "a").await, worker(stays, "b").await);
    begin("a").await;
    begin("b").await;
    let taken = lost_worker.typed("turn").await;
    assert_eq!(taken["turn"], "a");
    let kept = kept_worker.typed("turn").await;
    let mut next = worker(stays, "a").await;
    cluster.kill(gone);
    let again = next.typed("turn").await;
    assert_eq!((&again["turn"], &again["attempt"]), (&taken["turn"], &json!(2)));
    let log = events(&cluster.url(leader)).await;
    assert_eq!((count(&log, "agent.lost"), &lost(&log)["cause"]), (1, &json!("node_gone")));
    kept_worker.emit(&kept, 0, "still here").await;
    let emitted = |log: &[Value]| output(log) == "still here";
    until("the other worker speaks", &cluster.url(leader), emitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_crashes_leaves_its_last_words_and_one_that_fails_too_often_rests() {
    let agent = "frail=sh -c 'echo broken >&2; exit 7'";
    let story = "poet=outlive agent demo --every-ms 10 --words 30";
    let cluster = Cluster::up(1, &[TIMERS, &["--agent", agent, "--agent", story]].concat()).await;
    let url = cluster.url(1);
    create(&url).await;
    ask(&url, "t", "a tale /exit").await;
    let log = until("it ends", &url, |log| 0 < count(log, "turn.completed")).await;
    assert_eq!(output(&log), story::text("a tale /exit", 30));
    let detail = lost(&log)["detail"].as_str().expect("last words");
    assert!(detail.contains("status: 3") && detail.contains("exits as its input says"), "{detail}");
    eventually("the frail one rests", async || {
        let log = cluster.log_end(1);
        log.contains("failed too often and rests") && log.contains("broken")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_gives_its_agents_turns_away_unharmed() {
    let mut cluster = cluster(2, "--every-ms 50 --words 400").await;
    create(&cluster.url(1)).await;
    ask(&cluster.url(1), "t", "a tale").await;
    until("it speaks", &cluster.url(1), |log| 5 <= count(log, "turn.output")).await;
    let status = client().get(format!("{}/v1/sessions/s", cluster.url(1))).send().await;
    let status: Value = status.expect("an answer").json().await.expect("JSON");
    let worker = status["turns"][0]["worker"].as_str().expect("a worker").to_owned();
    let node: usize = if worker.starts_with("node 1 ") { 1 } else { 2 };
    let agent = one_agent_of(&cluster, node).await;
    assert!(cluster.stop(node).await.success());
    assert!(kill_process(agent, Signal::CONT).is_err(), "its process is gone");
    // Two are a majority only together.
    cluster.start(node);
    cluster.ready(node).await;
    let log = until("it ends", &cluster.url(1), |log| 0 < count(log, "turn.completed")).await;
    assert_eq!(output(&log), story::text("a tale", 400));
    assert_eq!(lost(&log)["cause"], "released");
}
