//! AG-UI: a route for `HttpAgent`, and for the clients of TanStack AI, which speak it as well.
//!
//! `POST /v1/ag-ui/AGENT` takes a run's input and streams its events. A run is a turn, by its name, so the same request
//! again never begins a second one; with `Last-Event-ID` it is told what comes after that. `resume` answers what an
//! earlier run ended with, and the turn goes on under the new run's name.

mod events;
mod request;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use tokio::time::Instant;

use self::events::Events;
use self::request::Says;
use super::super::error::{self, Problem};
use super::super::gate::By;
use super::super::routes::Route;
use super::super::verbs::submit;
use super::super::{Edge, body, delivery, headers};
use super::begin::{self, Begun, status};
use super::live::{self, Begins, Shown};
use super::names::{self, Agent};
use crate::auth::Caller;
use crate::ids::{AgentName, InteractionId, SessionId};
use crate::limits;
use crate::session::{Answer, Command, NewEvent, Refusal, Right, Role};

pub(super) fn routes() -> Vec<Route> {
    vec![("/v1/ag-ui/{agent}", "ag_ui", post(run))]
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
    let seen = headers::one(&given, &headers::LAST_EVENT_ID)?.and_then(events::id_of);
    let place = (&edge, &caller, &id, deadline);
    let (begun, begins) = match request.says {
        Says::Message(said) => {
            let input = (begin::turn_id(&request.run)?, &agent, said);
            let begun = begin::begin(&edge, &caller, &id, input, None, deadline).await?;
            (begun, Begins::AtStart)
        }
        Says::Answers(answers) => (answer(place, &agent, answers).await?, Begins::AfterAnswers),
    };
    let (turn, from) = (&begun.turn, begun.serial);
    // Who comes back goes on after what was told, whether that was superseded since or not.
    let is_present = seen.is_none();
    let shown = Shown { id: &id, turn, from, begins, is_present, health: false };
    let names = (request.thread, request.run);
    let events = Events::new(names, turn, seen, request.messages);
    let response = live::response(&edge, &caller, shown, events, deadline).await;
    delivery::roomy(&edge.room, response)
}

/// Answers what the agent's turn waits for.
async fn answer(
    (edge, caller, id, deadline): (&Edge, &Caller, &SessionId, Instant),
    agent: &AgentName,
    answers: Vec<(String, NewEvent)>,
) -> Result<Begun, Problem> {
    let status = status(edge, id, deadline).await?.ok_or(Refusal::NotFound)?;
    let turn = status.turns.into_iter().find(|turn| turn.agent == *agent);
    let turn = turn.ok_or_else(|| request::bad("no run of this thread waits for an answer"))?;
    for (name, said) in answers {
        let Ok(interaction) = InteractionId::parse(&name) else { continue };
        let answer = Answer { interaction, said, sender: None, role: Role::default() };
        let done = submit(edge, caller, id, Command::Answer(Box::new(answer)), deadline).await;
        match done {
            // Somebody else was faster, and this run sees what came of it.
            Err(why) if [&error::CONFLICT, &error::INTERACTION_OVER].contains(&why.kind()) => {}
            done => _ = done?,
        }
    }
    Ok(Begun { turn: turn.turn, serial: turn.input, duplicate: true })
}
