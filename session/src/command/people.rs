//! What people request of a session beside turns: answers, control, pauses; and how many of them there are.

use serde::{Deserialize, Serialize};

use super::turn::Scope;
use crate::control::Mode;
use crate::event::NewEvent;
use crate::fact::Sender;
use crate::ids::{CallEpoch, InteractionId, Serial};
use crate::standing::Standing;

/// What a participant may do in a session; each may do what those before it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Reads.
    Observer,
    /// Sends inputs, answers, and requests control.
    Participant,
    /// Cancels, pauses, gives control, and takes it where it is free.
    #[default]
    Controller,
    /// Takes control from whoever has it.
    Supervisor,
}

/// An answer to an interaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What is answered.
    pub interaction: InteractionId,
    /// The answer itself.
    pub content: NewEvent,
    /// Who answers, where that is known.
    pub sender: Option<Sender>,
    /// From [`Role::Participant`].
    pub role: Role,
    /// The place of the question that it was judged by, 0 where none was open; refused where another one is open by
    /// now. It is not looked at where nothing is given.
    pub judged: Option<Serial>,
    /// Under which it was worked out, where its device claimed the call.
    pub epoch: Option<CallEpoch>,
}

/// A device that is to make a call for an agent, and that no other one makes meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCall {
    /// The question, of the kind [`crate::ids::KindName::CLIENT_TOOL`].
    pub interaction: InteractionId,
    /// Who makes it, on what.
    pub by: Sender,
    /// How long it has the call without renewing it, in milliseconds; within [`crate::limits::CALL_MS_RANGE`].
    pub lease_ms: u64,
    /// Goes on under this epoch, and under no other.
    pub epoch: Option<CallEpoch>,
    /// From [`Role::Participant`].
    pub role: Role,
}

/// A device that does not make a call after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCall {
    /// The question.
    pub interaction: InteractionId,
    /// No change where it has another one by now.
    pub epoch: CallEpoch,
    /// Who reports it: the device that has the call, or the session's leader where its device left.
    pub by: Option<Sender>,
    /// It left, and may come back within [`crate::limits::CALL_GRACE_MS`].
    pub left: bool,
}

/// A change of who answers people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// What is to become of control.
    pub verb: ControlVerb,
    /// Who requests it.
    pub by: Sender,
    /// How long it is held while its holder does not act, in milliseconds; from 1 to
    /// [`crate::limits::CONTROL_MS_MAX`].
    pub for_ms: u64,
    /// Up to [`crate::limits::REASON_BYTES`].
    pub note: String,
    /// From [`Role::Participant`]; what else it takes depends on who has control.
    pub role: Role,
}

/// See [`ControlRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlVerb {
    /// Would like to have it.
    Request,
    /// Gives it to another participant.
    Grant {
        /// Who is to have it.
        to: Sender,
        /// How people are answered from then on; [`Mode::Auto`] gives it back to the agents.
        mode: Mode,
    },
    /// Takes it, or keeps it for longer.
    Take {
        /// How people are answered from then on; [`Mode::Auto`] gives it back to the agents.
        mode: Mode,
    },
    /// Gives it back to the agents.
    Release,
}

/// How many are attached, as the leader has counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// Everybody who is attached.
    pub watchers: u32,
    /// Those among them that may do more than send inputs.
    pub controllers: u32,
}

/// Turns that are to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Which turns.
    pub scope: Scope,
    /// Who requests it, where that is known.
    pub by: Option<Sender>,
    /// From [`Role::Controller`].
    pub role: Role,
}

/// Turns that are to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Which turns.
    pub scope: Scope,
    /// Who requests it, where that is known.
    pub by: Option<Sender>,
    /// From [`Role::Controller`].
    pub role: Role,
}

impl Answer {
    /// An answer that names no sender.
    pub fn new(interaction: InteractionId, content: NewEvent) -> Answer {
        let (sender, role) = (None, Role::default());
        Answer { interaction, content, sender, role, judged: None, epoch: None }
    }
}

/// A session that is to take nothing more, or to take it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelve {
    /// What may be added from then on.
    pub standing: Standing,
    /// Who requests it, where that is known.
    pub by: Option<Sender>,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] =
        [Role::Observer, Role::Participant, Role::Controller, Role::Supervisor];

    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Role::Observer => "observer",
            Role::Participant => "participant",
            Role::Controller => "controller",
            Role::Supervisor => "supervisor",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}
