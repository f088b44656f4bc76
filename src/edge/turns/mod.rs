//! Turns by HTTP. Of workers: take a turn, send output in it without an end, get signals of it. Of whoever reads: how
//! a turn stands or ended, and which there are.

mod ending;
mod output;
mod shown;
mod signals;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::error::Problem;
use super::gate::{By, while_granted};
use super::name::Agent;
use super::query::Query;
use super::{Edge, body, verbs};
use crate::edge::State;
use crate::limits;
use crate::runtime::claim::Claimer;

/// `POST /v1/agents/{agent}/claim`
pub(super) async fn claim(
    State(edge): State<Edge>,
    Agent(agent): Agent,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let (claimer, wait_ms) = verbs::turns::claimer(agent, &held.bytes)?;
    let claimer = Claimer { grant: caller.judged().cloned(), ..claimer };
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let claiming = async { Ok(edge.runtime.workers.claim(&claimer, until).await?) };
    let claimed = tokio::select! {
        // A claim that is dropped half way is given back.
        claimed = while_granted(&caller, claiming) => claimed?,
        // Another node has turns too.
        () = edge.stop.cancelled() => None,
    };
    let Some(assignment) = claimed else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let read_by = deadline.max(Instant::now() + Duration::from_millis(limits::REQUEST_MS));
    let events = edge.runtime.workers.events_of(&assignment, limits::PAGE_EVENTS, read_by).await;
    // The turn is the worker's, whatever else: it reads on by itself.
    let events = events.unwrap_or_else(|_| (Vec::new(), true));
    Ok(Json(shown::assignment(&assignment, (&events.0, events.1))).into_response())
}

pub(super) use ending::{list, show};
pub(super) use output::output;
pub(super) use shown::{assignment, turn};
pub(super) use signals::signals;
