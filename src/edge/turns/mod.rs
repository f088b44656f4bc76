//! Requests about turns: ask for one, cancel, take one as a worker, speak in it.

pub(super) mod asked;
mod output;
mod shown;
mod told;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::time::Instant;

use super::error::Problem;
use super::name::{Agent, Name, TurnOf};
use super::query::Query;
use super::{Edge, body, headers};
use crate::ids::SessionId;
use crate::limits;
use crate::session::{Command, Scope};

/// `POST /v1/sessions/{id}/inputs`
pub(super) async fn input(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limits::BODY_BYTES).await?;
    Ok(Json(ask(&edge, &id, &held.bytes, deadline).await?).into_response())
}

/// Asks for a turn, and shows what came of it.
pub(super) async fn ask(
    edge: &Edge,
    id: &SessionId,
    body: &[u8],
    deadline: Instant,
) -> Result<Value, Problem> {
    let command = Command::Input(Box::new(asked::input(body)?));
    Ok(shown::input(&edge.runtime.submit(id, command, deadline).await?))
}

/// `POST /v1/sessions/{id}/cancel`
pub(super) async fn cancel(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limits::HEAD_BYTES).await?;
    Ok(Json(end(&edge, &id, &held.bytes, deadline).await?).into_response())
}

/// Cancels turns, and shows what came of it.
pub(super) async fn end(
    edge: &Edge,
    id: &SessionId,
    body: &[u8],
    deadline: Instant,
) -> Result<Value, Problem> {
    let cancel = asked::cancel(body)?;
    // Turns that are asked for meanwhile would not be meant.
    let keyless = !matches!(cancel.scope, Scope::Turn(_));
    let done = edge.runtime.submit(id, Command::Cancel(Box::new(cancel)), deadline).await;
    let done = done.map_err(Problem::from);
    let reply = done.map_err(|why| if keyless { why.of_keyless() } else { why })?;
    Ok(shown::cancelled(&reply))
}

/// `POST /v1/sessions/{id}/turns/{turn}/say`
pub(super) async fn say(
    State(edge): State<Edge>,
    TurnOf(id, turn): TurnOf,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limits::BODY_BYTES).await?;
    let say = asked::say(turn, &held.bytes)?;
    let reply = edge.runtime.submit(&id, Command::Say(Box::new(say)), deadline).await?;
    Ok(Json(shown::said(&reply)).into_response())
}

/// `POST /v1/agents/{agent}/claim`
pub(super) async fn claim(
    State(edge): State<Edge>,
    Agent(agent): Agent,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limits::HEAD_BYTES).await?;
    let (seeker, wait_ms) = asked::seeker(agent, &held.bytes)?;
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let claimed = tokio::select! {
        claimed = edge.runtime.claim(&seeker, until) => claimed?,
        // Another node has turns too.
        () = edge.stop.cancelled() => None,
    };
    let Some(assignment) = claimed else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let read_by = deadline.max(Instant::now() + Duration::from_millis(limits::REQUEST_MS));
    let events = edge.runtime.events_of(&assignment, limits::PAGE_EVENTS, read_by).await;
    // The turn is the worker's, whatever else: it reads on by itself.
    let events = events.unwrap_or_else(|_| (Vec::new(), true));
    Ok(Json(shown::assignment(&assignment, (&events.0, events.1))).into_response())
}

pub(super) use asked::{PolicyBody, policy};
pub(super) use output::output;
pub(super) use shown::{assignment, turn};
pub(super) use told::told;
