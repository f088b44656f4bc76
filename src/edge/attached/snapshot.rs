//! What a device begins with: the session as it is at one place in its log, with the conversation so far.

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::super::error::Problem;
use super::super::{Edge, turns};
use super::{Visibility, health, messages, people};
use crate::ids::SessionId;
use crate::limits::PEER_PATIENCE;
use crate::runtime::Reader;

/// The session where the reader begins.
pub(super) async fn of(
    edge: &Edge,
    id: &SessionId,
    reader: &Reader,
    visibility: Visibility,
    deadline: Instant,
) -> Result<Value, Problem> {
    let (mut status, at) = (reader.status().clone(), reader.cursor());
    edge.runtime.workers.mark_unserved(id, &mut status.turns).await;
    let status = &status;
    let presence = timeout(PEER_PATIENCE, edge.runtime.presence.company(id, deadline));
    let messages = messages::read(&edge.runtime.sessions, id, status, at, visibility, deadline);
    let (presence, messages) = tokio::join!(presence, messages);
    // Who is there is told again when it is known; the conversation is what counts.
    let presence = presence.ok().and_then(Result::ok).map(|company| people::company(&company));
    let now = edge.runtime.sessions.time_of(id);
    let mut body = json!({
        "turns": status.turns.iter().map(|turn| turns::turn(turn, now)).collect::<Vec<_>>(),
        "interactions": people::interactions(&status.interactions),
        "control": people::control(&status.control),
        "audience": people::counted(status.audience.as_ref()),
        "presence": presence,
        "health": health::all(status, now),
    });
    messages?.tell(&mut body);
    Ok(body)
}
