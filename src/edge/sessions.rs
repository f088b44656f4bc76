//! Requests about whole sessions: create, look, list, delete, touch, trim.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::attached::people;
use super::error::{self, Problem};
use super::name::Name;
use super::query::Query;
use super::{Edge, body, freshness, headers, turns, wire};
use crate::ids::{Incarnation, Serial, SessionId};
use crate::limits;
use crate::session::{Applied, Command, Config, Policy, Refusal, Retention};

/// The body of a create; all of it may be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Create {
    retention: Keep,
    ttl_ms: Option<u64>,
    labels: BTreeMap<String, String>,
    policy: Option<turns::PolicyBody>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keep {
    max_age_ms: Option<u64>,
    max_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trim {
    before: u64,
}

pub(super) async fn create(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let asked: Create = json_body(&edge, &headers, body).await?.unwrap_or_default();
    let (created, body) = begin(&edge, &id, asked, deadline).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(body)).into_response())
}

/// Creates a session; whether it is new, and the answer.
pub(super) async fn begin(
    edge: &Edge,
    id: &SessionId,
    asked: Create,
    deadline: Instant,
) -> Result<(bool, Value), Problem> {
    let config = Config {
        retention: Retention {
            max_age_ms: asked.retention.max_age_ms,
            max_bytes: asked.retention.max_bytes,
        },
        ttl_ms: asked.ttl_ms,
        expires_at: None,
        content_type: None,
        labels: asked.labels,
        policy: asked.policy.map_or(Ok(Policy::default()), turns::policy)?,
    };
    config.check().map_err(Refusal::BadConfig)?;
    let reply = edge.runtime.submit(id, config.into(), deadline).await?;
    let created = matches!(reply.applied, Applied::Created { created: true, .. });
    Ok((created, wire::created(id, &reply)))
}

pub(super) async fn show(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["read"])?;
    let deadline = headers::deadline(&headers)?;
    let status = edge.runtime.status(&id, freshness(&query)?, deadline).await?;
    let mut status = status.filter(|status| !status.hidden).ok_or(Refusal::NotFound)?;
    edge.runtime.mark_unserved(&mut status.turns).await;
    let mut body = wire::status(&id, &status);
    let now = edge.runtime.time_of(&id);
    let open: Vec<_> = status.turns.iter().map(|turn| turns::turn(turn, now)).collect();
    body["turns"] = open.into();
    body["interactions"] = people::interactions(&status.interactions);
    body["control"] = people::control(&status.control);
    body["audience"] = people::counted(status.audience.as_ref());
    Ok(Json(body).into_response())
}

pub(super) async fn delete(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["incarnation"])?;
    let deadline = headers::deadline(&headers)?;
    let incarnation = query.number("incarnation", 1, u64::from(u32::MAX))?.map(|number| {
        Incarnation(u32::try_from(number).expect("the number was checked against u32"))
    });
    let done = edge.runtime.submit(&id, Command::Delete { incarnation }, deadline).await;
    done.map_err(|why| match incarnation {
        Some(_) => why.into(),
        // Somebody may have created it again by then.
        None => Problem::from(why).of_keyless(),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn touch(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let reply = edge.runtime.submit(&id, Command::Touch, deadline).await?;
    let until = match reply.applied {
        Applied::Touched { until } => until,
        _ => None,
    };
    Ok(Json(json!({ "expires_at": wire::millis(until) })).into_response())
}

pub(super) async fn trim(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(&headers)?;
    let asked: Option<Trim> = json_body(&edge, &headers, body).await?;
    let asked = asked
        .ok_or_else(|| Problem::new(&error::BAD_JSON, "the body names the serial `before`"))?;
    let command = Command::Trim { before: Serial(asked.before) };
    let reply = edge.runtime.submit(&id, command, deadline).await?;
    let first = match reply.applied {
        Applied::Trimmed { first } => Value::from(first.0),
        _ => Value::Null,
    };
    Ok(Json(json!({ "first": first })).into_response())
}

pub(super) async fn home(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[])?;
    Ok(Json(wire::home(&edge.runtime.home(&id))).into_response())
}

pub(super) async fn list(
    State(edge): State<Edge>,
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
    let found = edge.runtime.list(prefix, query.text("after"), limit, deadline).await?;
    let next = if found.len() < limit { None } else { found.last().map(|last| &last.id) };
    // What the service keeps for itself is nobody's session.
    let open = found.iter().filter(|summary| !summary.id.is_reserved());
    let sessions: Vec<_> = open.map(wire::summary).collect();
    Ok(Json(json!({ "sessions": sessions, "next": next })).into_response())
}

/// A body that is JSON, or none at all.
async fn json_body<T: DeserializeOwned>(
    edge: &Edge,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<T>, Problem> {
    let held = body::read(edge, headers, body, limits::HEAD_BYTES).await?;
    if held.bytes.is_empty() {
        return Ok(None);
    }
    if !matches!(headers::media_type(headers)?.as_str(), "" | "application/json") {
        let detail = "send the body as application/json";
        return Err(Problem::new(&error::UNSUPPORTED_TYPE, detail));
    }
    serde_json::from_slice(&held.bytes)
        .map(Some)
        .map_err(|why| Problem::new(&error::BAD_JSON, why.to_string()))
}
