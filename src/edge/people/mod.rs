//! Requests of people about one session: who is there, what was said, answers, control, rest.

mod asked;
mod shown;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::attached::{self, messages, people};
use super::error::{self, Problem};
use super::name::{InteractionOf, Name};
use super::query::Query;
use super::{Edge, body, headers};
use crate::ids::{Cursor, InteractionId, SessionId};
use crate::limits;
use crate::runtime::Freshness;
use crate::session::{Command, Refusal, Status};

/// `GET /v1/sessions/{id}/presence`
pub(super) async fn presence(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.runtime.status(&id, Freshness::Linearizable, deadline).await?;
    exists(status)?;
    let company = edge.runtime.company(&id, deadline).await?;
    Ok(Json(people::company(&company)).into_response())
}

/// `GET /v1/sessions/{id}/messages`
pub(super) async fn messages(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["visibility"])?;
    let visibility = attached::visibility(query.text("visibility"))
        .map_err(|why| Problem::new(&error::BAD_QUERY, why))?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.runtime.status(&id, Freshness::Linearizable, deadline).await?;
    let status = exists(status)?;
    let at = Cursor { incarnation: status.incarnation, serial: status.tail };
    let messages = messages::read(&edge.runtime, &id, &status, at, visibility, deadline).await?;
    let mut body = json!({ "incarnation": at.incarnation.0, "cursor": at.to_string() });
    messages.tell(&mut body);
    Ok(Json(body).into_response())
}

fn exists(status: Option<Status>) -> Result<Status, Problem> {
    Ok(status.filter(|status| !status.hidden).ok_or(Refusal::NotFound)?)
}

/// What somebody asks of a session that is no turn of its own.
pub(super) enum Verb {
    /// The interaction stands in the path; where there is none, in the body.
    Answer(Option<InteractionId>),
    Control,
    Pause,
    Resume,
}

/// Does what a body asks for, and shows what came of it.
pub(super) async fn act(
    edge: &Edge,
    id: &SessionId,
    verb: Verb,
    body: &[u8],
    deadline: Instant,
) -> Result<Value, Problem> {
    let command = match verb {
        Verb::Answer(interaction) => Command::Answer(Box::new(asked::answer(interaction, body)?)),
        Verb::Control => Command::Control(Box::new(asked::control(body)?)),
        Verb::Pause => Command::Pause(Box::new(asked::pause(body)?)),
        Verb::Resume => Command::Resume(Box::new(asked::resume(body)?)),
    };
    Ok(shown::done(&edge.runtime.submit(id, command, deadline).await?))
}

/// `POST /v1/sessions/{id}/interactions/{interaction}`
pub(super) async fn answer(
    State(edge): State<Edge>,
    InteractionOf(id, interaction): InteractionOf,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let verb = Verb::Answer(Some(interaction));
    request(edge, id, verb, query, headers, (body, limits::BODY_BYTES)).await
}

/// `POST /v1/sessions/{id}/control`
pub(super) async fn control(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    request(edge, id, Verb::Control, query, headers, (body, limits::HEAD_BYTES)).await
}

/// `POST /v1/sessions/{id}/pause`
pub(super) async fn pause(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    request(edge, id, Verb::Pause, query, headers, (body, limits::HEAD_BYTES)).await
}

/// `POST /v1/sessions/{id}/resume`
pub(super) async fn resume(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    request(edge, id, Verb::Resume, query, headers, (body, limits::HEAD_BYTES)).await
}

async fn request(
    edge: Edge,
    id: SessionId,
    verb: Verb,
    query: Query,
    headers: HeaderMap,
    (body, limit): (Body, usize),
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let held = body::read(&edge, &headers, body, limit).await?;
    Ok(Json(act(&edge, &id, verb, &held.bytes, deadline).await?).into_response())
}
