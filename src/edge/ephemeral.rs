//! Messages to whoever is attached that are not kept, of people's devices and of workers: parsed, judged and sent on.
//!
//! It is like presence, and so is the right that it needs: it changes nothing in the session.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as AsJson;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::attached::Visibility;
use super::content::raw::Json;
use super::error::{self, Problem};
use super::gate::By;
use super::name::Name;
use super::people::exists;
use super::query::Query;
use super::verbs::Item;
use super::verbs::turns::{self, bad, name};
use super::{Edge, body, wire};
use crate::auth::Caller;
use crate::edge::State;
use crate::ids::{DeviceName, KindName, SessionId};
use crate::limits;
use crate::runtime::Freshness;
use crate::runtime::ephemeral::{EphemeralMessage, Source};
use crate::runtime::presence::Attendee;
use crate::session::{Format, NewEvent, Right, Role, Sender};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EphemeralBody<'b> {
    kind: String,
    #[serde(borrow)]
    #[serde(alias = "said")]
    content: Option<Item<'b>>,
    participant: Option<String>,
    device: Option<String>,
    #[serde(default)]
    internal: bool,
}

/// A request to send such a message.
pub(super) struct EphemeralRequest {
    kind: KindName,
    sent_content: NewEvent,
    sender: Option<Sender>,
    internal: bool,
}

/// Takes a body.
///
/// # Errors
/// It is none, or too large.
pub(super) fn parse(body: &[u8]) -> Result<EphemeralRequest, Problem> {
    let EphemeralBody { kind, content: sent_content, participant, device, internal } =
        turns::json(body)?;
    let (kind, sent_content) = checked(&kind, sent_content)?;
    let sender = turns::sender(participant.as_deref(), device.as_deref())?;
    Ok(EphemeralRequest { kind, sent_content, sender, internal })
}

/// The message's kind and content; `null` where there is none.
///
/// # Errors
/// It is too large, or its kind has no name.
pub(super) fn checked(
    kind: &str,
    sent_content: Option<Item<'_>>,
) -> Result<(KindName, NewEvent), Problem> {
    let kind = name("kind", kind, KindName::parse)?;
    let nothing = || NewEvent { format: Format::JSON, payload: Bytes::from_static(b"null") };
    let sent_content = sent_content.map_or_else(|| Ok(nothing()), Item::event)?;
    let (bytes, limit) = (sent_content.payload.len(), limits::EPHEMERAL_BYTES);
    if limit < bytes {
        let detail = format!("what is not kept has {bytes} bytes; the limit is {limit}");
        return Err(Problem::new(&error::EVENT_TOO_LARGE, detail).with("limit", limit));
    }
    Ok((kind, sent_content))
}

/// `POST /v1/sessions/{id}/ephemeral`
pub(super) async fn send(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (held, _) = body::small(&edge, query, &headers, body).await?;
    let sent_content = parse(&held.bytes)?;
    let answer = submit(&edge, &caller, id, sent_content, None).await?;
    Ok((StatusCode::ACCEPTED, AsJson(answer)).into_response())
}

/// Sends it on, if its sender may. `attached`: who is attached to the session on the same connection, if it is.
///
/// # Errors
/// It reached no reader.
pub(super) async fn submit(
    edge: &Edge,
    caller: &Caller,
    session: SessionId,
    sent_content: EphemeralRequest,
    attached: Option<Option<Attendee>>,
) -> Result<Value, Problem> {
    caller.may(Right::Presence, Some(&session))?;
    let EphemeralRequest { kind, sent_content, sender, internal } = sent_content;
    let known = attached.clone().flatten();
    let known = known.map(|who| Sender { participant: who.participant, device: who.device });
    let mut sender = sender.or(known);
    caller.sign(&mut sender)?;
    let mut sender = sender.ok_or_else(|| bad("it is somebody's: name a participant"))?;
    caller.present(&session, &mut sender, &mut Role::default())?;
    if attached.is_none() {
        let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        exists(edge.sessions().status(&session, Freshness::Local, deadline).await?)?;
    }
    edge.auth.spend_on_bytes(caller, sent_content.payload.len())?;
    let at = edge.runtime.sessions.now();
    let source = Source::Person(sender);
    let message = EphemeralMessage { session, source, kind, content: sent_content, internal, at };
    Ok(json!({ "dropped": !edge.runtime.ephemerals.send(message) }))
}

/// Messages as a reader gets them, if any are for it.
pub(super) fn render(messages: &[Arc<EphemeralMessage>], visibility: Visibility) -> Option<Json> {
    let is_for =
        |message: &&Arc<EphemeralMessage>| !message.internal || visibility == Visibility::All;
    let all: Vec<Json> = messages.iter().filter(is_for).map(|message| rendered(message)).collect();
    (!all.is_empty()).then(|| Json::object([("messages", all.into())]))
}

fn rendered(message: &EphemeralMessage) -> Json {
    let out = Json::object([
        ("kind", message.kind.as_str().into()),
        ("time", message.at.0.into()),
        ("content", wire::content(&message.content.format, &message.content.payload)),
    ]);
    let out = match &message.source {
        Source::Person(Sender { participant, device }) => {
            let device = device.as_ref().map(DeviceName::as_str);
            out.with("participant", participant.as_str())
                .with("device", device.map_or(Json::Null, Json::from))
        }
        Source::Agent { agent, turn } => {
            out.with("agent", agent.as_str()).with("turn", turn.as_str())
        }
    };
    out.with_some("visibility", message.internal.then(|| "internal".into()))
}
