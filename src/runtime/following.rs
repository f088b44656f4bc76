//! What changed in the sessions of a tenant since a place: for whoever keeps something up to date with them.
//!
//! A place is one number for each shard: the last entry of which all is returned. Every replica applies the same
//! entries, so a place means the same at each, and nothing is kept for who has one. What changed lately is in memory
//! ([`super::shard`]); for all else the heads are read, name by name, as long as it takes.

use cluster::codec;
use cluster::ids::GroupId;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::blocking;
use super::peer::wire::{Request, Response};
use super::sessions::Sessions;
use super::status::{left_ms, odd};
use super::{Freshness, Unavailable};
use crate::ids::{Incarnation, Serial, SessionId, TenantName, listed};
use crate::limits::{CHANGES_SCANNED, SESSION_ID_BYTES, SHARDS};
use crate::session::{Grant, Session, Standing};

/// How far a client has followed the changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// By shard, from the first one on; those that are missing are at their beginning.
    pub shards: Vec<ShardPlace>,
}

/// The same of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlace {
    /// All that changed up to there is returned.
    pub since: u64,
    /// The heads are being read.
    pub scan: Option<Scan>,
}

/// How far the heads of a shard were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Where the shard was when that began.
    pub upto: u64,
    /// The last name.
    pub after: String,
}

/// A session of which something is new, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub id: SessionId,
    pub incarnation: Incarnation,
    /// None where the session does not exist any more.
    pub now: Option<ChangedTo>,
}

/// What it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedTo {
    pub first: Serial,
    pub tail: Serial,
    pub closed: bool,
    pub standing: Standing,
}

/// What one shard has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardChanges {
    pub changes: Vec<Changed>,
    pub place: ShardPlace,
    /// More is there already.
    pub more: bool,
    /// The place was none of this shard's: everything is returned from the beginning.
    pub reset: bool,
}

/// The same of all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub changes: Vec<Changed>,
    pub place: Followed,
    pub more: bool,
    pub reset: bool,
}

/// Version of a place.
const VERSION: u8 = 1;

/// Stands for where a shard is now.
const NOW: u64 = u64::MAX;

impl Followed {
    /// Its bytes, for whoever is to give it back.
    pub fn bytes(&self) -> Vec<u8> {
        codec::encode(VERSION, self)
    }

    /// The place that these bytes are.
    pub fn read(bytes: &[u8]) -> Option<Followed> {
        let place: Followed = codec::decode(VERSION, bytes).ok()?;
        let is_name = |scan: &Scan| {
            SESSION_ID_BYTES < scan.after.len() || scan.after.chars().any(char::is_control)
        };
        let is_odd = |place: &ShardPlace| place.scan.as_ref().is_some_and(is_name);
        let fits = place.shards.len() <= SHARDS && !place.shards.iter().any(is_odd);
        fits.then_some(place)
    }

    /// Nothing that was before is to be returned.
    pub fn now() -> Followed {
        let place = ShardPlace { since: NOW, scan: None };
        Followed { shards: vec![place; SHARDS] }
    }
}

impl Sessions {
    /// What changed after a place, and the place after that; at most about `limit`. Each session is returned with
    /// what it is now, once for all that happened to it. What is returned may be returned again.
    pub(super) async fn changed_for(
        &self,
        (tenant, grant): (Option<&TenantName>, Option<&Grant>),
        followed: &Followed,
        limit: usize,
        deadline: Instant,
    ) -> Result<Changes, Unavailable> {
        let groups = self.host.map().borrow().groups;
        if groups == 0 {
            return Err(Unavailable::NoQuorum("the cluster is not bootstrapped yet".into()));
        }
        let mut all = Changes { place: followed.clone(), ..Changes::default() };
        all.place.shards.resize(groups as usize, ShardPlace::default());
        // Each has its share, so that none waits for another that is busy.
        let share = limit.div_ceil(groups as usize);
        let requests = (1..=groups).zip(&all.place.shards);
        let requests = requests
            .map(|(shard, place)| self.changed_in((shard, grant), tenant, place, share, deadline));
        let found: Result<Vec<_>, _> = join_all(requests).await.into_iter().collect();
        let found = found?;
        if found.iter().any(|found| found.reset) {
            // A client that forgets everything gets everything.
            return Ok(Changes { more: true, reset: true, ..Changes::default() });
        }
        for (place, found) in all.place.shards.iter_mut().zip(found) {
            *place = found.place;
            all.changes.extend(found.changes);
            all.more |= found.more;
        }
        Ok(all)
    }

    async fn changed_in(
        &self,
        (shard, grant): (u32, Option<&Grant>),
        tenant: Option<&TenantName>,
        place: &ShardPlace,
        limit: usize,
        deadline: Instant,
    ) -> Result<ShardChanges, Unavailable> {
        let group = self.host.group(GroupId(shard));
        let here = group.filter(|_| self.shards.get(GroupId(shard)).is_some());
        let serves = |group| self.directory.group_serves(group, Freshness::Linearizable);
        if here.as_deref().is_some_and(serves) {
            return self.changed_here(shard, (tenant, grant), place, limit, deadline).await;
        }
        let request = Request::Changes {
            shard,
            tenant: tenant.cloned(),
            place: place.clone(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            within_ms: left_ms(deadline),
            grant: grant.cloned().map(Box::new),
        };
        match self.ask_a_replica(Some(GroupId(shard)), &request, deadline).await {
            Ok(Response::Changes(changes)) => Ok(changes),
            Ok(_) => Err(odd()),
            Err(Unavailable::Denied(why)) => Err(Unavailable::Denied(why)),
            // Its own replica may be in touch again by now.
            Err(_) if here.is_some() => {
                self.changed_here(shard, (tenant, grant), place, limit, deadline).await
            }
            Err(error) => Err(error),
        }
    }

    /// The same at this node's own replica.
    pub(super) async fn changed_here(
        &self,
        number: u32,
        (tenant, grant): (Option<&TenantName>, Option<&Grant>),
        place: &ShardPlace,
        limit: usize,
        deadline: Instant,
    ) -> Result<ShardChanges, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let group = self.host.group(GroupId(number)).ok_or_else(none)?;
        let shard = self.shards.get(GroupId(number)).ok_or_else(none)?;
        self.directory.linearize(&group, deadline).await?;
        let settled = group.settled_next();
        let mut found = ShardChanges::default();
        let mut place = place.clone();
        if place.since == NOW {
            found.place = ShardPlace { since: settled, scan: None };
            return Ok(found);
        }
        let beyond = |upto: u64| settled < upto;
        if beyond(place.since) || place.scan.as_ref().is_some_and(|scan| beyond(scan.upto)) {
            // It was made by another cluster, or by this one before its data was lost.
            (place, found.reset) = (ShardPlace::default(), true);
        }
        let is_shown = |id: &SessionId| {
            id.is_of(tenant) && !id.is_reserved() && grant.is_none_or(|grant| grant.is_for(id))
        };
        let recent = || shard.recent().between(place.since, settled, limit, is_shown);
        if place.scan.is_none()
            && let Some((ids, reached)) = recent()
        {
            for id in ids {
                let Some(looked) = self.directory.look_in(&shard, &id).await? else { continue };
                let mark = *looked.tail.subscribe().borrow();
                // What is being imported is seen when all of it is here.
                if looked.status.is_none() && mark.kept {
                    continue;
                }
                let incarnation = mark.incarnation;
                let now = looked.status.filter(|status| !status.hidden).map(|status| ChangedTo {
                    first: status.first,
                    tail: status.tail,
                    closed: status.closed,
                    standing: status.standing,
                });
                found.changes.push(Changed { id, incarnation, now });
            }
            found.more = reached < settled;
            found.place = ShardPlace { since: reached, scan: None };
            return Ok(found);
        }
        let scan = match place.scan {
            Some(scan) => scan,
            None => Scan { upto: settled, after: String::new() },
        };
        // What only memory knows must be in the heads that are read.
        let broken = |_| Unavailable::NoQuorum("the store of this node fails".into());
        let flushed = timeout_at(deadline, shard.flush()).await;
        let late = |_| Unavailable::NoQuorum("the store did not take the heads in time".into());
        flushed.map_err(late)?.map_err(broken)?;
        self.scan(number, (tenant, grant), (place.since, scan), limit, found).await
    }

    /// Goes on reading heads, of those names alone that the grant is for: the last one goes to its owner.
    async fn scan(
        &self,
        number: u32,
        (tenant, grant): (Option<&TenantName>, Option<&Grant>),
        (since, scan): (u64, Scan),
        limit: usize,
        mut found: ShardChanges,
    ) -> Result<ShardChanges, Unavailable> {
        let mut beginnings =
            grant.map_or(vec![(String::new(), false)], |grant| grant.beginnings(""));
        beginnings.sort();
        let (store, tenant, mut last) = (self.store.clone(), tenant.cloned(), scan.after.clone());
        let read = move || -> std::io::Result<(Vec<Changed>, Option<String>)> {
            let (mut found, mut seen) = (Vec::new(), 0);
            for (beginning, is_whole) in beginnings {
                let after = (!last.is_empty()).then_some(last.as_str());
                let Some((prefix, after)) = listed(tenant.as_ref(), &beginning, after) else {
                    continue;
                };
                for head in store.heads(number, &prefix, after.as_deref()) {
                    let (_, head) = head?;
                    let id = head.session.id();
                    if is_whole && id.name() != beginning {
                        break;
                    }
                    last = id.name().to_owned();
                    if since < head.next && id.is_of(tenant.as_ref()) && !id.is_reserved() {
                        found.extend(changed(&head.session));
                    }
                    seen += 1;
                    if limit <= found.len() || CHANGES_SCANNED < seen {
                        return Ok((found, Some(last)));
                    }
                }
            }
            Ok((found, None))
        };
        let broken = || Unavailable::NoQuorum("the store of this node fails".into());
        let read = blocking::off_thread(read).await.map_err(|_| broken())?;
        let (changes, last) = read.map_err(|_| broken())?;
        found.changes = changes;
        found.more = last.is_some();
        found.place = match last {
            Some(after) => ShardPlace { since, scan: Some(Scan { after, ..scan }) },
            None => ShardPlace { since: scan.upto, scan: None },
        };
        Ok(found)
    }
}

/// What is to be returned of a session; nothing where it never lived, or is being imported.
fn changed(session: &Session) -> Option<Changed> {
    let incarnation = session.incarnation()?;
    let status = session.status();
    if status.is_none() && session.is_kept() {
        return None;
    }
    let now = status.filter(|status| !status.hidden).map(|status| ChangedTo {
        first: status.first,
        tail: status.tail,
        closed: status.closed,
        standing: status.standing,
    });
    Some(Changed { id: session.id().clone(), incarnation, now })
}
