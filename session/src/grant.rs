//! What a caller may do: which rights, in which sessions, for which agents, under whose name, until when.
//!
//! A grant is judged in two steps. [`Grant::allows`] looks at the session that is named, so that a caller learns
//! nothing of sessions that are not its own; [`Grant::narrow`] looks at the command, and takes from it what the grant
//! does not give: another's name, a greater role.

use serde::{Deserialize, Serialize};

use crate::command::{Command, ControlVerb, Role, WhenBusy};
use crate::fact::Sender;
use crate::ids::{AgentName, DeviceName, Millis, ParticipantName, SessionId, TenantName};
use crate::pattern::Pattern;

/// One thing that a grant may allow. Kept as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Reads events, status, messages and lists.
    Read,
    /// Sends inputs that begin turns.
    Send,
    /// Sends inputs into turns that are open.
    Steer,
    /// Ends turns, pauses and resumes them.
    Cancel,
    /// Answers interactions.
    Answer,
    /// Appends events, and closes the log.
    Publish,
    /// Creates sessions.
    Create,
    /// Deletes sessions, trims their logs, freezes them, puts them away and takes them back.
    Delete,
    /// Takes turns as a worker, and sends output in them.
    Claim,
    /// Is counted as present, and reads who else is.
    Presence,
    /// Takes, gives and returns control over who answers people.
    Takeover,
    /// Changes the cluster and its keys, and reads how it is.
    Admin,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 12] = [
        Right::Read,
        Right::Send,
        Right::Steer,
        Right::Cancel,
        Right::Answer,
        Right::Publish,
        Right::Create,
        Right::Delete,
        Right::Claim,
        Right::Presence,
        Right::Takeover,
        Right::Admin,
    ];

    /// Rights to bring something into a session: who has one of them may bring files for it.
    pub const BRINGING: [Right; 3] = [Right::Send, Right::Publish, Right::Claim];

    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Send => "send",
            Right::Steer => "steer",
            Right::Cancel => "cancel",
            Right::Answer => "answer",
            Right::Publish => "publish",
            Right::Create => "create",
            Right::Delete => "delete",
            Right::Claim => "claim",
            Right::Presence => "presence",
            Right::Takeover => "takeover",
            Right::Admin => "admin",
        }
    }

    /// The right of this name.
    pub fn parse(name: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|right| right.name() == name)
    }
}

/// What one caller may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whose sessions, agents and keys it is for; the default tenant's, where none is given. Keys that were stored
    /// before there were tenants have none.
    #[serde(default)]
    pub tenant: Option<TenantName>,
    /// In order, each once.
    pub rights: Vec<Right>,
    /// Sessions of the tenant that the rights are for; up to [`crate::limits::GRANT_PATTERNS`].
    pub sessions: Vec<Pattern>,
    /// Agents of the tenant whose turns may be taken, with the right to claim; up to [`crate::limits::GRANT_PATTERNS`].
    pub agents: Vec<Pattern>,
    /// In whose name it acts, where it acts in a name; any name, where none is given.
    pub participant: Option<ParticipantName>,
    /// On which device; any, where none is given.
    pub device: Option<DeviceName>,
    /// The greatest role that it may take in a session.
    pub role: Role,
    /// The first moment at which it means nothing any more; never, where none is given.
    pub until: Option<Millis>,
}

/// Why a grant does not allow something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denied {
    /// The session is none of those that it is for. Whether it exists is not for the caller to know.
    #[error("the session does not exist")]
    Session,
    /// It lacks this right.
    #[error("the right {} is missing", .0.name())]
    Right(Right),
    /// It is for one tenant, and would have to be for all.
    #[error("the grant is for one tenant, and the cluster is all tenants'")]
    Tenant,
    /// It is for some sessions, and would have to be for all.
    #[error("turns are of any session: the grant must be for all of them")]
    Sessions,
    /// The agent is none of those that it is for.
    #[error("the grant is for other agents")]
    Agent,
    /// It acts in another name, or on another device.
    #[error("the grant is for another participant or device")]
    Name,
}

impl Grant {
    /// Everything in the default tenant, and for operators, for ever.
    pub fn all() -> Grant {
        Grant {
            tenant: None,
            rights: Right::ALL.to_vec(),
            sessions: vec![Pattern::all()],
            agents: vec![Pattern::all()],
            participant: None,
            device: None,
            role: Role::Supervisor,
            until: None,
        }
    }

    /// Whether it has the right, in this session where one is named.
    ///
    /// # Errors
    /// Names what is missing. Of a session that the grant is not for, it reveals nothing else.
    pub fn allows(&self, right: Right, session: Option<&SessionId>) -> Result<(), Denied> {
        if session.is_some_and(|session| !self.is_for(session)) {
            return Err(Denied::Session);
        }
        if self.rights.contains(&right) { Ok(()) } else { Err(Denied::Right(right)) }
    }

    /// Whether it has one of these rights in this session.
    ///
    /// # Errors
    /// It has none; the first one is named as missing.
    fn allows_one(&self, rights: &[Right], session: &SessionId) -> Result<(), Denied> {
        let mut judged = rights.iter().map(|right| self.allows(*right, Some(session)));
        let first = judged.next().unwrap_or(Ok(()));
        if judged.any(|judged| judged.is_ok()) { Ok(()) } else { first }
    }

    /// Whether it may be shown what is in this session: as who reads it, or as who works there.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn allows_reading(&self, session: &SessionId) -> Result<(), Denied> {
        let reads = self.allows(Right::Read, Some(session));
        let works = || self.rights.contains(&Right::Claim);
        if matches!(reads, Err(Denied::Right(_))) && works() { Ok(()) } else { reads }
    }

    /// The beginnings of all names of its tenant below `prefix` that it is for, and whether a beginning is a whole
    /// name.
    pub fn beginnings(&self, prefix: &str) -> Vec<(String, bool)> {
        let mut all: Vec<(String, bool)> = Vec::new();
        for pattern in &self.sessions {
            let (stem, whole) = pattern.stem();
            if stem.starts_with(prefix) {
                all.push((stem.to_owned(), whole));
            } else if !whole && prefix.starts_with(stem) {
                all.push((prefix.to_owned(), false));
            }
        }
        all
    }

    /// Whether its rights are for this session.
    pub fn is_for(&self, session: &SessionId) -> bool {
        session.is_of(self.tenant.as_ref())
            && self.sessions.iter().any(|pattern| pattern.covers(session.name()))
    }

    /// Whether it is for what concerns all tenants: the cluster, and how it is.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn allows_operating(&self) -> Result<(), Denied> {
        self.allows(Right::Admin, None)?;
        if self.tenant.is_none() { Ok(()) } else { Err(Denied::Tenant) }
    }

    /// Whether it may take the turns of this agent, which may be of any session.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn allows_agent(&self, agent: &AgentName) -> Result<(), Denied> {
        self.allows(Right::Claim, None)?;
        if !self.sessions.contains(&Pattern::all()) {
            return Err(Denied::Sessions);
        }
        let covers = self.agents.iter().any(|pattern| pattern.covers(agent.as_str()));
        if covers { Ok(()) } else { Err(Denied::Agent) }
    }

    /// Takes from a command what the grant does not give: whoever acts without a name acts in the grant's, a role
    /// is at most the grant's, and an input without the right to steer waits where the session's policy is to steer.
    ///
    /// # Errors
    /// The command needs a right that is missing, or acts in another name. It may be changed then, and must not be
    /// submitted.
    pub fn narrow(&self, session: &SessionId, command: &mut Command) -> Result<(), Denied> {
        for right in command.rights() {
            self.allows(*right, Some(session))?;
        }
        if matches!(command, Command::File(_)) {
            self.allows_one(&Right::BRINGING, session)?;
        }
        match command {
            Command::Input(input) => {
                self.name(&mut input.sender)?;
                input.role = input.role.min(self.role);
                if !self.rights.contains(&Right::Steer) {
                    input.when_busy = match input.when_busy {
                        None => Some(WhenBusy::Unsteered),
                        given => given,
                    };
                }
            }
            // Whoever may send inputs may have other agents do something; a worker only its own.
            Command::Report(report) if !self.rights.contains(&Right::Send) => {
                let begin = report.output.iter().flat_map(|output| &output.begin);
                for agent in begin.map(|begin| &begin.agent) {
                    if !self.agents.iter().any(|pattern| pattern.covers(agent.as_str())) {
                        return Err(Denied::Right(Right::Send));
                    }
                }
            }
            Command::Cancel(cancel) => {
                self.name(&mut cancel.by)?;
                cancel.role = cancel.role.min(self.role);
            }
            Command::Answer(answer) => {
                self.name(&mut answer.sender)?;
                answer.role = answer.role.min(self.role);
            }
            Command::ClaimCall(claim) => {
                let mut by = Some(claim.by.clone());
                self.name(&mut by)?;
                claim.by = by.unwrap_or_else(|| claim.by.clone());
                claim.role = claim.role.min(self.role);
            }
            Command::ReleaseCall(release) => self.name(&mut release.by)?,
            Command::Control(control) => {
                let mut by = Some(control.by.clone());
                self.name(&mut by)?;
                control.by = by.unwrap_or_else(|| control.by.clone());
                control.role = control.role.min(self.role);
            }
            Command::Pause(pause) => {
                self.name(&mut pause.by)?;
                pause.role = pause.role.min(self.role);
            }
            Command::Resume(resume) => {
                self.name(&mut resume.by)?;
                resume.role = resume.role.min(self.role);
            }
            Command::Shelve(stand) => self.name(&mut stand.by)?,
            // It brings what others have sent.
            Command::Import(_) if self.participant.is_some() => return Err(Denied::Name),
            _ => {}
        }
        Ok(())
    }

    /// Whether a command is one that it left as it is when it was [narrowed](Self::narrow): for who did not see that.
    ///
    /// # Errors
    /// It is not allowed, or requires more than it was narrowed to; it must not be taken.
    pub fn has_narrowed(&self, session: &SessionId, command: &Command) -> Result<(), Denied> {
        let mut narrowed = command.clone();
        self.narrow(session, &mut narrowed)?;
        if narrowed == *command { Ok(()) } else { Err(Denied::Name) }
    }

    /// Puts the grant's name where none is given.
    ///
    /// # Errors
    /// Another name is given.
    pub fn name(&self, sender: &mut Option<Sender>) -> Result<(), Denied> {
        let Some(own) = &self.participant else { return Ok(()) };
        let given = sender.get_or_insert_with(|| Sender { participant: own.clone(), device: None });
        if given.participant != *own {
            return Err(Denied::Name);
        }
        match (&self.device, &given.device) {
            (Some(own), Some(given)) if own != given => Err(Denied::Name),
            (Some(own), None) => {
                given.device = Some(own.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Command {
    /// The rights that its requester needs. What nodes request of each other needs those of an operator.
    pub fn rights(&self) -> &'static [Right] {
        match self {
            Command::Create(create) if create.events.is_empty() && !create.close => {
                &[Right::Create]
            }
            Command::Create(_) => &[Right::Create, Right::Publish],
            Command::Append(_)
            | Command::AppendEach(_)
            | Command::Close { .. }
            | Command::Touch => &[Right::Publish],
            Command::Delete { .. }
            | Command::DeleteUnchanged { .. }
            | Command::Trim { .. }
            | Command::Shelve(_) => &[Right::Delete],
            Command::Import(_) => &[Right::Create, Right::Publish, Right::Delete],
            Command::Input(input) => match input.when_busy {
                // Where no turn is open, it begins one.
                Some(WhenBusy::Steer) => &[Right::Send, Right::Steer],
                Some(WhenBusy::Interrupt | WhenBusy::Instead | WhenBusy::Rollback) => {
                    &[Right::Send, Right::Cancel]
                }
                None
                | Some(
                    WhenBusy::Queue
                    | WhenBusy::Reject
                    | WhenBusy::Unsteered
                    | WhenBusy::Parallel
                    | WhenBusy::Merge,
                ) => &[Right::Send],
            },
            Command::Cancel(_) | Command::Pause(_) | Command::Resume(_) => &[Right::Cancel],
            Command::Answer(_) | Command::ClaimCall(_) | Command::ReleaseCall(_) => {
                &[Right::Answer]
            }
            Command::Claim(_) | Command::Report(_) | Command::Lose(_) | Command::ToolResult(_) => {
                &[Right::Claim]
            }
            Command::Control(control) => match control.verb {
                ControlVerb::Request => &[Right::Send],
                ControlVerb::Grant { .. } | ControlVerb::Take { .. } | ControlVerb::Release => {
                    &[Right::Takeover]
                }
            },
            // One of several, see [`Grant::narrow`].
            Command::File(_) => &[],
            Command::Tick
            | Command::Hold { .. }
            | Command::Confirm { .. }
            | Command::Release { .. }
            | Command::Settle { .. }
            | Command::Audience(_) => &[Right::Admin],
        }
    }
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
