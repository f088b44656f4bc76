//! Reading the events of one session: what is there, and what comes.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::cursor::{self, Beginning};
use super::error::{self, Problem};
use super::gate::{By, while_granted};
use super::history::{self, At, Log};
use super::name::Name;
use super::page::{self, Wait};
use super::people::exists;
use super::query::Query;
use super::takeover::Takeover;
use super::{Edge, HangUp, attached, freshness, headers, live};
use crate::auth::Caller;
use crate::edge::State;
use crate::ids::{Cursor, Serial, SessionId};
use crate::limits;
use crate::runtime::{AttachError, Freshness, Reader, Start};

/// Stands for the header `last-event-id` where a client of EventSource can send none.
pub(super) const SEEN: &str = "lastEventId";

/// How often it is checked whether a session exists that a reader waits for: at first, and later.
const ASK_AGAIN: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(800);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What is there.
    Present,
    LongPoll,
    Sse,
}

/// The parameters of a read.
pub(super) struct ReadRequest {
    mode: Mode,
    limit: usize,
    wait_ms: Option<u64>,
    /// Whether it waits for a session that does not exist yet.
    waits: bool,
    freshness: Freshness,
    /// What is wanted beside the events.
    wants: attached::AttachOptions,
    place: Beginning,
    /// Where else a page lies: it ends before a place, or begins after a serial of the present life.
    page: Option<PageAt>,
}

/// See [`ReadRequest::page`].
#[derive(Clone, Copy)]
enum PageAt {
    Before(At),
    After(Serial),
}

pub(super) async fn read(
    State(edge): State<Edge>,
    Name(id): Name,
    By(caller): By,
    query: Query,
    headers: HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
) -> Result<Response, Problem> {
    let mut request = parse(query, &headers)?;
    request.wants = request.wants.of(&caller, &id)?;
    while_granted(&caller, answer(&edge, &id, &caller, request, &headers, takeover)).await
}

async fn answer(
    edge: &Edge,
    id: &SessionId,
    caller: &Caller,
    request: ReadRequest,
    headers: &HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
) -> Result<Response, Problem> {
    let deadline = headers::deadline(headers)?;
    let mut request = request;
    match request.page {
        Some(PageAt::Before(at)) => return back(edge, id, &request, at, deadline).await,
        Some(PageAt::After(serial)) => {
            let status = edge.sessions().status(id, request.freshness, deadline).await?;
            let incarnation = exists(status)?.incarnation;
            request.place.start = Start::After(Cursor { incarnation, serial });
        }
        None => {}
    }
    let Some((reader, deadline)) = attach(edge, id, &request, deadline).await? else {
        return Ok(HangUp.into_response());
    };
    match request.mode {
        Mode::Sse => {
            let takeover = takeover.map(|Extension(takeover)| takeover);
            let telling = attached::open(edge, id, reader, &request.wants, deadline).await;
            match telling {
                Ok(telling) => {
                    let has_seen_end = request.place.has_seen_end;
                    let ending = caller.ending();
                    Ok(live::response(edge, id, telling, ending, has_seen_end, takeover).await)
                }
                Err(why) if why.is_passing() => Ok(HangUp.into_response()),
                Err(why) => Err(why),
            }
        }
        Mode::Present => {
            page::read(reader, request.limit, Wait::Present(deadline), &edge.stop).await
        }
        Mode::LongPoll => {
            let wait = request.wait_ms.map_or(edge.settings.long_poll, Duration::from_millis);
            let until = Instant::now() + wait;
            page::read(reader, request.limit, Wait::Event(until), &edge.stop).await
        }
    }
}

/// A page of what lies before a place.
async fn back(
    edge: &Edge,
    id: &SessionId,
    request: &ReadRequest,
    at: At,
    deadline: Instant,
) -> Result<Response, Problem> {
    let status = edge.sessions().status(id, request.freshness, deadline).await?;
    let status = exists(status)?;
    let before = at.in_log(&status)?.unwrap_or(status.tail.next());
    let log = Log::new(edge, id, status.incarnation, deadline);
    let mut log = log.reading(request.freshness);
    let page = history::before(&mut log, &status, before, request.limit).await?;
    Ok(page.response(&status))
}

pub(super) fn parse(query: Query, headers: &HeaderMap) -> Result<ReadRequest, Problem> {
    let bad = |detail: &str| Err(Problem::new(&error::BAD_QUERY, detail));
    let own = ["after", "before", SEEN, "limit", "live", "read", "wait", "wait_ms"];
    let known = [&own[..], &attached::PARAMETERS];
    let query = query.only(&known.concat())?;
    let modes = [("sse", Mode::Sse), ("long-poll", Mode::LongPoll)];
    let mode = query.word("live", &modes)?.unwrap_or(Mode::Present);
    let limit = query.number("limit", 1, limits::PAGE_EVENTS_MAX as u64)?;
    let wait_ms = query.number("wait_ms", 0, limits::POLL_MS_MAX)?;
    let waits = query.word("wait", &[("1", true), ("0", false)])?.unwrap_or(false);
    let mut wants = attached::AttachOptions::parse(|name| query.text(name))
        .map_err(|why| Problem::new(&error::BAD_QUERY, why))?;
    if limit.is_some() && mode == Mode::Sse {
        return bad("a live stream has no limit");
    }
    if wait_ms.is_some() && mode != Mode::LongPoll {
        return bad("wait_ms goes with live=long-poll");
    }
    if waits && mode != Mode::Sse {
        return bad("wait goes with live=sse");
    }
    if wants != attached::AttachOptions::default() && mode != Mode::Sse {
        return bad(&format!("{} go with live=sse", attached::PARAMETERS.join(", ")));
    }
    let before = query.text("before").map(At::parse).transpose()?;
    if before.is_some() && (mode != Mode::Present || query.text("after").is_some()) {
        return bad("a page before a place is of what is there: leave out live and after");
    }
    if wants.snapshot && query.text("after").is_some() {
        return bad("a snapshot is of the present, and the stream goes on there: leave out after");
    }
    // What a browser has seen is newer than the address it was given.
    let seen = headers::one(headers, &headers::LAST_EVENT_ID)?.or(query.text(SEEN));
    let seen = seen.filter(|text| mode == Mode::Sse && !text.is_empty());
    // A client that comes back has what was in the snapshot, and goes on where it was.
    wants.snapshot &= seen.is_none();
    let now = wants.snapshot.then_some("now");
    let after = query.text("after").filter(|_| mode != Mode::Sse).and_then(history::event_place);
    let page = before.map(PageAt::Before).or(after.map(PageAt::After));
    let from = if page.is_some() { None } else { query.text("after") };
    let place = match cursor::place(seen.or(now).or(from)) {
        // An EventSource never comes back from a refusal, and knows no other place.
        Err(_) if mode == Mode::Sse => cursor::UNKNOWN,
        place => place?,
    };
    let limit = limit.map_or(limits::PAGE_EVENTS, |limit| limit as usize);
    let freshness = freshness(&query)?;
    Ok(ReadRequest { mode, limit, wait_ms, waits, freshness, wants, place, page })
}

/// Attaches a reader, and returns until when the rest may take; none where a browser is to come back instead.
async fn attach(
    edge: &Edge,
    id: &SessionId,
    request: &ReadRequest,
    deadline: Instant,
) -> Result<Option<(Reader, Instant)>, Problem> {
    let ReadRequest { mode, freshness, place, .. } = *request;
    let attach =
        |place: Beginning, until| edge.sessions().attach(id, place.start, freshness, until);
    let (mut found, mut deadline) = (attach(place, deadline).await, deadline);
    if request.waits && matches!(found, Err(AttachError::NotFound)) {
        // All of a session that is not there yet is still to come.
        let all = Beginning { start: Start::Beginning, ..place };
        let from_now = place.start == Start::Tail && !request.wants.snapshot;
        let place = if from_now { all } else { place };
        found = tokio::select! {
            found = once_there(edge, id, place, freshness) => found,
            // It comes back, as from any broken connection.
            () = tokio::time::sleep(edge.settings.long_poll) => return Ok(None),
            () = edge.stop.cancelled() => return Ok(None),
        };
        deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
    }
    if mode == Mode::Sse && matches!(found, Err(AttachError::Ahead { .. })) {
        // The log was longer when the reader saw it: it was restored, or is another one.
        found = attach(cursor::UNKNOWN, deadline).await;
    }
    match found {
        Ok(reader) => Ok(Some((reader, deadline))),
        // A status would end a browser's EventSource for good; a broken connection does not.
        Err(AttachError::Unavailable(_)) if mode == Mode::Sse => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// Attaches once the session exists: checks again, ever more rarely.
async fn once_there(
    edge: &Edge,
    id: &SessionId,
    place: Beginning,
    freshness: Freshness,
) -> Result<Reader, AttachError> {
    let mut pause = ASK_AGAIN.start;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_AGAIN.end);
        let until = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        match edge.sessions().attach(id, place.start, freshness, until).await {
            Err(AttachError::NotFound) => {}
            found => return found,
        }
    }
}
