//! What events mean, as plain data.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::ThawError;
use crate::ids::{AgentName, DeviceName, ParticipantName, TurnId};
use crate::session::fact::{Cause, End, Fact, Sender};

/// A fact, as in [`super::FrozenEvent`]; the kinds are numbered, so new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenFact<'a> {
    Input {
        input: Cow<'a, str>,
        turn: Cow<'a, str>,
        agent: Cow<'a, str>,
        sender: Option<FrozenSender<'a>>,
    },
    Started {
        turn: Cow<'a, str>,
        agent: Cow<'a, str>,
        epoch: u64,
        attempt: u32,
    },
    Output {
        turn: Cow<'a, str>,
        epoch: u64,
    },
    Stalled {
        turn: Cow<'a, str>,
        epoch: u64,
    },
    Lost {
        turn: Cow<'a, str>,
        epoch: u64,
        cause: FrozenCause,
        again_at: u64,
    },
    Completed {
        turn: Cow<'a, str>,
    },
    Failed {
        turn: Cow<'a, str>,
        reason: Cow<'a, str>,
    },
    Cancelled {
        turn: Cow<'a, str>,
        by: Option<FrozenSender<'a>>,
        reason: Cow<'a, str>,
    },
}

/// Participant and device.
pub(super) type FrozenSender<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// See [`FrozenFact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenCause {
    Silent,
    Stalled,
    Released,
}

impl Fact {
    pub(super) fn freeze(&self) -> FrozenFact<'_> {
        let turn = self.turn().as_str().into();
        match self {
            Fact::Input { input, turn: _, agent, sender } => FrozenFact::Input {
                input: input.as_str().into(),
                turn,
                agent: agent.as_str().into(),
                sender: freeze_sender(sender.as_ref()),
            },
            Fact::Started { turn: _, agent, epoch, attempt } => {
                let agent = agent.as_str().into();
                FrozenFact::Started { turn, agent, epoch: *epoch, attempt: *attempt }
            }
            Fact::Output { turn: _, epoch } => FrozenFact::Output { turn, epoch: *epoch },
            Fact::Stalled { turn: _, epoch } => FrozenFact::Stalled { turn, epoch: *epoch },
            Fact::Lost { turn: _, epoch, cause, again_at } => {
                let cause = match cause {
                    Cause::Silent => FrozenCause::Silent,
                    Cause::Stalled => FrozenCause::Stalled,
                    Cause::Released => FrozenCause::Released,
                };
                FrozenFact::Lost { turn, epoch: *epoch, cause, again_at: *again_at }
            }
            Fact::Ended { turn: _, end: End::Completed } => FrozenFact::Completed { turn },
            Fact::Ended { turn: _, end: End::Failed { reason } } => {
                FrozenFact::Failed { turn, reason: reason.into() }
            }
            Fact::Ended { turn: _, end: End::Cancelled { by, reason } } => {
                let by = freeze_sender(by.as_ref());
                FrozenFact::Cancelled { turn, by, reason: reason.into() }
            }
        }
    }

    pub(super) fn thaw(frozen: FrozenFact<'_>) -> Result<Fact, ThawError> {
        let ended = |turn: Cow<'_, str>, end: End| -> Result<Fact, ThawError> {
            Ok(Fact::Ended { turn: TurnId::parse(&turn)?, end })
        };
        match frozen {
            FrozenFact::Input { input, turn, agent, sender } => Ok(Fact::Input {
                input: TurnId::parse(&input)?,
                turn: TurnId::parse(&turn)?,
                agent: AgentName::parse(&agent)?,
                sender: thaw_sender(sender)?,
            }),
            FrozenFact::Started { turn, agent, epoch, attempt } => {
                let (turn, agent) = (TurnId::parse(&turn)?, AgentName::parse(&agent)?);
                Ok(Fact::Started { turn, agent, epoch, attempt })
            }
            FrozenFact::Output { turn, epoch } => {
                Ok(Fact::Output { turn: TurnId::parse(&turn)?, epoch })
            }
            FrozenFact::Stalled { turn, epoch } => {
                Ok(Fact::Stalled { turn: TurnId::parse(&turn)?, epoch })
            }
            FrozenFact::Lost { turn, epoch, cause, again_at } => {
                let cause = match cause {
                    FrozenCause::Silent => Cause::Silent,
                    FrozenCause::Stalled => Cause::Stalled,
                    FrozenCause::Released => Cause::Released,
                };
                Ok(Fact::Lost { turn: TurnId::parse(&turn)?, epoch, cause, again_at })
            }
            FrozenFact::Completed { turn } => ended(turn, End::Completed),
            FrozenFact::Failed { turn, reason } => {
                ended(turn, End::Failed { reason: reason.into_owned() })
            }
            FrozenFact::Cancelled { turn, by, reason } => {
                let (by, reason) = (thaw_sender(by)?, reason.into_owned());
                ended(turn, End::Cancelled { by, reason })
            }
        }
    }
}

pub(super) fn freeze_sender(sender: Option<&Sender>) -> Option<FrozenSender<'_>> {
    let sender = sender?;
    let device = sender.device.as_ref().map(|device| device.as_str().into());
    Some((sender.participant.as_str().into(), device))
}

pub(super) fn thaw_sender(frozen: Option<FrozenSender<'_>>) -> Result<Option<Sender>, ThawError> {
    let Some((participant, device)) = frozen else { return Ok(None) };
    let participant = ParticipantName::parse(&participant)?;
    let device = device.map(|device| DeviceName::parse(&device)).transpose()?;
    Ok(Some(Sender { participant, device }))
}
