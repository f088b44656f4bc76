//! What people read of one session beside its events: who is there, and what was said.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::attached::{self, messages, people};
use super::error::{self, Problem};
use super::name::Name;
use super::query::Query;
use super::{Edge, headers};
use crate::ids::Cursor;
use crate::runtime::Freshness;
use crate::session::{Refusal, Status};

/// `GET /v1/sessions/{id}/presence`
pub(super) async fn presence(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.runtime.sessions.status(&id, Freshness::Linearizable, deadline).await?;
    exists(status)?;
    let company = edge.runtime.presence.company(&id, deadline).await?;
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
    let status = edge.runtime.sessions.status(&id, Freshness::Linearizable, deadline).await?;
    let status = exists(status)?;
    let at = Cursor { incarnation: status.incarnation, serial: status.tail };
    let messages =
        messages::read(&edge.runtime.sessions, &id, &status, at, visibility, deadline).await?;
    let mut body = json!({ "incarnation": at.incarnation.0, "cursor": at.to_string() });
    messages.tell(&mut body);
    Ok(Json(body).into_response())
}

fn exists(status: Option<Status>) -> Result<Status, Problem> {
    Ok(status.filter(|status| !status.hidden).ok_or(Refusal::NotFound)?)
}
