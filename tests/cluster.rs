//! A cluster of real processes, one promise at a time: snapshots, wiped and rolled-back disks,
//! graceful stops, nodes without a replica.

use std::time::Duration;

use harness::cluster::{Cluster, client};
use harness::load::eventually;
use serde_json::{Value, json};

const CALM: &[&str] =
    &["--heartbeat-ms", "200", "--election-min-ms", "800", "--election-max-ms", "1600"];

/// Appends with a key until it is acknowledged, through any node that is up; returns the answer.
async fn append(cluster: &Cluster, session: &str, seq: u64, text: &str) -> Value {
    let mut answer = Value::Null;
    eventually("the append is taken", async || {
        for node in (1..=cluster.size()).filter(|node| cluster.is_up(*node)) {
            let url = format!("{}/v1/sessions/{session}/events", cluster.url(node));
            let request = client()
                .post(url)
                .header("Producer-Id", "p")
                .header("Producer-Epoch", "1")
                .header("Producer-Seq", seq.to_string())
                .json(&json!({ "events": [{ "format": "text", "text": text }] }))
                .timeout(Duration::from_secs(10));
            let Ok(got) = request.send().await else { continue };
            if got.status().is_success() {
                answer = got.json().await.expect("JSON");
                return true;
            }
        }
        false
    })
    .await;
    answer
}

async fn create(cluster: &Cluster, session: &str) {
    eventually("the session is created", async || {
        let url = format!("{}/v1/sessions/{session}", cluster.url(1));
        client().put(url).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

/// The session's tail and chain as one node's own replica has them, once it answers.
async fn replica(cluster: &Cluster, node: usize, session: &str) -> (u64, String) {
    let mut seen = (0, String::new());
    eventually("the replica answers", async || {
        let url = format!("{}/v1/sessions/{session}", cluster.url(node));
        let Ok(answer) = client().get(url).send().await else { return false };
        let Ok(status) = answer.json::<Value>().await else { return false };
        let (tail, chain) = (status["tail"].as_u64(), status["chain"].as_str());
        seen = (tail.unwrap_or(0), chain.unwrap_or_default().to_string());
        tail.is_some()
    })
    .await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_comes_back_by_a_snapshot_remembers_every_key() {
    let flags = [CALM, &["--groups", "2", "--checkpoint-entries", "32"]].concat();
    let mut cluster = Cluster::up(3, &flags).await;
    let sessions: Vec<String> = (0..6).map(|number| format!("s-{number}")).collect();
    for session in &sessions {
        create(&cluster, session).await;
    }
    cluster.kill(3);
    let mut places = std::collections::BTreeMap::new();
    for seq in 0..60 {
        for session in &sessions {
            let answer = append(&cluster, session, seq, &format!("{session} {seq}")).await;
            places.insert((session.clone(), seq), answer["first"].as_u64());
        }
    }
    cluster.start(3);
    cluster.ready(3).await;
    for session in &sessions {
        let known = replica(&cluster, 1, session).await;
        assert_eq!(replica(&cluster, 3, session).await, known, "{session} differs at node 3");
    }
    // Now the replica that came back must lead some of them.
    cluster.kill(1);
    for ((session, seq), place) in &places {
        if *seq % 20 == 0 {
            let again = append(&cluster, session, *seq, "something else").await;
            assert_eq!(again["first"].as_u64(), *place, "{session} {seq} has moved");
            // Not `duplicate`: a node that is unsure of its own first try takes it for that one.
            assert_eq!(again["tail"], json!(60), "{session} {seq} was appended twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_a_key_outlive_the_leader_that_they_were_sent_to() {
    let cluster = Cluster::up(3, CALM).await;
    create(&cluster, "s").await;
    create(&cluster, "t").await;
    let leader = cluster.leader("s").await;
    let other = cluster.url(1 + leader % 3);
    let ask = |method: reqwest::Method, path: &str| {
        let url = format!("{other}/v1/{path}");
        client().request(method, url).header("Outlive-Timeout-Ms", "30000")
    };
    let events = json!({ "events": [{ "text": "native" }] });
    let native = ask(reqwest::Method::POST, "sessions/s/events").json(&events);
    let durable = ask(reqwest::Method::POST, "stream/s").header("content-type", "application/json");
    let (created, ended) =
        (ask(reqwest::Method::PUT, "stream/u"), ask(reqwest::Method::DELETE, "sessions/t"));
    // A node that is stopped takes what is sent to it and says nothing; then others elect a new leader.
    cluster.pause(leader);
    let requested = [native, durable.body("\"durable\""), created, ended];
    let answers = futures::future::join_all(requested.map(reqwest::RequestBuilder::send)).await;
    cluster.resume(leader);
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
    let codes: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(codes, [200, 204, 201, 204]);
    let log: Value =
        ask(reqwest::Method::GET, "stream/s").send().await.unwrap().json().await.unwrap();
    let mut log: Vec<_> =
        log.as_array().unwrap().iter().map(|output| output.as_str().unwrap()).collect();
    log.sort_unstable();
    assert_eq!(log, ["durable", "native"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_under_a_known_name_is_refused() {
    let mut cluster = Cluster::up(3, CALM).await;
    create(&cluster, "s").await;
    append(&cluster, "s", 0, "a").await;
    cluster.kill(2);
    std::fs::remove_dir_all(cluster.data_dir(2)).expect("our own directory");
    cluster.start(2);
    let status = cluster.ended(2).await;
    assert!(!status.success());
    let log = cluster.log_end(2);
    assert!(log.contains("known with another disk"), "the log says:\n{log}");
    append(&cluster, "s", 1, "b").await;
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("our own directory") {
        let entry = entry.expect("our own directory");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a kind").is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("a copy")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_started_from_an_older_copy_of_its_data_is_refused() {
    let mut cluster = Cluster::up(3, CALM).await;
    create(&cluster, "s").await;
    append(&cluster, "s", 0, "a").await;
    assert!(cluster.stop(2).await.success());
    let data = cluster.data_dir(2);
    let (older, newer) = (data.with_extension("older"), data.with_extension("newer"));
    copy_dir(&data, &older);
    cluster.start(2);
    cluster.ready(2).await;
    for seq in 1..10 {
        append(&cluster, "s", seq, "b").await;
    }
    eventually("node 2 has it all", async || replica(&cluster, 2, "s").await.0 == 10).await;
    // The others write down what they were told, after that.
    let marker = data.with_extension("marker");
    std::fs::write(&marker, "").expect("our own file");
    append(&cluster, "s", 10, "c").await;
    let written = |path: &std::path::Path| path.metadata().and_then(|data| data.modified()).ok();
    eventually("the others remember", async || {
        let later = |node| written(&marker) < written(&cluster.data_dir(node).join("acknowledged"));
        later(1) && later(3)
    })
    .await;
    cluster.kill(2);
    std::fs::rename(&data, &newer).expect("our own directory");
    std::fs::rename(&older, &data).expect("our own directory");
    cluster.start(2);
    assert!(!cluster.ended(2).await.success());
    let log = cluster.log_end(2);
    assert!(log.contains("came back with less than it had acknowledged"), "the log says:\n{log}");
    assert!(log.contains("wipe the directory and replace the node"), "the log says:\n{log}");
    append(&cluster, "s", 11, "d").await;
    // With the data that it should have had, it is welcome.
    std::fs::remove_dir_all(&data).expect("our own directory");
    std::fs::rename(&newer, &data).expect("our own directory");
    cluster.start(2);
    cluster.ready(2).await;
    assert_eq!(replica(&cluster, 2, "s").await.0, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_to_stop_hands_over_and_ends_well() {
    let mut cluster = Cluster::up(3, CALM).await;
    create(&cluster, "s").await;
    for seq in 0..5 {
        append(&cluster, "s", seq, "a").await;
        let leader = cluster.leader("s").await;
        let status = cluster.stop(leader).await;
        assert!(status.success(), "it ended with {status}:\n{}", cluster.log_end(leader));
        cluster.start(leader);
        cluster.ready(leader).await;
    }
    assert_eq!(replica(&cluster, 1, "s").await.0, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named_and_nothing_is_lost() {
    let mut cluster = Cluster::up(3, CALM).await;
    create(&cluster, "s").await;
    append(&cluster, "s", 0, "a").await;
    cluster.kill(1);
    let address = cluster.url(1).replace("http://", "");
    let held = std::net::TcpListener::bind(&address).expect("the port is free now");
    cluster.start(1);
    assert!(!cluster.ended(1).await.success());
    assert!(cluster.log_end(1).contains(&address), "the log says:\n{}", cluster.log_end(1));
    drop(held);
    cluster.start(1);
    cluster.ready(1).await;
    assert_eq!(replica(&cluster, 1, "s").await.0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_at_a_node_without_a_replica_share_one_upstream() {
    let cluster = Cluster::up(4, CALM).await;
    create(&cluster, "s").await;
    let url = format!("{}/v1/sessions/s/home", cluster.url(1));
    let home: Value = client().get(url).send().await.unwrap().json().await.unwrap();
    let replicas: Vec<u64> = serde_json::from_value(home["replicas"].clone()).unwrap();
    let away = (1..=4).find(|node| !replicas.contains(node)).expect("three of four have it");
    let url = format!("{}/v1/sessions/s/events?live=sse&after=start", cluster.url(away as usize));
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(client().get(&url).send().await.expect("attached"));
    }
    append(&cluster, "s", 0, "told to all").await;
    eventually("there is one upstream for ten readers", async || {
        let url = format!("{}/v1/cluster", cluster.url(1));
        let Ok(answer) = client().get(url).send().await else { return false };
        let Ok(report) = answer.json::<Value>().await else { return false };
        let members = report["members"].as_array().expect("members");
        let readers = |here: bool| -> u64 {
            let mine = members.iter().filter(|m| (m["node"].as_u64() == Some(away)) == here);
            mine.filter_map(|member| member["readers"].as_u64()).sum()
        };
        (readers(true), readers(false)) == (10, 1)
    })
    .await;
    for mut reader in readers {
        let mut seen = String::new();
        while !seen.contains("told to all") {
            let chunk =
                reader.chunk().await.expect("the stream goes on").expect("and has not ended");
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}
