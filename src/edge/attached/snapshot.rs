//! What a device begins with: the session as it is at one place in its log, with the newest messages.

use tokio::time::{Instant, timeout};

use super::super::content::raw::Json;
use super::super::error::Problem;
use super::super::history::{self, Log};
use super::super::wire::with_view;
use super::super::{Edge, turns};
use super::{Visibility, health, people};
use crate::ids::SessionId;
use crate::limits::{MESSAGES_BYTES, MESSAGES_PAGE, PEER_PATIENCE};
use crate::runtime::Reader;
use crate::session::View;

/// The session where the reader begins, with so many messages.
pub(super) async fn of(
    edge: &Edge,
    id: &SessionId,
    reader: &Reader,
    (messages, visibility, view): (Option<usize>, Visibility, View),
    deadline: Instant,
) -> Result<Json, Problem> {
    let (mut status, at) = (reader.status().clone(), reader.cursor());
    edge.runtime.workers.mark_unserved(id, &mut status.turns).await;
    let status = &status;
    let presence = timeout(PEER_PATIENCE, edge.runtime.presence.company(id, deadline));
    let limit = messages.unwrap_or(MESSAGES_PAGE);
    let frames = async {
        let mut log = Log::new(edge, id, status.incarnation, deadline);
        let page = history::newest(&mut log, status, limit, (visibility, view.clone())).await?;
        let waiting = history::waiting(&mut log, status, MESSAGES_BYTES).await?;
        Ok::<_, Problem>((page, waiting))
    };
    let (presence, frames) = tokio::join!(presence, frames);
    let (page, waiting) = frames?;
    // Who is there comes again when it is known; the conversation is what counts.
    let presence = presence.ok().and_then(Result::ok).map(|company| people::company(&company));
    let now = edge.runtime.sessions.time_of(id);
    let open: Vec<Json> =
        status.turns.iter().map(|turn| turns::turn(turn, &status.turns, now).into()).collect();
    let body = Json::object([
        ("turns", open.into()),
        ("interactions", waiting.interactions),
        ("inputs", waiting.inputs),
        ("control", people::control(&status.control).into()),
        ("audience", people::counted(status.audience.as_ref()).into()),
        ("presence", presence.map_or(Json::Null, Json::from)),
        ("health", health::all(status, now).into()),
    ]);
    Ok(page.add_to(with_view(body, status, &view), at))
}
