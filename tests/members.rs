//! Nodes of a running cluster are replaced, added and removed from the command line, in real processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::cluster::{Cluster, client};
use harness::load::eventually;
use serde_json::{Value, json};
use tokio::time::Instant;

const CALM: &[&str] =
    &["--heartbeat-ms", "200", "--election-min-ms", "800", "--election-max-ms", "1600"];

/// Appends to each session in turn, each text once under its own seq, until it is asked to stop; returns
/// what was acknowledged, by session.
async fn write(
    urls: Vec<String>,
    sessions: Vec<String>,
    stop: Arc<AtomicBool>,
) -> BTreeMap<String, Vec<String>> {
    let mut acknowledged: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seq = 0;
    while !stop.load(Ordering::Relaxed) {
        for session in &sessions {
            let text = format!("{session} {seq}");
            append(&urls, session, seq, &text).await;
            acknowledged.entry(session.clone()).or_default().push(text);
        }
        seq += 1;
    }
    acknowledged
}

/// Appends with a key until it is acknowledged, through whichever node takes it.
async fn append(urls: &[String], session: &str, seq: u64, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        for url in urls {
            let request = client()
                .post(format!("{url}/v1/sessions/{session}/events"))
                .header("Producer-Id", "p")
                .header("Producer-Epoch", "1")
                .header("Producer-Seq", seq.to_string())
                .json(&json!({ "events": [{ "format": "text", "text": text }] }))
                .timeout(Duration::from_secs(10));
            if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{text} was not taken in time");
}

async fn create(url: &str, session: &str) {
    eventually("the session is created", async || {
        let url = format!("{url}/v1/sessions/{session}");
        client().put(url).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

/// Everything that a session holds, read through one node, linearizably.
async fn read(url: &str, session: &str) -> Vec<String> {
    let mut texts = Vec::new();
    eventually("the log is read", async || {
        texts.clear();
        let mut after = "start".to_string();
        loop {
            let url = format!("{url}/v1/sessions/{session}/events?after={after}&limit=1000");
            let Ok(answer) = client().get(url).send().await else { return false };
            let Ok(page) = answer.json::<Value>().await else { return false };
            let Some(events) = page["events"].as_array() else { return false };
            texts.extend(events.iter().filter_map(|e| e["text"].as_str().map(str::to_owned)));
            after = page["next"].as_str().unwrap_or_default().to_string();
            if page["up_to_date"] == true || events.is_empty() {
                return true;
            }
        }
    })
    .await;
    texts
}

/// Runs a command that must be refused; returns what it says.
async fn refusal(cluster: &Cluster, node: usize, arguments: &[&str]) -> String {
    let output = cluster.run(node, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs a command that must succeed; returns what it says.
async fn done(cluster: &Cluster, node: usize, arguments: &[&str]) -> String {
    let output = cluster.run(node, arguments).await;
    let emitted = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?} said:\n{emitted}{error}");
    emitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_while_writes_go_on() {
    let flags = [CALM, &["--groups", "4", "--checkpoint-entries", "32"]].concat();
    let mut cluster = Cluster::up(3, &flags).await;
    let sessions: Vec<String> = (0..6).map(|number| format!("s-{number}")).collect();
    for session in &sessions {
        create(&cluster.url(1), session).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let urls = vec![cluster.url(1), cluster.url(3)];
    let tasks = tokio_util::task::TaskTracker::new();
    let writer = tasks.spawn(write(urls, sessions.clone(), stop.clone()));

    cluster.kill(2);
    std::fs::remove_dir_all(cluster.data_dir(2)).expect("our own directory");

    // What cannot be done is said, and changes nothing.
    let received = refusal(&cluster, 1, &["replace", "2", "--with", "4"]).await;
    assert!(received.contains("node 4 does not answer"), "{received}");
    let received = refusal(&cluster, 3, &["leave", "3"]).await;
    assert!(
        received.contains("would have no majority: of its voters 1, 2 only 1 would answer"),
        "{received}"
    );
    let received = refusal(&cluster, 3, &["leave", "7"]).await;
    assert!(received.contains("node 7 is no member; members are 1, 2, 3"), "{received}");

    assert_eq!(cluster.start_newcomer(), 4);
    eventually("node 4 waits", async || {
        let answer = client().get(format!("{}/readyz", cluster.url(4))).send().await;
        answer.is_ok_and(|answer| answer.status().as_u16() == 503)
    })
    .await;
    let mut emitted = String::new();
    eventually("node 2 is replaced", async || {
        // Node 4 takes a moment to find the others.
        let output = cluster.run(3, &["replace", "2", "--with", "4"]).await;
        emitted = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    })
    .await;
    assert!(emitted.contains("node 4 takes the place of node 2"), "{emitted}");
    assert!(emitted.contains("members 1, 3, 4"), "{emitted}");
    for shard in ["system group", "shard 1 ", "shard 4 "] {
        let line = emitted.lines().rfind(|line| line.starts_with(shard));
        assert!(line.is_some_and(|line| line.ends_with("done, voters 1, 3, 4")), "{emitted}");
    }
    let again = done(&cluster, 1, &["replace", "2", "--with", "4"]).await;
    assert!(again.contains("that was agreed on before"), "{again}");
    cluster.ready(4).await;

    let received = refusal(&cluster, 4, &["join", "2"]).await;
    assert!(received.contains("an id is never used again"), "{received}");

    // The new voter counts: with node 1 gone it is needed for every majority.
    cluster.kill(1);
    append(&[cluster.url(3), cluster.url(4)], "s-0", 0, "s-0 0").await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.expect("the writer ended well");
    for (session, texts) in &acknowledged {
        assert!(!texts.is_empty());
        assert_eq!(read(&cluster.url(4), session).await, *texts, "{session} at node 4");
    }

    // Whoever comes back under the old number has no access and ends.
    cluster.start(2);
    assert!(!cluster.ended(2).await.success());
    let log = cluster.log_end(2);
    assert!(log.contains("node 2 is no member any more"), "the log says:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_and_a_live_one_leaves_and_ends() {
    let flags = [CALM, &["--groups", "6"]].concat();
    let mut cluster = Cluster::up(3, &flags).await;
    let sessions: Vec<String> = (0..12).map(|number| format!("s-{number}")).collect();
    for session in &sessions {
        create(&cluster.url(1), session).await;
        append(&[cluster.url(1)], session, 0, "before").await;
    }
    let node = cluster.start_newcomer();
    eventually("node 4 joins", async || cluster.run(2, &["join", "4"]).await.status.success())
        .await;
    cluster.ready(node).await;
    // Wherever a session has moved to, every node serves it.
    for session in &sessions {
        append(&[cluster.url(4)], session, 1, "between").await;
        for node in 1..=4 {
            assert_eq!(read(&cluster.url(node), session).await, ["before", "between"]);
        }
    }
    let emitted = done(&cluster, 4, &["leave", "2"]).await;
    assert!(emitted.contains("members 1, 3, 4"), "{emitted}");
    // It learns that it was removed, and ends.
    assert!(!cluster.ended(2).await.success());
    let log = cluster.log_end(2);
    assert!(log.contains("node 2 is no member any more"), "the log says:\n{log}");
    for session in &sessions {
        append(&[cluster.url(1)], session, 2, "after").await;
        for node in [1, 3, 4] {
            assert_eq!(read(&cluster.url(node), session).await, ["before", "between", "after"]);
        }
    }
}
