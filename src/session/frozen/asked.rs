//! What is asked of turns, as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::{freeze_events, thaw_events};
use super::fact::{FrozenPhase, FrozenSender, freeze_sender, thaw_sender, thaw_step};
use super::{ThawError, number_of, numbered};
use crate::ids::{AgentName, InteractionId, KindName, Serial, StepName, TurnId, WorkerName};
use crate::session::command::{
    Ask, Cancel, Claim, Input, Lose, Phase, Role, Said, Say, Scope, Then, WhenBusy,
};
use crate::session::event::{Format, NewEvent};
use crate::session::fact::Cause;

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenInput<'a> {
    pub input: Cow<'a, str>,
    pub agent: Cow<'a, str>,
    pub format: Cow<'a, str>,
    pub payload: Bytes,
    pub sender: Option<FrozenSender<'a>>,
    pub when_busy: Option<u8>,
    pub role: u8,
    pub attempts: Option<u32>,
    pub quiet_ms: Option<u64>,
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
    pub delivered: Option<u64>,
    pub quiet_ms: Option<u64>,
    pub phase: Option<FrozenPhase<'a>>,
    pub checkpoint: Option<Bytes>,
}

/// See [`FrozenSay`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenSaid<'a> {
    pub seq: u64,
    pub step: Option<Cow<'a, str>>,
    pub rewind: bool,
    /// Format and payload.
    pub events: Vec<(Cow<'a, str>, Bytes)>,
    pub internal: bool,
    pub ask: Vec<FrozenAsk<'a>>,
    pub then: FrozenThen<'a>,
}

/// Interaction, kind, format and payload of the question, and how long it stays open.
type FrozenAsk<'a> = (Cow<'a, str>, Cow<'a, str>, Cow<'a, str>, Bytes, Option<u64>);

/// See [`FrozenSaid`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenThen<'a> {
    GoOn,
    Complete,
    Fail { reason: Cow<'a, str> },
    Release,
    Wait,
    Pause,
}

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenLose<'a> {
    pub turn: Cow<'a, str>,
    pub epoch: u64,
    pub cause: u8,
    pub detail: Cow<'a, str>,
}

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenCancel<'a> {
    pub scope: FrozenScope<'a>,
    pub by: Option<FrozenSender<'a>>,
    pub reason: Cow<'a, str>,
    pub role: u8,
}

/// See [`FrozenCancel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenScope<'a> {
    Turn(Cow<'a, str>),
    Agent(Cow<'a, str>),
    All,
    Step(Cow<'a, str>, Cow<'a, str>),
}

impl Input {
    pub(super) fn freeze(&self) -> FrozenInput<'_> {
        FrozenInput {
            input: self.input.as_str().into(),
            agent: self.agent.as_str().into(),
            format: self.said.format.as_str().into(),
            payload: self.said.payload.clone(),
            sender: freeze_sender(self.sender.as_ref()),
            when_busy: self.when_busy.map(|busy| number_of(&WhenBusy::ALL, busy)),
            role: number_of(&Role::ALL, self.role),
            attempts: self.attempts,
            quiet_ms: self.quiet_ms,
        }
    }

    pub(super) fn thaw(frozen: FrozenInput<'_>) -> Result<Input, ThawError> {
        Ok(Input {
            input: TurnId::parse(&frozen.input)?,
            agent: AgentName::parse(&frozen.agent)?,
            said: NewEvent { format: Format::parse(&frozen.format)?, payload: frozen.payload },
            sender: thaw_sender(frozen.sender)?,
            when_busy: frozen
                .when_busy
                .map(|number| numbered(&WhenBusy::ALL, number, "what a busy agent does"))
                .transpose()?,
            role: numbered(&Role::ALL, frozen.role, "a role")?,
            attempts: frozen.attempts,
            quiet_ms: frozen.quiet_ms,
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
            delivered: self.delivered.map(|serial| serial.0),
            quiet_ms: self.quiet_ms,
            phase: self.phase.as_ref().map(Phase::freeze),
            checkpoint: self.checkpoint.clone(),
        }
    }

    pub(super) fn thaw(frozen: FrozenSay<'_>) -> Result<Say, ThawError> {
        Ok(Say {
            turn: TurnId::parse(&frozen.turn)?,
            epoch: frozen.epoch,
            said: frozen.said.map(Said::thaw).transpose()?,
            heard: frozen.heard.map(Serial),
            delivered: frozen.delivered.map(Serial),
            quiet_ms: frozen.quiet_ms,
            phase: frozen.phase.map(Phase::thaw).transpose()?,
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
            Then::Wait => FrozenThen::Wait,
            Then::Pause => FrozenThen::Pause,
        };
        let ask = |ask: &'_ Ask| {
            (
                Cow::Owned(ask.interaction.as_str().to_owned()),
                Cow::Owned(ask.kind.as_str().to_owned()),
                Cow::Owned(ask.question.format.as_str().to_owned()),
                ask.question.payload.clone(),
                ask.deadline_ms,
            )
        };
        FrozenSaid {
            seq: self.seq,
            step: self.step.as_ref().map(|step| step.as_str().into()),
            rewind: self.rewind,
            events: freeze_events(&self.events),
            internal: self.internal,
            ask: self.ask.iter().map(ask).collect(),
            then,
        }
    }

    fn thaw(frozen: FrozenSaid<'_>) -> Result<Said, ThawError> {
        let then = match frozen.then {
            FrozenThen::GoOn => Then::GoOn,
            FrozenThen::Complete => Then::Complete,
            FrozenThen::Fail { reason } => Then::Fail { reason: reason.into_owned() },
            FrozenThen::Release => Then::Release,
            FrozenThen::Wait => Then::Wait,
            FrozenThen::Pause => Then::Pause,
        };
        let ask =
            frozen.ask.into_iter().map(|(interaction, kind, format, payload, deadline_ms)| {
                let (interaction, kind) =
                    (InteractionId::parse(&interaction)?, KindName::parse(&kind)?);
                let question = NewEvent { format: Format::parse(&format)?, payload };
                Ok(Ask { interaction, kind, question, deadline_ms })
            });
        Ok(Said {
            seq: frozen.seq,
            step: thaw_step(frozen.step)?,
            rewind: frozen.rewind,
            events: thaw_events(frozen.events)?,
            internal: frozen.internal,
            ask: ask.collect::<Result<_, ThawError>>()?,
            then,
        })
    }
}

impl Lose {
    pub(super) fn freeze(&self) -> FrozenLose<'_> {
        let (turn, cause) = (self.turn.as_str().into(), number_of(&Cause::ALL, self.cause));
        FrozenLose { turn, epoch: self.epoch, cause, detail: self.detail.as_str().into() }
    }

    pub(super) fn thaw(frozen: FrozenLose<'_>) -> Result<Lose, ThawError> {
        Ok(Lose {
            turn: TurnId::parse(&frozen.turn)?,
            epoch: frozen.epoch,
            cause: numbered(&Cause::ALL, frozen.cause, "a cause")?,
            detail: frozen.detail.into_owned(),
        })
    }
}

impl Cancel {
    pub(super) fn freeze(&self) -> FrozenCancel<'_> {
        FrozenCancel {
            scope: self.scope.freeze(),
            by: freeze_sender(self.by.as_ref()),
            reason: self.reason.as_str().into(),
            role: number_of(&Role::ALL, self.role),
        }
    }

    pub(super) fn thaw(frozen: FrozenCancel<'_>) -> Result<Cancel, ThawError> {
        Ok(Cancel {
            scope: Scope::thaw(frozen.scope)?,
            by: thaw_sender(frozen.by)?,
            reason: frozen.reason.into_owned(),
            role: numbered(&Role::ALL, frozen.role, "a role")?,
        })
    }
}

impl Scope {
    pub(super) fn freeze(&self) -> FrozenScope<'_> {
        match self {
            Scope::Turn(turn) => FrozenScope::Turn(turn.as_str().into()),
            Scope::Agent(agent) => FrozenScope::Agent(agent.as_str().into()),
            Scope::All => FrozenScope::All,
            Scope::Step(turn, step) => {
                FrozenScope::Step(turn.as_str().into(), step.as_str().into())
            }
        }
    }

    pub(super) fn thaw(frozen: FrozenScope<'_>) -> Result<Scope, ThawError> {
        Ok(match frozen {
            FrozenScope::Turn(turn) => Scope::Turn(TurnId::parse(&turn)?),
            FrozenScope::Agent(agent) => Scope::Agent(AgentName::parse(&agent)?),
            FrozenScope::All => Scope::All,
            FrozenScope::Step(turn, step) => {
                Scope::Step(TurnId::parse(&turn)?, StepName::parse(&step)?)
            }
        })
    }
}
