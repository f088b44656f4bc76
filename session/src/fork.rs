//! Sessions that begin as another one was: a fork shares its source's events, up to where it left
//! it.
//!
//! The two may live in different shards, so they hold on to each other by commands. The source
//! keeps a *hold* for each fork and does not give up its log while it has one; the fork keeps a
//! *pending release* when it ends, until the source has let go. A hold whose fork was not confirmed
//! is looked into after a while, so whoever dies half way leaves nothing behind.

use serde::{Deserialize, Serialize};

use crate::cut::Inherited;
use crate::ids::{AgentName, Incarnation, Millis, Serial, SessionId, TurnId};
use crate::limits;

/// What a session inherits: the events of `source` up to `at`, under their serials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The session whose events it inherits.
    pub source: SessionId,
    /// The source's life at that time.
    pub incarnation: Incarnation,
    /// See [`super::Session::root`].
    pub root: Incarnation,
    /// Last event that is inherited.
    pub at: Serial,
    /// Where the fork was requested; `at` lies `sub` further on, in the units of the asker.
    pub anchor: Serial,
    /// How far `at` lies after `anchor`, in the units of the asker; 0 where it named a serial.
    pub sub: u64,
    /// The number of the hold, drawn at random.
    pub key: u64,
}

/// A fork that a creator requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkRequest {
    /// What the new session is to inherit.
    pub fork: Fork,
    /// Whether the asker named the anchor, or took the source's tail.
    pub anchored: bool,
    /// End of the hold, unless it is confirmed.
    pub until: Millis,
    /// What it is to know of the turns and messages that it inherits; nothing where it is not looked at.
    pub inherited: Option<Box<Inherited>>,
}

/// A fork that needs this session's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) fork: SessionId,
    pub(super) key: u64,
    /// When it is to be looked into; none once the fork is known to exist.
    pub(super) until: Option<Millis>,
}

/// A hold on `source` that the session no longer needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingRelease {
    pub(super) source: SessionId,
    pub(super) key: u64,
    pub(super) since: Millis,
}

/// What a session is owed by the world. Done by the leader, again and again until a command reports that
/// it is done; doing it twice has the effect of once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Request `source` to let go of this session's hold.
    Release {
        /// The session that has the hold.
        source: SessionId,
        /// The number of the hold.
        key: u64,
    },
    /// Find out whether `fork` exists with this hold, and confirm or release it.
    AskFork {
        /// The session that the hold is for.
        fork: SessionId,
        /// The number of the hold.
        key: u64,
    },
    /// Find a worker that takes the turn; it is offered for the `attempt`th time, counted from 0.
    Offer {
        /// The turn that waits.
        turn: TurnId,
        /// The agent whose workers may take it.
        agent: AgentName,
        /// Workers that have had it before.
        attempt: u32,
    },
}

/// The holds of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holds {
    pub(super) all: Vec<Hold>,
}

impl Holds {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes a hold, or finds the one that was taken; returns until when. None where there are too many.
    pub(super) fn take(&mut self, fork: &SessionId, key: u64, now: Millis) -> Option<Millis> {
        let until = now.after(limits::HOLD_MS);
        match self.find(fork, key) {
            Some(at) => Some(self.all[at].until.unwrap_or(until)),
            None if limits::FORKS <= self.all.len() => None,
            None => {
                self.all.push(Hold { fork: fork.clone(), key, until: Some(until) });
                Some(until)
            }
        }
    }

    /// Lets such a hold go; returns whether there was one.
    pub(super) fn release(&mut self, fork: &SessionId, key: u64) -> bool {
        let at = self.find(fork, key);
        at.map(|at| self.all.remove(at)).is_some()
    }

    /// Marks the fork as existing; returns whether that is news.
    pub(super) fn confirm(&mut self, fork: &SessionId, key: u64) -> bool {
        let at = self.find(fork, key);
        at.is_some_and(|at| self.all[at].until.take().is_some())
    }

    /// When holds are to be looked into.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Millis> {
        self.all.iter().filter_map(|hold| hold.until)
    }

    pub(super) fn effects(&self, now: Millis) -> impl Iterator<Item = Effect> {
        let due = move |hold: &&Hold| hold.until.is_some_and(|until| until <= now);
        let ask = |hold: &Hold| Effect::AskFork { fork: hold.fork.clone(), key: hold.key };
        self.all.iter().filter(due).map(ask)
    }

    fn find(&self, fork: &SessionId, key: u64) -> Option<usize> {
        self.all.iter().position(|hold| hold.key == key && hold.fork == *fork)
    }
}
