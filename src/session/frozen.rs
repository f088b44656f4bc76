//! The plain data that a session, its events and its commands are kept and sent as.
//!
//! A promise to every later version: a shape here does not change. New data gets a new version number
//! and, beside the old shape, a new one. What is read back is checked, so that damaged bytes become an
//! error and never a wrong state. Texts are borrowed on the way out, so freezing copies no payload.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::{Append, Command};
use super::config::{BadConfig, Config, Retention};
use super::event::{BadFormat, Event, Format, NewEvent, Origin};
use super::live::{End, Live};
use super::log::{Log, Mark};
use super::outcome::DeleteReason;
use super::producers::{Producer, Producers, Run};
use super::{Deleted, Life, Session};
use crate::ids::{BadId, Incarnation, Millis, ProducerId, Serial, SessionId};
use crate::limits;

/// Version of [`Frozen`].
pub const STATE_VERSION: u8 = 1;
/// Version of [`FrozenEvent`].
pub const EVENT_VERSION: u8 = 1;
/// Version of [`FrozenCommand`].
pub const COMMAND_VERSION: u8 = 1;

/// Serials up to here are believed; no log gets that long.
const SERIAL_MAX: u64 = 1 << 62;

/// Why frozen data is no session, event or command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThawError {
    #[error(transparent)]
    Id(#[from] BadId),
    #[error(transparent)]
    Format(#[from] BadFormat),
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error("{0} is out of range")]
    Range(&'static str),
}

/// A session's state, version [`STATE_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen<'a> {
    pub id: Cow<'a, str>,
    pub life: FrozenLife<'a>,
}

/// See [`Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenLife<'a> {
    Absent,
    Live(Box<FrozenLive<'a>>),
    Deleted { incarnation: u32, at: u64, expired: bool },
}

/// See [`Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenLive<'a> {
    pub incarnation: u32,
    pub config: FrozenConfig<'a>,
    pub created_at: u64,
    pub updated_at: u64,
    pub touched_at: u64,
    pub clock: u64,
    pub first: u64,
    pub tail: u64,
    pub chain: u64,
    pub total: u64,
    /// First serial, bytes before it, newest time.
    pub marks: Vec<(u64, u64, u64)>,
    pub closed: bool,
    pub closed_by: Option<Cow<'a, str>>,
    pub producers: Vec<FrozenProducer<'a>>,
}

/// See [`Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenProducer<'a> {
    pub id: Cow<'a, str>,
    pub epoch: u64,
    pub seq: u64,
    pub used: u64,
    /// Seq, serial, events of each request, requests.
    pub runs: Vec<(u64, u64, u32, u32)>,
}

/// A configuration, as in [`Frozen`] and [`FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenConfig<'a> {
    pub max_age_ms: Option<u64>,
    pub max_bytes: Option<u64>,
    pub ttl_ms: Option<u64>,
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// An event, version [`EVENT_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenEvent<'a> {
    pub serial: u64,
    pub time: u64,
    pub format: Cow<'a, str>,
    pub payload: Bytes,
    pub chain: u64,
    pub origin: Option<FrozenOrigin<'a>>,
}

/// An origin, as in [`FrozenEvent`] and [`FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenOrigin<'a> {
    pub producer: Cow<'a, str>,
    pub epoch: u64,
    pub seq: u64,
}

/// A command, version [`COMMAND_VERSION`]; the kinds are numbered, so new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenCommand<'a> {
    Create {
        config: FrozenConfig<'a>,
    },
    Append {
        /// Format and payload.
        events: Vec<(Cow<'a, str>, Bytes)>,
        producer: Option<FrozenOrigin<'a>>,
        close: bool,
        expect: Option<u64>,
    },
    Close {
        producer: Option<FrozenOrigin<'a>>,
    },
    Delete {
        incarnation: Option<u32>,
    },
    Touch,
    Tick,
    Trim {
        before: u64,
    },
}

impl Session {
    /// The whole state as plain data.
    pub fn freeze(&self) -> Frozen<'_> {
        let life = match &self.life {
            Life::Absent => FrozenLife::Absent,
            Life::Live(live) => FrozenLife::Live(Box::new(live.freeze())),
            Life::Deleted(deleted) => FrozenLife::Deleted {
                incarnation: deleted.incarnation.0,
                at: deleted.at.0,
                expired: deleted.reason == DeleteReason::Expired,
            },
        };
        Frozen { id: self.id.as_str().into(), life }
    }

    /// Takes back what [`Session::freeze`] gave.
    ///
    /// # Errors
    /// The data can be no session's state.
    pub fn thaw(frozen: Frozen<'_>) -> Result<Session, ThawError> {
        let life = match frozen.life {
            FrozenLife::Absent => Life::Absent,
            FrozenLife::Live(live) => Life::Live(Live::thaw(*live)?),
            FrozenLife::Deleted { incarnation, at, expired } => Life::Deleted(Deleted {
                incarnation: thaw_incarnation(incarnation)?,
                at: Millis(at),
                reason: if expired { DeleteReason::Expired } else { DeleteReason::Asked },
            }),
        };
        Ok(Session { id: SessionId::parse(&frozen.id)?, life })
    }
}

impl Live {
    fn freeze(&self) -> FrozenLive<'_> {
        let Live {
            incarnation,
            config,
            created_at,
            updated_at,
            touched_at,
            clock,
            log,
            end,
            producers,
        } = self;
        let Log { first, tail, chain, total, marks } = log;
        let closed_by = match end {
            End::Open => None,
            End::Closed { by } => by.as_ref().map(|by| by.as_str().into()),
        };
        FrozenLive {
            incarnation: incarnation.0,
            config: config.freeze(),
            created_at: created_at.0,
            updated_at: updated_at.0,
            touched_at: touched_at.0,
            clock: clock.0,
            first: first.0,
            tail: tail.0,
            chain: *chain,
            total: *total,
            marks: marks.iter().map(|mark| (mark.first.0, mark.before, mark.newest.0)).collect(),
            closed: self.is_closed(),
            closed_by,
            producers: producers.all.iter().map(Producer::freeze).collect(),
        }
    }

    fn thaw(frozen: FrozenLive<'_>) -> Result<Live, ThawError> {
        let clock = Millis(frozen.clock);
        let past = [frozen.created_at, frozen.updated_at, frozen.touched_at];
        ensure(past.into_iter().all(|time| time <= clock.0), "a time of the session")?;
        ensure(frozen.closed || frozen.closed_by.is_none(), "the end of the log")?;
        let config = Config::thaw(frozen.config.clone());
        config.check()?;
        let log = Log::thaw(&frozen)?;
        let end = match (frozen.closed, frozen.closed_by) {
            (false, _) => End::Open,
            (true, by) => End::Closed { by: by.map(|name| ProducerId::parse(&name)).transpose()? },
        };
        Ok(Live {
            incarnation: thaw_incarnation(frozen.incarnation)?,
            config,
            created_at: Millis(frozen.created_at),
            updated_at: Millis(frozen.updated_at),
            touched_at: Millis(frozen.touched_at),
            clock,
            end,
            producers: Producers::thaw(frozen.producers, log.tail, clock)?,
            log,
        })
    }
}

impl Log {
    fn thaw(frozen: &FrozenLive<'_>) -> Result<Log, ThawError> {
        let log = Log {
            first: Serial(frozen.first),
            tail: Serial(frozen.tail),
            chain: frozen.chain,
            total: frozen.total,
            marks: frozen
                .marks
                .iter()
                .map(|&(first, before, newest)| Mark {
                    first: Serial(first),
                    before,
                    newest: Millis(newest),
                })
                .collect(),
        };
        ensure(frozen.tail <= SERIAL_MAX, "the tail")?;
        ensure(1 <= frozen.first && log.first <= log.tail.next(), "the first serial")?;
        ensure(log.total <= SERIAL_MAX, "the byte count")?;
        ensure(log.marks.len() <= limits::MARKS, "the number of marks")?;
        let in_order = log.marks.windows(2).all(|pair| {
            pair[0].first < pair[1].first
                && pair[0].before <= pair[1].before
                && pair[0].newest <= pair[1].newest
        });
        ensure(in_order, "the order of the marks")?;
        let ends_fit = match (log.marks.first(), log.marks.last()) {
            (Some(oldest), Some(last)) => {
                let next = log.marks.get(1).map_or(log.tail.next(), |mark| mark.first);
                Serial::ZERO < oldest.first
                    && oldest.first <= log.first
                    && log.first < next
                    && last.first <= log.tail
                    && last.before <= log.total
                    && last.newest.0 <= frozen.clock
            }
            _ => log.first == log.tail.next(),
        };
        ensure(ends_fit, "a mark")?;
        Ok(log)
    }
}

impl Producers {
    fn thaw(
        frozen: Vec<FrozenProducer<'_>>,
        tail: Serial,
        clock: Millis,
    ) -> Result<Producers, ThawError> {
        ensure(frozen.len() <= limits::PRODUCERS, "the number of producers")?;
        let thawed = frozen.into_iter().map(|producer| Producer::thaw(producer, tail, clock));
        let all: Vec<Producer> = thawed.collect::<Result<_, _>>()?;
        ensure(all.windows(2).all(|pair| pair[0].id < pair[1].id), "the order of the producers")?;
        Ok(Producers { all })
    }
}

impl Producer {
    fn freeze(&self) -> FrozenProducer<'_> {
        FrozenProducer {
            id: self.id.as_str().into(),
            epoch: self.epoch,
            seq: self.seq,
            used: self.used.0,
            runs: self
                .runs
                .iter()
                .map(|run| (run.seq, run.serial.0, run.events, run.length))
                .collect(),
        }
    }

    fn thaw(
        frozen: FrozenProducer<'_>,
        tail: Serial,
        clock: Millis,
    ) -> Result<Producer, ThawError> {
        ensure(frozen.used <= clock.0, "the time of a producer")?;
        ensure((1..=limits::PRODUCER_RUNS).contains(&frozen.runs.len()), "the number of runs")?;
        // Where the next run must begin: its seq exactly, its serial at the earliest.
        let mut seq = frozen.runs[0].0;
        let mut serial = 1;
        for &(run_seq, run_serial, events, length) in &frozen.runs {
            // A seq may end at 2^64 - 1, so what comes behind it is counted wider.
            ensure(run_seq == seq && serial <= run_serial && 1 <= length, "a run")?;
            let last = run_seq.checked_add(u64::from(length) - 1);
            let behind = u128::from(run_serial) + u128::from(events) * u128::from(length);
            ensure(behind <= u128::from(tail.0) + 1, "the place of a run")?;
            let last = last.ok_or(ThawError::Range("the seq of a run"))?;
            seq = last.wrapping_add(1);
            serial = u64::try_from(behind).map_err(|_| ThawError::Range("the place of a run"))?;
        }
        ensure(seq == frozen.seq.wrapping_add(1), "the seq of a producer")?;
        let runs = frozen.runs.into_iter().map(|(seq, serial, events, length)| Run {
            seq,
            serial: Serial(serial),
            events,
            length,
        });
        Ok(Producer {
            id: ProducerId::parse(&frozen.id)?,
            epoch: frozen.epoch,
            seq: frozen.seq,
            used: Millis(frozen.used),
            runs: runs.collect(),
        })
    }
}

impl Config {
    fn freeze(&self) -> FrozenConfig<'_> {
        let label = |(name, value)| (Cow::from(name), Cow::from(value));
        FrozenConfig {
            max_age_ms: self.retention.max_age_ms,
            max_bytes: self.retention.max_bytes,
            ttl_ms: self.ttl_ms,
            labels: self.labels.iter().map(label).collect(),
        }
    }

    /// Does not check: a command is judged when it is applied.
    fn thaw(frozen: FrozenConfig<'_>) -> Config {
        let label =
            |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        Config {
            retention: Retention { max_age_ms: frozen.max_age_ms, max_bytes: frozen.max_bytes },
            ttl_ms: frozen.ttl_ms,
            labels: frozen.labels.into_iter().map(label).collect(),
        }
    }
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
        })
    }
}

impl Origin {
    fn freeze(&self) -> FrozenOrigin<'_> {
        FrozenOrigin { producer: self.producer.as_str().into(), epoch: self.epoch, seq: self.seq }
    }

    fn thaw(frozen: FrozenOrigin<'_>) -> Result<Origin, ThawError> {
        let producer = ProducerId::parse(&frozen.producer)?;
        Ok(Origin { producer, epoch: frozen.epoch, seq: frozen.seq })
    }
}

impl Command {
    /// The command as plain data.
    pub fn freeze(&self) -> FrozenCommand<'_> {
        match self {
            Command::Create { config } => FrozenCommand::Create { config: config.freeze() },
            Command::Append(append) => FrozenCommand::Append {
                events: append
                    .events
                    .iter()
                    .map(|new| (new.format.as_str().into(), new.payload.clone()))
                    .collect(),
                producer: append.producer.as_ref().map(Origin::freeze),
                close: append.close,
                expect: append.expect.map(|serial| serial.0),
            },
            Command::Close { producer } => {
                FrozenCommand::Close { producer: producer.as_ref().map(Origin::freeze) }
            }
            Command::Delete { incarnation } => {
                FrozenCommand::Delete { incarnation: incarnation.map(|life| life.0) }
            }
            Command::Touch => FrozenCommand::Touch,
            Command::Tick => FrozenCommand::Tick,
            Command::Trim { before } => FrozenCommand::Trim { before: before.0 },
        }
    }

    /// Takes back what [`Command::freeze`] gave. Limits are not checked here: `apply` refuses what
    /// exceeds them, the same way everywhere.
    ///
    /// # Errors
    /// The data can be no command.
    pub fn thaw(frozen: FrozenCommand<'_>) -> Result<Command, ThawError> {
        Ok(match frozen {
            FrozenCommand::Create { config } => Command::Create { config: Config::thaw(config) },
            FrozenCommand::Append { events, producer, close, expect } => Command::Append(Append {
                events: events
                    .into_iter()
                    .map(|(format, payload)| {
                        Ok(NewEvent { format: Format::parse(&format)?, payload })
                    })
                    .collect::<Result<_, BadFormat>>()?,
                producer: producer.map(Origin::thaw).transpose()?,
                close,
                expect: expect.map(Serial),
            }),
            FrozenCommand::Close { producer } => {
                Command::Close { producer: producer.map(Origin::thaw).transpose()? }
            }
            FrozenCommand::Delete { incarnation } => {
                Command::Delete { incarnation: incarnation.map(Incarnation) }
            }
            FrozenCommand::Touch => Command::Touch,
            FrozenCommand::Tick => Command::Tick,
            FrozenCommand::Trim { before } => Command::Trim { before: Serial(before) },
        })
    }
}

fn thaw_incarnation(number: u32) -> Result<Incarnation, ThawError> {
    ensure(Incarnation::FIRST.0 <= number, "an incarnation")?;
    Ok(Incarnation(number))
}

fn ensure(fits: bool, what: &'static str) -> Result<(), ThawError> {
    if fits { Ok(()) } else { Err(ThawError::Range(what)) }
}
