//! Bodies of requests: bounded in size, in time, and together in memory (S10).

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::Edge;
use super::error::{self, Problem};
use super::headers;
use super::query::Query;
use super::room::{self, Hold};
use crate::limits;

/// The bytes of a body, and the right to hold them.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Hold,
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
        // A client that waits for `100 Continue` has not begun to send.
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body).await;
        }
        return Err(too_large(limit));
    }
    let mut room = edge.room.hold();
    let bytes = collect(body, limit, announced.unwrap_or(limit), &mut room).await?;
    if announced.is_some_and(|announced| announced != bytes.len()) {
        // Over HTTP/2 a body that is given up in peace looks like one that has ended.
        return Err(Problem::new(&error::BAD_BODY, "the body is shorter than was announced"));
    }
    Ok(Held { bytes, _room: room })
}

/// What most requests begin with: no query, a time until which they wait, and a small body.
///
/// # Errors
/// The request is malformed, or its body is not taken.
pub(super) async fn small(
    edge: &Edge,
    query: Query,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Held, Instant), Problem> {
    query.only(&[])?;
    let deadline = headers::deadline(headers)?;
    Ok((read(edge, headers, body, limits::HEAD_BYTES).await?, deadline))
}

/// Reads on for a while and keeps nothing: a client that is still sending when it is answered and cut
/// off may never read the answer.
pub(super) async fn discard(body: &mut Body) {
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

/// Takes what comes, and room for it; `most` is what may be expected in all.
async fn collect(
    mut body: Body,
    limit: usize,
    most: usize,
    room: &mut Hold,
) -> Result<Bytes, Problem> {
    let begun = Instant::now();
    let mut all = BytesMut::new();
    loop {
        let idle = Instant::now() + Duration::from_millis(limits::BODY_IDLE_MS);
        let frame = timeout_at(idle.min(begun + patience(all.len())), body.frame())
            .await
            .map_err(|_| Problem::new(&error::SLOW_BODY, "the body did not arrive in time"))?;
        let Some(frame) = frame else { return Ok(all.freeze()) };
        let frame = frame.map_err(|_| broken_off())?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = all.len() + data.len();
        if limit < bytes {
            discard(&mut body).await;
            return Err(too_large(limit));
        }
        if all.capacity() < bytes {
            let ample = bytes.max(most.min(2 * all.capacity()));
            let size = if room.reach(ample) { ample } else { bytes };
            if !room.reach(size) {
                discard(&mut body).await;
                return Err(room::crowded());
            }
            all.reserve(size - all.len());
        }
        all.extend_from_slice(&data);
    }
}

/// The time that a body may take of which so much has come: whoever sends slowly holds room for little.
pub(super) fn patience(bytes: usize) -> Duration {
    let earned = bytes as u64 * 1000 / limits::BODY_RATE_BYTES;
    Duration::from_millis((limits::BODY_IDLE_MS + earned).min(limits::BODY_MS))
}

fn broken_off() -> Problem {
    Problem::new(&error::BAD_BODY, "the body broke off or is broken")
}

fn too_large(limit: usize) -> Problem {
    Problem::new(&error::BODY_TOO_LARGE, format!("the limit is {limit} bytes")).with("limit", limit)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream;
    use tokio::time::sleep;

    use super::super::room::Room;
    use super::*;
    use crate::telemetry::Metrics;

    /// What comes of a body whose pieces come after pauses, with room for `space` bytes and an eighth more.
    async fn check(
        space: usize,
        announced: usize,
        pieces: Vec<(u64, usize)>,
    ) -> Result<usize, &'static str> {
        let room = Room::new(space + space / 7, &Arc::new(Metrics::default()));
        let body = Body::from_stream(stream::unfold(pieces.into_iter(), |mut pieces| async move {
            let (pause_ms, bytes) = pieces.next()?;
            sleep(Duration::from_millis(pause_ms)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes])), pieces))
        }));
        let got = collect(body, limits::BODY_BYTES, announced, &mut room.hold()).await;
        got.map(|bytes| bytes.len()).map_err(|why| why.kind().code)
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_taken_as_bytes_come_and_not_as_they_are_announced() {
        assert_eq!(check(112 << 10, limits::BODY_BYTES, vec![(0, 100)]).await, Ok(100));
        assert_eq!(check(112 << 10, 112 << 10, vec![(0, 1 << 10); 112]).await, Ok(112 << 10));
        assert_eq!(check(112 << 10, 1 << 20, vec![(0, 1 << 10); 1024]).await, Err("overloaded"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_slowly_is_not_waited_for() {
        let trickle = |pause_ms, bytes| check(1 << 20, 1 << 20, vec![(pause_ms, bytes); 64]);
        assert_eq!(trickle(1_000, 1).await, Err("slow_body"));
        assert_eq!(trickle(11_000, 1 << 10).await, Err("slow_body"));
        assert_eq!(trickle(900, 1 << 10).await, Ok(64 << 10));
        // However much it is.
        assert_eq!(trickle(1_000, 1 << 14).await, Err("slow_body"));
    }
}
