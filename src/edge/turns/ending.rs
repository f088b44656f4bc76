//! How a turn stands or ended, with its output, and which turns of a session there are. The log shows so for
//! ever, at any node: nothing is kept beside it (S9).

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use tokio::time::{Instant, timeout_at};

use super::super::attached;
use super::super::chat::{Follow, Lost};
use super::super::content::raw::Json;
use super::super::error::{self, Problem};
use super::super::gate::{By, while_granted};
use super::super::history::{self, At, Ended, Found, Log};
use super::super::name::{Name, TurnOf};
use super::super::people::{exists, ready};
use super::super::query::Query;
use super::super::{Edge, headers};
use crate::edge::State;
use crate::edge::attached::Visibility;
use crate::ids::{AgentName, Cursor, DeviceName, Serial, SessionId, TurnId};
use crate::limits;
use crate::runtime::{Freshness, Shown};
use crate::session::{End, Event, Fact, Mode, Sender, Status, TurnPlace, TurnStatus};

/// `GET /v1/sessions/{id}/turns/{turn}`
pub(in crate::edge) async fn show(
    State(edge): State<Edge>,
    TurnOf(id, turn): TurnOf,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["wait_ms", "visibility", "before"])?;
    let before = query.text("before").map(At::parse).transpose()?.unwrap_or(At::Now);
    let visibility = attached::visibility(query.text("visibility"));
    let visibility = visibility.map_err(|why| Problem::new(&error::BAD_QUERY, why))?;
    let wait_ms = query.number("wait_ms", 0, limits::POLL_MS_MAX)?.unwrap_or_default();
    let until = Instant::now() + Duration::from_millis(wait_ms);
    // The wait is no part of what the request itself may take.
    let deadline = headers::deadline(&headers)? + Duration::from_millis(wait_ms);
    let shown = shown(&edge, (&id, &turn), (visibility, before), until, deadline);
    Ok(ready(&while_granted(&caller, shown).await?))
}

/// A turn as it is once it is over, or by `until`.
async fn shown(
    edge: &Edge,
    (id, turn): (&SessionId, &TurnId),
    (visibility, before): (Visibility, At),
    until: Instant,
    deadline: Instant,
) -> Result<Json, Problem> {
    let mut waits = true;
    loop {
        let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
        let status = exists(status)?;
        let before = before.in_log(&status)?;
        let at = status.turns.iter().position(|open| open.turn == *turn);
        if let Some(at) = at.filter(|_| before.is_none()) {
            if waits && Instant::now() < until {
                waits = wait(edge, id, Some(turn), &status, until).await?;
                continue;
            }
            let mut open = status.turns.clone();
            edge.runtime.workers.mark_unserved(id, &mut open).await;
            let open = super::turn(&open[at], &open, edge.runtime.sessions.time_of(id));
            return Ok(Json::joined(&open, &head(&status)));
        }
        let mut log = Log::new(edge, id, status.incarnation, deadline);
        if let Some(input) = held(&mut log, &status, turn).await? {
            if waits && Instant::now() < until {
                // A turn of another name may take it over.
                waits = wait(edge, id, None, &status, until).await?;
                continue;
            }
            let members = [("turn", turn.as_str().into()), ("state", "held".into())];
            let body = Json::object(members).with("input", input.0);
            return Ok(with_head(body, &status));
        }
        let place = edge.sessions().place_of(id, turn, deadline).await?;
        return over(&mut log, &status, (turn, place), (visibility, before)).await;
    }
}

/// Waits until a turn is over, where none is named until anything happens, or `until`; returns whether that is worth
/// waiting for any longer.
async fn wait(
    edge: &Edge,
    id: &SessionId,
    turn: Option<&TurnId>,
    status: &Status,
    until: Instant,
) -> Result<bool, Problem> {
    let follow = Follow::from(edge, id, status.tail.next(), until);
    let follow = tokio::select! {
        follow = follow => follow,
        () = edge.stop.cancelled() => return Ok(false),
    };
    let Ok(mut follow) = follow else {
        // It may have no place for readers, or no leader: the next look shows.
        tokio::time::sleep_until(until.min(Instant::now() + limits::LEADER_WAIT)).await;
        return Ok(true);
    };
    loop {
        let next = tokio::select! {
            next = timeout_at(until, follow.next()) => next,
            () = edge.stop.cancelled() => return Ok(false),
        };
        match next {
            Ok(Ok(events)) => {
                let Some(turn) = turn else {
                    if events.is_empty() {
                        continue;
                    }
                    return Ok(true);
                };
                let mut events = events.iter();
                if events.any(|shown| ending(&shown.event).is_some_and(|(of, _)| of == turn)) {
                    return Ok(false);
                }
            }
            Ok(Err(Lost::Gone | Lost::Unavailable)) => return Ok(true),
            Err(_) => return Ok(false),
        }
    }
}

/// The input, if that is all there is of a turn because a person has control.
async fn held(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
) -> Result<Option<Serial>, Problem> {
    let Some(queued) = status.queued.iter().find(|queued| queued.input == *turn) else {
        return Ok(None);
    };
    if queued.serial < status.first {
        // Its event was trimmed. What waits without a turn waits for whoever has control.
        let is_held = status.control.mode == Mode::Manual;
        return Ok(is_held.then_some(queued.serial));
    }
    let event = log.at(&[queued.serial]).await?;
    let is_held =
        |event: &Event| matches!(event.fact.as_deref(), Some(Fact::Input { held: true, .. }));
    Ok(event.first().filter(|shown| is_held(&shown.event)).map(|shown| shown.event.serial))
}

/// A turn that is over, with its output.
async fn over(
    log: &mut Log<'_>,
    status: &Status,
    (turn, place): (&TurnId, Option<TurnPlace>),
    (visibility, before): (Visibility, Option<Serial>),
) -> Result<Json, Problem> {
    let found = match remembered(log, status, turn, place).await? {
        Some(found) => found,
        None => history::end_of(log, status, turn, before).await?,
    };
    let ended = match found {
        Found::Ended(ended) => ended,
        other => return Err(none(status, turn, other)),
    };
    let output = history::text_of_turn(log, status, turn, &ended, visibility).await?;
    let body = rendered(&ended.last.event)
        .with("input", ended.begin.0)
        .with("text", output.text)
        .with_some("finish_reason", output.finish_reason.map(Json::from))
        .with_some("usage", output.usage)
        .with_some("error", output.error.map(Json::from))
        .with("more", output.more)
        .with("messages", output.messages);
    Ok(with_head(body, status))
}

/// What the session remembers of a turn, so that it need not be looked for in the log.
async fn remembered(
    log: &mut Log<'_>,
    status: &Status,
    turn: &TurnId,
    place: Option<TurnPlace>,
) -> Result<Option<Found>, Problem> {
    let Some(TurnPlace { turn: of, input, ended }) = place else { return Ok(None) };
    if of != *turn {
        return Ok(Some(Found::IntoTurn(of)));
    }
    let Some(ended) = ended.filter(|_| status.first <= input) else { return Ok(None) };
    let last = log.at(&[ended]).await?;
    let is_end = |shown: &&Arc<Shown>| ending(&shown.event).is_some_and(|(of, _)| of == turn);
    let last = last.iter().find(is_end);
    Ok(last.map(|last| Found::Ended(Ended { begin: input, last: last.clone() })))
}

/// Why there is no such turn.
fn none(status: &Status, turn: &TurnId, found: Found) -> Problem {
    let first = status.first;
    let detail = match &found {
        Found::IntoTurn(of) => format!("the input {turn} was steered into the turn {of}"),
        Found::Held => format!("a person was to answer {turn}; a later turn has another name"),
        Found::NotSince(place) => format!(
            "none from {place} on has the name {turn}; ask again with before= for those before it"
        ),
        _ if first <= Serial(1) => format!("none has the name {turn}"),
        _ => format!("the log tells of none that has the name {turn}, from {first} on"),
    };
    let problem = Problem::new(&error::NO_SUCH_TURN, detail).with("first", first.0);
    match found {
        Found::IntoTurn(of) => problem.with("turn", of.as_str()),
        Found::NotSince(serial) => {
            let cursor = Cursor { incarnation: status.incarnation, serial };
            problem.with("older", cursor.to_string())
        }
        _ => problem,
    }
}

/// The members that show which life of the session this is of, and as of when.
fn head(status: &Status) -> Json {
    let cursor = Cursor { incarnation: status.incarnation, serial: status.tail };
    Json::object([
        ("incarnation", u64::from(status.incarnation.0).into()),
        ("cursor", cursor.to_string().into()),
    ])
}

fn with_head(body: Json, status: &Status) -> Json {
    let cursor = Cursor { incarnation: status.incarnation, serial: status.tail };
    body.with("incarnation", u64::from(status.incarnation.0)).with("cursor", cursor.to_string())
}

fn ending(event: &Event) -> Option<(&TurnId, &End)> {
    match event.fact.as_deref() {
        Some(Fact::Ended { turn, end }) => Some((turn, end)),
        _ => None,
    }
}

/// How a turn ended, by its last event.
fn rendered(event: &Event) -> Json {
    let Some((turn, end)) = ending(event) else { return Json::Null };
    let name = |name: Option<&str>| name.map_or(Json::Null, Json::from);
    let reason = Some(end.reason()).filter(|reason| !reason.is_empty());
    let body = Json::object([
        ("turn", turn.as_str().into()),
        ("agent", name(event.agent.as_ref().map(AgentName::as_str))),
        ("state", state(end).into()),
        ("ended", event.serial.0.into()),
        ("ended_at", event.time.0.into()),
    ])
    .with_some("reason", reason.map(Json::from));
    match end {
        End::Cancelled { by: Some(Sender { participant, device }), .. } => body
            .with("participant", participant.as_str())
            .with("device", name(device.as_ref().map(DeviceName::as_str))),
        _ => body,
    }
}

fn state(end: &End) -> &'static str {
    match end {
        End::Completed { .. } => "completed",
        End::Failed { .. } => "failed",
        End::Cancelled { .. } => "cancelled",
    }
}

/// Which turns are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Open,
    Ended,
    /// Those in this state.
    In(&'static str),
}

impl Wanted {
    const OPEN: [&str; 4] = ["queued", "active", "waiting", "paused"];
    const ENDED: [&str; 3] = ["completed", "failed", "cancelled"];

    fn of(query: &Query) -> Result<Wanted, Problem> {
        let mut words = vec![("open", Wanted::Open), ("ended", Wanted::Ended)];
        let states = Wanted::OPEN.into_iter().chain(Wanted::ENDED);
        words.extend(states.map(|state| (state, Wanted::In(state))));
        Ok(query.word("state", &words)?.unwrap_or(Wanted::All))
    }

    fn has(self, state: &str) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Open => Wanted::OPEN.contains(&state),
            Wanted::Ended => Wanted::ENDED.contains(&state),
            Wanted::In(wanted) => wanted == state,
        }
    }

    /// Whether turns that are over are among them.
    fn has_ended(self) -> bool {
        Wanted::ENDED.iter().any(|state| self.has(state))
    }
}

/// `GET /v1/sessions/{id}/turns`
pub(in crate::edge) async fn list(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["state", "agent", "before", "limit"])?;
    let wanted = Wanted::of(&query)?;
    let agent = query.text("agent").map(AgentName::parse).transpose();
    let agent = agent.map_err(|why| Problem::new(&error::BAD_NAME, why.to_string()))?;
    let place = query.text("before").map(At::parse).transpose()?.unwrap_or(At::Now);
    let limit = query.number("limit", 1, limits::TURNS_PAGE_MAX as u64)?;
    let limit = limit.map_or(limits::TURNS_PAGE, |limit| limit as usize);
    let deadline = headers::deadline(&headers)?;
    let status = edge.sessions().status(&id, Freshness::Linearizable, deadline).await?;
    let status = exists(status)?;
    let of = |name: Option<&AgentName>| agent.is_none() || agent.as_ref() == name;
    let mut turns = Vec::new();
    let before = place.in_log(&status)?;
    if before.is_none() {
        let has = |turn: &&TurnStatus| wanted.has(turn.state.name()) && of(Some(&turn.agent));
        let mut open = status.turns.clone();
        edge.runtime.workers.mark_unserved(&id, &mut open).await;
        let now = edge.runtime.sessions.time_of(&id);
        let wanted = open.iter().rev().filter(has);
        turns.extend(wanted.map(|turn| Json::from(super::turn(turn, &open, now))));
    }
    let mut older = None;
    if wanted.has_ended() {
        let place = before.unwrap_or(status.tail.next());
        let has = |event: &Event| {
            ending(event).is_some_and(|(_, end)| wanted.has(state(end))) && of(event.agent.as_ref())
        };
        let mut log = Log::new(&edge, &id, status.incarnation, deadline);
        let ended = history::ended(&mut log, &status, place, limit, has);
        let (ended, next) = while_granted(&caller, ended).await?;
        turns.extend(ended.iter().map(|shown| rendered(&shown.event)));
        older = next.map(|serial| Cursor { incarnation: status.incarnation, serial }.to_string());
    }
    let body = head(&status)
        .with("more", older.is_some())
        .with("older", older.map_or(Json::Null, Json::from))
        .with("turns", turns);
    Ok(ready(&body))
}
