//! One seed: a cluster, its clients, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster::group::{Class, Fate, Flow, Group};
use cluster::host::Host;
use cluster::ids::GroupId;
use cluster::raft::{Checkpoints, seed};
use cluster::transport::MemoryConfig;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::nemesis::Nemesis;
use crate::record::Record;
use crate::support::World;
use crate::support::counter::Shelf;

/// The nodes that run now.
pub(crate) type Hosts = Arc<Mutex<BTreeMap<u64, (Arc<Host>, Shelf)>>>;

/// How a run is repeated.
pub(crate) const REPEAT: &str = "scripts/simulate.sh --seed";

const OFTEN: Checkpoints = Checkpoints { every_entries: 40, kept_entries: 10, lag_entries: 60 };

/// Runs one seed; panics where something is not as it must be.
pub(crate) fn one(number: u64, echo: bool) {
    // A panic anywhere, also in a task, is a failure of the run.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(101);
    }));
    if echo {
        let to = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time();
        to.with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    }
    seed::start(number);
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

async fn simulate(number: u64, echo: bool) -> String {
    let mut rng = SmallRng::seed_from_u64(number);
    let nodes = if rng.random_bool(0.2) { 5 } else { 3 };
    let groups = rng.random_range(2..=4);
    let slow = rng.random_range(300..8000);
    let network = MemoryConfig {
        latency: Duration::from_micros(100)..=Duration::from_micros(slow),
        loss: if rng.random_bool(0.3) { 0.01 } else { 0.0 },
        ..MemoryConfig::new(number)
    };
    let record = Record::new(echo);
    let mut world = World::over(network, number, nodes, groups).forgetful(OFTEN, 32 << 10);
    for (node, place) in &mut world.places {
        place.shelf.watch = Some(record.watch(*node));
    }
    let hosts = Hosts::default();
    let mut nemesis = Nemesis {
        world,
        hosts: hosts.clone(),
        record: record.clone(),
        nodes,
        groups,
        wipes: rng.random_bool(0.3),
        disks: rng.random_bool(0.6),
        rng: SmallRng::seed_from_u64(rng.random()),
    };
    for node in 1..=nodes {
        nemesis.start(node).await;
    }
    nemesis.world.all_led().await;
    record.note(format_args!("up"));
    let until = Instant::now() + Duration::from_secs(rng.random_range(15..25));
    let mut clients = JoinSet::new();
    for client in 0..3 {
        let client = Client {
            name: client,
            hosts: hosts.clone(),
            record: record.clone(),
            rng: SmallRng::seed_from_u64(rng.random()),
            groups,
            until,
        };
        clients.spawn(client.write());
    }
    for client in 3..5 {
        let client = Client {
            name: client,
            hosts: hosts.clone(),
            record: record.clone(),
            rng: SmallRng::seed_from_u64(rng.random()),
            groups,
            until,
        };
        clients.spawn(client.read());
    }
    nemesis.rage(until).await;
    nemesis.relent().await;
    while clients.join_next().await.is_some() {}
    let whole = async {
        nemesis.world.all_led().await;
        nemesis.settle(number).await;
    };
    if tokio::time::timeout(Duration::from_secs(60), whole).await.is_err() {
        panic!("the cluster does not come back: {}", nemesis.describe());
    }
    record.summary()
}

struct Client {
    name: u32,
    hosts: Hosts,
    record: Record,
    rng: SmallRng,
    groups: u32,
    until: Instant,
}

impl Client {
    /// Some member of some group.
    fn pick(&mut self, leader: bool) -> Option<(u64, Arc<Group>)> {
        let group = GroupId(self.rng.random_range(1..=self.groups));
        let hosts = self.hosts.lock().unwrap().clone();
        let members: Vec<(u64, Arc<Group>)> = hosts
            .iter()
            .filter_map(|(node, (host, _))| Some((*node, host.group(group)?)))
            .collect();
        let leading = members.iter().filter(|(_, group)| leader && group.leads());
        let leading: Vec<_> = leading.cloned().collect();
        let among = if leading.is_empty() { members } else { leading };
        let at = self.rng.random_range(0..among.len().max(1));
        among.get(at).cloned()
    }

    async fn pause(&mut self, most_ms: u64) {
        let pause = self.rng.random_range(100..most_ms * 1000);
        pass(Duration::from_micros(pause)).await;
    }

    async fn write(mut self) {
        let mut number = 0;
        while Instant::now() < self.until {
            let most = if self.rng.random_bool(0.9) { 50 } else { 400 };
            self.pause(most).await;
            let leader = self.rng.random_bool(0.9);
            let Some((node, group)) = self.pick(leader) else { continue };
            let count = if self.rng.random_bool(0.2) { self.rng.random_range(2..8) } else { 1 };
            let texts: Vec<String> =
                (number..number + count).map(|number| format!("{}.{number}", self.name)).collect();
            number += count;
            let request = texts.iter().map(|text| async {
                let fate = propose(&group, text).await;
                self.record.reported(node, group.id(), text, &fate);
            });
            futures::future::join_all(request).await;
        }
    }

    async fn read(mut self) {
        while Instant::now() < self.until {
            self.pause(60).await;
            let Some((node, group)) = self.pick(false) else { continue };
            let floor = self.record.acked_next(group.id());
            let read = tokio::time::timeout(Duration::from_secs(3), group.linearize()).await;
            if let Ok(Ok(())) = read {
                let there = self.hosts.lock().unwrap().get(&node).cloned();
                // The node may have died, and even come back, while it answered.
                let Some((host, shelf)) = there else { continue };
                if host.group(group.id()).is_some_and(|now| Arc::ptr_eq(&now, &group)) {
                    let id = group.id();
                    shelf.look(id, |commands| self.record.read(node, id, floor, commands));
                }
            }
        }
    }
}

/// Lets simulated time pass. It is what the run is made of, not a substitute for looking.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}

/// Proposes, and gives up on an answer after a while.
pub(crate) async fn propose(group: &Group, text: &str) -> Fate {
    let permit = match group.admit(Class::Data, Flow::default(), text.len()) {
        Ok(permit) => permit,
        Err(_) => return Fate::Refused { leader: None },
    };
    let (reported, fate) = tokio::sync::oneshot::channel();
    let reported = Box::new(move |fate| drop(reported.send(fate)));
    group.propose(permit, Bytes::copy_from_slice(text.as_bytes()), reported);
    match tokio::time::timeout(Duration::from_secs(10), fate).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) => Fate::Unknown("the node stopped".into()),
        Err(_) => Fate::Unknown("no answer".into()),
    }
}
