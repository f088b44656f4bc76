//! Conversations: sessions, by their names.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::time::Instant;

use super::super::super::content::raw::{self, Json, Object};
use super::super::super::content::{Part, as_json, parts_of};
use super::super::super::error::{self, Problem};
use super::super::super::gate::By;
use super::super::super::verbs::submit;
use super::super::super::{Edge, body};
use super::super::begin::{self, status};
use super::super::client_message::bad;
use super::super::follow::Follow;
use super::super::names;
use super::events::count;
use super::place::ResponsePlace;
use super::request;
use super::{fresh, json, key};
use crate::auth::Caller;
use crate::edge::State;
use crate::ids::{Cursor, Serial, SessionId};
use crate::limits;
use crate::session::{Applied, Command, Create, Event, Fact, NewEvent, Refusal, Right, Status};

/// The session that a request is of, and the response that it follows, if it names one.
///
/// # Errors
/// It names both a conversation and a response, or what is none of the caller's.
pub(super) fn session_of(
    caller: &Caller,
    body: &Object<'_>,
    key: Option<&str>,
) -> Result<(SessionId, Option<ResponsePlace>), Problem> {
    let conversation = body.text("conversation").or_else(|| body.object("conversation").text("id"));
    if conversation.is_none() && body.get("conversation").is_some() {
        return Err(bad("conversation is an id, or an object that has one"));
    }
    let before = body.text("previous_response_id");
    if before.is_none() && body.get("previous_response_id").is_some() {
        return Err(bad("previous_response_id is an id"));
    }
    match (conversation, before) {
        (Some(_), Some(_)) => Err(bad("name a conversation or a previous response, not both")),
        (Some(name), None) => Ok((names::session(caller, &name)?, None)),
        (None, Some(before)) => {
            let place = ResponsePlace::of(caller, &before).ok_or(Refusal::NotFound)?;
            Ok((place.session.clone(), Some(place)))
        }
        (None, None) => Ok((names::session(caller, &fresh("conv", caller, key))?, None)),
    }
}

/// The end of a response's log, if it has no other input.
///
/// # Errors
/// It cannot be read now, or is another life's.
pub(super) async fn only_turn(
    edge: &Edge,
    place: &ResponsePlace,
    deadline: Instant,
) -> Result<Option<Cursor>, Problem> {
    let mut only = true;
    let cursor = Follow::each(edge, &place.session, place.from, deadline, |event| {
        let fact = event.fact.as_deref();
        only &= !matches!(fact, Some(Fact::Input { turn, .. }) if *turn != place.turn);
        only
    })
    .await?;
    if cursor.incarnation != place.life {
        return Err(Refusal::NotFound.into());
    }
    // Earlier inputs stand before it in the log.
    Ok((only && place.from.0 == 1).then_some(cursor))
}

/// What a response answers, as an item, with its name.
pub(super) async fn input_item(
    edge: &Edge,
    place: &ResponsePlace,
    deadline: Instant,
) -> Result<Option<(String, Json)>, Problem> {
    let mut found = None;
    let cursor = Follow::each(edge, &place.session, place.from, deadline, |event| {
        if event.serial == place.begins {
            found = item(event);
        }
        event.serial < place.begins
    })
    .await?;
    Ok(found.filter(|_| cursor.incarnation == place.life))
}

fn item(event: &Event) -> Option<(String, Json)> {
    let of = |id: &str, kind: &str| Json::object([("id", id.into()), ("type", kind.into())]);
    match event.fact.as_deref()? {
        Fact::Input { input, .. } => {
            let parts = parts_of(&event.format, &event.payload);
            let content: Vec<_> = parts.iter().filter_map(content).collect();
            let item = of(input.as_str(), "message").with("role", "user");
            let item = item.with("status", "completed").with("content", content);
            Some((input.as_str().to_owned(), item))
        }
        Fact::Answered { interaction, .. } => {
            let id = format!("out_{}", event.serial.0);
            let output = as_json(&event.format, &event.payload).to_string();
            let item = of(&id, "function_call_output").with("call_id", interaction.as_str());
            Some((id, item.with("output", output)))
        }
        _ => None,
    }
}

fn content(part: &Part) -> Option<Json> {
    let of = |kind: &str| Json::object([("type", kind.into())]);
    match part {
        Part::Text(text) => Some(of("input_text").with("text", text.as_str())),
        Part::File { media, url } if media.starts_with("image/") => {
            Some(of("input_image").with("image_url", url.as_str()).with("detail", "auto"))
        }
        Part::File { url, .. } => Some(of("input_file").with("file_url", url.as_str())),
        _ => None,
    }
}

fn shown(id: &SessionId, status: &Status) -> Json {
    let rendered = Json::object([("id", id.name().into()), ("object", "conversation".into())]);
    let labels = serde_json::json!(status.config.labels);
    rendered.with("created_at", count(status.created_at.0 / 1000)).with("metadata", labels)
}

/// What a conversation is to be: its metadata are the labels of its session, its items the conversation so far.
fn wanted(body: &[u8]) -> Result<Create, Problem> {
    let mut create = Create::default();
    if body.is_empty() {
        return Ok(create);
    }
    let body = request::body(body)?;
    if let Some(metadata) = body.get("metadata") {
        let metadata: BTreeMap<String, String> = serde_json::from_str(metadata)
            .map_err(|_| bad("metadata is an object whose members are texts"))?;
        create.config.labels = metadata;
        create.config.check().map_err(Refusal::BadConfig)?;
    }
    if let Some(items) = body.get("items") {
        let items = raw::list(items).ok_or_else(|| bad("items is a list"))?;
        create.events.extend(request::brought(&items)?);
    }
    Ok(create)
}

/// Whether a session was created with these events and no others, as far as the log still shows.
async fn begins_with(
    edge: &Edge,
    id: &SessionId,
    status: &Status,
    events: &[NewEvent],
    deadline: Instant,
) -> Result<bool, Problem> {
    if Serial(1) < status.first {
        return Ok(true);
    }
    let (mut same, mut count) = (true, 0);
    Follow::each(edge, id, Serial(1), deadline, |event| {
        // What came later has an origin, or a later time.
        let begins =
            event.fact.is_none() && event.origin.is_none() && event.time == status.created_at;
        if !begins {
            return false;
        }
        let wanted = events.get(count);
        same &= wanted
            .is_some_and(|wanted| wanted.format == event.format && wanted.payload == event.payload);
        count += 1;
        same
    })
    .await?;
    Ok(same && count == events.len())
}

/// `POST /v1/openai/conversations`
pub(super) async fn create(
    State(edge): State<Edge>,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let held = body::read(&edge, &given, body, limits::CHAT_BODY_BYTES).await?;
    let id = names::session(&caller, &fresh("conv", &caller, key(&given)?))?;
    caller.may(Right::Read, Some(&id))?;
    let create = wanted(&held.bytes)?;
    drop(held);
    let begun = submit(&edge, &caller, &id, create.clone().into(), deadline).await?;
    let status = status(&edge, &id, deadline).await?.ok_or(Refusal::NotFound)?;
    let is_again = matches!(begun.applied, Applied::Created { created: false, .. });
    if is_again && !begins_with(&edge, &id, &status, &create.events, deadline).await? {
        let detail = "a conversation of this Idempotency-Key begins with other items";
        return Err(Problem::new(&error::CONFLICT, detail));
    }
    Ok(json(&shown(&id, &status)))
}

/// `GET /v1/openai/conversations/{id}`
pub(super) async fn show(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    By(caller): By,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let id = names::session(&caller, &id)?;
    caller.may(Right::Read, Some(&id))?;
    let status = status(&edge, &id, begin::deadline(&given)?).await?.ok_or(Refusal::NotFound)?;
    Ok(json(&shown(&id, &status)))
}

/// `DELETE /v1/openai/conversations/{id}`
pub(super) async fn delete(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    By(caller): By,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let id = names::session(&caller, &id)?;
    let command = Command::Delete { incarnation: None };
    submit(&edge, &caller, &id, command, begin::deadline(&given)?).await?;
    let rendered =
        Json::object([("id", id.name().into()), ("object", "conversation.deleted".into())]);
    Ok(json(&rendered.with("deleted", true)))
}
