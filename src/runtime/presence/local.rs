//! The attachments of this node that name a participant, and what their leaders know of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use cluster::ids::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Attendee, PresenceLink, PresenceSnapshot};
use crate::ids::{Millis, SessionId};
use crate::limits::{ATTENDANCE_EXPIRY, ATTENDANCE_REFRESH};
use crate::runtime::chance::Map;

/// Orders the reports of leaders about one session: by their term, then by a number that only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::runtime) struct Stamp {
    pub(in crate::runtime) term: u64,
    pub(in crate::runtime) number: u64,
}

/// Who got the report: a node, as the leader of this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: NodeId,
    /// 0 where this node has no replica and does not know.
    pub(super) term: u64,
}

/// The report to a leader about one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Attending {
    pub(in crate::runtime) id: SessionId,
    pub(in crate::runtime) links: Vec<PresenceLink>,
    /// The newest report of all who are present that this node has.
    pub(in crate::runtime) has: Stamp,
    /// The number of this report, among those about the session.
    #[serde(skip)]
    pub(super) version: u64,
    #[serde(skip)]
    pub(super) shard: u32,
}

#[cfg(test)]
impl Attending {
    /// What one node reports to another, without what stays with it.
    pub(in crate::runtime) fn sample(
        id: SessionId,
        links: Vec<PresenceLink>,
        has: Stamp,
    ) -> Attending {
        Attending { id, links, has, version: 0, shard: 0 }
    }
}

/// The attachments of a node; as many as it has readers, at most (S10).
#[derive(Default)]
pub(in crate::runtime) struct LocalPresence(Mutex<State>);

#[derive(Default)]
struct State {
    sessions: Map<SessionId, Gathering>,
    numbers: u64,
}

struct Gathering {
    shard: u32,
    links: BTreeMap<u64, PresenceLink>,
    /// Counts the changes of `links`.
    version: u64,
    reported: Option<LastReport>,
    /// When the last link left, if none is there.
    left: Option<Instant>,
    has: Stamp,
    news: watch::Sender<Option<Arc<PresenceSnapshot>>>,
}

struct LastReport {
    leader: Leader,
    version: u64,
    at: Instant,
}

impl LocalPresence {
    pub(super) fn enter(
        &self,
        id: &SessionId,
        shard: u32,
        attendee: Attendee,
        since: Millis,
    ) -> (u64, watch::Receiver<Option<Arc<PresenceSnapshot>>>) {
        let mut state = self.state();
        state.numbers += 1;
        let number = state.numbers;
        let gathering = state.sessions.entry(id.clone()).or_insert_with(|| Gathering {
            shard,
            links: BTreeMap::new(),
            version: 0,
            reported: None,
            left: None,
            has: Stamp::default(),
            news: watch::Sender::new(None),
        });
        gathering.links.insert(number, PresenceLink { number, attendee, since });
        gathering.version += 1;
        gathering.left = None;
        (number, gathering.news.subscribe())
    }

    pub(super) fn leave(&self, id: &SessionId, number: u64) {
        let mut state = self.state();
        let Some(gathering) = state.sessions.get_mut(id) else { return };
        if gathering.links.remove(&number).is_some() {
            gathering.version += 1;
            gathering.left = gathering.links.is_empty().then(Instant::now);
        }
    }

    /// Takes a leader's report of all who are present, unless something newer is known.
    pub(super) fn hear(&self, id: &SessionId, stamp: Stamp, company: PresenceSnapshot) {
        let mut state = self.state();
        let Some(gathering) = state.sessions.get_mut(id) else { return };
        if stamp < gathering.has {
            return;
        }
        gathering.has = stamp;
        gathering.news.send_if_modified(|known| {
            let same = known.as_ref().is_some_and(|known| **known == company);
            if !same {
                *known = Some(Arc::new(company));
            }
            !same
        });
    }

    /// What is to be reported now, by leader: what changed, what a new leader lacks, what was not reported for long.
    pub(super) fn due_reports(
        &self,
        now: Instant,
        leader: impl Fn(u32) -> Option<Leader>,
    ) -> Vec<(Leader, Attending)> {
        let mut state = self.state();
        // What has left is known to have left, or has expired.
        state.sessions.retain(|_, gathering| {
            let received = gathering
                .reported
                .as_ref()
                .is_some_and(|reported| reported.version == gathering.version);
            let expired = |left| ATTENDANCE_EXPIRY <= now.duration_since(left);
            !gathering.left.is_some_and(|left| received || expired(left))
        });
        let mut leaders: Map<u32, Option<Leader>> = Map::default();
        let mut all = Vec::new();
        for (id, gathering) in &state.sessions {
            let shard = gathering.shard;
            let Some(leader) = *leaders.entry(shard).or_insert_with(|| leader(shard)) else {
                continue;
            };
            let fresh = gathering.reported.as_ref().is_some_and(|reported| {
                let same = reported.leader == leader && reported.version == gathering.version;
                same && now.duration_since(reported.at) < ATTENDANCE_REFRESH
            });
            if fresh {
                continue;
            }
            let links = gathering.links.values().cloned().collect();
            let (id, has, version) = (id.clone(), gathering.has, gathering.version);
            all.push((leader, Attending { id, links, has, version, shard }));
        }
        all
    }

    /// A leader has taken this.
    pub(super) fn mark_reported<'a>(
        &self,
        leader: Leader,
        reported: impl Iterator<Item = &'a Attending>,
        now: Instant,
    ) {
        let mut state = self.state();
        for Attending { id, version, .. } in reported {
            if let Some(gathering) = state.sessions.get_mut(id) {
                gathering.reported = Some(LastReport { leader, version: *version, at: now });
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic happens under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::link;
    use super::*;
    use crate::session::Role;

    const LEADER: Leader = Leader { node: NodeId(1), term: 3 };

    fn links(here: &LocalPresence, now: Instant, leader: Leader) -> Option<usize> {
        let reported = here.due_reports(now, |_| Some(leader));
        let all: Vec<_> = reported.iter().map(|(_, attending)| attending.clone()).collect();
        here.mark_reported(leader, all.iter(), now);
        reported.first().map(|(_, attending)| attending.links.len())
    }

    #[tokio::test]
    async fn a_change_is_told_once_again_after_a_while_and_to_every_new_leader() {
        let (here, id) = (LocalPresence::default(), SessionId::parse("s").unwrap());
        let ada = link(0, "ada", None, Role::Observer).attendee;
        let now = Instant::now();
        let (one, _news) = here.enter(&id, 1, ada.clone(), Millis(1));
        assert_eq!(links(&here, now, LEADER), Some(1));
        assert_eq!(links(&here, now, LEADER), None);
        let (two, _news) = here.enter(&id, 1, ada, Millis(2));
        assert_eq!(links(&here, now, LEADER), Some(2));
        assert_eq!(links(&here, now + ATTENDANCE_REFRESH, LEADER), Some(2));
        let next = Leader { node: NodeId(2), term: 4 };
        assert_eq!(links(&here, now + ATTENDANCE_REFRESH, next), Some(2));
        here.leave(&id, one);
        here.leave(&id, two);
        assert_eq!(links(&here, now, next), Some(0));
        // Nothing is left, and it was reported.
        assert_eq!(links(&here, now + ATTENDANCE_REFRESH, next), None);
        assert!(here.state().sessions.is_empty());
    }

    #[tokio::test]
    async fn an_older_word_of_a_leader_changes_nothing() {
        let (here, id) = (LocalPresence::default(), SessionId::parse("s").unwrap());
        let ada = link(0, "ada", None, Role::Observer);
        let (_, mut news) = here.enter(&id, 1, ada.attendee.clone(), Millis(1));
        let of = |count| PresenceSnapshot { watchers: count, ..PresenceSnapshot::default() };
        here.hear(&id, Stamp { term: 2, number: 9 }, of(1));
        here.hear(&id, Stamp { term: 2, number: 8 }, of(2));
        here.hear(&id, Stamp { term: 1, number: 10 }, of(3));
        assert_eq!(news.borrow_and_update().as_ref().unwrap().watchers, 1);
        here.hear(&id, Stamp { term: 3, number: 1 }, of(1));
        assert!(!news.has_changed().unwrap(), "the same is no news");
        here.hear(&id, Stamp { term: 3, number: 2 }, of(4));
        assert!(news.has_changed().unwrap());
    }
}
