//! What a session is: a state that changes only by commands, the same way on every replica (S1, S6).
//!
//! No clock, no I/O, no chance: the time of a command comes with it, and what it wrote goes out as
//! events for others to keep. The log here is a beginning; whatever else a session will know is further
//! state beside it, and further kinds of command.

pub mod chain;
pub mod command;
pub mod config;
pub mod event;
pub mod frozen;
pub mod outcome;

mod live;
mod log;
mod producers;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use command::{Append, Command};
pub use config::{BadConfig, Config, Retention};
pub use event::{BadFormat, Event, Format, NewEvent, Origin};
pub use outcome::{Applied, DeleteReason, Refusal, Status};

use crate::ids::{Incarnation, Millis, Serial, SessionId};
use live::Live;

/// One session: what any replica needs to apply the next command, and nothing of the log itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    id: SessionId,
    life: Life,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    /// Never created.
    Absent,
    Live(Live),
    Deleted(Deleted),
}

/// What is left of a session: enough to never give a serial twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deleted {
    incarnation: Incarnation,
    at: Millis,
    reason: DeleteReason,
}

impl Session {
    /// A session that nobody has created.
    pub fn absent(id: SessionId) -> Session {
        Session { id, life: Life::Absent }
    }

    /// Changes the session as `command` asks at the time `at`; new events are added to `out`.
    ///
    /// A time before the newest one that changed the session counts as that one. A session whose time
    /// to live is over is treated as deleted, whether or not a tick has come by.
    ///
    /// # Errors
    /// A refusal leaves the session exactly as it was, its clock too, and adds no event. The same
    /// holds for answers that say `duplicate`, `created: false` and `Unchanged`.
    pub fn apply(
        &mut self,
        at: Millis,
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        match command {
            Command::Create { config } => self.create(at, config),
            Command::Append(append) => {
                let (live, now) = self.live_at(at)?;
                live.append(now, append, out)
            }
            Command::Close { producer } => {
                let (live, now) = self.live_at(at)?;
                live.close(now, producer.as_ref())
            }
            Command::Delete { incarnation } => self.delete(at, *incarnation),
            Command::Touch => {
                let (live, now) = self.live_at(at)?;
                Ok(live.touch(now))
            }
            Command::Tick => Ok(self.tick(at)),
            Command::Trim { before } => {
                let (live, now) = self.live_at(at)?;
                Ok(live.trim(now, *before))
            }
        }
    }

    /// The next time at which a tick changes something, as far as is known now.
    pub fn deadline(&self) -> Option<Millis> {
        let live = self.live()?;
        let age = live.log.deadline(&live.config.retention);
        [age, live.expires_at()].into_iter().flatten().min()
    }

    /// The name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The present life, or the last one of a deleted session; none if there never was one.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match &self.life {
            Life::Absent => None,
            Life::Live(live) => Some(live.incarnation),
            Life::Deleted(deleted) => Some(deleted.incarnation),
        }
    }

    /// Whether the session exists; one whose time is over does until the tick.
    pub fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Whether the session exists and takes no more events.
    pub fn is_closed(&self) -> bool {
        self.live().is_some_and(Live::is_closed)
    }

    /// First event that can still be read; one beyond the tail where there is none.
    pub fn first(&self) -> Serial {
        self.live().map_or(Serial::ZERO.next(), |live| live.log.first)
    }

    /// Last event.
    pub fn tail(&self) -> Serial {
        self.live().map_or(Serial::ZERO, |live| live.log.tail)
    }

    /// Everything that may be told about a live session.
    pub fn status(&self) -> Option<Status> {
        let live = self.live()?;
        Some(Status {
            incarnation: live.incarnation,
            first: live.log.first,
            tail: live.log.tail,
            closed: live.is_closed(),
            chain: live.log.chain,
            bytes: live.log.bytes(),
            created_at: live.created_at,
            updated_at: live.updated_at,
            expires_at: live.expires_at(),
            config: live.config.clone(),
            producers: live.producers.all.len(),
        })
    }

    fn live(&self) -> Option<&Live> {
        match &self.life {
            Life::Live(live) => Some(live),
            Life::Absent | Life::Deleted(_) => None,
        }
    }

    /// The session if it lives at the time `at`, and that time as the session counts it.
    fn live_at(&mut self, at: Millis) -> Result<(&mut Live, Millis), Refusal> {
        let Life::Live(live) = &mut self.life else { return Err(Refusal::NotFound) };
        let now = live.now(at);
        if live.expires_at().is_some_and(|end| end <= now) {
            return Err(Refusal::NotFound);
        }
        Ok((live, now))
    }

    fn create(&mut self, at: Millis, config: &Config) -> Result<Applied, Refusal> {
        if let Ok((live, _)) = self.live_at(at) {
            if live.config != *config {
                return Err(Refusal::ConfigDiffers);
            }
            return Ok(Applied::Created { incarnation: live.incarnation, created: false });
        }
        config.check().map_err(Refusal::BadConfig)?;
        let incarnation = match self.incarnation() {
            None => Incarnation::FIRST,
            Some(last) => last.next().ok_or(Refusal::IncarnationsSpent)?,
        };
        let now = match &self.life {
            Life::Absent => at,
            Life::Live(live) => live.now(at),
            Life::Deleted(deleted) => deleted.at.max(at),
        };
        self.life = Life::Live(Live::new(&self.id, incarnation, config.clone(), now));
        Ok(Applied::Created { incarnation, created: true })
    }

    fn delete(&mut self, at: Millis, meant: Option<Incarnation>) -> Result<Applied, Refusal> {
        let (live, now) = self.live_at(at)?;
        let current = live.incarnation;
        if let Some(given) = meant
            && given != current
        {
            return Err(Refusal::OtherIncarnation { given, current });
        }
        Ok(self.bury(current, now, DeleteReason::Asked))
    }

    fn tick(&mut self, at: Millis) -> Applied {
        let Life::Live(live) = &mut self.life else { return Applied::Unchanged };
        let now = live.now(at);
        if live.expires_at().is_some_and(|end| end <= now) {
            let incarnation = live.incarnation;
            return self.bury(incarnation, now, DeleteReason::Expired);
        }
        live.age(now)
    }

    fn bury(&mut self, incarnation: Incarnation, at: Millis, reason: DeleteReason) -> Applied {
        self.life = Life::Deleted(Deleted { incarnation, at, reason });
        Applied::Deleted { incarnation, reason }
    }
}
