//! Answers the runtimes of other nodes. `wire` and `members` are the messages; `relay` serves readers.

pub(super) mod members;
mod relay;
pub(super) mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::host::Application;
use cluster::ids::NodeId;
use cluster::transport::{BoxFuture, Stream};
use tokio::time::Instant;

use super::Summary;
use super::allowance::Allowance;
use super::compare::Comparison;
use super::directory::Directory;
use super::envelope;
use super::ephemeral::Ephemerals;
use super::members::Members;
use super::outcome::SubmitError;
use super::overview::Overview;
use super::presence::Presence;
use super::sessions::Sessions;
use super::turn_queue::Offer;
use super::workers::Workers;
use crate::ids::SessionId;
use crate::session::{Denied, Grant, Right};
use wire::{Request, Response};

/// Answers peers, out of whatever part of the runtime knows.
pub(super) struct Peers(pub(super) Arc<Parts>);

/// The parts of the runtime that answer peers.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) directory: Arc<Directory>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) workers: Arc<Workers>,
    pub(super) presence: Arc<Presence>,
    pub(super) ephemerals: Arc<Ephemerals>,
    pub(super) members: Arc<Members>,
    pub(super) overview: Arc<Overview>,
    pub(super) comparison: Arc<Comparison>,
    pub(super) allowance: Arc<Allowance>,
}

impl Application for Peers {
    fn call(&self, from: NodeId, message: Bytes) -> BoxFuture<Result<Bytes, String>> {
        let parts = self.0.clone();
        Box::pin(async move {
            let requested = Request::decode(&message).map_err(|error| error.to_string())?;
            Ok(answer(&parts, from, requested).await?.encode())
        })
    }

    fn stream(&self, from: NodeId, hello: Bytes, stream: Stream) -> BoxFuture<()> {
        let sessions = self.0.sessions.clone();
        Box::pin(async move { relay::serve(&sessions, from, &hello, stream).await })
    }
}

/// The answer to a look at what the grant of its sender is not for.
fn denied(from: NodeId, request: &Request) -> Option<Response> {
    let is_for = |session: &SessionId, grant: &Grant| match grant.is_for(session) {
        true => Ok(()),
        false => Err(Denied::Session),
    };
    let judged = match request {
        Request::Status { session, grant: Some(grant), .. }
        | Request::PlaceOf { session, grant: Some(grant), .. }
        | Request::Files { session, grant: Some(grant), .. }
        | Request::FileBytes { session, grant: Some(grant), .. } => is_for(session, grant),
        Request::Carried { session, grant: Some(grant), .. } => {
            grant.allows(Right::Delete, Some(session))
        }
        Request::Changes { tenant, grant: Some(grant), .. } if *tenant != grant.tenant => {
            Err(Denied::Tenant)
        }
        _ => Ok(()),
    };
    let why = judged.err()?;
    tracing::warn!(%from, ?why, "a node looks at what its sender may not know of");
    Some(Response::Denied(why))
}

/// A list, if all of it is of the requester's tenant.
fn listed(from: NodeId, grant: Option<&Grant>, lines: Vec<Summary>) -> Response {
    let is_of = |line: &Summary| grant.is_none_or(|grant| line.id.is_of(grant.tenant.as_ref()));
    if lines.iter().all(is_of) {
        return Response::Listed(lines);
    }
    tracing::warn!(%from, "a node lists what its asker may not know of");
    Response::Denied(Denied::Tenant)
}

/// Commits a command if the requester's grant allows it.
async fn submit(
    parts: &Parts,
    (from, grant): (NodeId, Option<&Grant>),
    session: &SessionId,
    command: Bytes,
    deadline: Instant,
) -> Result<Response, String> {
    let requested = envelope::parse(&command).map_err(|error| error.to_string())?.command;
    let judged = grant.map_or(Ok(()), |grant| grant.has_narrowed(session, &requested));
    if let Err(why) = judged {
        let session = session.for_operators();
        tracing::warn!(%from, session, %why, "a node sent what its asker may not do");
        return Ok(Response::Submitted(Err(SubmitError::Denied(why))));
    }
    let class = requested.class();
    Ok(parts.directory.submit_for_peer(session, class, command, deadline).await)
}

async fn answer(parts: &Parts, from: NodeId, request: Request) -> Result<Response, String> {
    Ok(match request {
        Request::Submit { session, command, within_ms, grant } => {
            let caller = (from, grant.as_deref());
            submit(parts, caller, &session, command, after(within_ms)).await?
        }
        looks @ (Request::Status { .. }
        | Request::PlaceOf { .. }
        | Request::Files { .. }
        | Request::FileBytes { .. }
        | Request::Carried { .. }
        | Request::Changes { .. }
        | Request::List { .. }) => look(&parts.sessions, from, looks).await,
        Request::Report => Response::Report(parts.overview.condition()),
        Request::Offer { agent, within_ms } => {
            let offer =
                parts.workers.offer_for_peer(&agent, Duration::from_millis(within_ms)).await;
            Response::Offered(offer.map(|offer: Offer| (offer.session, offer.turn)))
        }
        Request::Present { boot, round, sessions } => {
            Response::Noted { elsewhere: parts.presence.take(from, (boot, round), &sessions) }
        }
        Request::Attended { sessions } => {
            parts.presence.hear(sessions.into_iter());
            Response::Noted { elsewhere: Vec::new() }
        }
        Request::PresenceSnapshot { session } => parts.presence.company_for_peer(&session),
        Request::Serves { agent } => Response::Serves(parts.workers.served.is_here(&agent)),
        Request::Compare { session, next, within_ms } => {
            let copy = parts.comparison.copy(&session, next, after(within_ms)).await;
            Response::Compared { copy }
        }
        Request::ChangeMembers(change) => {
            Response::MembersChanged(parts.members.change_members_here(&change).await)
        }
        Request::Introduce => Response::Introduced(parts.members.introduction()),
        Request::Ephemeral { messages } => {
            parts.ephemerals.hear(messages);
            Response::Noted { elsewhere: Vec::new() }
        }
        Request::LedGroups => Response::LedGroups(parts.members.led_groups()),
        Request::Holdings { shards, tenants } => {
            Response::Holdings(parts.allowance.holdings(&shards, &tenants))
        }
    })
}

/// The time that is left of so many milliseconds, from now.
fn after(within_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(within_ms.min(60_000))
}

/// Looks at sessions of this node's replicas.
async fn look(sessions: &Sessions, from: NodeId, request: Request) -> Response {
    let unavailable = |error: super::Unavailable| Response::Unavailable(error.to_string());
    if let Some(denied) = denied(from, &request) {
        return denied;
    }
    match request {
        Request::Status { session, within_ms, .. } => {
            let status = sessions.status_here(&session, after(within_ms)).await;
            status.map_or_else(unavailable, |status| Response::Status(status.map(Box::new)))
        }
        Request::PlaceOf { session, input, within_ms, .. } => {
            let place = sessions.place_of_here(&session, &input, after(within_ms)).await;
            place.map_or_else(unavailable, Response::PlaceOf)
        }
        Request::Files { session, file, within_ms, .. } => {
            let found = sessions.files_here(&session, file.as_ref(), after(within_ms)).await;
            found.map_or_else(unavailable, Response::Files)
        }
        Request::FileBytes { session, incarnation, number, offset, .. } => {
            let bytes = sessions.file_bytes_here(&session, incarnation, number, offset);
            let failed = |_| Response::Unavailable("the store of this node fails".into());
            bytes.await.map_or_else(failed, Response::FileBytes)
        }
        Request::Carried { session, within_ms, .. } => {
            let carried = sessions.carried_here(&session, after(within_ms)).await;
            carried.map_or_else(unavailable, Response::Carried)
        }
        Request::Changes { shard, tenant, place, limit, within_ms, grant } => {
            let (whose, limit) = ((tenant.as_ref(), grant.as_deref()), limit as usize);
            let changes =
                sessions.changed_here(shard, whose, &place, limit, after(within_ms)).await;
            changes.map_or_else(unavailable, Response::Changes)
        }
        Request::List { shard, prefix, after: start, limit, within_ms, grant } => {
            let limit = limit as usize;
            let deadline = after(within_ms);
            let lines = sessions.list_here(shard, &prefix, start.as_deref(), limit, deadline).await;
            lines.map_or_else(unavailable, |lines| listed(from, grant.as_deref(), lines))
        }
        _ => Response::Unavailable("this looks at no session".into()),
    }
}
