//! One turn of an endpoint: the conversation goes there, and its answer comes into the log as it is read.

use std::mem::take;

use bytes::Bytes;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::attached::Visibility;
use super::super::attached::messages::{self, Speaks};
use super::call::{Call, Failed};
use super::{Asked, Endpoint, Piece};
use crate::config::Protocol;
use crate::ids::{Cursor, ToolName, TurnEpoch};
use crate::limits;
use crate::runtime::agent::{FromWorker, Speaker, TurnKey};
use crate::runtime::claim::Assignment;
use crate::runtime::{Freshness, Sessions};
use crate::session::{Format, NewEvent, Phase, Said, Say, Then};

/// Which turn it is, and whose.
pub(super) fn key(assignment: &Assignment) -> TurnKey {
    TurnKey {
        session: assignment.session.clone(),
        turn: assignment.turn.turn.clone(),
        epoch: assignment.turn.lease.as_ref().map_or(TurnEpoch::NONE, |lease| lease.epoch),
    }
}

/// Works on a turn until the endpoint's answer ends, or the turn does. If the attempt came to nothing, says why: the
/// turn is tried again under its budget.
pub(super) async fn run(
    sessions: &Sessions,
    endpoint: &Endpoint,
    assignment: &Assignment,
    speaker: &Speaker,
    stop: CancellationToken,
) -> Option<Failed> {
    let mut words = Words::new(assignment, endpoint, speaker);
    let outcome = tokio::select! {
        outcome = answer(sessions, endpoint, assignment, &mut words) => outcome,
        // The connection closes with the call: that is how a cancel reaches the endpoint.
        () = stop.cancelled() => Ok(()),
    };
    match outcome {
        Ok(()) => None,
        Err(Failed::Refused(reason)) => {
            words.say(Vec::new(), fail(reason)).await;
            None
        }
        Err(failed) => Some(failed),
    }
}

async fn answer(
    sessions: &Sessions,
    endpoint: &Endpoint,
    assignment: &Assignment,
    words: &mut Words<'_>,
) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS_MAX);
    let session = &assignment.session;
    let broken = |why: &str| Failed::Log(why.to_owned());
    let status = sessions.status(session, Freshness::Linearizable, deadline).await;
    let status = status.map_err(|why| Failed::Log(why.to_string()))?;
    let status = status.ok_or_else(|| broken("the session is gone"))?;
    let upto = Cursor { incarnation: status.incarnation, serial: status.tail };
    let read = messages::read(sessions, session, &status, upto, Visibility::All, deadline).await;
    let read = read.map_err(|_| broken("the log is not here in time"))?;
    // What earlier attempts said of this very turn is said anew.
    let turn = &assignment.turn.turn;
    let conversation: Vec<_> = read
        .spoken()
        .filter(|spoken| spoken.speaks != Speaks::Agent || spoken.turn.as_ref() != Some(turn))
        .collect();
    let asked = Asked {
        session: session.as_str(),
        turn: turn.as_str(),
        conversation: &conversation,
        model: endpoint.model.as_deref(),
    };
    let body = endpoint.protocol.body(&asked);
    let quiet = Duration::from_millis(endpoint.quiet_ms);
    let mut call =
        timeout(quiet, Call::start(endpoint, &body)).await.map_err(|_| Failed::Late)??;
    loop {
        let read = timeout(quiet, call.next()).await.map_err(|_| Failed::Late)??;
        let ended = read.is_none();
        let frames = read.unwrap_or_else(|| call.last().into_iter().collect());
        let pieces = frames.iter().flat_map(|frame| endpoint.protocol.read(frame)).collect();
        if words.take(pieces).await {
            return Ok(());
        }
        if ended {
            return Err(call.broke_off());
        }
    }
}

/// What an endpoint says, numbered.
struct Words<'a> {
    key: TurnKey,
    speaker: &'a Speaker,
    protocol: Protocol,
    whole: Format,
    seq: u64,
    /// An earlier attempt said something: the first words supersede it.
    rewinds: bool,
    /// The turn's time of silence.
    quiet_ms: u64,
    /// When the session last heard of the endpoint.
    heard_at: Instant,
}

impl Words<'_> {
    fn new<'a>(assignment: &Assignment, endpoint: &Endpoint, speaker: &'a Speaker) -> Words<'a> {
        let lease = assignment.turn.lease.as_ref();
        let format = format!("{}/1", endpoint.protocol.name());
        Words {
            key: key(assignment),
            speaker,
            protocol: endpoint.protocol,
            whole: Format::parse(&format).expect("the names of protocols are formats"),
            seq: 0,
            rewinds: 1 < assignment.turn.attempts,
            quiet_ms: lease.map_or(endpoint.quiet_ms, |lease| lease.quiet_ms),
            heard_at: Instant::now(),
        }
    }

    /// Says what was read at once, or that the endpoint lives if that was nothing; whether that was the end.
    async fn take(&mut self, pieces: Vec<Piece>) -> bool {
        let mut events: Vec<NewEvent> = Vec::new();
        let mut phase = None;
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    phase = Some(Phase::Streaming);
                    for text in split(&text) {
                        let payload = Bytes::copy_from_slice(text.as_bytes());
                        events.push(NewEvent { format: Format::TEXT, payload });
                    }
                }
                Piece::Whole(value) => {
                    let payload = Bytes::from(value.to_string());
                    let payload = match payload.len() {
                        ..=limits::EVENT_BYTES => payload,
                        bytes => Bytes::from(self.protocol.left_out(&value, bytes).to_string()),
                    };
                    events.push(NewEvent { format: self.whole.clone(), payload });
                }
                Piece::Tool(tool) => phase = ToolName::parse(&tool).ok().map(Phase::Tool),
                Piece::Thinking => phase = Some(Phase::Thinking),
                Piece::Complete => {
                    self.speak(events, phase, Then::Complete).await;
                    return true;
                }
                Piece::Fail(reason) => {
                    self.speak(events, phase, fail(reason)).await;
                    return true;
                }
            }
        }
        if !events.is_empty() || phase.is_some() {
            self.speak(events, phase, Then::GoOn).await;
        } else if Duration::from_millis(self.quiet_ms / 4) <= self.heard_at.elapsed() {
            self.live().await;
        }
        false
    }

    /// Tells the session that the endpoint gave a sign of life, which begins its time of silence anew.
    async fn live(&mut self) {
        self.heard_at = Instant::now();
        let quiet_ms = Some(self.quiet_ms);
        let say = Say { quiet_ms, ..Say::new(self.key.turn.clone(), self.key.epoch) };
        let session = self.key.session.clone();
        self.speaker.hear(FromWorker::Say { session, say: Box::new(say) }).await.ok();
    }

    async fn say(&mut self, events: Vec<NewEvent>, then: Then) {
        self.speak(events, None, then).await;
    }

    /// Says it in as many requests as its size needs.
    async fn speak(&mut self, events: Vec<NewEvent>, phase: Option<Phase>, then: Then) {
        let (mut ready, mut bytes) = (Vec::new(), 0);
        for event in events {
            let more = event.payload.len() + event.format.as_str().len();
            if ready.len() == limits::APPEND_EVENTS || limits::APPEND_BYTES < bytes + more {
                self.one(take(&mut ready), None, Then::GoOn).await;
                bytes = 0;
            }
            bytes += more;
            ready.push(event);
        }
        self.one(ready, phase, then).await;
    }

    async fn one(&mut self, events: Vec<NewEvent>, phase: Option<Phase>, then: Then) {
        self.heard_at = Instant::now();
        let says = !events.is_empty() || then != Then::GoOn;
        let rewind = !events.is_empty() && take(&mut self.rewinds);
        let said = says.then(|| Said { seq: self.seq, rewind, events, then, ..Said::default() });
        self.seq += u64::from(says);
        let say = Say { said, phase, ..Say::new(self.key.turn.clone(), self.key.epoch) };
        let session = self.key.session.clone();
        // A link that is closed has told the session already.
        self.speaker.hear(FromWorker::Say { session, say: Box::new(say) }).await.ok();
    }
}

/// The end of a turn that failed, whose reason is cut where it is longer than one may be.
fn fail(mut reason: String) -> Then {
    reason.truncate(reason.floor_char_boundary(limits::REASON_BYTES));
    Then::Fail { reason }
}

/// Text in pieces that an event can have.
fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while limits::EVENT_BYTES < rest.len() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(limits::EVENT_BYTES));
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}
