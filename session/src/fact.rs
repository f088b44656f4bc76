//! What an event means: written by the session itself, or known of whoever wrote it.

mod members;

use serde::{Deserialize, Serialize};

use super::control::Mode;
use crate::command::Phase;
use crate::ids::{
    ControlEpoch, DeviceName, InteractionId, KindName, Millis, ParticipantName, Serial, StepName,
    TurnEpoch, TurnId,
};

pub use members::Member;

/// The meaning of an event. Its payload, if any, is what the participant or the agent said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// Somebody asked for a turn, or spoke into one that runs.
    Input {
        /// Name of the input itself; a turn has the name of its first one.
        input: TurnId,
        turn: TurnId,
        sender: Option<Sender>,
        /// No turn hears it: whoever has control is to answer.
        held: bool,
    },
    /// Whoever has control spoke.
    Person { input: TurnId, sender: Option<Sender> },
    /// A worker has the turn now. `attempt` counts from 1.
    Started { turn: TurnId, epoch: TurnEpoch, attempt: u32 },
    /// The agent said this.
    Output(Output),
    /// The worker does something else now.
    Phase { turn: TurnId, epoch: TurnEpoch, phase: Phase },
    /// The worker lives and says nothing for longer than it declared.
    Stalled { turn: TurnId, epoch: TurnEpoch },
    /// A worker that was stalled gets on again.
    Recovered { turn: TurnId, epoch: TurnEpoch },
    /// The turn has no worker any more; it is given to another at `again_at` at the earliest, in
    /// milliseconds since 1970.
    Lost { turn: TurnId, epoch: TurnEpoch, cause: Cause, again_at: u64, detail: String },
    /// The worker began a step.
    Step { turn: TurnId, epoch: TurnEpoch, step: StepName, attempt: u32 },
    /// Output of earlier attempts, from `from` to `to`, is superseded by what follows.
    Rewound { turn: TurnId, epoch: TurnEpoch, step: Option<StepName>, from: Serial, to: Serial },
    /// The step is to end; no more of it is taken.
    StepCancelled { turn: TurnId, step: StepName, by: Option<Sender>, reason: String },
    /// What became of an input on its way to a worker.
    Receipt { input: TurnId, turn: TurnId, receipt: Receipt },
    /// The worker is asked to rest at its next safe boundary.
    Pausing { turn: TurnId, reason: PauseReason },
    /// The turn rests, without a worker.
    Paused { turn: TurnId, reason: PauseReason },
    /// The turn goes on, or need not rest.
    Resumed { turn: TurnId },
    /// The turn waits for an answer, without a worker.
    Waiting { turn: TurnId },
    /// The agent asked people something.
    Asked {
        interaction: InteractionId,
        turn: TurnId,
        epoch: TurnEpoch,
        kind: KindName,
        /// Until when it can be answered.
        deadline: Option<Millis>,
    },
    /// Somebody answered.
    Answered { interaction: InteractionId, turn: TurnId, by: Option<Sender> },
    /// Nobody can answer any more.
    Expired { interaction: InteractionId, turn: TurnId },
    /// Who answers people has changed, or somebody would like it to.
    Control(Box<ControlChange>),
    /// How many watch has changed while agents are at work.
    Audience { watchers: u32, controllers: u32 },
    /// The turn is over. Said exactly once of each turn (S9).
    Ended { turn: TurnId, end: End },
}

/// See [`Fact::Output`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub turn: TurnId,
    pub epoch: TurnEpoch,
    pub attempt: u32,
    /// Payload bytes that the turn put out before, in all attempts.
    pub offset: u64,
    pub step: Option<StepName>,
    /// Not for everyone.
    pub internal: bool,
}

/// See [`Fact::Control`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlChange {
    pub change: Change,
    pub mode: Mode,
    /// Who did it; the session itself where nobody is named.
    pub by: Option<Sender>,
    /// Who has it now; the agents where nobody is named.
    pub holder: Option<Sender>,
    /// Counts the holders.
    pub epoch: ControlEpoch,
    pub until: Option<Millis>,
    pub note: String,
}

/// See [`ControlChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Requested,
    Granted,
    Taken,
    Released,
    Expired,
}

/// Who sent something, on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    pub participant: ParticipantName,
    pub device: Option<DeviceName>,
}

/// What became of an input that was spoken into a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// It has reached the worker of this epoch.
    Delivered { epoch: TurnEpoch },
    /// The worker of this epoch has taken it in.
    Consumed { epoch: TurnEpoch },
    /// The turn was completed before; it is of another turn now.
    Deferred,
    /// The turn failed or was cancelled before.
    Dropped { why: String },
}

/// Why a turn rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PauseReason {
    /// Somebody asked for it.
    Asked,
    /// Nobody watches.
    Unwatched,
}

/// Why a turn lost its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It said nothing for as long as its lease.
    Silent,
    /// It said that it lives, and did nothing for twice as long as it declared.
    Stalled,
    /// It gave the turn back.
    Released,
    /// Its connection ended.
    Disconnected,
    /// Its process ended.
    Exited,
    /// Its supervisor put another one in its place.
    Replaced,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Completed,
    Failed { reason: String },
    Cancelled { by: Option<Sender>, reason: String },
}

impl Fact {
    /// A stable name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Fact::Input { .. } => "input.accepted",
            Fact::Person { .. } => "person.said",
            Fact::Started { .. } => "turn.started",
            Fact::Output(_) => "turn.output",
            Fact::Phase { .. } => "agent.phase",
            Fact::Stalled { .. } => "agent.stalled",
            Fact::Recovered { .. } => "agent.resumed",
            Fact::Lost { .. } => "agent.lost",
            Fact::Step { .. } => "step.started",
            Fact::Rewound { .. } => "step.rewound",
            Fact::StepCancelled { .. } => "step.cancelled",
            Fact::Receipt { receipt, .. } => receipt.name(),
            Fact::Pausing { .. } => "turn.pausing",
            Fact::Paused { .. } => "turn.paused",
            Fact::Resumed { .. } => "turn.resumed",
            Fact::Waiting { .. } => "turn.waiting",
            Fact::Asked { .. } => "interaction.requested",
            Fact::Answered { .. } => "interaction.resolved",
            Fact::Expired { .. } => "interaction.expired",
            Fact::Control(control) => control.change.name(),
            Fact::Audience { .. } => "audience.changed",
            Fact::Ended { end, .. } => end.name(),
        }
    }

    /// The turn that it is about, if it is about one.
    pub fn turn(&self) -> Option<&TurnId> {
        match self {
            Fact::Output(output) => Some(&output.turn),
            Fact::Input { turn, .. }
            | Fact::Started { turn, .. }
            | Fact::Phase { turn, .. }
            | Fact::Stalled { turn, .. }
            | Fact::Recovered { turn, .. }
            | Fact::Lost { turn, .. }
            | Fact::Step { turn, .. }
            | Fact::Rewound { turn, .. }
            | Fact::StepCancelled { turn, .. }
            | Fact::Receipt { turn, .. }
            | Fact::Pausing { turn, .. }
            | Fact::Paused { turn, .. }
            | Fact::Resumed { turn }
            | Fact::Waiting { turn }
            | Fact::Asked { turn, .. }
            | Fact::Answered { turn, .. }
            | Fact::Expired { turn, .. }
            | Fact::Ended { turn, .. } => Some(turn),
            Fact::Person { .. } | Fact::Control(_) | Fact::Audience { .. } => None,
        }
    }
}

impl Cause {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Silent => "silent",
            Cause::Stalled => "stalled",
            Cause::Released => "released",
            Cause::Disconnected => "disconnected",
            Cause::Exited => "exited",
            Cause::Replaced => "replaced",
        }
    }
}

impl PauseReason {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            PauseReason::Asked => "asked",
            PauseReason::Unwatched => "unwatched",
        }
    }
}

impl Receipt {
    /// The name of the event that says so.
    pub fn name(&self) -> &'static str {
        match self {
            Receipt::Delivered { .. } => "input.delivered",
            Receipt::Consumed { .. } => "input.consumed",
            Receipt::Deferred => "input.deferred",
            Receipt::Dropped { .. } => "input.dropped",
        }
    }
}

impl Change {
    /// The name of the event that says so.
    pub fn name(self) -> &'static str {
        match self {
            Change::Requested => "control.requested",
            Change::Granted => "control.granted",
            Change::Taken => "control.taken",
            Change::Released => "control.released",
            Change::Expired => "control.expired",
        }
    }
}

impl Phase {
    /// A stable name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Thinking => "thinking",
            Phase::Streaming => "streaming",
            Phase::Tool(_) => "tool",
        }
    }
}

impl End {
    /// The name of the event that says so.
    pub fn name(&self) -> &'static str {
        match self {
            End::Completed => "turn.completed",
            End::Failed { .. } => "turn.failed",
            End::Cancelled { .. } => "turn.cancelled",
        }
    }
}
