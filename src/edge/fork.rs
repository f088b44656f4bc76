//! Forks of sessions: another one that begins as this one was, with its turns and branches.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;

use super::error::{self, Problem};
use super::gate::By;
use super::history::{self, Log};
use super::name::{Name, in_frame};
use super::query::Query;
use super::verbs::{self, ForkAt, render};
use super::{Edge, body};
use crate::edge::State;
use crate::ids::{Serial, SessionId};
use crate::runtime::fork::{ForkError, Wish};
use crate::runtime::{Freshness, SubmitError};
use crate::session::{Applied, Config, Create, Refusal, Right};

/// `POST /v1/sessions/{id}/fork`
pub(super) async fn fork(
    State(edge): State<Edge>,
    Name(source): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let (name, at, config) = verbs::fork(&held.bytes)?;
    let id = verbs::turns::name("session", &name, |name| in_frame(caller.tenant(), name))?;
    if id.is_reserved() || id == source {
        return Err(Problem::new(&error::BAD_SESSION_ID, "a fork has a name of its own"));
    }
    caller.may(Right::Create, Some(&id))?;
    let create = Create { config: Config::default(), fork: None, events: Vec::new(), close: false };
    edge.auth.spend(&caller, &create.into())?;
    let sessions = edge.sessions();
    let status = sessions.status(&source, Freshness::Linearizable, deadline).await?;
    let status = status.filter(|status| !status.hidden);
    let before = begun_before(&edge, (&id, &source), deadline).await?;
    // A repeated request is answered, whatever became of the source.
    let own = before.as_ref().map(|(_, config)| config);
    let inherited = status.as_ref().map(|status| &status.config).or(own);
    let config = config(inherited.ok_or(Refusal::NotFound)?)?;
    let (anchor, branch) = match at {
        ForkAt::Tail => (None, None),
        ForkAt::Serial(at) => (Some(at), None),
        ForkAt::Message(message) => {
            let known = before.map(|(anchor, _)| anchor).filter(|anchor| message <= *anchor);
            match (&status, known) {
                (None, Some(known)) => (Some(known), None),
                (status, known) => {
                    let status = status.as_ref().ok_or(Refusal::NotFound)?;
                    let mut log = Log::new(&edge, &source, status.incarnation, deadline);
                    let (end, branch) = history::end_of_message(&mut log, status, message).await?;
                    // Where it was forked before, more may have come to its message since.
                    (Some(known.filter(|known| *known <= end).unwrap_or(end)), Some(branch))
                }
            }
        }
    };
    let wish = Wish {
        source,
        anchor,
        root: None,
        sub: 0,
        config,
        events: Vec::new(),
        close: false,
        branch,
    };
    let reply = sessions.fork(&id, wish, deadline).await;
    let reply = reply.map_err(|why| problem(&edge, &id, why))?;
    let forked = sessions.status(&id, Freshness::Linearizable, deadline).await?;
    let mut received = render(&id, &reply);
    if let Some(fork) = forked.and_then(|status| status.fork) {
        received["fork"] = json!({ "source": fork.source.name(), "at": fork.at.0 });
    }
    let created = matches!(reply.applied, Applied::Created { created: true, .. });
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(received)).into_response())
}

/// Where the session begins and what it is, if it is a fork of this source already.
async fn begun_before(
    edge: &Edge,
    (id, source): (&SessionId, &SessionId),
    deadline: Instant,
) -> Result<Option<(Serial, Config)>, Problem> {
    let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
    let forked = status.filter(|status| !status.hidden).and_then(|status| {
        let fork = status.fork.filter(|fork| fork.source == *source)?;
        Some((fork.anchor, status.config))
    });
    Ok(forked)
}

/// Why there is no fork.
fn problem(edge: &Edge, id: &SessionId, why: ForkError) -> Problem {
    if let ForkError::Submit(SubmitError::Refused { refusal, .. }) = &why {
        edge.auth.quotas().refused(id.tenant().as_ref(), refusal);
    }
    match why {
        ForkError::Source(Refusal::Gone) | ForkError::OtherRoot => {
            Problem::new(&error::SOURCE_DELETED, "the source of the fork was deleted")
        }
        ForkError::Source(refusal) => refusal.into(),
        ForkError::Short => Problem::new(&error::FORK_OFFSET_OUT_OF_RANGE, why.to_string()),
        ForkError::Submit(why) => why.into(),
    }
}
