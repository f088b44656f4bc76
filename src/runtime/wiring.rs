//! Puts the parts of a node's runtime together, from the bottom up, around a host that is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use cluster::essential::essential;
use cluster::host::Host;
use cluster::ids::{EntryId, GroupId};
use cluster::journal::Journal;
use ractor::{Actor, ActorCell};

use super::changes::Feeds;
use super::compare::Comparison;
use super::directory::Directory;
use super::effect::World;
use super::ephemeral::{self, Ephemerals};
use super::gone;
use super::members::Members;
use super::overview::Overview;
use super::peer::{Parts, Peers};
use super::presence::table::PresenceTable;
use super::presence::{self, Presence};
use super::relays::Relays;
use super::sessions::Sessions;
use super::shard::{Common, Replay};
use super::shards::{Factory, Shards};
use super::space::Space;
use super::supervisor::Supervisor;
use super::tasks::Tasks;
use super::turn_queue::TurnQueue;
use super::workers::Workers;
use super::{Runtime, actions, chance};
use crate::ids::Millis;
use crate::limits::REBUILD_BYTES;
use crate::store::Store;

impl Runtime {
    /// Builds what serves the sessions in `store`, and has the host run.
    pub async fn start(cluster_name: &str, store: Store, host: Arc<Host>) -> Arc<Runtime> {
        let began = Millis(host.time().now_or_own_ms());
        let turn_queue = Arc::new(TurnQueue::default());
        let table = Arc::new(PresenceTable::new(began));
        let feeds = Arc::new(Feeds::default());
        let (world, wanted) =
            World::new(leads(&host), turn_queue.clone(), table.clone(), feeds.clone());
        let (shards, supervisor) = supervised(common(&store, world, &host)).await;
        let (tasks, space) = (Tasks::default(), Arc::new(Space::default()));
        let directory = Arc::new(Directory::new(host.clone(), shards.clone(), space.clone()));
        let sessions = Arc::new(Sessions {
            host: host.clone(),
            shards: shards.clone(),
            store: store.clone(),
            directory: directory.clone(),
            feeds,
            relays: Relays::new(host.clone(), tasks.clone()),
            readers: Arc::default(),
        });
        let ephemerals = Arc::new(Ephemerals::new(host.clone()));
        let received = (sessions.clone(), ephemerals.clone());
        let workers =
            Workers::new(host.clone(), directory.clone(), received, turn_queue, tasks.clone());
        let presence =
            Presence::new(host.clone(), directory.clone(), shards.clone(), table.clone(), began);
        let comparison = Comparison::new(directory.clone(), shards.clone(), store.clone());
        let comparison = Arc::new(comparison);
        let draining = Arc::new(AtomicBool::new(false));
        let overview = Overview {
            cluster_name: cluster_name.to_string(),
            host: host.clone(),
            directory: directory.clone(),
            sessions: sessions.clone(),
            comparison: comparison.clone(),
            store: store.fault().clone(),
            space: space.clone(),
            draining: draining.clone(),
        };
        let parts = Arc::new(Parts {
            members: Arc::new(Members::new(host.clone(), directory.clone())),
            directory,
            sessions,
            workers: Arc::new(workers),
            presence: Arc::new(presence),
            ephemerals,
            overview: Arc::new(overview),
            comparison,
        });
        host.run(Arc::new(Factory(shards.clone())), Arc::new(Peers(parts.clone())));
        let acting = actions::run(wanted, parts.sessions.clone(), table, tasks.clone());
        tasks.spawn_until_stop(essential("actions", acting));
        unasked(&tasks, &parts, shards.clone().sweep(host.clone()));
        unasked(&tasks, &parts, gone::watch(shards, host.clone()));
        Arc::new(Runtime {
            sessions: parts.sessions.clone(),
            workers: parts.workers.clone(),
            presence: parts.presence.clone(),
            ephemerals: parts.ephemerals.clone(),
            members: parts.members.clone(),
            overview: parts.overview.clone(),
            comparison: parts.comparison.clone(),
            host,
            store,
            space,
            draining,
            tasks,
            supervisor,
        })
    }
}

/// Starts what a node does unasked, until it stops.
fn unasked(tasks: &Tasks, parts: &Parts, sweep: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn_until_stop(essential("sweep", sweep));
    tasks.spawn_until_stop(essential("turn_queue", parts.workers.clone().tidy()));
    tasks.spawn_until_stop(parts.comparison.clone().run());
    let gossip_task = presence::gossip::run(parts.presence.clone());
    tasks.spawn_until_stop(essential("presence", gossip_task));
    let carried = ephemeral::carry::run(parts.ephemerals.clone(), parts.directory.clone());
    tasks.spawn_until_stop(essential("ephemeral", carried));
}

/// Whether a node leads a shard now.
fn leads(host: &Arc<Host>) -> impl Fn(u32) -> bool + Send + Sync + use<> {
    let host = host.clone();
    move |shard| host.group(GroupId(shard)).is_some_and(|group| group.leads())
}

/// What all shards of the node share.
fn common(store: &Store, world: World, host: &Host) -> Common {
    let journal = host.journal();
    let next = |id: EntryId| id.index + 1;
    Common {
        store: store.clone(),
        origin: chance::draw::<u64>().max(1),
        numbers: Arc::new(AtomicU64::new(1)),
        world: Arc::new(world),
        work: tokio::runtime::Handle::current(),
        purged: {
            let journal = journal.clone();
            Arc::new(move |group| journal.state(group).purged.map_or(0, next))
        },
        last: {
            let journal = journal.clone();
            Arc::new(move |group| journal.state(group).last.map_or(0, next))
        },
        replay: replay(journal.clone()),
    }
}

/// Reads the journal back for sessions that are rebuilt, a piece at a time.
pub(super) fn replay(journal: Journal) -> Replay {
    Arc::new(move |group, range| cluster::replay::committed(&journal, group, range, REBUILD_BYTES))
}

/// The shards, and the actor that watches all their actors.
async fn supervised(common: Common) -> (Arc<Shards>, ActorCell) {
    let shards = Shards::new(common);
    let spawned = Actor::spawn(None, Supervisor, shards.clone()).await;
    let (supervisor, _join) = spawned.expect("an actor without a name always starts");
    let supervisor = supervisor.get_cell();
    shards.supervise(supervisor.clone());
    (shards, supervisor)
}
