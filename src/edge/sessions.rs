//! Looking at whole sessions: one, where it lives, and a list.

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;

use super::attached::people;
use super::content::raw::Json as Body;
use super::error::{self, Problem};
use super::gate::By;
use super::history::{self, Log, Waiting};
use super::name::Name;
use super::people::{exists, ready};
use super::query::Query;
use super::{Edge, freshness, headers, turns, wire};
use crate::auth::Caller;
use crate::edge::State;
use crate::limits;
use crate::runtime::Summary;
use crate::session::Standing;

pub(super) async fn show(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["read"])?;
    let deadline = headers::deadline(&headers)?;
    let freshness = freshness(&query)?;
    let status = edge.sessions().status(&id, freshness, deadline).await?;
    let mut status = exists(status)?;
    edge.runtime.workers.mark_unserved(&id, &mut status.turns).await;
    let mut body = wire::status(&id, &status);
    let now = edge.runtime.sessions.time_of(&id);
    let open: Vec<_> =
        status.turns.iter().map(|turn| turns::turn(turn, &status.turns, now)).collect();
    body["turns"] = open.into();
    body["control"] = people::control(&status.control);
    body["audience"] = people::counted(status.audience.as_ref());
    let mut log = Log::new(&edge, &id, status.incarnation, deadline).reading(freshness);
    let waiting = history::waiting(&mut log, &status, limits::MESSAGES_BYTES).await;
    // That something waits is known, whether or not the log is to be had.
    let waiting = waiting.unwrap_or_else(|_| Waiting::without_words(&status));
    let rest = [("interactions", waiting.interactions), ("inputs", waiting.inputs)];
    Ok(ready(&Body::joined(&body, &Body::object(rest))))
}

pub(super) async fn home(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[])?;
    Ok(Json(wire::home(&edge.runtime.sessions.home(&id))).into_response())
}

pub(super) async fn list(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["prefix", "after", "limit", "archived"])?;
    let words = [("0", Shows::Others), ("1", Shows::All), ("only", Shows::Them)];
    let shows = query.word("archived", &words)?.unwrap_or(Shows::Others);
    let deadline = headers::deadline(&headers)?;
    let limit = query.number("limit", 1, limits::LIST_SESSIONS_MAX as u64)?;
    let limit = limit.map_or(limits::LIST_SESSIONS, |limit| limit as usize);
    for name in ["prefix", "after"] {
        let text = query.text(name).unwrap_or_default();
        if limits::SESSION_ID_BYTES < text.len() || text.chars().any(char::is_control) {
            let detail = format!("{name} is longer than any name, or has what no name has");
            return Err(Problem::new(&error::BAD_QUERY, detail));
        }
    }
    let prefix = query.text("prefix").unwrap_or_default();
    let mut found = Vec::new();
    for (beginning, whole) in caller.beginnings(prefix) {
        let most = if whole { 1 } else { limit };
        let after = query.text("after");
        let place = (beginning.as_str(), after);
        found.extend(below(&edge, &caller, place, (most, shows), deadline).await?);
    }
    found.retain(|summary| caller.is_for(&summary.id));
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(limit);
    let next = if found.len() < limit { None } else { found.last().map(|last| last.id.name()) };
    let sessions: Vec<_> = found.iter().map(wire::summary).collect();
    Ok(Json(json!({ "sessions": sessions, "next": next })).into_response())
}

/// Which sessions a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// Those that are not archived.
    Others,
    All,
    /// Those that are.
    Them,
}

impl Shows {
    fn has(self, summary: &Summary) -> bool {
        let is_archived = summary.standing == Standing::Archived;
        match self {
            Shows::Others => !is_archived,
            Shows::All => true,
            Shows::Them => is_archived,
        }
    }
}

/// Up to `limit` sessions of the caller's tenant whose names begin so, after `after`, in order.
async fn below(
    edge: &Edge,
    caller: &Caller,
    (prefix, after): (&str, Option<&str>),
    (limit, shows): (usize, Shows),
    deadline: Instant,
) -> Result<Vec<Summary>, Problem> {
    let (mut all, mut after) = (Vec::new(), after.map(str::to_owned));
    loop {
        let place = (prefix, after.as_deref());
        let found = edge.sessions().list(caller.tenant(), place, limit, deadline).await?;
        let last = found.last().map(|last| last.id.name().to_owned());
        let is_last = found.len() < limit;
        // What the service keeps for itself is no client's session.
        let is_shown = |summary: &Summary| !summary.id.is_reserved() && shows.has(summary);
        all.extend(found.into_iter().filter(is_shown));
        if is_last || limit <= all.len() {
            all.truncate(limit);
            return Ok(all);
        }
        after = last;
    }
}
