//! A live read: one response body that follows a session (S7).
//!
//! It ends cleanly only after `end` and `deleted`. In every other case the connection breaks, because
//! clients take a clean end for the end of the log. The body requests more of the reader only when the
//! connection has room, so a slow client costs one delivery and no more (S10). On HTTP/1.1 the
//! connection then serves this stream alone, see [`super::takeover`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cursor::END_MARK;
use super::takeover::Takeover;
use super::telling::{Control, Stage, Telling};
use super::{Edge, frame};
use crate::auth::Ending;
use crate::ids::SessionId;
use crate::limits;

/// Breaks a connection, so that the client knows that the stream did not end.
#[derive(Debug, thiserror::Error)]
#[error("the stream breaks off here")]
pub(super) struct BrokenOff;

/// How long a frame after which the connection breaks gets to leave, in milliseconds.
pub(super) const PARTING_MS: u64 = 100;
/// Bounds of the wait that clients are to keep before they come back, in milliseconds.
const RETRY_MS: std::ops::Range<u64> = 500..1500;

/// A stream and what it has to send next.
pub(super) struct EventStream {
    telling: Telling,
    /// When its reader may read no more.
    ending: Ending,
    stop: CancellationToken,
}

/// The response that follows a session. One that `has_seen_end` and comes back is answered that it is to stay away.
/// Where the connection can be had, it leaves hyper after the opening.
pub(super) async fn response(
    edge: &Edge,
    id: &SessionId,
    mut telling: Telling,
    ending: Ending,
    has_seen_end: bool,
    takeover: Option<Arc<Takeover>>,
) -> Response {
    let opening = opening(telling.attached(id));
    if has_seen_end && telling.ends_soon().await {
        // The one answer upon which an EventSource does not come back.
        return StatusCode::NO_CONTENT.into_response();
    }
    let live = EventStream { telling, ending, stop: edge.stop.clone() };
    let body = match takeover {
        Some(takeover) => takeover.body(opening, live),
        None => {
            let following =
                stream::unfold(live, |mut live| async { Some((live.next().await?, live)) });
            Body::from_stream(stream::once(async { Ok(opening) }).chain(following))
        }
    };
    streamed(body)
}

/// A response whose body is server-sent events.
pub(super) fn streamed(body: Body) -> Response {
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

/// What a stream begins with.
pub(super) fn beginning() -> Bytes {
    frame::opening(rand::random_range(RETRY_MS))
}

fn opening(attached: Control) -> Bytes {
    let mut out = BytesMut::from(&*beginning());
    out.extend_from_slice(&rendered(attached));
    out.freeze()
}

fn rendered(frames: Control) -> Bytes {
    let mark = if frames.name == "end" { END_MARK } else { "" };
    let id = frames.cursor.map(|at| format!("{at}{mark}"));
    frame::control(frames.name, id.as_deref(), &frames.data)
}

impl EventStream {
    /// Waits for the next bytes; none after the end. An error is the last item.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        match self.telling.stage() {
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
            let frames = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                ended = self.ending.came() => {
                    let data = json!({ "reason": ended.code() }).into();
                    let frames = Control { name: "detached", cursor: None, data };
                    self.telling.break_off();
                    return Some(rendered(frames));
                }
                frames = self.telling.next() => frames,
                () = sleep(Duration::from_millis(limits::HEARTBEAT_MS)) => {
                    return Some(frame::HEARTBEAT);
                }
            };
            if let Some(frames) = frames {
                return Some(rendered(frames));
            }
        }
    }

    /// As many frames as the connection should get at once. One alone is not copied.
    fn take_backlog(&mut self) -> Option<Bytes> {
        let first = self.telling.take()?;
        let incarnation = self.telling.incarnation();
        let first = frame::event(&first, incarnation).into_owned();
        let mut all = BytesMut::new();
        while let Some(shown) = self.telling.peek() {
            let bytes = frame::event(shown, incarnation);
            if limits::LIVE_BYTES < first.len().max(all.len()) + bytes.len() {
                break;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&bytes);
            self.telling.take();
        }
        Some(if all.is_empty() { first } else { all.freeze() })
    }
}
