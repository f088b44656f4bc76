//! Turns that are over, found in the log: how they ended, and their output.
//!
//! A turn is found by its input, which is a message: so it costs what the messages after it do, however long they are.
//! What was not found within the room of a page is looked for before a place by the next request.

use std::sync::Arc;

use super::super::content::raw::{Json, Object};
use super::super::error::{self, Problem};
use super::at::message_at;
use super::borders;
use super::fold::Fold;
use super::log::Log;
use super::page::{Side, before as place_before};
use crate::edge::attached::Visibility;
use crate::ids::{Serial, TurnId};
use crate::limits::{MESSAGES_EVENTS, MESSAGES_PAGE};
use crate::runtime::Shown;
use crate::session::{Event, Fact, Receipt, Status, View};

/// A turn that is over.
pub(in crate::edge) struct Ended {
    /// Its input; where that was trimmed, the first message that is left of it.
    pub(in crate::edge) begin: Serial,
    /// Its last event, which records how it ended.
    pub(in crate::edge) last: Arc<Shown>,
}

/// What the log has under the name of a turn.
pub(in crate::edge) enum Found {
    Ended(Ended),
    /// An input that began no turn: it was steered into this one.
    IntoTurn(TurnId),
    /// An input that began no turn: a person had control.
    Held,
    /// Nothing from this place on; what lies before it was not looked at.
    NotSince(Serial),
    Nothing,
}

/// The output of a turn.
pub(in crate::edge) struct TurnText {
    /// The agent's messages, oldest first.
    pub(in crate::edge) messages: Vec<Json>,
    /// Whether there is more of it for which there is no room: older ones, or what one of them was cut by.
    pub(in crate::edge) more: bool,
    /// The texts of its messages, joined.
    pub(in crate::edge) text: String,
    /// Why its model stopped, what it cost, and what went wrong, as it was last sent.
    pub(in crate::edge) finish_reason: Option<String>,
    pub(in crate::edge) usage: Option<Json>,
    pub(in crate::edge) error: Option<String>,
}

/// Where a turn is in the log.
struct TurnPlace {
    begin: Serial,
    /// Where its newest message begins.
    newest: Serial,
    /// What it is of, if it is an input that began no turn.
    other: Option<Found>,
}

/// How far a turn was looked for.
enum Looked {
    Found(TurnPlace),
    NotSince(Serial),
    Through,
}

/// The last turn with this name that is over as of `status`, or what else the log has under that name: of what lies
/// before a place, which is the tail where none is given.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn end_of(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
    before: Option<Serial>,
) -> Result<Found, Problem> {
    let place = match find(log, status, turn, before).await? {
        Looked::Found(place) => place,
        Looked::NotSince(place) => return Ok(Found::NotSince(place)),
        Looked::Through => return Ok(Found::Nothing),
    };
    let TurnPlace { begin, newest, mut other } = place;
    let (mut at, begun) = (newest, (log.read, log.bytes));
    // Where a turn began, it ends; an input that began none has most likely no end to look for.
    while at <= status.tail && !(other.is_some() && log.is_spent(begun)) {
        let piece = log.piece(at, status.tail).await?;
        let Some(last) = piece.last().map(|shown| shown.event.serial) else { break };
        let is_end = |shown: &&Arc<Shown>| is_end(&shown.event) && of(&shown.event) == Some(turn);
        if let Some(last) = piece.iter().find(is_end) {
            return Ok(Found::Ended(Ended { begin, last: last.clone() }));
        }
        // It may have been left to other turns since it was steered into one.
        let left = piece.iter().rev().find_map(|shown| left_to(&shown.event, turn));
        other = left.map(Found::IntoTurn).or(other);
        at = last.next();
    }
    Ok(other.unwrap_or(Found::Nothing))
}

/// Goes back over messages until the turn's input, which is the oldest of them.
async fn find(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
    before: Option<Serial>,
) -> Result<Looked, Problem> {
    let looked = |found: Option<TurnPlace>| found.map_or(Looked::Through, Looked::Found);
    let (mut upto, mut found) = (before.unwrap_or(status.tail.next()), None::<TurnPlace>);
    let begun = (log.read, log.bytes);
    let whole = (Visibility::All, &View::default());
    loop {
        let border = borders::back(log, status, upto, MESSAGES_PAGE, whole).await?;
        let mut begins = border.begins;
        begins.reverse();
        for shown in log.at(&begins).await?.iter().rev() {
            let event = &shown.event;
            let named = match event.fact.as_deref() {
                Some(Fact::Input { input, .. }) => input == turn,
                _ => false,
            };
            if named || of(event) == Some(turn) {
                let newest = found.map_or(event.serial, |found| found.newest);
                let other = other(event, turn);
                found = Some(TurnPlace { begin: event.serial, newest, other });
            }
            if named {
                return Ok(looked(found));
            }
        }
        if border.is_first && border.remnants && found.is_none() {
            return Ok(looked(left_of(log, status, turn).await?));
        }
        if border.is_first || upto <= border.lo {
            return Ok(looked(found));
        }
        if found.is_none() && log.is_spent(begun) {
            return Ok(Looked::NotSince(border.lo));
        }
        upto = border.lo;
    }
}

/// What is left of a turn whose messages all began before the log does: looked for where most likely it is.
async fn left_of(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
) -> Result<Option<TurnPlace>, Problem> {
    let mut at = status.first.max(Serial(1));
    let upto = Serial(at.0 + MESSAGES_EVENTS as u64).min(status.tail);
    while at <= upto {
        let piece = log.piece(at, upto).await?;
        if let Some(shown) = piece.iter().find(|shown| of(&shown.event) == Some(turn)) {
            let begin = shown.event.serial;
            return Ok(Some(TurnPlace { begin, newest: begin, other: None }));
        }
        let Some(last) = piece.last() else { break };
        at = last.event.serial.next();
    }
    Ok(None)
}

/// Where the input of this name is, if it can still be read, and where it stands in the tree. `known` is where the
/// session remembers it; what it has forgotten is looked for within the room of a page.
///
/// # Errors
/// As [`end_of`].
pub(in crate::edge) async fn input_of(
    log: &mut Log<'_>,
    status: &Status,
    name: &TurnId,
    known: Option<Serial>,
) -> Result<Option<(Serial, session::TreePlace)>, Problem> {
    let at = match known.filter(|known| status.first <= *known && *known <= status.tail) {
        Some(known) => known,
        None => match find(log, status, name, None).await? {
            Looked::Found(place) => place.begin,
            Looked::NotSince(_) | Looked::Through => return Ok(None),
        },
    };
    let shown = log.at(&[at]).await?;
    let event = shown.first().map(|shown| &shown.event);
    Ok(event.and_then(|event| match event.fact.as_deref() {
        Some(Fact::Input { input, place, .. }) if input == name => Some((event.serial, *place)),
        _ => None,
    }))
}

/// The last message of a turn that is over and whose input is at `from`: the agent's, or what it was to answer.
///
/// # Errors
/// As [`end_of`].
pub(in crate::edge) async fn last_of(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
    from: Serial,
) -> Result<Option<Serial>, Problem> {
    let (mut at, mut content, mut questions) = (from, Vec::new(), None);
    while at <= status.tail {
        let piece = log.piece(at, status.tail).await?;
        let Some(last) = piece.last().map(|shown| shown.event.serial) else { break };
        for event in piece.iter().map(|shown| &shown.event).filter(|it| of(it) == Some(turn)) {
            match (event.fact.as_deref(), event.begins()) {
                (Some(Fact::Input { .. }), Some(place)) => {
                    let it = if place.again { place.parent } else { event.serial };
                    questions = Some(it);
                }
                (Some(Fact::Rewound { from, .. }), _) => content.retain(|begin| begin < from),
                (Some(Fact::Ended { .. }), _) => return Ok(content.last().copied().or(questions)),
                (_, Some(_)) => content.push(event.serial),
                _ => {}
            }
        }
        at = last.next();
    }
    Ok(content.last().copied().or(questions))
}

/// The last event before another message begins, once this one is over; and the branch that it is on.
///
/// # Errors
/// No message begins there, or as [`end_of`].
pub(in crate::edge) async fn end_of_message(
    log: &mut Log<'_>,
    status: &Status,
    id: Serial,
) -> Result<(Serial, Serial), Problem> {
    let none = || Problem::new(&error::NO_SUCH_MESSAGE, format!("none has the id {id}"));
    let (shown, place) = message_at(log, status, id).await?.ok_or_else(none)?;
    let event = &shown.event;
    let turn = of(event).cloned();
    let mut is_over =
        matches!(event.fact.as_deref(), Some(Fact::Input { .. } | Fact::Person { .. }));
    let mut at = id.next();
    while at <= status.tail {
        let piece = log.piece(at, status.tail).await?;
        let Some(last) = piece.last().map(|shown| shown.event.serial) else { break };
        for event in piece.iter().map(|shown| &shown.event) {
            let is_own = turn.is_some() && of(event) == turn.as_ref();
            if event.begins().is_some() && (is_over || is_own) {
                return Ok((place_before(event.serial), place.branch));
            }
            is_over |= is_own && is_end(event);
        }
        at = last.next();
    }
    Ok((status.tail, place.branch))
}

/// What an input is of that began no turn of its own, as far as it records that.
fn other(event: &Event, name: &TurnId) -> Option<Found> {
    match event.fact.as_deref() {
        Some(Fact::Input { held: true, .. }) => Some(Found::Held),
        Some(Fact::Input { turn, .. }) if turn != name => Some(Found::IntoTurn(turn.clone())),
        _ => None,
    }
}

/// The turn that an input was left to, as far as an event records that.
fn left_to(event: &Event, name: &TurnId) -> Option<TurnId> {
    match event.fact.as_deref() {
        Some(Fact::Receipt { input, turn, receipt: Receipt::Deferred }) if input == name => {
            Some(turn.clone()).filter(|turn| turn != name)
        }
        _ => None,
    }
}

pub(super) fn of(event: &Event) -> Option<&TurnId> {
    event.fact.as_deref().and_then(Fact::turn)
}

pub(super) fn is_end(event: &Event) -> bool {
    matches!(event.fact.as_deref(), Some(Fact::Ended { .. }))
}

/// Up to `limit` ends of turns before a place, the newest first, of those that are wanted; and the place that the
/// next page lies before, if there is more to look through.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn ended(
    log: &mut Log<'_>,
    status: &Status,
    place: Serial,
    limit: usize,
    wanted: impl Fn(&Event) -> bool,
) -> Result<(Vec<Arc<Shown>>, Option<Serial>), Problem> {
    let (mut found, begun) = (Vec::new(), (log.read, log.bytes));
    let (mut upto, first) = (place_before(place).min(status.tail), status.first.max(Serial(1)));
    while first <= upto {
        if log.is_spent(begun) {
            return Ok((found, Some(upto.next())));
        }
        let piece = log.back(upto, first, log.most()).await?;
        let Some(begin) = piece.first().map(|shown| shown.event.serial) else { break };
        for shown in piece.iter().rev() {
            if is_end(&shown.event) && wanted(&shown.event) {
                if found.len() == limit {
                    return Ok((found, Some(shown.event.serial.next())));
                }
                found.push(shown.clone());
            }
        }
        upto = place_before(begin);
    }
    Ok((found, None))
}

/// The output of a turn that is over; of a long one, its end.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn text_of_turn(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
    ended: &Ended,
    visibility: Visibility,
) -> Result<TurnText, Problem> {
    let last = log.last(ended.begin, ended.last.event.serial).await?;
    let from = last.first().map_or(ended.begin, |shown| shown.event.serial);
    // What is read may begin in the middle of a message, whose first event shows how much is missing.
    let message = |event: &Event| match event.fact.as_deref() {
        Some(Fact::Output(output)) if output.turn == *turn => Some(output.message),
        Some(Fact::Requested { turn: of, message, .. }) if of == turn => Some(*message),
        _ => None,
    };
    let head = last.iter().find_map(|shown| message(&shown.event));
    // One that was trimmed cannot show it; then what is left of the message is a remnant.
    let head = head.filter(|at| *at < from && status.first <= *at);
    let mut fold = Fold::new(head.unwrap_or(from), None, usize::MAX, Side::Older);
    fold = fold.with_remnants(Some(Serial::ZERO));
    (fold.visibility, fold.only_turn) = (visibility, Some(turn.clone()));
    if let Some(head) = head {
        log.at(&[head]).await?.iter().for_each(|shown| fold.take(&shown.event));
    }
    last.iter().for_each(|shown| fold.take(&shown.event));
    let more = ended.begin < from || fold.has_rest();
    let messages = fold.finish(status).await.into_iter().map(|(_, message)| message);
    Ok(TurnText::of(messages.collect(), more))
}

impl TurnText {
    fn of(messages: Vec<Json>, mut more: bool) -> TurnText {
        let (mut text, mut finish_reason, mut usage, mut error) = (String::new(), None, None, None);
        for message in &messages {
            let json = message.to_string();
            let message = Object::parse(&json).unwrap_or_default();
            text.push_str(&message.text("text").unwrap_or_default());
            more |= message.get("cut").is_some();
            for part in message.objects("content") {
                match part.text("type").as_deref() {
                    Some("finish") => {
                        finish_reason = part.text("reason").or(finish_reason);
                        usage = part.get("usage").map(Json::raw).or(usage);
                    }
                    Some("error") => error = part.text("text").or(error),
                    _ => {}
                }
            }
        }
        TurnText { messages, more, text, finish_reason, usage, error }
    }
}
