//! Turns that a worker begins by its report.

use serde::Deserialize;

use super::Item;
use super::turns::{attempts, bad, name, progress_timeout};
use crate::edge::error::Problem;
use crate::ids::{AgentName, TurnId};
use crate::limits;
use crate::session::SubTurn;

/// One of them, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginBody<'b> {
    id: String,
    agent: String,
    #[serde(borrow)]
    content: Item<'b>,
    attempts: Option<u32>,
    progress_timeout_ms: Option<u64>,
}

pub(super) fn begins(request: Vec<BeginBody<'_>>) -> Result<Vec<SubTurn>, Problem> {
    if limits::SUB_TURNS < request.len() {
        return Err(bad(&format!("a turn begins at most {} others", limits::SUB_TURNS)));
    }
    request.into_iter().map(begin).collect()
}

fn begin(request: BeginBody<'_>) -> Result<SubTurn, Problem> {
    Ok(SubTurn {
        turn: name("id", &request.id, TurnId::parse)?,
        agent: name("agent", &request.agent, AgentName::parse)?,
        content: request.content.event()?,
        attempts: attempts(request.attempts)?,
        progress_timeout_ms: request.progress_timeout_ms.map(progress_timeout).transpose()?,
    })
}
