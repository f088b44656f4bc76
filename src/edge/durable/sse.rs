//! A live read: what is there and what comes, each piece with where it ends (S7).
//!
//! It ends cleanly only after a `control` frame: where the stream is closed, and now and then, so that
//! caches in between can begin anew. In every other case the connection breaks. The body reads on
//! only when the connection has room (S10).

use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{FutureExt, stream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::live::BrokenOff;
use super::super::telling::Counted;
use super::super::{Edge, NO_BUFFERING, frame as native};
use super::STREAM_SSE_DATA_ENCODING;
use super::body::{Body, Shape};
use super::cursor::Cursors;
use super::follow::{Follow, Next};
use super::frame::{self, Standing};
use crate::auth::Ending;
use crate::limits;

/// How long one response goes on, in milliseconds; drawn at random, so that readers that came together
/// do not come back together.
const RECYCLE_MS: std::ops::Range<u64> = 50_000..70_000;

struct Sse {
    edge: Edge,
    follow: Follow,
    shape: Shape,
    cursors: Cursors,
    /// Delivered by the reader and not yet sent.
    held: Option<Next>,
    recycle_at: Instant,
    stage: Stage,
    stop: CancellationToken,
    ending: Ending,
    counted: Counted,
}

enum Stage {
    Following,
    /// A clean end.
    Ended,
}

pub(super) fn response(follow: Follow, cursors: Cursors, edge: &Edge, ending: Ending) -> Response {
    let shape = Shape::of(follow.status().config.content_type.as_ref());
    let life = Duration::from_millis(rand::random_range(RECYCLE_MS));
    let sse = Sse {
        edge: edge.clone(),
        follow,
        shape,
        cursors,
        held: None,
        recycle_at: Instant::now() + life,
        stage: Stage::Following,
        stop: edge.stop.clone(),
        ending,
        counted: Counted::new(&edge.metrics),
    };
    let following = stream::unfold(sse, |mut sse| async { Some((sse.next().await?, sse)) });
    let mut response = axum::body::Body::from_stream(following).into_response();
    let out = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store, no-transform"),
        (NO_BUFFERING, "no"),
    ] {
        out.insert(name, HeaderValue::from_static(value));
    }
    if shape == Shape::Bytes {
        out.insert(STREAM_SSE_DATA_ENCODING, HeaderValue::from_static("base64"));
    }
    response
}

impl Sse {
    /// Waits for the next bytes; none after the end.
    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if let Stage::Ended = self.stage {
            return None;
        }
        let next = match self.held.take() {
            Some(next) => next,
            None => {
                let heartbeat = Instant::now() + Duration::from_millis(limits::HEARTBEAT_MS);
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Some(Ok(self.parting())),
                    // The protocol has no frame for it: a client that comes back gets the reason.
                    _ = self.ending.came() => return Some(Err(BrokenOff)),
                    next = self.follow.next() => next,
                    () = sleep_until(heartbeat.min(self.recycle_at)) => {
                        let over = self.recycle_at <= Instant::now();
                        return Some(Ok(if over { self.parting() } else { native::HEARTBEAT }));
                    }
                }
            }
        };
        let mut out = Vec::new();
        match next {
            Next::Events(events) => {
                let mut body = Body::new(self.shape);
                for shown in &events {
                    body.push(&shown.event);
                }
                self.counted.delivered(body.count as u64);
                frame::data(&mut out, self.shape, &body.finish());
                let place = self.follow.offset();
                let standing = self.look_ahead();
                frame::control(&mut out, place, standing);
                if self.recycle_at <= Instant::now() {
                    self.stage = Stage::Ended;
                }
            }
            Next::CaughtUp => {
                let cursor = self.cursor();
                frame::control(&mut out, self.follow.offset(), Standing::UpToDate { cursor });
            }
            Next::End => {
                self.stage = Stage::Ended;
                frame::control(&mut out, self.follow.offset(), Standing::Closed);
            }
            Next::Lost(why) => {
                tracing::debug!(?why, "a stream breaks off");
                return Some(Err(BrokenOff));
            }
        }
        Some(Ok(out.into()))
    }

    /// How the reader stands after the events that it was just given, as far as that is known.
    fn look_ahead(&mut self) -> Standing {
        // After the ring of recent events a look would go to the disk, and be thrown away.
        let at_tail = self.follow.is_live() && self.follow.is_at_tail();
        let next = match at_tail || (!self.follow.is_live() && self.follow.is_near_tail()) {
            true => self.follow.next().now_or_never(),
            false => None,
        };
        match next {
            Some(Next::End) => {
                self.stage = Stage::Ended;
                Standing::Closed
            }
            Some(Next::CaughtUp) => Standing::UpToDate { cursor: self.cursor() },
            None if at_tail => Standing::UpToDate { cursor: self.cursor() },
            next => {
                self.held = next;
                Standing::Behind { cursor: self.cursor() }
            }
        }
    }

    /// The last frame of a response that another node goes on with.
    fn parting(&mut self) -> Bytes {
        self.stage = Stage::Ended;
        let mut out = Vec::new();
        let cursor = self.cursor();
        frame::control(&mut out, self.follow.offset(), Standing::Behind { cursor });
        out.into()
    }

    fn cursor(&mut self) -> String {
        self.cursors.at(self.edge.runtime.sessions.now())
    }
}
