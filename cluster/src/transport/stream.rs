//! A stream of messages between two nodes, in both directions, held back by its reader.
//!
//! It never ends cleanly early: only [`SendHalf::finish`] makes the reader see the end. A half that
//! is dropped before, a link that dies, a message cut short are errors at the other side.

use bytes::Bytes;

use super::{
    frame::{self, Decoder, HEADER_BYTES, Kind},
    memory::{MemoryReceiver, MemorySender},
};
use crate::limits::FRAME_BYTES;

/// Application code of a stream whose half was dropped.
const DROPPED: quinn::VarInt = quinn::VarInt::from_u32(1);

/// Why a stream carries nothing more. What was received before is whole and in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The link died; how much of what was sent has arrived is unknown.
    #[error("the link was lost: {0}")]
    Lost(String),
    /// The peer dropped its sending half before finishing.
    #[error("the peer gave the stream up")]
    Reset,
    /// The peer reads no more.
    #[error("the peer stopped reading")]
    Stopped,
    /// The message is beyond [`FRAME_BYTES`]; it was not sent and the stream is as before.
    #[error("the message is larger than a frame")]
    TooLarge,
    /// The bytes are no messages, or an earlier `send` was dropped half-way, or it was finished.
    #[error("the stream is broken: {0}")]
    Broken(String),
}

/// Both halves of a stream.
#[derive(Debug)]
pub struct Stream {
    send: SendHalf,
    recv: RecvHalf,
}

impl Stream {
    pub(super) fn quic(send: quinn::SendStream, recv: quinn::RecvStream, read: Decoder) -> Stream {
        Stream {
            send: SendHalf { pipe: SendPipe::Quic(send), state: SendState::Idle },
            recv: RecvHalf { pipe: RecvPipe::Quic(recv, read), failed: None },
        }
    }

    pub(super) fn memory(send: MemorySender, recv: MemoryReceiver) -> Stream {
        Stream {
            send: SendHalf { pipe: SendPipe::Memory(send), state: SendState::Idle },
            recv: RecvHalf { pipe: RecvPipe::Memory(recv), failed: None },
        }
    }

    /// See [`SendHalf::send`].
    pub async fn send(&mut self, message: Bytes) -> Result<(), StreamError> {
        self.send.send(message).await
    }

    /// See [`RecvHalf::recv`].
    pub async fn recv(&mut self) -> Option<Result<Bytes, StreamError>> {
        self.recv.recv().await
    }

    /// See [`SendHalf::finish`].
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.send.finish().await
    }

    /// The two directions, for two tasks.
    pub fn split(self) -> (SendHalf, RecvHalf) {
        (self.send, self.recv)
    }
}

/// The sending direction.
#[derive(Debug)]
pub struct SendHalf {
    pipe: SendPipe,
    state: SendState,
}

#[derive(Debug)]
enum SendPipe {
    Quic(quinn::SendStream),
    Memory(MemorySender),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendState {
    Idle,
    /// A message is partly written, for ever if the future that wrote it is gone.
    Writing,
    Finished,
}

impl SendHalf {
    /// Sends one message, waiting while the reader is behind.
    ///
    /// # Errors
    /// [`StreamError::TooLarge`] leaves the stream as it was; after any other, and after dropping
    /// the future half-way, nothing more can be sent.
    pub async fn send(&mut self, message: Bytes) -> Result<(), StreamError> {
        if FRAME_BYTES < message.len() {
            return Err(StreamError::TooLarge);
        }
        self.check()?;
        self.state = SendState::Writing;
        match &mut self.pipe {
            SendPipe::Quic(send) => {
                let mut chunks = frame::chunks(Kind::Message, 0, message);
                let used = if chunks[1].is_empty() { 1 } else { 2 };
                send.write_all_chunks(&mut chunks[..used]).await.map_err(write_error)?;
            }
            SendPipe::Memory(send) => send.send(message).await?,
        }
        self.state = SendState::Idle;
        Ok(())
    }

    /// Marks the clean end. The link still delivers what was sent; this does not wait for it.
    ///
    /// # Errors
    /// The reader will not see a clean end.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.check()?;
        self.state = SendState::Writing;
        match &mut self.pipe {
            SendPipe::Quic(send) => send.finish().map_err(|_| StreamError::Stopped)?,
            SendPipe::Memory(send) => send.finish().await?,
        }
        self.state = SendState::Finished;
        Ok(())
    }

    fn check(&self) -> Result<(), StreamError> {
        let why = match self.state {
            SendState::Idle => return Ok(()),
            SendState::Writing => "an earlier message was cut short",
            SendState::Finished => "it is finished",
        };
        Err(StreamError::Broken(why.into()))
    }
}

impl Drop for SendHalf {
    /// quinn finishes a dropped stream; here that would be a clean end that the sender never promised.
    fn drop(&mut self) {
        if let SendPipe::Quic(send) = &mut self.pipe
            && self.state != SendState::Finished
        {
            let _ = send.reset(DROPPED);
        }
    }
}

/// The receiving direction.
#[derive(Debug)]
pub struct RecvHalf {
    pipe: RecvPipe,
    failed: Option<StreamError>,
}

#[derive(Debug)]
enum RecvPipe {
    Quic(quinn::RecvStream, Decoder),
    Memory(MemoryReceiver),
}

impl RecvHalf {
    /// The next message; `None` once the peer has finished cleanly. An error is final and repeated.
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Result<Bytes, StreamError>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        let next = match &mut self.pipe {
            RecvPipe::Quic(recv, decoder) => read_message(recv, decoder).await,
            RecvPipe::Memory(recv) => recv.recv().await,
        };
        match next {
            Ok(message) => message.map(Ok),
            Err(error) => {
                self.failed = Some(error.clone());
                Some(Err(error))
            }
        }
    }
}

async fn read_message(
    recv: &mut quinn::RecvStream,
    decoder: &mut Decoder,
) -> Result<Option<Bytes>, StreamError> {
    let broken = |why: String| StreamError::Broken(why);
    loop {
        match decoder.next().map_err(|error| broken(error.to_string()))? {
            Some(frame) if frame.kind == Kind::Message => return Ok(Some(frame.body)),
            Some(frame) => return Err(broken(format!("{:?} is no message", frame.kind))),
            None => {}
        }
        match recv.read_chunk(FRAME_BYTES + HEADER_BYTES, true).await.map_err(read_error)? {
            Some(chunk) => decoder.push(chunk.bytes),
            None if decoder.buffered() == 0 => return Ok(None),
            None => return Err(broken("it ends within a message".into())),
        }
    }
}

fn write_error(error: quinn::WriteError) -> StreamError {
    match error {
        quinn::WriteError::Stopped(_) => StreamError::Stopped,
        other => StreamError::Lost(other.to_string()),
    }
}

fn read_error(error: quinn::ReadError) -> StreamError {
    match error {
        quinn::ReadError::Reset(_) => StreamError::Reset,
        other => StreamError::Lost(other.to_string()),
    }
}
