//! The lives of a name, one after the other: created, hidden while it has forks, over.

use serde::{Deserialize, Serialize};

use super::command::Create;
use super::event::Event;
use super::fork::{Fork, PendingRelease};
use super::live::{self, Live};
use super::outcome::{Applied, DeleteReason};
use super::refusal::Refusal;
use super::spent::Spent;
use super::{Life, Session};
use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::limits;

/// What is left of a session: enough to never give a serial, or a number that fences, twice. It is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deleted {
    pub(super) incarnation: Incarnation,
    pub(super) at: Millis,
    pub(super) reason: DeleteReason,
    pub(super) spent: Spent,
}

impl Session {
    pub(super) fn create(
        &mut self,
        at: Millis,
        create: &Create,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let is_coming = self.kept().is_some_and(|live| live.coming().is_some());
        match self.live_at(at) {
            Ok((live, _)) if !live.matches_request(create) => return Err(Refusal::ConfigDiffers),
            Ok((live, _)) => {
                let (incarnation, closed) = (live.incarnation, live.is_closed());
                return Ok(Applied::Created { incarnation, created: false, closed });
            }
            Err(Refusal::NotFound) if is_coming => return Err(Refusal::Importing),
            Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
        create.config.check().map_err(Refusal::BadConfig)?;
        live::check_size(&create.events)?;
        if let Some(request) = &create.fork {
            let Fork { source, key, .. } = &request.fork;
            let owed = self
                .pending_releases
                .iter()
                .any(|pending| pending.key == *key && pending.source == *source);
            if request.until <= at || owed {
                return Err(Refusal::ForkExpired);
            }
            if limits::PENDING_RELEASES <= self.pending_releases.len() {
                return Err(Refusal::TooManyForks { limit: limits::PENDING_RELEASES });
            }
        }
        let incarnation = match self.incarnation() {
            None => Incarnation::FIRST,
            Some(last) => last.next().ok_or(Refusal::IncarnationsExhausted)?,
        };
        // A life that is over and that no tick has ended yet.
        if let Life::Live(ended) = &self.life {
            let (incarnation, now) = (ended.incarnation, ended.now(at));
            self.bury(incarnation, now, DeleteReason::Expired);
        }
        let now = self.now(at);
        let spent = self.spent();
        let live = Live::new(&self.id, incarnation, create, spent, now, out);
        self.life = Life::Live(Box::new(live));
        Ok(Applied::Created { incarnation, created: true, closed: create.close })
    }

    /// What earlier lives have used up; for the next one.
    pub(super) fn spent(&mut self) -> Spent {
        match &mut self.life {
            Life::Deleted(deleted) => std::mem::take(&mut deleted.spent),
            Life::Absent | Life::Live(_) => Spent::default(),
        }
    }

    pub(super) fn delete(
        &mut self,
        at: Millis,
        meant: Option<Incarnation>,
        tail: Option<Serial>,
    ) -> Result<Applied, Refusal> {
        if let Life::Live(coming) = &self.life
            && coming.coming().is_some()
            && meant.is_none()
        {
            // Nobody sees it, and the name is wanted.
            let (incarnation, now) = (coming.incarnation, coming.now(at));
            return Ok(self.bury(incarnation, now, DeleteReason::Requested));
        }
        let (live, now) = self.live_at(at)?;
        let current = live.incarnation;
        if let Some(given) = meant
            && given != current
        {
            return Err(Refusal::OtherIncarnation { given, current });
        }
        if let Some(expected) = tail
            && expected != live.log.tail
        {
            return Err(Refusal::SerialMismatch { expected, tail: live.log.tail });
        }
        Ok(self.end(now, DeleteReason::Requested))
    }

    pub(super) fn tick(&mut self, at: Millis, out: &mut Vec<Event>) -> Applied {
        let Life::Live(live) = &mut self.life else { return Applied::Unchanged };
        let now = live.now(at);
        if live.hidden.is_some() {
            return Applied::Unchanged;
        }
        if let Some(until) = live.coming().map(|coming| coming.until) {
            // The rest of it never comes.
            let incarnation = live.incarnation;
            return match until <= now {
                true => self.bury(incarnation, now, DeleteReason::Expired),
                false => Applied::Unchanged,
            };
        }
        if live.expires_at().is_some_and(|end| end <= now) {
            return self.end(now, DeleteReason::Expired);
        }
        let judged = live.judge(now, out);
        let expired = live.expire_files(now);
        match live.age(now) {
            Applied::Unchanged if judged || expired => Applied::Ticked,
            applied => applied,
        }
    }

    pub(super) fn confirm(&mut self, fork: &SessionId, key: u64) -> Applied {
        if let Life::Live(live) = &mut self.life {
            live.holds.confirm(fork, key);
        }
        Applied::Settled
    }

    /// Lets go of a hold; the last one takes a hidden log with it.
    pub(super) fn release(&mut self, at: Millis, fork: &SessionId, key: u64) -> Applied {
        let Life::Live(live) = &mut self.life else { return Applied::Settled };
        live.holds.release(fork, key);
        match live.hidden {
            Some(reason) if live.holds.is_empty() => {
                let (incarnation, now) = (live.incarnation, live.now(at));
                self.bury(incarnation, now, reason)
            }
            _ => Applied::Settled,
        }
    }

    pub(super) fn settle(&mut self, source: &SessionId, key: u64) -> Applied {
        self.pending_releases.retain(|pending| pending.key != key || pending.source != *source);
        Applied::Settled
    }

    /// Ends the life for everyone, and for good if it has no forks.
    fn end(&mut self, now: Millis, reason: DeleteReason) -> Applied {
        let Life::Live(live) = &mut self.life else { return Applied::Unchanged };
        let incarnation = live.incarnation;
        if live.holds.is_empty() {
            return self.bury(incarnation, now, reason);
        }
        live.hidden = Some(reason);
        live.clock = now;
        Applied::Deleted { incarnation, reason }
    }

    pub(super) fn bury(
        &mut self,
        incarnation: Incarnation,
        at: Millis,
        reason: DeleteReason,
    ) -> Applied {
        let mut spent = Spent::default();
        if let Life::Live(live) = &self.life {
            spent = Spent::by(live);
            if let Some(fork) = &live.fork {
                self.pending_releases.push(PendingRelease {
                    source: fork.source.clone(),
                    key: fork.key,
                    since: at,
                });
            }
        }
        self.life = Life::Deleted(Box::new(Deleted { incarnation, at, reason, spent }));
        self.keys.keep_newest(limits::KEYS_OF_DELETED);
        Applied::Deleted { incarnation, reason }
    }
}
