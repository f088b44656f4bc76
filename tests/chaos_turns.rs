//! Chaos with turns: nodes are killed while people steer and interrupt, and workers are put to sleep past
//! their lease and woken as zombies; the histories must be clean.
//!
//! Small by default. `scripts/chaos.sh turns` runs the full size through these variables: `CHAOS_TAKEOVERS`,
//! `CHAOS_INTERRUPTS`, `CHAOS_KILLS`, `CHAOS_SESSIONS`, `CHAOS_SEED`, `CHAOS_BINARY` and `CHAOS_HISTORY`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::checker::{Expectations, check};
use harness::cluster::Cluster;
use harness::history::{Answer, Call, History, Kind, ReadMode};
use harness::load::{self, Load, eventually, name, takes_appends};
use harness::recorder::Recorder;
use harness::turn::What;
use harness::turns::{Shape, Turns, process};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

/// Long times: a slow machine must not elect without need.
const CALM: &[&str] =
    &["--heartbeat-ms", "200", "--election-min-ms", "800", "--election-max-ms", "1600"];

/// Not a test of its own: the process that a worker is.
const PROCESS: &str = "a_worker_process_does_nothing_unless_it_is_one";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn a_worker_process_does_nothing_unless_it_is_one() {
    process::be_worker();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_outlive_their_leaders_their_workers_and_the_zombies_of_these() {
    let (takeovers, interrupts) = (setting("CHAOS_TAKEOVERS", 20), setting("CHAOS_INTERRUPTS", 20));
    let (kills, sessions) = (setting("CHAOS_KILLS", 4), setting("CHAOS_SESSIONS", 4));
    let seed = setting("CHAOS_SEED", 1) as u64;
    println!("turns: {sessions} sessions, seed {seed}");
    let flags = if std::env::var_os("CHAOS_BINARY").is_some() { &[] } else { CALM };
    let mut cluster = Cluster::up(3, flags).await;
    let recorder = Arc::new(match std::env::var_os("CHAOS_HISTORY") {
        Some(dir) => {
            let path = std::path::Path::new(&dir).join("turns.jsonl");
            Recorder::with_file(&path).expect("a file for the history")
        }
        None => Recorder::new(),
    });
    let pause = Duration::from_millis(400);
    let plain = load::Shape { seed, sessions, writers: 1, readers: 2, pause };
    let load = Load::start(cluster.urls(), plain, recorder.clone()).await;
    let sleepers = sessions.div_ceil(2).max(3);
    let shape = Shape { seed, sessions, workers: sessions + 2, sleepers, process: PROCESS };
    let turns = Turns::start(&load, shape);
    let mut rng = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut killed = 0;
    let enough = |killed| {
        takeovers <= turns.tally.takeovers.load(Ordering::Relaxed)
            && interrupts <= turns.storm.in_storm.load(Ordering::Relaxed)
            && kills <= killed
    };
    while !enough(killed) {
        let leader = cluster.leader(&name(rng.random_range(0..sessions))).await;
        turns.storm.blows.store(true, Ordering::Release);
        cluster.kill(leader);
        recorder.nemesis("kill leader", &format!("n{leader}"));
        killed += 1;
        flows(&cluster, sessions).await;
        // The node is left dead for a while: the length of the fault, not something to wait for.
        let back = Instant::now() + Duration::from_millis(rng.random_range(500..2_000));
        while Instant::now() < back {
            sleep(Duration::from_millis(50)).await;
        }
        cluster.start(leader);
        cluster.ready(leader).await;
        recorder.nemesis("ready", &format!("n{leader}"));
        flows(&cluster, sessions).await;
        turns.storm.blows.store(false, Ordering::Release);
        let again = Instant::now() + Duration::from_millis(rng.random_range(500..2_500));
        while Instant::now() < again {
            sleep(Duration::from_millis(50)).await;
        }
        let patience = Duration::from_secs(60 + 10 * (takeovers + interrupts + kills) as u64);
        assert!(begun.elapsed() < patience, "too little happens");
    }
    let (tally, storm) = (turns.tally.clone(), turns.storm.clone());
    turns.finish(&load).await;
    load.finish().await;
    let count = |of: &std::sync::atomic::AtomicUsize| of.load(Ordering::Relaxed);
    println!(
        "{killed} leaders killed; {} zombies woken after a takeover and {} after the end of their turn; \
         {} interrupts, {} of them while a leader was dead or coming back; {} s",
        count(&tally.takeovers),
        count(&tally.ended),
        count(&storm.interrupts),
        count(&storm.in_storm),
        begun.elapsed().as_secs(),
    );
    let history = recorder.history();
    let expectations = Expectations {
        ok_appends: sessions * 5,
        deliveries: sessions * 20,
        nemesis: 2 * killed + 2 * takeovers,
        takeovers,
        interrupts,
        final_nodes: cluster.size(),
        ..Expectations::default()
    };
    let report = check(&history, &expectations);
    println!("{report}");
    report.assert_valid();
    told_without_a_gap(&history);
    drop(cluster);
}

/// Waits until every session answers through every node that is up.
async fn flows(cluster: &Cluster, sessions: usize) {
    for session in 0..sessions {
        let node = 1 + session % cluster.size();
        if cluster.is_up(node) {
            let (url, session) = (cluster.url(node), name(session));
            eventually("every session answers", || takes_appends(&url, &session)).await;
        }
    }
}

/// Whoever a turn's workers were, its words are numbered from 0 without a hole and without a repetition.
fn told_without_a_gap(history: &History) {
    let mut finals = Vec::new();
    // A long log comes in pages.
    let mut logs = std::collections::BTreeMap::new();
    for event in &history.events {
        match &event.kind {
            Kind::Inv {
                op, call: Call::Read { mode: ReadMode::Final, .. }, node, session, ..
            } => {
                finals.push((*op, node, session));
            }
            Kind::Ok { op, answer: Answer::Page { records, .. } } => {
                let Some((_, node, session)) = finals.iter().find(|(read, ..)| read == op) else {
                    continue;
                };
                let log = logs.entry((node.as_str(), session.as_str())).or_insert_with(Vec::new);
                log.extend(records);
            }
            _ => {}
        }
    }
    for ((node, session), log) in logs {
        told_in_order(node, session, &log);
    }
}

fn told_in_order(node: &str, session: &str, log: &[&harness::history::Record]) {
    let mut next = std::collections::BTreeMap::new();
    for record in log {
        let Some(fact) = record.fact.as_deref().filter(|fact| fact.what == What::Output) else {
            continue;
        };
        let number = record.value.split(' ').nth(1).and_then(|number| number.parse().ok());
        let number: usize = number.expect("a word has a number");
        let next = next.entry(fact.turn.as_str()).or_insert(0);
        let at = record.serial;
        assert_eq!(number, *next, "{node}: {session} at {at}: {} goes on wrongly", fact.turn);
        *next += 1;
    }
}
