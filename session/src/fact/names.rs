//! What facts and their parts are called, for programs.

use super::{CallCause, Cause, Change, End, Fact, PauseReason, Receipt};
use crate::ids::TurnId;

impl Fact {
    /// A stable name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Fact::Input { .. } => "input.accepted",
            Fact::Person { .. } => "person.message",
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
            Fact::Requested { .. } => "interaction.requested",
            Fact::Answered { .. } => "interaction.resolved",
            Fact::Expired { .. } => "interaction.expired",
            Fact::Withdrawn { .. } => "interaction.withdrawn",
            Fact::CallClaimed { .. } => "interaction.claimed",
            Fact::CallReleased { .. } => "interaction.released",
            Fact::ToolStarted { .. } => "tool.started",
            Fact::ToolFinished { .. } | Fact::ToolLate { .. } => "tool.finished",
            Fact::Control(control) => control.change.name(),
            Fact::Audience { .. } => "audience.changed",
            Fact::Standing { standing, .. } => standing.event(),
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
            | Fact::Requested { turn, .. }
            | Fact::Answered { turn, .. }
            | Fact::Expired { turn, .. }
            | Fact::Withdrawn { turn, .. }
            | Fact::CallClaimed { turn, .. }
            | Fact::CallReleased { turn, .. }
            | Fact::ToolStarted { turn, .. }
            | Fact::ToolFinished { turn, .. }
            | Fact::Ended { turn, .. } => Some(turn),
            Fact::Person { .. }
            | Fact::Control(_)
            | Fact::Audience { .. }
            | Fact::Standing { .. }
            | Fact::ToolLate { .. } => None,
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
            Cause::Throttled => "throttled",
            Cause::NodeGone => "node_gone",
        }
    }
}

impl CallCause {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            CallCause::Released => "released",
            CallCause::Silent => "silent",
            CallCause::Gone => "gone",
        }
    }
}

impl PauseReason {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            PauseReason::Requested => "requested",
            PauseReason::Unwatched => "unwatched",
        }
    }
}

impl Receipt {
    /// The name of its event.
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
    /// The name of its event.
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

impl End {
    /// The name of its event.
    pub fn name(&self) -> &'static str {
        match self {
            End::Completed { .. } => "turn.completed",
            End::Failed { .. } => "turn.failed",
            End::Cancelled { .. } => "turn.cancelled",
        }
    }

    /// Why it ended; empty where no reason was given.
    pub fn reason(&self) -> &str {
        match self {
            End::Completed { reason } | End::Failed { reason } | End::Cancelled { reason, .. } => {
                reason
            }
        }
    }
}
