//! What waits for people or workers, with its content: open questions, and inputs that no worker has taken in.
//!
//! The session's state knows where they are; the text is read from the log. Bounded in bytes: of what is beyond the
//! bound the place is given, and where to read it.

use std::collections::HashMap;

use super::super::content::raw::Json;
use super::super::error::Problem;
use super::super::wire;
use super::log::Log;
use crate::ids::Serial;
use crate::session::{CallerStatus, Event, Fact, InteractionStatus, Role, Status};

/// The questions and inputs of one session that are open, as JSON.
pub(in crate::edge) struct Waiting {
    pub(in crate::edge) interactions: Json,
    pub(in crate::edge) inputs: Json,
}

/// Reads what waits in a session as it is in `status`, with at most so many bytes of content.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn waiting(
    log: &mut Log<'_>,
    status: &Status,
    most: usize,
) -> Result<Waiting, Problem> {
    let questions = status.interactions.iter().map(|open| open.serial);
    let mut places: Vec<Serial> =
        questions.chain(status.queued.iter().map(|queued| queued.serial)).collect();
    places.sort_unstable();
    places.dedup();
    let mut left = most;
    let mut events: HashMap<Serial, Event> = HashMap::new();
    for shown in log.at(&places).await? {
        let mut event = shown.event.clone();
        match left.checked_sub(event.payload.len()) {
            Some(rest) => left = rest,
            // It is known what it is, and not its content.
            None => event.payload = bytes::Bytes::new(),
        }
        events.insert(event.serial, event);
    }
    let interactions = status.interactions.iter();
    let interactions: Vec<Json> =
        interactions.map(|open| question(open, events.get(&open.serial))).collect();
    let queued = status.queued.iter();
    let inputs: Vec<Json> =
        queued.filter_map(|queued| input(events.get(&queued.serial)?)).collect();
    Ok(Waiting { interactions: interactions.into(), inputs: inputs.into() })
}

impl Waiting {
    /// What is known about it without the log: the questions without their text.
    pub(in crate::edge) fn without_words(status: &Status) -> Waiting {
        let interactions = status.interactions.iter().map(|open| question(open, None));
        let interactions = interactions.collect::<Vec<_>>().into();
        Waiting { interactions, inputs: Json::Null }
    }
}

/// A question, with its text where that is there.
pub(in crate::edge) fn question(open: &InteractionStatus, requested: Option<&Event>) -> Json {
    let words = requested.filter(|event| !event.payload.is_empty());
    Json::object([
        ("interaction", open.interaction.as_str().into()),
        ("turn", open.turn.as_str().into()),
        ("kind", open.kind.as_str().into()),
        ("serial", open.serial.0.into()),
        ("deadline", open.deadline.map_or(Json::Null, |at| at.0.into())),
    ])
    .with_some("role", (Role::Participant < open.role).then(|| open.role.name().into()))
    .with_some("claimed", open.caller.as_ref().map(claimed))
    .with_some(
        "agent",
        requested.and_then(|event| event.agent.as_ref()).map(|of| of.as_str().into()),
    )
    .with_some("requested_at", requested.map(|event| event.time.0.into()))
    .with_some("question", words.map(|event| wire::content(&event.format, &event.payload)))
}

/// The device that makes a call.
fn claimed(caller: &CallerStatus) -> Json {
    let device = caller.by.device.as_ref();
    Json::object([
        ("participant", caller.by.participant.as_str().into()),
        ("device", device.map_or(Json::Null, |device| device.as_str().into())),
        ("epoch", caller.epoch.0.into()),
        ("until", caller.until.0.into()),
    ])
}

/// An input that waits, with its text where that is there; nothing if it is none.
fn input(event: &Event) -> Option<Json> {
    let Some(Fact::Input { input, turn, sender, held, .. }) = event.fact.as_deref() else {
        return None;
    };
    let words = (!event.payload.is_empty()).then(|| wire::content(&event.format, &event.payload));
    let mut out = Json::object([
        ("input", input.as_str().into()),
        ("turn", turn.as_str().into()),
        ("serial", event.serial.0.into()),
        ("time", event.time.0.into()),
    ])
    .with_some("agent", event.agent.as_ref().map(|of| of.as_str().into()));
    if let Some(sender) = sender {
        let device = sender.device.as_ref().map_or(Json::Null, |device| device.as_str().into());
        out = out.with("participant", sender.participant.as_str()).with("device", device);
    }
    if *held {
        out = out.with("held", true);
    }
    Some(out.with_some("content", words))
}
