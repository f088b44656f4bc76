//! Responses: each is the answer to one input of a session, or how it went on after people answered.

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::time::Instant;

use super::super::super::content::raw::Json;
use super::super::super::error::{self, Problem};
use super::super::super::gate::{By, while_granted};
use super::super::super::verbs::submit;
use super::super::super::{Edge, body, delivery};
use super::super::answer::{self, Asker};
use super::super::begin::{self, status};
use super::super::client_message::{Incoming, bad};
use super::super::follow::Lost;
use super::super::follows;
use super::super::live::{self, Begins, Shown};
use super::conversations::session_of;
use super::events::Events;
use super::items::Items;
use super::place::ResponsePlace;
use super::request;
use super::{fresh, json, key, whole};
use crate::auth::Caller;
use crate::edge::State;
use crate::ids::AgentName;
use crate::limits;
use crate::session::{Cancel, Command, Follows, NewEvent, Refusal, Right, Role, Scope};

type Pairs = Query<Vec<(String, String)>>;

/// `POST /v1/openai/responses`
pub(super) async fn create(
    State(edge): State<Edge>,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let held = body::read(&edge, &given, body, limits::CHAT_BODY_BYTES).await?;
    let body = request::body(&held.bytes)?;
    let agent = request::agent(&body)?;
    let key = key(&given)?;
    let (id, before) = session_of(&caller, &body, key)?;
    caller.may(Right::Read, Some(&id))?;
    // What follows a response is not to begin anew where that is gone.
    let now = match &before {
        None => None,
        Some(before) => {
            let now = begin::status(&edge, &id, deadline).await?;
            Some(now.filter(|now| now.incarnation == before.life).ok_or_else(missing)?)
        }
    };
    let (streams, background) = (body.is_true("stream"), body.is_true("background"));
    let incoming = request::input(&body, before.is_none() && body.get("conversation").is_none())?;
    drop(body);
    drop(held);
    let question = (&edge, &caller, &id, deadline);
    let place = match incoming {
        Incoming::Message(sent_content) => {
            let follows = match (&before, now) {
                // Whoever answers an older response goes on from there.
                (Some(before), Some(now)) => {
                    follows::after(question, &now, &before.turn, before.from).await?
                }
                _ => None,
            };
            message(question, agent, (sent_content, follows), key).await?
        }
        Incoming::Answers(answers) => {
            let before = before.ok_or_else(|| bad("outputs go with previous_response_id"))?;
            answer(question, before, answers).await?
        }
    };
    if streams {
        let response = stream(&edge, &caller, place, 0, deadline).await?;
        return delivery::roomy(&edge.room, response);
    }
    let rendered = rendered(&edge, place, !background, deadline);
    match while_granted(&caller, rendered).await {
        Ok(rendered) => whole(&edge, &rendered),
        // The input is in the log: it must not simply be sent again.
        Err(why) if *why.kind() == error::NO_QUORUM => {
            Err(Problem::new(&error::OUTCOME_UNKNOWN, "the response cannot be read now"))
        }
        Err(why) => Err(why),
    }
}

type Requested<'a> = answer::ChatPlace<'a>;

async fn message(
    (edge, caller, id, deadline): Requested<'_>,
    agent: AgentName,
    (sent_content, follows): (NewEvent, Option<Follows>),
    key: Option<&str>,
) -> Result<ResponsePlace, Problem> {
    let input = begin::turn_id(&fresh("msg", caller, key))?;
    let begin = |follows| {
        let input = (input.clone(), &agent, sent_content.clone());
        begin::begin(edge, caller, id, input, (None, follows), deadline)
    };
    let named = follows.is_some();
    let begun = match begin(follows).await {
        // Sent again it follows another message than at first, when the response that it names was the newest.
        Err(why) if key.is_some() && named && *why.kind() == error::CONFLICT => begin(None).await?,
        begun => begun?,
    };
    let (session, life, from) = (id.clone(), begun.life, begun.serial);
    Ok(ResponsePlace { session, life, turn: begun.turn, agent, from, begins: from })
}

/// Answers what a response ended with. All of it is to be there, so that the turn goes on once.
async fn answer(
    question: Requested<'_>,
    before: ResponsePlace,
    answers: Vec<(String, NewEvent)>,
) -> Result<ResponsePlace, Problem> {
    let (turn, from, life) = (before.turn.clone(), before.from, before.life);
    let asker = Asker { turn, from, life, open_only: false };
    let answered = answer::answer(question, Some(asker), answers).await?;
    Ok(ResponsePlace { begins: answered.last?, ..before })
}

/// `GET /v1/openai/responses/{id}`
pub(super) async fn retrieve(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    By(caller): By,
    Query(pairs): Pairs,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let place = place(&caller, &id, Right::Read)?;
    let deadline = begin::deadline(&given)?;
    let one = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, text)| text);
    let streams = one("stream").is_some_and(|text| text == "true");
    let first = match one("starting_after") {
        None => 0,
        Some(text) => {
            let number: Option<u64> = text.parse().ok();
            let bad = || Problem::new(&error::BAD_QUERY, "starting_after is a number");
            number.ok_or_else(bad)?.saturating_add(1)
        }
    };
    // What is not there is not shown as if it had ended.
    let now = read(&edge, place.clone(), false, deadline).await?;
    if !streams {
        return Ok(json(&now.response()));
    }
    if now.count() < first {
        let detail = "starting_after is beyond the last event of the response";
        return Err(Problem::new(&error::BAD_QUERY, detail));
    }
    stream(&edge, &caller, place, first, deadline).await
}

fn shown(place: &ResponsePlace) -> Shown<'_> {
    Shown {
        id: &place.session,
        turn: &place.turn,
        from: place.from,
        life: place.life,
        begins: Begins::At(place.begins),
        // Numbers are the log's, so what is superseded counts.
        is_present: false,
        health: false,
    }
}

async fn stream(
    edge: &Edge,
    caller: &Caller,
    place: ResponsePlace,
    first: u64,
    deadline: Instant,
) -> Result<Response, Problem> {
    let events = Events::new(place.clone(), first, Items::new(edge.room.hold()));
    Ok(live::response(edge, caller, shown(&place), events, deadline).await)
}

/// The response as it is now, or when it has ended.
async fn rendered(
    edge: &Edge,
    place: ResponsePlace,
    waits: bool,
    until: Instant,
) -> Result<Json, Problem> {
    Ok(read(edge, place, waits, until).await?.response())
}

async fn read(
    edge: &Edge,
    place: ResponsePlace,
    waits: bool,
    until: Instant,
) -> Result<Events, Problem> {
    let events = Events::new(place.clone(), u64::MAX, Items::new(edge.room.hold()));
    match live::read(edge, shown(&place), events, waits, until).await {
        Ok(events) if events.is_shown() => Ok(events),
        Ok(_) | Err(Lost::Gone) => Err(missing()),
        Err(Lost::Unavailable) => Err(Problem::new(&error::NO_QUORUM, "try again")),
    }
}

fn missing() -> Problem {
    Problem::new(&error::NO_SUCH_TURN, "there is no such response, or no more")
}

/// The place that a path names, if the caller may do this there.
fn place(caller: &Caller, id: &str, right: Right) -> Result<ResponsePlace, Problem> {
    let place = ResponsePlace::of(caller, id).ok_or_else(missing)?;
    caller.may(right, Some(&place.session))?;
    Ok(place)
}

/// `POST /v1/openai/responses/{id}/cancel`
pub(super) async fn cancel(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    body::read(&edge, &given, body, limits::HEAD_BYTES).await?;
    let place = place(&caller, &id, Right::Read)?;
    // What has ended is not ended again, and a turn that is no more must not be cancelled ahead.
    let now = rendered(&edge, place.clone(), false, deadline).await?;
    let status = status(&edge, &place.session, deadline).await?.ok_or(Refusal::NotFound)?;
    if status.turns.iter().all(|open| open.turn != place.turn) {
        return Ok(json(&now));
    }
    let scope = Scope::Turn(place.turn.clone());
    let cancel = Cancel { scope, by: None, reason: "cancelled".into(), role: Role::default() };
    let command = Command::Cancel(Box::new(cancel));
    submit(&edge, &caller, &place.session, command, deadline).await?;
    whole(&edge, &rendered(&edge, place, false, deadline).await?)
}

/// `DELETE /v1/openai/responses/{id}`: of its session, if the response is all that there is of it.
pub(super) async fn delete(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    By(caller): By,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let place = place(&caller, &id, Right::Delete)?;
    loop {
        let Some(at) = super::conversations::only_turn(&edge, &place, deadline).await? else {
            let detail = "it is part of a conversation: delete that";
            return Err(Problem::new(&error::CONFLICT, detail));
        };
        // What came meanwhile, or another session of that name, is not what was looked at.
        let (incarnation, tail) = (at.incarnation, at.serial);
        let command = Command::DeleteUnchanged { incarnation, tail };
        match submit(&edge, &caller, &place.session, command, deadline).await {
            Err(why) if *why.kind() == error::SERIAL_MISMATCH && Instant::now() < deadline => {}
            done => {
                done?;
                break;
            }
        }
    }
    let rendered = Json::object([("id", id.into()), ("object", "response".into())]);
    Ok(json(&rendered.with("deleted", true)))
}

/// `GET /v1/openai/responses/{id}/input_items`
pub(super) async fn input_items(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    By(caller): By,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let place = place(&caller, &id, Right::Read)?;
    let item = super::conversations::input_item(&edge, &place, deadline).await?;
    let item = item.ok_or_else(missing)?;
    let id = item.0;
    Ok(json(&Json::object([
        ("object", "list".into()),
        ("data", vec![item.1].into()),
        ("first_id", id.as_str().into()),
        ("last_id", id.as_str().into()),
        ("has_more", false.into()),
    ])))
}
