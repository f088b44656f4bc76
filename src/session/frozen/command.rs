//! Commands and configurations as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FrozenOrigin, ThawError};
use crate::ids::{Incarnation, Serial};
use crate::session::command::{Append, Command};
use crate::session::config::{Config, Retention};
use crate::session::event::{BadFormat, Format, NewEvent, Origin};

/// A configuration, as in [`Frozen`] and [`FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenConfig<'a> {
    pub max_age_ms: Option<u64>,
    pub max_bytes: Option<u64>,
    pub ttl_ms: Option<u64>,
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
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

impl Config {
    pub(super) fn freeze(&self) -> FrozenConfig<'_> {
        let label = |(name, value)| (Cow::from(name), Cow::from(value));
        FrozenConfig {
            max_age_ms: self.retention.max_age_ms,
            max_bytes: self.retention.max_bytes,
            ttl_ms: self.ttl_ms,
            labels: self.labels.iter().map(label).collect(),
        }
    }

    /// Does not check: a command is judged when it is applied.
    pub(super) fn thaw(frozen: FrozenConfig<'_>) -> Config {
        let label =
            |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        Config {
            retention: Retention { max_age_ms: frozen.max_age_ms, max_bytes: frozen.max_bytes },
            ttl_ms: frozen.ttl_ms,
            labels: frozen.labels.into_iter().map(label).collect(),
        }
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
