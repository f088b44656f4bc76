//! Finding the message that an input is to follow, or to be another answer to: the session's state does not have all
//! messages, and its log does, which never changes.

use tokio::time::Instant;

use super::super::Edge;
use super::super::error::{self, Problem};
use super::super::history::{Log, message_at};
use crate::ids::{Serial, SessionId};
use crate::limits::MESSAGES_PAGE_MAX;
use crate::runtime::Freshness;
use crate::session::{Fact, Follows, Found, Input, Status};

/// Adds to an input what is in the log where it is to stand. Of what is not found nothing is added, and the session
/// reports it, unless it knows the input.
///
/// # Errors
/// The session's leader does not answer in time, or its log is not to be had.
pub(super) async fn find(
    edge: &Edge,
    id: &SessionId,
    input: &mut Input,
    deadline: Instant,
) -> Result<(), Problem> {
    if input.follows.is_none() {
        return Ok(());
    }
    let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
    let Some(status) = status.filter(|status| !status.hidden) else { return Ok(()) };
    let mut log = Log::new(edge, id, status.incarnation, deadline);
    find_in(&mut log, &status, input).await
}

async fn find_in(log: &mut Log<'_>, status: &Status, input: &mut Input) -> Result<(), Problem> {
    let Some(Follows { message, again, .. }) = input.follows.clone() else { return Ok(()) };
    let life = status.incarnation;
    let found = |message: Serial, branch: Serial| Some(Found { life, message, branch });
    if message == Serial::ZERO && !again {
        return set(input, found(Serial::ZERO, Serial::ZERO));
    }
    if !again {
        let place = message_at(log, status, message).await?.map(|(_, place)| place);
        return set(input, place.and_then(|place| found(message, place.branch)));
    }
    let (mut at, mut of) = (message, None);
    // An agent's output is an answer to what a person sent before it on its branch.
    for _ in 0..MESSAGES_PAGE_MAX {
        if status.tail < at {
            return Ok(());
        }
        let shown = log.at(&[at]).await?;
        let Some(event) = shown.first().map(|shown| &shown.event) else { return Ok(()) };
        let Some(place) = event.begins() else { return Ok(()) };
        let is_input = match event.fact.as_deref() {
            // What was sent to others meanwhile is not what the turn answers.
            Some(Fact::Input { input, turn, .. }) => {
                of.as_ref().is_none_or(|of| of == input || of == turn)
            }
            Some(Fact::Output(output)) if at == message => {
                of = Some(output.turn.clone());
                false
            }
            _ => false,
        };
        if is_input && !place.again {
            input.content.format = event.format.clone();
            input.content.payload = event.payload.clone();
            if let (true, Some(agent)) = (is_unnamed(input), &event.agent) {
                input.agent = agent.clone();
            }
            return set(input, found(at, place.branch));
        }
        if place.parent == Serial::ZERO {
            return Ok(());
        }
        at = place.parent;
    }
    let detail =
        format!("no user sent anything in the {MESSAGES_PAGE_MAX} messages before {message}");
    Err(Problem::new(&error::NO_SUCH_MESSAGE, detail))
}

fn set(input: &mut Input, found: Option<Found>) -> Result<(), Problem> {
    if let Some(follows) = &mut input.follows {
        follows.found = found;
    }
    Ok(())
}

/// Whether it names no agent: the one that answered before is meant.
fn is_unnamed(input: &Input) -> bool {
    input.agent.as_str() == super::turns::UNNAMED
}
