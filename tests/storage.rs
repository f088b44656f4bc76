//! Disks that fail and disks that are full, under a real process: what was acknowledged is there, nothing
//! is there twice, and a node that cannot know what its disk has says no more.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::cluster::{Cluster, client, has_own_disks};
use harness::load::eventually;
use memchr::memmem;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};

/// What nobody may find any more.
const SECRETS: [&str; 6] = [
    "secret-event",
    "secret-input",
    "secret-label",
    "secret-file",
    "secret-trimmed",
    "secret-large",
];

const CALM: &[&str] =
    &["--heartbeat-ms", "200", "--election-min-ms", "800", "--election-max-ms", "1600"];

/// One append with a key, at one node; none if there was no answer.
async fn append(url: &str, seq: u64, bytes: usize) -> Option<(u16, Value)> {
    let text = format!("{seq:06}{}", "x".repeat(bytes));
    let request = client()
        .post(format!("{url}/v1/sessions/s/events"))
        .header("Producer-Id", "p")
        .header("Producer-Epoch", "1")
        .header("Producer-Seq", seq.to_string())
        .json(&json!({ "events": [{ "format": "text", "text": text }] }))
        .timeout(Duration::from_secs(10));
    let answer = request.send().await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.ok()?))
}

async fn create(url: &str) {
    eventually("the session is created", async || {
        let answer = client().put(format!("{url}/v1/sessions/s")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

/// The numbers in the log, in its order.
async fn log(url: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut after = String::new();
    loop {
        let page: Value = client()
            .get(format!("{url}/v1/sessions/s/events?limit=200{after}"))
            .timeout(Duration::from_secs(30))
            .send()
            .await
            .expect("the log can be read")
            .json()
            .await
            .expect("JSON");
        let events = page["events"].as_array().expect("a page");
        let number = |event: &Value| {
            event["text"].as_str().expect("text")[..6].parse::<u64>().expect("a number")
        };
        numbers.extend(events.iter().map(number));
        if page["up_to_date"] == true {
            return numbers;
        }
        after = format!("&after={}", page["next"].as_str().expect("a cursor"));
    }
}

/// Makes every sync of a running process fail from the `nth` on; none where nobody may do that here.
fn break_disk(pid: u32, nth: u32) -> Option<Child> {
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fdatasync,fsync"])
        .args(["-e", &format!("inject=fdatasync,fsync:error=EIO:when={nth}+")])
        .args(["-o", "/dev/null", "-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn();
    let mut strace = strace.ok()?;
    // It is attached once the kernel says so of the process.
    for _ in 0..600 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        if tracer.is_some_and(|tracer| tracer.trim() == strace.id().to_string()) {
            return Some(strace);
        }
        if strace.try_wait().ok()?.is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    strace.kill().ok();
    strace.wait().ok();
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_ends_at_once_and_loses_nothing() {
    for nodes in [1, 3] {
        let mut cluster = Cluster::up(nodes, CALM).await;
        create(&cluster.url(1)).await;
        let leader = cluster.leader("s").await;
        let Some(mut strace) = break_disk(cluster.pid(leader), 40) else {
            println!("SKIPPED: strace cannot attach here, so no disk fails");
            return;
        };
        let mut acked = Vec::new();
        for seq in 0..2_000 {
            match append(&cluster.url(leader), seq, 0).await {
                Some((200, _)) => acked.push(seq),
                other => {
                    // The one whose outcome nobody knows, or a refusal: both are no acknowledgement.
                    assert!(other.is_none_or(|(status, _)| 500 <= status));
                    break;
                }
            }
        }
        let status = cluster.ended(leader).await;
        assert_eq!(status.signal(), Some(6), "it aborts: {status:?}");
        strace.wait().expect("our own child");
        assert!(!acked.is_empty() && acked.len() < 2_000, "the disk failed in between");
        cluster.start(leader);
        cluster.ready(leader).await;
        for node in 1..=nodes {
            let log = log(&cluster.url(node)).await;
            let unknown = log.get(acked.len()..).expect("whatever was acknowledged is there");
            assert_eq!(log[..acked.len()], acked);
            assert!(unknown.len() <= 1, "{unknown:?} was never acknowledged");
        }
        // The same key again: the outcome is known now, and it is one.
        let next = acked.len() as u64;
        eventually("the node goes on", async || {
            append(&cluster.url(leader), next, 0).await.is_some_and(|(status, _)| status == 200)
        })
        .await;
        let all: Vec<u64> = (0..=next).collect();
        assert_eq!(log(&cluster.url(leader)).await, all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_ask_for_no_end_end_no_node_and_a_limit_of_file_sizes_is_a_disk_that_fails() {
    let mut cluster = Cluster::up(1, CALM).await;
    let url = cluster.url(1);
    create(&url).await;
    let pid = Pid::from_raw(cluster.pid(1).cast_signed()).expect("a process");
    for seq in 0..20 {
        kill_process(pid, Signal::HUP).expect("it runs");
        let (status, _) = append(&url, seq, 0).await.expect("an answer");
        assert_eq!(status, 200);
    }
    // Nothing can be written beyond the first sectors of any file.
    let limit = Rlimit { current: Some(4096), maximum: Some(4096) };
    prlimit(Some(pid), Resource::Fsize, limit).expect("it runs, and is ours");
    let mut acked = 20;
    while let Some((200, _)) = append(&url, acked, 1_000).await {
        acked += 1;
    }
    let status = cluster.ended(1).await;
    assert_eq!(status.signal(), Some(6), "it ends as with a disk that fails: {status:?}");
    cluster.start(1);
    cluster.ready(1).await;
    let log = log(&url).await;
    let expected: Vec<u64> = (0..acked).collect();
    assert_eq!(log[..expected.len()], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_appends_and_nothing_else_and_recovers_by_itself() {
    if !has_own_disks() {
        println!("SKIPPED: no user namespaces here, so no disk is full");
        return;
    }
    let flags = [CALM, &["--groups", "1"]].concat();
    let cluster = Cluster::up_on(1, &flags, Some(600)).await;
    let url = cluster.url(1);
    create(&url).await;
    let mut seq = 0;
    while seq < 50 {
        let (status, _) = append(&url, seq, 1_000).await.expect("an answer");
        assert_eq!(status, 200);
        seq += 1;
    }
    let (filler, file) = cluster.fill_disk(1);
    let mut refusal = Value::Null;
    eventually("appends are refused", async || {
        let (status, answer) = append(&url, seq, 1_000).await.expect("an answer");
        assert!(status == 200 || status == 507, "{status} {answer}");
        seq += u64::from(status == 200);
        refusal = answer;
        status == 507
    })
    .await;
    assert_eq!(refusal["code"], "disk_full");
    assert_eq!(refusal["outcome"], "refused");
    let ready = client().get(format!("{url}/readyz")).send().await.expect("an answer");
    assert_eq!(ready.status().as_u16(), 503);
    assert!(ready.text().await.expect("a body").contains("disk_full"));
    // Reads, creations and deletions go on.
    assert_eq!(log(&url).await, (0..seq).collect::<Vec<_>>());
    // But not with content: that takes space as an append does.
    let stream = client().put(format!("{url}/v1/stream/large"));
    let stream = stream.header("content-type", "text/plain").body("x".repeat(200_000));
    assert_eq!(stream.send().await.expect("an answer").status().as_u16(), 507);
    let other = format!("{url}/v1/sessions/other");
    assert_eq!(client().put(&other).send().await.expect("an answer").status().as_u16(), 201);
    assert_eq!(client().delete(&other).send().await.expect("an answer").status().as_u16(), 204);
    // Space comes back, and with it the appends, without a restart.
    drop(file);
    fs::remove_file(&filler).expect("our own file");
    eventually("appends are taken again", async || {
        let (status, _) = append(&url, seq, 1_000).await.expect("an answer");
        status == 200
    })
    .await;
    assert_eq!(log(&url).await, (0..=seq).collect::<Vec<_>>());
}

/// Those of the secrets that a file of the directory holds.
fn found(dir: &Path) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(self::found(&path));
            continue;
        }
        // The store removes files meanwhile.
        let bytes = fs::read(&path).unwrap_or_default();
        let holds = |secret: &str| memmem::find(&bytes, secret.as_bytes()).is_some();
        found.extend(SECRETS.into_iter().filter(|secret| holds(secret)));
    }
    found
}

async fn post(url: &str, body: Value) {
    let answer = client().post(url).json(&body).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{url}: {}", answer.text().await.expect("a body"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_on_no_disk_after_its_time() {
    let flags = [CALM, &["--erase-within-ms", "6000"]].concat();
    let mut cluster = Cluster::up(3, &flags).await;
    let url = cluster.url(1);
    create(&url).await;
    let doomed = format!("{url}/v1/sessions/doomed");
    let config = json!({ "labels": { "of": "secret-label" } });
    eventually("the session is created", async || {
        let answer = client().put(&doomed).json(&config).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let mut seq = 0;
    // Blocks of both lie in the same files.
    for _ in 0..100 {
        let events: Vec<Value> = (0..10)
            .map(|_| json!({ "text": format!("secret-event {}", "x".repeat(700)) }))
            .collect();
        post(&format!("{doomed}/events"), json!({ "events": events })).await;
        let (status, _) = append(&url, seq, 7_000).await.expect("an answer");
        assert_eq!(status, 200);
        seq += 1;
    }
    post(
        &format!("{doomed}/inputs"),
        json!({ "id": "i", "agent": "a", "content": { "text": "secret-input" } }),
    )
    .await;
    let name = format!("file_{}", "5".repeat(32));
    let file = client().put(format!("{doomed}/files/{name}")).body("secret-file".repeat(50_000));
    assert!(file.send().await.expect("an answer").status().is_success());
    let trimmed = format!("{url}/v1/sessions/trimmed");
    assert!(client().put(&trimmed).send().await.expect("an answer").status().is_success());
    let events: Vec<Value> = (0..50).map(|_| json!({ "text": "secret-trimmed" })).collect();
    post(&format!("{trimmed}/events"), json!({ "events": events })).await;

    // Each is a block of its own, and fewer are given up than are freed at once.
    let large = format!("{url}/v1/sessions/large");
    assert!(client().put(&large).send().await.expect("an answer").status().is_success());
    for text in ["secret-large", "kept"].iter().flat_map(|text| [text; 6]) {
        let text = format!("{text} {}", "x".repeat(20_000));
        post(&format!("{large}/events"), json!({ "events": [{ "text": text }] })).await;
    }

    let dirs: Vec<PathBuf> = (1..=3).map(|node| cluster.data_dir(node)).collect();
    eventually("everything is on each disk", async || {
        dirs.iter().all(|dir| found(dir).len() == SECRETS.len())
    })
    .await;
    post(&format!("{trimmed}/trim"), json!({ "before": 51 })).await;
    post(&format!("{large}/trim"), json!({ "before": 7 })).await;
    let deleted = client().delete(&doomed).send().await.expect("an answer");
    assert!(deleted.status().is_success());
    // Others write on.
    for dir in &dirs {
        eventually("nothing is left of it", async || {
            let (status, _) = append(&url, seq, 100).await.expect("an answer");
            assert_eq!(status, 200);
            seq += 1;
            found(dir).is_empty()
        })
        .await;
    }
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.start(node);
    }
    for node in 1..=3 {
        cluster.ready(node).await;
        assert_eq!(log(&cluster.url(node)).await, (0..seq).collect::<Vec<_>>());
    }
    assert!(dirs.iter().all(|dir| found(dir).is_empty()));
    let kept = client().get(format!("{url}/v1/sessions/large/events?limit=50")).send().await;
    let kept: Value = kept.expect("an answer").json().await.expect("JSON");
    assert_eq!(kept["events"].as_array().expect("a page").len(), 6);
}
