//! Nodes that are gone, and with them the workers that were bound to them: connections, processes and calls.
//!
//! A leader knows it of a member that acknowledges nothing for as long as makes a leader out of touch, and of the
//! leader before it, whose silence made it leader, as soon as that one does not acknowledge its first heartbeats. The
//! turns are taken from such workers at once, and not when their leases run out. A worker that was only cut off is
//! fenced (S4).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cluster::host::Host;
use cluster::ids::{GroupId, NodeId};
use tokio::time::{Instant, sleep};

use super::session::Mail;
use super::shards::Shards;
use crate::limits::{GONE_AGAIN, GONE_HEARTBEATS, GONE_INTERVAL, GONE_TOLD};

/// What is known of the nodes that are gone.
#[derive(Default)]
struct Gone {
    /// Who led each group when this node last did not.
    leaders: HashMap<GroupId, NodeId>,
    /// When sessions of a group were first told, and last.
    told: HashMap<(GroupId, NodeId), (Instant, Instant)>,
}

/// Tells the sessions that are led here of nodes that are gone, until it is dropped.
pub(super) async fn watch(shards: Arc<Shards>, host: Arc<Host>) {
    let mut gone = Gone::default();
    loop {
        sleep(GONE_INTERVAL).await;
        gone.look(&shards, &host);
    }
}

impl Gone {
    fn look(&mut self, shards: &Shards, host: &Host) {
        let (mut led, mut nodes) = (Vec::new(), BTreeSet::new());
        for group in host.groups() {
            if !group.leads() {
                if let Some(leader) = group.leader().filter(|leader| *leader != host.local()) {
                    self.leaders.insert(group.id(), leader);
                }
                continue;
            }
            nodes.extend(group.silent_members());
            if let Some(before) = self.leaders.get(&group.id())
                && group.silent_for(GONE_HEARTBEATS).contains(before)
            {
                nodes.insert(*before);
            }
            led.push(group);
        }
        self.told.retain(|(_, node), _| nodes.contains(node));
        for group in led {
            let Some(shard) = shards.get(group.id()) else { continue };
            for node in nodes.iter().filter(|node| self.is_news(group.id(), **node)) {
                let mail = || Mail::Gone { group: group.clone(), node: node.0 };
                shard.actors().send_all(mail);
            }
        }
    }

    /// Whether the sessions of a group are to be told of it now. They are told again for a while: an actor may have
    /// been rebuilt just then, or have had no room to propose it.
    fn is_news(&mut self, group: GroupId, node: NodeId) -> bool {
        let now = Instant::now();
        let (first, last) = self.told.get(&(group, node)).copied().unzip();
        let is_news = last.is_none_or(|last| GONE_AGAIN <= now - last)
            && first.is_none_or(|first| now - first <= GONE_TOLD);
        if is_news {
            self.told.insert((group, node), (first.unwrap_or(now), now));
        }
        is_news
    }
}
