//! Who follows the changes has every session as it is, whichever node it asks and whoever dies meanwhile.

use std::collections::BTreeMap;

use harness::api::{PATIENCE, TIMERS, create, post};
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use harness::node::start_single;
use outlive::client::sse::Parser;
use serde_json::{Value, json};
use tokio::time::timeout;

/// What somebody who follows has: sessions that exist, with their last events.
#[derive(Default)]
struct Follower {
    place: String,
    sessions: BTreeMap<String, u64>,
    taken: usize,
    resets: usize,
}

impl Follower {
    fn new() -> Follower {
        Follower { place: "start".into(), ..Follower::default() }
    }

    /// Takes one page; says whether more is there. None where the node has no answer now.
    async fn step(&mut self, url: &str, rest: &str) -> Option<bool> {
        let url = format!("{url}/v1/changes?after={}{rest}", self.place);
        let answer = client().get(url).timeout(PATIENCE).send().await.ok()?;
        let status = answer.status().as_u16();
        let page: Value = answer.json().await.ok()?;
        if status != 200 {
            assert!(500 <= status, "{page}");
            return None;
        }
        Some(self.take(&page))
    }

    /// Takes one page; says whether more is there.
    fn take(&mut self, page: &Value) -> bool {
        if page["reset"] == true {
            self.resets += 1;
            self.sessions.clear();
        }
        for change in page["changes"].as_array().expect("changes") {
            let name = change["session"].as_str().expect("a name").to_owned();
            self.taken += 1;
            if change["deleted"] == true {
                self.sessions.remove(&name);
            } else {
                self.sessions.insert(name, change["tail"].as_u64().expect("a serial"));
            }
        }
        self.place = page["next"].as_str().expect("a place").to_owned();
        page["more"].as_bool().expect("yes or no")
    }

    /// Follows the stream from where it is until it has the sessions.
    async fn stream(&mut self, url: &str, wanted: &BTreeMap<String, u64>) {
        let url = format!("{url}/v1/changes?live=sse&after=now");
        let request = client().get(url).header("last-event-id", &self.place);
        let mut answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let (mut parser, mut first) = (Parser::default(), true);
        while first || self.sessions != *wanted {
            let bytes = timeout(PATIENCE, answer.chunk()).await.expect("in time");
            let bytes = bytes.expect("it goes on").expect("it does not end");
            for frame in parser.feed(&bytes).expect("frames") {
                assert_eq!(frame.event, "changes");
                let page: Value = serde_json::from_str(&frame.data).expect("JSON");
                self.take(&page);
                assert_eq!(frame.id, self.place);
                first = false;
            }
        }
    }

    /// Follows to the end of what is there.
    async fn catch_up(&mut self, url: &str, rest: &str) {
        while self.step(url, rest).await.expect("an answer") {}
    }
}

async fn append(url: &str, session: &str, words: &str) {
    let body = json!({ "events": [{ "text": words }] });
    let (status, answer) = post(url, &format!("/v1/sessions/{session}/events"), body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn delete(url: &str, session: &str) {
    let answer = client().delete(format!("{url}/v1/sessions/{session}")).send().await;
    assert_eq!(answer.expect("an answer").status(), 204);
}

fn have(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
    all.iter().map(|(name, tail)| ((*name).to_owned(), *tail)).collect()
}

#[tokio::test]
async fn each_session_is_told_as_it_is_across_restarts() {
    let mut node = start_single().await;
    for name in ["a", "b", "c", "d"] {
        create(&node.url, name).await;
        append(&node.url, name, "one").await;
    }
    delete(&node.url, "b").await;
    let mut one = Follower::new();
    one.catch_up(&node.url, "").await;
    assert_eq!(one.sessions, have(&[("a", 1), ("c", 1), ("d", 1)]));
    // A session at a time is the same.
    let mut slow = Follower::new();
    slow.catch_up(&node.url, "&limit=1").await;
    assert_eq!(slow.sessions, one.sessions);
    // Nothing is told again where nothing happens; what happens is, once for all of it.
    let taken = one.taken;
    one.catch_up(&node.url, "").await;
    assert_eq!(one.taken, taken);
    for words in ["two", "three"] {
        append(&node.url, "c", words).await;
    }
    delete(&node.url, "d").await;
    one.catch_up(&node.url, "").await;
    assert_eq!((&one.sessions, one.taken), (&have(&[("a", 1), ("c", 3)]), taken + 2));

    // A place outlives the process; the names of what is deleted do, too.
    append(&node.url, "a", "two").await;
    delete(&node.url, "c").await;
    node = node.restart().await;
    append(&node.url, "a", "three").await;
    one.catch_up(&node.url, "").await;
    assert_eq!((&one.sessions, one.resets), (&have(&[("a", 3)]), 0));
    slow.catch_up(&node.url, "&limit=1").await;
    assert_eq!(slow.sessions, one.sessions);

    // Who waits is told as it happens; who begins now, what happens from now on.
    let mut late = Follower { place: "now".into(), ..Follower::default() };
    late.catch_up(&node.url, "").await;
    assert_eq!(late.taken, 0);
    tokio::join!(late.step(&node.url, "&wait_ms=30000"), create(&node.url, "e"));
    assert_eq!(late.sessions, have(&[("e", 0)]));
    for place in ["x", "AQ", "AQEB____________"] {
        let url = format!("{}/v1/changes?after={place}", node.url);
        let answer = client().get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{place}");
    }
}

#[tokio::test]
async fn a_stream_of_changes_goes_on_where_its_reader_was() {
    let mut node = start_single().await;
    for name in ["a", "b", "c"] {
        create(&node.url, name).await;
    }
    let mut one = Follower::new();
    one.stream(&node.url, &have(&[("a", 0), ("b", 0), ("c", 0)])).await;
    append(&node.url, "a", "one").await;
    node = node.restart().await;
    let url = node.url.clone();
    let reports = async {
        append(&url, "b", "one").await;
        delete(&url, "c").await;
    };
    let wanted = have(&[("a", 1), ("b", 1)]);
    tokio::join!(one.stream(&node.url, &wanted), reports);
    assert_eq!(one.resets, 0);
    // An EventSource never comes back from a refusal: a place that is none is all anew.
    let taken = one.taken;
    one.place = "none".into();
    one.stream(&node.url, &wanted).await;
    assert_eq!(one.resets, 1);
    assert!(taken + 2 <= one.taken, "all comes anew, what was deleted perhaps too");
    let bad = client().get(format!("{url}/v1/changes?live=sse&wait_ms=1")).send().await;
    assert_eq!(bad.expect("an answer").status(), 400);
}

#[tokio::test]
async fn more_than_memory_has_is_found_on_the_disk() {
    let node = start_single().await;
    create(&node.url, "old").await;
    let mut one = Follower::new();
    one.catch_up(&node.url, "").await;
    append(&node.url, "old", "one").await;
    // So many that the newest change of the old one is forgotten in memory.
    let many = 2 * (outlive::limits::CHANGED_RECENTLY + 100);
    let tasks = (0..16_usize).map(|task| {
        let url = node.url.clone();
        async move {
            for number in (task..many).step_by(16) {
                let request = client().put(format!("{url}/v1/sessions/s{number}"));
                assert_eq!(request.send().await.expect("an answer").status(), 201);
            }
        }
    });
    futures::future::join_all(tasks).await;
    one.catch_up(&node.url, "&limit=1000").await;
    assert_eq!(one.sessions.len(), many + 1);
    assert_eq!(one.sessions["old"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_one_node_is_one_of_every_node_while_one_is_killed() {
    let mut cluster = Cluster::up(3, TIMERS).await;
    let mut wanted = BTreeMap::new();
    let mut one = Follower::new();
    for number in 0..30_usize {
        let (name, door) = (format!("s{number}"), number % 3 + 1);
        create(&cluster.url(door), &name).await;
        append(&cluster.url(door), &name, "one").await;
        wanted.insert(name, 1);
        one.step(&cluster.url(door % 3 + 1), "&limit=3").await;
    }
    cluster.kill(2);
    for number in 0..30_usize {
        let name = format!("s{number}");
        eventually("an append is taken by those that are left", async || {
            let body = json!({ "events": [{ "text": "two" }], "expect_serial": 1 });
            let path = format!("/v1/sessions/{name}/events");
            let (status, answer) = post(&cluster.url(1), &path, body).await;
            status == 200 || answer["code"] == "serial_mismatch"
        })
        .await;
        wanted.insert(name, 2);
        one.step(&cluster.url(1 + 2 * (number % 2)), "&limit=3").await;
    }
    delete(&cluster.url(3), "s7").await;
    wanted.remove("s7");
    cluster.start(2);
    cluster.ready(2).await;
    eventually("the follower has all at the node that came back", async || {
        while one.step(&cluster.url(2), "").await == Some(true) {}
        one.sessions == wanted
    })
    .await;
    assert_eq!(one.resets, 0);
}
