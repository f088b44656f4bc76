//! What an event means for a turn: written by the session itself, or known of whoever wrote it.

use crate::ids::{AgentName, DeviceName, ParticipantName, TurnId};

/// The meaning of an event. Its payload, if any, is what the participant or the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Somebody asked for a turn, or spoke into one that runs.
    Input {
        /// Name of the input itself; a turn has the name of its first one.
        input: TurnId,
        turn: TurnId,
        agent: AgentName,
        sender: Option<Sender>,
    },
    /// A worker has the turn now. `attempt` counts from 1.
    Started { turn: TurnId, agent: AgentName, epoch: u64, attempt: u32 },
    /// The agent said this.
    Output { turn: TurnId, epoch: u64 },
    /// The worker lives and says nothing for longer than it declared.
    Stalled { turn: TurnId, epoch: u64 },
    /// The turn has no worker any more; it is given to another at `again_at` at the earliest, in
    /// milliseconds since 1970.
    Lost { turn: TurnId, epoch: u64, cause: Cause, again_at: u64 },
    /// The turn is over. Said exactly once of each turn (S9).
    Ended { turn: TurnId, end: End },
}

/// Who sent something, on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub participant: ParticipantName,
    pub device: Option<DeviceName>,
}

/// Why a turn lost its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It said nothing for as long as its lease.
    Silent,
    /// It said that it lives, and did nothing for twice as long as it declared.
    Stalled,
    /// It gave the turn back.
    Released,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
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
            Fact::Started { .. } => "turn.started",
            Fact::Output { .. } => "turn.output",
            Fact::Stalled { .. } => "agent.stalled",
            Fact::Lost { .. } => "agent.lost",
            Fact::Ended { end, .. } => end.name(),
        }
    }

    /// The turn that it is about.
    pub fn turn(&self) -> &TurnId {
        match self {
            Fact::Input { turn, .. }
            | Fact::Started { turn, .. }
            | Fact::Output { turn, .. }
            | Fact::Stalled { turn, .. }
            | Fact::Lost { turn, .. }
            | Fact::Ended { turn, .. } => turn,
        }
    }

    /// Gives the fact's bytes to a hash; see [`super::chain`].
    pub(super) fn feed(&self, out: &mut impl FnMut(&[u8])) {
        text(out, self.name());
        text(out, self.turn().as_str());
        match self {
            Fact::Input { input, turn: _, agent, sender } => {
                text(out, input.as_str());
                text(out, agent.as_str());
                feed_sender(out, sender.as_ref());
            }
            Fact::Started { turn: _, agent, epoch, attempt } => {
                text(out, agent.as_str());
                number(out, *epoch);
                number(out, u64::from(*attempt));
            }
            Fact::Output { turn: _, epoch } | Fact::Stalled { turn: _, epoch } => {
                number(out, *epoch);
            }
            Fact::Lost { turn: _, epoch, cause, again_at } => {
                number(out, *epoch);
                text(out, cause.name());
                number(out, *again_at);
            }
            Fact::Ended { turn: _, end } => match end {
                End::Completed => {}
                End::Failed { reason } => text(out, reason),
                End::Cancelled { by, reason } => {
                    feed_sender(out, by.as_ref());
                    text(out, reason);
                }
            },
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

fn feed_sender(out: &mut impl FnMut(&[u8]), sender: Option<&Sender>) {
    let Some(sender) = sender else { return out(&u32::MAX.to_le_bytes()) };
    text(out, sender.participant.as_str());
    match &sender.device {
        Some(device) => text(out, device.as_str()),
        None => out(&u32::MAX.to_le_bytes()),
    }
}

fn text(out: &mut impl FnMut(&[u8]), text: &str) {
    let length = u32::try_from(text.len()).expect("names and reasons are short");
    out(&length.to_le_bytes());
    out(text.as_bytes());
}

fn number(out: &mut impl FnMut(&[u8]), number: u64) {
    out(&number.to_le_bytes());
}
