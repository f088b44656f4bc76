//! Paused turns: because a client requested it, or because no participant watches.
//!
//! A turn without a worker pauses at once. For one that has a worker, the pause is requested; the worker gives it up
//! at its next safe boundary, or goes on.

use crate::command::{Audience, Pause, Resume, Role};
use crate::event::Event;
use crate::fact::{Fact, PauseReason};
use crate::ids::Millis;
use crate::live::Live;
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::status::AudienceStatus;
use crate::turn::Stage;
use crate::work::check_role;

impl Live {
    /// Requests that turns pause.
    pub(crate) fn pause(
        &mut self,
        now: Millis,
        request: &Pause,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        check_role(request.role, Role::Controller)?;
        let mut turns = 0;
        for at in 0..self.work.turns.len() {
            let turn = &self.work.turns[at];
            if request.scope.has(&turn.id, &turn.agent)
                && self.rest(now, at, PauseReason::Requested, out)
            {
                turns += 1;
            }
        }
        Ok(Applied::Paused { turns })
    }

    /// Lets turns go on.
    pub(crate) fn resume(
        &mut self,
        now: Millis,
        request: &Resume,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        check_role(request.role, Role::Controller)?;
        let mut turns = 0;
        for at in 0..self.work.turns.len() {
            let turn = &self.work.turns[at];
            if request.scope.has(&turn.id, &turn.agent) && self.go_on(now, at, out) {
                turns += 1;
            }
        }
        Ok(Applied::Paused { turns })
    }

    /// Takes the leader's count of who watches.
    pub(crate) fn audience(
        &mut self,
        now: Millis,
        request: Audience,
        out: &mut Vec<Event>,
    ) -> Applied {
        let Audience { watchers, controllers } = request;
        let before = self.work.audience;
        if before.is_some_and(|old| old.watchers == watchers && old.controllers == controllers) {
            return Applied::Unchanged;
        }
        let since = before.filter(|old| (old.watchers == 0) == (watchers == 0));
        let since = since.map_or(now, |old| old.since);
        self.work.audience = Some(AudienceStatus { watchers, controllers, since });
        self.clock = now;
        if before.is_some_and(|old| 0 < old.watchers) && watchers == 0 {
            self.touched_at = now;
        }
        if !self.work.turns.is_empty() {
            self.note(now, Fact::Audience { watchers, controllers }, out);
        }
        if 0 < watchers {
            for at in 0..self.work.turns.len() {
                let turn = &self.work.turns[at];
                let rests = matches!(turn.stage, Stage::Paused { reason: PauseReason::Unwatched });
                if rests || turn.pausing == Some(PauseReason::Unwatched) {
                    self.go_on(now, at, out);
                }
            }
        }
        Applied::Settled
    }

    /// Pauses a turn, or requests that of its worker; returns whether that is news.
    pub(super) fn rest(
        &mut self,
        now: Millis,
        at: usize,
        reason: PauseReason,
        out: &mut Vec<Event>,
    ) -> bool {
        let turn = &mut self.work.turns[at];
        let id = turn.id.clone();
        match turn.stage {
            Stage::Waiting { .. } => {
                turn.stage = Stage::Paused { reason };
                self.note(now, Fact::Paused { turn: id, reason }, out);
            }
            Stage::Active(_) if turn.pausing != Some(reason) => {
                turn.pausing = Some(reason);
                self.note(now, Fact::Pausing { turn: id, reason }, out);
            }
            _ => return false,
        }
        true
    }

    /// Lets a turn go on that is paused or is to pause; returns whether it was.
    pub(super) fn go_on(&mut self, now: Millis, at: usize, out: &mut Vec<Event>) -> bool {
        let turn = &mut self.work.turns[at];
        match turn.stage {
            Stage::Paused { .. } => turn.offer(now),
            _ if turn.pausing.take().is_some() => {}
            _ => return false,
        }
        let turn = turn.id.clone();
        self.note(now, Fact::Resumed { turn }, out);
        true
    }
}
