//! What a leader knows of who is attached to the sessions that it leads: the last report of each node, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use cluster::ids::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Attendee, PresenceLink, PresenceSnapshot, Stamp};
use crate::ids::{Millis, SessionId};
use crate::limits::{ATTENDANCE_EXPIRY, ATTENDANCE_HUSH, ATTENDANCE_LINKS, AUDIENCE_GRACE};
use crate::runtime::chance::Map;
use crate::session::Sender;

/// Orders the reports of one node: by its process, then by a number that only grows.
pub(super) type Order = (u64, u64);

pub(in crate::runtime) struct PresenceTable(Mutex<State>);

struct State {
    sessions: Map<SessionId, Entry>,
    /// Links in all of them (S10).
    links: usize,
    /// Numbers the reports about any session; greater than those of the process before.
    numbers: u64,
    /// Shards that this node leads, with the term, and since when.
    leads: Map<u32, (u64, Instant)>,
    /// Of those, the ones that have not been led for long enough to have the reports of all nodes.
    fresh: BTreeSet<u32>,
    /// Sessions that could not be notified of how many watch.
    again: BTreeSet<SessionId>,
}

struct Entry {
    shard: u32,
    nodes: BTreeMap<NodeId, NodeReport>,
    company: PresenceSnapshot,
    number: u64,
    /// Since when none is present; none where a participant is.
    empty: Option<Instant>,
}

/// The last report of one node.
struct NodeReport {
    order: Order,
    links: Vec<PresenceLink>,
    at: Instant,
    /// The newest report of all who are present that it has.
    has: Stamp,
}

/// How many are there, for policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct Count {
    pub(in crate::runtime) watchers: u32,
    pub(in crate::runtime) controllers: u32,
    /// Whether the table can be trusted that no other is present: it was led for long enough, and none
    /// left a moment ago.
    pub(in crate::runtime) settled: bool,
}

/// The report to a node about one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct News {
    pub(in crate::runtime) id: SessionId,
    pub(in crate::runtime) stamp: Stamp,
    pub(in crate::runtime) company: PresenceSnapshot,
}

impl PresenceTable {
    pub(in crate::runtime) fn new(now: Millis) -> PresenceTable {
        // A process has no more than 65,536 pieces of news in a millisecond.
        let (sessions, leads) = (Map::default(), Map::default());
        let (fresh, again) = (BTreeSet::new(), BTreeSet::new());
        let numbers = now.0 << 16;
        PresenceTable(Mutex::new(State { sessions, links: 0, numbers, leads, fresh, again }))
    }

    /// Takes note of what this node leads now, and forgets what it leads no more; returns which shards it has
    /// led for long enough to have the reports of all nodes, once.
    pub(super) fn lead(&self, led: &BTreeMap<u32, u64>, now: Instant) -> Vec<u32> {
        let mut state = self.state();
        let State { sessions, leads, links, fresh, .. } = &mut *state;
        leads.retain(|shard, (term, _)| led.get(shard) == Some(term));
        for (shard, term) in led {
            leads.entry(*shard).or_insert_with(|| {
                fresh.insert(*shard);
                (*term, now)
            });
        }
        sessions.retain(|_, entry| {
            let led = leads.contains_key(&entry.shard);
            if !led {
                *links -= entry.count();
            }
            led
        });
        let mut known = Vec::new();
        fresh.retain(|shard| {
            let Some((_, since)) = leads.get(shard) else { return false };
            let is_fresh = now.duration_since(*since) < ATTENDANCE_EXPIRY;
            if !is_fresh {
                known.push(*shard);
            }
            is_fresh
        });
        known
    }

    /// A session could not be notified of how many watch: it is looked at again.
    pub(in crate::runtime) fn look_again(&self, id: &SessionId) {
        let mut state = self.state();
        if state.again.len() < ATTENDANCE_LINKS {
            state.again.insert(id.clone());
        }
    }

    /// Takes a node's report about one session; returns whether those who are present changed.
    pub(super) fn take(
        &self,
        (id, shard): (&SessionId, u32),
        from: NodeId,
        order: Order,
        mut links: Vec<PresenceLink>,
        has: Stamp,
        now: Instant,
    ) -> bool {
        let mut state = self.state();
        let known = state.sessions.get(id);
        let report = known.and_then(|entry| entry.nodes.get(&from));
        if report.is_some_and(|report| order < report.order) || known.is_none() && links.is_empty()
        {
            return false;
        }
        let before = report.map_or(0, |report| report.links.len());
        // Who has no place is not counted; he attaches all the same.
        links.truncate(ATTENDANCE_LINKS.saturating_sub(state.links - before));
        state.links = state.links - before + links.len();
        let entry = state.sessions.entry(id.clone()).or_insert_with(|| Entry {
            shard,
            nodes: BTreeMap::new(),
            company: PresenceSnapshot::default(),
            number: 0,
            empty: Some(now),
        });
        entry.nodes.insert(from, NodeReport { order, links, at: now, has });
        state.renew(id, now)
    }

    /// Forgets what was not reported again in time; returns the sessions where those who are present changed, and
    /// where none came back in the time of grace.
    pub(super) fn expire(&self, now: Instant) -> BTreeSet<SessionId> {
        let mut state = self.state();
        let old = |report: &NodeReport| ATTENDANCE_EXPIRY <= now.duration_since(report.at);
        let (mut touched, mut changed) = (Vec::new(), std::mem::take(&mut state.again));
        let mut lost = 0;
        for (id, entry) in &mut state.sessions {
            if entry.nodes.values().any(old) {
                let before = entry.count();
                entry.nodes.retain(|_, report| !old(report));
                lost += before - entry.count();
                touched.push(id.clone());
            }
            if entry.empty.is_some_and(|empty| AUDIENCE_GRACE <= now.duration_since(empty)) {
                changed.insert(id.clone());
            }
        }
        state.links -= lost;
        for id in touched {
            if state.renew(&id, now) {
                changed.insert(id);
            }
        }
        // What is empty is kept for as long as late reports of its nodes may come.
        state.sessions.retain(|_, entry| {
            let kept = |empty| now.duration_since(empty) < AUDIENCE_GRACE.max(ATTENDANCE_EXPIRY);
            !entry.nodes.is_empty() || entry.empty.is_some_and(kept)
        });
        changed
    }

    /// What nodes do not know yet and have attachments for. A new leader gets all reports first, so
    /// that no participant seems to leave and come back because of it.
    pub(super) fn news(&self, now: Instant) -> Vec<(NodeId, News)> {
        let state = self.state();
        let mut all = Vec::new();
        for (id, entry) in &state.sessions {
            let Some((term, since)) = state.leads.get(&entry.shard) else { continue };
            if now.duration_since(*since) < ATTENDANCE_HUSH {
                continue;
            }
            let stamp = Stamp { term: *term, number: entry.number };
            for (node, report) in &entry.nodes {
                if !report.links.is_empty() && report.has != stamp {
                    let (id, company) = (id.clone(), entry.company.clone());
                    all.push((*node, News { id, stamp, company }));
                }
            }
        }
        all
    }

    /// A node knows this now.
    pub(super) fn received(&self, node: NodeId, news: &[News]) {
        let mut state = self.state();
        for News { id, stamp, .. } in news {
            let entry = state.sessions.get_mut(id);
            if let Some(report) = entry.and_then(|entry| entry.nodes.get_mut(&node)) {
                report.has = *stamp;
            }
        }
    }

    pub(in crate::runtime) fn company(&self, id: &SessionId) -> PresenceSnapshot {
        let state = self.state();
        state.sessions.get(id).map(|entry| entry.company.clone()).unwrap_or_default()
    }

    /// How many are there; none where this node does not lead.
    pub(in crate::runtime) fn count(
        &self,
        id: &SessionId,
        shard: u32,
        now: Instant,
    ) -> Option<Count> {
        let state = self.state();
        let (_, since) = state.leads.get(&shard)?;
        let all_spoke = ATTENDANCE_EXPIRY <= now.duration_since(*since);
        let entry = state.sessions.get(id);
        let company = entry.map(|entry| &entry.company);
        let left = entry.and_then(|entry| entry.empty);
        let grace = left.is_some_and(|left| now.duration_since(left) < AUDIENCE_GRACE);
        Some(Count {
            watchers: company.map_or(0, |company| company.watchers),
            controllers: company.map_or(0, |company| company.controllers),
            settled: all_spoke && !grace,
        })
    }

    /// Whether a device is there; none where this node does not lead, or may have no report of it yet.
    pub(in crate::runtime) fn has(
        &self,
        id: &SessionId,
        shard: u32,
        sender: &Sender,
        now: Instant,
    ) -> Option<bool> {
        let state = self.state();
        let (_, since) = state.leads.get(&shard)?;
        let all_spoke = ATTENDANCE_EXPIRY <= now.duration_since(*since);
        let links = state.sessions.get(id).into_iter().flat_map(|entry| entry.nodes.values());
        let has = links.flat_map(|report| &report.links).any(|link| {
            let Attendee { participant, device, .. } = &link.attendee;
            *participant == sender.participant && *device == sender.device
        });
        (has || all_spoke).then_some(has)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic happens under this lock")
    }
}

impl State {
    /// Adds a session up anew; returns whether those who are present changed.
    fn renew(&mut self, id: &SessionId, now: Instant) -> bool {
        let Some(entry) = self.sessions.get_mut(id) else { return false };
        let company = PresenceSnapshot::of(entry.nodes.values().flat_map(|report| &report.links));
        if entry.company == company && entry.number != 0 {
            return false;
        }
        self.numbers += 1;
        entry.number = self.numbers;
        entry.empty = match company.watchers {
            0 => entry.empty.or(Some(now)),
            _ => None,
        };
        entry.company = company;
        true
    }
}

impl Entry {
    fn count(&self) -> usize {
        self.nodes.values().map(|report| report.links.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::link;
    use super::*;
    use crate::session::Role;

    fn table(now: Instant) -> (PresenceTable, SessionId) {
        let table = PresenceTable::new(Millis(1));
        table.lead(&BTreeMap::from([(1, 7)]), now);
        (table, SessionId::parse("s").unwrap())
    }

    fn watchers(table: &PresenceTable, id: &SessionId) -> u32 {
        table.company(id).watchers
    }

    #[tokio::test]
    async fn what_nodes_say_is_added_up_and_what_is_not_repeated_expires() {
        let now = Instant::now();
        let (table, id) = table(now);
        let phone = vec![link(1, "ada", Some("phone"), Role::Controller)];
        let laptop = vec![link(1, "ada", Some("laptop"), Role::Controller)];
        let none = Stamp::default();
        assert!(table.take((&id, 1), NodeId(1), (1, 1), phone.clone(), none, now));
        assert!(table.take((&id, 1), NodeId(2), (1, 1), laptop.clone(), none, now));
        assert!(!table.take((&id, 1), NodeId(2), (1, 2), laptop, none, now));
        assert_eq!(watchers(&table, &id), 2);
        // An older report of a node comes late.
        assert!(!table.take((&id, 1), NodeId(2), (1, 1), Vec::new(), none, now));
        assert_eq!(watchers(&table, &id), 2);
        let later = now + ATTENDANCE_EXPIRY;
        table.take((&id, 1), NodeId(1), (1, 2), phone, none, later);
        assert_eq!(table.expire(later), BTreeSet::from([id.clone()]));
        assert_eq!(watchers(&table, &id), 1);
        table.lead(&BTreeMap::new(), later);
        assert_eq!((watchers(&table, &id), table.state().links), (0, 0));
    }

    #[tokio::test]
    async fn each_node_with_somebody_there_hears_until_it_says_that_it_knows() {
        let now = Instant::now();
        let (table, id) = table(now);
        let phone = vec![link(1, "ada", Some("phone"), Role::Controller)];
        table.take((&id, 1), NodeId(1), (1, 1), phone.clone(), Stamp::default(), now);
        table.take((&id, 1), NodeId(2), (1, 1), Vec::new(), Stamp::default(), now);
        assert_eq!(table.news(now), Vec::new(), "others may have been there all along");
        let later = now + ATTENDANCE_HUSH;
        let news = table.news(later);
        assert_eq!(news.len(), 1, "nobody is there at node 2");
        assert_eq!(table.news(later), news, "it is sent again until it is acknowledged");
        table.received(NodeId(1), &[news[0].1.clone()]);
        assert_eq!(table.news(later), Vec::new());
        // The node reports what it has each time; it may have begun anew.
        table.take((&id, 1), NodeId(1), (2, 1), phone, Stamp::default(), now);
        assert_eq!(table.news(later), news);
    }

    #[tokio::test]
    async fn a_device_is_known_to_be_there_at_once_and_to_be_gone_when_all_have_spoken() {
        let now = Instant::now();
        let (table, id) = table(now);
        let attendee = link(1, "ada", Some("phone"), Role::Controller).attendee;
        let phone = Sender { participant: attendee.participant, device: attendee.device };
        let has = |at| table.has(&id, 1, &phone, at);
        assert_eq!(has(now), None);
        let links = vec![link(1, "ada", Some("phone"), Role::Controller)];
        table.take((&id, 1), NodeId(1), (1, 1), links, Stamp::default(), now);
        assert_eq!(has(now), Some(true));
        table.take((&id, 1), NodeId(1), (1, 2), Vec::new(), Stamp::default(), now);
        assert_eq!(has(now), None);
        assert_eq!(has(now + ATTENDANCE_EXPIRY), Some(false));
        assert_eq!(table.has(&id, 2, &phone, now), None, "another leads it");
    }

    #[tokio::test]
    async fn nobody_is_there_only_after_a_time_of_grace() {
        let now = Instant::now();
        let (table, id) = table(now);
        let count = |at| table.count(&id, 1, at).unwrap();
        assert!(!count(now).settled, "a new leader does not know of everybody");
        let later = now + ATTENDANCE_EXPIRY;
        assert!(count(later).settled);
        let phone = vec![link(1, "ada", Some("phone"), Role::Controller)];
        table.take((&id, 1), NodeId(1), (1, 1), phone, Stamp::default(), later);
        assert_eq!(count(later), Count { watchers: 1, controllers: 1, settled: true });
        table.take((&id, 1), NodeId(1), (1, 2), Vec::new(), Stamp::default(), later);
        assert!(!count(later).settled);
        assert!(!table.expire(later).contains(&id));
        let gone = later + AUDIENCE_GRACE;
        assert!(count(gone).settled);
        assert!(table.expire(gone).contains(&id));
        assert_eq!(table.count(&id, 2, gone), None);
    }
}
