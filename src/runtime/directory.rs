//! "Here or elsewhere?": the one place that answers it, for commands and for reads.
//!
//! A client may use any node for anything. What lives elsewhere is carried there; during an election
//! requests wait; a command of unknown outcome is repeated with the same key, which is drawn here where the
//! client gave none (S11).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::group::{self, AdmitError, Group};
use cluster::host::Host;
use cluster::ids::{GroupId, NodeId};
use cluster::limits::ENTRY_BYTES;
use cluster::transport::CallError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::allowance::Allowance;
use super::blocking;
use super::chance;
use super::outcome::{Reply, SubmitError, Unavailable};
use super::peer::wire::{Request, Response};
use super::session::{Answer, Looked, Mail, Submission};
use super::shard::Shard;
use super::shard::actors::Actors;
use super::shards::Shards;
use super::space::Space;
use super::{Freshness, envelope, flow};
use crate::ids::{Serial, SessionId, TurnId};
use crate::limits::{self, HOPS, LEADER_WAIT, PEER_PATIENCE, REQUEST_DEADLINE};
use crate::session::command::{Class, SMALL_BYTES};
use crate::session::{Carried, Command, CommandKey, Grant, Refusal, TurnPlace};

pub(super) struct Directory {
    host: Arc<Host>,
    shards: Arc<Shards>,
    allowance: Arc<Allowance>,
    space: Arc<Space>,
}

/// Where a command is taken.
pub(super) enum TargetNode {
    Here(Arc<Group>, Arc<Shard>),
    At(NodeId),
    /// An election is under way, or no node that knows is in reach.
    Nobody,
}

/// What one attempt at one place came to.
enum Attempt {
    Done(Result<Reply, SubmitError>),
    /// It did not happen; perhaps at that node.
    Elsewhere(Option<NodeId>),
    /// It may have happened.
    Unknown(String),
}

impl Directory {
    pub(super) fn new(
        host: Arc<Host>,
        shards: Arc<Shards>,
        allowance: Arc<Allowance>,
        space: Arc<Space>,
    ) -> Directory {
        Directory { host, shards, allowance, space }
    }

    /// The shard of a session; none before the cluster's bootstrap is known.
    pub(super) fn group_of(&self, id: &SessionId) -> Option<GroupId> {
        self.host.map().borrow().group_of(id.full().as_bytes())
    }

    /// Commits a command wherever its session lives.
    pub(super) async fn submit(
        &self,
        id: &SessionId,
        command: &Command,
        grant: Option<&Grant>,
        deadline: Instant,
    ) -> Result<Reply, SubmitError> {
        let bounds = self.allowance.bounds(id, command);
        let plain = envelope::within(&bounds, envelope::plain(command));
        let class = command.class();
        let bytes = plain.len() + id.full().len() + envelope::HEADS;
        if ENTRY_BYTES < bytes {
            return Err(too_large(bytes));
        }
        let begun = Instant::now();
        let key = command.needs_key().then(chance::draw::<u128>);
        // Over all lives of the session.
        let is_remembered = key.is_some() && !command.is_of_one_life();
        let keyed = |in_doubt: bool| {
            let Some(key) = key else { return plain.clone() };
            let within_ms = millis(deadline.saturating_duration_since(begun));
            let age_ms = in_doubt.then(|| millis(begun.elapsed()));
            envelope::with_key(&CommandKey { key, within_ms, age_ms }, &plain)
        };
        let (mut hint, mut hops, mut attempts) = (None, 0, 0);
        let mut doubt = None;
        loop {
            let bytes = keyed(doubt.is_some());
            let attempt = match self.place(id, hint.take(), attempts) {
                TargetNode::Here(group, shard) => {
                    self.submit_here(&group, &shard, id, class, bytes, deadline).await
                }
                TargetNode::At(node) => self.forward(node, id, (bytes, grant), deadline).await,
                TargetNode::Nobody => Attempt::Elsewhere(None),
            };
            match attempt {
                Attempt::Done(done) => return concluded(done, doubt.is_some(), is_remembered),
                Attempt::Elsewhere(node) => hint = node,
                Attempt::Unknown(text) => doubt = Some(text),
            }
            if deadline <= Instant::now() {
                let text = "no leader took the command in time".to_string();
                return Err(match doubt {
                    Some(text) => SubmitError::Unknown(text),
                    None => Unavailable::NoQuorum(text).into(),
                });
            }
            hops += 1;
            attempts += 1;
            // Two nodes may each believe that the other leads; then it is time to wait.
            if hint.is_none() || HOPS < hops {
                self.change_of_leader(id).await;
                hops = 0;
            }
        }
    }

    /// One attempt on this node, for a peer that believes that it leads.
    pub(super) async fn submit_for_peer(
        &self,
        id: &SessionId,
        class: Class,
        command: Bytes,
        deadline: Instant,
    ) -> Response {
        let attempt = match self.place(id, None, 0) {
            TargetNode::Here(group, shard) => {
                self.submit_here(&group, &shard, id, class, command, deadline).await
            }
            TargetNode::At(node) => Attempt::Elsewhere(Some(node)),
            TargetNode::Nobody => Attempt::Elsewhere(None),
        };
        match attempt {
            Attempt::Done(done) => Response::Submitted(done),
            Attempt::Elsewhere(leader) => Response::Elsewhere { leader },
            Attempt::Unknown(text) => Response::Submitted(Err(SubmitError::Unknown(text))),
        }
    }

    pub(super) fn place(
        &self,
        id: &SessionId,
        hint: Option<NodeId>,
        attempts: usize,
    ) -> TargetNode {
        let map = self.host.map().borrow().clone();
        let Some(group_id) = map.group_of(id.full().as_bytes()) else { return TargetNode::Nobody };
        let local = self.host.local();
        let here = self.host.group(group_id).zip(self.shards.get(group_id));
        match (here, hint) {
            (Some((group, shard)), _) if group.leads() => TargetNode::Here(group, shard),
            (_, Some(node)) if node != local => TargetNode::At(node),
            (Some((group, _)), _) => match group.leader() {
                Some(leader) if leader != local => TargetNode::At(leader),
                _ => TargetNode::Nobody,
            },
            // This node has no replica and sends the request to those that have one, each in its turn.
            (None, _) => {
                let connected = self.host.connected();
                let replicas = map.placement.replicas(group_id).iter();
                let reachable: Vec<_> = replicas.filter(|node| connected.contains(node)).collect();
                let turn = attempts % reachable.len().max(1);
                reachable.get(turn).map_or(TargetNode::Nobody, |node| TargetNode::At(**node))
            }
        }
    }

    async fn submit_here(
        &self,
        group: &Arc<Group>,
        shard: &Arc<Shard>,
        id: &SessionId,
        class: Class,
        command: Bytes,
        deadline: Instant,
    ) -> Attempt {
        // A key is revoked though a flood filled the disk. What clients can cause, as the first use of a ticket, has no
        // part in the reserve.
        let small = command.len() <= SMALL_BYTES && id.is_the_clusters();
        let class = match class {
            Class::Data if small && id.full() == limits::KEYS_SESSION => Class::Control,
            Class::Data if small => Class::Small,
            class => class,
        };
        // Deleting and closing still work: they make room.
        if !self.space.level().takes(class) {
            return Attempt::Done(Err(Unavailable::DiskFull.into()));
        }
        // Whatever makes room or ends something passes by the flood, on the reserve.
        let class = match class {
            Class::Control => group::Class::Control,
            Class::Small | Class::Data => group::Class::Data,
        };
        let permit = match group.admit(class, flow::of(id), command.len() + id.full().len()) {
            Ok(permit) => permit,
            Err(AdmitError::DiskFull) => return Attempt::Done(Err(Unavailable::DiskFull.into())),
            Err(AdmitError::Full) => return Attempt::Done(Err(Unavailable::Overloaded.into())),
            Err(AdmitError::TooLarge { bytes, .. }) => {
                return Attempt::Done(Err(too_large(bytes)));
            }
        };
        let (reply, answer) = oneshot::channel();
        let submission = Submission { command, permit, group: group.clone(), reply };
        shard.actors().send(id, Mail::Submit(Box::new(submission)));
        match timeout_at(deadline, answer).await {
            Ok(Ok(Answer::Done(Err(SubmitError::Unknown(text))))) => Attempt::Unknown(text),
            Ok(Ok(Answer::Done(done))) => Attempt::Done(done),
            Ok(Ok(Answer::Elsewhere)) => Attempt::Elsewhere(None),
            Ok(Err(_)) => Attempt::Unknown("the session's actor ended".into()),
            Err(_) => Attempt::Unknown("the deadline passed before it was committed".into()),
        }
    }

    async fn forward(
        &self,
        node: NodeId,
        id: &SessionId,
        (command, grant): (Bytes, Option<&Grant>),
        deadline: Instant,
    ) -> Attempt {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = Request::Submit {
            session: id.clone(),
            command,
            within_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            grant: grant.cloned().map(Box::new),
        };
        // The peer keeps the deadline too; its answer at the last moment is still worth waiting for.
        let knows = self.group_of(id).is_some_and(|group| self.host.group(group).is_some());
        // Without a replica no report of a new leader comes: then another node gets the request in time.
        let patience = if knows { left + LEADER_WAIT } else { left.min(PEER_PATIENCE) };
        let call = self.host.call(node, request.encode(), patience);
        let moved = self.leads_no_more(id, node);
        let answer = tokio::select! {
            answer = call => answer,
            // A dead link is noticed late; a new leader is noticed first.
            () = moved => {
                return Attempt::Unknown(format!("node {node} leads no more"));
            }
        };
        match answer.map(Response::decode) {
            Ok(Ok(Response::Submitted(Err(SubmitError::Unknown(text))))) => Attempt::Unknown(text),
            Ok(Ok(Response::Submitted(done))) => Attempt::Done(done),
            Ok(Ok(Response::Elsewhere { leader })) => Attempt::Elsewhere(leader),
            Err(CallError::Unreachable(_) | CallError::TooLarge) => Attempt::Elsewhere(None),
            Ok(Ok(_)) => Attempt::Unknown("the peer answered something else".into()),
            Ok(Err(error)) => Attempt::Unknown(error.to_string()),
            Err(error) => Attempt::Unknown(error.to_string()),
        }
    }

    /// Resolves when this node learns that another node than `node` leads.
    async fn leads_no_more(&self, id: &SessionId, node: NodeId) {
        let group = self.group_of(id).and_then(|group| self.host.group(group));
        let Some(group) = group else { return std::future::pending().await };
        let mut reports = group.reports();
        let other = |leader: Option<NodeId>| leader.is_some_and(|leader| leader != node);
        while reports.changed().await.is_ok() {
            if other(reports.borrow_and_update().leader) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Waits a moment, or until the group's leader changes.
    pub(super) async fn change_of_leader(&self, id: &SessionId) {
        let group = self.group_of(id).and_then(|group| self.host.group(group));
        let Some(group) = group else { return tokio::time::sleep(LEADER_WAIT).await };
        let mut reports = group.reports();
        let leader = reports.borrow_and_update().leader;
        let changed = reports.wait_for(|report| report.leader != leader);
        // Either way it is tried again.
        drop(timeout(LEADER_WAIT, changed).await);
    }

    /// The group and the shard of a session, where this node has a replica.
    pub(super) fn local(&self, id: &SessionId) -> Option<(Arc<Group>, Arc<Shard>)> {
        let group = self.group_of(id)?;
        Some((self.host.group(group)?, self.shards.get(group)?))
    }

    /// Whether this node's replica is to answer. One that its leader does not reach cannot show what is new,
    /// while another may; it answers where no other node is in reach, or for what may be stale.
    pub(super) fn serves(&self, id: &SessionId, freshness: Freshness) -> bool {
        self.local(id).is_some_and(|(group, _)| self.group_serves(&group, freshness))
    }

    pub(super) fn group_serves(&self, group: &Group, freshness: Freshness) -> bool {
        freshness == Freshness::Local || group.in_touch() || self.replicas(group.id()).is_empty()
    }

    /// Nodes in reach that have a replica of the group.
    pub(super) fn replicas(&self, group: GroupId) -> Vec<NodeId> {
        let connected = self.host.connected();
        let map = self.host.map().borrow().clone();
        let replicas = map.placement.replicas(group).iter();
        replicas.filter(|node| connected.contains(node)).copied().collect()
    }

    /// Waits until this replica shows everything that was acknowledged before the call.
    pub(super) async fn linearize(
        &self,
        group: &Group,
        deadline: Instant,
    ) -> Result<(), Unavailable> {
        loop {
            let text = match timeout_at(deadline, group.linearize()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "this replica did not catch up in time".to_string(),
            };
            if deadline <= Instant::now() + LEADER_WAIT {
                return Err(Unavailable::NoQuorum(text));
            }
            tokio::time::sleep(LEADER_WAIT / 2).await;
        }
    }

    /// Queries the session's actor on this node; none where the session never lived.
    pub(super) async fn look(
        &self,
        shard: &Arc<Shard>,
        id: &SessionId,
    ) -> Result<Option<Looked>, Unavailable> {
        self.look_by(shard, id, Actors::send).await
    }

    /// The same as no use of the session: one that was passive is so again soon.
    pub(super) async fn look_in(
        &self,
        shard: &Arc<Shard>,
        id: &SessionId,
    ) -> Result<Option<Looked>, Unavailable> {
        self.look_by(shard, id, Actors::look_in).await
    }

    /// What the session remembers of an input.
    pub(super) async fn place_of(
        &self,
        shard: &Arc<Shard>,
        id: &SessionId,
        input: &TurnId,
    ) -> Result<Option<TurnPlace>, Unavailable> {
        let (reply, place) = oneshot::channel();
        let request = Mail::PlaceOf { input: input.clone(), reply };
        Ok(self.ask_actor(shard, id, place, |actors, id| actors.send(id, request)).await?.flatten())
    }

    /// What the session takes along if it moves.
    pub(super) async fn carried(
        &self,
        shard: &Arc<Shard>,
        id: &SessionId,
    ) -> Result<Option<Box<Carried>>, Unavailable> {
        let (reply, carried) = oneshot::channel();
        let ask = |actors: &Actors, id: &SessionId| actors.send(id, Mail::Carried(reply));
        Ok(self.ask_actor(shard, id, carried, ask).await?.flatten())
    }

    async fn look_by(
        &self,
        shard: &Arc<Shard>,
        id: &SessionId,
        send: impl FnOnce(&Actors, &SessionId, Mail),
    ) -> Result<Option<Looked>, Unavailable> {
        let (reply, looked) = oneshot::channel();
        let ask = |actors: &Actors, id: &SessionId| send(actors, id, Mail::Look(reply));
        self.ask_actor(shard, id, looked, ask).await
    }

    /// Queries a session's actor; none where there is no session.
    pub(super) async fn ask_actor<T>(
        &self,
        shard: &Arc<Shard>,
        id: &SessionId,
        answer: oneshot::Receiver<T>,
        ask: impl FnOnce(&Actors, &SessionId),
    ) -> Result<Option<T>, Unavailable> {
        let broken = |text: &str| Unavailable::NoQuorum(text.to_string());
        if !shard.actors().is_live(id) {
            // Do not wake an actor for a session that does not exist.
            let (store, number, id) = (shard.store().clone(), shard.number(), id.clone());
            let head = blocking::off_thread(move || store.head(number, &id)).await;
            match head {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Ok(None),
                _ => return Err(broken("the store of this node fails")),
            }
        }
        ask(shard.actors(), id);
        let answer = timeout(REQUEST_DEADLINE, answer).await;
        answer
            .map_err(|_| broken("the session does not answer"))?
            .map(Some)
            .map_err(|_| broken("the session's actor ended"))
    }

    /// Sends a request to a peer.
    pub(super) async fn ask(
        &self,
        node: NodeId,
        request: &Request,
        within: Duration,
    ) -> Result<Response, Unavailable> {
        let unavailable = |text: String| Unavailable::NoQuorum(text);
        let answer = self.host.call(node, request.encode(), within).await;
        let answer = answer.map_err(|error| unavailable(error.to_string()))?;
        Response::decode(answer).map_err(|error| unavailable(error.to_string()))
    }
}

/// What a request came to by its last try. `in_doubt`: an earlier one may have taken effect; `is_remembered`: its key
/// is, over all lives of the session.
fn concluded(
    done: Result<Reply, SubmitError>,
    in_doubt: bool,
    is_remembered: bool,
) -> Result<Reply, SubmitError> {
    match done {
        // What an earlier try of this very request did is its own doing, and no repetition.
        Ok(reply) if in_doubt => Ok(reply.of_first_try()),
        // This try came to nothing, but an earlier one may have taken effect.
        Err(SubmitError::Unavailable(why)) if in_doubt => {
            Err(SubmitError::Unknown(why.to_string()))
        }
        Err(SubmitError::Denied(why)) if in_doubt => Err(SubmitError::Unknown(why.to_string())),
        Err(SubmitError::Refused { refusal: refusal @ Refusal::OutcomeForgotten, .. }) => {
            Err(SubmitError::Unknown(refusal.to_string()))
        }
        // What an earlier try may have done, this one does not show.
        Err(SubmitError::Refused { refusal, .. })
            if in_doubt && !is_remembered && refusal.tells_of_another_time() =>
        {
            Err(SubmitError::Unknown(refusal.to_string()))
        }
        done => done,
    }
}

/// What no entry has room for, at any node and at any time.
fn too_large(bytes: usize) -> SubmitError {
    let refusal = Refusal::AppendTooLarge { bytes, limit: ENTRY_BYTES };
    SubmitError::Refused { refusal, incarnation: None, root: None, tail: Serial::ZERO }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
