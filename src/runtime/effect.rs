//! What the world owes a session, done by the leader alone (S8), and derived from state, never queued for good: a
//! new leader derives the same effects and goes on.
//!
//! An actor requests here what it wants done; `actions` does it. So actors need to know no other parts.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::changes::Feeds;
use super::presence::table::{Count, PresenceTable};
use super::turn_queue::{TurnQueue, Waiting};
use crate::ids::SessionId;
use crate::limits::ACTIONS;
use crate::session::{Audience, AudienceStatus, Effect, Sender, Unwatched};

/// The way from a session's actor to everything that is not the session.
pub(super) struct World {
    /// Whether this node may act for the sessions of a shard.
    leads: Box<dyn Fn(u32) -> bool + Send + Sync>,
    turn_queue: Arc<TurnQueue>,
    presence: Arc<PresenceTable>,
    /// Who on this node is notified of changes.
    pub(super) feeds: Arc<Feeds>,
    actions: mpsc::Sender<Action>,
}

/// Something that an actor wants done outside of its session; `done` is called when the attempt is over.
pub(super) enum Action {
    /// Whatever comes of it.
    Perform { id: SessionId, effect: Effect, done: Box<dyn FnOnce(Effect) + Send> },
    /// It gets, too, whether the session was notified.
    Tell { id: SessionId, audience: Audience, done: Box<dyn FnOnce(bool) + Send> },
}

impl World {
    /// The world, and what its actors want done.
    pub(super) fn new(
        leads: impl Fn(u32) -> bool + Send + Sync + 'static,
        turn_queue: Arc<TurnQueue>,
        presence: Arc<PresenceTable>,
        feeds: Arc<Feeds>,
    ) -> (World, mpsc::Receiver<Action>) {
        let (actions, wanted) = mpsc::channel(ACTIONS);
        (World { leads: Box::new(leads), turn_queue, presence, feeds, actions }, wanted)
    }

    /// A world in which no node leads and nothing is done.
    #[cfg(test)]
    pub(super) fn empty() -> World {
        let presence = PresenceTable::new(crate::ids::Millis(0));
        World::new(|_| false, Arc::default(), Arc::new(presence), Arc::default()).0
    }

    /// Whether this node may act for the sessions of a shard.
    pub(super) fn leads(&self, shard: u32) -> bool {
        (self.leads)(shard)
    }

    /// Whether a device is attached to a session; none where this node does not know.
    pub(super) fn attends(&self, id: &SessionId, shard: u32, sender: &Sender) -> Option<bool> {
        self.presence.has(id, shard, sender, Instant::now())
    }

    /// Lays the turns of a session that wait for workers in the turn queue, in place of what lies there of it.
    pub(super) fn offer(&self, id: &SessionId, shard: u32, offers: Vec<Waiting>) {
        self.turn_queue.set(id, shard, offers);
    }

    /// Does one effect of a session; `done` is called when the attempt is over, whatever its result.
    pub(super) fn perform(
        &self,
        id: SessionId,
        effect: Effect,
        done: impl FnOnce(Effect) + Send + 'static,
    ) {
        let action = Action::Perform { id, effect, done: Box::new(done) };
        if let Err(refused) = self.actions.try_send(action)
            && let Action::Perform { effect, done, .. } = refused.into_inner()
        {
            // It stays owed, and is tried again at the next sweep.
            done(effect);
        }
    }
}

/// What a session knows of who watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) counted: Option<AudienceStatus>,
    /// Whether turns are open.
    pub(super) busy: bool,
    pub(super) unwatched: Unwatched,
    /// Whether it ends where no client touches it.
    pub(super) ends: bool,
}

impl Watched {
    /// Whether anything follows from who watches.
    fn matters(&self) -> bool {
        self.busy || self.unwatched != Unwatched::Continue || self.ends
    }

    /// What the session is to be notified of, as the leader counts; none where it knows, or need not know.
    ///
    /// A leader without reports of all nodes yet reports those who came, never those who are gone.
    fn owed(self, count: Count) -> Option<Audience> {
        let Count { watchers, controllers, settled } = count;
        if !self.matters() {
            return None;
        }
        let acts = self.unwatched != Unwatched::Continue;
        let knows = match self.counted {
            Some(counted) => counted.watchers == watchers && counted.controllers == controllers,
            // Where nothing happens without watchers, it takes for granted that none is there.
            None => watchers == 0 && !acts,
        };
        let before = self.counted.map_or(0, |counted| counted.watchers);
        let certain = settled || before < watchers;
        (!knows && certain).then_some(Audience { watchers, controllers })
    }
}

impl World {
    /// Notifies a session of how many watch, if this node leads it and it does not know; returns whether it does so.
    /// `done` is called when the attempt is over, with whether it was notified.
    pub(super) fn tell_audience(
        &self,
        id: &SessionId,
        shard: u32,
        watched: Option<Watched>,
        done: impl FnOnce(bool) + Send + 'static,
    ) -> bool {
        let Some(watched) = watched.filter(Watched::matters) else { return false };
        let count = self.presence.count(id, shard, Instant::now());
        let Some(audience) = count.and_then(|count| watched.owed(count)) else { return false };
        let action = Action::Tell { id: id.clone(), audience, done: Box::new(done) };
        let taken = self.actions.try_send(action).is_ok();
        if !taken {
            self.presence.look_again(id);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Millis;

    #[test]
    fn a_session_is_told_what_it_needs_to_know_and_nobody_is_gone_before_it_is_certain() {
        let pause = Unwatched::Pause { after_ms: 1 };
        let counted =
            |watchers| Some(AudienceStatus { watchers, controllers: 0, since: Millis(1) });
        for (busy, unwatched, before, watchers, settled, notified) in [
            // Nothing depends on it.
            (false, Unwatched::Continue, None, 2, true, None),
            (false, Unwatched::Continue, counted(1), 2, true, None),
            // An agent is notified.
            (true, Unwatched::Continue, None, 2, false, Some(2)),
            (true, Unwatched::Continue, counted(2), 2, true, None),
            (true, Unwatched::Continue, counted(2), 0, true, Some(0)),
            (true, Unwatched::Continue, None, 0, true, None),
            // A policy is notified even before there is a turn, and of none too.
            (false, pause, None, 0, true, Some(0)),
            (false, pause, None, 1, false, Some(1)),
            (false, pause, counted(0), 0, true, None),
            // A new leader, or a page that is loaded again.
            (true, pause, counted(3), 1, false, None),
            (true, pause, counted(1), 3, false, Some(3)),
            (true, pause, counted(1), 0, false, None),
            (true, pause, None, 0, false, None),
        ] {
            let watched = Watched { counted: before, busy, unwatched, ends: false };
            let owed = watched.owed(Count { watchers, controllers: 0, settled });
            let case = (busy, unwatched, before, watchers, settled);
            assert_eq!(owed.map(|audience| audience.watchers), notified, "{case:?}");
        }
        // One that would end is notified of who comes and who leaves, though no turn is open in it.
        let watched =
            |counted| Watched { counted, busy: false, unwatched: Unwatched::Continue, ends: true };
        let count = |watchers| Count { watchers, controllers: 0, settled: true };
        assert_eq!(watched(None).owed(count(0)), None);
        assert_eq!(watched(None).owed(count(1)).map(|audience| audience.watchers), Some(1));
        assert_eq!(watched(counted(1)).owed(count(0)).map(|audience| audience.watchers), Some(0));
    }
}
