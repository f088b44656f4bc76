//! How the agents of a session are, as clients see it: the state, and the clocks that it was judged by.

use serde_json::{Map, Value, json};

use super::super::wire;
use crate::ids::Millis;
use crate::session::health::Health;
use crate::session::{Cause, Status, TurnState, TurnStatus};

/// Why no worker takes a turn.
const UNSERVED: &str =
    "no worker of this agent is connected to any node, and none asks for its turns";

/// Why a worker that lives counts as stalled.
const STALLED: &str = "the worker lives, and has put nothing out for longer than it declared";

/// Why a worker may be gone.
const SUSPECT: &str = "nothing came from the worker for half its lease";

/// The health of each open turn's agent, at the time `now` of this node.
pub(in crate::edge) fn all(status: &Status, now: Millis) -> Value {
    let turn = |turn: &TurnStatus| {
        let mut body = json!({ "turn": turn.turn.as_str(), "agent": turn.agent.as_str() });
        if let Value::Object(body) = &mut body {
            body.extend(members(turn, &status.turns, now));
        }
        body
    };
    status.turns.iter().map(turn).collect()
}

/// The health of the agent of one of these open turns: `health`, since when, when it last got on, and what comes next
/// when. That of a turn which waits for sub-turns is the worst of theirs, and `subturn` names that one.
pub(in crate::edge) fn members(
    turn: &TurnStatus,
    open: &[TurnStatus],
    now: Millis,
) -> Map<String, Value> {
    let counts = Health::counts(turn, open, now);
    let mut body = own(counts, now);
    if counts.turn != turn.turn {
        body.insert("subturn".into(), counts.turn.as_str().into());
    }
    body
}

fn own(turn: &TurnStatus, now: Millis) -> Map<String, Value> {
    let health = Health::of(turn, now);
    let lease = turn.lease.as_ref();
    let progress_deadline = lease.map(|lease| lease.progress_at.after(lease.progress_timeout_ms));
    let progress_at = lease.map(|lease| lease.progress_at);
    let (since, deadline) = match &health {
        Health::Streaming | Health::Thinking | Health::Working { .. } => {
            (progress_at, progress_deadline)
        }
        Health::Suspect => (
            lease.map(|lease| lease.last_seen_at.after(lease.lease_ms / 2)),
            lease.map(|lease| lease.last_seen_at.after(lease.lease_ms)),
        ),
        Health::Stalled => (
            progress_deadline,
            lease.map(|lease| lease.progress_at.after(lease.progress_timeout_ms.saturating_mul(2))),
        ),
        Health::Dead { .. } => (None, turn.waits_from),
        Health::Starting | Health::Unserved | Health::Recovering { .. } => (turn.waits_from, None),
        Health::Waiting | Health::Paused => (None, None),
    };
    let mut body = Map::new();
    body.insert("health".into(), health.name().into());
    body.insert("since".into(), wire::millis(since));
    body.insert("last_progress_at".into(), wire::millis(progress_at));
    body.insert("deadline".into(), wire::millis(deadline));
    body.insert("attempt".into(), turn.attempts.into());
    match health {
        Health::Recovering { lost, of } | Health::Dead { lost, of } => {
            body.insert("lost".into(), lost.into());
            body.insert("of".into(), of.into());
            body.insert("cause".into(), turn.lost.map(Cause::name).into());
        }
        Health::Unserved => {
            body.insert("cause".into(), UNSERVED.into());
        }
        Health::Paused => {
            let reason = match turn.state {
                TurnState::Paused { reason } => Some(reason.name()),
                _ => None,
            };
            body.insert("cause".into(), reason.into());
        }
        Health::Stalled => {
            body.insert("cause".into(), STALLED.into());
        }
        Health::Suspect => {
            body.insert("cause".into(), SUSPECT.into());
        }
        Health::Working { tool } => {
            body.insert("tool".into(), tool.as_str().into());
        }
        _ => {}
    }
    body
}
