//! Puts the runtime together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use cluster::essential::essential;
use cluster::host::Host;
use ractor::Actor;
use tokio_util::task::TaskTracker;

use super::directory::Directory;
use super::effect::World;
use super::peer::Door;
use super::shard::Common;
use super::shards::{Factory, Shards};
use super::supervisor::Supervisor;
use super::{Runtime, chance, claim, compare, presence, relays, turn_queue};
use crate::ids::Millis;
use crate::limits::{CLAIMERS, REBUILD_BYTES};
use crate::store::Store;

/// The runtime before its node runs: what the cluster crate is started with.
pub struct Foundation {
    shards: Arc<Shards>,
    door: Arc<Door>,
    world: Arc<World>,
    store: Store,
    supervisor: ractor::ActorCell,
}

impl Foundation {
    /// Prepares the sessions of a node on its store.
    pub async fn lay(store: Store, journal: cluster::journal::Journal) -> Foundation {
        let world = Arc::new(World::default());
        let common = Common {
            store: store.clone(),
            origin: chance::draw::<u64>().max(1),
            numbers: Arc::new(AtomicU64::new(1)),
            world: world.clone(),
            work: tokio::runtime::Handle::current(),
            purged: {
                let journal = journal.clone();
                let next = |id: cluster::ids::EntryId| id.index + 1;
                Arc::new(move |group| journal.state(group).purged.map_or(0, next))
            },
            last: {
                let journal = journal.clone();
                Arc::new(move |group| journal.state(group).last.map_or(0, |last| last.index + 1))
            },
            replay: Arc::new(move |group, range| {
                cluster::replay::committed(&journal, group, range, REBUILD_BYTES)
            }),
        };
        let shards = Shards::new(common);
        let spawned = Actor::spawn(None, Supervisor, shards.clone()).await;
        let (supervisor, _join) = spawned.expect("an actor without a name always starts");
        shards.supervise(supervisor.get_cell());
        let supervisor = supervisor.get_cell();
        Foundation { shards, door: Arc::default(), world, store, supervisor }
    }

    /// Moves in around the host, and has it run.
    pub fn build(self, cluster_name: &str, host: Arc<Host>) -> Arc<Runtime> {
        let Foundation { shards, door, world, store, supervisor } = self;
        let full = Arc::new(AtomicBool::new(false));
        let directory = Directory::new(host.clone(), shards.clone(), full.clone());
        let tasks = TaskTracker::new();
        let runtime = Arc::new_cyclic(|me| Runtime {
            me: me.clone(),
            relays: relays::Relays::default(),
            turn_queue: turn_queue::TurnQueue::default(),
            served: Arc::default(),
            claimers: tokio::sync::Semaphore::new(CLAIMERS),
            cluster_name: cluster_name.to_string(),
            host: host.clone(),
            shards: shards.clone(),
            store,
            directory,
            readers: Arc::new(AtomicU64::new(0)),
            draining: AtomicBool::new(false),
            full,
            world: world.clone(),
            presence: presence::Presence::new(Millis(host.time().now_or_own_ms())),
            comparison: compare::Comparison::default(),
            tasks,
            stop: tokio_util::sync::CancellationToken::new(),
            supervisor,
        });
        door.open(Arc::downgrade(&runtime));
        world.open(Arc::downgrade(&runtime));
        host.run(Arc::new(Factory(shards.clone())), door);
        let stop = runtime.stop.clone().cancelled_owned();
        let sweep = essential("sweep", shards.sweep(host));
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = sweep => () }
        });
        let stop = runtime.stop.clone().cancelled_owned();
        let tidy = essential("turn_queue", claim::tidy(runtime.me.clone()));
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = tidy => () }
        });
        let stop = runtime.stop.clone().cancelled_owned();
        let compared = compare::run(runtime.me.clone());
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = compared => () }
        });
        let stop = runtime.stop.clone().cancelled_owned();
        let told = presence::gossip::run(runtime.me.clone(), runtime.presence.clone());
        let told = essential("presence", told);
        runtime.tasks.spawn(async {
            tokio::select! { () = stop => (), () = told => () }
        });
        runtime
    }
}
