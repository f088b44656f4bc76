//! The message that a request names by its id.

use std::sync::Arc;

use super::log::Log;
use super::turn::{is_end, of};
use crate::edge::error::Problem;
use crate::ids::{Serial, StepName, TurnId};
use crate::runtime::Shown;
use crate::session::{Event, Fact, Status, TreePlace};

/// The first event of a message, and where it stands. None where none begins there, where that only requests another
/// answer, or where all of it was superseded since.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn message_at(
    log: &mut Log<'_>,
    status: &Status,
    id: Serial,
) -> Result<Option<(Arc<Shown>, TreePlace)>, Problem> {
    if id == Serial::ZERO || status.tail < id {
        return Ok(None);
    }
    let Some(shown) = log.at(&[id]).await?.into_iter().next() else { return Ok(None) };
    let Some(place) = shown.event.begins().filter(|place| !place.again) else { return Ok(None) };
    if let Some(Fact::Output(output)) = shown.event.fact.as_deref() {
        let attempt = (&output.turn, output.step.as_ref());
        if is_superseded(log, status, id, attempt).await? {
            return Ok(None);
        }
    }
    Ok(Some((shown, place)))
}

/// Whether all output of a message is superseded, as far as a page has room to look. A question in it stays.
async fn is_superseded(
    log: &mut Log<'_>,
    status: &Status,
    id: Serial,
    (turn, step): (&TurnId, Option<&StepName>),
) -> Result<bool, Problem> {
    let (mut at, begun) = (id.next(), (log.read, log.bytes));
    let mut superseded = false;
    while at <= status.tail && !log.is_spent(begun) {
        let piece = log.piece(at, status.tail).await?;
        let Some(last) = piece.last().map(|shown| shown.event.serial) else { break };
        let own = |event: &&Event| of(event) == Some(turn);
        for event in piece.iter().map(|shown| &shown.event).filter(own) {
            match event.fact.as_deref() {
                Some(Fact::Requested { message, .. }) if *message == id => return Ok(false),
                Some(Fact::Rewound { step: which, from, to, .. }) => {
                    let is_meant = which.is_none() || which.as_ref() == step;
                    superseded |= is_meant && *from <= id && id <= *to;
                }
                _ if is_end(event) => return Ok(superseded),
                _ => {}
            }
        }
        at = last.next();
    }
    Ok(superseded)
}
