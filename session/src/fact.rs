//! What an event means: written by the session itself, or known of whoever wrote it.

use serde::{Deserialize, Serialize};

use super::control::Mode;
use crate::command::Phase;
use crate::ids::{
    AgentName, DeviceName, InteractionId, KindName, Millis, ParticipantName, Serial, StepName,
    TurnId,
};

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
    Started { turn: TurnId, epoch: u64, attempt: u32 },
    /// The agent said this.
    Output(Output),
    /// The worker does something else now.
    Phase { turn: TurnId, epoch: u64, phase: Phase },
    /// The worker lives and says nothing for longer than it declared.
    Stalled { turn: TurnId, epoch: u64 },
    /// A worker that was stalled gets on again.
    Recovered { turn: TurnId, epoch: u64 },
    /// The turn has no worker any more; it is given to another at `again_at` at the earliest, in
    /// milliseconds since 1970.
    Lost { turn: TurnId, epoch: u64, cause: Cause, again_at: u64, detail: String },
    /// The worker began a step.
    Step { turn: TurnId, epoch: u64, step: StepName, attempt: u32 },
    /// Output of earlier attempts, from `from` to `to`, is superseded by what follows.
    Rewound { turn: TurnId, epoch: u64, step: Option<StepName>, from: Serial, to: Serial },
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
        epoch: u64,
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
    pub epoch: u64,
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
    pub epoch: u64,
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
    Delivered { epoch: u64 },
    /// The worker of this epoch has taken it in.
    Consumed { epoch: u64 },
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
    /// What it relies on has no room for it now: no fault of the turn.
    Throttled,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// `reason`: why the answer ended, where that was not its own end; empty otherwise.
    Completed {
        reason: String,
    },
    Failed {
        reason: String,
    },
    Cancelled {
        by: Option<Sender>,
        reason: String,
    },
}

/// A member of what a fact tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
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

    /// Tells everything but the kind and the turn, under names for programs; always in the same order.
    pub fn members(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        match self {
            Fact::Input { .. } | Fact::Person { .. } | Fact::Receipt { .. } => self.of_input(tell),
            Fact::Asked { .. }
            | Fact::Answered { .. }
            | Fact::Expired { .. }
            | Fact::Control(_)
            | Fact::Audience { .. } => self.of_people(tell),
            Fact::Started { .. }
            | Fact::Output(_)
            | Fact::Phase { .. }
            | Fact::Stalled { .. }
            | Fact::Recovered { .. }
            | Fact::Lost { .. }
            | Fact::Step { .. }
            | Fact::Rewound { .. }
            | Fact::StepCancelled { .. }
            | Fact::Pausing { .. }
            | Fact::Paused { .. }
            | Fact::Resumed { .. }
            | Fact::Waiting { .. }
            | Fact::Ended { .. } => self.of_turn(tell),
        }
    }

    fn of_input(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        use Member::{Flag, Number, Text};
        match self {
            Fact::Input { input, turn: _, sender, held } => {
                tell("input", Text(input.as_str()));
                tell_sender(tell, sender.as_ref());
                if *held {
                    tell("held", Flag(true));
                }
            }
            Fact::Person { input, sender } => {
                tell("input", Text(input.as_str()));
                tell_sender(tell, sender.as_ref());
            }
            Fact::Receipt { input, turn: _, receipt } => {
                tell("input", Text(input.as_str()));
                match receipt {
                    Receipt::Delivered { epoch } | Receipt::Consumed { epoch } => {
                        tell("epoch", Number(*epoch));
                    }
                    Receipt::Deferred => {}
                    Receipt::Dropped { why } => tell("why", Text(why)),
                }
            }
            _ => unreachable!("facts of turns and people tell their members elsewhere"),
        }
    }

    fn of_turn(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        use Member::{Number, Text};
        match self {
            Fact::Started { turn: _, epoch, attempt } => {
                tell("epoch", Number(*epoch));
                tell("attempt", Number(u64::from(*attempt)));
            }
            Fact::Output(output) => {
                tell("epoch", Number(output.epoch));
                tell("attempt", Number(u64::from(output.attempt)));
                tell("offset", Number(output.offset));
                if let Some(step) = &output.step {
                    tell("step", Text(step.as_str()));
                }
                if output.internal {
                    tell("visibility", Text("internal"));
                }
            }
            Fact::Phase { turn: _, epoch, phase } => {
                tell("epoch", Number(*epoch));
                tell("phase", Text(phase.name()));
                if let Phase::Tool(tool) = phase {
                    tell("tool", Text(tool.as_str()));
                }
            }
            Fact::Stalled { turn: _, epoch } | Fact::Recovered { turn: _, epoch } => {
                tell("epoch", Number(*epoch));
            }
            Fact::Lost { turn: _, epoch, cause, again_at, detail } => {
                tell("epoch", Number(*epoch));
                tell("cause", Text(cause.name()));
                tell("again_at", Number(*again_at));
                tell_unless_empty(tell, "detail", detail);
            }
            Fact::Step { turn: _, epoch, step, attempt } => {
                tell("epoch", Number(*epoch));
                tell("step", Text(step.as_str()));
                tell("attempt", Number(u64::from(*attempt)));
            }
            Fact::Rewound { turn: _, epoch, step, from, to } => {
                tell("epoch", Number(*epoch));
                if let Some(step) = step {
                    tell("step", Text(step.as_str()));
                }
                tell("from", Number(from.0));
                tell("to", Number(to.0));
            }
            Fact::StepCancelled { turn: _, step, by, reason } => {
                tell("step", Text(step.as_str()));
                tell("reason", Text(reason));
                tell_sender(tell, by.as_ref());
            }
            Fact::Pausing { turn: _, reason } | Fact::Paused { turn: _, reason } => {
                tell("reason", Text(reason.name()));
            }
            Fact::Resumed { .. } | Fact::Waiting { .. } => {}
            Fact::Ended { turn: _, end: End::Completed { reason } } => {
                tell_unless_empty(tell, "reason", reason);
            }
            Fact::Ended { turn: _, end: End::Failed { reason } } => tell("reason", Text(reason)),
            Fact::Ended { turn: _, end: End::Cancelled { by, reason } } => {
                tell("reason", Text(reason));
                tell_sender(tell, by.as_ref());
            }
            _ => unreachable!("facts of inputs and people tell their members elsewhere"),
        }
    }

    fn of_people(&self, tell: &mut dyn FnMut(&'static str, Member<'_>)) {
        use Member::{Number, Text};
        match self {
            Fact::Asked { interaction, turn: _, epoch, kind, deadline } => {
                tell("interaction", Text(interaction.as_str()));
                tell("epoch", Number(*epoch));
                tell("kind", Text(kind.as_str()));
                if let Some(deadline) = deadline {
                    tell("deadline", Number(deadline.0));
                }
            }
            Fact::Answered { interaction, turn: _, by } => {
                tell("interaction", Text(interaction.as_str()));
                tell_sender(tell, by.as_ref());
            }
            Fact::Expired { interaction, turn: _ } => {
                tell("interaction", Text(interaction.as_str()));
            }
            Fact::Control(control) => {
                tell("mode", Text(control.mode.name()));
                tell_sender(tell, control.by.as_ref());
                if let Some(holder) = &control.holder {
                    tell("holder", Text(holder.participant.as_str()));
                }
                tell("epoch", Number(control.epoch));
                if let Some(until) = control.until {
                    tell("until", Number(until.0));
                }
                tell_unless_empty(tell, "note", &control.note);
            }
            Fact::Audience { watchers, controllers } => {
                tell("watchers", Number(u64::from(*watchers)));
                tell("controllers", Number(u64::from(*controllers)));
            }
            _ => unreachable!("facts of inputs and turns tell their members elsewhere"),
        }
    }

    /// Gives the fact's bytes to a hash; see [`super::chain`].
    pub(super) fn feed(&self, agent: Option<&AgentName>, out: &mut impl FnMut(&[u8])) {
        text(out, self.name());
        text(out, self.turn().map_or("", TurnId::as_str));
        text(out, agent.map_or("", AgentName::as_str));
        self.members(&mut |name, member| {
            text(out, name);
            match member {
                Member::Text(given) => text(out, given),
                Member::Number(number) => out(&number.to_le_bytes()),
                Member::Flag(flag) => out(&[u8::from(flag)]),
            }
        });
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

impl End {
    /// The name of the event that says so.
    pub fn name(&self) -> &'static str {
        match self {
            End::Completed { .. } => "turn.completed",
            End::Failed { .. } => "turn.failed",
            End::Cancelled { .. } => "turn.cancelled",
        }
    }
}

fn tell_sender(tell: &mut dyn FnMut(&'static str, Member<'_>), sender: Option<&Sender>) {
    let Some(sender) = sender else { return };
    tell("participant", Member::Text(sender.participant.as_str()));
    if let Some(device) = &sender.device {
        tell("device", Member::Text(device.as_str()));
    }
}

fn tell_unless_empty(
    tell: &mut dyn FnMut(&'static str, Member<'_>),
    name: &'static str,
    text: &str,
) {
    if !text.is_empty() {
        tell(name, Member::Text(text));
    }
}

fn text(out: &mut impl FnMut(&[u8]), text: &str) {
    let length = u32::try_from(text.len()).expect("names and reasons are short");
    out(&length.to_le_bytes());
    out(text.as_bytes());
}
