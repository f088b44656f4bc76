//! A node that is cut off from the others says nothing that may be stale and takes nothing: every shard's
//! leader among the nodes is cut off in turn, by pausing the two others. And it says that it is cut off.

use std::time::Duration;

use futures::future::join_all;
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const FLAGS: &[&str] =
    &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];
/// Enough to be led by each of the nodes.
const SESSIONS: usize = 6;

fn name(session: usize) -> String {
    format!("cut-{session}")
}

/// One append through the native API, with a key.
fn append(url: &str, session: usize, seq: usize) -> RequestBuilder {
    client()
        .post(format!("{url}/v1/sessions/{}/events", name(session)))
        .header("producer-id", "p")
        .header("producer-epoch", "0")
        .header("producer-seq", seq.to_string())
        .json(&json!({ "events": [{ "data": seq }] }))
}

async fn status(request: RequestBuilder) -> Option<u16> {
    let answer = request.timeout(Duration::from_secs(30)).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// The serials that a session has, as one node says.
async fn tail(url: &str, session: usize) -> Option<u64> {
    let answer = client().get(format!("{url}/v1/sessions/{}", name(session))).send().await.ok()?;
    answer.json::<Value>().await.ok()?["tail"].as_u64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_answers_nothing_from_what_it_remembers_and_acknowledges_nothing() {
    let cluster = Cluster::up(3, FLAGS).await;
    for session in 0..SESSIONS {
        let url = format!("{}/v1/stream/{}", cluster.url(1 + session % 3), name(session));
        let request = || client().put(&url).header("content-type", "application/json");
        eventually("the session is created", async || status(request()).await == Some(201)).await;
        let first = append(&cluster.url(1 + session % 3), session, 0);
        assert_eq!(status(first).await, Some(200));
    }
    for alone in 1..=3 {
        let others: Vec<usize> = (1..=3).filter(|node| *node != alone).collect();
        others.iter().for_each(|node| cluster.pause(*node));
        let url = cluster.url(alone);
        let requested = (0..SESSIONS).flat_map(|session| {
            let stream = format!("{url}/v1/stream/{}", name(session));
            let get = |query: &str| client().get(format!("{stream}?{query}"));
            [
                ("status", client().get(format!("{url}/v1/sessions/{}", name(session)))),
                ("head", client().request(Method::HEAD, &stream)),
                ("now", get("offset=now")),
                ("catch-up", get("offset=-1")),
                ("long-poll", get("offset=-1&live=long-poll")),
                ("append", append(&url, session, alone)),
                ("append", client().post(&stream).json(&json!([alone]))),
            ]
        });
        let answers = requested.map(async |(what, request)| (what, status(request).await));
        for (what, status) in join_all(answers).await {
            assert!(status.is_none_or(|status| 500 <= status), "{what} answered {status:?}");
        }
        // What is asked for as it may be is given.
        let local = client().get(format!("{url}/v1/sessions/{}?read=local", name(0)));
        assert_eq!(status(local).await, Some(200));
        others.iter().for_each(|node| cluster.resume(*node));
        for session in 0..SESSIONS {
            // The keyed append of this round, once more: it has the effect of one.
            eventually("the cluster is whole again", async || {
                status(append(&cluster.url(others[0]), session, alone)).await == Some(200)
            })
            .await;
        }
    }
    for session in 0..SESSIONS {
        let mut tails = Vec::new();
        for node in 1..=3 {
            eventually("a node answers", async || {
                let tail = tail(&cluster.url(node), session).await;
                tails.extend(tail);
                tail.is_some()
            })
            .await;
        }
        // Four appends with keys; of three without, each took effect once or never.
        assert!(tails.windows(2).all(|pair| pair[0] == pair[1]), "{tails:?}");
        assert!((4..=7).contains(&tails[0]), "{tails:?}");
    }
}

/// The status of `/readyz` and the reasons that it gives.
async fn ready(url: &str) -> Option<(u16, Vec<String>)> {
    let answer = client().get(format!("{url}/readyz")).timeout(Duration::from_secs(30));
    let answer = answer.send().await.ok()?;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.ok()?;
    let reasons = body["reasons"].as_array()?.iter();
    Some((status, reasons.map(|why| why["reason"].as_str().unwrap_or_default().into()).collect()))
}

/// What `outlive cluster status` ends with, asked of one node.
async fn cluster_status(url: &str) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_outlive"));
    let received =
        command.args(["cluster", "status", "--url", url]).output().await.expect("it runs");
    (received.status.code(), String::from_utf8_lossy(&received.stderr).into_owned())
}

/// How many shards node 1 leads, as it says itself.
async fn leads(url: &str) -> usize {
    let answer = client().get(format!("{url}/v1/cluster")).send().await.expect("an answer");
    let report: Value = answer.json().await.expect("a report");
    let shards = report["shards"].as_array().expect("shards");
    shards.iter().filter(|shard| shard["leader"] == 1).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_majority_is_not_ready_and_the_status_fails() {
    let mut cluster = Cluster::up(3, FLAGS).await;
    eventually("the status is whole", async || cluster_status(&cluster.url(1)).await.0 == Some(0))
        .await;
    // SingleNode among nodes that do not answer, and alone among nodes that are gone.
    for gone in [false, true] {
        let url = cluster.url(1);
        eventually("its leads are there", async || 0 < leads(&url).await).await;
        for other in [2, 3] {
            if gone { cluster.kill(other) } else { cluster.pause(other) }
        }
        eventually("what it led has no majority, and what it followed no leader", async || {
            let Some((503, reasons)) = ready(&url).await else { return false };
            let count = |code: &str| reasons.iter().filter(|reason| *reason == code).count();
            0 < count("no_quorum") && count("no_quorum") + count("no_leader") == 12
        })
        .await;
        let (code, text) = cluster_status(&url).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("12 of 12 shards"), "{text}");
        for other in [2, 3] {
            if gone { cluster.start(other) } else { cluster.resume(other) }
        }
        for node in 1..=3 {
            cluster.ready(node).await;
        }
        let is_whole = async || cluster_status(&url).await.0 == Some(0);
        eventually("the status is whole again", is_whole).await;
    }
}
