//! A body without an end, as lines.

use std::collections::VecDeque;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::error::{self, Problem};

/// What to say of a line that is too long: its bytes so far, and the limit.
type TooLong = fn(usize, usize) -> Problem;

/// The lines of a body, as far as they came.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes of `buffer` in which there is no line end.
    searched: usize,
    lines: VecDeque<Bytes>,
    /// Length of a line, in bytes.
    limit: usize,
    too_long: TooLong,
    has_ended: bool,
    failure: Option<Problem>,
}

impl Lines {
    pub(super) fn new(body: Body, limit: usize, too_long: TooLong) -> Lines {
        Lines {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            lines: VecDeque::new(),
            limit,
            too_long,
            has_ended: false,
            failure: None,
        }
    }

    /// Waits for more of the body. Cancel safe.
    pub(super) async fn read(&mut self) {
        match self.body.frame().await {
            None => {
                self.has_ended = true;
                let rest = self.buffer.split().freeze();
                self.add(rest);
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.add_bytes(&data);
                }
            }
            Some(Err(_)) => {
                self.fail(Problem::new(&error::BAD_BODY, "the body broke off or is broken"));
            }
        }
    }

    fn add_bytes(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        while let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(self.searched + at + 1).freeze();
            self.searched = 0;
            self.add(line);
        }
        self.searched = self.buffer.len();
        if self.limit < self.buffer.len() {
            self.fail((self.too_long)(self.buffer.len(), self.limit));
        }
    }

    fn add(&mut self, line: Bytes) {
        if !line.trim_ascii().is_empty() {
            self.lines.push_back(line);
        }
    }

    /// The next line, if it is there.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.lines.pop_front()
    }

    /// Lines that are there.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes that are there.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len() + self.lines.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether the body is read to its end, or is not read any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether nothing comes any more.
    pub(super) fn is_empty(&self) -> bool {
        self.has_ended && self.lines.is_empty()
    }

    /// Why the body was not read to its end.
    pub(super) fn failure(&mut self) -> Option<Problem> {
        self.failure.take()
    }

    /// Takes nothing any more, for this reason, not even what is there.
    pub(super) fn give_up(&mut self, why: Problem) {
        self.lines.clear();
        self.fail(why);
    }

    /// Takes nothing any more. What was taken before it is still worth writing.
    fn fail(&mut self, why: Problem) {
        self.has_ended = true;
        self.failure.get_or_insert(why);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 10;

    /// The lines of a body that comes in pieces, and what went wrong with it.
    async fn lines(pieces: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Option<&'static str>) {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let mut lines = Lines::new(Body::from_stream(stream::iter(pieces)), LIMIT, |bytes, _| {
            Problem::new(&error::EVENT_TOO_LARGE, bytes.to_string())
        });
        while !lines.has_ended {
            lines.read().await;
        }
        let kept = lines.lines.iter().map(|line| line.trim_ascii().to_vec()).collect();
        (kept, lines.failure.map(|why| why.kind().code))
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_not_waited_for() {
        let (kept, why) = lines(vec![b"1\n".to_vec(), vec![b'x'; LIMIT + 1]]).await;
        assert_eq!((kept, why), (vec![b"1".to_vec()], Some("event_too_large")));
    }

    proptest! {
        #[test]
        fn lines_come_out_whole_whatever_the_pieces(
            texts in prop::collection::vec("[a-c]{1,5}", 0..8),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\n\n"]), 8),
            size in 1_usize..7,
        ) {
            let body: String =
                texts.iter().zip(&ends).map(|(text, end)| format!("{text}{end}")).collect();
            let body = body.trim_end();
            let pieces = body.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            let (kept, why) = lines(pieces).now_or_never().unwrap();
            let expected: Vec<_> = texts.iter().map(|text| text.clone().into_bytes()).collect();
            prop_assert_eq!((kept, why), (expected, None));
        }
    }
}
