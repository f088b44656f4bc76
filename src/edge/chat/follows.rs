//! Where what a chat client sends stands in the conversation, if that is not after the newest message: clients show it
//! by their requests, each in its own form.

use tokio::time::Instant;

use super::super::Edge;
use super::super::error::Problem;
use super::super::history::{self, Log};
use super::super::verbs::turns::follows;
use super::answer::ChatPlace;
use super::begin::status;
use crate::ids::{Incarnation, Serial, SessionId, TurnId};
use crate::session::{Follows, Status, TreePlace};

/// In place of a message that was sent before: after what that one followed. Nothing where it is not there.
///
/// # Errors
/// The session or its log is not to be had before the deadline.
pub(super) async fn instead_of(
    (edge, _, id, deadline): ChatPlace<'_>,
    name: &TurnId,
) -> Result<Option<Follows>, Problem> {
    let Some(status) = status(edge, id, deadline).await? else { return Ok(None) };
    let found = input_of((edge, id, deadline), &status, name).await?;
    Ok(found.map(|(_, place)| follows(place.parent.0, false)))
}

/// Another answer to what an answer with its input at `from` was to, or to the message of this name.
///
/// # Errors
/// As [`instead_of`].
pub(super) async fn again(
    (edge, _, id, deadline): ChatPlace<'_>,
    answer: Option<(Incarnation, Serial)>,
    name: &TurnId,
) -> Result<Option<Follows>, Problem> {
    let Some(status) = status(edge, id, deadline).await? else { return Ok(None) };
    if let Some((_, from)) = answer.filter(|(life, _)| *life == status.incarnation) {
        return Ok(Some(follows(from.0, true)));
    }
    let found = input_of((edge, id, deadline), &status, name).await?;
    Ok(found.map(|(at, _)| follows(at.0, true)))
}

async fn input_of(
    (edge, id, deadline): (&Edge, &SessionId, Instant),
    status: &Status,
    name: &TurnId,
) -> Result<Option<(Serial, TreePlace)>, Problem> {
    let known = edge.sessions().place_of(id, name, deadline).await?;
    let mut log = Log::new(edge, id, status.incarnation, deadline);
    history::input_of(&mut log, status, name, known.map(|known| known.input)).await
}

/// After the last message of a turn whose input is at `from`; nothing where that is the newest message, or where the
/// turn is under way on the branch of the last input.
///
/// # Errors
/// As [`instead_of`].
pub(super) async fn after(
    (edge, _, id, deadline): ChatPlace<'_>,
    now: &Status,
    turn: &TurnId,
    from: Serial,
) -> Result<Option<Follows>, Problem> {
    let branches = &now.branches;
    let newest = branches.current_view().leaf();
    if let Some(open) = now.turns.iter().find(|open| open.turn == *turn) {
        let end = branches.path(open.branch).map_or(Serial::ZERO, |path| path.leaf());
        let is_elsewhere = open.branch != branches.current && end != Serial::ZERO;
        return Ok(is_elsewhere.then(|| follows(end.0, false)));
    }
    let mut log = Log::new(edge, id, now.incarnation, deadline);
    let last = history::last_of(&mut log, now, turn, from).await?;
    Ok(last.filter(|last| *last != newest).map(|last| follows(last.0, false)))
}
