//! An append without an end: each line of the body is one message, acknowledged as it is on disk.
//!
//! Each line is a request of its producer, under the next seq, so that a writer whose connection broke
//! sends again what was not acknowledged and nothing is there twice (S11). One command is under way at a
//! time; what gathers meanwhile rides in the next one, so that lines keep their order however far the
//! leader is. What is not acknowledged is bounded; beyond it the body is not read (S10).

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::super::error::{self, Problem};
use super::super::lines::Lines;
use super::super::{Edge, NO_BUFFERING, headers, verbs};
use super::{expiry, messages, parse, problem};
use crate::auth::{Caller, Ending, Refused};
use crate::ids::SessionId;
use crate::limits;
use crate::offset::Offset;
use crate::runtime::Reply;
use crate::session::{AppendEach, Applied, Command, ContentType, NewEvent, Origin, Refusal};

pub(in crate::edge) const STREAM_APPEND: HeaderName = HeaderName::from_static("stream-append");
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
    caller: Caller,
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
    let mut source = Lines::new(body, limits::EVENT_BYTES, too_large, edge.room.hold());
    source.invite(headers).await;
    let writer = Writer {
        edge: edge.clone(),
        ending: caller.ending(),
        caller,
        id,
        source,
        first: first.seq,
        next: first,
        closes: parse::closes(headers),
        gathered: Gathered::default(),
        under_way: None,
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

fn too_large(bytes: usize, limit: usize) -> Problem {
    Refusal::EventTooLarge { bytes, limit }.into()
}

/// Messages that are under way to the session, as requests side by side.
struct UnderWay {
    /// Seq of the first.
    first: u64,
    messages: Gathered,
    outcome: BoxFuture<'static, Result<Reply, Problem>>,
}

enum Stage {
    Writing,
    /// All lines are acknowledged; the close is not.
    Closing,
    Ended,
}

struct Writer {
    edge: Edge,
    caller: Caller,
    ending: Ending,
    id: SessionId,
    source: Lines,
    /// Seq of the first line.
    first: u64,
    /// The first message of `gathered`, or the next one to come.
    next: Origin,
    closes: bool,
    /// Messages that wait for the command that is under way.
    gathered: Gathered,
    under_way: Option<UnderWay>,
    acknowledged: Option<(u64, Offset)>,
    stage: Stage,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// Waits for the next line of the answer; none after the last.
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
                match message(&line) {
                    Ok(event) => self.gathered.push(event),
                    // Its seq is not taken, so nothing after it may be written.
                    Err(why) => self.source.give_up(why),
                }
            }
            if self.under_way.is_none() && !self.gathered.events.is_empty() {
                self.send();
            }
            self.source.settle(self.unacknowledged());
            if self.under_way.is_none() && self.source.is_empty() {
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
                done = outcome(&mut self.under_way) => return Some(self.settle(done)),
                // What is under way is answered first.
                ended = self.ending.came(), if self.under_way.is_none() => {
                    let seq = self.first_unacknowledged();
                    return Some(self.fail(seq, Refused::Ended(ended).into()));
                }
                () = stop.cancelled() => {
                    let why = error::of_stop(self.under_way.is_some());
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
        let under_way =
            self.under_way.as_ref().map_or(0, |under_way| under_way.messages.events.len());
        let lines = under_way + self.gathered.events.len();
        let bytes = self.unacknowledged() + self.source.buffered();
        lines == 0 || (bytes < limits::WINDOW_BYTES && lines < limits::WINDOW_LINES)
    }

    /// Bytes of lines that were taken and are not acknowledged.
    fn unacknowledged(&self) -> usize {
        let under_way = self.under_way.as_ref().map_or(0, |under_way| under_way.messages.bytes);
        under_way + self.gathered.bytes
    }

    /// Sends as much of what has gathered as one command takes.
    fn send(&mut self) {
        let messages = self.gathered.split();
        let first = self.next.clone();
        self.next.seq += messages.events.len() as u64;
        let command = Command::AppendEach(Box::new(AppendEach {
            events: messages.events.clone().into(),
            first: first.clone(),
            content_type: ContentType::parse(MESSAGES).ok(),
        }));
        let (edge, caller, id) = (self.edge.clone(), self.caller.clone(), self.id.clone());
        let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        let outcome = async move {
            verbs::submit_as(&edge, &caller, &id, command, deadline, problem::submit).await
        };
        let outcome = outcome.boxed();
        self.under_way = Some(UnderWay { first: first.seq, messages, outcome });
    }

    /// Takes the outcome of the command that was under way.
    fn settle(&mut self, done: Result<Reply, Problem>) -> Bytes {
        let under_way = self.under_way.take().expect("its outcome came");
        let UnderWay { first, mut messages, .. } = under_way;
        let reply = match done {
            Ok(reply) => reply,
            // All of its messages are new, so none of them is there.
            Err(why) => return self.fail(first, why),
        };
        let last = first + messages.events.len() as u64 - 1;
        let mut reached = last;
        if let Applied::Appended { duplicate: true, seq: Some(known), .. } = reply.applied {
            reached = known;
        }
        self.acknowledged = Some((reached, place(&reply)));
        if reached < last {
            // Of these an earlier request had brought the beginning only.
            messages.skip(reached + 1 - first);
            messages.extend(std::mem::take(&mut self.gathered));
            self.gathered = messages;
            self.next.seq = reached + 1;
        }
        self.acknowledgement()
    }

    async fn close(&mut self) -> Bytes {
        let producer = Some(self.next.clone());
        let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        let close = Command::Close { producer };
        let (edge, caller) = (&self.edge, &self.caller);
        match verbs::submit_as(edge, caller, &self.id, close, deadline, problem::submit).await {
            Ok(Reply {
                applied: Applied::Closed { tail, duplicate: true, again: false },
                root,
                ..
            }) => self.fail(self.next.seq, problem::closed(root, tail)),
            Ok(reply) => {
                self.acknowledged = Some((self.next.seq, place(&reply)));
                self.end(true)
            }
            Err(why) => self.fail(self.next.seq, why),
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
        self.under_way = None;
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

/// Waits for what is under way; for ever where nothing is. Cancel safe.
async fn outcome(under_way: &mut Option<UnderWay>) -> Result<Reply, Problem> {
    match under_way {
        Some(under_way) => under_way.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Messages in their order.
#[derive(Default)]
struct Gathered {
    events: VecDeque<NewEvent>,
    /// Payloads and format tags together.
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, event: NewEvent) {
        self.bytes += weight(&event);
        self.events.push_back(event);
    }

    fn extend(&mut self, other: Gathered) {
        self.bytes += other.bytes;
        self.events.extend(other.events);
    }

    fn skip(&mut self, count: u64) {
        for _ in 0..count {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<NewEvent> {
        let event = self.events.pop_front()?;
        self.bytes -= weight(&event);
        Some(event)
    }

    /// Takes off what one command may carry.
    fn split(&mut self) -> Gathered {
        let mut taken = Gathered::default();
        while taken.events.len() < limits::APPEND_EVENTS
            && let Some(next) = self.events.front()
            && taken.bytes + weight(next) <= limits::APPEND_BYTES
            && let Some(event) = self.pop()
        {
            taken.push(event);
        }
        taken
    }
}

fn weight(event: &NewEvent) -> usize {
    event.payload.len() + event.format.as_str().len()
}

fn place(reply: &Reply) -> Offset {
    let serial = match reply.applied {
        Applied::Appended { last, .. } => last.unwrap_or(reply.tail),
        _ => reply.tail,
    };
    Offset { root: reply.root, serial }
}
