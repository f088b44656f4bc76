//! Chaos: real processes are killed and paused while tokens flow; the histories must be clean.
//!
//! Small by default. `scripts/chaos.sh` runs the full size through these variables: `CHAOS_SESSIONS`,
//! `CHAOS_KILLS`, `CHAOS_SEED`, `CHAOS_BINARY`, and `CHAOS_HISTORY` (a directory for the histories).

use std::sync::Arc;
use std::time::Duration;

use harness::checker::{Expectations, check};
use harness::cluster::Cluster;
use harness::load::{Load, Shape, eventually, name, takes_appends};
use harness::recorder::Recorder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Long times: a slow machine must not elect without need.
const CALM: &[&str] =
    &["--heartbeat-ms", "200", "--election-min-ms", "800", "--election-max-ms", "1600"];

struct Run {
    cluster: Cluster,
    load: Load,
    recorder: Arc<Recorder>,
    rng: StdRng,
    sessions: usize,
    faults: usize,
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

impl Run {
    async fn start(what: &str, nodes: usize, faults: usize) -> Run {
        let sessions = setting("CHAOS_SESSIONS", 8);
        let seed = setting("CHAOS_SEED", 1) as u64;
        println!("{what}: {sessions} sessions, seed {seed}");
        let flags = if std::env::var_os("CHAOS_BINARY").is_some() { &[] } else { CALM };
        let cluster = Cluster::up(nodes, flags).await;
        let recorder = Arc::new(match std::env::var_os("CHAOS_HISTORY") {
            Some(dir) => {
                let path = std::path::Path::new(&dir).join(format!("{what}.jsonl"));
                Recorder::with_file(&path).expect("a file for the history")
            }
            None => Recorder::new(),
        });
        let pause = Duration::from_millis(setting("CHAOS_PAUSE_MS", 60) as u64);
        let shape = Shape { seed, sessions, writers: 2, readers: 3, pause };
        let load = Load::start(cluster.urls(), shape, recorder.clone()).await;
        let rng = StdRng::seed_from_u64(seed);
        let mut run = Run { cluster, load, recorder, rng, sessions, faults: 0 };
        run.flows().await;
        assert!(0 < faults);
        run
    }

    /// A session of this run, at random.
    fn any(&mut self) -> String {
        name(self.rng.random_range(0..self.sessions))
    }

    /// Waits until every session answers through every node that is up.
    async fn flows(&mut self) {
        for session in 0..self.sessions {
            let node = 1 + session % self.cluster.size();
            if self.cluster.is_up(node) {
                let url = self.cluster.url(node);
                let session = name(session);
                eventually("every session answers", || takes_appends(&url, &session)).await;
            }
        }
    }

    fn note(&mut self, action: &str, node: usize) {
        self.recorder.nemesis(action, &format!("n{node}"));
        if action.starts_with("kill") || action.starts_with("pause") {
            self.faults += 1;
        }
    }

    async fn restart(&mut self, node: usize) {
        self.cluster.start(node);
        self.cluster.ready(node).await;
        self.note("ready", node);
    }

    async fn finish(self, leader_changes: usize) {
        let Run { cluster, load, recorder, faults, sessions, .. } = self;
        load.finish().await;
        let expectations = Expectations {
            ok_appends: sessions * 5,
            deliveries: sessions * 10,
            nemesis: faults,
            leader_changes,
            final_nodes: cluster.size(),
            ..Expectations::default()
        };
        let report = check(&recorder.history(), &expectations);
        println!("{report}");
        report.assert_valid();
        drop(cluster);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_leaders_are_killed_mid_stream() {
    let kills = setting("CHAOS_KILLS", 3);
    let mut run = Run::start("leaders", 3, kills).await;
    for _ in 0..kills {
        let session = run.any();
        let leader = run.cluster.leader(&session).await;
        run.cluster.kill(leader);
        run.note("kill leader", leader);
        run.flows().await;
        run.restart(leader).await;
        run.flows().await;
    }
    run.finish(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_when_a_follower_is_killed() {
    let mut run = Run::start("follower", 3, 1).await;
    let session = run.any();
    let leader = run.cluster.leader(&session).await;
    let follower = 1 + leader % 3;
    run.cluster.kill(follower);
    run.note("kill follower", follower);
    run.flows().await;
    run.restart(follower).await;
    run.flows().await;
    run.finish(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_the_death_of_all_nodes_at_once() {
    let rounds = setting("CHAOS_KILLS", 3).div_ceil(10);
    let mut run = Run::start("all", 3, rounds).await;
    for _ in 0..rounds {
        for node in 1..=3 {
            run.cluster.kill(node);
            run.note("kill all", node);
        }
        for node in 1..=3 {
            run.cluster.start(node);
        }
        for node in 1..=3 {
            run.cluster.ready(node).await;
            run.note("ready", node);
        }
        run.flows().await;
    }
    run.finish(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_slept_wakes_to_a_cluster_that_went_on() {
    let mut run = Run::start("pause", 3, 1).await;
    let session = run.any();
    let leader = run.cluster.leader(&session).await;
    run.cluster.pause(leader);
    run.note("pause leader", leader);
    // The length of the sleep is the fault itself, not something to wait for.
    let woken = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < woken {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.cluster.resume(leader);
    run.note("resume", leader);
    run.flows().await;
    run.finish(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_replica_serves_like_any_other() {
    // Of four nodes, one has no replica of a session: what it is asked is carried to the others.
    let mut run = Run::start("carried", 4, 1).await;
    let session = run.any();
    let leader = run.cluster.leader(&session).await;
    run.cluster.kill(leader);
    run.note("kill leader", leader);
    run.flows().await;
    run.restart(leader).await;
    run.flows().await;
    run.finish(0).await;
}
