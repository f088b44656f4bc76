//! Whether this node can be believed: reasons against it that no waiting mends.

use super::NotReady;
use super::overview::Overview;

impl Overview {
    /// Why what this node holds may be wrong; empty when there is no reason against it.
    pub(super) fn distrusted(&self) -> Vec<NotReady> {
        let broken = self.host.groups().into_iter().filter(|group| group.broken().is_some());
        let broken = broken.map(|group| NotReady::Broken { shard: group.id().0 });
        let sessions = self.comparison.doubtful();
        broken.chain((0 < sessions).then_some(NotReady::ReplicasDiffer { sessions })).collect()
    }
}
