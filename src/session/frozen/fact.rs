//! What events mean, as plain data.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ThawError, number_of, numbered};
use crate::ids::{
    DeviceName, InteractionId, KindName, Millis, ParticipantName, Serial, StepName, ToolName,
    TurnId,
};
use crate::session::command::Phase;
use crate::session::control::Mode;
use crate::session::fact::{
    Cause, Change, ControlChange, End, Fact, Output, Receipt, Rest, Sender,
};

type Text<'a> = Cow<'a, str>;

/// A fact, as in [`super::FrozenEvent`]; the kinds are numbered, so new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenFact<'a> {
    Input {
        input: Text<'a>,
        /// Where it is another than the input.
        turn: Option<Text<'a>>,
        sender: Option<FrozenSender<'a>>,
        held: bool,
    },
    Person {
        input: Text<'a>,
        sender: Option<FrozenSender<'a>>,
    },
    Started {
        turn: Text<'a>,
        epoch: u64,
        attempt: u32,
    },
    Output {
        turn: Text<'a>,
        epoch: u64,
        attempt: u32,
        offset: u64,
        step: Option<Text<'a>>,
        internal: bool,
    },
    Phase {
        turn: Text<'a>,
        epoch: u64,
        phase: FrozenPhase<'a>,
    },
    Stalled {
        turn: Text<'a>,
        epoch: u64,
    },
    Recovered {
        turn: Text<'a>,
        epoch: u64,
    },
    Lost {
        turn: Text<'a>,
        epoch: u64,
        cause: u8,
        again_at: u64,
        detail: Text<'a>,
    },
    Step {
        turn: Text<'a>,
        epoch: u64,
        step: Text<'a>,
        attempt: u32,
    },
    Rewound {
        turn: Text<'a>,
        epoch: u64,
        step: Option<Text<'a>>,
        from: u64,
        to: u64,
    },
    StepCancelled {
        turn: Text<'a>,
        step: Text<'a>,
        by: Option<FrozenSender<'a>>,
        reason: Text<'a>,
    },
    Receipt {
        input: Text<'a>,
        turn: Text<'a>,
        receipt: FrozenReceipt<'a>,
    },
    Pausing {
        turn: Text<'a>,
        reason: u8,
    },
    Paused {
        turn: Text<'a>,
        reason: u8,
    },
    Resumed {
        turn: Text<'a>,
    },
    Waiting {
        turn: Text<'a>,
    },
    Asked {
        interaction: Text<'a>,
        turn: Text<'a>,
        epoch: u64,
        kind: Text<'a>,
        deadline: Option<u64>,
    },
    Answered {
        interaction: Text<'a>,
        turn: Text<'a>,
        by: Option<FrozenSender<'a>>,
    },
    Expired {
        interaction: Text<'a>,
        turn: Text<'a>,
    },
    Control {
        change: u8,
        mode: u8,
        by: Option<FrozenSender<'a>>,
        holder: Option<FrozenSender<'a>>,
        epoch: u64,
        until: Option<u64>,
        note: Text<'a>,
    },
    Audience {
        watchers: u32,
        controllers: u32,
    },
    Completed {
        turn: Text<'a>,
    },
    Failed {
        turn: Text<'a>,
        reason: Text<'a>,
    },
    Cancelled {
        turn: Text<'a>,
        by: Option<FrozenSender<'a>>,
        reason: Text<'a>,
    },
}

/// Participant and device.
pub(super) type FrozenSender<'a> = (Text<'a>, Option<Text<'a>>);

/// A phase, as in [`FrozenFact`], commands and states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenPhase<'a> {
    Thinking,
    Streaming,
    Tool(Text<'a>),
}

/// See [`FrozenFact`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenReceipt<'a> {
    Delivered { epoch: u64 },
    Consumed { epoch: u64 },
    Deferred,
    Dropped { why: Text<'a> },
}

impl Fact {
    pub(super) fn freeze(&self) -> FrozenFact<'_> {
        let turn = Text::from(self.turn().map_or("", TurnId::as_str));
        match self {
            Fact::Input { input, turn, sender, held } => FrozenFact::Input {
                input: input.as_str().into(),
                turn: (turn != input).then(|| turn.as_str().into()),
                sender: freeze_sender(sender.as_ref()),
                held: *held,
            },
            Fact::Person { input, sender } => FrozenFact::Person {
                input: input.as_str().into(),
                sender: freeze_sender(sender.as_ref()),
            },
            Fact::Started { turn: _, epoch, attempt } => {
                FrozenFact::Started { turn, epoch: *epoch, attempt: *attempt }
            }
            Fact::Output(output) => FrozenFact::Output {
                turn,
                epoch: output.epoch,
                attempt: output.attempt,
                offset: output.offset,
                step: output.step.as_ref().map(|step| step.as_str().into()),
                internal: output.internal,
            },
            Fact::Phase { turn: _, epoch, phase } => {
                FrozenFact::Phase { turn, epoch: *epoch, phase: phase.freeze() }
            }
            Fact::Stalled { turn: _, epoch } => FrozenFact::Stalled { turn, epoch: *epoch },
            Fact::Recovered { turn: _, epoch } => FrozenFact::Recovered { turn, epoch: *epoch },
            Fact::Lost { turn: _, epoch, cause, again_at, detail } => FrozenFact::Lost {
                turn,
                epoch: *epoch,
                cause: number_of(&Cause::ALL, *cause),
                again_at: *again_at,
                detail: detail.into(),
            },
            Fact::Step { turn: _, epoch, step, attempt } => {
                let step = step.as_str().into();
                FrozenFact::Step { turn, epoch: *epoch, step, attempt: *attempt }
            }
            Fact::Rewound { turn: _, epoch, step, from, to } => {
                let step = step.as_ref().map(|step| step.as_str().into());
                FrozenFact::Rewound { turn, epoch: *epoch, step, from: from.0, to: to.0 }
            }
            Fact::StepCancelled { turn: _, step, by, reason } => {
                let (step, by) = (step.as_str().into(), freeze_sender(by.as_ref()));
                FrozenFact::StepCancelled { turn, step, by, reason: reason.into() }
            }
            Fact::Receipt { input, turn: _, receipt } => {
                let receipt = match receipt {
                    Receipt::Delivered { epoch } => FrozenReceipt::Delivered { epoch: *epoch },
                    Receipt::Consumed { epoch } => FrozenReceipt::Consumed { epoch: *epoch },
                    Receipt::Deferred => FrozenReceipt::Deferred,
                    Receipt::Dropped { why } => FrozenReceipt::Dropped { why: why.into() },
                };
                FrozenFact::Receipt { input: input.as_str().into(), turn, receipt }
            }
            Fact::Pausing { turn: _, reason } => {
                FrozenFact::Pausing { turn, reason: number_of(&Rest::ALL, *reason) }
            }
            Fact::Paused { turn: _, reason } => {
                FrozenFact::Paused { turn, reason: number_of(&Rest::ALL, *reason) }
            }
            Fact::Resumed { .. } => FrozenFact::Resumed { turn },
            Fact::Waiting { .. } => FrozenFact::Waiting { turn },
            Fact::Asked { interaction, turn: _, epoch, kind, deadline } => FrozenFact::Asked {
                interaction: interaction.as_str().into(),
                turn,
                epoch: *epoch,
                kind: kind.as_str().into(),
                deadline: deadline.map(|at| at.0),
            },
            Fact::Answered { interaction, turn: _, by } => {
                let (interaction, by) = (interaction.as_str().into(), freeze_sender(by.as_ref()));
                FrozenFact::Answered { interaction, turn, by }
            }
            Fact::Expired { interaction, turn: _ } => {
                FrozenFact::Expired { interaction: interaction.as_str().into(), turn }
            }
            Fact::Control(control) => FrozenFact::Control {
                change: number_of(&Change::ALL, control.change),
                mode: number_of(&Mode::ALL, control.mode),
                by: freeze_sender(control.by.as_ref()),
                holder: freeze_sender(control.holder.as_ref()),
                epoch: control.epoch,
                until: control.until.map(|until| until.0),
                note: control.note.as_str().into(),
            },
            Fact::Audience { watchers, controllers } => {
                FrozenFact::Audience { watchers: *watchers, controllers: *controllers }
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
        let ended = |turn: Text<'_>, end: End| -> Result<Fact, ThawError> {
            Ok(Fact::Ended { turn: TurnId::parse(&turn)?, end })
        };
        Ok(match frozen {
            FrozenFact::Input { input, turn, sender, held } => Fact::Input {
                turn: TurnId::parse(turn.as_ref().unwrap_or(&input))?,
                input: TurnId::parse(&input)?,
                sender: thaw_sender(sender)?,
                held,
            },
            FrozenFact::Person { input, sender } => {
                Fact::Person { input: TurnId::parse(&input)?, sender: thaw_sender(sender)? }
            }
            FrozenFact::Started { turn, epoch, attempt } => {
                Fact::Started { turn: TurnId::parse(&turn)?, epoch, attempt }
            }
            FrozenFact::Output { turn, epoch, attempt, offset, step, internal } => {
                let (turn, step) = (TurnId::parse(&turn)?, thaw_step(step)?);
                Fact::Output(Output { turn, epoch, attempt, offset, step, internal })
            }
            FrozenFact::Phase { turn, epoch, phase } => {
                Fact::Phase { turn: TurnId::parse(&turn)?, epoch, phase: Phase::thaw(phase)? }
            }
            FrozenFact::Stalled { turn, epoch } => {
                Fact::Stalled { turn: TurnId::parse(&turn)?, epoch }
            }
            FrozenFact::Recovered { turn, epoch } => {
                Fact::Recovered { turn: TurnId::parse(&turn)?, epoch }
            }
            FrozenFact::Lost { turn, epoch, cause, again_at, detail } => Fact::Lost {
                turn: TurnId::parse(&turn)?,
                epoch,
                cause: numbered(&Cause::ALL, cause, "a cause")?,
                again_at,
                detail: detail.into_owned(),
            },
            FrozenFact::Step { turn, epoch, step, attempt } => {
                let (turn, step) = (TurnId::parse(&turn)?, StepName::parse(&step)?);
                Fact::Step { turn, epoch, step, attempt }
            }
            FrozenFact::Rewound { turn, epoch, step, from, to } => {
                let (turn, step) = (TurnId::parse(&turn)?, thaw_step(step)?);
                Fact::Rewound { turn, epoch, step, from: Serial(from), to: Serial(to) }
            }
            FrozenFact::StepCancelled { turn, step, by, reason } => {
                let (turn, step) = (TurnId::parse(&turn)?, StepName::parse(&step)?);
                let (by, reason) = (thaw_sender(by)?, reason.into_owned());
                Fact::StepCancelled { turn, step, by, reason }
            }
            FrozenFact::Receipt { input, turn, receipt } => {
                let (input, turn) = (TurnId::parse(&input)?, TurnId::parse(&turn)?);
                let receipt = match receipt {
                    FrozenReceipt::Delivered { epoch } => Receipt::Delivered { epoch },
                    FrozenReceipt::Consumed { epoch } => Receipt::Consumed { epoch },
                    FrozenReceipt::Deferred => Receipt::Deferred,
                    FrozenReceipt::Dropped { why } => Receipt::Dropped { why: why.into_owned() },
                };
                Fact::Receipt { input, turn, receipt }
            }
            FrozenFact::Pausing { turn, reason } => Fact::Pausing {
                turn: TurnId::parse(&turn)?,
                reason: numbered(&Rest::ALL, reason, "a reason to rest")?,
            },
            FrozenFact::Paused { turn, reason } => Fact::Paused {
                turn: TurnId::parse(&turn)?,
                reason: numbered(&Rest::ALL, reason, "a reason to rest")?,
            },
            FrozenFact::Resumed { turn } => Fact::Resumed { turn: TurnId::parse(&turn)? },
            FrozenFact::Waiting { turn } => Fact::Waiting { turn: TurnId::parse(&turn)? },
            FrozenFact::Asked { interaction, turn, epoch, kind, deadline } => Fact::Asked {
                interaction: InteractionId::parse(&interaction)?,
                turn: TurnId::parse(&turn)?,
                epoch,
                kind: KindName::parse(&kind)?,
                deadline: deadline.map(Millis),
            },
            FrozenFact::Answered { interaction, turn, by } => Fact::Answered {
                interaction: InteractionId::parse(&interaction)?,
                turn: TurnId::parse(&turn)?,
                by: thaw_sender(by)?,
            },
            FrozenFact::Expired { interaction, turn } => Fact::Expired {
                interaction: InteractionId::parse(&interaction)?,
                turn: TurnId::parse(&turn)?,
            },
            FrozenFact::Control { change, mode, by, holder, epoch, until, note } => {
                Fact::Control(Box::new(ControlChange {
                    change: numbered(&Change::ALL, change, "a change of control")?,
                    mode: numbered(&Mode::ALL, mode, "a mode of control")?,
                    by: thaw_sender(by)?,
                    holder: thaw_sender(holder)?,
                    epoch,
                    until: until.map(Millis),
                    note: note.into_owned(),
                }))
            }
            FrozenFact::Audience { watchers, controllers } => {
                Fact::Audience { watchers, controllers }
            }
            FrozenFact::Completed { turn } => ended(turn, End::Completed)?,
            FrozenFact::Failed { turn, reason } => {
                ended(turn, End::Failed { reason: reason.into_owned() })?
            }
            FrozenFact::Cancelled { turn, by, reason } => {
                let (by, reason) = (thaw_sender(by)?, reason.into_owned());
                ended(turn, End::Cancelled { by, reason })?
            }
        })
    }
}

impl Phase {
    pub(super) fn freeze(&self) -> FrozenPhase<'_> {
        match self {
            Phase::Thinking => FrozenPhase::Thinking,
            Phase::Streaming => FrozenPhase::Streaming,
            Phase::Tool(tool) => FrozenPhase::Tool(tool.as_str().into()),
        }
    }

    pub(super) fn thaw(frozen: FrozenPhase<'_>) -> Result<Phase, ThawError> {
        Ok(match frozen {
            FrozenPhase::Thinking => Phase::Thinking,
            FrozenPhase::Streaming => Phase::Streaming,
            FrozenPhase::Tool(tool) => Phase::Tool(ToolName::parse(&tool)?),
        })
    }
}

pub(super) fn thaw_step(frozen: Option<Text<'_>>) -> Result<Option<StepName>, ThawError> {
    Ok(frozen.map(|step| StepName::parse(&step)).transpose()?)
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
