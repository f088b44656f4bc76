//! Names in the addresses and bodies of chat clients: which agent, and which session.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::super::error::{self, Problem};
use super::super::{gate, name};
use crate::auth::Caller;
use crate::ids::{AgentName, SessionId};
use crate::session::Refusal;

/// The agent that the third segment of the path names, such as `/v1/ai-sdk/{agent}`.
pub(super) struct Agent(pub(super) AgentName);

/// That agent, and the session that the fourth segment names.
pub(super) struct Chat(pub(super) AgentName, pub(super) SessionId);

impl<S: Sync> FromRequestParts<S> for Agent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Agent, Problem> {
        let segment = segment(parts, 3);
        let agent = name::parse(segment)
            .and_then(|name| AgentName::parse(name.as_str()).map_err(|why| why.to_string()));
        agent.map(Agent).map_err(|detail| Problem::new(&error::BAD_NAME, detail))
    }
}

impl<S: Sync> FromRequestParts<S> for Chat {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Chat, Problem> {
        let Agent(agent) = Agent::from_request_parts(parts, state).await?;
        let bad = |detail| Problem::new(&error::BAD_SESSION_ID, detail);
        let name = name::parse(segment(parts, 4)).map_err(bad)?;
        let id = name::named(&gate::sender(parts)?, &name)?;
        gate::judge(parts, &id)?;
        Ok(Chat(agent, id))
    }
}

fn segment(parts: &Parts, place: usize) -> &str {
    parts.uri.path().split('/').nth(place).unwrap_or_default()
}

/// The session that a body names.
///
/// # Errors
/// It is no name, or the caller's rights are for other sessions.
pub(super) fn session(caller: &Caller, text: &str) -> Result<SessionId, Problem> {
    let id = name::session(caller, text)?;
    if caller.is_for(&id) { Ok(id) } else { Err(Refusal::NotFound.into()) }
}
