//! One seed: a cluster, its clients, and what goes wrong.

use std::time::Duration;

use cluster::raft::seed;
use cluster::transport::MemoryConfig;
use outlive::ids::SessionId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clients::{Client, Sessions};
use crate::judge::Judge;
use crate::nemesis::{Misfortunes, Nemesis};
use crate::world::World;

/// How a run is repeated.
pub(crate) const REPEAT: &str = "scripts/simulate.sh --sessions --seed";

/// What an actor says that fails because it was told to.
const ORDERED: &str = "it is to fail";

/// Runs one seed; panics where something is not as it must be.
pub(crate) fn one(number: u64, echo: bool) {
    // A panic anywhere, also in a task, is a failure of the run.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() == Some(&ORDERED) {
            return;
        }
        print(info);
        std::process::exit(101);
    }));
    if echo {
        let to = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time();
        to.with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    }
    seed::start(number);
    outlive::runtime::chance::seed::start(number);
    let rng_seed = tokio::runtime::RngSeed::from_bytes(&number.to_le_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .rng_seed(rng_seed)
        .build()
        .expect("a runtime");
    let summary = runtime.block_on(async {
        let run = tokio::time::timeout(Duration::from_secs(600), simulate(number, echo));
        run.await.expect("the run ends in time")
    });
    println!("seed {number} {summary} cpu {:.2}s", cpu_seconds());
    // Whatever still runs is of no interest.
    runtime.shutdown_background();
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn names(names: &[&str]) -> Vec<SessionId> {
    names.iter().map(|name| SessionId::parse(name).expect("a name")).collect()
}

async fn simulate(number: u64, echo: bool) -> String {
    let mut rng = SmallRng::seed_from_u64(number);
    let count = if rng.random_bool(0.15) { 5 } else { 3 };
    let groups = rng.random_range(1..=3);
    let slow = rng.random_range(300..8000);
    let network = MemoryConfig {
        latency: Duration::from_micros(100)..=Duration::from_micros(slow),
        loss: if rng.random_bool(0.3) { 0.01 } else { 0.0 },
        ..MemoryConfig::new(number)
    };
    let judge = Judge::new(echo);
    let world = World::new(network, number, count, groups);
    let nodes = world.nodes.clone();
    let misfortunes = Misfortunes::draw(&mut rng);
    judge.note(format_args!("{count} nodes {groups} groups {misfortunes:?}"));
    let seeded = SmallRng::seed_from_u64(rng.random());
    let lives = rng.random_bool(0.8);
    let forks = lives && rng.random_bool(0.6);
    let sessions = Sessions {
        kept: names(&["kept-1", "kept-2", "kept-ttl", "kept-old"]),
        mortal: if lives { names(&["mortal-1", "mortal-2", "mortal-ttl"]) } else { Vec::new() },
        forks: if forks { names(&["fork-1", "fork-2"]) } else { Vec::new() },
    };
    let mut nemesis = Nemesis::new(world, judge.clone(), seeded, misfortunes, sessions.clone());
    for node in 1..=count {
        nemesis.start(node).await;
    }
    nemesis.world.all_led().await;
    judge.note(format_args!("up"));
    let until = Instant::now() + Duration::from_secs(rng.random_range(12..20));
    let mut clients = JoinSet::new();
    let mut numbers = 0..;
    let mut client = || Client {
        name: numbers.next().expect("numbers do not end"),
        nodes: nodes.clone(),
        judge: judge.clone(),
        rng: SmallRng::seed_from_u64(rng.random()),
        sessions: sessions.clone(),
        until,
        number: 0,
    };
    let mut first = client();
    for id in [&sessions.kept[..], &sessions.mortal].concat() {
        first.create(&id).await;
    }
    for _ in 0..3 {
        clients.spawn(client().write());
    }
    clients.spawn(client().look());
    clients.spawn(client().look());
    for _ in 0..3 {
        clients.spawn(client().follow());
    }
    clients.spawn(client().rule());
    clients.spawn(client().fork());
    clients.spawn(client().ask_for_turns());
    clients.spawn(client().work());
    clients.spawn(client().work());
    nemesis.rage(until).await;
    nemesis.relent().await;
    // A write that was to fail may fail only now, and nobody goes on without its node.
    while !clients.is_empty() {
        let ended = clients.join_next();
        if tokio::time::timeout(Duration::from_millis(200), ended).await.is_err() {
            nemesis.begin_again().await;
        }
    }
    let whole = async {
        nemesis.world.all_led().await;
        nemesis.settle(client()).await;
    };
    if tokio::time::timeout(Duration::from_secs(90), whole).await.is_err() {
        panic!("the cluster does not come back: {}", nemesis.describe().await);
    }
    judge.close();
    judge.summary()
}

/// Lets simulated time pass. It is what the run is made of, not a substitute for looking.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}
