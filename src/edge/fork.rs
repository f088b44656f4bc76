//! Forks of sessions: another one that begins as this one was, with its turns and branches.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;

use super::error::{self, Problem};
use super::gate::By;
use super::history::{self, Log};
use super::name::{Name, in_frame};
use super::people::exists;
use super::query::Query;
use super::verbs::{self, ForkAt, render};
use super::{Edge, body, headers};
use crate::ids::{Serial, SessionId};
use crate::limits;
use crate::runtime::Freshness;
use crate::runtime::fork::{ForkError, Wish};
use crate::session::{Applied, Config, Create, Refusal, Right, Status};

/// `POST /v1/sessions/{id}/fork`
pub(super) async fn fork(
    State(edge): State<Edge>,
    Name(source): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limits::HEAD_BYTES).await?;
    let (name, at, config) = verbs::fork(&held.bytes)?;
    let id = verbs::turns::name("session", &name, |name| in_frame(caller.tenant(), name))?;
    if id.is_reserved() || id == source {
        return Err(Problem::new(&error::BAD_SESSION_ID, "a fork has a name of its own"));
    }
    caller.may(Right::Create, Some(&id))?;
    let create = Create { config: Config::default(), fork: None, events: Vec::new(), close: false };
    edge.auth.spend(&caller, &create.into())?;
    let sessions = &edge.runtime.sessions;
    let status = exists(sessions.status(&source, Freshness::Linearizable, deadline).await?)?;
    let config = config(&status.config)?;
    let (anchor, branch) = match at {
        ForkAt::Tail => (None, None),
        ForkAt::Serial(at) => (Some(at), None),
        ForkAt::Message(message) => {
            let known = known(&edge, (&id, &source), message, deadline).await?;
            let mut log = Log::new(&edge, &source, status.incarnation, deadline);
            let (end, branch) = history::end_of_message(&mut log, &status, message).await?;
            // Where it was forked before, more may have come to its message since.
            (Some(known.filter(|known| *known <= end).unwrap_or(end)), Some(branch))
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
    let reply = sessions.fork(&id, wish.clone(), deadline).await.map_err(problem)?;
    let forked = sessions.status(&id, Freshness::Linearizable, deadline).await?;
    let mut received = render(&id, &reply);
    if let Some(fork) = forked.and_then(|status| status.fork) {
        received["fork"] = json!({ "source": fork.source.name(), "at": fork.at.0 });
    }
    let created = matches!(reply.applied, Applied::Created { created: true, .. });
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(received)).into_response())
}

/// Where the session begins, if it is a fork of this source already, and has the message.
async fn known(
    edge: &Edge,
    (id, source): (&SessionId, &SessionId),
    message: Serial,
    deadline: Instant,
) -> Result<Option<Serial>, Problem> {
    let status = edge.runtime.sessions.status(id, Freshness::Linearizable, deadline).await?;
    let fork = status.filter(|status: &Status| !status.hidden).and_then(|status| status.fork);
    let fork = fork.filter(|fork| fork.source == *source && message <= fork.anchor);
    Ok(fork.map(|fork| fork.anchor))
}

/// Why there is no fork.
fn problem(why: ForkError) -> Problem {
    match why {
        ForkError::Source(Refusal::Gone) | ForkError::OtherRoot => {
            Problem::new(&error::SOURCE_GONE, "the source of the fork was deleted")
        }
        ForkError::Source(refusal) => refusal.into(),
        ForkError::Short => Problem::new(&error::FORK_BEYOND_TAIL, why.to_string()),
        ForkError::Submit(why) => why.into(),
    }
}
