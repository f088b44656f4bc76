//! A live read: one response body that follows a session (S7).
//!
//! It ends cleanly only behind `end` and `gone`. In every other case the connection breaks, because
//! clients take a clean end for the end of the story. The body asks the reader for more only when the
//! connection has room, so a slow client costs one delivery and no more (S10). On HTTP/1.1 the
//! connection then serves this stream alone, see [`super::handover`].

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::cursor::{self, END_MARK};
use super::handover::Handover;
use super::{Edge, frame};
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::limits;
use crate::runtime::{Delivery, Reader, Shown};
use crate::telemetry::Metrics;

/// Breaks a connection, so that the client knows that the stream did not end.
#[derive(Debug, thiserror::Error)]
#[error("the stream breaks off here")]
pub(super) struct BrokenOff;

/// How long a frame behind which the connection breaks gets to leave, in milliseconds.
const PARTING_MS: u64 = 100;
/// How long a reader that has seen the end may take to see it again, in milliseconds.
const END_AGAIN_MS: u64 = 200;
/// Bounds of the wait that clients are asked for before they come back, in milliseconds.
const RETRY_MS: std::ops::Range<u64> = 500..1500;

/// A stream and what it has to say next.
pub(super) struct Live {
    reader: Reader,
    /// Delivered by the reader and not yet sent.
    next: Option<Delivery>,
    backlog: vec::IntoIter<Arc<Shown>>,
    incarnation: Incarnation,
    stage: Stage,
    stop: CancellationToken,
    counted: Counted,
}

enum Stage {
    Following,
    /// Nothing follows; a clean end.
    Ended,
    /// Something would follow, but not here.
    BreakingOff,
}

/// Counts a reader while it lives.
pub(super) struct Counted(Arc<Metrics>);

impl Counted {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Counted {
        metrics.readers.inc();
        Counted(metrics.clone())
    }

    /// Counts events that it was handed.
    pub(super) fn delivered(&self, count: u64) {
        self.0.delivered_events.inc_by(count);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.readers.dec();
    }
}

/// The response that follows a session. One that `has_seen_end` and comes back is told to stay away.
/// Where the connection can be had, it leaves hyper behind the opening.
pub(super) async fn response(
    edge: &Edge,
    id: &SessionId,
    mut reader: Reader,
    has_seen_end: bool,
    handover: Option<Arc<Handover>>,
) -> Response {
    let at = reader.cursor();
    let opening = opening(id, &reader);
    let next = if has_seen_end { soon(&mut reader).await } else { None };
    if let Some(Delivery::End { .. }) = next {
        // The one answer upon which an EventSource does not come back.
        return StatusCode::NO_CONTENT.into_response();
    }
    let live = Live {
        reader,
        next,
        backlog: Vec::new().into_iter(),
        incarnation: at.incarnation,
        stage: Stage::Following,
        stop: edge.stop.clone(),
        counted: Counted::new(&edge.metrics),
    };
    let body = match handover {
        Some(handover) => handover.body(opening, live),
        None => {
            let following =
                stream::unfold(live, |mut live| async { Some((live.next().await?, live)) });
            Body::from_stream(stream::once(async { Ok(opening) }).chain(following))
        }
    };
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (super::NO_BUFFERING, "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What the reader gets without having to wait for anyone to write.
async fn soon(reader: &mut Reader) -> Option<Delivery> {
    let wait = Duration::from_millis(END_AGAIN_MS);
    let first = timeout(wait, reader.next()).await.ok()?;
    let Delivery::CaughtUp { .. } = first else { return Some(first) };
    match timeout(wait, reader.next()).await {
        Ok(second) => Some(second),
        Err(_) => Some(first),
    }
}

fn opening(id: &SessionId, reader: &Reader) -> Bytes {
    let at = reader.cursor();
    let attached = json!({
        "session": id.as_str(),
        "incarnation": at.incarnation.0,
        "cursor": at.to_string(),
        "tail": reader.status().tail.0,
        "closed": reader.is_closed(),
    });
    let mut out = BytesMut::from(&*frame::opening(rand::random_range(RETRY_MS)));
    out.extend_from_slice(&frame::control("attached", Some(&at.to_string()), &attached));
    out.freeze()
}

impl Live {
    /// Waits for the next bytes; none behind the end. An error is the last that is said.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        match self.stage {
            Stage::Following => Some(self.follow().await.ok_or(BrokenOff)),
            Stage::Ended => None,
            Stage::BreakingOff => {
                sleep(Duration::from_millis(PARTING_MS)).await;
                Some(Err(BrokenOff))
            }
        }
    }

    /// The next bytes of the log; none where the node stops.
    async fn follow(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.take_backlog() {
                return Some(bytes);
            }
            let delivery = match self.next.take() {
                Some(delivery) => delivery,
                None => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return None,
                    delivery = self.reader.next() => delivery,
                    () = sleep(Duration::from_millis(limits::HEARTBEAT_MS)) => {
                        return Some(frame::HEARTBEAT);
                    }
                },
            };
            if let Some(bytes) = self.show(delivery) {
                return Some(bytes);
            }
        }
    }

    /// As many frames as the connection should get at once. One alone is not copied.
    fn take_backlog(&mut self) -> Option<Bytes> {
        let first = self.backlog.next()?;
        let mut count = 1;
        let first = frame::event(&first, self.incarnation).clone();
        let mut all = BytesMut::new();
        while let Some(shown) = self.backlog.as_slice().first() {
            let bytes = frame::event(shown, self.incarnation);
            if limits::LIVE_BYTES < first.len().max(all.len()) + bytes.len() {
                break;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(bytes);
            count += 1;
            self.backlog.next();
        }
        self.counted.delivered(count);
        Some(if all.is_empty() { first } else { all.freeze() })
    }

    /// The frame of a delivery that is no event; events go to the backlog.
    fn show(&mut self, delivery: Delivery) -> Option<Bytes> {
        let incarnation = self.reader.cursor().incarnation;
        self.incarnation = incarnation;
        let frame = match delivery {
            Delivery::Events(events) => {
                self.backlog = events.into_iter();
                return None;
            }
            Delivery::CaughtUp { at } => {
                let at = at.to_string();
                frame::control("caught-up", Some(&at), &json!({ "cursor": at }))
            }
            Delivery::Gap { first } => {
                let at = Cursor { incarnation, serial: cursor::before(first) };
                frame::control("gap", Some(&at.to_string()), &json!({ "first": first.0 }))
            }
            Delivery::Reset { incarnation } => {
                self.incarnation = incarnation;
                let at = Cursor { incarnation, serial: Serial::ZERO };
                let data = json!({ "incarnation": incarnation.0 });
                frame::control("reset", Some(&at.to_string()), &data)
            }
            Delivery::End { at } => {
                self.stage = Stage::Ended;
                let id = format!("{at}{END_MARK}");
                frame::control("end", Some(&id), &json!({ "cursor": at.to_string() }))
            }
            Delivery::Gone => {
                self.stage = Stage::Ended;
                frame::control("gone", None, &json!({}))
            }
            Delivery::Detached { reason } => {
                self.stage = Stage::BreakingOff;
                frame::control("detached", None, &json!({ "reason": reason }))
            }
        };
        Some(frame)
    }
}
