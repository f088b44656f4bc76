//! What can be asked about sessions and about the cluster, gathered from wherever it is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cluster::ids::{GroupId, NodeId};
use cluster::membership::Map;
use futures::future::join_all;
use tokio::time::Instant;

use super::peer::wire::{Condition, Request, Response, Standing};
use super::{
    ClusterReport, Freshness, Home, MemberReport, ReplicaReport, Runtime, ShardReport, Summary,
    Unavailable,
};
use crate::ids::SessionId;
use crate::limits::{PEER_PATIENCE, REPORT_WAIT};
use crate::session::{Session, Status};

impl Runtime {
    /// What the session is now; none where it does not exist. One that is hidden exists for its forks
    /// alone.
    ///
    /// # Errors
    /// Nobody with a majority answers before the deadline.
    pub async fn status(
        &self,
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
        match self.status_elsewhere(id, deadline).await {
            // Its own replica may be in touch again by now.
            Err(_) if local.is_some() => self.status_here(id, deadline).await,
            told => told,
        }
    }

    /// The linearizable status at another node's replica.
    async fn status_elsewhere(
        &self,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Option<Status>, Unavailable> {
        let asked = Request::Status { session: id.clone(), within_ms: left_ms(deadline) };
        match self.ask_a_replica(self.directory.group_of(id), &asked, deadline).await? {
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

    /// Up to `limit` live sessions whose id begins with `prefix`, in byte order of their ids, after `after`.
    ///
    /// # Errors
    /// A shard does not answer before the deadline.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        let groups = self.host.map().borrow().groups;
        if groups == 0 {
            return Err(Unavailable::NoQuorum("the cluster is not born yet".into()));
        }
        let shards =
            (1..=groups).map(|shard| self.list_shard(shard, prefix, after, limit, deadline));
        let mut lines = Vec::new();
        for listed in join_all(shards).await {
            lines.extend(listed?);
        }
        lines.sort_by(|a, b| a.id.cmp(&b.id));
        lines.truncate(limit);
        Ok(lines)
    }

    async fn list_shard(
        &self,
        shard: u32,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<Summary>, Unavailable> {
        let group = self.host.group(GroupId(shard));
        let here = group.filter(|_| self.shards.get(GroupId(shard)).is_some());
        let serves = |group| self.directory.group_serves(group, Freshness::Linearizable);
        if here.as_deref().is_some_and(serves) {
            return self.list_here(shard, prefix, after, limit, deadline).await;
        }
        let asked = Request::List {
            shard,
            prefix: prefix.into(),
            after: after.map(Into::into),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            within_ms: left_ms(deadline),
        };
        match self.ask_a_replica(Some(GroupId(shard)), &asked, deadline).await {
            Ok(Response::Listed(lines)) => Ok(lines),
            Ok(_) => Err(odd()),
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
            }
        }
        Ok(lines)
    }

    /// Where the session lives; shard 0 before the cluster is born.
    pub fn home(&self, id: &SessionId) -> Home {
        let map = self.host.map().borrow().clone();
        let Some(group) = map.group_of(id.as_str().as_bytes()) else { return Home::default() };
        let replicas = map.placement.replicas(group).iter().map(|node| node.0).collect();
        let heard = self.host.group(group).filter(|group| group.in_touch());
        let leader = heard.and_then(|group| group.leader());
        Home { shard: group.0, leader: leader.map(|node| node.0), replicas }
    }

    /// Members, shards, leaders, positions and lag, gathered from all nodes that answer.
    pub async fn cluster(&self) -> ClusterReport {
        let map = self.host.map().borrow().clone();
        let asked = map.members.keys().map(|node| self.condition_of(*node));
        let conditions: BTreeMap<NodeId, Condition> =
            join_all(asked).await.into_iter().flatten().collect();
        ClusterReport {
            cluster: self.cluster_name.clone(),
            node: self.host.local().0,
            epoch: map.epoch,
            members: members(&map, &conditions),
            shards: shards(&map, &conditions),
        }
    }

    /// The measured round trip to each peer in reach, by its number.
    pub fn round_trips(&self) -> Vec<(u64, std::time::Duration)> {
        let trips = self.host.round_trips().into_iter();
        trips.map(|(peer, round_trip)| (peer.0, round_trip)).collect()
    }

    async fn condition_of(&self, node: NodeId) -> Option<(NodeId, Condition)> {
        if node == self.host.local() {
            return Some((node, self.condition()));
        }
        match self.directory.ask(node, &Request::Report, REPORT_WAIT).await {
            Ok(Response::Report(condition)) => Some((node, condition)),
            _ => None,
        }
    }

    /// How this node is.
    pub(super) fn condition(&self) -> Condition {
        let standings = self.host.groups().into_iter().map(|group| {
            let report = group.report();
            Standing {
                shard: group.id().0,
                term: report.term,
                leads: group.leads(),
                voter: report.voters.contains(&self.host.local()),
                last: report.last.unwrap_or(0),
                applied: group.settled_next().saturating_sub(1),
            }
        });
        Condition {
            sessions_in_memory: self.shards.live_sessions() as u64,
            readers: self.readers.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Acquire),
            shards: standings.collect(),
        }
    }

    async fn ask_a_replica(
        &self,
        group: Option<GroupId>,
        asked: &Request,
        deadline: Instant,
    ) -> Result<Response, Unavailable> {
        let none = || Unavailable::NoQuorum("no replica is in reach".into());
        let group = group.ok_or_else(none)?;
        let mut last = none();
        for node in self.directory.replicas(group) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.directory.ask(node, asked, left.min(PEER_PATIENCE)).await {
                Ok(Response::Unavailable(text)) => last = Unavailable::NoQuorum(text),
                Ok(answered) => return Ok(answered),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn left_ms(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

fn odd() -> Unavailable {
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
    })
}

fn members(map: &Arc<Map>, conditions: &BTreeMap<NodeId, Condition>) -> Vec<MemberReport> {
    let member = |(node, member): (&NodeId, &cluster::membership::Member)| {
        let condition = conditions.get(node);
        let leads = condition.map_or(0, |condition| {
            condition.shards.iter().filter(|standing| standing.leads && 0 < standing.shard).count()
        });
        let known = condition.cloned().unwrap_or_default();
        MemberReport {
            node: node.0,
            peer: member.peer.clone(),
            http: member.client.clone(),
            reachable: condition.is_some(),
            leads: u32::try_from(leads).unwrap_or(u32::MAX),
            replicates: u32::try_from(map.placement.groups_of(*node).len()).unwrap_or(u32::MAX),
            sessions_in_memory: known.sessions_in_memory,
            readers: known.readers,
            draining: known.draining,
        }
    };
    map.members.iter().map(member).collect()
}

fn shards(map: &Arc<Map>, conditions: &BTreeMap<NodeId, Condition>) -> Vec<ShardReport> {
    let shard = |shard: u32| {
        let standings: Vec<(NodeId, &Standing)> = conditions
            .iter()
            .flat_map(|(node, condition)| {
                let mine = condition.shards.iter().filter(move |standing| standing.shard == shard);
                mine.map(move |standing| (*node, standing))
            })
            .collect();
        // Each has a majority behind it; of two, for a moment, the later term leads.
        let leader = standings.iter().filter(|(_, standing)| standing.leads);
        let leader = leader.max_by_key(|(_, standing)| standing.term);
        let last = leader.map_or(0, |(_, standing)| standing.last);
        let replica = |(node, standing): &(NodeId, &Standing)| ReplicaReport {
            node: node.0,
            voter: standing.voter,
            last: standing.last,
            applied: standing.applied,
            lag: last.saturating_sub(standing.last),
        };
        ShardReport {
            shard,
            leader: leader.map(|(node, _)| node.0),
            term: standings.iter().map(|(_, standing)| standing.term).max().unwrap_or(0),
            replicas: standings.iter().map(replica).collect(),
        }
    };
    (1..=map.groups).map(shard).collect()
}
