//! Reading the events of one session: what is there, and what comes.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::cursor::{self, Place};
use super::error::{self, Problem};
use super::name::Name;
use super::page::{self, Wait};
use super::query::Query;
use super::takeover::Takeover;
use super::{Edge, HangUp, attached, freshness, headers, live};
use crate::ids::SessionId;
use crate::limits;
use crate::runtime::{AttachError, Freshness, Reader, Start};

/// Stands for the header `last-event-id` where a client of EventSource can send none.
const SEEN: &str = "lastEventId";

/// How often it is asked whether a session exists that somebody waits for: at first, and later.
const ASK_AGAIN: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(800);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What is there.
    Present,
    LongPoll,
    Sse,
}

pub(super) async fn read(
    State(edge): State<Edge>,
    Name(id): Name,
    query: Query,
    headers: HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
) -> Result<Response, Problem> {
    let own = ["after", SEEN, "limit", "live", "read", "wait", "wait_ms"];
    let known = [&own[..], &attached::PARAMETERS];
    let query = query.only(&known.concat())?;
    let modes = [("sse", Mode::Sse), ("long-poll", Mode::LongPoll)];
    let mode = query.word("live", &modes)?.unwrap_or(Mode::Present);
    let limit = query.number("limit", 1, limits::PAGE_EVENTS_MAX as u64)?;
    let wait_ms = query.number("wait_ms", 0, limits::POLL_MS_MAX)?;
    let freshness = freshness(&query)?;
    if limit.is_some() && mode == Mode::Sse {
        return Err(Problem::new(&error::BAD_QUERY, "a live stream has no limit"));
    }
    if wait_ms.is_some() && mode != Mode::LongPoll {
        return Err(Problem::new(&error::BAD_QUERY, "wait_ms goes with live=long-poll"));
    }
    let waits = query.word("wait", &[("1", true), ("0", false)])?.unwrap_or(false);
    if waits && mode != Mode::Sse {
        return Err(Problem::new(&error::BAD_QUERY, "wait goes with live=sse"));
    }
    let mut asked = attached::Asked::parse(|name| query.text(name))
        .map_err(|why| Problem::new(&error::BAD_QUERY, why))?;
    if asked != attached::Asked::default() && mode != Mode::Sse {
        let detail = format!("{} go with live=sse", attached::PARAMETERS.join(", "));
        return Err(Problem::new(&error::BAD_QUERY, detail));
    }
    if asked.snapshot && query.text("after").is_some() {
        let detail = "a snapshot is of the present, and the stream goes on there: leave out after";
        return Err(Problem::new(&error::BAD_QUERY, detail));
    }
    // What a browser has seen is newer than the address it was given.
    let seen = headers::one(&headers, &headers::LAST_EVENT_ID)?.or(query.text(SEEN));
    let seen = seen.filter(|text| mode == Mode::Sse && !text.is_empty());
    // Who comes back has what the snapshot told, and goes on where it was.
    asked.snapshot &= seen.is_none();
    let now = asked.snapshot.then_some("now");
    let place = match cursor::place(seen.or(now).or(query.text("after"))) {
        // An EventSource never comes back from a refusal, and knows no other place.
        Err(_) if mode == Mode::Sse => cursor::UNKNOWN,
        place => place?,
    };
    let mut deadline = headers::deadline(&headers)?;
    let attach = |place: Place, until| edge.runtime.attach(&id, place.start, freshness, until);
    let mut found = attach(place, deadline).await;
    if waits && matches!(found, Err(AttachError::NotFound)) {
        // All of a session that is not there yet is still to come.
        let all = Place { start: Start::Beginning, ..place };
        let place = if place.start == Start::Tail && !asked.snapshot { all } else { place };
        found = tokio::select! {
            found = once_there(&edge, &id, place, freshness) => found,
            // It comes back, as from any broken connection.
            () = tokio::time::sleep(edge.settings.long_poll) => return Ok(HangUp.into_response()),
            () = edge.stop.cancelled() => return Ok(HangUp.into_response()),
        };
        deadline = headers::deadline(&headers)?;
    }
    if mode == Mode::Sse && matches!(found, Err(AttachError::Ahead { .. })) {
        // The log was longer when the reader saw it: it was restored, or is another one.
        found = attach(cursor::UNKNOWN, deadline).await;
    }
    let reader = match found {
        Ok(reader) => reader,
        // A status would end a browser's EventSource for good; a broken connection does not.
        Err(AttachError::Unavailable(_)) if mode == Mode::Sse => return Ok(HangUp.into_response()),
        Err(why) => return Err(why.into()),
    };
    let limit = limit.map_or(limits::PAGE_EVENTS, |limit| limit as usize);
    match mode {
        Mode::Sse => {
            let takeover = takeover.map(|Extension(takeover)| takeover);
            let telling = match attached::open(&edge, &id, reader, &asked, deadline).await {
                Ok(telling) => telling,
                Err(why) if why.is_passing() => return Ok(HangUp.into_response()),
                Err(why) => return Err(why),
            };
            Ok(live::response(&edge, &id, telling, place.has_seen_end, takeover).await)
        }
        Mode::Present => page::read(reader, limit, Wait::Present(deadline), &edge.stop).await,
        Mode::LongPoll => {
            let wait = wait_ms.map_or(edge.settings.long_poll, Duration::from_millis);
            let until = Instant::now() + wait;
            page::read(reader, limit, Wait::Event(until), &edge.stop).await
        }
    }
}

/// Attaches once the session exists: asks again, ever more rarely.
async fn once_there(
    edge: &Edge,
    id: &SessionId,
    place: Place,
    freshness: Freshness,
) -> Result<Reader, AttachError> {
    let mut pause = ASK_AGAIN.start;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_AGAIN.end);
        let until = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        match edge.runtime.attach(id, place.start, freshness, until).await {
            Err(AttachError::NotFound) => {}
            found => return found,
        }
    }
}
