//! All shards of a node: opened by the cluster crate, swept for what is due and for what is idle.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use cluster::group::Group;
use cluster::host::Host;
use cluster::ids::GroupId;
use cluster::machine::{BoxFuture, Machine, MachineFactory};
use cluster::settled::Settled;
use ractor::{ActorCell, ActorId};
use tokio::time::Instant;

use super::blocking;
use super::session::Mail;
use super::shard::{Common, Shard, ShardMachine};
use crate::ids::{Millis, SessionId};
use crate::limits::{
    AGAIN_MS_MAX, DUE_AT_ONCE, DUE_INTERVAL, IDLE, IDLE_CROWDED, OFFERS, SESSIONS_CROWDED,
    SWEEP_INTERVAL,
};

/// The shards that have a member on this node.
pub(super) struct Shards {
    common: Common,
    supervisor: OnceLock<ActorCell>,
    open: RwLock<BTreeMap<GroupId, Arc<Shard>>>,
}

impl Shards {
    pub(super) fn new(common: Common) -> Arc<Shards> {
        Arc::new(Shards { common, supervisor: OnceLock::new(), open: RwLock::default() })
    }

    /// Names the actor that watches all others; before any shard is opened.
    pub(super) fn supervise(&self, supervisor: ActorCell) {
        // It is named once, at the start.
        self.supervisor.set(supervisor).ok();
    }

    pub(super) fn get(&self, group: GroupId) -> Option<Arc<Shard>> {
        self.open.read().expect("no panic under this lock").get(&group).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Shard>> {
        self.open.read().expect("no panic under this lock").values().cloned().collect()
    }

    /// Session actors that are live on this node.
    pub(super) fn live_sessions(&self) -> usize {
        self.all().iter().map(|shard| shard.actors().count()).sum()
    }

    pub(super) fn failed(&self, actor: ActorId) -> Option<SessionId> {
        self.all().iter().find_map(|shard| shard.actors().failed(actor))
    }

    /// Lets what is due happen and idle actors leave, until it is dropped.
    pub(super) async fn sweep(self: Arc<Self>, host: Arc<Host>) {
        let mut swept = Instant::now();
        let mut led = HashSet::new();
        loop {
            tokio::time::sleep(DUE_INTERVAL).await;
            if SWEEP_INTERVAL <= swept.elapsed() {
                swept = Instant::now();
                let crowded = SESSIONS_CROWDED < self.live_sessions();
                self.passivate(if crowded { IDLE_CROWDED } else { IDLE });
            }
            self.wake_due(&host, &mut led).await;
        }
    }

    /// Requests the actors that were not used for `idle` to leave.
    pub(super) fn passivate(&self, idle: Duration) {
        if let Some(since) = Instant::now().checked_sub(idle) {
            for shard in self.all() {
                shard.actors().retire_idle(since);
            }
        }
    }

    /// Only the leader acts on the world (S8). `led`: the shards that this node led before. All shards are looked at
    /// in one go, off the thread: each by itself would wake threads all the time that find nothing.
    async fn wake_due(&self, host: &Host, led: &mut HashSet<u32>) {
        let mut looks = Vec::new();
        for shard in self.all() {
            let number = shard.number();
            let Some(group) = host.group(GroupId(number)).filter(|group| group.leads()) else {
                led.remove(&number);
                continue;
            };
            let now = Millis(group.now_ms());
            // What an earlier leader put off is not done by anybody now: turns wait on its turn_queue.
            let (upto, most) = match led.contains(&number) {
                true => (now, DUE_AT_ONCE),
                false => (now.after(AGAIN_MS_MAX), OFFERS),
            };
            looks.push((shard, group, upto, most));
        }
        let store = self.common.store.clone();
        let due = move || {
            let due = |(shard, group, upto, most): (Arc<Shard>, Arc<Group>, Millis, usize)| {
                (store.due(shard.number(), upto, most), shard, group)
            };
            looks.into_iter().map(due).collect::<Vec<_>>()
        };
        // Where it fails the process is ending.
        for (due, shard, group) in blocking::off_thread(due).await.unwrap_or_default() {
            match due {
                Ok(due) => {
                    led.insert(shard.number());
                    for (filed, id) in due {
                        let mail = Mail::Due { group: group.clone(), filed: Some(filed) };
                        shard.actors().look_in(&id, mail);
                    }
                }
                Err(error) => {
                    tracing::warn!(shard = shard.number(), %error, "deadlines are unreadable");
                }
            }
        }
    }
}

/// Opens shards for the cluster crate.
pub(super) struct Factory(pub(super) Arc<Shards>);

impl MachineFactory for Factory {
    fn vacated(&self, group: GroupId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(shard) = self.0.get(group) {
                shard.actors().ended().await;
            }
        })
    }

    fn open(&self, group: GroupId) -> io::Result<(Box<dyn Machine>, Settled)> {
        let shards = &self.0;
        let kept = shards.common.store.mark(group.0)?;
        let (next, mark) = kept.map_or((0, None), |(next, mark)| (next, Some(mark)));
        let supervisor = shards.supervisor.get().cloned();
        let supervisor = supervisor.ok_or_else(|| io::Error::other("nobody supervises yet"))?;
        let shard = Shard::new(group, shards.common.clone(), supervisor, next);
        shards.open.write().expect("no panic under this lock").insert(group, shard.clone());
        let settled = Settled::starting_at(next);
        Ok((Box::new(ShardMachine { shard, settled: settled.clone(), mark }), settled))
    }
}
