//! An append without an end: each line of the body is one message, acknowledged as it is on disk.
//!
//! Each line is a request of its producer, under the next seq, so that a writer whose connection broke
//! sends again what was not acknowledged and nothing is there twice (S11). Lines are given to the
//! session in their order as they come, and ride together in whatever commit is next. What is not
//! acknowledged is bounded; beyond it the body is not read (S10).

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesOrdered};
use futures::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::super::error::{self, Problem};
use super::super::lines::Lines;
use super::super::{Edge, NO_BUFFERING, headers};
use super::offset::Offset;
use super::{asked, expiry, messages, problem};
use crate::ids::SessionId;
use crate::limits;
use crate::runtime::{Reply, SubmitError};
use crate::session::{Append, Applied, Command, ContentType, NewEvent, Origin, Refusal};

const STREAM_APPEND: HeaderName = HeaderName::from_static("stream-append");
/// What the body is, and the answer.
const LINES: &str = "application/x-ndjson";
/// What each line is a message of.
const MESSAGES: &str = "application/json";

/// Whether the request is an append without an end.
pub(super) fn is_meant(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers::one(headers, &STREAM_APPEND)? {
        None => Ok(false),
        Some("streaming") if headers::media_type(headers)? == LINES => Ok(true),
        Some("streaming") => {
            let detail = format!("a streaming append is {LINES}");
            Err(Problem::new(&error::UNSUPPORTED_TYPE, detail))
        }
        Some(_) => Err(Problem::new(&error::BAD_HEADER, "stream-append must be streaming")),
    }
}

/// Begins to take lines, and answers as they are taken.
pub(super) async fn response(
    edge: &Edge,
    id: SessionId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    headers::plain_body(headers)?;
    let first = headers::producer(headers)?.ok_or_else(|| {
        Problem::new(&error::BAD_PRODUCER, "a streaming append names its producer")
    })?;
    let status = expiry::look(edge, &id, headers::deadline(headers)?).await?;
    if let Some(held) = &status.config.content_type
        && !held.is_json()
    {
        return Err(Refusal::OtherContentType { held: held.as_str().into() }.into());
    }
    let writer = Writer {
        edge: edge.clone(),
        id,
        source: Lines::new(body, limits::EVENT_BYTES, |bytes, limit| {
            Refusal::EventTooLarge { bytes, limit }.into()
        }),
        next: first.clone(),
        first: first.seq,
        closes: asked::closes(headers),
        waiting: FuturesOrdered::new(),
        width: limits::WINDOW_LINES,
        reached: watch::Sender::new(first.seq),
        unacknowledged: 0,
        acknowledged: None,
        stage: Stage::Writing,
        _room: edge.windows.clone().try_acquire_owned().map_err(|_| {
            Problem::new(&error::OVERLOADED, "too many streaming appends at this node; try another")
        })?,
    };
    let answers = stream::unfold(writer, |mut writer| async {
        let line = writer.answer().await?;
        Some((Ok::<_, std::convert::Infallible>(line), writer))
    });
    let mut response = Body::from_stream(answers).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    out.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// A line on its way.
struct Sent {
    seq: u64,
    bytes: usize,
    /// Whether it came before the line in front of it.
    overtook: bool,
    outcome: Result<Reply, Problem>,
}

enum Stage {
    Writing,
    /// All lines are acknowledged; the close is not.
    Closing,
    Ended,
}

struct Writer {
    edge: Edge,
    id: SessionId,
    source: Lines,
    /// The next line.
    next: Origin,
    /// Seq of the first line.
    first: u64,
    closes: bool,
    waiting: FuturesOrdered<BoxFuture<'static, Sent>>,
    /// How many lines may be in `waiting`: few where they overtake each other on their way.
    width: usize,
    /// The first seq that is not acknowledged.
    reached: watch::Sender<u64>,
    /// Bytes of the lines in `waiting`.
    unacknowledged: usize,
    acknowledged: Option<(u64, Offset)>,
    stage: Stage,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// Waits for the next line of the answer; none behind the last.
    async fn answer(&mut self) -> Option<Bytes> {
        loop {
            match self.stage {
                Stage::Ended => return None,
                Stage::Closing => return Some(self.close().await),
                Stage::Writing => {}
            }
            while self.has_room()
                && let Some(line) = self.source.take()
            {
                if let Err(why) = self.send(line) {
                    // Its seq is not taken, so nothing behind it may be written.
                    self.source.give_up(why);
                }
            }
            if self.waiting.is_empty() && self.source.is_empty() {
                match self.source.failure() {
                    Some(why) => return Some(self.fail(self.next.seq, why)),
                    None if self.closes => self.stage = Stage::Closing,
                    None => return Some(self.end(false)),
                }
                continue;
            }
            let stop = self.edge.stop.clone();
            let reads = self.has_room() && !self.source.has_ended();
            tokio::select! {
                biased;
                Some(sent) = self.waiting.next() => return Some(self.settle(sent)),
                () = stop.cancelled() => {
                    let why = Problem::new(&error::DETACHED, "this node stops; go on at another");
                    return Some(self.fail(self.first_unacknowledged(), why));
                }
                () = self.source.read(), if reads => {}
                () = sleep(Duration::from_millis(limits::HEARTBEAT_MS)) => {
                    return Some(self.acknowledgement());
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        let bytes = self.unacknowledged + self.source.buffered();
        self.waiting.is_empty() || (bytes < limits::WINDOW_BYTES && self.waiting.len() < self.width)
    }

    /// Sends one line on its way. It is there when this returns, in front of all later ones.
    fn send(&mut self, line: Bytes) -> Result<(), Problem> {
        let event = message(&line)?;
        let bytes = event.payload.len();
        let origin = self.next.clone();
        self.next.seq += 1;
        self.unacknowledged += bytes;
        let line = Line { edge: self.edge.clone(), id: self.id.clone(), event, origin };
        self.waiting.push_back(line.write(bytes, self.reached.subscribe()).boxed());
        Ok(())
    }

    /// Takes the outcome of a line, and those of all behind it that are there too.
    fn settle(&mut self, sent: Sent) -> Bytes {
        let mut sent = sent;
        loop {
            self.unacknowledged -= sent.bytes;
            self.width = match sent.overtook {
                true => (self.width / 2).max(1),
                false => (self.width + 1).min(limits::WINDOW_LINES),
            };
            match sent.outcome {
                Ok(reply) => {
                    if let Applied::Appended { duplicate: false, .. } = reply.applied {
                        self.edge.metrics.appended_events.inc();
                        self.edge.metrics.appended_bytes.inc_by(sent.bytes as u64);
                    }
                    self.acknowledged = Some((sent.seq, place(&reply)));
                    self.reached.send_replace(sent.seq + 1);
                }
                // Those behind it are refused too, for a line is missing.
                Err(why) => return self.fail(sent.seq, why),
            }
            match self.waiting.next().now_or_never().flatten() {
                Some(next) => sent = next,
                None => return self.acknowledgement(),
            }
        }
    }

    async fn close(&mut self) -> Bytes {
        let producer = Some(self.next.clone());
        let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        let close = Command::Close { producer };
        match self.edge.runtime.submit(&self.id, close, deadline).await {
            Ok(Reply {
                applied: Applied::Closed { tail, duplicate: true, again: false },
                root,
                ..
            }) => self.fail(self.next.seq, problem::closed(root, tail)),
            Ok(reply) => {
                self.acknowledged = Some((self.next.seq, place(&reply)));
                self.end(true)
            }
            Err(why) => self.fail(self.next.seq, problem::submit(why)),
        }
    }

    fn first_unacknowledged(&self) -> u64 {
        self.acknowledged.map_or(self.first, |(seq, _)| seq + 1)
    }

    /// Everything up to here is on disk.
    fn acknowledgement(&self) -> Bytes {
        rendered(self.position())
    }

    fn position(&self) -> Value {
        match self.acknowledged {
            Some((seq, offset)) => json!({ "seq": seq, "offset": offset.to_string() }),
            None => json!({ "seq": null, "offset": null }),
        }
    }

    fn end(&mut self, closed: bool) -> Bytes {
        self.stage = Stage::Ended;
        let mut line = self.position();
        line["end"] = true.into();
        line["closed"] = closed.into();
        rendered(line)
    }

    fn fail(&mut self, seq: u64, why: Problem) -> Bytes {
        self.stage = Stage::Ended;
        self.waiting = FuturesOrdered::new();
        rendered(json!({ "error": why.body(), "seq": seq }))
    }
}

fn rendered(line: Value) -> Bytes {
    format!("{line}\n").into()
}

fn message(line: &[u8]) -> Result<NewEvent, Problem> {
    let value: &RawValue = serde_json::from_slice(line)
        .map_err(|why| Problem::new(&error::BAD_JSON, why.to_string()))?;
    messages::message(value)
}

/// One line on its way to the session.
struct Line {
    edge: Edge,
    id: SessionId,
    event: NewEvent,
    origin: Origin,
}

impl Line {
    /// Writes the line. One that came before the line in front of it, on the way to another node, is
    /// written again when that one is there.
    async fn write(self, bytes: usize, mut reached: watch::Receiver<u64>) -> Sent {
        let Line { edge, id, event, origin } = self;
        let seq = origin.seq;
        let append = Command::Append(Append {
            events: vec![event],
            producer: Some(origin),
            content_type: ContentType::parse(MESSAGES).ok(),
            ..Append::default()
        });
        let mut overtook = false;
        loop {
            let is_next = *reached.borrow() == seq;
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
            match edge.runtime.submit(&id, append.clone(), deadline).await {
                // Of a new epoch, too, the first line may come behind the others.
                Err(SubmitError::Refused {
                    refusal: Refusal::SequenceGap { .. } | Refusal::EpochMustStartAtZero { .. },
                    ..
                }) if !is_next => {
                    overtook = true;
                    // Who counts lives longer than the lines.
                    let _ = reached.wait_for(|reached| *reached == seq).await;
                }
                done => {
                    return Sent { seq, bytes, overtook, outcome: done.map_err(problem::submit) };
                }
            }
        }
    }
}

fn place(reply: &Reply) -> Offset {
    let serial = match reply.applied {
        Applied::Appended { last, .. } => last.unwrap_or(reply.tail),
        _ => reply.tail,
    };
    Offset { root: reply.root, serial }
}
