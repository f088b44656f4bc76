//! Who is attached to a session now, on which device and over how many links: soft state, never in
//! the log.
//!
//! Each node knows its own attachments ([`local`]) and reports to the leader of the session's shard
//! every change at once and everything again every few seconds ([`gossip`]). The leader adds up
//! the reports of all nodes ([`table`]) and reports the sum to those with attachments. What is not reported again
//! expires, so a node that died takes its people with it, and a new leader knows all within one
//! round (S10: tables are bounded).

pub(super) mod gossip;
mod local;
pub(super) mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::host::Host;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::local::LocalPresence;
pub(super) use self::local::{Attending, Stamp};
use self::table::PresenceTable;
use super::Unavailable;
use super::directory::{Directory, TargetNode};
use super::peer::wire::{Request, Response};
use super::shards::Shards;
use crate::ids::{DeviceName, Millis, ParticipantName, SessionId};
use crate::limits::{COMPANY_DEVICES, PEER_PATIENCE};
use crate::session::Role;

/// Who attaches, on what, and to do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendee {
    pub participant: ParticipantName,
    pub device: Option<DeviceName>,
    pub role: Role,
}

/// One link of a participant who is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PresenceLink {
    /// Drawn by its node.
    pub(super) number: u64,
    pub(super) attendee: Attendee,
    pub(super) since: Millis,
}

/// Everybody who is attached to a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceSnapshot {
    /// The first [`COMPANY_DEVICES`] of them, by name.
    pub people: BTreeMap<ParticipantName, Vec<Device>>,
    /// Devices, however many are listed; links without a device count as one per participant.
    pub watchers: u32,
    /// Those of them that may cancel, grant and take control.
    pub controllers: u32,
}

/// One device of a participant, with all its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub device: Option<DeviceName>,
    pub links: u32,
    /// When the oldest of its links was attached, by the clock of that link's node.
    pub since: Millis,
    /// The strongest of its links.
    pub role: Role,
}

impl PresenceSnapshot {
    /// Adds up links, in whatever order they come.
    pub(super) fn of<'l>(links: impl Iterator<Item = &'l PresenceLink>) -> PresenceSnapshot {
        let mut devices: BTreeMap<(&ParticipantName, Option<&DeviceName>), Device> =
            BTreeMap::new();
        for PresenceLink { attendee, since, .. } in links {
            let Attendee { participant, device, role } = attendee;
            let new = || Device { device: device.clone(), links: 0, since: *since, role: *role };
            let found = devices.entry((participant, device.as_ref())).or_insert_with(new);
            found.links += 1;
            found.since = found.since.min(*since);
            found.role = found.role.max(*role);
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let controls = |device: &&Device| Role::Controller <= device.role;
        let watchers = count(devices.len());
        let controllers = count(devices.values().filter(controls).count());
        let mut people: BTreeMap<ParticipantName, Vec<Device>> = BTreeMap::new();
        for ((participant, _), device) in devices.into_iter().take(COMPANY_DEVICES) {
            people.entry(participant.clone()).or_default().push(device);
        }
        PresenceSnapshot { people, watchers, controllers }
    }
}

/// An attachment that is counted as present. Dropping it is leaving.
pub struct Attendance {
    presence: Arc<Presence>,
    id: SessionId,
    number: u64,
    news: watch::Receiver<Option<Arc<PresenceSnapshot>>>,
    /// What was returned last.
    seen: Option<Arc<PresenceSnapshot>>,
}

impl Attendance {
    /// Who is there, if that is news to the caller.
    pub fn news(&mut self) -> Option<Arc<PresenceSnapshot>> {
        if !self.has_news() {
            return None;
        }
        self.seen = self.known();
        self.seen.clone()
    }

    /// Whether [`Self::news`] has something to return.
    pub fn has_news(&self) -> bool {
        match (&*self.news.borrow(), &self.seen) {
            (Some(known), Some(seen)) => !Arc::ptr_eq(known, seen),
            (known, _) => known.is_some(),
        }
    }

    /// Waits until [`Self::news`] has something to return. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            // Whatever comes from here on wakes.
            self.news.mark_unchanged();
            if self.has_news() {
                return;
            }
            if self.news.changed().await.is_err() {
                // The sender lives as long as anybody is attached here.
                return std::future::pending().await;
            }
        }
    }

    /// Who is there, as far as this node knows.
    pub fn known(&self) -> Option<Arc<PresenceSnapshot>> {
        self.news.borrow().clone()
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.presence.local.leave(&self.id, self.number);
        self.presence.wake.notify_one();
    }
}

/// What one node knows of presence: as the host of attachments, and as a leader.
pub struct Presence {
    host: Arc<Host>,
    directory: Arc<Directory>,
    shards: Arc<Shards>,
    local: LocalPresence,
    table: Arc<PresenceTable>,
    /// Rings when something is to be reported at once.
    wake: Notify,
    /// When this process began, so that its reports are newer than those of the one before it.
    boot: u64,
}

impl Presence {
    /// `began`: when this process did.
    pub(super) fn new(
        host: Arc<Host>,
        directory: Arc<Directory>,
        shards: Arc<Shards>,
        table: Arc<PresenceTable>,
        began: Millis,
    ) -> Presence {
        let (local, wake) = (LocalPresence::default(), Notify::new());
        Presence { host, directory, shards, local, table, wake, boot: began.0 }
    }

    /// Counts an attachment as present until the answer is dropped.
    pub fn attend(self: &Arc<Self>, id: &SessionId, attendee: Attendee) -> Attendance {
        let shard = self.directory.group_of(id).map_or(0, |group| group.0);
        let presence = self.clone();
        let now = Millis(self.host.time().now_or_own_ms());
        let (number, news) = self.local.enter(id, shard, attendee, now);
        self.wake.notify_one();
        Attendance { presence, id: id.clone(), number, news, seen: None }
    }

    /// Who is attached to the session at whatever node, as its leader knows.
    ///
    /// # Errors
    /// No leader answers before the deadline.
    pub async fn company(
        &self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<PresenceSnapshot, Unavailable> {
        let (mut hint, mut attempts) = (None, 0);
        loop {
            match self.directory.place(id, hint.take(), attempts) {
                TargetNode::Here(..) => return Ok(self.table.company(id)),
                TargetNode::At(node) => {
                    let request = Request::PresenceSnapshot { session: id.clone() };
                    let left = deadline.saturating_duration_since(Instant::now());
                    match self.directory.ask(node, &request, left.min(PEER_PATIENCE)).await {
                        Ok(Response::PresenceSnapshot(company)) => return Ok(company),
                        Ok(Response::Elsewhere { leader }) => hint = leader,
                        _ => {}
                    }
                }
                TargetNode::Nobody => {}
            }
            if deadline <= Instant::now() {
                let text = "nobody who leads the session answered in time";
                return Err(Unavailable::NoQuorum(text.into()));
            }
            attempts += 1;
            // Two nodes may each believe that the other leads; then it is time to wait.
            if hint.is_none() || attempts % 3 == 0 {
                self.directory.change_of_leader(id).await;
            }
        }
    }

    /// Answers a peer's request for who is present.
    pub(super) fn company_for_peer(&self, id: &SessionId) -> Response {
        match self.directory.place(id, None, 0) {
            TargetNode::Here(..) => Response::PresenceSnapshot(self.table.company(id)),
            TargetNode::At(node) => Response::Elsewhere { leader: Some(node) },
            TargetNode::Nobody => Response::Elsewhere { leader: None },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::runtime) fn link(
        number: u64,
        participant: &str,
        device: Option<&str>,
        role: Role,
    ) -> PresenceLink {
        let attendee = Attendee {
            participant: ParticipantName::parse(participant).unwrap(),
            device: device.map(|device| DeviceName::parse(device).unwrap()),
            role,
        };
        PresenceLink { number, attendee, since: Millis(100 + number) }
    }

    #[test]
    fn links_of_a_device_are_one_watcher() {
        let links = [
            link(2, "ada", Some("phone"), Role::Observer),
            link(1, "ada", Some("phone"), Role::Controller),
            link(3, "ada", None, Role::Participant),
            link(4, "bob", Some("phone"), Role::Participant),
        ];
        let company = PresenceSnapshot::of(links.iter());
        assert_eq!((company.watchers, company.controllers), (3, 1));
        let ada = &company.people[&ParticipantName::parse("ada").unwrap()];
        assert_eq!(ada.len(), 2);
        let phone = ada.iter().find(|device| device.device.is_some()).unwrap();
        let seen = (phone.links, phone.since, phone.role);
        assert_eq!(seen, (2, Millis(101), Role::Controller));
    }

    #[test]
    fn a_crowd_is_counted_and_not_listed() {
        let name = |number: u64| format!("p{number}");
        let crowd: Vec<_> =
            (0..1000).map(|number| link(number, &name(number), None, Role::Observer)).collect();
        let company = PresenceSnapshot::of(crowd.iter());
        assert_eq!((company.watchers, company.people.len()), (1000, COMPANY_DEVICES));
    }
}
