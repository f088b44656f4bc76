//! Whether this node should get traffic: every reason against it is found here, and named in
//! [`NotReady`].

use std::sync::atomic::Ordering;

use cluster::ids::{GroupId, MapVersion};

use super::NotReady;
use super::overview::Overview;
use super::space::Level;
use crate::limits::READY_LAG;

impl Overview {
    /// Why this node should not be sent traffic now; empty when it is ready.
    pub fn not_ready(&self) -> Vec<NotReady> {
        let mut reasons = self.node_not_ready();
        let map = self.host.map().borrow().clone();
        let groups = map.placement.groups_of(self.host.local());
        reasons.extend(groups.into_iter().filter_map(|group| self.shard_not_ready(group)));
        reasons.extend(self.distrusted());
        reasons
    }

    /// What is wrong with the node as a whole.
    fn node_not_ready(&self) -> Vec<NotReady> {
        let full = self.host.journal().full() || self.space.level() != Level::Enough;
        let found = [
            (self.host.map().borrow().version == MapVersion::NONE, NotReady::NoMap),
            (self.draining.load(Ordering::Acquire), NotReady::Draining),
            (full, NotReady::DiskFull),
            (self.store.reason().is_some(), NotReady::StoreFailed),
        ];
        let clock = self.clock();
        let skewed = clock.is_far.then_some(NotReady::ClockSkewed { skew_ms: clock.skew_ms });
        let found = found.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason);
        found.chain(skewed).collect()
    }

    /// What is wrong with its replica of one shard.
    fn shard_not_ready(&self, id: GroupId) -> Option<NotReady> {
        let shard = id.0;
        let group = self.host.group(id);
        let Some(group) = group.filter(|group| group.leader().is_some()) else {
            return Some(NotReady::NoLeader { shard });
        };
        if !group.in_touch() {
            let leads = group.leader() == Some(self.host.local());
            return Some(match leads {
                true => NotReady::NoQuorum { shard },
                false => NotReady::NoLeader { shard },
            });
        }
        // What the leader has committed, not what this replica happens to have.
        let committed = group.report().committed.map_or(0, |last| last + 1);
        let entries = committed.saturating_sub(group.settled_next());
        (READY_LAG < entries).then_some(NotReady::Lagging { shard, entries })
    }
}
