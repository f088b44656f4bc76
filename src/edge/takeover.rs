//! A connection that leaves hyper once it carries nothing but a live stream, or is a WebSocket.
//!
//! hyper keeps 16 KiB of buffers for requests to come, and a live stream on HTTP/1.1 sees none: its
//! reader waits for days. So hyper writes the head of the response and the first chunk; when both have
//! left, the body fails, hyper lets go of the connection without an error, and the rest of the body is
//! written by [`super::stream`] (S10). After the head of an upgrade hyper lets go by itself.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;

use super::connection::Connection;
use super::live::EventStream;

/// What the body and the socket of one connection know of each other.
#[derive(Default)]
pub(super) struct Takeover(Mutex<State>);

#[derive(Default)]
struct State {
    onward: Option<Onward>,
    stage: Stage,
}

/// What goes on without hyper.
pub(super) enum Onward {
    Live(Box<EventStream>),
    Upgraded(Upgraded),
}

/// Goes on with the connection, which hyper has let go of, and with what the client sent after its request.
pub(super) type Upgraded = Box<dyn FnOnce(Connection, Bytes) -> BoxFuture<'static, ()> + Send>;

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
    pub(super) fn body(self: Arc<Self>, opening: Bytes, live: EventStream) -> Body {
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

    /// What to go on with, if hyper has let go of the connection for it; `ended` is whether that was in
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

    /// Everything that hyper had to write is written: only then does it flush.
    pub(super) fn flushed(&self, context: &mut Context<'_>) {
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
