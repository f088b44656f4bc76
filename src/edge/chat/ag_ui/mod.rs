//! AG-UI: a route for `HttpAgent`, and for the clients of TanStack AI, which use it as well.
//!
//! `POST /v1/ag-ui/AGENT` takes a run's input and streams its events. A run is a turn, by its name, so the same request
//! again never begins a second one; with `Last-Event-ID` it gets what comes after that. `resume` answers what an
//! earlier run ended with, and the turn goes on under the new run's name.

mod events;
mod request;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use tokio::time::Instant;

use self::events::Events;
use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::history::{self, Found, Log};
use super::super::routes::Route;
use super::super::{Edge, body, delivery, headers};
use super::answer;
use super::begin;
use super::client_message::Incoming;
use super::live::{self, Begins, Shown};
use super::names::{self, Agent};
use crate::edge::State;
use crate::ids::{Incarnation, SessionId, TurnId};
use crate::limits;
use crate::session::{Right, Status};

pub(super) fn routes() -> Vec<Route> {
    vec![("/v1/ag-ui/{agent}", "ag_ui", post(run))]
}

/// The last event that the client has, if it comes back.
fn seen(given: &HeaderMap) -> Result<Option<(Incarnation, events::Id)>, Problem> {
    let Some(text) = headers::one(given, &headers::LAST_EVENT_ID)? else { return Ok(None) };
    let bad =
        || Problem::new(&error::BAD_HEADER, "last-event-id is none of an event of this route");
    events::id_of(text).map(Some).ok_or_else(bad)
}

/// Whether a session has had a run.
async fn knows(
    edge: &Edge,
    id: &SessionId,
    status: &Status,
    run: &TurnId,
    deadline: Instant,
) -> Result<bool, Problem> {
    let is_open = status.turns.iter().any(|open| open.turn == *run);
    if is_open || status.queued.iter().any(|queued| queued.input == *run) {
        return Ok(true);
    }
    let mut log = Log::new(edge, id, status.incarnation, deadline);
    // A run that lies further back than that is none that anybody goes on with.
    let found = history::end_of(&mut log, status, run, None).await?;
    Ok(!matches!(found, Found::Nothing | Found::NotSince(_)))
}

async fn run(
    State(edge): State<Edge>,
    Agent(agent): Agent,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let held = body::read(&edge, &given, body, limits::CHAT_BODY_BYTES).await?;
    let request = request::parse(&held.bytes)?;
    drop(held);
    let id = names::session(&caller, &request.thread)?;
    caller.may(Right::Read, Some(&id))?;
    let seen = seen(&given)?;
    let place = (&edge, &caller, &id, deadline);
    let seen = match seen {
        None => None,
        // It never begins a run: whoever comes back after what is not there is to know.
        Some((life, seen)) => {
            let status = begin::status(&edge, &id, deadline).await?;
            let is_there = |status: &Status| status.incarnation == life && seen.0 <= status.tail.0;
            let Some(status) = status.filter(is_there) else { return Ok(events::no_such_place()) };
            if matches!(request.incoming, Incoming::Message(_)) {
                let run = begin::turn_id(&request.run)?;
                if !knows(&edge, &id, &status, &run, deadline).await? {
                    return Ok(events::no_such_place());
                }
            }
            Some(seen)
        }
    };
    let (begun, begins) = match request.incoming {
        Incoming::Message(content) => {
            let input = (begin::turn_id(&request.run)?, &agent, content);
            let begun = begin::begin(&edge, &caller, &id, input, (None, None), deadline).await?;
            (begun, Begins::AtStart)
        }
        Incoming::Answers(answers) => answer::answer(place, None, answers).await?.shown(),
    };
    let (turn, from, life) = (&begun.turn, begun.serial, begun.life);
    // Who comes back goes on after what was sent, whether that was superseded since or not.
    let is_present = seen.is_none();
    let shown = Shown { id: &id, turn, from, life, begins, is_present, health: false };
    let names = (request.thread, request.run);
    let events = Events::new(names, (turn, life), seen, request.messages);
    let response = live::response(&edge, &caller, shown, events, deadline).await;
    delivery::roomy(&edge.room, response)
}
