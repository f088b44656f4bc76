//! The verbs of a WebSocket: the same requests as by HTTP, with the same bodies, answers and problems.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::super::error::{self, Problem};
use super::super::{Edge, append, events, people, sessions, turns};
use super::asked::Called;
use crate::ids::SessionId;
use crate::session::Origin;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Append,
    Input,
    Cancel,
    Answer,
    Control,
    Pause,
    Resume,
}

impl Verb {
    pub(super) const NAMES: [(&str, Verb); 8] = [
        ("create", Verb::Create),
        ("append", Verb::Append),
        ("input", Verb::Input),
        ("cancel", Verb::Cancel),
        ("answer", Verb::Answer),
        ("control", Verb::Control),
        ("pause", Verb::Pause),
        ("resume", Verb::Resume),
    ];

    pub(super) fn named(op: &str) -> Option<Verb> {
        Verb::NAMES.iter().find(|(name, _)| *name == op).map(|(_, verb)| *verb)
    }
}

/// A request on its way; it may outlive the frame that asked for it.
pub(super) async fn call(
    edge: Edge,
    session: SessionId,
    called: Called<'_>,
) -> Result<Value, Problem> {
    let deadline = Instant::now() + Duration::from_millis(called.timeout_ms);
    let room = edge.room.hold_for(called.body.len())?;
    let answer = act(&edge, &session, called.verb, called.body, called.producer, deadline).await;
    drop(room);
    answer
}

async fn act(
    edge: &Edge,
    session: &SessionId,
    verb: Verb,
    body: &[u8],
    producer: Option<Origin>,
    deadline: Instant,
) -> Result<Value, Problem> {
    match verb {
        Verb::Create => {
            let asked = match body {
                b"" => sessions::Create::default(),
                body => serde_json::from_slice(body)
                    .map_err(|why| Problem::new(&error::BAD_JSON, why.to_string()))?,
            };
            Ok(sessions::begin(edge, session, asked, deadline).await?.1)
        }
        Verb::Append => {
            let command = append::enveloped(producer, body)?;
            Ok(events::submit(edge, session, command, deadline).await?.0)
        }
        Verb::Input => turns::ask(edge, session, body, deadline).await,
        Verb::Cancel => turns::end(edge, session, body, deadline).await,
        Verb::Answer => {
            people::act(edge, session, people::Verb::Answer(None), body, deadline).await
        }
        Verb::Control => people::act(edge, session, people::Verb::Control, body, deadline).await,
        Verb::Pause => people::act(edge, session, people::Verb::Pause, body, deadline).await,
        Verb::Resume => people::act(edge, session, people::Verb::Resume, body, deadline).await,
    }
}
