//! How the agent of an answer is, sent every few seconds to those who want it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::Edge;
use super::super::attached::health;
use super::super::content::raw::Json;
use crate::ids::{SessionId, TurnId};
use crate::limits;
use crate::runtime::Freshness;

/// How long a look may hold up the answer.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Pulse {
    edge: Edge,
    id: SessionId,
    turn: TurnId,
    at: Instant,
}

impl Pulse {
    pub(super) fn new(edge: &Edge, id: &SessionId, turn: &TurnId) -> Pulse {
        Pulse { edge: edge.clone(), id: id.clone(), turn: turn.clone(), at: Instant::now() }
    }

    /// Waits until there is something to send; for ever, where it is not wanted. Cancel safe.
    pub(super) async fn of(pulse: &mut Option<Pulse>) -> Json {
        let Some(pulse) = pulse else { return std::future::pending().await };
        loop {
            sleep_until(pulse.at).await;
            // Before the look: an answer that goes on may end it, and shows enough itself.
            pulse.at = Instant::now() + Duration::from_millis(limits::PING_MS);
            if let Some(found) = pulse.look().await {
                return Json::raw(&found.to_string());
            }
        }
    }

    async fn look(&self) -> Option<Value> {
        let sessions = self.edge.sessions();
        let until = Instant::now() + PATIENCE;
        let status = timeout(PATIENCE, sessions.status(&self.id, Freshness::Local, until));
        let mut status = status.await.ok()?.ok()??;
        self.edge.runtime.workers.mark_unserved(&self.id, &mut status.turns).await;
        let turn = status.turns.iter().find(|turn| turn.turn == self.turn)?;
        Some(health::members(turn, &status.turns, sessions.time_of(&self.id)).into())
    }
}
