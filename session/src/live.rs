//! A session while it lives: its log, its writers and its end (S2, S11).
//!
//! The order in which a command is checked is part of the promise.

use serde::{Deserialize, Serialize};

use super::chain;
use super::command::{Append, AppendEach, Command, Create};
use super::config::Config;
use super::content_type::ContentType;
use super::control::Control;
use super::cut::Inherited;
use super::event::{Event, Format, NewEvent, Origin};
use super::files::Files;
use super::fork::{Fork, Holds};
use super::import::{Arrival, Coming};
use super::log::Log;
use super::outcome::{Applied, DeleteReason};
use super::producers::{AppendPlace, Producers};
use super::refusal::Refusal;
use super::spent::Spent;
use super::standing::Standing;
use super::tool_key;
use super::work::Work;
use crate::ids::{Incarnation, Millis, ProducerId, Serial, SessionId};
use crate::limits;

/// One incarnation, from its creation to its deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Live {
    pub(super) incarnation: Incarnation,
    pub(super) config: Config,
    pub(super) created_at: Millis,
    /// When the log last changed.
    pub(super) updated_at: Millis,
    /// When the time to live last began.
    pub(super) touched_at: Millis,
    /// The newest time that changed anything.
    pub(super) clock: Millis,
    pub(super) log: Log,
    pub(super) end: End,
    pub(super) producers: Producers,
    /// The writers' last stream seq.
    pub(super) order: Option<String>,
    pub(super) fork: Option<Box<Fork>>,
    pub(super) holds: Holds,
    /// Deleted for everyone but its forks.
    pub(super) hidden: Option<DeleteReason>,
    pub(super) work: Work,
    pub(super) standing: Standing,
    pub(super) files: Files,
    pub(super) arrival: Arrival,
}

/// Whether the log can still grow. It closes at its tail, which never moves again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Open,
    /// Closed with the last request of this producer, where one was named.
    Closed {
        by: Option<ProducerId>,
    },
}

impl Live {
    /// Begins a life, with the events that it begins with.
    pub(super) fn new(
        id: &SessionId,
        incarnation: Incarnation,
        create: &Create,
        spent: Spent,
        now: Millis,
        out: &mut Vec<Event>,
    ) -> Live {
        let Spent { turn_epoch, control_epoch, producers } = spent;
        let control = Control { epoch: control_epoch, ..Control::default() };
        let fork = create.fork.as_ref().map(|request| Box::new(request.fork.clone()));
        let before = fork.as_ref().map_or(Serial::ZERO, |fork| fork.at);
        let mut live = Live {
            incarnation,
            config: create.config.clone(),
            created_at: now,
            updated_at: now,
            touched_at: now,
            clock: now,
            log: Log::new(chain::start(id, incarnation), before),
            end: End::Open,
            producers,
            order: None,
            fork,
            holds: Holds::default(),
            hidden: None,
            work: Work {
                epoch: turn_epoch,
                control,
                key_seed: tool_key::seed(id, incarnation),
                ..Work::default()
            },
            standing: Standing::Active,
            files: Files::default(),
            arrival: Arrival::Here,
        };
        if let Some(inherited) = create.fork.as_ref().and_then(|fork| fork.inherited.as_ref()) {
            live.inherit(now, inherited, "the session was forked", out);
        }
        live.push(now, &create.events, None, out);
        if create.close {
            live.end = End::Closed { by: None };
        }
        live
    }

    /// Applies a command to a session that lives at `now`.
    pub(super) fn obey(
        &mut self,
        now: Millis,
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        match command {
            Command::Append(append) => self.append(now, append, out),
            Command::AppendEach(append) => self.append_each(now, append, out),
            Command::Close { producer } => self.close(now, producer.as_ref(), out),
            Command::Touch => Ok(self.touch(now)),
            Command::Trim { before } => Ok(self.trim(now, *before)),
            Command::Hold { fork, key, at: serial, content_type } => {
                self.hold(now, fork, *key, *serial, content_type.as_ref())
            }
            Command::Input(input) => self.input(now, input, out),
            Command::Claim(claim) => self.claim(now, claim, out),
            Command::Report(report) => self.emit(now, report, out),
            Command::Cancel(cancel) => self.cancel(now, cancel, out),
            Command::Lose(lose) => Ok(self.lose_gone(now, lose, out)),
            Command::Answer(answer) => self.answer(now, answer, out),
            Command::Control(requested) => self.control(now, requested, out),
            Command::Audience(audience) => Ok(self.audience(now, *audience, out)),
            Command::Pause(pause) => self.pause(now, pause, out),
            Command::Resume(resume) => self.resume(now, resume, out),
            Command::ClaimCall(claim) => self.claim_call(now, claim, out),
            Command::ReleaseCall(release) => Ok(self.release_call(now, release, out)),
            Command::ToolResult(result) => self.tool_result(now, result, out),
            Command::Shelve(shelve) => Ok(self.shelve(now, shelve, out)),
            Command::File(request) => self.file(now, request),
            Command::Create(_)
            | Command::Delete { .. }
            | Command::DeleteUnchanged { .. }
            | Command::Tick
            | Command::Confirm { .. }
            | Command::Release { .. }
            | Command::Settle { .. }
            | Command::Import(_) => unreachable!("the session takes it, whatever life it has"),
        }
    }

    /// Whether a creator that requests this finds it here.
    pub(super) fn matches_request(&self, create: &Create) -> bool {
        let same_fork = match (&create.fork, &self.fork) {
            (None, None) => true,
            (Some(requested), Some(fork)) => {
                requested.fork.source == fork.source
                    && requested.fork.sub == fork.sub
                    && (!requested.anchored || requested.fork.anchor == fork.anchor)
            }
            _ => false,
        };
        same_fork && self.config == create.config
    }

    /// The time of a command that came at `at`.
    pub(super) fn now(&self, at: Millis) -> Millis {
        self.clock.max(at)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.end != End::Open
    }

    /// The state of its import, while it is not complete: clients do not see the session then.
    pub(super) fn coming(&self) -> Option<&Coming> {
        match &self.arrival {
            Arrival::Coming(coming) => Some(coming),
            Arrival::Here | Arrival::Came { .. } => None,
        }
    }

    /// When the session ends if no client touches it; none while it is in use.
    pub(super) fn expires_at(&self) -> Option<Millis> {
        match self.config.ttl_ms {
            // It begins when the last turn ends, and the last one leaves.
            Some(_) if self.work.is_in_use() => None,
            Some(ttl_ms) => Some(self.touched_at.after(ttl_ms)),
            None => self.config.expires_at,
        }
    }

    /// The life whose serials these are; see [`super::Session::root`].
    pub(super) fn root(&self) -> Incarnation {
        self.fork.as_ref().map_or(self.incarnation, |fork| fork.root)
    }

    /// First event that can still be read, inherited or own.
    pub(super) fn first(&self) -> Serial {
        match &self.fork {
            Some(fork) if self.log.first == fork.at.next() => Serial::ZERO.next(),
            _ => self.log.first,
        }
    }

    /// Adds events; the order of the checks is part of the promise.
    pub(super) fn append(
        &mut self,
        now: Millis,
        append: &Append,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let origin = append.producer.as_ref();
        if let Some(again) = self.recall(origin)? {
            return Ok(again);
        }
        let tail = self.log.tail;
        if self.is_closed() {
            return Err(Refusal::Closed { tail });
        }
        self.check_standing()?;
        self.check_content_type(append.content_type.as_ref())?;
        self.check_order(append.order.as_deref())?;
        if let Some(expected) = append.expect
            && expected != tail
        {
            return Err(Refusal::SerialMismatch { expected, tail });
        }
        if append.events.is_empty() {
            return Err(Refusal::NoEvents);
        }
        check_size(&append.events)?;
        self.check_room(origin, now)?;

        self.push(now, &append.events, origin, out);
        let (first, last) = (tail.next(), self.log.tail);
        self.remember(origin, first, count(&append.events), now);
        if append.order.is_some() {
            self.order.clone_from(&append.order);
        }
        if append.close {
            self.end_with_session(now, out);
            self.end = End::Closed { by: origin.map(|origin| origin.producer.clone()) };
        }
        Ok(Applied::Appended {
            first: Some(first),
            last: Some(last),
            duplicate: false,
            closed: append.close,
            seq: origin.map(|origin| origin.seq),
        })
    }

    /// Adds events that each are a request of their own, in the same order of checks.
    pub(super) fn append_each(
        &mut self,
        now: Millis,
        append: &AppendEach,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let AppendEach { events, first: origin, content_type } = append;
        if events.is_empty() {
            return Err(Refusal::NoEvents);
        }
        if let Some(known) = self.producers.known_of(origin, events.len() as u64)? {
            return Ok(self.again_upto(origin, known));
        }
        let tail = self.log.tail;
        if self.is_closed() {
            return Err(Refusal::Closed { tail });
        }
        self.check_standing()?;
        self.check_content_type(content_type.as_ref())?;
        check_size(events)?;
        self.check_room(Some(origin), now)?;

        self.retain(now);
        let mut one = origin.clone();
        for new in events {
            out.push(self.log.push(now, new, Some(&one), None, None, &self.config.retention));
            one.seq += 1;
        }
        self.retain(now);
        self.producers.remember_each(origin, tail.next(), count(events), now);
        self.changed(now);
        Ok(Applied::Appended {
            first: Some(tail.next()),
            last: Some(self.log.tail),
            duplicate: false,
            closed: false,
            seq: Some(one.seq - 1),
        })
    }

    /// The answer to requests that are known, from this one to the one with the seq `last`.
    fn again_upto(&self, first: &Origin, last: u64) -> Applied {
        let place = |seq| self.producers.place(&Origin { seq, ..first.clone() });
        let begin = match place(first.seq) {
            AppendPlace::Events { first, .. } => Some(first),
            AppendPlace::Close | AppendPlace::Forgotten => None,
        };
        let end = match place(last) {
            AppendPlace::Events { last, .. } => Some(last),
            AppendPlace::Close => Some(self.log.tail),
            AppendPlace::Forgotten => None,
        };
        Applied::Appended {
            first: begin,
            last: end,
            duplicate: true,
            closed: false,
            seq: Some(last),
        }
    }

    pub(super) fn close(
        &mut self,
        now: Millis,
        origin: Option<&Origin>,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if let Some(again) = self.recall(origin)? {
            return Ok(again);
        }
        let tail = self.log.tail;
        if self.is_closed() {
            return Ok(Applied::Closed { tail, duplicate: true, again: false });
        }
        self.check_standing()?;
        self.check_room(origin, now)?;
        self.end_with_session(now, out);
        let tail = self.log.tail;
        self.remember(origin, tail.next(), 0, now);
        self.end = End::Closed { by: origin.map(|origin| origin.producer.clone()) };
        Ok(Applied::Closed { tail, duplicate: false, again: false })
    }

    pub(super) fn touch(&mut self, now: Millis) -> Applied {
        self.touched_at = now;
        self.clock = now;
        Applied::Touched { until: self.expires_at() }
    }

    pub(super) fn trim(&mut self, now: Millis, before: Serial) -> Applied {
        if self.log.trim(before) {
            self.clock = now;
        }
        Applied::Trimmed { first: self.first() }
    }

    /// Gives up what no limit keeps; returns whether there was anything. The inputs of open turns are kept for
    /// their workers, however many of them it takes.
    pub(super) fn retain(&mut self, now: Millis) -> bool {
        self.log.retain(now, &self.config.retention, self.work.needed())
    }

    /// Gives up what is too old.
    pub(super) fn age(&mut self, now: Millis) -> Applied {
        if !self.retain(now) {
            return Applied::Unchanged;
        }
        self.clock = now;
        Applied::Trimmed { first: self.first() }
    }

    /// The answer that the first request with this origin got, if there was one.
    fn recall(&self, origin: Option<&Origin>) -> Result<Option<Applied>, Refusal> {
        let Some(origin) = origin else { return Ok(None) };
        let Some(place) = self.producers.recall(origin)? else { return Ok(None) };
        let closed = match &self.end {
            End::Closed { by: Some(by) } => {
                *by == origin.producer && self.producers.is_last(origin)
            }
            _ => false,
        };
        let (first, last) = match place {
            AppendPlace::Close => {
                let tail = self.log.tail;
                return Ok(Some(Applied::Closed { tail, duplicate: true, again: true }));
            }
            AppendPlace::Events { first, last } => (Some(first), Some(last)),
            AppendPlace::Forgotten => (None, None),
        };
        let seq = self.producers.last(&origin.producer);
        Ok(Some(Applied::Appended { first, last, duplicate: true, closed, seq }))
    }

    /// Keeps the log for a fork.
    pub(super) fn hold(
        &mut self,
        now: Millis,
        fork: &SessionId,
        key: u64,
        at: Option<Serial>,
        content_type: Option<&ContentType>,
    ) -> Result<Applied, Refusal> {
        self.check_content_type(content_type)?;
        let tail = self.log.tail;
        let at = at.unwrap_or(tail);
        if tail < at {
            return Err(Refusal::ForkOffsetOutOfRange { at, tail });
        }
        let until = self.holds.take(fork, key, now);
        let until = until.ok_or(Refusal::TooManyForks { limit: limits::FORKS })?;
        self.clock = now;
        let inherited = Box::new(Inherited::of(&self.work, at, tail));
        Ok(Applied::Held { at, until, inherited })
    }

    fn push(
        &mut self,
        now: Millis,
        events: &[NewEvent],
        origin: Option<&Origin>,
        out: &mut Vec<Event>,
    ) {
        self.retain(now);
        for new in events {
            out.push(self.log.push(now, new, origin, None, None, &self.config.retention));
        }
        self.retain(now);
    }

    fn check_content_type(&self, given: Option<&ContentType>) -> Result<(), Refusal> {
        match (given, &self.config.content_type) {
            (Some(given), Some(held)) if given != held => {
                Err(Refusal::OtherContentType { held: held.as_str().into() })
            }
            _ => Ok(()),
        }
    }

    fn check_order(&self, given: Option<&str>) -> Result<(), Refusal> {
        let Some(given) = given else { return Ok(()) };
        let (bytes, limit) = (given.len(), limits::ORDER_BYTES);
        if limit < bytes {
            return Err(Refusal::StreamSeqTooLong { bytes, limit });
        }
        match &self.order {
            Some(last) if given.as_bytes() <= last.as_bytes() => {
                Err(Refusal::StreamSeqConflict { last: last.clone() })
            }
            _ => Ok(()),
        }
    }

    fn check_room(&self, origin: Option<&Origin>, now: Millis) -> Result<(), Refusal> {
        origin.map_or(Ok(()), |origin| self.producers.check_room(&origin.producer, now))
    }

    fn remember(&mut self, origin: Option<&Origin>, serial: Serial, events: u32, now: Millis) {
        if let Some(origin) = origin {
            self.producers.remember(origin, serial, events, now);
        }
        self.changed(now);
    }

    /// The log is another one now.
    fn changed(&mut self, now: Millis) {
        self.updated_at = now;
        self.touched_at = now;
        self.clock = now;
    }
}

fn count(events: &[NewEvent]) -> u32 {
    u32::try_from(events.len()).expect("an append has few events")
}

/// Whether these events may be appended at once.
pub(super) fn check_size(events: &[NewEvent]) -> Result<(), Refusal> {
    check_size_of(events.iter().map(|new| (new.payload.len(), &new.format)))
}

/// The same of payloads, each with its length and its format.
pub(super) fn check_size_of<'e>(
    events: impl ExactSizeIterator<Item = (usize, &'e Format)> + Clone,
) -> Result<(), Refusal> {
    let count = events.len();
    if limits::APPEND_EVENTS < count {
        return Err(Refusal::TooManyEvents { count, limit: limits::APPEND_EVENTS });
    }
    let largest = events.clone().map(|(bytes, _)| bytes).max().unwrap_or(0);
    if limits::EVENT_BYTES < largest {
        return Err(Refusal::EventTooLarge { bytes: largest, limit: limits::EVENT_BYTES });
    }
    let bytes = events.map(|(bytes, format)| bytes + format.as_str().len()).sum();
    if limits::APPEND_BYTES < bytes {
        return Err(Refusal::AppendTooLarge { bytes, limit: limits::APPEND_BYTES });
    }
    Ok(())
}
