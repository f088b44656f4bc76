//! A connection that leaves hyper once it carries nothing but a live stream, or is a WebSocket.
//!
//! hyper keeps 16 KiB of buffers for requests to come, and a live stream on HTTP/1.1 sees none: its
//! reader waits for days. So hyper writes the head of the response and the first chunk; when both have
//! left, the body fails, hyper lets go of the connection without a word, and the rest of the body is
//! written by [`super::stream`] (S10). After the head of an upgrade hyper lets go by itself.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use super::live::Live;
use super::write_timeout::Impatient;

/// What the body and the socket of one connection know of each other.
#[derive(Default)]
pub(super) struct Takeover(Mutex<State>);

#[derive(Default)]
struct State {
    onward: Option<Onward>,
    stage: Stage,
}

/// A connection without hyper.
pub(super) type Socket = Impatient<Carrier>;

/// What goes on without hyper.
pub(super) enum Onward {
    Live(Box<Live>),
    Upgraded(Upgraded),
}

/// Goes on with the connection, and with what the client sent after its request.
pub(super) type Upgraded = Box<dyn FnOnce(Socket, Bytes) -> BoxFuture<'static, ()> + Send>;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Held,
    /// Everything was given to hyper that it shall write.
    Waiting,
    /// It is written.
    Flushed,
}

/// Makes hyper let go.
#[derive(Debug, thiserror::Error)]
#[error("the stream goes on without hyper")]
struct LetGo;

impl Takeover {
    /// The body that begins with `opening` and then hands the connection over.
    pub(super) fn body(self: Arc<Self>, opening: Bytes, live: Live) -> Body {
        self.state().onward = Some(Onward::Live(Box::new(live)));
        let begin = (self, Some(opening));
        Body::from_stream(stream::unfold(begin, |(takeover, opening)| async {
            if opening.is_none() {
                poll_fn(|_| takeover.poll_flushed()).await;
            }
            Some((opening.ok_or(LetGo), (takeover, None)))
        }))
    }

    /// Hands the connection over after the head of the answer, which must be 101.
    pub(super) fn upgrade(&self, upgraded: Upgraded) {
        self.state().onward = Some(Onward::Upgraded(upgraded));
    }

    /// What to go on with, if hyper has let go of the connection for it; `ended` says whether that was in
    /// peace.
    pub(super) fn take(&self, ended: bool) -> Option<Onward> {
        let mut state = self.state();
        let lets_go = match &state.onward {
            Some(Onward::Live(_)) => state.stage == Stage::Flushed,
            Some(Onward::Upgraded(_)) => ended,
            None => false,
        };
        if lets_go { state.onward.take() } else { None }
    }

    /// Needs no waker: body and socket belong to one task, and the socket wakes it.
    fn poll_flushed(&self) -> Poll<()> {
        let mut state = self.state();
        if state.stage == Stage::Flushed {
            return Poll::Ready(());
        }
        state.stage = Stage::Waiting;
        Poll::Pending
    }

    fn flushed(&self, context: &mut Context<'_>) {
        let mut state = self.state();
        if state.stage == Stage::Waiting {
            state.stage = Stage::Flushed;
            context.waker().wake_by_ref();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic happens under this lock")
    }
}

/// Bytes in and out that tell when everything hyper had to write is written: only then does it flush.
pub(super) struct Watched<T> {
    pub(super) inner: T,
    pub(super) takeover: Arc<Takeover>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.takeover.flushed(context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
