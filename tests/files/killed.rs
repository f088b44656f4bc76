//! Uploads while nodes are killed.

use bytes::Bytes;
use futures::{StreamExt, stream};
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use outlive::ids::{Incarnation, SessionId};
use outlive::store::{LogOf, Store};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{announced, content, offset, sha256};

/// Asks any node but `not` until one answers so.
async fn any(
    cluster: &Cluster,
    not: usize,
    what: &str,
    ask: impl AsyncFn(String) -> Option<Response>,
) -> Response {
    let mut found = None;
    eventually(what, async || {
        for node in (1..=cluster.size()).filter(|node| *node != not && cluster.is_up(*node)) {
            found = ask(format!("{}/v1/sessions/a", cluster.url(node))).await;
            if found.is_some() {
                return true;
            }
        }
        false
    })
    .await;
    found.expect("it was just found")
}

/// What one node's own disk has of a file, from its beginning to the first byte that is not there.
fn on_disk(cluster: &Cluster, node: usize, shard: u32) -> Vec<u8> {
    let store = Store::open(&cluster.data_dir(node).join("store")).expect("the store opens");
    let id = SessionId::parse("a").expect("a name");
    let at = LogOf { shard, id: &id, incarnation: Incarnation::FIRST };
    let mut all = Vec::new();
    while let Some(bytes) =
        store.file_bytes(&at, 0, all.len() as u64, 1 << 20).expect("the disk is read")
    {
        all.extend_from_slice(&bytes);
    }
    all
}

const FLAGS: &[&str] = &[
    "--heartbeat-ms",
    "200",
    "--election-min-ms",
    "800",
    "--election-max-ms",
    "1600",
    "--checkpoint-entries",
    "16",
    "--groups",
    "2",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_killed_in_the_middle_of_an_upload_and_comes_back_with_the_file() {
    let mut cluster = Cluster::up(3, FLAGS).await;
    let bytes = Bytes::from(content(12_000_123));
    let tag = format!("\"{}\"", sha256(&bytes));
    any(&cluster, 0, "the session is created", async |url| {
        client().put(url).send().await.ok().filter(|answer| answer.status().is_success())
    })
    .await;
    let mut body = announced(&bytes);
    body["file"] = json!("file_0123456789abcdef");
    any(&cluster, 0, "the file is announced", async |url| {
        let answer = client().post(format!("{url}/files")).json(&body).send().await.ok()?;
        answer.status().is_success().then_some(answer)
    })
    .await;
    let file = "files/file_0123456789abcdef";
    // The door is the leader, and dies when part of the body has come: the rest never does.
    let door = cluster.leader("a").await;
    let parts: Vec<_> =
        bytes.slice(..3 << 20).chunks(1 << 16).map(Bytes::copy_from_slice).collect();
    let begun =
        stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)).chain(stream::pending());
    let url = format!("{}/v1/sessions/a/{file}", cluster.url(door));
    let patch = client().patch(url).header("upload-offset", "0");
    let mut sending = JoinSet::new();
    sending.spawn(patch.body(reqwest::Body::wrap_stream(begun)).send());
    let how_far = async |url: String| {
        let answer = client().head(format!("{url}/{file}")).send().await.ok()?;
        answer.status().is_success().then_some(answer)
    };
    any(&cluster, door, "some of it has come", async |url| {
        how_far(url).await.filter(|answer| offset(answer).is_some_and(|at| 2 << 20 < at))
    })
    .await;
    cluster.kill(door);
    let sent = sending.join_next().await.expect("it was sent").expect("the request ends");
    assert!(sent.is_err(), "a node that is dead has answered");
    let whole = any(&cluster, door, "the upload goes on elsewhere", async |url| {
        let at = offset(&how_far(url.clone()).await?)? as usize;
        assert!(2 << 20 < at, "what was acknowledged is gone");
        let patch = client().patch(format!("{url}/{file}")).header("upload-offset", at);
        let answer = patch.body(bytes.slice(at..)).send().await.ok()?;
        (answer.status() == StatusCode::NO_CONTENT).then_some(answer)
    })
    .await;
    assert_eq!(whole.headers()["upload-complete"], "?1");
    // More entries than the others keep for a node that is away: it is sent a snapshot.
    for text in std::iter::once(format!("see {file}")).chain((0..40).map(|at| at.to_string())) {
        any(&cluster, door, "an event is appended", async |url| {
            let event = json!({ "events": [{ "format": "text", "text": text }] });
            let answer = client().post(format!("{url}/events")).json(&event).send().await.ok()?;
            answer.status().is_success().then_some(answer)
        })
        .await;
    }
    // A download that breaks off is gone on with at the node that was dead.
    let mut got = Vec::new();
    let mut first = any(&cluster, door, "it is read", async |url| {
        let answer = client().get(format!("{url}/{file}")).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(answer)
    })
    .await;
    while got.len() < 3 << 20 {
        got.extend_from_slice(&first.chunk().await.expect("a chunk").expect("there is more"));
    }
    drop(first);
    cluster.start(door);
    cluster.ready(door).await;
    let mut rest = None;
    eventually("the node that was dead serves it", async || {
        let url = format!("{}/v1/sessions/a/{file}", cluster.url(door));
        let range = format!("bytes={}-", got.len());
        let get = client().get(url).header("range", range).header("if-range", &tag);
        rest =
            get.send().await.ok().filter(|answer| answer.status() == StatusCode::PARTIAL_CONTENT);
        rest.is_some()
    })
    .await;
    got.extend_from_slice(&rest.expect("it was just found").bytes().await.expect("the rest"));
    assert_eq!(sha256(&got), sha256(&bytes));
    // What it missed came by a snapshot, or by the journal: its own disk has all of it.
    let home: Value = client()
        .get(format!("{}/v1/sessions/a/home", cluster.url(door)))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let shard = u32::try_from(home["shard"].as_u64().expect("a shard")).expect("few");
    let status: Value = client()
        .get(format!("{}/v1/sessions/a", cluster.url(door)))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert!(status["tail"].as_u64().is_some_and(|tail| 41 <= tail), "{status}");
    cluster.stop(door).await;
    assert_eq!(sha256(&on_disk(&cluster, door, shard)), sha256(&bytes));
    // Trimmed at the others meanwhile: the node frees it when it is back.
    any(&cluster, door, "the log is trimmed", async |url| {
        let trim = client().post(format!("{url}/trim")).json(&json!({ "before": 2 }));
        trim.send().await.ok().filter(|answer| answer.status().is_success())
    })
    .await;
    cluster.start(door);
    cluster.ready(door).await;
    eventually("it is nowhere any more", async || {
        let mut gone = true;
        for node in 1..=cluster.size() {
            let url = format!("{}/v1/sessions/a/{file}", cluster.url(node));
            let answer = client().get(url).send().await;
            gone &= answer.is_ok_and(|answer| answer.status() == StatusCode::NOT_FOUND);
        }
        gone
    })
    .await;
    cluster.stop(door).await;
    assert_eq!(on_disk(&cluster, door, shard).len(), 0);
}
