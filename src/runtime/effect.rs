//! What the world owes a session, done by the leader alone (S8), and derived from state, never queued: a
//! new leader asks the same question and goes on.

use std::sync::{Arc, OnceLock, Weak};

use cluster::ids::GroupId;
use tokio::time::Instant;

use super::changes::Feeds;
use super::presence::table::Count;
use super::turn_queue::Waiting;
use super::{Runtime, SubmitError};
use crate::ids::SessionId;
use crate::limits::EFFECT_DEADLINE;
use crate::session::{Audience, AudienceStatus, Command, Effect, Unwatched};

/// The way from a session's actor to everything that is not the session.
#[derive(Default)]
pub(super) struct World {
    runtime: OnceLock<Weak<Runtime>>,
    /// Who on this node hears of changes.
    pub(super) feeds: Feeds,
}

impl World {
    pub(super) fn open(&self, runtime: Weak<Runtime>) {
        // It is opened once, at the start.
        self.runtime.set(runtime).ok();
    }

    fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.get().and_then(Weak::upgrade)
    }

    /// Whether this node may act for the sessions of a shard.
    pub(super) fn leads(&self, shard: u32) -> bool {
        let group = self.runtime().and_then(|runtime| runtime.host.group(GroupId(shard)));
        group.is_some_and(|group| group.leads())
    }

    /// Lays the turns of a session that wait for workers in the turn queue, in place of what lies there of it.
    pub(super) fn offer(&self, id: &SessionId, shard: u32, offers: Vec<Waiting>) {
        if let Some(runtime) = self.runtime() {
            runtime.turn_queue.set(id, shard, offers);
        }
    }

    /// Does one effect of a session; `done` hears when the attempt is over, whatever came of it.
    pub(super) fn perform(
        &self,
        id: SessionId,
        effect: Effect,
        done: impl FnOnce(Effect) + Send + 'static,
    ) {
        let Some(runtime) = self.runtime() else { return };
        let stop = runtime.stop.clone();
        let tasks = runtime.tasks.clone();
        tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = runtime.perform(&id, &effect) => outcome,
                () = stop.cancelled() => return,
            };
            if let Err(why) = outcome {
                // It stays owed, and is tried again at the next sweep.
                tracing::debug!(session = %id, ?effect, %why, "an effect was not done");
            }
            done(effect);
        });
    }
}

/// What a session says of who watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) counted: Option<AudienceStatus>,
    /// Whether turns are open.
    pub(super) busy: bool,
    pub(super) unwatched: Unwatched,
    /// Whether it ends where nobody touches it.
    pub(super) ends: bool,
}

impl Watched {
    /// Whether anything follows from who watches.
    fn matters(&self) -> bool {
        self.busy || self.unwatched != Unwatched::Continue || self.ends
    }

    /// What the session is to be told, as the leader counts; none where it knows, or need not know.
    ///
    /// A leader that has not heard of everybody yet tells of those who came, never of those who are gone.
    fn owed(self, count: Count) -> Option<Audience> {
        let Count { watchers, controllers, settled } = count;
        if !self.matters() {
            return None;
        }
        let acts = self.unwatched != Unwatched::Continue;
        let knows = match self.counted {
            Some(counted) => counted.watchers == watchers && counted.controllers == controllers,
            // Where nothing happens without watchers, nobody is what it takes for granted.
            None => watchers == 0 && !acts,
        };
        let before = self.counted.map_or(0, |counted| counted.watchers);
        let certain = settled || before < watchers;
        (!knows && certain).then_some(Audience { watchers, controllers })
    }
}

impl World {
    /// Tells a session how many watch, if this node leads it and it does not know; says whether it does so.
    /// `done` hears when the attempt is over, and whether it was told.
    pub(super) fn tell_audience(
        &self,
        id: &SessionId,
        shard: u32,
        watched: Option<Watched>,
        done: impl FnOnce(bool) + Send + 'static,
    ) -> bool {
        let Some(watched) = watched.filter(Watched::matters) else { return false };
        let Some(runtime) = self.runtime() else { return false };
        let count = runtime.presence.table.count(id, shard, Instant::now());
        let Some(audience) = count.and_then(|count| watched.owed(count)) else { return false };
        let (stop, tasks, id) = (runtime.stop.clone(), runtime.tasks.clone(), id.clone());
        tasks.spawn(async move {
            let until = Instant::now() + EFFECT_DEADLINE;
            let told = runtime.submit(&id, Command::Audience(audience), until);
            let told = tokio::select! {
                told = told => told,
                () = stop.cancelled() => return,
            };
            match &told {
                // One that is no more need not know.
                Ok(_) | Err(SubmitError::Refused { .. }) => {}
                Err(why) => {
                    tracing::debug!(session = %id, %why, "a session does not know who watches");
                    runtime.presence.table.look_again(&id);
                }
            }
            done(told.is_ok());
        });
        true
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
        for (busy, unwatched, before, watchers, settled, told) in [
            // Nothing depends on it.
            (false, Unwatched::Continue, None, 2, true, None),
            (false, Unwatched::Continue, counted(1), 2, true, None),
            // An agent is told.
            (true, Unwatched::Continue, None, 2, false, Some(2)),
            (true, Unwatched::Continue, counted(2), 2, true, None),
            (true, Unwatched::Continue, counted(2), 0, true, Some(0)),
            (true, Unwatched::Continue, None, 0, true, None),
            // A policy is told even before there is a turn, and of nobody too.
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
            assert_eq!(owed.map(|audience| audience.watchers), told, "{case:?}");
        }
        // One that would end is told of who comes and who leaves, though nobody works in it.
        let watched =
            |counted| Watched { counted, busy: false, unwatched: Unwatched::Continue, ends: true };
        let count = |watchers| Count { watchers, controllers: 0, settled: true };
        assert_eq!(watched(None).owed(count(0)), None);
        assert_eq!(watched(None).owed(count(1)).map(|audience| audience.watchers), Some(1));
        assert_eq!(watched(counted(1)).owed(count(0)).map(|audience| audience.watchers), Some(0));
    }
}
