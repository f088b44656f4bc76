//! One frame on a stream: `u32 length | u8 kind | u64 id | body`, big endian; the length counts what
//! follows it.
//!
//! The decoder holds only bytes that have arrived: a length beyond the limit is refused from its
//! four bytes, and a body is joined when all of it is there.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::FRAME_BYTES;

/// Bytes before the body: length, kind, id.
pub(super) const HEADER_BYTES: usize = 13;
const LENGTH_BYTES: usize = 4;

/// What a frame is for. The numbers are sent between nodes and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call; the id names it for the answer.
    Request = 1,
    /// The answer to a call.
    Answer = 2,
    /// The service's error for a call; the body is its text.
    Refusal = 3,
    /// First frame of the dialler and of the acceptor on the control lane.
    Hello = 4,
    /// The dialler lets the acceptor in; the id is 0, the body empty.
    Welcome = 5,
    /// First frame of a lane; the id is the lane's index.
    Lane = 6,
    /// First frame of any other stream; the id is its priority, the body its hello.
    Open = 7,
    /// One message of such a stream.
    Message = 8,
    /// A call without an answer: none is sent, and no caller waits for one; the id is 0.
    Note = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::*;
        [Request, Answer, Refusal, Hello, Welcome, Lane, Open, Message, Note]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One decoded frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) body: Bytes,
}

/// Why the bytes are no frames. The stream is beyond repair.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes is out of bounds")]
    Length(u32),
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
}

/// Writes the header of a frame whose body has `body` bytes.
pub(super) fn put_header(out: &mut BytesMut, kind: Kind, id: u64, body: usize) {
    let length = (HEADER_BYTES - LENGTH_BYTES + body) as u32;
    out.put_u32(length);
    out.put_u8(kind as u8);
    out.put_u64(id);
}

/// One frame as the two chunks of a vectored write.
pub(super) fn chunks(kind: Kind, id: u64, body: Bytes) -> [Bytes; 2] {
    let mut header = BytesMut::with_capacity(HEADER_BYTES);
    put_header(&mut header, kind, id, body.len());
    [header.freeze(), body]
}

/// Turns chunks of a stream into frames, without copying a body that lies in one chunk.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    chunks: VecDeque<Bytes>,
    buffered: usize,
}

impl Decoder {
    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.buffered += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Bytes held and not yet given out.
    pub(super) fn buffered(&self) -> usize {
        self.buffered
    }

    /// The next whole frame, if all of it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.peek_length() else { return Ok(None) };
        let rest = length as usize;
        let least = HEADER_BYTES - LENGTH_BYTES;
        if !(least..=least + FRAME_BYTES).contains(&rest) {
            return Err(FrameError::Length(length));
        }
        if self.buffered < LENGTH_BYTES + rest {
            return Ok(None);
        }
        let mut header = self.take(HEADER_BYTES);
        header.advance(LENGTH_BYTES);
        let kind = header.get_u8();
        let kind = Kind::of(kind).ok_or(FrameError::Kind(kind))?;
        let id = header.get_u64();
        let body = self.take(LENGTH_BYTES + rest - HEADER_BYTES);
        Ok(Some(Frame { kind, id, body }))
    }

    fn peek_length(&self) -> Option<u32> {
        let mut length = [0; LENGTH_BYTES];
        let mut bytes = self.chunks.iter().flat_map(|chunk| chunk.iter());
        for slot in &mut length {
            *slot = *bytes.next()?;
        }
        Some(u32::from_be_bytes(length))
    }

    /// The next `count` bytes, which have arrived.
    fn take(&mut self, count: usize) -> Bytes {
        self.buffered -= count;
        if count == 0 {
            return Bytes::new();
        }
        if let Some(first) = self.chunks.front_mut()
            && count < first.len()
        {
            return first.split_to(count);
        }
        if self.chunks.front().is_some_and(|first| first.len() == count) {
            return self.chunks.pop_front().expect("it was just seen");
        }
        let mut joined = BytesMut::with_capacity(count);
        while joined.len() < count {
            let mut chunk = self.chunks.pop_front().expect("the bytes have arrived");
            let part = chunk.split_to(chunk.len().min(count - joined.len()));
            joined.extend_from_slice(&part);
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
            }
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: Kind, id: u64, body: &[u8]) -> Vec<u8> {
        chunks(kind, id, Bytes::copy_from_slice(body)).concat()
    }

    #[test]
    fn the_bytes_of_a_frame_stay_as_they_are() {
        let bytes = encoded(Kind::Request, 0x0102, b"hi");
        assert_eq!(bytes, [0, 0, 0, 11, 1, 0, 0, 0, 0, 0, 0, 1, 2, b'h', b'i']);
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let mut bytes = encoded(Kind::Request, 7, b"hello");
        bytes.extend(encoded(Kind::Answer, 8, b""));
        bytes.extend(encoded(Kind::Message, 9, &[5; 300]));
        for step in 1..40 {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for part in bytes.chunks(step) {
                decoder.push(Bytes::copy_from_slice(part));
                while let Some(frame) = decoder.next().unwrap() {
                    frames.push((frame.kind, frame.id, frame.body.len()));
                }
            }
            let expected = [(Kind::Request, 7, 5), (Kind::Answer, 8, 0), (Kind::Message, 9, 300)];
            assert_eq!(frames, expected, "cut every {step} bytes");
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_from_its_four_bytes() {
        for length in [0, 8, u32::MAX, (FRAME_BYTES + 10) as u32] {
            let mut decoder = Decoder::default();
            decoder.push(Bytes::copy_from_slice(&length.to_be_bytes()));
            assert_eq!(decoder.next(), Err(FrameError::Length(length)));
            assert_eq!(decoder.buffered(), 4);
        }
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(Bytes::from_static(&[0, 0, 0, 9, 99, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(decoder.next(), Err(FrameError::Kind(99)));
    }

    mod fuzz {
        use proptest::prelude::*;

        use super::*;

        /// What a decoder makes of bytes that come in these pieces.
        fn decoded(bytes: &[u8], size: usize) -> (Vec<Frame>, Option<FrameError>) {
            let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(Bytes::copy_from_slice(piece));
                loop {
                    match decoder.next() {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break,
                        Err(error) => return (frames, Some(error)),
                    }
                }
            }
            (frames, None)
        }

        proptest! {
            #[test]
            fn frames_are_the_same_in_whatever_pieces_their_bytes_come(
                frames in prop::collection::vec(
                    (1_u8..10, any::<u64>(), prop::collection::vec(any::<u8>(), 0..20)), 0..5,
                ),
                edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
                size in 1_usize..40,
            ) {
                let mut bytes = Vec::new();
                for (kind, id, body) in &frames {
                    bytes.extend(encoded(Kind::of(*kind).unwrap(), *id, body));
                }
                for (at, byte) in edits {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                }
                let pieces = decoded(&bytes, size);
                prop_assert_eq!(&pieces, &decoded(&bytes, bytes.len().max(1)));
                let found = pieces.0;
                let again: Vec<u8> = found
                    .iter()
                    .flat_map(|frame| encoded(frame.kind, frame.id, &frame.body))
                    .collect();
                prop_assert!(bytes.starts_with(&again), "what was read is what was sent");
            }
        }
    }
}
