//! Bodies of requests: bounded in size, in time, and together in memory (S10).

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Edge;
use super::error::{self, Problem};
use super::headers;
use crate::limits;

/// The bytes of a body, and the right to hold them.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Unit in which room for bodies is counted.
const ROOM_BYTES: usize = 1 << 10;

/// Room for all bodies that this node holds at once.
pub(super) fn room() -> Semaphore {
    Semaphore::new(limits::BODIES_BYTES / ROOM_BYTES)
}

/// Takes the right to hold so many bytes.
pub(super) fn room_for(edge: &Edge, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let units = u32::try_from(bytes.div_ceil(ROOM_BYTES)).expect("a body is far smaller");
    edge.bodies.clone().try_acquire_many_owned(units).map_err(|_| {
        Problem::new(&error::OVERLOADED, "too many bodies wait on this node; try later")
    })
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(
    edge: &Edge,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Held, Problem> {
    headers::plain_body(headers)?;
    let announced: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    if announced.is_some_and(|bytes| limit < bytes) {
        // Whoever asks first has not begun to send.
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body).await;
        }
        return Err(too_large(limit));
    }
    let room = room_for(edge, announced.unwrap_or(limit))?;
    let bytes = collect(body, limit, announced.unwrap_or(0)).await?;
    if announced.is_some_and(|announced| announced != bytes.len()) {
        // Over HTTP/2 a body that is given up in peace looks like one that has ended.
        return Err(Problem::new(&error::BAD_BODY, "the body is shorter than was announced"));
    }
    Ok(Held { bytes, _room: room })
}

/// Reads on for a while and keeps nothing: a client that is still sending when it is answered and cut
/// off may never read the answer.
async fn discard(body: &mut Body) {
    let end = Instant::now() + Duration::from_millis(limits::DISCARD_MS);
    let mut left = limits::DISCARD_BYTES;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if left < bytes {
            return;
        }
        left -= bytes;
    }
}

async fn collect(mut body: Body, limit: usize, expected: usize) -> Result<Bytes, Problem> {
    let end = Instant::now() + Duration::from_millis(limits::BODY_MS);
    let mut all = BytesMut::with_capacity(expected);
    loop {
        let idle = Instant::now() + Duration::from_millis(limits::BODY_IDLE_MS);
        let frame = timeout_at(idle.min(end), body.frame())
            .await
            .map_err(|_| Problem::new(&error::SLOW_BODY, "the body did not arrive in time"))?;
        let Some(frame) = frame else { return Ok(all.freeze()) };
        let frame = frame.map_err(|_| broken_off())?;
        let Ok(data) = frame.into_data() else { continue };
        if limit - all.len() < data.len() {
            discard(&mut body).await;
            return Err(too_large(limit));
        }
        all.extend_from_slice(&data);
    }
}

fn broken_off() -> Problem {
    Problem::new(&error::BAD_BODY, "the body broke off or is broken")
}

fn too_large(limit: usize) -> Problem {
    Problem::new(&error::BODY_TOO_LARGE, format!("the limit is {limit} bytes")).with("limit", limit)
}
