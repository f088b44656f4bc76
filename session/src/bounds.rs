//! What a session counts for among those of its tenant, and what of it must not grow where the tenant has as much as it
//! may (S11).

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::keys::CommandKey;
use super::outcome::Applied;
use super::refusal::Refusal;
use super::{Command, Session};
use crate::command::Class;
use crate::ids::Millis;

/// What one session, or all of a tenant, hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Sessions that exist.
    pub sessions: u64,
    /// Turns that are not over.
    pub open_turns: u64,
    /// Payload bytes of the events, and bytes of the files, that are kept; also of a deleted session whose log is kept
    /// for its forks.
    pub stored_bytes: u64,
}

/// What a tenant has as much of as it may, and how much that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Sessions that may exist.
    pub sessions: Option<u64>,
    /// Turns that may be open.
    pub open_turns: Option<u64>,
    /// Payload bytes that may be kept.
    pub stored_bytes: Option<u64>,
}

/// What a tenant may have no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// Sessions.
    Sessions,
    /// Payload bytes.
    StoredBytes,
}

impl Held {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Held::Sessions => "sessions",
            Held::StoredBytes => "stored-bytes",
        }
    }
}

impl Bounds {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Bounds::default()
    }

    /// Those that a command may run into: what ends something, or makes room, runs into none.
    #[must_use]
    pub fn of(self, command: &Command) -> Bounds {
        if command.class() == Class::Control {
            return Bounds::default();
        }
        match command {
            Command::Create(_) | Command::Import(_) => Bounds { open_turns: None, ..self },
            Command::Input(_) => Bounds { sessions: None, ..self },
            Command::Report(report) if 0 < report.begins() => Bounds { sessions: None, ..self },
            _ => Bounds { sessions: None, open_turns: None, ..self },
        }
    }

    /// Why what a session held must not become what it would hold.
    fn refuse(&self, before: &Holding, after: &Holding) -> Option<Refusal> {
        let grew = |limit: Option<u64>, before: u64, after: u64| limit.filter(|_| before < after);
        let full = |what, limit| Refusal::TenantFull { what, limit };
        grew(self.sessions, before.sessions, after.sessions)
            .map(|limit| full(Held::Sessions, limit))
            .or_else(|| {
                grew(self.open_turns, before.open_turns, after.open_turns)
                    .map(|limit| Refusal::TenantBusy { limit })
            })
            .or_else(|| {
                grew(self.stored_bytes, before.stored_bytes, after.stored_bytes)
                    .map(|limit| full(Held::StoredBytes, limit))
            })
    }
}

impl Session {
    /// What it counts for.
    pub fn holding(&self) -> Holding {
        Holding {
            sessions: self.kept().map_or(0, |live| u64::from(live.hidden.is_none())),
            open_turns: self.live().map_or(0, |live| live.work.turns.len() as u64),
            stored_bytes: self.kept().map_or(0, |live| live.log.bytes() + live.files.bytes()),
        }
    }

    /// The same as [`Self::apply_once`], or [`Self::apply`] where there is no key, unless something would grow that
    /// must not. Whatever was taken before is answered as it was then: it makes nothing grow again.
    ///
    /// # Errors
    /// As those; [`Refusal::TenantFull`] and [`Refusal::TenantBusy`].
    pub fn apply_within(
        &mut self,
        at: Millis,
        (key, bounds): (Option<&CommandKey>, &Bounds),
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if bounds.is_none() {
            return self.apply_keyed(at, key, command, out);
        }
        // Only a tenant that has as much as it may pays for the copy.
        let (mut next, mut events) = (self.clone(), Vec::new());
        let applied = next.apply_keyed(at, key, command, &mut events)?;
        if let Some(why) = bounds.refuse(&self.holding(), &next.holding()) {
            return Err(why);
        }
        *self = next;
        out.append(&mut events);
        Ok(applied)
    }

    fn apply_keyed(
        &mut self,
        at: Millis,
        key: Option<&CommandKey>,
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        match key {
            Some(key) => self.apply_once(at, key, command, out),
            None => self.apply(at, command, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Format, NewEvent, Origin};
    use crate::ids::{AgentName, ProducerEpoch, ProducerId, SessionId, TurnId};
    use crate::{Append, Cancel, Config, Create, Input, Retention, Scope};

    const FULL: Bounds = Bounds { sessions: Some(3), open_turns: Some(2), stored_bytes: Some(100) };

    fn output(text: &'static str) -> NewEvent {
        NewEvent { format: Format::TEXT, payload: text.as_bytes().into() }
    }

    fn append(seq: u64) -> Command {
        let producer = ProducerId::parse("p").unwrap();
        let producer = Some(Origin { producer, epoch: ProducerEpoch(0), seq });
        Command::Append(Append { events: vec![output("hello")], producer, ..Append::default() })
    }

    fn input(turn: &str) -> Command {
        // Of another agent, so that it begins a turn.
        let (agent, turn) = (AgentName::parse(turn).unwrap(), TurnId::parse(turn).unwrap());
        Command::Input(Box::new(Input::new(turn, agent, output("hi"))))
    }

    /// Submits it where the tenant has as much as it may; the refusal's code, or `ok`.
    fn full(session: &mut Session, command: &Command) -> &'static str {
        let (before, mut out) = (session.clone(), Vec::new());
        let bounds = FULL.of(command);
        match session.apply_within(Millis(9), (None, &bounds), command, &mut out) {
            Ok(_) => "ok",
            Err(why) => {
                assert_eq!((&*session, out.len()), (&before, 0), "a refusal changes nothing");
                why.code()
            }
        }
    }

    fn free(session: &mut Session, command: &Command) {
        session.apply(Millis(9), command, &mut Vec::new()).unwrap();
    }

    #[test]
    fn what_is_new_is_refused_where_it_is_too_much_and_what_was_taken_is_answered_again() {
        let mut session = Session::absent(SessionId::parse("s").unwrap());
        let create = Command::from(Config::default());
        assert_eq!(full(&mut session, &create), "quota_reached");
        free(&mut session, &create);
        assert_eq!(full(&mut session, &create), "ok");
        assert_eq!(session.holding(), Holding { sessions: 1, ..Holding::default() });

        free(&mut session, &append(0));
        assert_eq!(full(&mut session, &append(0)), "ok");
        assert_eq!(full(&mut session, &append(1)), "quota_reached");

        free(&mut session, &input("t"));
        assert_eq!(full(&mut session, &input("t")), "ok");
        assert_eq!(full(&mut session, &input("u")), "quota_exceeded");
        assert_eq!(session.holding(), Holding { sessions: 1, open_turns: 1, stored_bytes: 7 });

        // What ends something runs into nothing, though it writes an event.
        let cancel = Command::Cancel(Box::new(Cancel::new(Scope::All, "enough")));
        assert_eq!(full(&mut session, &cancel), "ok");
        assert_eq!(session.holding().open_turns, 0);
        assert_eq!(full(&mut session, &Command::Delete { incarnation: None }), "ok");
        assert_eq!(session.holding(), Holding::default());
    }

    #[test]
    fn a_log_that_gives_up_as_much_as_it_takes_goes_on() {
        let mut session = Session::absent(SessionId::parse("s").unwrap());
        let retention = Retention { max_bytes: Some(320), ..Retention::default() };
        free(&mut session, &Config { retention, ..Config::default() }.into());
        for seq in 0..200 {
            free(&mut session, &append(seq));
        }
        let taken = (200..300).filter(|seq| full(&mut session, &append(*seq)) == "ok").count();
        // At most one group more than there was can never be freed by itself.
        assert!(0 < taken || session.holding().stored_bytes <= 330, "{taken} {session:?}");
    }

    #[test]
    fn each_command_runs_into_what_it_makes_more_of() {
        let none = Bounds::default();
        for (command, bounds) in [
            (Command::from(Create::default()), Bounds { open_turns: None, ..FULL }),
            (input("t"), Bounds { sessions: None, ..FULL }),
            (append(0), Bounds { stored_bytes: Some(100), ..none }),
            (Command::Touch, none),
            (Command::Close { producer: None }, none),
        ] {
            assert_eq!(FULL.of(&command), bounds, "{command:?}");
        }
    }
}
