//! A session while it lives: its log, its writers and its end (S2, S11).

use super::chain;
use super::command::Append;
use super::config::Config;
use super::event::{Event, Origin};
use super::log::Log;
use super::outcome::{Applied, Refusal};
use super::producers::{Place, Producers};
use crate::ids::{Incarnation, Millis, ProducerId, Serial, SessionId};
use crate::limits;

/// One incarnation, from its creation to its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Whether the log can still grow. It closes at its tail, which never moves again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// Closed with the last request of this producer, where one was named.
    Closed {
        by: Option<ProducerId>,
    },
}

impl Live {
    pub(super) fn new(
        id: &SessionId,
        incarnation: Incarnation,
        config: Config,
        now: Millis,
    ) -> Live {
        Live {
            incarnation,
            config,
            created_at: now,
            updated_at: now,
            touched_at: now,
            clock: now,
            log: Log::new(chain::start(id, incarnation)),
            end: End::Open,
            producers: Producers::default(),
        }
    }

    /// The time of a command that came at `at`.
    pub(super) fn now(&self, at: Millis) -> Millis {
        self.clock.max(at)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.end != End::Open
    }

    /// When the session ends if nobody touches it.
    pub(super) fn expires_at(&self) -> Option<Millis> {
        Some(self.touched_at.after(self.config.ttl_ms?))
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
        if let Some(expected) = append.expect
            && expected != tail
        {
            return Err(Refusal::SerialMismatch { expected, tail });
        }
        check_size(append)?;
        self.check_room(origin, now)?;

        self.log.retain(now, &self.config.retention);
        for new in &append.events {
            out.push(self.log.push(now, new, origin, &self.config.retention));
        }
        self.log.retain(now, &self.config.retention);
        let (first, last) = (tail.next(), self.log.tail);
        self.remember(origin, first, append.events.len(), now);
        if append.close {
            self.end = End::Closed { by: origin.map(|origin| origin.producer.clone()) };
        }
        Ok(Applied::Appended {
            first: Some(first),
            last: Some(last),
            duplicate: false,
            closed: append.close,
        })
    }

    pub(super) fn close(
        &mut self,
        now: Millis,
        origin: Option<&Origin>,
    ) -> Result<Applied, Refusal> {
        if let Some(again) = self.recall(origin)? {
            return Ok(again);
        }
        let tail = self.log.tail;
        if self.is_closed() {
            return Ok(Applied::Closed { tail, duplicate: true });
        }
        self.check_room(origin, now)?;
        self.remember(origin, tail.next(), 0, now);
        self.end = End::Closed { by: origin.map(|origin| origin.producer.clone()) };
        Ok(Applied::Closed { tail, duplicate: false })
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
        Applied::Trimmed { first: self.log.first }
    }

    /// Gives up what is too old.
    pub(super) fn age(&mut self, now: Millis) -> Applied {
        if !self.log.retain(now, &self.config.retention) {
            return Applied::Unchanged;
        }
        self.clock = now;
        Applied::Trimmed { first: self.log.first }
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
            Place::Close => {
                return Ok(Some(Applied::Closed { tail: self.log.tail, duplicate: true }));
            }
            Place::Events { first, last } => (Some(first), Some(last)),
            Place::Forgotten => (None, None),
        };
        Ok(Some(Applied::Appended { first, last, duplicate: true, closed }))
    }

    fn check_room(&self, origin: Option<&Origin>, now: Millis) -> Result<(), Refusal> {
        origin.map_or(Ok(()), |origin| self.producers.check_room(&origin.producer, now))
    }

    fn remember(&mut self, origin: Option<&Origin>, serial: Serial, events: usize, now: Millis) {
        if let Some(origin) = origin {
            let events = u32::try_from(events).expect("an append has few events");
            self.producers.remember(origin, serial, events, now);
        }
        self.updated_at = now;
        self.touched_at = now;
        self.clock = now;
    }
}

fn check_size(append: &Append) -> Result<(), Refusal> {
    let count = append.events.len();
    if count == 0 {
        return Err(Refusal::NoEvents);
    }
    if limits::APPEND_EVENTS < count {
        return Err(Refusal::TooManyEvents { count, limit: limits::APPEND_EVENTS });
    }
    let largest = append.events.iter().map(|new| new.payload.len()).max().unwrap_or(0);
    if limits::EVENT_BYTES < largest {
        return Err(Refusal::EventTooLarge { bytes: largest, limit: limits::EVENT_BYTES });
    }
    let bytes = append.events.iter().map(|new| new.payload.len() + new.format.as_str().len()).sum();
    if limits::APPEND_BYTES < bytes {
        return Err(Refusal::AppendTooLarge { bytes, limit: limits::APPEND_BYTES });
    }
    Ok(())
}
