//! Looking at whole sessions: one, where it lives, and a list.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::attached::people;
use super::error::{self, Problem};
use super::gate::By;
use super::name::Name;
use super::query::Query;
use super::{Edge, freshness, headers, turns, wire};
use crate::ids::SessionId;
use crate::limits;
use crate::session::Refusal;

pub(super) async fn show(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["read"])?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.runtime.sessions.status(&id, freshness(&query)?, deadline).await?;
    let mut status = status.filter(|status| !status.hidden).ok_or(Refusal::NotFound)?;
    edge.runtime.workers.mark_unserved(&mut status.turns).await;
    let mut body = wire::status(&id, &status);
    let now = edge.runtime.sessions.time_of(&id);
    let open: Vec<_> = status.turns.iter().map(|turn| turns::turn(turn, now)).collect();
    body["turns"] = open.into();
    body["interactions"] = people::interactions(&status.interactions);
    body["control"] = people::control(&status.control);
    body["audience"] = people::counted(status.audience.as_ref());
    Ok(Json(body).into_response())
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
    let query = query.only(&["prefix", "after", "limit"])?;
    let deadline = headers::deadline(&headers)?;
    let limit = query.number("limit", 1, limits::LIST_SESSIONS_MAX as u64)?;
    let limit = limit.map_or(limits::LIST_SESSIONS, |limit| limit as usize);
    for name in ["prefix", "after"] {
        if query.text(name).is_some_and(|text| limits::SESSION_ID_BYTES < text.len()) {
            return Err(Problem::new(&error::BAD_QUERY, format!("{name} is longer than any name")));
        }
    }
    let prefix = query.text("prefix").unwrap_or_default();
    let found = edge.runtime.sessions.list(prefix, query.text("after"), limit, deadline).await?;
    let next = if found.len() < limit { None } else { found.last().map(|last| &last.id) };
    // What the service keeps for itself is nobody's session. A page may have fewer than its limit, and `next` all
    // the same.
    let is_open = |id: &SessionId| !id.is_reserved() && caller.is_for(id);
    let open = found.iter().filter(|summary| is_open(&summary.id));
    let sessions: Vec<_> = open.map(wire::summary).collect();
    Ok(Json(json!({ "sessions": sessions, "next": next })).into_response())
}
