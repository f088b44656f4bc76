//! What is answered and not yet taken: it holds room, and an HTTP/2 client that does not take it is
//! cut (S10).
//!
//! On HTTP/1.1 a client that does not read stops the connection's writes, which
//! [`super::connection`] sees. On HTTP/2 a client may read the connection and yet give no credit
//! to a stream, and what the stream holds would be held for ever.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::error::Problem;
use super::room::{Hold, Room};
use crate::limits;

/// Breaks an answer for which there is no room any more.
#[derive(Debug, thiserror::Error)]
#[error("there is no room for more of this answer")]
struct NoRoom;

/// An answer whose large pieces hold room until they are taken.
struct Roomy {
    inner: Body,
    room: Arc<Room>,
    /// For the next piece, where it is known.
    hold: Option<Hold>,
}

/// Bytes, and what is dropped with them.
struct With<T> {
    bytes: Bytes,
    _with: T,
}

impl<T> AsRef<[u8]> for With<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn with<T: Send + 'static>(bytes: Bytes, with: T) -> Bytes {
    Bytes::from_owner(With { bytes, _with: with })
}

/// Takes room for an answer that changed nothing, where it is large.
///
/// # Errors
/// There is none.
pub(super) fn roomy(room: &Arc<Room>, response: Response) -> Result<Response, Problem> {
    let known = HttpBody::size_hint(response.body()).exact().map(|bytes| bytes as usize);
    if known.is_some_and(|bytes| bytes <= limits::TRANSIT_SMALL_BYTES) {
        return Ok(response);
    }
    let hold = known.map(|bytes| room.hold_for(bytes)).transpose()?;
    Ok(response.map(|inner| Body::new(Roomy { inner, room: room.clone(), hold })))
}

impl HttpBody for Roomy {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes <= limits::TRANSIT_SMALL_BYTES {
            return Poll::Ready(Some(Ok(frame)));
        }
        let hold = self.hold.take().map_or_else(|| self.room.hold_for(bytes), Ok);
        Poll::Ready(Some(match hold {
            Ok(hold) => Ok(frame.map_data(|data| with(data, hold))),
            Err(_) => Err(axum::Error::new(NoRoom)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What the streams of one connection hold and since when.
#[derive(Default)]
pub(super) struct Untaken(Mutex<Since>);

#[derive(Default)]
struct Since {
    number: u64,
    all: BTreeMap<u64, Instant>,
}

/// Something that is not taken yet.
struct Waiting {
    of: Arc<Untaken>,
    number: u64,
}

impl Untaken {
    fn add(self: &Arc<Untaken>) -> Waiting {
        let mut since = self.since();
        since.number += 1;
        let number = since.number;
        since.all.insert(number, Instant::now());
        Waiting { of: self.clone(), number }
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.0.lock().expect("no panic happens under this lock")
    }

    /// Resolves when something was not taken for too long.
    pub(super) async fn stalled(&self) {
        let patience = Duration::from_millis(limits::STALL_MS);
        loop {
            // Numbers and times grow together.
            let oldest = self.since().all.first_key_value().map(|(_, at)| *at);
            let now = Instant::now();
            match oldest {
                Some(at) if at + patience <= now => return,
                Some(at) => sleep_until(at + patience).await,
                None => sleep_until(now + patience).await,
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of.since().all.remove(&self.number);
    }
}

/// An answer on a stream, in pieces that a slow client takes in time.
struct Streamed {
    inner: Body,
    untaken: Arc<Untaken>,
    /// While the client gives no credit for more.
    waiting: Option<Waiting>,
    /// The rest of a large piece.
    rest: Bytes,
}

/// Watches whether an answer is taken.
pub(super) fn watched(untaken: &Arc<Untaken>, inner: Body) -> Body {
    if inner.is_end_stream() {
        return inner;
    }
    let waiting = Some(untaken.add());
    Body::new(Streamed { inner, untaken: untaken.clone(), waiting, rest: Bytes::new() })
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // This is polled only while the client gives credit.
        self.waiting = None;
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(why)) => return Poll::Ready(Some(Err(why))),
                None => return Poll::Ready(None),
            }
        }
        let size = self.rest.len().min(limits::LIVE_BYTES);
        let piece = self.rest.split_to(size);
        let piece = with(piece, self.untaken.add());
        self.waiting = Some(self.untaken.add());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use http_body_util::BodyExt;

    use super::*;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn an_answer_holds_room_until_its_bytes_are_gone() {
        let metrics = Arc::new(Metrics::default());
        let room = Room::new(128 << 10, &metrics);
        let answer = |bytes: usize| roomy(&room, Response::new(Body::from(vec![b'x'; bytes])));
        let large = answer(100 << 10).unwrap();
        assert_eq!(HttpBody::size_hint(large.body()).exact(), Some(100 << 10));
        assert!(answer(100 << 10).is_err());
        assert!(answer(limits::TRANSIT_SMALL_BYTES).is_ok());
        let mut body = large.into_body();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!((piece.len(), metrics.transit_bytes.get()), (100 << 10, 100 << 10));
        drop(piece);
        assert_eq!(metrics.transit_bytes.get(), 0);
    }

    #[tokio::test]
    async fn a_stream_breaks_where_there_is_no_room_for_its_piece() {
        let room = Room::new(128 << 10, &Arc::new(Metrics::default()));
        let piece = || Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 << 10]));
        let body = Body::from_stream(futures::stream::iter([piece(), piece(), piece()]));
        let body = roomy(&room, Response::new(body)).unwrap().into_body();
        let mut pieces = body.into_data_stream();
        let first = pieces.next().await.unwrap().unwrap();
        assert!(pieces.next().await.unwrap().is_err());
        drop(first);
        assert!(pieces.next().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_for_too_long_is_noticed_wherever_it_waits() {
        let untaken = Arc::new(Untaken::default());
        let stalls = |untaken: &Arc<Untaken>| {
            let untaken = untaken.clone();
            async move {
                let limit = Duration::from_millis(10 * limits::STALL_MS);
                tokio::time::timeout(limit, untaken.stalled()).await.is_ok()
            }
        };
        assert!(!stalls(&untaken).await, "nothing waits");
        let mut body = watched(&untaken, Body::from(vec![b'x'; limits::LIVE_BYTES + 1]));
        assert!(stalls(&untaken).await, "the client gives no credit from the first");
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), second.len()), (limits::LIVE_BYTES, 1));
        assert!(body.frame().now_or_never().unwrap().is_none());
        assert!(stalls(&untaken).await, "the pieces are not sent");
        drop((first, second));
        assert!(!stalls(&untaken).await, "everything was taken");
        // A stream that has nothing to send now waits for no client.
        let mut silent = watched(
            &untaken,
            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()),
        );
        assert!(silent.frame().now_or_never().is_none());
        assert!(!stalls(&untaken).await);
    }
}
