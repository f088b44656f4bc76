//! A body without an end, as lines.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::body;
use super::error::{self, Problem};
use super::room::{self, Hold};
use crate::limits;

/// How long an answer waits at most for its client to learn that the body may come.
const INVITATION: Duration = Duration::from_millis(50);

/// The problem of a line that is too long: its bytes so far, and the limit.
type TooLong = fn(usize, usize) -> Problem;

/// The lines of a body, as far as they came.
pub(super) struct Lines {
    body: Body,
    /// Came, and waits for room.
    next: Option<Bytes>,
    buffer: BytesMut,
    /// Bytes of `buffer` in which there is no line end.
    searched: usize,
    lines: VecDeque<Bytes>,
    /// Bytes of `lines`.
    lines_bytes: usize,
    /// Bytes of lines that were taken and are still held.
    taken: usize,
    room: Hold,
    waited: Waited,
    /// Length of a line, in bytes.
    limit: usize,
    too_long: TooLong,
    has_ended: bool,
    failure: Option<Problem>,
}

/// How long was waited for the body while it owed something: time in which it was not read does not count.
#[derive(Default)]
struct Waited {
    /// For the next piece of a line, or for room for it.
    piece: Duration,
    /// For the end of the line that has begun.
    line: Duration,
}

impl Waited {
    /// Time that is left; without bounds while nothing is owed.
    fn left(&self, owes: bool) -> Duration {
        if !owes {
            return Duration::MAX;
        }
        let piece = Duration::from_millis(limits::BODY_IDLE_MS).saturating_sub(self.piece);
        piece.min(Duration::from_millis(limits::BODY_MS).saturating_sub(self.line))
    }
}

/// Adds the time until it is dropped to what was waited.
struct Stopwatch<'w>(&'w mut Waited, Instant);

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        self.0.piece += self.1.elapsed();
        self.0.line += self.1.elapsed();
    }
}

impl Lines {
    pub(super) fn new(body: Body, limit: usize, too_long: TooLong, room: Hold) -> Lines {
        Lines {
            body,
            next: None,
            buffer: BytesMut::new(),
            searched: 0,
            lines: VecDeque::new(),
            lines_bytes: 0,
            taken: 0,
            room,
            waited: Waited::default(),
            limit,
            too_long,
            has_ended: false,
            failure: None,
        }
    }

    /// Lets a client begin that waits for `100 Continue` (RFC 9110, 10.1.1). It can be sent before the answer begins
    /// alone, and only where the body is looked at.
    pub(super) async fn invite(&mut self, headers: &HeaderMap) {
        if headers.contains_key(header::EXPECT) {
            timeout(INVITATION, self.read()).await.ok();
        }
    }

    /// Waits for more of the body, and for room for it. Cancel safe.
    pub(super) async fn read(&mut self) {
        if self.next.is_none() {
            let owes = !self.buffer.is_empty();
            let left = self.waited.left(owes);
            let frame = {
                let _watch = Stopwatch(&mut self.waited, Instant::now());
                timeout(left, self.body.frame()).await
            };
            match frame {
                Ok(None) => {
                    self.has_ended = true;
                    let rest = self.buffer.split().freeze();
                    self.add(rest);
                    return;
                }
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { return };
                    self.waited.piece = Duration::ZERO;
                    if !owes {
                        self.waited.line = Duration::ZERO;
                    }
                    self.next = Some(data);
                }
                Ok(Some(Err(_))) => {
                    let detail = "the body broke off or is broken";
                    return self.fail(Problem::new(&error::BAD_BODY, detail));
                }
                Err(_) => {
                    let detail = "a line did not arrive in time";
                    return self.fail(Problem::new(&error::SLOW_BODY, detail));
                }
            }
        }
        let Some(data) = &self.next else { return };
        let needed = self.held() + data.len();
        if !self.room.reach(needed) {
            let left = self.waited.left(true);
            let has_room = {
                let _watch = Stopwatch(&mut self.waited, Instant::now());
                timeout(left, self.room.reached(needed)).await.is_ok()
            };
            if !has_room {
                return self.fail(room::crowded());
            }
        }
        self.waited.piece = Duration::ZERO;
        if let Some(data) = self.next.take() {
            self.add_bytes(&data);
        }
        if self.buffer.is_empty() {
            self.waited = Waited::default();
        }
    }

    fn add_bytes(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        while let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(self.searched + at + 1).freeze();
            self.searched = 0;
            self.waited.line = Duration::ZERO;
            self.add(line);
        }
        self.searched = self.buffer.len();
        if self.limit < self.buffer.len() {
            self.fail((self.too_long)(self.buffer.len(), self.limit));
        }
    }

    fn add(&mut self, line: Bytes) {
        if !line.trim_ascii().is_empty() {
            self.lines_bytes += line.len();
            self.lines.push_back(line);
        }
    }

    /// The next line, if it is there. Its room is held until [`Self::settle`].
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let line = self.lines.pop_front()?;
        self.lines_bytes -= line.len();
        self.taken += line.len();
        Some(line)
    }

    /// Gives back the room of lines that were taken, but for so many bytes.
    pub(super) fn settle(&mut self, taken: usize) {
        self.taken = self.taken.min(taken);
        let held = self.held();
        self.room.keep(held);
    }

    /// Lines that are there.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no whole line is there.
    pub(super) fn has_none(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes that are there.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len() + self.lines_bytes
    }

    fn held(&self) -> usize {
        self.buffered() + self.taken
    }

    /// Whether the body is read to its end, or is not read any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether nothing comes any more.
    pub(super) fn is_empty(&self) -> bool {
        self.has_ended && self.lines.is_empty()
    }

    /// Reads on for a while and keeps nothing, for a client that is to get the reason why its body is not taken.
    pub(super) async fn discard(&mut self) {
        body::discard(&mut self.body).await;
    }

    /// Why the body was not read to its end.
    pub(super) fn failure(&mut self) -> Option<Problem> {
        self.failure.take()
    }

    /// Takes nothing any more, for this reason, not even what is there.
    pub(super) fn give_up(&mut self, why: Problem) {
        self.lines.clear();
        self.lines_bytes = 0;
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
    use std::sync::Arc;

    use futures::{FutureExt, stream};
    use proptest::prelude::*;

    use super::super::room::Room;
    use super::*;
    use crate::telemetry::Metrics;

    const LIMIT: usize = 1 << 10;

    fn of(body: Body, space: usize) -> (Arc<Room>, Lines) {
        let room = Room::new(space + space / 7, &Arc::new(Metrics::default()));
        let too_long = |bytes: usize, _| Problem::new(&error::EVENT_TOO_LARGE, bytes.to_string());
        let lines = Lines::new(body, LIMIT, too_long, room.hold());
        (room, lines)
    }

    fn whole(pieces: Vec<Vec<u8>>) -> Body {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        Body::from_stream(stream::iter(pieces))
    }

    /// The lines of a body that comes in pieces, and what went wrong with it.
    async fn lines(pieces: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Option<&'static str>) {
        let (_, mut lines) = of(whole(pieces), 1 << 20);
        while !lines.has_ended {
            lines.read().await;
        }
        let kept = lines.lines.iter().map(|line| line.trim_ascii().to_vec()).collect();
        (kept, lines.failure.map(|why| why.kind().code))
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_has_begun_must_end_and_silence_between_lines_may_last() {
        // Pieces, each after a pause in milliseconds.
        for (pieces, code) in [
            (vec![(0, "1\n"), (3_600_000, "2\n")], None),
            (vec![(0, "1\n2"), (11_000, "\n")], Some("slow_body")),
            (vec![(3_600_000, "1"), (9_000, "1\n")], None),
            (vec![(9_000, "1"); 9], Some("slow_body")),
        ] {
            let body =
                Body::from_stream(stream::unfold(pieces.clone().into_iter(), |mut pieces| async {
                    let (pause_ms, piece) = pieces.next()?;
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    Some((Ok::<_, std::io::Error>(Bytes::from(piece)), pieces))
                }));
            let (_, mut lines) = of(body, 1 << 20);
            while !lines.has_ended {
                // As a writer does that has other things to do, too.
                let _ = timeout(Duration::from_secs(7), lines.read()).await;
            }
            assert_eq!(lines.failure.map(|why| why.kind().code), code, "{pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_wait_for_room_and_hold_it_until_they_are_settled() {
        let line = vec![b'x'; LIMIT - 1];
        let piece = [&line[..], b"\n"].concat();
        let (room, mut lines) = of(whole(vec![piece; 100]), 112 << 10);
        let others = room.hold_for(100 << 10).unwrap();
        let reserve = room.hold_for(limits::TRANSIT_SMALL_BYTES).unwrap();
        for _ in 0..12 {
            assert!(lines.read().now_or_never().is_some());
        }
        assert!(lines.read().now_or_never().is_none(), "there is no room");
        while lines.take().is_some() {}
        lines.settle(0);
        assert!(lines.read().now_or_never().is_some(), "there is again");
        for _ in 0..11 {
            lines.read().await;
        }
        lines.read().await;
        assert_eq!(lines.failure().map(|why| why.kind().code), Some("overloaded"));
        drop((others, reserve));
    }

    #[tokio::test]
    async fn what_is_there_is_known_without_counting() {
        const MANY: usize = 1 << 18;
        let (_, mut lines) = of(whole(vec![b"1\n".repeat(MANY)]), 1 << 20);
        lines.read().await;
        let mut left = 2 * MANY;
        while lines.take().is_some() {
            left -= 2;
            assert_eq!(lines.buffered(), left);
        }
        assert_eq!(left, 0);
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
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let (kept, why) = runtime.unwrap().block_on(lines(pieces));
            let expected: Vec<_> = texts.iter().map(|text| text.clone().into_bytes()).collect();
            prop_assert_eq!((kept, why), (expected, None));
        }
    }
}
