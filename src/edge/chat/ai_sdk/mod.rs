//! The AI SDK's `useChat`: a route that its transports take for their own (UI message stream protocol, v1).
//!
//! `POST {api}` sends a message and streams the answer, `GET {api}/{id}/stream` streams the one that is under way
//! from its beginning, or answers 204, and `POST {api}/{id}/stop` cancels it. `{api}/ws` is for a WebSocket
//! ([`socket`]). `{api}` is `/v1/ai-sdk/AGENT`; clients of the versions 5 and 6 do not survive what only 7 knows, and
//! do not name their version, so they have routes of their own.

mod chunks;
mod request;
mod socket;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use serde_json::json;

use self::chunks::Chunks;
use self::request::{Incoming, Request, Trigger};
use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::routes::Route;
use super::super::verbs::{render, submit};
use super::super::{Edge, HangUp, body, delivery, headers, verbs};
use super::answer::{self, Answered, Asker, ChatPlace};
use super::begin::{self, Begun, status};
use super::follows;
use super::live::{self, Begins, Shown};
use super::names::{self, Agent, Chat};
use crate::auth::Caller;
use crate::edge::State;
use crate::ids::{AgentName, SessionId, TurnId};
use crate::limits;
use crate::session::{Cancel, Command, Follows, NewEvent, Right, Role, Scope};

const STREAM: HeaderName = HeaderName::from_static("x-vercel-ai-ui-message-stream");
const HEALTH: HeaderName = HeaderName::from_static("outlive-health");

/// Which chunks a client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V5,
    V6,
    V7,
}

pub(super) fn routes() -> Vec<Route> {
    let send = |version| post(send).layer(Extension(version));
    let resume = |version| get(resume).layer(Extension(version));
    vec![
        ("/v1/ai-sdk/{agent}", "ai_sdk", send(Version::V7)),
        ("/v1/ai-sdk/{agent}/{id}/stream", "ai_sdk_stream", resume(Version::V7)),
        ("/v1/ai-sdk/{agent}/{id}/stop", "ai_sdk_stop", post(stop)),
        ("/v1/ai-sdk/{agent}/ws", "ai_sdk_ws", get(socket::chats)),
        ("/v1/ai-sdk-6/{agent}", "ai_sdk", send(Version::V6)),
        ("/v1/ai-sdk-6/{agent}/{id}/stream", "ai_sdk_stream", resume(Version::V6)),
        ("/v1/ai-sdk-6/{agent}/{id}/stop", "ai_sdk_stop", post(stop)),
        ("/v1/ai-sdk-5/{agent}", "ai_sdk", send(Version::V5)),
        ("/v1/ai-sdk-5/{agent}/{id}/stream", "ai_sdk_stream", resume(Version::V5)),
        ("/v1/ai-sdk-5/{agent}/{id}/stop", "ai_sdk_stop", post(stop)),
    ]
}

/// `POST {api}`: the last message is an input, or answers a question of the agent.
async fn send(
    State(edge): State<Edge>,
    Extension(version): Extension<Version>,
    Agent(agent): Agent,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let held = body::read(&edge, &given, body, limits::CHAT_BODY_BYTES).await?;
    let taken = take(&edge, &caller, &agent, &held.bytes, deadline);
    let (id, begun, begins) = taken.await?;
    drop(held);
    let response = show((&edge, &caller, &id), &begun, begins, (version, &given), deadline).await?;
    delivery::roomy(&edge.room, response)
}

/// Does what a message requests; returns its session, and the answer that is to be shown.
async fn take(
    edge: &Edge,
    caller: &Caller,
    agent: &AgentName,
    body: &[u8],
    deadline: tokio::time::Instant,
) -> Result<(SessionId, Begun, Begins), Problem> {
    let request = request::parse(body)?;
    let id = names::session(caller, &request.id)?;
    // What it begins it is shown.
    caller.may(Right::Read, Some(&id))?;
    let place = (edge, caller, &id, deadline);
    let (begun, begins) = match request.incoming.clone() {
        Incoming::Message { id: name, sent_content } => {
            (message(place, agent, &request, &name, sent_content).await?, Begins::AtStart)
        }
        Incoming::Answers { message, answers } => answered(place, &message, answers).await?.shown(),
    };
    Ok((id, begun, begins))
}

/// Sends a person's message, unless it was sent before.
async fn message(
    (edge, caller, id, deadline): ChatPlace<'_>,
    agent: &AgentName,
    request: &Request,
    name: &str,
    sent_content: NewEvent,
) -> Result<Begun, Problem> {
    let place = (edge, caller, id, deadline);
    let sends = async |input: TurnId, follows: Option<Follows>| {
        let input = (input, agent, sent_content.clone());
        let how = (request.when_busy, follows.clone());
        match begin::begin(edge, caller, id, input.clone(), how, deadline).await {
            // What it was to follow is no more.
            Err(why) if *why.kind() == error::NO_SUCH_MESSAGE && follows.is_some() => {
                begin::begin(edge, caller, id, input, (request.when_busy, None), deadline).await
            }
            begun => begun,
        }
    };
    let own = begin::turn_id(name)?;
    if let Trigger::Regenerate(Some(answer)) = &request.trigger {
        // Another answer in place of this one.
        let at = chunks::answer_of(answer).map(|(at, _)| at);
        let again = follows::again(place, at, &own).await?;
        return sends(begin::named(name, answer)?, again).await;
    }
    let instead = match &request.edits {
        Some(edited) if edited != name => {
            follows::instead_of(place, &begin::turn_id(edited)?).await?
        }
        _ => None,
    };
    let mut begun = match sends(own.clone(), instead).await {
        // A message that was edited keeps its name.
        Err(why) if *why.kind() == error::CONFLICT => {
            let content = String::from_utf8_lossy(&sent_content.payload);
            let instead = follows::instead_of(place, &own).await?;
            sends(begin::named(name, &content)?, instead).await?
        }
        begun => begun?,
    };
    // It may want another answer, or never have got the last one. What comes in place of an answer that is over
    // is named by that, so that the same request again finds it.
    while request.trigger != Trigger::Submit && begun.duplicate {
        let turns = status(edge, id, deadline).await?.map(|status| status.turns);
        if turns.unwrap_or_default().iter().any(|turn| turn.turn == begun.turn) {
            break;
        }
        let again = verbs::turns::follows(begun.serial.0, true);
        begun = sends(begin::named(name, &begun.serial.0.to_string())?, Some(again)).await?;
    }
    Ok(begun)
}

/// Answers the questions of the agent in a message, as far as they are open: what was answered before is
/// no mistake, because the same request may come again.
async fn answered(
    place: ChatPlace<'_>,
    message: &str,
    answers: Vec<(String, NewEvent)>,
) -> Result<Answered, Problem> {
    let ((life, from), turn) = chunks::answer_of(message)
        .ok_or_else(|| Problem::new(&error::BAD_JSON, "the last message is nobody's question"))?;
    answer::answer(place, Some(Asker { turn, from, life, open_only: true }), answers).await
}

/// `GET {api}/{id}/stream`: the answer that is under way, from its beginning.
async fn resume(
    State(edge): State<Edge>,
    Extension(version): Extension<Version>,
    Chat(agent, id): Chat,
    By(caller): By,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let open = match under_way(&edge, &id, &agent, deadline).await {
        // A status would be final for this client; a connection that breaks is not.
        Err(why) if why.is_passing() => return Ok(HangUp.into_response()),
        open => open?,
    };
    let Some(begun) = open else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let place = (&edge, &caller, &id);
    show(place, &begun, Begins::AtStart, (version, &given), deadline).await
}

/// The answer of the agent that is under way in a chat, if one is.
async fn under_way(
    edge: &Edge,
    id: &SessionId,
    agent: &AgentName,
    deadline: tokio::time::Instant,
) -> Result<Option<Begun>, Problem> {
    let status = status(edge, id, deadline).await?;
    Ok(status.and_then(|status| {
        // What another turn gave to the agent is no answer to this chat.
        let mut turns = status.turns.into_iter();
        let turn = turns.find(|turn| turn.agent == *agent && turn.parent.is_none())?;
        let (serial, life) = (turn.input, status.incarnation);
        Some(Begun { turn: turn.turn, serial, life, duplicate: true })
    }))
}

async fn show(
    (edge, caller, id): (&Edge, &Caller, &SessionId),
    begun: &Begun,
    begins: Begins,
    (version, given): (Version, &HeaderMap),
    deadline: tokio::time::Instant,
) -> Result<Response, Problem> {
    let health = headers::one(given, &HEALTH)? == Some("1");
    let (turn, from, life) = (&begun.turn, begun.serial, begun.life);
    let shown = Shown { id, turn, from, life, begins, is_present: true, health };
    let chunks = Chunks::new(version, (life, from), turn);
    let mut response = live::response(edge, caller, shown, chunks, deadline).await;
    response.headers_mut().insert(STREAM, HeaderValue::from_static("v1"));
    Ok(response)
}

/// `POST {api}/{id}/stop`: cancels what the agent does in this chat.
async fn stop(
    State(edge): State<Edge>,
    Chat(agent, id): Chat,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    // What clients send there about what they saw is not needed.
    body::read(&edge, &given, body, limits::CHAT_BODY_BYTES).await?;
    let scope = Scope::Agent(agent);
    let cancel = Cancel { scope, by: None, reason: "stopped".into(), role: Role::default() };
    match submit(&edge, &caller, &id, Command::Cancel(Box::new(cancel)), deadline).await {
        // Nothing of this chat was sent yet.
        Err(why) if *why.kind() == error::NOT_FOUND => {
            caller.may(Right::Cancel, Some(&id))?;
            Ok(Json(json!({ "cancelled": 0 })).into_response())
        }
        reply => Ok(Json(render(&id, &reply?)).into_response()),
    }
}
