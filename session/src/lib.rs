//! What a session is: a state that changes only by commands, the same way on every replica (S1,
//! S6).
//!
//! A crate of its own, so that its manifest limits what it may use. No map here has a random order.
//! No clock, no I/O, no chance: the time of a command comes with it, and what it wrote goes out as
//! events for others to keep. The log here is a beginning; whatever else a session will know is
//! further state beside it, and further kinds of command.

#![warn(missing_docs)]

mod bounds;
pub mod branch;
pub mod chain;
pub mod command;
pub mod config;
pub mod content_type;
pub mod control;
#[cfg(test)]
mod control_tests;
pub mod event;
pub mod fact;
pub mod files;
pub mod fork;
pub mod grant;
pub mod health;
pub mod outcome;
pub mod pattern;
pub mod refusal;
pub mod status;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod case_tests;
mod check;
mod cut;
#[cfg(test)]
mod files_tests;
pub mod ids;
pub mod import;
#[cfg(test)]
mod import_tests;
mod keys;
pub mod limits;
mod live;
mod lives;
mod log;
#[cfg(test)]
mod people_tests;
mod policy;
mod producers;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod question_tests;
mod spent;
pub mod standing;
pub mod stored;
#[cfg(test)]
mod subturn_tests;
#[cfg(test)]
mod tests;
pub mod tool_key;
mod turn;
#[cfg(test)]
mod turn_tests;
mod work;

use serde::{Deserialize, Serialize};

pub use bounds::{Bounds, Held, Holding};
pub use branch::{Branch, Branches, TreePlace, View};
pub use check::Broken;
pub use command::{
    Answer, Append, AppendEach, Ask, Audience, Cancel, Claim, ClaimCall, Command, ControlRequest,
    ControlVerb, Create, Follows, Found, Import, ImportBegin, ImportEvents, ImportStep, Input,
    Lose, NodeStart, Pause, Phase, ReleaseCall, Resume, Role, Scope, Shelve, SubTurn, Then,
    ToolMark, ToolResult, ToolStep, TurnOutput, TurnReport, WhenBusy, Withdraw,
};
pub use config::{BadConfig, Config, Retention};
pub use content_type::ContentType;
pub use control::Mode;
pub use cut::{Cut, Inherited, OpenTurn};
pub use event::{BadFormat, Event, Format, NewEvent, Origin};
pub use fact::{
    CallCause, Cause, Change, ControlChange, End, Fact, Member, Output, PauseReason, Receipt,
    Sender,
};
pub use files::{BadFile, BeginFile, File, FileRequest, Piece};
pub use fork::{Effect, Fork, ForkRequest};
pub use grant::{Denied, Grant, Right};
pub use import::{Carried, Writers};
pub use keys::{CommandKey, Stand};
pub use outcome::{Applied, DeleteReason};
pub use pattern::Pattern;
pub use policy::{Policy, Unwatched};
pub use refusal::Refusal;
pub use standing::Standing;
pub use status::{
    AudienceStatus, CallerStatus, ControlStatus, InteractionStatus, Joins, LeaseStatus,
    QueuedStatus, Status, SubTurnState, SubTurnStatus, ToolStatus, TurnPlace, TurnState,
    TurnStatus,
};

use crate::ids::{
    CallEpoch, Incarnation, InteractionId, Millis, Serial, SessionId, TurnEpoch, TurnId,
};
use fork::PendingRelease;
use keys::Keys;
use live::Live;
use lives::Deleted;

/// One session: what any replica needs to apply the next command, and nothing of the log itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    id: SessionId,
    life: Life,
    /// Oldest first; up to [`limits::PENDING_RELEASES`].
    pending_releases: Vec<PendingRelease>,
    keys: Keys,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Life {
    /// Never created.
    Absent,
    Live(Box<Live>),
    Deleted(Box<Deleted>),
}

impl Session {
    /// A session that was never created.
    pub fn absent(id: SessionId) -> Session {
        Session { id, life: Life::Absent, pending_releases: Vec::new(), keys: Keys::default() }
    }

    /// Changes the session as `command` requests at the time `at`; new events are added to `out`.
    ///
    /// A time before the newest one that changed the session counts as that one. A session whose time
    /// to live is over is treated as deleted, whether or not a tick has come by.
    ///
    /// # Errors
    /// A refusal leaves the session exactly as it was, its clock too, and adds no event. The same
    /// holds for answers with `duplicate`, `created: false` and `Unchanged`.
    pub fn apply(
        &mut self,
        at: Millis,
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let before = cfg!(debug_assertions).then(|| self.before(out));
        let had = out.len();
        let begins =
            |session: &Session| session.kept().map(|live| (live.incarnation, live.log.first));
        let began = begins(self);
        let answer = self.obey(at, command, out);
        let is_trimmed = began != begins(self);
        if answer.is_ok()
            && let Life::Live(live) = &mut self.life
        {
            live.cite_files(&out[had..]);
            if is_trimmed {
                live.forget_files();
            }
        }
        if let Some(Err(broken)) = before.map(|before| self.check_step(&before, &answer, out)) {
            panic!("{broken}; after {command:?}: {self:?}");
        }
        answer
    }

    fn obey(
        &mut self,
        at: Millis,
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        match command {
            Command::Create(create) => self.create(at, create, out),
            Command::Delete { incarnation } => self.delete(at, *incarnation, None),
            Command::DeleteUnchanged { incarnation, tail } => {
                self.delete(at, Some(*incarnation), Some(*tail))
            }
            Command::Tick => Ok(self.tick(at, out)),
            Command::Confirm { fork, key } => Ok(self.confirm(fork, *key)),
            Command::Release { fork, key } => Ok(self.release(at, fork, *key)),
            Command::Settle { source, key } => Ok(self.settle(source, *key)),
            Command::Import(import) => self.import(at, import, out),
            of_the_living => {
                let (live, now) = self.live_at(at)?;
                live.obey(now, of_the_living, out)
            }
        }
    }

    /// The same for a request that names no producer: of all its tries one takes effect (S11), and the others
    /// are answered as that one was, with `duplicate`.
    ///
    /// # Errors
    /// As [`Self::apply`]; [`Refusal::OutcomeForgotten`] where an earlier try may have taken effect.
    pub fn apply_once(
        &mut self,
        at: Millis,
        key: &CommandKey,
        command: &Command,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if let Some(known) = self.keys.recall(key, self.now(at))? {
            return Ok(known.again());
        }
        if command.is_of_one_life() && self.began_within(key, at) {
            return Err(Refusal::OutcomeForgotten);
        }
        let applied = self.apply(at, command, out)?;
        if let Some(stand) = self.stand().filter(|_| !command.is_of_one_life()) {
            let now = self.now(at);
            self.keys.remember(key, now, stand, &applied);
        }
        Ok(applied)
    }

    /// Whether this life may be younger than the first try of a request, which an earlier one may have taken.
    fn began_within(&self, key: &CommandKey, at: Millis) -> bool {
        let (Some(age_ms), Some(live)) = (key.age_ms, self.live()) else { return false };
        let age_ms = u64::from(age_ms) + limits::KEY_SKEW_MS;
        Incarnation::FIRST < live.incarnation && live.now(at).since(live.created_at) <= age_ms
    }

    /// Where the session stands after the last command, or stood after the one with this key; none if it
    /// never lived.
    pub fn stand_of(&self, key: Option<&CommandKey>) -> Option<Stand> {
        let known = key.and_then(|key| self.keys.find(key));
        known.map(|known| known.stand).or_else(|| self.stand())
    }

    fn stand(&self) -> Option<Stand> {
        let incarnation = self.incarnation()?;
        let root = self.root().unwrap_or(incarnation);
        Some(Stand { incarnation, root, tail: self.tail() })
    }

    /// The time of a command that came at `at`, as the session counts it.
    fn now(&self, at: Millis) -> Millis {
        match &self.life {
            Life::Absent => at,
            Life::Live(live) => live.now(at),
            Life::Deleted(deleted) => deleted.at.max(at),
        }
    }

    /// The next time at which the session is to be looked at, as far as is known now: a tick changes
    /// something then, or an effect is due.
    pub fn deadline(&self) -> Option<Millis> {
        self.deadlines().min()
    }

    /// The same for a session that was looked at just now: what is owed and could not be done is looked at
    /// again after a while, ever more rarely, so that it does not keep others waiting.
    pub fn next_look(&self, now: Millis) -> Option<Millis> {
        let again = |due: Millis| {
            let wait_ms = (now.since(due) / 2).clamp(limits::AGAIN_MS, limits::AGAIN_MS_MAX);
            if due <= now { now.after(wait_ms) } else { due }
        };
        self.deadlines().map(again).min()
    }

    fn deadlines(&self) -> impl Iterator<Item = Millis> {
        let pending_releases = self.pending_releases.iter().map(|pending| pending.since);
        let holds = self.kept().into_iter().flat_map(|live| live.holds.deadlines());
        let offers = self.live().into_iter().flat_map(|live| live.work.offers_at());
        self.tick_at().into_iter().chain(pending_releases).chain(holds).chain(offers)
    }

    /// The next time at which a tick changes something.
    pub fn tick_at(&self) -> Option<Millis> {
        if let Some(coming) = self.kept().and_then(Live::coming) {
            return Some(coming.until);
        }
        let live = self.live()?;
        let age = live.log.deadline(&live.config.retention, live.work.needed());
        let files = live.files.deadline();
        let work = live.work.tick_at(&live.config.policy);
        [age, live.expires_at(), work, files].into_iter().flatten().min()
    }

    /// Turns whose workers are gone when these starts of a node are, and the epochs of their leases.
    pub fn held_by(&self, gone: impl Fn(NodeStart) -> bool) -> Vec<(TurnId, TurnEpoch)> {
        let turns = self.live().into_iter().flat_map(|live| &live.work.turns);
        let held = turns.filter_map(|turn| {
            let lease = turn.lease().filter(|lease| lease.node.is_some_and(&gone))?;
            Some((turn.id.clone(), lease.epoch))
        });
        held.collect()
    }

    /// What is remembered of an input, by its name.
    pub fn place_of(&self, input: &TurnId) -> Option<TurnPlace> {
        self.kept()?.work.place(input)
    }

    /// Calls that devices make and have not left, each with its epoch and its device.
    pub fn claimed_calls(&self) -> Vec<(InteractionId, CallEpoch, Sender)> {
        let calls = self.live().into_iter().flat_map(|live| live.work.claimed_calls());
        calls.map(|(id, epoch, by)| (id.clone(), epoch, by.clone())).collect()
    }

    /// What the world owes the session at the time `now`.
    pub fn effects(&self, now: Millis) -> Vec<Effect> {
        let pending_releases = self.pending_releases.iter().filter(|pending| pending.since <= now);
        let release = |pending: &PendingRelease| Effect::Release {
            source: pending.source.clone(),
            key: pending.key,
        };
        let holds = self.kept().into_iter().flat_map(|live| live.holds.effects(now));
        let offers = self.live().into_iter().flat_map(|live| live.work.on_offer(now));
        let offer = |turn: &turn::Turn| Effect::Offer {
            turn: turn.id.clone(),
            agent: turn.agent.clone(),
            attempt: turn.attempts,
        };
        pending_releases.map(release).chain(holds).chain(offers.map(offer)).collect()
    }

    /// Its files, also those that are still coming, in order of their numbers.
    pub fn files(&self) -> &[File] {
        self.kept().map_or(&[], |live| live.files.all())
    }

    /// The life whose files these are, and how many it has no more; none where nothing is kept.
    pub fn files_removed(&self) -> Option<(Incarnation, u64)> {
        self.kept().map(|live| (live.incarnation, live.files.removed()))
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

    /// The life whose serials these are: the session's own, or that of the first one it is a fork of.
    /// Serials of two roots have nothing to do with each other.
    pub fn root(&self) -> Option<Incarnation> {
        self.kept().map(Live::root).or(self.incarnation())
    }

    /// What the session inherits, if it is a fork and all of that can still be read.
    pub fn inherits(&self) -> Option<&Fork> {
        let live = self.kept()?;
        live.fork.as_deref().filter(|fork| live.log.first == fork.at.next())
    }

    /// Whether there is a log, be it for forks alone.
    pub fn is_kept(&self) -> bool {
        self.kept().is_some()
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
        self.kept().map_or(Serial::ZERO.next(), Live::first)
    }

    /// Last event.
    pub fn tail(&self) -> Serial {
        self.kept().map_or(Serial::ZERO, |live| live.log.tail)
    }

    /// Everything that may be shown of a session that is live, or kept for its forks.
    pub fn status(&self) -> Option<Status> {
        let live = self.kept().filter(|live| live.coming().is_none())?;
        Some(Status {
            incarnation: live.incarnation,
            root: live.root(),
            fork: live.fork.as_deref().cloned(),
            hidden: live.hidden.is_some(),
            first: live.first(),
            tail: live.log.tail,
            closed: live.is_closed(),
            chain: live.log.chain,
            bytes: live.log.bytes(),
            created_at: live.created_at,
            updated_at: live.updated_at,
            touched_at: live.touched_at,
            expires_at: live.expires_at(),
            config: live.config.clone(),
            producers: live.producers.count(),
            turns: live.work.status(),
            interactions: live.work.interactions(),
            queued: live.work.queued(),
            message: live.work.message,
            control: (&live.work.control).into(),
            audience: live.work.audience,
            branches: live.work.branches.clone(),
            standing: live.standing,
        })
    }

    /// Who watches, as far as known; whether turns are open, what follows where no participant watches, and
    /// whether the session ends where no client touches it; none where there is no session.
    pub fn watched(&self) -> Option<(Option<AudienceStatus>, bool, Unwatched, bool)> {
        let Live { work, config, .. } = self.live()?;
        let (busy, ends) = (!work.turns.is_empty(), config.ttl_ms.is_some());
        Some((work.audience, busy, config.policy.unwatched, ends))
    }

    fn live(&self) -> Option<&Live> {
        self.kept().filter(|live| live.hidden.is_none() && live.coming().is_none())
    }

    fn kept(&self) -> Option<&Live> {
        match &self.life {
            Life::Live(live) => Some(live),
            Life::Absent | Life::Deleted(_) => None,
        }
    }

    /// The session if it lives at the time `at`, and that time as the session counts it.
    fn live_at(&mut self, at: Millis) -> Result<(&mut Live, Millis), Refusal> {
        let Life::Live(live) = &mut self.life else { return Err(Refusal::NotFound) };
        if live.coming().is_some() {
            return Err(Refusal::NotFound);
        }
        let now = live.now(at);
        let expired = live.expires_at().is_some_and(|end| end <= now);
        if live.hidden.is_some() || (expired && !live.holds.is_empty()) {
            return Err(Refusal::Gone);
        }
        if expired {
            return Err(Refusal::NotFound);
        }
        Ok((live, now))
    }
}
