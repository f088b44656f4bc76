//! Tickets: requested by a program with a key, for a page whose EventSource or WebSocket can show none.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::error::{self, Problem};
use super::gate::By;
use super::keys::{patterns, rights, role};
use super::query::Query;
use super::verbs::turns::{bad, json};
use super::{Edge, body};
use crate::auth::{Part, TicketError};
use crate::edge::State;
use crate::ids::ParticipantName;
use crate::limits;

/// How long a ticket or a cookie lasts where the request names no time, in seconds.
const TTL_S: u64 = 60 * 60;

/// A part of what the caller may do: for a ticket all that the body has, for a cookie most of it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PartBody {
    pub(super) rights: Option<Vec<String>>,
    pub(super) sessions: Option<Vec<String>>,
    pub(super) participant: Option<String>,
    pub(super) role: Option<String>,
    pub(super) ttl_s: Option<u64>,
}

impl PartBody {
    /// # Errors
    /// It means nothing.
    pub(super) fn part(self) -> Result<Part, Problem> {
        let most = limits::TICKET_MS_MAX / 1000;
        let ttl_s = self.ttl_s.unwrap_or(TTL_S);
        if !(1..=most).contains(&ttl_s) {
            return Err(bad(&format!("ttl_s must be 1 to {most}")));
        }
        let participant = self.participant.as_deref().map(ParticipantName::parse).transpose();
        Ok(Part {
            rights: self.rights.as_deref().map(rights).transpose()?,
            sessions: self.sessions.map(|texts| patterns("sessions", Some(texts))).transpose()?,
            participant: participant.map_err(|why| bad(&format!("participant: {why}")))?,
            role: self.role.as_deref().map(role).transpose()?,
            for_ms: ttl_s * 1000,
        })
    }
}

/// `POST /v1/tickets`
pub(super) async fn create(
    State(edge): State<Edge>,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, deadline) = body::small(&edge, query, &headers, body).await?;
    let request: PartBody = match held.bytes.is_empty() {
        true => PartBody::default(),
        false => json(&held.bytes)?,
    };
    let part = request.part()?;
    let made = edge.auth.ticket(&caller, &part, deadline).await?;
    let made = made.ok_or_else(|| {
        Problem::new(&error::KEYS_OFF, "this node asks nobody who they are: no ticket is needed")
    })?;
    let body = serde_json::json!({
        "ticket": made.text, "use_before": made.by.0, "expires_at": made.until.0,
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

impl From<TicketError> for Problem {
    fn from(why: TicketError) -> Problem {
        match why {
            TicketError::Denied(why) => why.into(),
            TicketError::Refused(why) => why.into(),
            TicketError::TooLong => bad("it would be too long: name fewer sessions"),
        }
    }
}
