//! Events and where they came from, as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FrozenFact, SERIAL_MAX, ThawError, ensure};
use crate::ids::{AgentName, Millis, ProducerId, Serial};
use crate::session::event::{Event, Format, Origin};
use crate::session::fact::Fact;

/// An event, version [`super::EVENT_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenEvent<'a> {
    pub serial: u64,
    pub time: u64,
    pub format: Cow<'a, str>,
    pub payload: Bytes,
    pub chain: u64,
    pub origin: Option<FrozenOrigin<'a>>,
    pub agent: Option<Cow<'a, str>>,
    pub fact: Option<FrozenFact<'a>>,
}

/// An origin, as in [`super::FrozenEvent`] and [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenOrigin<'a> {
    pub producer: Cow<'a, str>,
    pub epoch: u64,
    pub seq: u64,
}

impl Event {
    /// The event as plain data.
    pub fn freeze(&self) -> FrozenEvent<'_> {
        FrozenEvent {
            serial: self.serial.0,
            time: self.time.0,
            format: self.format.as_str().into(),
            payload: self.payload.clone(),
            chain: self.chain,
            origin: self.origin.as_ref().map(Origin::freeze),
            agent: self.agent.as_ref().map(|agent| agent.as_str().into()),
            fact: self.fact.as_deref().map(Fact::freeze),
        }
    }

    /// Takes back what [`Event::freeze`] gave.
    ///
    /// # Errors
    /// The data can be no event.
    pub fn thaw(frozen: FrozenEvent<'_>) -> Result<Event, ThawError> {
        ensure((1..=SERIAL_MAX).contains(&frozen.serial), "the serial of an event")?;
        Ok(Event {
            serial: Serial(frozen.serial),
            time: Millis(frozen.time),
            format: Format::parse(&frozen.format)?,
            payload: frozen.payload,
            chain: frozen.chain,
            origin: frozen.origin.map(Origin::thaw).transpose()?,
            agent: frozen.agent.map(|agent| AgentName::parse(&agent)).transpose()?,
            fact: frozen.fact.map(Fact::thaw).transpose()?.map(Box::new),
        })
    }
}

#[cfg(test)]
impl FrozenEvent<'static> {
    /// One of them, for tests of what carries events.
    pub(crate) fn sample() -> FrozenEvent<'static> {
        FrozenEvent {
            serial: 7,
            time: 9,
            format: "text".into(),
            payload: Bytes::from_static(b"hi"),
            chain: 11,
            origin: None,
            agent: None,
            fact: None,
        }
    }
}

impl Origin {
    pub(super) fn freeze(&self) -> FrozenOrigin<'_> {
        FrozenOrigin { producer: self.producer.as_str().into(), epoch: self.epoch, seq: self.seq }
    }

    pub(super) fn thaw(frozen: FrozenOrigin<'_>) -> Result<Origin, ThawError> {
        let producer = ProducerId::parse(&frozen.producer)?;
        Ok(Origin { producer, epoch: frozen.epoch, seq: frozen.seq })
    }
}
