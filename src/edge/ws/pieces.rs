//! Frames of a client (RFC 6455, 5.2), handed on in small pieces: what is announced takes no memory, only
//! what comes does (S10).
//!
//! The codec after it takes room for a whole frame as soon as it has read its head. So a frame that is larger
//! than one piece is handed on as fragments (5.4), which mean the same. What adds up to more than one piece
//! holds room among all that is on its way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::room::Hold;

/// Payload of one piece, in bytes; masks (5.3) begin anew after a multiple of four.
pub(super) const PIECE_BYTES: usize = 4 << 10;
/// The last frame of its message.
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// The least opcode of a frame that is about the connection.
const CONTROL: u8 = 8;
const CONTROL_BYTES: u64 = 125;

/// What a client may have in one message; it grows once the client has authenticated.
#[derive(Clone)]
pub(super) struct Limit(Arc<AtomicUsize>);

impl Limit {
    pub(super) fn new(bytes: usize) -> Limit {
        Limit(Arc::new(AtomicUsize::new(bytes)))
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Bytes out as they are, and frames in as pieces.
pub(super) struct Pieces<T> {
    inner: T,
    /// Came and is not handed on.
    stash: BytesMut,
    /// The head of a piece, to be handed on in front of its payload.
    head: BytesMut,
    frame: Option<Frame>,
    /// Bytes of the message that is not whole yet.
    message: usize,
    limit: Limit,
    room: Hold,
}

/// The frame whose payload comes.
struct Frame {
    /// First byte of the next piece's head, without [`FINAL`].
    first: u8,
    is_final: bool,
    is_control: bool,
    mask: [u8; 4],
    /// Bytes of the present piece that are not handed on.
    piece: usize,
    /// Bytes after it.
    left: u64,
}

impl<T> Pieces<T> {
    /// Frames of which the first bytes are here already.
    pub(super) fn new(inner: T, begun: &[u8], limit: Limit, room: Hold) -> Pieces<T> {
        let (stash, head) = (BytesMut::from(begun), BytesMut::new());
        Pieces { inner, stash, head, frame: None, message: 0, limit, room }
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }

    /// Hands on what is there. An error stays one, however often it is read.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        while 0 < buffer.remaining() {
            if !self.head.is_empty() {
                hand_on(&mut self.head, usize::MAX, buffer);
                continue;
            }
            match &mut self.frame {
                Some(frame) if 0 < frame.piece => {
                    if self.stash.is_empty() {
                        break;
                    }
                    frame.piece -= hand_on(&mut self.stash, frame.piece, buffer);
                }
                Some(frame) if 0 < frame.left => self.begin_piece()?,
                Some(frame) => {
                    if frame.is_final && !frame.is_control {
                        self.message = 0;
                        self.room.keep(0);
                    }
                    self.frame = None;
                }
                None => match parse(&self.stash)? {
                    Some((frame, size)) => self.begin(frame, size)?,
                    None => break,
                },
            }
        }
        if self.stash.is_empty() {
            self.stash = BytesMut::new();
        }
        Ok(())
    }

    fn begin(&mut self, frame: Frame, head: usize) -> io::Result<()> {
        if frame.is_control && CONTROL_BYTES < frame.left {
            return Err(broken("a control frame is too large"));
        }
        if !frame.is_control && (self.limit.get().saturating_sub(self.message) as u64) < frame.left
        {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.stash.advance(head);
        self.frame = Some(frame);
        self.begin_piece()
    }

    fn begin_piece(&mut self) -> io::Result<()> {
        let frame = self.frame.as_mut().expect("a piece is of a frame");
        let size = frame.left.min(PIECE_BYTES as u64) as u16;
        if !frame.is_control {
            let message = self.message + usize::from(size);
            if PIECE_BYTES < message && !self.room.reach(message) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.message = message;
        }
        frame.left -= u64::from(size);
        frame.piece = size.into();
        let last = if frame.is_final && frame.left == 0 { FINAL } else { 0 };
        self.head.extend_from_slice(&[frame.first | last]);
        match size {
            0..=125 => self.head.extend_from_slice(&[MASKED | size as u8]),
            _ => {
                self.head.extend_from_slice(&[MASKED | 126]);
                self.head.extend_from_slice(&size.to_be_bytes());
            }
        }
        self.head.extend_from_slice(&frame.mask);
        // What follows goes on with it.
        frame.first = 0;
        Ok(())
    }
}

/// Hands on at most so many bytes, and returns how many.
fn hand_on(from: &mut BytesMut, most: usize, to: &mut ReadBuf<'_>) -> usize {
    let count = from.len().min(most).min(to.remaining());
    to.put_slice(&from[..count]);
    from.advance(count);
    count
}

/// Reads the head of a frame, if it is whole, and returns how long it is.
fn parse(bytes: &[u8]) -> io::Result<Option<(Frame, usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(broken("a client's frame is not masked"));
    }
    let (length, rest) = match second & !MASKED {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u16::from_be_bytes(*length).into(), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (short.into(), rest),
    };
    let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let frame = Frame {
        first: first & !FINAL,
        is_final: first & FINAL != 0,
        is_control: CONTROL <= first & OPCODE,
        mask: *mask,
        piece: 0,
        left: length,
    };
    Ok(Some((frame, bytes.len() - rest.len())))
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<T: AsyncRead + Unpin> AsyncRead for Pieces<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        loop {
            let passed = this.pass(buffer);
            // What is wrong after it is found again.
            if before < buffer.filled().len() || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            passed?;
            let mut bytes = [0; PIECE_BYTES];
            let mut came = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut came))?;
            if came.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.stash.extend_from_slice(came.filled());
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Pieces<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::{Message, Role};

    use super::super::super::room::Room;
    use super::*;
    use crate::telemetry::Metrics;

    const LIMIT: usize = 40_000;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first];
        match payload.len() {
            short @ 0..=125 => out.push(MASKED | short as u8),
            medium @ 126..=0xffff => {
                out.push(MASKED | 126);
                out.extend((medium as u16).to_be_bytes());
            }
            long => {
                out.push(MASKED | 127);
                out.extend((long as u64).to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What a server makes of bytes that come in pieces of `size`, and how it ends.
    async fn received(bytes: &[u8], size: usize) -> (Vec<Message>, Option<io::ErrorKind>) {
        let room = Room::new(1 << 20, &Arc::new(Metrics::default()));
        let (near, mut far) = tokio::io::duplex(size);
        let begun = bytes.len().min(size);
        let pieces = Pieces::new(near, &bytes[..begun], Limit::new(LIMIT), room.hold());
        let sending = async {
            let _ = far.write_all(&bytes[begun..]).await;
            let _ = far.shutdown().await;
            let mut rest = Vec::new();
            let _ = far.read_to_end(&mut rest).await;
        };
        let hearing = async {
            let mut socket = WebSocketStream::from_raw_socket(pieces, Role::Server, None).await;
            let mut messages = Vec::new();
            loop {
                match socket.next().await {
                    Some(Ok(message)) => messages.push(message),
                    Some(Err(tokio_tungstenite::tungstenite::Error::Io(why))) => {
                        return (messages, Some(why.kind()));
                    }
                    _ => return (messages, None),
                }
            }
        };
        tokio::select! {
            received = hearing => received,
            () = async { sending.await; std::future::pending().await } => unreachable!(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn frames_mean_the_same_in_pieces(
            sizes in prop::collection::vec(
                prop::sample::select(vec![0, 1, 125, 126, 4095, 4096, 4097, 8192, 12_345, LIMIT]), 0..5,
            ),
            cut in 0_usize..5,
            size in prop::sample::select(vec![1, 7, 4096, 100_000]),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (at, length) in sizes.into_iter().enumerate() {
                let text: String = "aäz".chars().cycle().take(length / 2).collect();
                let payload = text.as_bytes();
                let whole = Message::text(text.clone());
                if at == cut {
                    // As a client cuts it, with a ping between the parts.
                    let (a, b) = payload.split_at(payload.len() / 3);
                    bytes.extend([frame(1, a), frame(0x89, b"ping"), frame(0x80, b)].concat());
                    expected.extend([Message::Ping("ping".into()), whole]);
                } else {
                    bytes.extend(frame(0x81, payload));
                    expected.push(whole);
                }
            }
            let (messages, why) = runtime.block_on(received(&bytes, size));
            prop_assert_eq!((messages, why), (expected, None));
        }
    }

    #[tokio::test]
    async fn what_no_server_takes_ends_before_it_comes() {
        let announced = |first: u8, bytes: u64| {
            let mut head = vec![first, MASKED | 127];
            head.extend(bytes.to_be_bytes());
            head.extend([1, 2, 3, 4]);
            head
        };
        for (bytes, kind) in [
            (announced(0x81, LIMIT as u64 + 1), io::ErrorKind::FileTooLarge),
            (announced(0x81, u64::MAX), io::ErrorKind::FileTooLarge),
            ([frame(1, &[b'x'; LIMIT]), frame(0x80, b"x")].concat(), io::ErrorKind::FileTooLarge),
            (announced(0x89, 126), io::ErrorKind::InvalidData),
            (vec![0x81, 1, b'x'], io::ErrorKind::InvalidData),
        ] {
            assert_eq!(received(&bytes, 4096).await, (Vec::new(), Some(kind)));
        }
    }

    #[tokio::test]
    async fn a_frame_takes_room_as_it_comes() {
        let metrics = Arc::new(Metrics::default());
        let room = Room::new(16 << 10, &metrics);
        let bytes = frame(0x81, &[b'x'; 30_000]);
        let mut pieces = Pieces::new(&bytes[..14], &[], Limit::new(LIMIT), room.hold());
        let mut out = vec![0; 100_000];
        assert!(0 < pieces.read(&mut out).await.unwrap());
        assert_eq!(metrics.transit_bytes.get(), 0, "its head alone takes none");
        let mut pieces = Pieces::new(&bytes[..], &[], Limit::new(LIMIT), room.hold());
        let why = loop {
            match pieces.read(&mut out).await {
                Ok(count) => assert!(0 < count),
                Err(why) => break why,
            }
        };
        assert_eq!(why.kind(), io::ErrorKind::OutOfMemory);
        drop(pieces);
        assert_eq!(metrics.transit_bytes.get(), 0);
    }
}
