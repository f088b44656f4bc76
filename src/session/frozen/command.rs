//! Commands and configurations as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    FrozenAnswer, FrozenCancel, FrozenClaim, FrozenControlAsked, FrozenFork, FrozenInput,
    FrozenLose, FrozenOrigin, FrozenRest, FrozenSay, ThawError, number_of, numbered,
};
use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::session::command::{
    Answer, Append, AppendEach, Audience, Cancel, Claim, Command, ControlAsked, Create, Input,
    Lose, Pause, Resume, Say, WhenBusy,
};
use crate::session::config::{Config, Retention};
use crate::session::event::{BadFormat, Format, NewEvent, Origin};
use crate::session::fork::{Fork, ForkRequest};
use crate::session::media::ContentType;
use crate::session::policy::{Policy, Unwatched};

/// A configuration, as in [`super::Frozen`] and [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenConfig<'a> {
    pub max_age_ms: Option<u64>,
    pub max_bytes: Option<u64>,
    pub ttl_ms: Option<u64>,
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub expires_at: Option<u64>,
    pub content_type: Option<Cow<'a, str>>,
    pub policy: FrozenPolicy,
}

/// See [`FrozenConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenPolicy {
    pub when_busy: u8,
    pub unwatched: FrozenUnwatched,
    pub attempts: Option<u32>,
    pub escalate: bool,
    pub wait_ms: Option<u64>,
}

/// See [`FrozenPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenUnwatched {
    Continue,
    Pause { after_ms: u64 },
    Cancel { after_ms: u64 },
}

/// A command, version [`super::COMMAND_VERSION`]; the kinds are numbered, so new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenCommand<'a> {
    Create {
        config: FrozenConfig<'a>,
        fork: Option<FrozenForkRequest<'a>>,
        /// Format and payload.
        events: Vec<(Cow<'a, str>, Bytes)>,
        close: bool,
    },
    Append {
        /// Format and payload.
        events: Vec<(Cow<'a, str>, Bytes)>,
        producer: Option<FrozenOrigin<'a>>,
        close: bool,
        expect: Option<u64>,
        content_type: Option<Cow<'a, str>>,
        order: Option<Cow<'a, str>>,
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
    Hold {
        fork: Cow<'a, str>,
        key: u64,
        at: Option<u64>,
        content_type: Option<Cow<'a, str>>,
    },
    Confirm {
        fork: Cow<'a, str>,
        key: u64,
    },
    Release {
        fork: Cow<'a, str>,
        key: u64,
    },
    Settle {
        source: Cow<'a, str>,
        key: u64,
    },
    Input(FrozenInput<'a>),
    Claim(FrozenClaim<'a>),
    Say(FrozenSay<'a>),
    Cancel(FrozenCancel<'a>),
    Lose(FrozenLose<'a>),
    Answer(FrozenAnswer<'a>),
    Control(FrozenControlAsked<'a>),
    Audience {
        watchers: u32,
        controllers: u32,
    },
    Pause(FrozenRest<'a>),
    Resume(FrozenRest<'a>),
    AppendEach {
        /// Format and payload.
        events: Vec<(Cow<'a, str>, Bytes)>,
        first: FrozenOrigin<'a>,
        content_type: Option<Cow<'a, str>>,
    },
}

/// The fork that a creator asks for, as in [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenForkRequest<'a> {
    pub fork: FrozenFork<'a>,
    pub anchored: bool,
    pub until: u64,
}

impl Config {
    pub(super) fn freeze(&self) -> FrozenConfig<'_> {
        let label = |(name, value)| (Cow::from(name), Cow::from(value));
        FrozenConfig {
            max_age_ms: self.retention.max_age_ms,
            max_bytes: self.retention.max_bytes,
            ttl_ms: self.ttl_ms,
            labels: self.labels.iter().map(label).collect(),
            expires_at: self.expires_at.map(|at| at.0),
            content_type: freeze_type(self.content_type.as_ref()),
            policy: self.policy.freeze(),
        }
    }

    /// Does not check: a command is judged when it is applied.
    pub(super) fn thaw(frozen: FrozenConfig<'_>) -> Result<Config, ThawError> {
        let label =
            |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        Ok(Config {
            retention: Retention { max_age_ms: frozen.max_age_ms, max_bytes: frozen.max_bytes },
            ttl_ms: frozen.ttl_ms,
            expires_at: frozen.expires_at.map(Millis),
            content_type: thaw_type(frozen.content_type)?,
            labels: frozen.labels.into_iter().map(label).collect(),
            policy: Policy::thaw(frozen.policy)?,
        })
    }
}

impl Policy {
    fn freeze(&self) -> FrozenPolicy {
        FrozenPolicy {
            when_busy: number_of(&WhenBusy::ALL, self.when_busy),
            unwatched: match self.unwatched {
                Unwatched::Continue => FrozenUnwatched::Continue,
                Unwatched::Pause { after_ms } => FrozenUnwatched::Pause { after_ms },
                Unwatched::Cancel { after_ms } => FrozenUnwatched::Cancel { after_ms },
            },
            attempts: self.attempts,
            escalate: self.escalate,
            wait_ms: self.wait_ms,
        }
    }

    fn thaw(frozen: FrozenPolicy) -> Result<Policy, ThawError> {
        Ok(Policy {
            when_busy: numbered(&WhenBusy::ALL, frozen.when_busy, "what a busy agent does")?,
            unwatched: match frozen.unwatched {
                FrozenUnwatched::Continue => Unwatched::Continue,
                FrozenUnwatched::Pause { after_ms } => Unwatched::Pause { after_ms },
                FrozenUnwatched::Cancel { after_ms } => Unwatched::Cancel { after_ms },
            },
            attempts: frozen.attempts,
            escalate: frozen.escalate,
            wait_ms: frozen.wait_ms,
        })
    }
}

impl Command {
    /// The command as plain data.
    pub fn freeze(&self) -> FrozenCommand<'_> {
        match self {
            Command::Create(create) => FrozenCommand::Create {
                config: create.config.freeze(),
                fork: create.fork.as_ref().map(ForkRequest::freeze),
                events: freeze_events(&create.events),
                close: create.close,
            },
            Command::Append(append) => FrozenCommand::Append {
                events: freeze_events(&append.events),
                producer: append.producer.as_ref().map(Origin::freeze),
                close: append.close,
                expect: append.expect.map(|serial| serial.0),
                content_type: freeze_type(append.content_type.as_ref()),
                order: append.order.as_deref().map(Into::into),
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
            Command::Hold { fork, key, at, content_type } => FrozenCommand::Hold {
                fork: fork.as_str().into(),
                key: *key,
                at: at.map(|at| at.0),
                content_type: freeze_type(content_type.as_ref()),
            },
            Command::Confirm { fork, key } => {
                FrozenCommand::Confirm { fork: fork.as_str().into(), key: *key }
            }
            Command::Release { fork, key } => {
                FrozenCommand::Release { fork: fork.as_str().into(), key: *key }
            }
            Command::Settle { source, key } => {
                FrozenCommand::Settle { source: source.as_str().into(), key: *key }
            }
            Command::Input(input) => FrozenCommand::Input(input.freeze()),
            Command::Claim(claim) => FrozenCommand::Claim(claim.freeze()),
            Command::Say(say) => FrozenCommand::Say(say.freeze()),
            Command::Cancel(cancel) => FrozenCommand::Cancel(cancel.freeze()),
            Command::Lose(lose) => FrozenCommand::Lose(lose.freeze()),
            Command::Answer(answer) => FrozenCommand::Answer(answer.freeze()),
            Command::Control(asked) => FrozenCommand::Control(asked.freeze()),
            Command::Audience(Audience { watchers, controllers }) => {
                FrozenCommand::Audience { watchers: *watchers, controllers: *controllers }
            }
            Command::Pause(pause) => FrozenCommand::Pause(pause.freeze()),
            Command::Resume(resume) => FrozenCommand::Resume(resume.freeze()),
            Command::AppendEach(append) => FrozenCommand::AppendEach {
                events: freeze_events(&append.events),
                first: append.first.freeze(),
                content_type: freeze_type(append.content_type.as_ref()),
            },
        }
    }

    /// Takes back what [`Command::freeze`] gave. Limits are not checked here: `apply` refuses what
    /// exceeds them, the same way everywhere.
    ///
    /// # Errors
    /// The data can be no command.
    pub fn thaw(frozen: FrozenCommand<'_>) -> Result<Command, ThawError> {
        Ok(match frozen {
            FrozenCommand::Create { config, fork, events, close } => Create {
                config: Config::thaw(config)?,
                fork: fork.map(ForkRequest::thaw).transpose()?,
                events: thaw_events(events)?,
                close,
            }
            .into(),
            FrozenCommand::Append { events, producer, close, expect, content_type, order } => {
                Command::Append(Append {
                    events: thaw_events(events)?,
                    producer: producer.map(Origin::thaw).transpose()?,
                    close,
                    expect: expect.map(Serial),
                    content_type: thaw_type(content_type)?,
                    order: order.map(Cow::into_owned),
                })
            }
            FrozenCommand::Close { producer } => {
                Command::Close { producer: producer.map(Origin::thaw).transpose()? }
            }
            FrozenCommand::Delete { incarnation } => {
                Command::Delete { incarnation: incarnation.map(Incarnation) }
            }
            FrozenCommand::Touch => Command::Touch,
            FrozenCommand::Tick => Command::Tick,
            FrozenCommand::Trim { before } => Command::Trim { before: Serial(before) },
            FrozenCommand::Hold { fork, key, at, content_type } => Command::Hold {
                fork: SessionId::parse(&fork)?,
                key,
                at: at.map(Serial),
                content_type: thaw_type(content_type)?,
            },
            FrozenCommand::Confirm { fork, key } => {
                Command::Confirm { fork: SessionId::parse(&fork)?, key }
            }
            FrozenCommand::Release { fork, key } => {
                Command::Release { fork: SessionId::parse(&fork)?, key }
            }
            FrozenCommand::Settle { source, key } => {
                Command::Settle { source: SessionId::parse(&source)?, key }
            }
            FrozenCommand::Input(input) => Command::Input(Box::new(Input::thaw(input)?)),
            FrozenCommand::Claim(claim) => Command::Claim(Box::new(Claim::thaw(claim)?)),
            FrozenCommand::Say(say) => Command::Say(Box::new(Say::thaw(say)?)),
            FrozenCommand::Cancel(cancel) => Command::Cancel(Box::new(Cancel::thaw(cancel)?)),
            FrozenCommand::Lose(lose) => Command::Lose(Box::new(Lose::thaw(lose)?)),
            FrozenCommand::Answer(answer) => Command::Answer(Box::new(Answer::thaw(answer)?)),
            FrozenCommand::Control(asked) => Command::Control(Box::new(ControlAsked::thaw(asked)?)),
            FrozenCommand::Audience { watchers, controllers } => {
                Command::Audience(Audience { watchers, controllers })
            }
            FrozenCommand::Pause(pause) => Command::Pause(Box::new(Pause::thaw(pause)?)),
            FrozenCommand::Resume(resume) => Command::Resume(Box::new(Resume::thaw(resume)?)),
            FrozenCommand::AppendEach { events, first, content_type } => {
                Command::AppendEach(Box::new(AppendEach {
                    events: thaw_events(events)?,
                    first: Origin::thaw(first)?,
                    content_type: thaw_type(content_type)?,
                }))
            }
        })
    }
}

impl ForkRequest {
    fn freeze(&self) -> FrozenForkRequest<'_> {
        let ForkRequest { fork, anchored, until } = self;
        FrozenForkRequest { fork: fork.freeze(), anchored: *anchored, until: until.0 }
    }

    fn thaw(frozen: FrozenForkRequest<'_>) -> Result<ForkRequest, ThawError> {
        let FrozenForkRequest { fork, anchored, until } = frozen;
        Ok(ForkRequest { fork: Fork::thaw(fork)?, anchored, until: Millis(until) })
    }
}

pub(super) fn freeze_events(events: &[NewEvent]) -> Vec<(Cow<'_, str>, Bytes)> {
    events.iter().map(|new| (new.format.as_str().into(), new.payload.clone())).collect()
}

pub(super) fn thaw_events(frozen: Vec<(Cow<'_, str>, Bytes)>) -> Result<Vec<NewEvent>, BadFormat> {
    let event = |(format, payload): (Cow<'_, str>, Bytes)| {
        Ok(NewEvent { format: Format::parse(&format)?, payload })
    };
    frozen.into_iter().map(event).collect()
}

fn freeze_type(given: Option<&ContentType>) -> Option<Cow<'_, str>> {
    given.map(|given| given.as_str().into())
}

fn thaw_type(frozen: Option<Cow<'_, str>>) -> Result<Option<ContentType>, BadFormat> {
    frozen.map(|text| ContentType::parse(&text)).transpose()
}
