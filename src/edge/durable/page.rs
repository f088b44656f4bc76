//! Reads that end: a bounded chunk of what is there, at once or after a wait for news.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::super::Edge;
use super::super::error::{self, Problem};
use super::body::{Body, Shape};
use super::cursor::Cursors;
use super::follow::{Follow, Next};
use super::{STREAM_CLOSED, STREAM_CURSOR, STREAM_UP_TO_DATE, TRUE, next_offset, type_of};
use crate::ids::Incarnation;
use crate::limits;
use crate::offset::Offset;
use crate::session::ContentType;

/// How long the end of a closed stream may take to follow the last event, in milliseconds.
const END_MS: u64 = 5;
/// Answers about the past may be kept a while; the tag shows whether they still hold.
const CACHING: &str = "private, max-age=60, stale-while-revalidate=300";

/// A chunk as it fills.
struct Page {
    incarnation: Incarnation,
    content_type: Option<ContentType>,
    start: Offset,
    /// After the last event of the chunk.
    end: Offset,
    body: Body,
    up_to_date: bool,
    closed: bool,
}

/// What is there now.
pub(super) async fn catch_up(
    mut follow: Follow,
    headers: &HeaderMap,
    deadline: Instant,
) -> Result<Response, Problem> {
    let mut page = Page::new(&follow);
    loop {
        let next = timeout_at(deadline, follow.next()).await;
        let next = next.map_err(|_| late())?;
        if page.take(next)? {
            break;
        }
    }
    page.look_behind(&mut follow).await;
    Ok(page.tagged(headers))
}

/// What is there, or else the first that comes until the wait is over.
pub(super) async fn long_poll(
    mut follow: Follow,
    mut cursors: Cursors,
    edge: &Edge,
) -> Result<Response, Problem> {
    let mut page = Page::new(&follow);
    let until = Instant::now() + edge.settings.long_poll;
    loop {
        let next = tokio::select! {
            biased;
            next = timeout_at(until, follow.next()) => next,
            // The client repeats its request, and another node answers.
            () = edge.stop.cancelled() => break,
        };
        let Ok(next) = next else {
            if !page.up_to_date && page.body.count == 0 {
                return Err(late());
            }
            break;
        };
        let waits = matches!(next, Next::CaughtUp) && page.body.count == 0;
        if page.take(next)? && !waits {
            break;
        }
        if follow.is_live() && 0 < page.body.count {
            page.up_to_date = follow.is_at_tail();
            break;
        }
    }
    page.look_behind(&mut follow).await;
    Ok(page.polled(&cursors.at(edge.runtime.sessions.now())))
}

fn late() -> Problem {
    Problem::new(&error::NO_QUORUM, "the log is not here in time; try again")
}

impl Page {
    fn new(follow: &Follow) -> Page {
        let status = follow.status();
        let content_type = status.config.content_type.clone();
        Page {
            incarnation: status.incarnation,
            start: follow.offset(),
            end: follow.offset(),
            body: Body::new(Shape::of(content_type.as_ref())),
            content_type,
            up_to_date: false,
            closed: false,
        }
    }

    /// Takes what fits, and returns whether the chunk is finished. Where it ends depends on the log alone,
    /// so that all nodes cut it in the same place.
    fn take(&mut self, next: Next) -> Result<bool, Problem> {
        match next {
            Next::Events(events) => {
                for shown in events {
                    if self.is_full() {
                        self.up_to_date = false;
                        return Ok(true);
                    }
                    if self.body.count == 0 {
                        // Retention may have taken what lay in front of it.
                        self.start.serial = crate::ids::Serial(shown.event.serial.0 - 1);
                    }
                    self.end.serial = shown.event.serial;
                    self.body.push(&shown.event);
                }
                Ok(self.is_full())
            }
            Next::CaughtUp => {
                self.up_to_date = true;
                Ok(true)
            }
            Next::End => {
                (self.up_to_date, self.closed) = (true, true);
                Ok(true)
            }
            Next::Lost(why) if self.body.count == 0 => Err(why),
            Next::Lost(_) => {
                self.up_to_date = false;
                Ok(true)
            }
        }
    }

    fn is_full(&self) -> bool {
        limits::PAGE_BYTES <= self.body.payload || limits::PAGE_EVENTS_MAX <= self.body.count
    }

    /// Whether the stream ends, or is at its tail, right after the chunk.
    async fn look_behind(&mut self, follow: &mut Follow) {
        let worth_it = if follow.is_live() { follow.is_at_tail() } else { follow.is_near_tail() };
        if self.closed || follow.offset() != self.end || !worth_it {
            return;
        }
        let next = match follow.next().now_or_never() {
            Some(next) => Some(next),
            None if follow.is_closed() => {
                let wait = Instant::now() + Duration::from_millis(END_MS);
                timeout_at(wait, follow.next()).await.ok()
            }
            None => None,
        };
        match next {
            Some(Next::End) => (self.up_to_date, self.closed) = (true, true),
            Some(Next::CaughtUp) => self.up_to_date = true,
            Some(Next::Events(_)) => self.up_to_date = false,
            Some(Next::Lost(_)) | None => {}
        }
    }

    fn response(self, status: StatusCode) -> Response {
        let mut response = match status {
            StatusCode::OK => (status, self.body.finish()).into_response(),
            _ => status.into_response(),
        };
        let out = response.headers_mut();
        if status == StatusCode::OK {
            out.insert(header::CONTENT_TYPE, type_of(self.content_type.as_ref()));
        }
        let (name, offset) = next_offset(self.end.root, self.end.serial);
        out.insert(name, offset);
        if self.up_to_date {
            out.insert(STREAM_UP_TO_DATE, TRUE);
        }
        if self.closed {
            out.insert(STREAM_CLOSED, TRUE);
        }
        response
    }

    /// The tag of the chunk: the same on every node for the same bytes.
    fn tag(&self) -> String {
        let (incarnation, root) = (self.incarnation.0, self.start.root.0);
        let closed = if self.closed { "-c" } else { "" };
        format!("\"{incarnation}-{root}-{}-{}{closed}\"", self.start.serial.0, self.end.serial.0)
    }

    fn tagged(self, headers: &HeaderMap) -> Response {
        let tag = self.tag();
        let known = is_known(headers, &tag);
        let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = self.response(status);
        let out = response.headers_mut();
        out.insert(header::ETAG, HeaderValue::from_str(&tag).expect("a tag is visible ASCII"));
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHING));
        response
    }

    fn polled(self, cursor: &str) -> Response {
        let empty = self.body.count == 0;
        let status = if empty { StatusCode::NO_CONTENT } else { StatusCode::OK };
        let mut response = self.response(status);
        let cursor = HeaderValue::from_str(cursor).expect("a cursor is digits");
        response.headers_mut().insert(STREAM_CURSOR, cursor);
        response
    }
}

/// Whether the client has an answer with this tag (RFC 9110, 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}
