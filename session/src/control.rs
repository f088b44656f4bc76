//! Who answers people: the agents, or a person who took over. A lease with an epoch.

use serde::{Deserialize, Serialize};

use super::fact::Sender;
use crate::ids::{AgentName, ControlEpoch, Millis, Serial, TurnId};

/// How people are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The agents answer.
    #[default]
    Auto,
    /// A person answers; the agents work on inputs as ever, and their output is a draft.
    Assist,
    /// A person answers; inputs are held back from the agents.
    Manual,
}

/// Control over one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Control {
    pub(super) mode: Mode,
    /// None in [`Mode::Auto`] alone.
    pub(super) holder: Option<Sender>,
    /// Counts the holders.
    pub(super) epoch: ControlEpoch,
    /// When it goes back to the agents unless the holder acts.
    pub(super) until: Option<Millis>,
    /// How long the holder wants it, in milliseconds.
    pub(super) for_ms: u64,
    /// Who would like to have it.
    pub(super) requested: Option<Sender>,
    /// Inputs that no agent has taken in.
    pub(super) held: Option<Held>,
    /// The note of the last change; up to [`crate::limits::REASON_BYTES`].
    pub(super) note: String,
}

/// Inputs that were held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The last of them, and for whom it was.
    pub(super) input: TurnId,
    pub(super) agent: AgentName,
    pub(super) first: Serial,
    pub(super) last: Serial,
    /// The branch that the last of them is on.
    pub(super) branch: Serial,
}

impl Control {
    /// Whether this is who has control, on whatever device.
    pub(super) fn is_held_by(&self, sender: Option<&Sender>) -> bool {
        let holder = self.holder.as_ref().map(|holder| &holder.participant);
        holder.is_some() && holder == sender.map(|sender| &sender.participant)
    }
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Auto, Mode::Assist, Mode::Manual];

    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Assist => "assist",
            Mode::Manual => "manual",
        }
    }

    /// The mode of this name.
    pub fn parse(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}
