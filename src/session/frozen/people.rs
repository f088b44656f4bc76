//! What people ask, and what is known of them, as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::asked::FrozenScope;
use super::fact::{FrozenSender, freeze_sender, thaw_sender};
use super::{ThawError, ensure, number_of, numbered};
use crate::ids::{AgentName, InteractionId, KindName, Millis, ParticipantName, Serial, TurnId};
use crate::limits;
use crate::session::command::{Answer, ControlAsked, Pause, Resume, Role, Scope, Verb};
use crate::session::control::{Control, Held, Mode};
use crate::session::event::{Format, NewEvent};
use crate::session::work::{Interaction, Over};

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenAnswer<'a> {
    pub interaction: Cow<'a, str>,
    pub format: Cow<'a, str>,
    pub payload: Bytes,
    pub sender: Option<FrozenSender<'a>>,
    pub role: u8,
}

/// See [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenControlAsked<'a> {
    pub verb: FrozenVerb<'a>,
    pub by: Option<FrozenSender<'a>>,
    pub for_ms: u64,
    pub note: Cow<'a, str>,
    pub role: u8,
}

/// See [`FrozenControlAsked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenVerb<'a> {
    Request,
    Grant { to: Option<FrozenSender<'a>>, mode: u8 },
    Take { mode: u8 },
    Release,
}

/// Turns that are to rest or to go on; see [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenRest<'a> {
    pub scope: FrozenScope<'a>,
    pub by: Option<FrozenSender<'a>>,
    pub role: u8,
}

/// Control over a session, as in [`super::FrozenWork`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenControl<'a> {
    pub mode: u8,
    pub holder: Option<FrozenSender<'a>>,
    pub epoch: u64,
    pub until: Option<u64>,
    pub for_ms: u64,
    pub requested: Option<FrozenSender<'a>>,
    /// Input, agent, first and last serial.
    pub held: Option<(Cow<'a, str>, Cow<'a, str>, u64, u64)>,
}

/// An interaction, as in [`super::FrozenWork`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenInteraction<'a> {
    pub id: Cow<'a, str>,
    pub turn: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub serial: u64,
    pub deadline: Option<u64>,
    pub over: FrozenOver<'a>,
}

/// See [`FrozenInteraction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenOver<'a> {
    Open,
    Answered { by: Option<Cow<'a, str>>, digest: u64, serial: u64 },
    Expired,
}

impl Answer {
    pub(super) fn freeze(&self) -> FrozenAnswer<'_> {
        FrozenAnswer {
            interaction: self.interaction.as_str().into(),
            format: self.said.format.as_str().into(),
            payload: self.said.payload.clone(),
            sender: freeze_sender(self.sender.as_ref()),
            role: number_of(&Role::ALL, self.role),
        }
    }

    pub(super) fn thaw(frozen: FrozenAnswer<'_>) -> Result<Answer, ThawError> {
        Ok(Answer {
            interaction: InteractionId::parse(&frozen.interaction)?,
            said: NewEvent { format: Format::parse(&frozen.format)?, payload: frozen.payload },
            sender: thaw_sender(frozen.sender)?,
            role: numbered(&Role::ALL, frozen.role, "a role")?,
        })
    }
}

impl ControlAsked {
    pub(super) fn freeze(&self) -> FrozenControlAsked<'_> {
        let verb = match &self.verb {
            Verb::Request => FrozenVerb::Request,
            Verb::Grant { to, mode } => {
                let (to, mode) = (freeze_sender(Some(to)), number_of(&Mode::ALL, *mode));
                FrozenVerb::Grant { to, mode }
            }
            Verb::Take { mode } => FrozenVerb::Take { mode: number_of(&Mode::ALL, *mode) },
            Verb::Release => FrozenVerb::Release,
        };
        FrozenControlAsked {
            verb,
            by: freeze_sender(Some(&self.by)),
            for_ms: self.for_ms,
            note: self.note.as_str().into(),
            role: number_of(&Role::ALL, self.role),
        }
    }

    pub(super) fn thaw(frozen: FrozenControlAsked<'_>) -> Result<ControlAsked, ThawError> {
        let somebody = |sender| thaw_sender(sender)?.ok_or(ThawError::Range("who has control"));
        let mode = |number| numbered(&Mode::ALL, number, "a mode of control");
        let verb = match frozen.verb {
            FrozenVerb::Request => Verb::Request,
            FrozenVerb::Grant { to, mode: number } => {
                Verb::Grant { to: somebody(to)?, mode: mode(number)? }
            }
            FrozenVerb::Take { mode: number } => Verb::Take { mode: mode(number)? },
            FrozenVerb::Release => Verb::Release,
        };
        Ok(ControlAsked {
            verb,
            by: somebody(frozen.by)?,
            for_ms: frozen.for_ms,
            note: frozen.note.into_owned(),
            role: numbered(&Role::ALL, frozen.role, "a role")?,
        })
    }
}

impl Pause {
    pub(super) fn freeze(&self) -> FrozenRest<'_> {
        let (scope, by) = (self.scope.freeze(), freeze_sender(self.by.as_ref()));
        FrozenRest { scope, by, role: number_of(&Role::ALL, self.role) }
    }

    pub(super) fn thaw(frozen: FrozenRest<'_>) -> Result<Pause, ThawError> {
        let (scope, by, role) = thaw_rest(frozen)?;
        Ok(Pause { scope, by, role })
    }
}

impl Resume {
    pub(super) fn freeze(&self) -> FrozenRest<'_> {
        let (scope, by) = (self.scope.freeze(), freeze_sender(self.by.as_ref()));
        FrozenRest { scope, by, role: number_of(&Role::ALL, self.role) }
    }

    pub(super) fn thaw(frozen: FrozenRest<'_>) -> Result<Resume, ThawError> {
        let (scope, by, role) = thaw_rest(frozen)?;
        Ok(Resume { scope, by, role })
    }
}

type Rested = (Scope, Option<crate::session::fact::Sender>, Role);

fn thaw_rest(frozen: FrozenRest<'_>) -> Result<Rested, ThawError> {
    let role = numbered(&Role::ALL, frozen.role, "a role")?;
    Ok((Scope::thaw(frozen.scope)?, thaw_sender(frozen.by)?, role))
}

impl Control {
    pub(super) fn freeze(&self) -> FrozenControl<'_> {
        FrozenControl {
            mode: number_of(&Mode::ALL, self.mode),
            holder: freeze_sender(self.holder.as_ref()),
            epoch: self.epoch,
            until: self.until.map(|until| until.0),
            for_ms: self.for_ms,
            requested: freeze_sender(self.requested.as_ref()),
            held: self.held.as_ref().map(|held| {
                let (input, agent) = (held.input.as_str().into(), held.agent.as_str().into());
                (input, agent, held.first.0, held.last.0)
            }),
        }
    }

    pub(super) fn thaw(frozen: FrozenControl<'_>, tail: Serial) -> Result<Control, ThawError> {
        let held = frozen.held.map(|(input, agent, first, last)| {
            ensure(1 <= first && first <= last && last <= tail.0, "inputs that are held back")?;
            let (input, agent) = (TurnId::parse(&input)?, AgentName::parse(&agent)?);
            Ok::<_, ThawError>(Held { input, agent, first: Serial(first), last: Serial(last) })
        });
        let control = Control {
            mode: numbered(&Mode::ALL, frozen.mode, "a mode of control")?,
            holder: thaw_sender(frozen.holder)?,
            epoch: frozen.epoch,
            until: frozen.until.map(Millis),
            for_ms: frozen.for_ms,
            requested: thaw_sender(frozen.requested)?,
            held: held.transpose()?,
        };
        ensure((control.mode == Mode::Auto) == control.holder.is_none(), "who has control")?;
        Ok(control)
    }
}

impl Interaction {
    pub(super) fn freeze(&self) -> FrozenInteraction<'_> {
        FrozenInteraction {
            id: self.id.as_str().into(),
            turn: self.turn.as_str().into(),
            kind: self.kind.as_str().into(),
            serial: self.serial.0,
            deadline: self.deadline.map(|at| at.0),
            over: match &self.over {
                None => FrozenOver::Open,
                Some(Over::Expired) => FrozenOver::Expired,
                Some(Over::Answered { by, digest, serial }) => FrozenOver::Answered {
                    by: by.as_ref().map(|by| by.as_str().into()),
                    digest: *digest,
                    serial: serial.0,
                },
            },
        }
    }

    pub(super) fn thaw(
        frozen: FrozenInteraction<'_>,
        tail: Serial,
    ) -> Result<Interaction, ThawError> {
        ensure(frozen.serial <= tail.0, "the place of an interaction")?;
        let over = match frozen.over {
            FrozenOver::Open => None,
            FrozenOver::Expired => Some(Over::Expired),
            FrozenOver::Answered { by, digest, serial } => {
                let by = by.map(|by| ParticipantName::parse(&by)).transpose()?;
                Some(Over::Answered { by, digest, serial: Serial(serial) })
            }
        };
        Ok(Interaction {
            id: InteractionId::parse(&frozen.id)?,
            turn: TurnId::parse(&frozen.turn)?,
            kind: KindName::parse(&frozen.kind)?,
            serial: Serial(frozen.serial),
            deadline: frozen.deadline.map(Millis),
            over,
        })
    }

    /// Says whether a session can have so many.
    pub(super) fn check_count(count: usize) -> Result<(), ThawError> {
        let limit = limits::INTERACTIONS + limits::ANSWERS;
        ensure(count <= limit, "the number of interactions")
    }
}
