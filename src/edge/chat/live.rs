//! An answer on its way to one client: what its dialect sends for each delta, as server-sent events.
//!
//! The body ends cleanly only after the dialect's last event. In every other case the connection breaks, because these
//! clients take a clean end for the end of the answer (S7). It reads on only when the connection has room (S10).
//! A client that leaves drops the body, and nothing else.

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use super::super::content::raw::Json;
use super::super::json::without_line_ends;
use super::super::live::BrokenOff;
use super::super::telling::Counted;
use super::super::{Edge, HangUp, NO_BUFFERING, frame};
use super::delta::Delta;
use super::fold::Fold;
use super::follow::{Follow, Lost};
use super::health::Pulse;
use super::superseded::Superseded;
use crate::auth::{Caller, Ending};
use crate::ids::{Incarnation, Millis, Serial, SessionId, TurnId};
use crate::limits;
use crate::runtime;
use crate::session::Event;

/// How a dialect renders an answer.
pub(super) trait Dialect: Send + 'static {
    /// What is sent before anything else.
    fn open(&mut self, out: &mut Vec<u8>);
    /// What is sent of the next delta.
    fn take(&mut self, at: At, delta: Delta, out: &mut Vec<u8>) -> Flow;
    /// Takes what the client got before: a question of then may still be waited for.
    fn knows(&mut self, _: Delta) {}
    /// What is sent where nothing of the answer can be had any more: the last event.
    fn lost(&mut self, out: &mut Vec<u8>);
    /// How the agents are, if the dialect has a way to send it.
    fn health(&mut self, _: Json, _: &mut Vec<u8>) {}
}

/// Where in the log something stands, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) serial: Serial,
    pub(super) time: Millis,
}

/// Whether anything follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoesOn,
    /// A clean end.
    Ended,
    /// What was sent cannot be taken back in this dialect: the client is to come back for the whole.
    BreaksOff,
}

/// How much a client is sent at once, in bytes, but for the event that goes beyond it: a delivery may have a thousand
/// times as much, and many clients may be slow.
const PIECE_BYTES: usize = 64 << 10;

/// Which answer is shown, and how.
pub(super) struct Shown<'a> {
    pub(super) id: &'a SessionId,
    pub(super) turn: &'a TurnId,
    /// Where its log begins.
    pub(super) from: Serial,
    /// The life of the session that it is of.
    pub(super) life: Incarnation,
    pub(super) begins: Begins,
    /// Whether what is superseded already is left out, so that the events depend on when it is read.
    pub(super) is_present: bool,
    pub(super) health: bool,
}

/// Where an answer is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    AtStart,
    /// With the event at this place.
    At(Serial),
    /// After the last answer of people.
    AfterAnswers,
}

/// A fold, and the dialect that renders it.
pub(super) struct Teller<D> {
    fold: Fold,
    dialect: D,
    /// Where the turn's input is.
    from: Serial,
    /// What comes up to here is known to the client.
    after: Serial,
    flow: Flow,
    /// The last event of the turn that was taken.
    last: Option<At>,
}

struct ChatStream<D> {
    follow: Follow,
    teller: Teller<D>,
    /// What was read and is not sent yet.
    read: vec::IntoIter<Arc<runtime::Shown>>,
    opened: bool,
    ending: Ending,
    edge: Edge,
    counted: Counted,
    pulse: Option<Pulse>,
    patience: Patience,
}

/// Until when more is waited for of an agent that has a question for people.
#[derive(Default)]
struct Patience {
    since: Option<(Serial, Instant)>,
}

impl Patience {
    /// Waits until the agent has sent nothing for so long since its question that it waits for people; for ever,
    /// where it has no question.
    async fn over(&mut self, asks: Option<At>) {
        let Some(At { serial, .. }) = asks else {
            self.since = None;
            return std::future::pending().await;
        };
        if self.since.is_none_or(|(before, _)| before != serial) {
            self.since = Some((serial, Instant::now()));
        }
        let grace = Duration::from_millis(limits::ASK_GRACE_MS);
        sleep_until(self.since.map_or_else(Instant::now, |(_, at)| at) + grace).await;
    }
}

impl<D: Dialect> Teller<D> {
    pub(super) fn new(fold: Fold, dialect: D, from: Serial, after: Serial) -> Teller<D> {
        Teller { fold, dialect, from, after, flow: Flow::GoesOn, last: None }
    }

    #[cfg(test)]
    pub(super) fn flow(&self) -> Flow {
        self.flow
    }

    #[cfg(test)]
    pub(super) fn into_dialect(self) -> D {
        self.dialect
    }

    /// Renders what the next event of the log means.
    pub(super) fn take(&mut self, event: &Event, out: &mut Vec<u8>) {
        let at = At { serial: event.serial, time: event.time };
        let deltas = self.fold.take(event);
        if !deltas.is_empty() {
            self.last = Some(at);
        }
        // Whoever named a place where this turn has no input made it up.
        let is_made_up =
            at.serial == self.from && !matches!(deltas.first(), Some(Delta::Accepted { .. }));
        if is_made_up {
            self.lose(out);
        }
        for delta in deltas {
            if at.serial <= self.after {
                self.dialect.knows(delta);
            } else if self.flow == Flow::GoesOn {
                self.flow = self.dialect.take(at, delta, out);
            }
        }
        if self.fold.is_full() && self.flow == Flow::GoesOn {
            tracing::warn!("an answer has more parts, or larger calls, than can be followed");
            self.lose(out);
        }
    }

    /// Renders what events mean, until the client has enough to take for now.
    pub(super) fn tell(
        &mut self,
        events: &mut impl Iterator<Item = Arc<runtime::Shown>>,
        out: &mut Vec<u8>,
    ) {
        while out.len() < PIECE_BYTES
            && self.flow == Flow::GoesOn
            && let Some(shown) = events.next()
        {
            self.take(&shown.event, out);
        }
    }

    /// The dialect, which got as much as it was to get.
    ///
    /// # Errors
    /// It broke off: what it has is a part, and must not be taken for the whole.
    pub(super) fn finish(self) -> Result<D, Lost> {
        if self.flow == Flow::BreaksOff { Err(Lost::Unavailable) } else { Ok(self.dialect) }
    }

    /// Where the turn stands, if people are to answer something and nothing else is to be sent.
    fn asks(&self) -> Option<At> {
        self.last.filter(|_| self.flow == Flow::GoesOn && self.fold.asking().is_open())
    }

    /// The agent has a question for people and puts out no more: it waits for them.
    fn waits(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.asks() {
            self.flow = self.dialect.take(at, Delta::Waits, out);
        }
    }

    fn lose(&mut self, out: &mut Vec<u8>) {
        self.dialect.lost(out);
        self.flow = Flow::Ended;
    }
}

/// The response that shows an answer. Where it cannot be read now, the connection breaks: a status would be final.
pub(super) async fn response<D: Dialect>(
    edge: &Edge,
    caller: &Caller,
    shown: Shown<'_>,
    dialect: D,
    deadline: Instant,
) -> Response {
    match pieces(edge, caller, shown, dialect, deadline).await {
        Some(pieces) => headers(Body::from_stream(pieces).into_response()),
        None => HangUp.into_response(),
    }
}

/// The same for who carries it otherwise: whole events, and comments. None, where it cannot be read now.
pub(super) async fn pieces<D: Dialect>(
    edge: &Edge,
    caller: &Caller,
    shown: Shown<'_>,
    dialect: D,
    deadline: Instant,
) -> Option<BoxStream<'static, Result<Bytes, BrokenOff>>> {
    match open(edge, caller, shown, dialect, deadline).await {
        Ok(live) => {
            let next = |mut live: ChatStream<D>| async { Some((live.next().await?, live)) };
            Some(stream::unfold(live, next).boxed())
        }
        Err((Lost::Unavailable, _)) => None,
        Err((Lost::Gone, mut dialect)) => {
            let mut out = Vec::new();
            dialect.open(&mut out);
            dialect.lost(&mut out);
            Some(stream::once(async { Ok(out.into()) }).boxed())
        }
    }
}

async fn open<D: Dialect>(
    edge: &Edge,
    caller: &Caller,
    shown: Shown<'_>,
    dialect: D,
    deadline: Instant,
) -> Result<ChatStream<D>, (Lost, D)> {
    let (follow, teller) = begin(edge, &shown, dialect, deadline).await?;
    Ok(ChatStream {
        follow,
        teller,
        read: Vec::new().into_iter(),
        opened: false,
        ending: caller.ending(),
        edge: edge.clone(),
        counted: Counted::new(&edge.metrics),
        pulse: shown.health.then(|| Pulse::new(edge, shown.id, shown.turn)),
        patience: Patience::default(),
    })
}

async fn begin<D: Dialect>(
    edge: &Edge,
    shown: &Shown<'_>,
    dialect: D,
    deadline: Instant,
) -> Result<(Follow, Teller<D>), (Lost, D)> {
    let follow = match Follow::from(edge, shown.id, shown.from, deadline).await {
        Ok(follow) => follow,
        Err(why) => return Err((Lost::from(why), dialect)),
    };
    if follow.life() != shown.life {
        return Err((Lost::Gone, dialect));
    }
    let (superseded, follow) = match follow.look_ahead(shown.turn, deadline).await {
        Ok(found) => found,
        Err(why) => return Err((why, dialect)),
    };
    let after = match shown.begins {
        Begins::AtStart => Serial::ZERO,
        Begins::At(serial) => Serial(serial.0.saturating_sub(1)),
        Begins::AfterAnswers => superseded.answered(),
    };
    let superseded = if shown.is_present { superseded } else { Superseded::default() };
    let fold = Fold::new(shown.turn, shown.from, superseded);
    Ok((follow, Teller::new(fold, dialect, shown.from, after)))
}

/// Has an answer rendered as far as it goes, or to its end where it is waited for; returns the dialect that has it.
///
/// # Errors
/// The log cannot be read, or there is no room for all of the answer.
pub(super) async fn read<D: Dialect>(
    edge: &Edge,
    shown: Shown<'_>,
    dialect: D,
    waits: bool,
    deadline: Instant,
) -> Result<D, Lost> {
    let begun = begin(edge, &shown, dialect, deadline).await;
    let (mut follow, mut teller) = begun.map_err(|(why, _)| why)?;
    let tail = follow.tail();
    let (mut out, mut patience) = (Vec::new(), Patience::default());
    while teller.flow == Flow::GoesOn && (waits || follow.at() < tail) {
        let events = tokio::select! {
            events = follow.next() => events?,
            () = patience.over(teller.asks()) => {
                teller.waits(&mut out);
                continue;
            }
            () = edge.stop.cancelled() => return Err(Lost::Unavailable),
        };
        for shown in events {
            teller.take(&shown.event, &mut out);
            out.clear();
        }
    }
    if teller.fold.asking().is_over_at(edge.runtime.sessions.now()) {
        teller.waits(&mut out);
    }
    teller.finish()
}

/// Marks a response as a stream of events.
pub(super) fn headers(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store, no-transform"),
        (NO_BUFFERING, "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl<D: Dialect> ChatStream<D> {
    /// Waits for the next bytes; none after the end.
    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        match self.teller.flow {
            Flow::GoesOn => {}
            Flow::Ended => return None,
            Flow::BreaksOff => return Some(Err(BrokenOff)),
        }
        let mut out = Vec::new();
        if !self.opened {
            self.opened = true;
            self.teller.dialect.open(&mut out);
            if !out.is_empty() {
                return Some(Ok(out.into()));
            }
        }
        if self.ending.came().now_or_never().is_some() {
            return Some(Err(BrokenOff));
        }
        self.teller.tell(&mut self.read, &mut out);
        let heartbeat = Instant::now() + Duration::from_millis(limits::HEARTBEAT_MS);
        while out.is_empty() && self.teller.flow == Flow::GoesOn {
            let events = tokio::select! {
                biased;
                () = self.edge.stop.cancelled() => return Some(Err(BrokenOff)),
                _ = self.ending.came() => return Some(Err(BrokenOff)),
                events = self.follow.next() => events,
                health = Pulse::of(&mut self.pulse) => {
                    self.teller.dialect.health(health, &mut out);
                    continue;
                }
                () = self.patience.over(self.teller.asks()) => {
                    self.teller.waits(&mut out);
                    continue;
                }
                () = sleep_until(heartbeat) => return Some(Ok(frame::HEARTBEAT)),
            };
            let events = match events {
                Ok(events) => events,
                Err(Lost::Unavailable) => return Some(Err(BrokenOff)),
                Err(Lost::Gone) => {
                    self.teller.lose(&mut out);
                    break;
                }
            };
            self.counted.delivered(events.len() as u64);
            self.read = events.into_iter();
            self.teller.tell(&mut self.read, &mut out);
        }
        match self.teller.flow {
            Flow::BreaksOff if out.is_empty() => Some(Err(BrokenOff)),
            _ if out.is_empty() => None,
            _ => Some(Ok(out.into())),
        }
    }
}

/// Writes a frame of data alone.
pub(super) fn data(out: &mut Vec<u8>, json: &Json) {
    out.extend_from_slice(b"data: ");
    line(out, &json.to_string());
    out.extend_from_slice(b"\n\n");
}

/// Writes JSON as one line: where it is as it came there may be line ends between its tokens.
pub(super) fn line(out: &mut Vec<u8>, json: &str) {
    let spaces = |byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
    out.extend(without_line_ends(json.bytes().map(spaces).collect()));
}
