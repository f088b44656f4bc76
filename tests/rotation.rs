//! A cluster under load whose certificate authority is replaced by another, step by step and without a restart.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::ids::NodeId;
use cluster::transport::make_node_cert;
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use serde_json::{Value, json};

/// Appends one event after the other until it is stopped; how many. Each must be taken.
async fn write(url: String, producer: String, stop: Arc<AtomicBool>) -> u64 {
    let client = client();
    let mut seq = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = client.post(format!("{url}/v1/sessions/s/events"));
        let request = request.header("producer-id", &producer).header("producer-epoch", "0");
        let body = json!({ "events": [{ "text": "x" }] });
        let answer = request.header("producer-seq", seq).json(&body).send().await;
        let answer = answer.expect("an answer");
        let status = answer.status();
        assert_eq!(status, 200, "{url} {seq}: {}", answer.text().await.unwrap_or_default());
        seq += 1;
    }
    seq
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_takes_the_place_of_another_without_a_lost_request() {
    let mut cluster = Cluster::up(3, &["--groups", "3"]).await;
    let urls = cluster.urls();
    let create = client().put(format!("{}/v1/sessions/s", urls[0])).send().await;
    assert_eq!(create.expect("an answer").status(), 201);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for (number, url) in urls.iter().enumerate() {
        writers.spawn(write(url.clone(), format!("p{number}"), stop.clone()));
    }
    let (tls, next) = (cluster.tls_dir(), cluster.tls_dir().with_extension("next"));
    let made: Vec<_> = (1..=3)
        .map(|node| make_node_cert(&next, "chaos", NodeId(node)).expect("a certificate"))
        .collect();
    let authority = |dir: &std::path::Path| fs::read(dir.join("ca.pem")).expect("an authority");
    let (old, new) = (authority(&tls), authority(&next));
    let all_have = async |cluster: &Cluster, times: usize| {
        eventually("all nodes have read their certificates", async || {
            let renewed = "the certificates for peers were renewed";
            (1..=3).all(|node| cluster.logged(node, renewed) == times)
        })
        .await;
    };
    // Both are trusted; then the new one is shown; then the old one is trusted no more.
    fs::write(tls.join("ca.pem"), [&old[..], &new].concat()).expect("it is written");
    all_have(&cluster, 1).await;
    for files in &made {
        for file in [&files.cert, &files.key] {
            let name = file.file_name().expect("a name");
            fs::copy(file, tls.join(name)).expect("it is written");
        }
    }
    all_have(&cluster, 2).await;
    fs::write(tls.join("ca.pem"), &new).expect("it is written");
    all_have(&cluster, 3).await;
    eventually("links of the old authority were cut", async || {
        let cut = "the peer's certificate is trusted no more";
        0 < (1..=3).map(|node| cluster.logged(node, cut)).sum::<usize>()
    })
    .await;
    eventually("nobody lacks a peer", async || {
        let mut ready = 0;
        for url in &urls {
            let answer = client().get(format!("{url}/readyz")).send().await.expect("an answer");
            ready += usize::from(answer.status().is_success());
        }
        ready == 3
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut taken = 0;
    while let Some(writer) = writers.join_next().await {
        taken += writer.expect("nothing was refused or lost");
    }
    // A node that begins now knows the new authority alone.
    cluster.stop(3).await;
    cluster.start(3);
    cluster.ready(3).await;
    let shown = client().get(format!("{}/v1/sessions/s", urls[2])).send().await;
    let shown: Value = shown.expect("an answer").json().await.expect("JSON");
    assert_eq!(shown["tail"], taken, "{shown}");
}
