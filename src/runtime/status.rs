//! The status of sessions, gathered from wherever it is known.

use cluster::ids::GroupId;
use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::peer::wire::{Request, Response};
use super::sessions::Sessions;
use super::{Freshness, Home, Summary, Unavailable};
use crate::ids::{SessionId, TenantName, TurnId, listed};
use crate::limits::{LEADER_WAIT, PEER_PATIENCE};
use crate::session::{Carried, Grant, Session, Status, TurnPlace};

impl Sessions {
    /// What the session is now; none where it does not exist.
    pub(super) async fn status_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        let local = self.directory.local(id);
        if let (Some((_, shard)), Freshness::Local) = (&local, freshness) {
            return Ok(self.directory.look(shard, id).await?.and_then(|looked| looked.status));
        }
        if self.directory.serves(id, freshness) {
            return self.status_here(id, deadline).await;
        }
        match self.status_elsewhere(grant, id, deadline).await {
            Err(Unavailable::Denied(why)) => Err(Unavailable::Denied(why)),
            // Its own replica may be in touch again by now.
            Err(_) if local.is_some() => self.status_here(id, deadline).await,
            other => other,
        }
    }

    /// The linearizable status at another node's replica.
    async fn status_elsewhere(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        let (within_ms, grant) = (left_ms(deadline), grant.cloned().map(Box::new));
        let request = Request::Status { session: id.clone(), within_ms, grant };
        match self.ask_a_replica(self.directory.group_of(id), &request, deadline).await? {
            Response::Status(None) => Ok(None),
            Response::Status(Some(status)) => Ok(Some(*status)),
            _ => Err(odd()),
        }
    }

    /// The linearizable status at this node's own replica.
    pub(super) async fn status_here(
        &self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let (group, shard) = self.directory.local(id).ok_or_else(none)?;
        self.directory.linearize(&group, deadline).await?;
        Ok(self.directory.look(&shard, id).await?.and_then(|looked| looked.status))
    }

    /// What the session remembers of an input, by its name.
    pub(super) async fn place_of(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        input: &TurnId,
        deadline: Instant,
    ) -> Result<Option<TurnPlace>, Unavailable> {
        if self.directory.serves(id, Freshness::Linearizable) {
            return self.place_of_here(id, input, deadline).await;
        }
        let (session, input) = (id.clone(), input.clone());
        let grant = grant.cloned().map(Box::new);
        let request = Request::PlaceOf { session, input, within_ms: left_ms(deadline), grant };
        match self.ask_a_replica(self.directory.group_of(id), &request, deadline).await? {
            Response::PlaceOf(place) => Ok(place),
            _ => Err(odd()),
        }
    }

    /// The same at this node's own replica.
    pub(super) async fn place_of_here(
        &self,
        id: &SessionId,
        input: &TurnId,
        deadline: Instant,
    ) -> Result<Option<TurnPlace>, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let (group, shard) = self.directory.local(id).ok_or_else(none)?;
        self.directory.linearize(&group, deadline).await?;
        self.directory.place_of(&shard, id, input).await
    }

    /// What the session takes along if it moves; none where it does not exist.
    pub(super) async fn carried_for(
        &self,
        grant: Option<&Grant>,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Box<Carried>>, Unavailable> {
        if self.directory.serves(id, Freshness::Linearizable) {
            return self.carried_here(id, deadline).await;
        }
        let (within_ms, grant) = (left_ms(deadline), grant.cloned().map(Box::new));
        let request = Request::Carried { session: id.clone(), within_ms, grant };
        match self.ask_a_replica(self.directory.group_of(id), &request, deadline).await? {
            Response::Carried(carried) => Ok(carried),
            _ => Err(odd()),
        }
    }

    /// The same at this node's own replica.
    pub(super) async fn carried_here(
        &self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Box<Carried>>, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let (group, shard) = self.directory.local(id).ok_or_else(none)?;
        self.directory.linearize(&group, deadline).await?;
        self.directory.carried(&shard, id).await
    }

    /// Up to `limit` live sessions of a tenant, in order.
    pub(super) async fn list_for(
        &self,
        grant: Option<&Grant>,
        tenant: Option<&TenantName>,
        (prefix, after): (&str, Option<&str>),
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        let Some((prefix, after)) = listed(tenant, prefix, after) else { return Ok(Vec::new()) };
        let (prefix, after) = (prefix.as_str(), after.as_deref());
        let mut map = self.host.map();
        let bootstrapped = map.wait_for(|map| 0 < map.groups);
        let Ok(Ok(groups)) =
            timeout_at(deadline, bootstrapped).await.map(|map| map.map(|map| map.groups))
        else {
            return Err(Unavailable::NoQuorum("the cluster is not bootstrapped yet".into()));
        };
        let shards = (1..=groups)
            .map(|shard| self.list_shard((shard, grant), (prefix, after), limit, deadline));
        let mut lines = Vec::new();
        for listed in join_all(shards).await {
            lines.extend(listed?);
        }
        lines.sort_by(|a, b| a.id.cmp(&b.id));
        lines.truncate(limit);
        Ok(lines)
    }

    /// The list of one shard; held while no node that has it answers.
    async fn list_shard(
        &self,
        of: (u32, Option<&Grant>),
        place: (&str, Option<&str>),
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        loop {
            let listed = self.list_shard_once(of, place, limit, deadline).await;
            let is_final = matches!(listed, Ok(_) | Err(Unavailable::Denied(_)));
            if is_final || deadline <= Instant::now() + LEADER_WAIT {
                return listed;
            }
            tokio::time::sleep(LEADER_WAIT / 2).await;
        }
    }

    async fn list_shard_once(
        &self,
        (shard, grant): (u32, Option<&Grant>),
        (prefix, after): (&str, Option<&str>),
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        let group = self.host.group(GroupId(shard));
        let here = group.filter(|_| self.shards.get(GroupId(shard)).is_some());
        let serves = |group| self.directory.group_serves(group, Freshness::Linearizable);
        if here.as_deref().is_some_and(serves) {
            return self.list_here(shard, prefix, after, limit, deadline).await;
        }
        let request = Request::List {
            shard,
            prefix: prefix.into(),
            after: after.map(Into::into),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            within_ms: left_ms(deadline),
            grant: grant.cloned().map(Box::new),
        };
        match self.ask_a_replica(Some(GroupId(shard)), &request, deadline).await {
            Ok(Response::Listed(lines)) => Ok(lines),
            Ok(_) => Err(odd()),
            Err(Unavailable::Denied(why)) => Err(Unavailable::Denied(why)),
            // Its own replica may be in touch again by now.
            Err(_) if here.is_some() => self.list_here(shard, prefix, after, limit, deadline).await,
            Err(error) => Err(error),
        }
    }

    /// The linearizable list of one shard at this node's own replica.
    pub(super) async fn list_here(
        &self,
        shard: u32,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is open here".into());
        let group = self.host.group(GroupId(shard)).ok_or_else(none)?;
        let shard = self.shards.get(GroupId(shard)).ok_or_else(none)?;
        self.directory.linearize(&group, deadline).await?;
        // Whether a session lives whose actor failed, its next one finds out.
        while let Some(lost) = shard.actors().a_lost_one() {
            if deadline <= Instant::now() {
                return Err(Unavailable::NoQuorum("a session is not rebuilt yet".into()));
            }
            self.directory.look(&shard, &lost).await?;
        }
        let (store, number) = (self.store.clone(), shard.number());
        let (prefix, after) = (prefix.to_string(), after.map(str::to_string));
        let scan = move || -> std::io::Result<Vec<Summary>> {
            let heads = store.living(number, &prefix, after.as_deref());
            let lines = heads.filter_map(|head| match head {
                Ok((_, head)) => summary(&head.session).map(Ok),
                Err(error) => Some(Err(error)),
            });
            lines.take(limit).collect()
        };
        let scanned = super::blocking::off_thread(scan).await;
        let broken = || Unavailable::NoQuorum("the store of this node fails".into());
        let mut lines = scanned.map_err(|_| broken())?.map_err(|_| broken())?;
        for line in &mut lines {
            // Heads on disk are written now and then; a live session knows better.
            if shard.actors().is_live(&line.id)
                && let Some(looked) = self.directory.look(&shard, &line.id).await?
                && let Some(status) = looked.status
            {
                line.tail = status.tail;
                line.closed = status.closed;
                line.updated_at = status.updated_at;
                line.standing = status.standing;
            }
        }
        Ok(lines)
    }

    /// Where the session lives; shard 0 before the cluster is bootstrapped.
    pub fn home(&self, id: &SessionId) -> Home {
        let map = self.host.map().borrow().clone();
        let Some(group) = map.group_of(id.full().as_bytes()) else { return Home::default() };
        let replicas = map.placement.replicas(group).iter().map(|node| node.0).collect();
        let received = self.host.group(group).filter(|group| group.in_touch());
        let leader = received.and_then(|group| group.leader());
        Home { shard: group.0, leader: leader.map(|node| node.0), replicas }
    }

    pub(super) async fn ask_a_replica(
        &self,
        group: Option<GroupId>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is in reach".into());
        let group = group.ok_or_else(none)?;
        let mut last = none();
        for node in self.directory.replicas(group) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.directory.ask(node, request, left.min(PEER_PATIENCE)).await {
                Ok(Response::Denied(why)) => return Err(Unavailable::Denied(why)),
                Ok(Response::Unavailable(text)) => last = Unavailable::NoQuorum(text),
                Ok(answered) => return Ok(answered),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

pub(super) fn left_ms(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn odd() -> Unavailable {
    Unavailable::NoQuorum("the replica answered something else".into())
}

fn summary(session: &Session) -> Option<Summary> {
    let status = session.status().filter(|status| !status.hidden)?;
    Some(Summary {
        id: session.id().clone(),
        incarnation: status.incarnation,
        root: status.root,
        tail: status.tail,
        closed: status.closed,
        created_at: status.created_at,
        updated_at: status.updated_at,
        standing: status.standing,
    })
}
