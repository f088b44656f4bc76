//! Texts on one WebSocket: what comes in within its bounds, what goes out in order, and how it is closed.
//!
//! A close has the reason; a connection that ends without one broke. Neither is ever the end of a session (S7).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::super::connection::Connection;
use super::super::error::{self, Problem};
use super::super::room::Hold;
use super::pieces::{Limit, Pieces};
use crate::auth::Ended;
use crate::limits;

type Stream = WebSocketStream<Pieces<Connection>>;

/// Room for reading and writing that a connection takes when it begins, in bytes.
const BUFFER_BYTES: usize = 4 << 10;

/// The frames of a client.
pub(in crate::edge) struct SocketReceiver {
    stream: SplitStream<Stream>,
    limit: Limit,
    /// When it last gave a sign of life.
    pub(in crate::edge) received_at: Instant,
}

/// The next frame of a client.
pub(in crate::edge) enum Received {
    Text(Utf8Bytes),
    /// It lives.
    Sign,
    /// It sent something that is not taken; what follows may be.
    Odd(Problem),
    /// It sends nothing more.
    Over(CloseReason),
}

/// The frames to a client.
pub(in crate::edge) struct SocketSender {
    sink: SplitSink<Stream, Message>,
    waiting: VecDeque<Message>,
    unflushed: bool,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum CloseReason {
    /// The client closed it, or it broke.
    Gone,
    /// Everything that was wanted is done.
    Done,
    Stopping,
    BrokenFrames,
    NotText,
    TooLarge,
    /// There is no room for what it sends.
    Crowded,
    /// It took nothing for [`limits::STALL_MS`].
    Slow,
    Silent,
    /// What it sent cannot be answered.
    NotUnderstood,
    /// It went on with a turn that was taken from it.
    Defiant,
    /// Whoever opened it may do nothing any more.
    Ended(Ended),
}

impl CloseReason {
    /// Code and reason of the close, where the client is still to get them.
    fn frame(self) -> Option<(u16, &'static str)> {
        match self {
            CloseReason::Gone => None,
            CloseReason::Done => Some((1000, "done")),
            CloseReason::Stopping => Some((1001, "this node stops; go on at another")),
            CloseReason::BrokenFrames => Some((1002, "no WebSocket frame")),
            CloseReason::NotText => Some((1007, "a text is not UTF-8")),
            CloseReason::TooLarge => Some((1009, "the frame is too large")),
            CloseReason::Crowded => Some((1013, "too many bytes wait on this node; try later")),
            CloseReason::Slow => Some((4008, "slow_consumer")),
            CloseReason::NotUnderstood => Some((1008, "it is no frame of this protocol")),
            CloseReason::Silent => Some((4009, "silent")),
            CloseReason::Defiant => Some((4010, "not stopped")),
            CloseReason::Ended(ended) => Some((4011, ended.code())),
        }
    }

    /// Whether it is not known any more where the client's next frame begins.
    fn loses_frames(self) -> bool {
        use CloseReason::{BrokenFrames, Crowded, NotText, TooLarge};
        matches!(self, BrokenFrames | NotText | TooLarge | Crowded)
    }
}

/// Begins to carry texts, of which the first `rest` bytes are here already.
pub(in crate::edge) async fn open(
    stream: Connection,
    rest: &[u8],
    frame_bytes: usize,
    room: Hold,
) -> (SocketReceiver, SocketSender) {
    let limit = Limit::new(frame_bytes);
    // Sizes are judged in front of it; a worker may be trusted with more later.
    let most = frame_bytes.max(limits::WORKER_FRAME_BYTES);
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(limits::LIVE_BYTES)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let pieces = Pieces::new(stream, rest, limit.clone(), room);
    let stream = Stream::from_raw_socket(pieces, Role::Server, Some(config)).await;
    let (sink, stream) = stream.split();
    let sender = SocketSender { sink, waiting: VecDeque::new(), unflushed: false };
    (SocketReceiver { stream, limit, received_at: Instant::now() }, sender)
}

impl SocketReceiver {
    /// Takes frames of up to so many bytes from now on.
    pub(in crate::edge) fn trust(&self, frame_bytes: usize) {
        self.limit.set(frame_bytes);
    }

    /// Waits for the client's next frame. Cancel safe.
    pub(in crate::edge) async fn hear(&mut self) -> Received {
        let received = self.stream.next().await;
        self.received_at = Instant::now();
        match received {
            Some(Ok(Message::Text(text))) => Received::Text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Received::Sign,
            Some(Ok(Message::Binary(_))) => {
                Received::Odd(Problem::new(&error::BAD_FRAME, "frames are texts, not bytes"))
            }
            Some(Ok(Message::Close(_))) | None => Received::Over(CloseReason::Gone),
            Some(Err(why)) => Received::Over(reason(&why)),
        }
    }

    /// When the client has been silent for too long.
    pub(in crate::edge) fn patience(&self) -> Instant {
        self.received_at + Duration::from_millis(limits::SOCKET_SILENCE_MS)
    }

    /// What is sent in front of a close for this reason.
    pub(in crate::edge) fn objection(&self, reason: CloseReason) -> Option<Problem> {
        (reason == CloseReason::TooLarge).then(|| {
            let limit = self.limit.get();
            let detail = format!("the limit is {limit} bytes; send it in more frames");
            Problem::new(&error::FRAME_TOO_LARGE, detail).with("limit", limit)
        })
    }
}

fn reason(why: &Error) -> CloseReason {
    match why {
        Error::Capacity(_) => CloseReason::TooLarge,
        Error::Utf8(_) => CloseReason::NotText,
        Error::Io(why) => match why.kind() {
            io::ErrorKind::TimedOut => CloseReason::Slow,
            io::ErrorKind::FileTooLarge => CloseReason::TooLarge,
            io::ErrorKind::InvalidData => CloseReason::BrokenFrames,
            io::ErrorKind::OutOfMemory => CloseReason::Crowded,
            _ => CloseReason::Gone,
        },
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => CloseReason::Gone,
        Error::Protocol(_) => CloseReason::BrokenFrames,
        _ => CloseReason::Gone,
    }
}

impl SocketSender {
    /// Sends a text after all that waits.
    pub(in crate::edge) fn send(&mut self, text: impl Into<Utf8Bytes>) {
        self.waiting.push_back(Message::Text(text.into()));
    }

    /// Sends a ping.
    pub(in crate::edge) fn ping(&mut self) {
        self.waiting.push_back(Message::Ping(Bytes::new()));
    }

    /// Texts that wait.
    pub(in crate::edge) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether everything has left.
    pub(in crate::edge) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unflushed
    }

    /// Waits until everything has left. Cancel safe.
    ///
    /// # Errors
    /// Why the connection is to end.
    pub(in crate::edge) async fn flush(&mut self) -> Result<(), CloseReason> {
        let flushed = poll_fn(|context| {
            loop {
                ready!(self.sink.poll_ready_unpin(context))?;
                let Some(next) = self.waiting.pop_front() else { break };
                self.unflushed = true;
                self.sink.start_send_unpin(next)?;
            }
            ready!(self.sink.poll_flush_unpin(context))?;
            self.unflushed = false;
            Ok(()).into()
        });
        flushed.await.map_err(|why: Error| reason(&why))
    }

    /// Sends why the connection ends, and ends it: what was sent before gets a moment to leave.
    pub(in crate::edge) async fn close(mut self, receiver: SocketReceiver, reason: CloseReason) {
        let SocketReceiver { mut stream, .. } = receiver;
        let Some((code, text)) = reason.frame() else {
            // An answer to the client's own close may wait.
            let _ = timeout(PARTING, self.sink.flush()).await;
            return;
        };
        let close = CloseFrame { code: CloseCode::from(code), reason: text.into() };
        self.waiting.push_back(Message::Close(Some(close)));
        let sent = timeout(PARTING, self.flush()).await;
        tracing::debug!(code, text, sent = matches!(sent, Ok(Ok(()))), "a WebSocket is closed");
        // A connection that is closed while the client still sends is reset, and what it was sent is lost.
        let heard_out = async {
            if !reason.loses_frames() {
                while let Some(Ok(_)) = stream.next().await {}
            } else if let Ok(both) = stream.reunite(self.sink) {
                discard(both.into_inner().into_inner()).await;
            }
        };
        let _ = timeout(PARTING, heard_out).await;
    }
}

const PARTING: Duration = Duration::from_millis(limits::SOCKET_PARTING_MS);

/// Takes what comes and keeps nothing.
async fn discard(mut socket: Connection) {
    let _ = socket.shutdown().await;
    let mut bytes = vec![0; BUFFER_BYTES];
    let mut left = limits::DISCARD_BYTES;
    while let Ok(count @ 1..) = socket.read(&mut bytes).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}
