//! What time alone changes: workers are judged by their two clocks, and what has a deadline comes to it.

use crate::event::Event;
use crate::fact::{Change, End, Fact, PauseReason};
use crate::ids::Millis;
use crate::live::Live;
use crate::policy::{Policy, Unwatched};
use crate::turn::{Judgement, Stage};
use crate::work::Work;

impl Work {
    /// When the policy acts because no participant watches.
    pub(super) fn unwatched_from(&self, policy: &Policy) -> Option<Millis> {
        let after_ms = policy.unwatched.after_ms()?;
        let audience = self.audience.filter(|audience| audience.watchers == 0)?;
        let from = audience.since.after(after_ms);
        (0..self.turns.len()).any(|at| self.minds(at, policy)).then_some(from)
    }

    /// Whether the policy has something to do to an unwatched turn.
    fn minds(&self, at: usize, policy: &Policy) -> bool {
        // Who waits for people has all the time, and so does who waits for one that does.
        if self.asks_within(at) {
            return false;
        }
        match (policy.unwatched, &self.turns[at].stage) {
            // What becomes of sub-turns becomes of who waits for them.
            (Unwatched::Continue, _) | (_, Stage::Asking | Stage::Joining { .. }) => false,
            (Unwatched::Cancel { .. }, _) => true,
            (Unwatched::Pause { .. }, Stage::Paused { .. }) => false,
            (Unwatched::Pause { .. }, Stage::Waiting { .. }) => true,
            (Unwatched::Pause { .. }, Stage::Active(_)) => self.turns[at].pausing.is_none(),
        }
    }
}

impl Live {
    /// Lets what is due happen; returns whether anything changed.
    pub(crate) fn judge(&mut self, now: Millis, out: &mut Vec<Event>) -> bool {
        let before = out.len();
        if self.work.control.until.is_some_and(|until| until <= now) {
            self.hand_back(now, Change::Expired, None, "", out);
        }
        self.expire_interactions(now, out);
        self.free_calls(now, out);
        self.judge_workers(now, out);
        self.judge_unwatched(now, out);
        before < out.len()
    }

    fn judge_workers(&mut self, now: Millis, out: &mut Vec<Event>) {
        let wait_ms = self.config.policy.waits_ms();
        let mut at = 0;
        while at < self.work.turns.len() {
            let first = self.work.is_first(at);
            let asks = self.work.asks_within(at);
            let turn = &mut self.work.turns[at];
            let (id, has_step) = (turn.id.clone(), turn.has_step());
            match &mut turn.stage {
                Stage::Waiting { .. } if first && turn.waits_since.after(wait_ms) <= now => {
                    let end = End::Failed { reason: "nobody took the turn".into() };
                    self.end_all(now, &end, |open| open.id == id, out);
                    continue;
                }
                Stage::Active(lease) => match lease.judged(now, asks, has_step) {
                    Some(Judgement::Stalled) => {
                        lease.stalled = true;
                        let epoch = lease.epoch;
                        self.note(now, Fact::Stalled { turn: id, epoch }, out);
                    }
                    Some(Judgement::EndsStep) => {
                        lease.step_cancelled = true;
                        let step = turn.step.as_ref().expect("it has one").name.clone();
                        let (by, reason) = (None, "the worker is stalled".into());
                        self.note(now, Fact::StepCancelled { turn: id, step, by, reason }, out);
                    }
                    Some(Judgement::Lost(cause)) => {
                        let open = self.work.turns.len();
                        self.lose(now, at, cause, 0, "", out);
                        if self.work.turns.len() < open {
                            continue;
                        }
                    }
                    None => {}
                },
                _ => {}
            }
            at += 1;
        }
    }

    fn judge_unwatched(&mut self, now: Millis, out: &mut Vec<Event>) {
        let policy = self.config.policy;
        if self.work.unwatched_from(&policy).is_none_or(|from| now < from) {
            return;
        }
        let work = &self.work;
        let minded = (0..work.turns.len()).filter(|at| work.minds(*at, &policy));
        let minded: Vec<_> = minded.map(|at| work.turns[at].id.clone()).collect();
        if let Unwatched::Cancel { .. } = policy.unwatched {
            let end = End::Cancelled { by: None, reason: "nobody watches".into() };
            self.end_all(now, &end, |open| minded.contains(&open.id), out);
            return;
        }
        for id in minded {
            if let Some(at) = self.work.find(&id) {
                self.rest(now, at, PauseReason::Unwatched, out);
            }
        }
    }
}
