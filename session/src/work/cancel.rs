//! The end of turns, by whoever requests it: once for each (S9), and nothing of it follows (S5).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::command::{Cancel, Role, Scope};
use crate::control::{Control, Held, Mode};
use crate::cut::{Inherited, OpenTurn};
use crate::event::Event;
use crate::fact::{Change, ControlChange, End, Fact, Receipt};
use crate::ids::{Millis, Serial, StepName, TurnEpoch, TurnId};
use crate::live::Live;
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::turn::Turn;
use crate::work::{NOTHING, check_role};

impl Live {
    /// Ends turns whatever their workers think.
    pub(crate) fn cancel(
        &mut self,
        now: Millis,
        request: &Cancel,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        check_role(request.role, Role::Controller)?;
        if let Scope::Step(turn, step) = &request.scope {
            return self.cancel_step(now, turn, step, request, out);
        }
        let (by, reason) = (request.by.clone(), request.reason.clone());
        let end = End::Cancelled { by, reason };
        // What is held back for a person ends as the turn that it would have begun. Several inputs would begin one
        // together, so they end together or not at all.
        let ends = |held: &Held| {
            request.scope == Scope::All
                || (held.first == held.last && request.scope.has(&held.input, &held.agent))
        };
        if self.work.control.held.as_ref().is_some_and(ends) {
            self.release_held(now);
        }
        let meant = |open: &Turn| request.scope.has(&open.id, &open.agent);
        let turns = self.end_all(now, &end, meant, out);
        if let Scope::Turn(turn) = &request.scope
            && self.work.known(turn).is_none()
            && !self.is_closed()
        {
            self.work.cancel_early(turn);
            self.clock = now;
        }
        Ok(Applied::Cancelled { turns })
    }

    fn cancel_step(
        &mut self,
        now: Millis,
        turn: &TurnId,
        name: &StepName,
        request: &Cancel,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let at = self.open_turn(turn)?;
        let step = self.work.turns[at].step.as_mut();
        let Some(step) = step.filter(|step| step.name == *name && !step.cancelled) else {
            return Ok(Applied::Cancelled { turns: 0 });
        };
        step.cancelled = true;
        let (turn, step) = (turn.clone(), name.clone());
        let (by, reason) = (request.by.clone(), request.reason.clone());
        self.note(now, Fact::StepCancelled { turn, step, by, reason }, out);
        Ok(Applied::Cancelled { turns: 1 })
    }

    /// Ends all turns, because the session ends.
    pub(crate) fn end_with_session(&mut self, now: Millis, out: &mut Vec<Event>) {
        let end = End::Cancelled { by: None, reason: "the session was closed".into() };
        self.release_held(now);
        self.end_all(now, &end, |_| true, out);
        // No participant is answered any more.
        let epoch = self.work.control.epoch;
        self.work.control = Control { epoch, ..Control::default() };
    }

    /// Begins as a session in which something was open: here it ends, each thing once, and `why` is recorded as the
    /// reason.
    pub(crate) fn inherit(
        &mut self,
        now: Millis,
        inherited: &Inherited,
        why: &str,
        out: &mut Vec<Event>,
    ) {
        let Inherited { inputs, message, branches, open, epoch, .. } = inherited;
        let work = &mut self.work;
        (work.message, work.branches) = (*message, branches.clone());
        work.inputs = inputs.iter().cloned().collect();
        work.epoch = work.epoch.max(*epoch);
        // What a turn began comes after it, and ends before it.
        for OpenTurn { turn, agent, inputs, interactions } in open.iter().rev() {
            let mut tell = |fact| _ = self.record_of(now, Some(agent.clone()), fact, &NOTHING, out);
            for input in inputs {
                let receipt = Receipt::Dropped { why: why.into() };
                tell(Fact::Receipt { input: input.clone(), turn: turn.clone(), receipt });
            }
            for interaction in interactions {
                let (interaction, turn) = (interaction.clone(), turn.clone());
                tell(Fact::Expired { interaction, turn });
            }
            let end = End::Cancelled { by: None, reason: why.into() };
            tell(Fact::Ended { turn: turn.clone(), end });
            let ended = Some(self.log.tail);
            let mut inputs = self.work.inputs.iter_mut();
            if let Some(known) = inputs.find(|known| known.input == *turn) {
                known.ended = ended;
            }
        }
    }

    /// Ends the chosen turns, after those that they have begun; returns how many there were.
    pub(super) fn end_all(
        &mut self,
        now: Millis,
        end: &End,
        chosen: impl Fn(&Turn) -> bool,
        out: &mut Vec<Event>,
    ) -> usize {
        let open = self.work.turns.iter();
        let chosen = open.filter(|open| chosen(open)).map(|open| open.id.clone()).collect();
        let below = self.work.begun_by(&chosen);
        let by = match end {
            End::Cancelled { by, .. } => by.clone(),
            _ => None,
        };
        let reason = "the turn that began it is over".into();
        let below = self.end_these(now, &End::Cancelled { by, reason }, &below, out);
        below + self.end_these(now, end, &chosen, out)
    }

    fn end_these(
        &mut self,
        now: Millis,
        end: &End,
        chosen: &BTreeSet<TurnId>,
        out: &mut Vec<Event>,
    ) -> usize {
        let is_chosen = |open: &Turn| chosen.contains(&open.id);
        let turns = self.work.turns.iter().enumerate().filter(|(_, open)| is_chosen(open));
        let mut over: Vec<_> =
            turns.map(|(at, open)| (self.work.ancestors(at).len(), open)).collect();
        // A turn ends after those that it has begun.
        over.sort_by_key(|(depth, _)| Reverse(*depth));
        let over: Vec<_> = over.into_iter().map(|(_, open)| open.clone()).collect();
        for turn in &over {
            // Whoever waited for it waits for a worker now.
            let all = self.work.turns.iter().enumerate();
            let mut left = all.filter(|(_, open)| open.agent == turn.agent && !is_chosen(open));
            let next = left.next().map(|(at, _)| at);
            // One that waited for no other's end waits as long as before.
            let next = next.filter(|at| !self.work.is_first(*at));
            if let Some(next) = next.filter(|at| self.work.turns[*at].lease().is_none()) {
                self.work.turns[next].waits_since = now;
            }
        }
        for turn in &over {
            if let Some(known) = self.work.inputs.iter_mut().find(|known| known.input == turn.id) {
                known.emitted = turn.emitted();
            }
            let unconsumed = self.settle_inputs(now, turn, end, out);
            self.withdraw(now, &turn.id, out);
            let fact = Fact::Ended { turn: turn.id.clone(), end: end.clone() };
            let ended = self.note(now, fact, out);
            if let Some(known) = self.work.inputs.iter_mut().find(|known| known.input == turn.id) {
                known.ended = Some(ended);
            }
            self.work.turns.retain(|open| open.id != turn.id);
            self.subturn_ended(now, turn, end);
            self.defer(now, turn, unconsumed, out);
        }
        if !over.is_empty() {
            // What was kept for them may go.
            self.retain(now);
        }
        match end {
            // What a sub-turn fails at is for its turn to judge.
            End::Failed { reason } if over.iter().any(|turn| turn.parent.is_none()) => {
                self.escalate(now, reason, out);
            }
            _ => {}
        }
        over.len()
    }

    /// Gives the inputs of a turn that is over their receipts; those that a later turn is to get are returned.
    fn settle_inputs(
        &mut self,
        now: Millis,
        turn: &Turn,
        end: &End,
        out: &mut Vec<Event>,
    ) -> Vec<(TurnId, Serial)> {
        let taken_in = turn.taken_in();
        let epoch = turn.emitted().map_or(TurnEpoch::NONE, |emitted| emitted.epoch);
        let why = match end {
            End::Completed { .. } => None,
            End::Failed { .. } => Some("the turn failed"),
            End::Cancelled { .. } => Some("the turn was cancelled"),
        };
        let (mut receipts, mut unconsumed) = (Vec::new(), Vec::new());
        for known in self.work.inputs.iter_mut() {
            if !known.pending || known.turn != turn.id {
                continue;
            }
            let receipt = match why {
                _ if known.serial <= taken_in => Receipt::Consumed { epoch },
                Some(why) => Receipt::Dropped { why: why.into() },
                None => {
                    unconsumed.push((known.input.clone(), known.serial));
                    continue;
                }
            };
            known.pending = false;
            receipts.push((known.input.clone(), receipt));
        }
        for (input, receipt) in receipts {
            self.note(now, Fact::Receipt { input, turn: turn.id.clone(), receipt }, out);
        }
        unconsumed
    }

    /// Begins a turn with the inputs that a completed one had not taken in.
    fn defer(
        &mut self,
        now: Millis,
        over: &Turn,
        unconsumed: Vec<(TurnId, Serial)>,
        out: &mut Vec<Event>,
    ) {
        let (Some((id, first)), Some((_, last))) = (unconsumed.first(), unconsumed.last()) else {
            return;
        };
        let mut next = Turn::new(id.clone(), over.agent.clone(), *first, now);
        (next.last_input, next.branch) = (*last, over.branch);
        (next.failures_max, next.progress_timeout_ms) =
            (over.failures_max, over.progress_timeout_ms);
        // In front of those that wait, and after those that go on beside it.
        let waits = |open: &Turn| open.agent == over.agent && open.lease().is_none();
        let before = self.work.turns.iter().position(waits);
        self.work.turns.insert(before.unwrap_or(self.work.turns.len()), next);
        for known in self.work.inputs.iter_mut() {
            if known.pending && known.turn == over.id {
                known.turn = id.clone();
                known.pending = known.input != *id;
            }
        }
        for (input, _) in &unconsumed {
            let (input, turn) = (input.clone(), id.clone());
            self.note(now, Fact::Receipt { input, turn, receipt: Receipt::Deferred }, out);
        }
    }

    /// Requests a person, if the policy demands it and no person has control.
    fn escalate(&mut self, now: Millis, reason: &str, out: &mut Vec<Event>) {
        let control = &self.work.control;
        if !self.config.policy.escalate || control.mode != Mode::Auto {
            return;
        }
        let change = ControlChange {
            change: Change::Requested,
            mode: control.mode,
            by: None,
            holder: None,
            epoch: control.epoch,
            until: None,
            note: reason.into(),
        };
        self.note(now, Fact::Control(Box::new(change)), out);
    }
}
