//! What is asked of turns, as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ThawError;
use super::command::{freeze_events, thaw_events};
use super::fact::{FrozenSender, freeze_sender, thaw_sender};
use crate::ids::{AgentName, Serial, TurnId, WorkerName};
use crate::session::command::{Cancel, Claim, Input, Said, Say, Scope, Then, WhenBusy};
use crate::session::event::{Format, NewEvent};

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenInput<'a> {
    pub input: Cow<'a, str>,
    pub agent: Cow<'a, str>,
    pub format: Cow<'a, str>,
    pub payload: Bytes,
    pub sender: Option<FrozenSender<'a>>,
    pub when_busy: FrozenWhenBusy,
}

/// See [`FrozenInput`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenWhenBusy {
    Steer,
    Queue,
    Interrupt,
    Reject,
}

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenClaim<'a> {
    pub turn: Cow<'a, str>,
    pub worker: Cow<'a, str>,
    pub key: u64,
    pub lease_ms: u64,
    pub quiet_ms: u64,
}

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenSay<'a> {
    pub turn: Cow<'a, str>,
    pub epoch: u64,
    pub said: Option<FrozenSaid<'a>>,
    pub heard: Option<u64>,
    pub quiet_ms: Option<u64>,
    pub checkpoint: Option<Bytes>,
}

/// See [`FrozenSay`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenSaid<'a> {
    pub seq: u64,
    /// Format and payload.
    pub events: Vec<(Cow<'a, str>, Bytes)>,
    pub then: FrozenThen<'a>,
}

/// See [`FrozenSaid`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenThen<'a> {
    GoOn,
    Complete,
    Fail { reason: Cow<'a, str> },
    Release,
}

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenCancel<'a> {
    pub scope: FrozenScope<'a>,
    pub by: Option<FrozenSender<'a>>,
    pub reason: Cow<'a, str>,
}

/// See [`FrozenCancel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenScope<'a> {
    Turn(Cow<'a, str>),
    Agent(Cow<'a, str>),
    All,
}

impl Input {
    pub(super) fn freeze(&self) -> FrozenInput<'_> {
        FrozenInput {
            input: self.input.as_str().into(),
            agent: self.agent.as_str().into(),
            format: self.said.format.as_str().into(),
            payload: self.said.payload.clone(),
            sender: freeze_sender(self.sender.as_ref()),
            when_busy: match self.when_busy {
                WhenBusy::Steer => FrozenWhenBusy::Steer,
                WhenBusy::Queue => FrozenWhenBusy::Queue,
                WhenBusy::Interrupt => FrozenWhenBusy::Interrupt,
                WhenBusy::Reject => FrozenWhenBusy::Reject,
            },
        }
    }

    pub(super) fn thaw(frozen: FrozenInput<'_>) -> Result<Input, ThawError> {
        Ok(Input {
            input: TurnId::parse(&frozen.input)?,
            agent: AgentName::parse(&frozen.agent)?,
            said: NewEvent { format: Format::parse(&frozen.format)?, payload: frozen.payload },
            sender: thaw_sender(frozen.sender)?,
            when_busy: match frozen.when_busy {
                FrozenWhenBusy::Steer => WhenBusy::Steer,
                FrozenWhenBusy::Queue => WhenBusy::Queue,
                FrozenWhenBusy::Interrupt => WhenBusy::Interrupt,
                FrozenWhenBusy::Reject => WhenBusy::Reject,
            },
        })
    }
}

impl Claim {
    pub(super) fn freeze(&self) -> FrozenClaim<'_> {
        let Claim { turn, worker, key, lease_ms, quiet_ms } = self;
        let (turn, worker) = (turn.as_str().into(), worker.as_str().into());
        FrozenClaim { turn, worker, key: *key, lease_ms: *lease_ms, quiet_ms: *quiet_ms }
    }

    pub(super) fn thaw(frozen: FrozenClaim<'_>) -> Result<Claim, ThawError> {
        let FrozenClaim { turn, worker, key, lease_ms, quiet_ms } = frozen;
        let (turn, worker) = (TurnId::parse(&turn)?, WorkerName::parse(&worker)?);
        Ok(Claim { turn, worker, key, lease_ms, quiet_ms })
    }
}

impl Say {
    pub(super) fn freeze(&self) -> FrozenSay<'_> {
        FrozenSay {
            turn: self.turn.as_str().into(),
            epoch: self.epoch,
            said: self.said.as_ref().map(Said::freeze),
            heard: self.heard.map(|serial| serial.0),
            quiet_ms: self.quiet_ms,
            checkpoint: self.checkpoint.clone(),
        }
    }

    pub(super) fn thaw(frozen: FrozenSay<'_>) -> Result<Say, ThawError> {
        Ok(Say {
            turn: TurnId::parse(&frozen.turn)?,
            epoch: frozen.epoch,
            said: frozen.said.map(Said::thaw).transpose()?,
            heard: frozen.heard.map(Serial),
            quiet_ms: frozen.quiet_ms,
            checkpoint: frozen.checkpoint,
        })
    }
}

impl Said {
    fn freeze(&self) -> FrozenSaid<'_> {
        let then = match &self.then {
            Then::GoOn => FrozenThen::GoOn,
            Then::Complete => FrozenThen::Complete,
            Then::Fail { reason } => FrozenThen::Fail { reason: reason.into() },
            Then::Release => FrozenThen::Release,
        };
        FrozenSaid { seq: self.seq, events: freeze_events(&self.events), then }
    }

    fn thaw(frozen: FrozenSaid<'_>) -> Result<Said, ThawError> {
        let then = match frozen.then {
            FrozenThen::GoOn => Then::GoOn,
            FrozenThen::Complete => Then::Complete,
            FrozenThen::Fail { reason } => Then::Fail { reason: reason.into_owned() },
            FrozenThen::Release => Then::Release,
        };
        Ok(Said { seq: frozen.seq, events: thaw_events(frozen.events)?, then })
    }
}

impl Cancel {
    pub(super) fn freeze(&self) -> FrozenCancel<'_> {
        let scope = match &self.scope {
            Scope::Turn(turn) => FrozenScope::Turn(turn.as_str().into()),
            Scope::Agent(agent) => FrozenScope::Agent(agent.as_str().into()),
            Scope::All => FrozenScope::All,
        };
        let by = freeze_sender(self.by.as_ref());
        FrozenCancel { scope, by, reason: self.reason.as_str().into() }
    }

    pub(super) fn thaw(frozen: FrozenCancel<'_>) -> Result<Cancel, ThawError> {
        let scope = match frozen.scope {
            FrozenScope::Turn(turn) => Scope::Turn(TurnId::parse(&turn)?),
            FrozenScope::Agent(agent) => Scope::Agent(AgentName::parse(&agent)?),
            FrozenScope::All => Scope::All,
        };
        let by = thaw_sender(frozen.by)?;
        Ok(Cancel { scope, by, reason: frozen.reason.into_owned() })
    }
}
