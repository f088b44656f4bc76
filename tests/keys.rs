//! Keys of a cluster of real processes: known at every node at once, revoked at all of them, through kill -9.

use std::time::Duration;

use futures::StreamExt;
use harness::cluster::{Cluster, binary, client, has_own_disks};
use harness::load::eventually;
use serde_json::{Value, json};
use tokio::time::timeout;

const FLAGS: &[&str] =
    &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];
const ROOT: &str = "root-0123456789abcdef0123456789abcdef";

/// How long anything may take that is only slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Status of a list under a key.
async fn list(url: &str, key: &str) -> u16 {
    let request = client().get(format!("{url}/v1/sessions")).bearer_auth(key).timeout(PATIENCE);
    request.send().await.expect("an answer").status().as_u16()
}

async fn make(url: &str, rights: &[&str]) -> String {
    let mut made = Value::Null;
    eventually("a key is made", async || {
        let body = json!({ "name": "test", "rights": rights });
        let request = client().post(format!("{url}/v1/keys")).bearer_auth(ROOT).json(&body);
        match request.timeout(PATIENCE).send().await {
            Ok(answer) if answer.status() == 201 => {
                made = answer.json().await.expect("JSON");
                true
            }
            _ => false,
        }
    })
    .await;
    made["key"].as_str().expect("a key").to_owned()
}

/// What the command line prints.
async fn outlive(arguments: &[&str], key: &str) -> (bool, String) {
    let mut command = std::process::Command::new(binary());
    command.args(arguments).env("OUTLIVE_KEY", key);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("no panic").expect("the binary starts");
    let ok = output.status.success();
    // What it waits for it says beside what it found, where that takes long.
    let text = if ok { output.stdout } else { output.stderr };
    (ok, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_known_and_revoked_at_every_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root.key");
    std::fs::write(&root, ROOT).expect("it is written");
    let root = root.to_str().expect("a path");
    let mut cluster = Cluster::up(3, &[FLAGS, &["--root-key", root]].concat()).await;
    let urls = cluster.urls();

    // A key that was made a moment ago, anywhere, lets in everywhere.
    for round in 0..12 {
        let made = make(&urls[round % 3], &["read"]).await;
        for url in [&urls[(round + 1) % 3], &urls[(round + 2) % 3]] {
            assert_eq!(list(url, &made).await, 200, "in round {round}");
        }
    }

    let made = make(&urls[0], &["read", "create"]).await;
    let created = client().put(format!("{}/v1/sessions/s", urls[1])).bearer_auth(&made).send();
    assert_eq!(created.await.expect("an answer").status(), 201);
    let mut streams = Vec::new();
    for url in &urls {
        let path = format!("{url}/v1/sessions/s/events?live=sse");
        let stream = client().get(path).bearer_auth(&made).send().await.expect("an answer");
        assert_eq!(stream.status(), 200);
        streams.push(stream.bytes_stream());
    }
    let id = made.split('_').nth(1).expect("an id");
    let (ok, text) = outlive(&["key", "revoke", id, "--url", &urls[1]], ROOT).await;
    assert!(ok, "{text}");
    for (stream, url) in streams.iter_mut().zip(&urls) {
        let mut text = String::new();
        while let Some(Ok(bytes)) = timeout(PATIENCE, stream.next()).await.expect("it ends") {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(text.contains("key_revoked"), "{text}");
        assert_eq!(list(url, &made).await, 401, "it is revoked here");
    }

    // What was made and revoked outlives the nodes.
    let kept = make(&urls[2], &["read"]).await;
    for node in 1..=3 {
        cluster.kill(node);
        cluster.start(node);
        cluster.ready(node).await;
        eventually("the keys are there", async || list(&urls[node - 1], &kept).await == 200).await;
        assert_eq!(list(&urls[node - 1], &made).await, 401);
    }
    let (ok, text) = outlive(&["key", "list", "--url", &urls[0]], ROOT).await;
    assert!(ok && text.lines().count() == 13 && !text.contains(id), "{text}");
    let (ok, text) = outlive(&["key", "list", "--url", &urls[0]], &kept).await;
    assert!(!ok && text.contains("the right admin is missing"), "{text}");
    let arguments = ["key", "create", "ci", "--right", "read,send", "--expires", "1h"];
    let (ok, text) = outlive(&[&arguments[..], &["--url", &urls[0]]].concat(), ROOT).await;
    assert!(ok && text.starts_with("olk_"), "{text}");
    assert_eq!(list(&urls[1], text.trim()).await, 200);
    let arguments = ["key", "create", "acme's", "--tenant", "acme", "--right", "admin,read"];
    let (ok, text) = outlive(&[&arguments[..], &["--url", &urls[0]]].concat(), ROOT).await;
    assert!(ok && list(&urls[2], text.trim()).await == 200, "{text}");
    let (ok, text) = outlive(&["key", "list", "--url", &urls[1]], text.trim()).await;
    assert!(ok && text.lines().count() == 1 && text.contains("tenant acme"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_revoked_though_the_disk_is_full() {
    if !has_own_disks() {
        println!("SKIPPED: no user namespaces here, so no disk is full");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root.key");
    std::fs::write(&root, ROOT).expect("it is written");
    let root = root.to_str().expect("a path");
    let cluster = Cluster::up_on(1, &[FLAGS, &["--root-key", root]].concat(), Some(600)).await;
    let url = cluster.url(1);
    let made = make(&url, &["read", "create", "publish"]).await;
    let session = format!("{url}/v1/sessions/s");
    let created = client().put(&session).bearer_auth(&made).send().await.expect("an answer");
    assert_eq!(created.status(), 201);
    let _filler = cluster.fill_disk(1);
    eventually("appends are refused", async || {
        let request = client().post(format!("{session}/events")).bearer_auth(&made).body("x");
        let request = request.header("content-type", "text/plain").timeout(PATIENCE);
        request.send().await.expect("an answer").status() == 507
    })
    .await;
    let ticket = client().post(format!("{url}/v1/tickets")).bearer_auth(&made).send().await;
    let ticket: Value = ticket.expect("an answer").json().await.expect("JSON");
    let ticket = ticket["ticket"].as_str().expect("a ticket");
    let read = reqwest::get(format!("{session}/events?ticket={ticket}")).await.expect("an answer");
    assert_eq!(read.status(), 200);
    let id = made.split('_').nth(1).expect("an id");
    let (ok, text) = outlive(&["key", "revoke", id, "--url", &url], ROOT).await;
    assert!(ok, "{text}");
    assert_eq!(list(&url, &made).await, 401);
}
