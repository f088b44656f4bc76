//! What a caller may do: which rights, in which sessions, for which agents, under whose name, until when.
//!
//! A grant is judged in two steps. [`Grant::allows`] looks at the session that is named, so that a caller learns
//! nothing of sessions that are not its own; [`Grant::narrow`] looks at the command, and takes from it what the grant
//! does not give: another's name, a greater role.

use serde::{Deserialize, Serialize};

use crate::command::{Command, Role, Verb, WhenBusy};
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
            Command::Claim(_) | Command::Say(_) | Command::Lose(_) | Command::ToolResult(_) => {
                &[Right::Claim]
            }
            Command::Control(control) => match control.verb {
                Verb::Request => &[Right::Send],
                Verb::Grant { .. } | Verb::Take { .. } | Verb::Release => &[Right::Takeover],
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
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::{Append, Cancel, Input, Scope};
    use crate::event::{Format, NewEvent};
    use crate::ids::TurnId;

    fn grant(rights: &[Right]) -> Grant {
        Grant {
            tenant: None,
            rights: rights.to_vec(),
            sessions: vec![Pattern::parse("chat:*").unwrap(), Pattern::parse("one").unwrap()],
            agents: vec![Pattern::parse("poet").unwrap()],
            participant: Some(ParticipantName::parse("ada").unwrap()),
            device: None,
            role: Role::Participant,
            until: None,
        }
    }

    fn session(name: &str) -> SessionId {
        SessionId::parse(name).unwrap()
    }

    fn input(sender: Option<&str>, when_busy: Option<WhenBusy>) -> Command {
        let content = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"hello") };
        let agent = AgentName::parse("poet").unwrap();
        let sender = sender.map(|name| Sender {
            participant: ParticipantName::parse(name).unwrap(),
            device: None,
        });
        let input = Input::new(TurnId::parse("t").unwrap(), agent, content);
        Command::Input(Box::new(Input { sender, when_busy, ..input }))
    }

    #[test]
    fn a_session_of_others_is_denied_before_a_right_is_looked_at() {
        let grant = grant(&[Right::Read]);
        assert_eq!(grant.allows(Right::Read, Some(&session("chat:1"))), Ok(()));
        assert_eq!(grant.allows(Right::Read, Some(&session("one"))), Ok(()));
        assert_eq!(grant.allows(Right::Read, Some(&session("two"))), Err(Denied::Session));
        assert_eq!(grant.allows(Right::Admin, Some(&session("two"))), Err(Denied::Session));
        assert_eq!(
            grant.allows(Right::Send, Some(&session("one"))),
            Err(Denied::Right(Right::Send))
        );
    }

    #[test]
    fn a_command_is_narrowed_to_the_name_and_role_of_the_grant() {
        let (grant, id) = (grant(&[Right::Send]), session("chat:1"));
        let mut command = input(None, None);
        grant.narrow(&id, &mut command).unwrap();
        let Command::Input(narrowed) = &command else { panic!("it is an input") };
        assert_eq!(narrowed.sender.as_ref().unwrap().participant.as_str(), "ada");
        assert_eq!(narrowed.role, Role::Participant);
        assert_eq!(narrowed.when_busy, Some(WhenBusy::Unsteered), "it may not steer");
        assert_eq!(grant.narrow(&id, &mut input(Some("bob"), None)), Err(Denied::Name));
        let mut steers = grant.clone();
        steers.rights = vec![Right::Steer];
        let steer = &mut input(None, Some(WhenBusy::Steer));
        assert_eq!(steers.narrow(&id, steer), Err(Denied::Right(Right::Send)));
        assert_eq!(grant.narrow(&id, steer), Err(Denied::Right(Right::Steer)));
        let interrupt = &mut input(None, Some(WhenBusy::Interrupt));
        assert_eq!(grant.narrow(&id, interrupt), Err(Denied::Right(Right::Cancel)));
        let mut cancel = Command::Cancel(Box::new(Cancel::new(Scope::All, "")));
        assert_eq!(grant.narrow(&id, &mut cancel), Err(Denied::Right(Right::Cancel)));
        let mut append = Command::Append(Append::default());
        assert_eq!(grant.narrow(&id, &mut append), Err(Denied::Right(Right::Publish)));
    }

    #[test]
    fn the_names_below_a_prefix_are_those_of_the_grant_alone() {
        let grant = grant(&[Right::Read]);
        let below = |prefix: &str| -> Vec<(String, bool)> { grant.beginnings(prefix) };
        let named = |name: &str, whole| (name.to_owned(), whole);
        assert_eq!(below(""), [named("chat:", false), named("one", true)]);
        assert_eq!(below("ch"), [named("chat:", false)]);
        assert_eq!(below("chat:7"), [named("chat:7", false)]);
        assert_eq!(below("one"), [named("one", true)]);
        assert_eq!(below("one1"), []);
        assert_eq!(below("other"), []);
    }

    #[test]
    fn a_grant_is_for_one_tenant() {
        let acme = TenantName::parse("acme").unwrap();
        let theirs = SessionId::of(Some(&acme), "one").unwrap();
        let all = Grant { tenant: Some(acme.clone()), ..Grant::all() };
        assert_eq!(all.allows(Right::Read, Some(&theirs)), Ok(()));
        assert_eq!(all.allows(Right::Read, Some(&session("one"))), Err(Denied::Session));
        assert_eq!(Grant::all().allows(Right::Read, Some(&theirs)), Err(Denied::Session));
        let mut delete = Command::Delete { incarnation: None };
        assert_eq!(all.narrow(&session("one"), &mut delete), Err(Denied::Session));
        assert_eq!(
            (Grant::all().allows_operating(), all.allows(Right::Admin, None)),
            (Ok(()), Ok(()))
        );
        assert_eq!(all.allows_operating(), Err(Denied::Tenant));
    }

    #[test]
    fn every_right_has_a_name_of_its_own() {
        for right in Right::ALL {
            assert_eq!(Right::parse(right.name()), Some(right));
        }
        assert_eq!(Right::parse("root"), None);
    }

    #[test]
    fn what_was_narrowed_passes_a_second_look_and_what_was_not_does_not() {
        let given = grant(&[Right::Send]);
        let id = session("one");
        let mut request = input(None, None);
        assert_eq!(given.has_narrowed(&id, &request), Err(Denied::Name));
        given.narrow(&id, &mut request).unwrap();
        assert_eq!(given.has_narrowed(&id, &request), Ok(()));
        assert_eq!(given.has_narrowed(&session("two"), &request), Err(Denied::Session));
        let reader = grant(&[Right::Read]);
        assert_eq!(reader.has_narrowed(&id, &request), Err(Denied::Right(Right::Send)));
    }

    mod fuzz {
        use proptest::prelude::*;

        use super::*;

        /// What a pattern means, by another algorithm.
        fn means(pattern: &str, name: &str) -> bool {
            match pattern.strip_suffix('*') {
                Some(stem) => name.get(..stem.len()) == Some(stem),
                None => pattern == name,
            }
        }

        fn commands() -> impl Strategy<Value = Command> {
            let names = || prop::option::of(prop::sample::select(vec!["ada", "bob"]));
            let busy = prop::sample::select(vec![
                None,
                Some(WhenBusy::Queue),
                Some(WhenBusy::Steer),
                Some(WhenBusy::Interrupt),
                Some(WhenBusy::Instead),
            ]);
            let cancel = Cancel::new(Scope::All, "");
            prop_oneof![
                (names(), busy).prop_map(|(name, busy)| input(name, busy)),
                Just(Command::Cancel(Box::new(cancel))),
                Just(Command::Append(Append::default())),
                Just(Command::Delete { incarnation: None }),
                Just(Command::Tick),
                Just(Command::Touch),
            ]
        }

        proptest! {
            #[test]
            fn a_grant_allows_what_its_parts_say_and_nothing_else(
                rights in prop::sample::subsequence(Right::ALL.to_vec(), 0..12),
                patterns in prop::collection::vec("[ab]{0,2}[*]?", 0..3),
                tenant in prop::option::of(prop::sample::select(vec!["t", "u"])),
                owner in prop::option::of(prop::sample::select(vec!["t", "u"])),
                name in "[ab]{1,3}",
                command in commands(),
            ) {
                let of = |name: Option<&str>| name.map(|name| TenantName::parse(name).unwrap());
                let parsed = patterns.iter().filter_map(|text| Pattern::parse(text).ok());
                let sessions: Vec<Pattern> = parsed.collect();
                let meant = sessions.iter().any(|pattern| means(pattern.as_str(), &name));
                let given = Grant { tenant: of(tenant), rights, sessions, ..grant(&[]) };
                let id = SessionId::of(of(owner).as_ref(), &name).unwrap();
                prop_assert_eq!(given.is_for(&id), meant && tenant == owner);
                let mut narrowed = command.clone();
                let judged = given.narrow(&id, &mut narrowed);
                if judged.is_ok() {
                    prop_assert!(given.is_for(&id));
                    prop_assert!(command.rights().iter().all(|right| given.rights.contains(right)));
                    prop_assert_eq!(given.has_narrowed(&id, &narrowed), Ok(()));
                    // Narrowing needs no more rights than before.
                    let needed = narrowed.rights();
                    prop_assert!(needed.iter().all(|right| given.rights.contains(right)));
                }
            }
        }
    }
}
