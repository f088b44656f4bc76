//! Nodes that are gone, and with them the workers that were bound to them: connections, processes and calls.
//!
//! A leader knows it of a member that acknowledges nothing for as long as makes a leader out of touch, in none of the
//! groups that are led here. Of the leader before it, whose silence made it leader, it knows it as soon as that one
//! does not acknowledge its first heartbeats; that is judged once, when it has become leader. The turns are taken from
//! such workers at once, and not when their leases run out. A worker that was only cut off is fenced (S4).
//!
//! A node that was killed and is back before it was missed has another start, and reports that to each peer before
//! anything else: what its earlier starts had is gone. So has this node, when it has become leader again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cluster::group::Group;
use cluster::host::Host;
use cluster::ids::{GroupId, NodeId};
use tokio::time::{Instant, sleep};

use super::session::{Gone, Mail};
use super::shards::Shards;
use crate::limits::{GONE_AGAIN, GONE_HEARTBEATS, GONE_INTERVAL, GONE_LOOKS, GONE_REPORT};

/// What is known about the nodes that are gone.
#[derive(Default)]
struct Watch {
    /// Groups that this node leads or led when it looked last.
    leads: HashMap<GroupId, Lead>,
    /// Leaders before this node, that did not acknowledge its first heartbeats.
    before: BTreeSet<NodeId>,
    /// When sessions of a group were first notified, and last.
    reported: HashMap<(GroupId, Gone), (Instant, Instant)>,
}

/// Who leads a group.
#[derive(Clone, Copy)]
enum Lead {
    Other(NodeId),
    /// This node, after another one that is still to be judged, since so many looks.
    Own {
        before: Option<NodeId>,
        looks: u32,
    },
}

/// Notifies the sessions that are led here of nodes that are gone, until it is dropped.
pub(super) async fn watch(shards: Arc<Shards>, host: Arc<Host>) {
    let mut gone = Watch::default();
    loop {
        sleep(GONE_INTERVAL).await;
        gone.look(&shards, &host);
    }
}

/// Members of these groups that acknowledge none of them.
fn silent<'g>(
    led: impl Iterator<Item = &'g Arc<Group>>,
    of: impl Fn(&Group) -> Vec<NodeId>,
) -> HashSet<NodeId> {
    let (mut silent, mut received) = (HashSet::new(), HashSet::new());
    for group in led {
        let here = of(group);
        received.extend(group.report().voters.into_iter().filter(|node| !here.contains(node)));
        silent.extend(here);
    }
    silent.retain(|node| !received.contains(node));
    silent
}

impl Watch {
    fn look(&mut self, shards: &Shards, host: &Host) {
        let led = self.led(host);
        let at_first = silent(led.iter(), |group| group.silent_for(GONE_HEARTBEATS));
        self.judge(&at_first);
        let mut nodes = silent(led.iter(), Group::silent_members);
        nodes.extend(&self.before);
        let before = host.boots().into_iter().map(|(node, boot)| Gone::Before(node, boot));
        // Sorted: sessions are notified in an order that the simulation repeats.
        let gone: BTreeSet<Gone> = nodes.into_iter().map(Gone::All).chain(before).collect();
        let groups: HashSet<GroupId> = led.iter().map(|group| group.id()).collect();
        // One that is led anew is notified anew.
        self.reported.retain(|(group, starts), _| groups.contains(group) && gone.contains(starts));
        for group in led {
            let Some(shard) = shards.get(group.id()) else { continue };
            for starts in gone.iter().filter(|starts| self.is_news(group.id(), **starts)) {
                let mail = || Mail::Gone { group: group.clone(), starts: *starts };
                shard.actors().send_all(mail);
            }
        }
    }

    /// The groups that this node leads, with note of who led them before.
    fn led(&mut self, host: &Host) -> Vec<Arc<Group>> {
        let mut led = Vec::new();
        for group in host.groups() {
            if group.leads() {
                let lead = self.leads.entry(group.id());
                lead.and_modify(Lead::pass).or_insert(Lead::Own { before: None, looks: 0 });
                led.push(group);
            } else if let Some(leader) = group.leader().filter(|leader| *leader != host.local()) {
                self.leads.insert(group.id(), Lead::Other(leader));
            }
        }
        led
    }

    /// Judges those that led before this node, once each.
    fn judge(&mut self, silent: &HashSet<NodeId>) {
        self.before.retain(|node| silent.contains(node));
        for lead in self.leads.values_mut() {
            if let Lead::Own { before, looks } = lead
                && GONE_LOOKS <= *looks
                && let Some(node) = before.take()
                && silent.contains(&node)
            {
                self.before.insert(node);
            }
        }
    }

    /// Whether the sessions of a group are to be notified of it now. They are notified again for a while: an actor
    /// may have been rebuilt just then, or have had no room to propose it.
    fn is_news(&mut self, group: GroupId, starts: Gone) -> bool {
        let now = Instant::now();
        let (first, last) = self.reported.get(&(group, starts)).copied().unzip();
        let is_news = last.is_none_or(|last| GONE_AGAIN <= now - last)
            && first.is_none_or(|first| now - first <= GONE_REPORT);
        if is_news {
            self.reported.insert((group, starts), (first.unwrap_or(now), now));
        }
        is_news
    }
}

impl Lead {
    /// This node leads at one more look.
    fn pass(&mut self) {
        *self = match *self {
            Lead::Other(before) => Lead::Own { before: Some(before), looks: 0 },
            Lead::Own { before, looks } => Lead::Own { before, looks: looks.saturating_add(1) },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);
    const OTHER: NodeId = NodeId(2);

    fn after(before: Lead, looks: u32) -> Watch {
        let mut lead = before;
        (0..=looks).for_each(|_| lead.pass());
        Watch { leads: HashMap::from([(GROUP, lead)]), ..Watch::default() }
    }

    #[test]
    fn a_leader_before_that_does_not_answer_the_next_one_is_gone_until_it_does() {
        let mut gone = after(Lead::Other(OTHER), GONE_LOOKS - 1);
        gone.judge(&HashSet::from([OTHER]));
        assert!(gone.before.is_empty(), "it has not been unanswered for long enough");
        let mut gone = after(Lead::Other(OTHER), GONE_LOOKS);
        gone.judge(&HashSet::from([OTHER]));
        assert_eq!(gone.before, BTreeSet::from([OTHER]));
        gone.judge(&HashSet::from([OTHER]));
        assert_eq!(gone.before, BTreeSet::from([OTHER]));
        gone.judge(&HashSet::new());
        assert!(gone.before.is_empty());
    }

    #[test]
    fn one_that_gave_its_lead_away_and_answered_is_judged_as_any_other_from_then_on() {
        let mut gone = after(Lead::Other(OTHER), GONE_LOOKS);
        gone.judge(&HashSet::new());
        gone.judge(&HashSet::from([OTHER]));
        assert!(gone.before.is_empty(), "it may stand still for a moment");
    }
}
