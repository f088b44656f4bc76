//! What holds of every session after every command; debug builds and tests look after each one.
//!
//! Commands are judged one by one; these rules are about what must never come of them, whatever their order. Where a
//! command breaks one, it is a bug of ours and a panic, never a refusal; a session that was read from a disk and
//! breaks one is damaged, and is not taken.

use std::collections::BTreeSet;

use super::branch::{Branch, Branches};
use super::control::Mode;
use super::event::Event;
use super::fact::{Fact, Receipt};
use super::keys::{Did, Known};
use super::live::Live;
use super::log::Log;
use super::outcome::Applied;
use super::producers::{Producer, Producers};
use super::refusal::Refusal;
use super::status::SubTurnState;
use super::turn::{Stage, Turn};
use super::work::{Interaction, Work};
use super::{Life, Session};
use crate::ids::{CallEpoch, ControlEpoch, Incarnation, Millis, Serial, TurnEpoch, TurnId};
use crate::limits;

/// Serials and bytes up to here are believed; no log gets that long.
const MOST: u64 = 1 << 62;

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session breaks the rule: {0}")]
pub struct Broken(&'static str);

type Checked = Result<(), Broken>;

fn must(holds: bool, rule: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(Broken(rule)) }
}

/// Where a session stood in front of a command.
#[derive(Clone, Debug)]
pub(super) struct Before {
    incarnation: Option<Incarnation>,
    tail: Serial,
    first: Serial,
    clock: Millis,
    turn_epoch: TurnEpoch,
    control_epoch: ControlEpoch,
    open: BTreeSet<TurnId>,
    /// The turn that begins with what is held back: it begins without an event of its own.
    held: Option<TurnId>,
    events: usize,
    /// It was being imported: what is open in it was so elsewhere.
    coming: bool,
}

impl Session {
    /// Checks the session against its own rules.
    ///
    /// # Errors
    /// It breaks one.
    pub fn check(&self) -> Checked {
        must(
            self.pending_releases.len() <= limits::PENDING_RELEASES + 1,
            "pending_releases are bounded",
        )?;
        must(self.keys.len() <= limits::KEYS, "keys are bounded")?;
        self.keys.iter().try_for_each(Known::check)?;
        must(self.incarnation() != Some(Incarnation(0)), "lives are counted from 1")?;
        match &self.life {
            Life::Absent => must(self.pending_releases.is_empty(), "who never lived owes nothing"),
            Life::Live(live) => live.check(),
            Life::Deleted(deleted) => {
                let keys = limits::KEYS_OF_DELETED + 1;
                must(self.keys.len() <= keys, "keys of a deleted session are few")?;
                let all = &deleted.spent.producers.all;
                must(all.iter().all(|held| held.runs.is_empty()), "a dead log has no places")?;
                deleted.spent.producers.check(Serial::ZERO, deleted.at)
            }
        }
    }

    pub(super) fn before(&self, out: &[Event]) -> Before {
        let (turn_epoch, control_epoch) = self.epochs();
        let turns = self.live().map_or(&[][..], |live| &live.work.turns[..]);
        Before {
            incarnation: self.incarnation(),
            tail: self.tail(),
            first: self.first(),
            clock: self.now(Millis(0)),
            turn_epoch,
            control_epoch,
            open: turns.iter().map(|turn| turn.id.clone()).collect(),
            held: self
                .live()
                .and_then(|live| live.work.control.held.as_ref())
                .map(|held| held.input.clone()),
            events: out.len(),
            coming: self.kept().is_some_and(|live| live.coming().is_some()),
        }
    }

    fn epochs(&self) -> (TurnEpoch, ControlEpoch) {
        match &self.life {
            Life::Absent => (TurnEpoch::default(), ControlEpoch::default()),
            Life::Live(live) => (live.work.epoch, live.work.control.epoch),
            Life::Deleted(deleted) => (deleted.spent.turn_epoch, deleted.spent.control_epoch),
        }
    }

    /// The same as [`Self::check`], and what a command may do to a session.
    pub(super) fn check_step(
        &self,
        before: &Before,
        answer: &Result<Applied, Refusal>,
        out: &[Event],
    ) -> Checked {
        self.check()?;
        let new = &out[before.events..];
        let (turn_epoch, control_epoch) = self.epochs();
        must(before.turn_epoch <= turn_epoch, "epochs of turns only grow")?;
        must(before.control_epoch <= control_epoch, "epochs of control only grow")?;
        must(before.clock <= self.now(Millis(0)), "time only grows (S6)")?;
        must(before.incarnation <= self.incarnation(), "lives only follow each other")?;
        if answer.is_err() {
            must(new.is_empty(), "a refusal says nothing")?;
            must(before.clock == self.now(Millis(0)), "a refusal does not move the clock")?;
        }
        let same_life = before.incarnation == self.incarnation();
        if same_life && self.is_kept() {
            let dense = before.tail.0 + new.len() as u64 == self.tail().0;
            must(dense, "each event has the next serial (S2)")?;
            must(before.first <= self.first(), "a log only loses its beginning")?;
        }
        let last = new.last().map_or(self.tail(), |event| event.serial);
        must(!self.is_kept() || last == self.tail(), "the tail is the last event's serial")?;
        let dense = new.windows(2).all(|pair| pair[0].serial.next() == pair[1].serial);
        must(dense, "serials are dense (S2)")?;
        must(new.windows(2).all(|pair| pair[0].time <= pair[1].time), "events are in time (S6)")?;
        self.check_ends(before, new)
    }

    /// Each turn ends once, and nothing of it follows (S5, S9).
    fn check_ends(&self, before: &Before, new: &[Event]) -> Checked {
        if before.coming {
            // What comes in happened elsewhere, and is judged as a whole when all of it is here.
            return Ok(());
        }
        let mut open = before.open.clone();
        for event in new {
            match event.fact.as_deref() {
                Some(Fact::Input { turn, held: false, .. }) => _ = open.insert(turn.clone()),
                Some(Fact::Receipt { turn, receipt: Receipt::Deferred, .. }) => {
                    open.insert(turn.clone());
                }
                Some(Fact::Ended { turn, .. }) => {
                    // What a fork inherits open, it ends.
                    let is_new = before.incarnation != self.incarnation();
                    let was = is_new || open.remove(turn) || before.held.as_ref() == Some(turn);
                    must(was, "a turn ends once (S9)")?;
                }
                Some(Fact::Output(output)) => {
                    must(open.contains(&output.turn), "nothing is put out after the end (S5)")?;
                }
                Some(Fact::ToolStarted { turn, .. } | Fact::ToolFinished { turn, .. }) => {
                    must(open.contains(turn), "no tool is called after the end (S5)")?;
                }
                _ => {}
            }
        }
        let Some(live) = self.live().filter(|_| before.incarnation == self.incarnation()) else {
            return Ok(());
        };
        let is_open = |id: &TurnId| live.work.turns.iter().any(|turn| turn.id == *id);
        must(open.iter().all(is_open), "a turn that is gone has ended (S9)")
    }
}

impl Known {
    fn check(&self) -> Checked {
        let tail = self.stand.tail;
        must(tail.0 <= MOST, "a request was answered within a log")?;
        let Did::Appended { last, events, .. } = self.did else { return Ok(()) };
        let fits = 1 <= events && u64::from(events) <= last.0 && last <= tail;
        must(fits, "what a request appended lies in the log")
    }
}

impl Live {
    pub(super) fn check(&self) -> Checked {
        let times = [self.created_at, self.updated_at, self.touched_at];
        must(times.iter().all(|time| *time <= self.clock), "no time is beyond the clock")?;
        must(self.holds.all.len() <= limits::FORKS, "forks are bounded")?;
        must(self.hidden.is_none() || !self.holds.is_empty(), "a hidden log is kept for a fork")?;
        must(self.config.check().is_ok(), "a session is as it may be created")?;
        let anchored = self.fork.as_ref().is_none_or(|fork| fork.anchor <= fork.at);
        must(anchored, "a fork begins after its anchor")?;
        let inherited = self.fork.as_ref().map_or(Serial::ZERO, |fork| fork.at);
        must(inherited < self.log.first, "a fork begins after what it inherits")?;
        self.log.check(self.clock)?;
        if let Some(coming) = self.coming() {
            must(coming.producers.len() <= limits::PRODUCERS, "producers are bounded")?;
        }
        self.producers.check(self.log.tail, self.clock)?;
        must(
            self.files.holds(self.log.first, self.log.tail),
            "files are bounded, and what describes them fits",
        )?;
        if self.is_closed() {
            must(self.work.turns.is_empty(), "a closed session has no turns")?;
            must(self.work.control.held.is_none(), "a closed session holds nothing back")?;
        }
        self.work.check(self.log.tail)?;
        // Whatever may have to be judged is filed.
        let tick = self.work.tick_at(&self.config.policy);
        let judged = |(at, turn): (usize, &Turn)| match turn.stage {
            Stage::Active(_) => true,
            Stage::Waiting { .. } => self.work.is_first(at),
            Stage::Paused { .. } | Stage::Asking | Stage::Joining { .. } => false,
        };
        let any = self.work.turns.iter().enumerate().any(judged);
        must(!any || tick.is_some(), "a turn that time changes has a deadline")
    }
}

impl Log {
    fn check(&self, clock: Millis) -> Checked {
        must(self.tail.0 <= MOST && self.total <= MOST, "a log has an end")?;
        must(Serial::ZERO < self.first && self.first <= self.tail.next(), "a log has a beginning")?;
        must(self.marks.len() <= limits::MARKS, "marks are bounded")?;
        must(self.marks.is_empty() == (self.tail < self.first), "an empty log has no marks")?;
        let in_order = self.marks.windows(2).all(|pair| {
            let [before, next] = [pair[0], pair[1]];
            before.first < next.first
                && before.before <= next.before
                && before.newest <= next.newest
        });
        must(in_order, "marks are in order")?;
        let last = self.marks.last();
        let within = last.is_none_or(|last| {
            last.first <= self.tail && last.before <= self.total && last.newest <= clock
        });
        must(within, "marks lie within the log")?;
        let Some(oldest) = self.marks.first() else { return Ok(()) };
        let next = self.marks.get(1).map_or(self.tail.next(), |mark| mark.first);
        let holds = Serial::ZERO < oldest.first && oldest.first <= self.first && self.first < next;
        must(holds, "the first event lies in the first group")
    }
}

impl Producers {
    fn check(&self, tail: Serial, clock: Millis) -> Checked {
        must(self.all.len() <= limits::PRODUCERS, "producers are bounded")?;
        let in_order = self.all.windows(2).all(|pair| pair[0].id < pair[1].id);
        must(in_order, "producers are in order")?;
        self.all.iter().try_for_each(|held| held.check(tail, clock))
    }
}

impl Producer {
    fn check(&self, tail: Serial, clock: Millis) -> Checked {
        must(self.used <= clock, "nobody wrote in the future")?;
        must(self.runs.len() <= limits::PRODUCER_RUNS, "runs are bounded")?;
        let Some(first) = self.runs.first() else {
            return must(self.seq == 0, "who has not written yet is at its beginning");
        };
        // Counted wider: the last seq may be the last number.
        let (mut seq, mut serial) = (u128::from(first.seq), 1);
        for run in &self.runs {
            let at = u128::from(run.serial.0);
            let dense = u128::from(run.seq) == seq && serial <= at && 1 <= run.length;
            must(dense, "runs follow each other")?;
            seq += u128::from(run.length);
            serial = at + u128::from(run.events) * u128::from(run.length);
        }
        must(seq == u128::from(self.seq) + 1, "the last run ends at the last seq")?;
        must(serial <= u128::from(tail.0) + 1, "runs lie within the log")
    }
}

impl Work {
    fn check(&self, tail: Serial) -> Checked {
        must(self.turns.len() <= limits::TURNS, "turns are bounded")?;
        let ids: BTreeSet<_> = self.turns.iter().map(|turn| &turn.id).collect();
        must(ids.len() == self.turns.len(), "a turn is open once")?;
        for (at, turn) in self.turns.iter().enumerate() {
            turn.check(tail)?;
            must(self.known(&turn.id).is_some(), "an open turn's first input is known")?;
            let Some(lease) = turn.lease() else { continue };
            must(self.is_first(at), "an agent works on one turn of a session at a time")?;
            must(lease.epoch <= self.epoch, "no worker has an epoch that was not given")?;
            let others = self.turns.iter().filter_map(Turn::lease);
            let same = others.filter(|other| other.epoch == lease.epoch).count();
            must(same == 1, "an epoch is one worker's (S4)")?;
        }
        let receipts = self.tool_results.len() <= limits::TOOL_RESULTS;
        must(receipts, "what is remembered of tools is bounded")?;
        must(self.message <= tail, "messages begin in the log")?;
        self.check_branches(tail)?;
        let known = self.turns.iter().filter_map(|turn| turn.message.as_ref());
        let known = known.map(|open| open.first).all(|first| first <= self.message);
        must(known, "no message is newer than the newest")?;
        self.check_inputs(tail, &ids)?;
        self.check_interactions(tail, &ids)?;
        self.check_subturns()?;
        let control = &self.control;
        must(control.note.len() <= limits::REASON_BYTES, "notes are bounded")?;
        let held = control.mode != Mode::Auto;
        must(held == control.holder.is_some(), "who has control has a name")?;
        must(held == control.until.is_some(), "control ends")?;
        let fits = control.held.as_ref().is_none_or(|held| {
            control.mode == Mode::Manual && held.first <= held.last && held.last <= tail
        });
        must(fits, "inputs are held back for who has control")
    }

    fn check_branches(&self, tail: Serial) -> Checked {
        let Branches { root, all, current } = &self.branches;
        must(all.len() <= limits::BRANCHES, "branches are bounded")?;
        must(*root <= tail, "the first branch ends in the log")?;
        let in_order = all.windows(2).all(|pair| pair[0].begin < pair[1].begin);
        must(in_order, "branches are in order")?;
        let has = |branch: Serial| self.branches.find(branch).is_some();
        for branch in all {
            let Branch { begin, parent, of, leaf, .. } = *branch;
            must(begin <= tail && leaf <= tail, "a branch lies in the log")?;
            must(parent < begin && of < begin && of <= parent, "a branch begins after its parent")?;
            must(has(of), "a branch is of another one")?;
            must(leaf == Serial::ZERO || parent <= leaf, "a branch goes on after its parent")?;
        }
        must(has(*current), "the current branch is one of them")?;
        let last_input = self.turns.iter().all(|turn| has(turn.branch));
        must(last_input, "a turn speaks on a branch")?;
        let follows = self
            .turns
            .iter()
            .all(|turn| turn.follows.is_none_or(|(parent, of)| parent < turn.input && has(of)));
        must(follows, "a turn's input follows what was before it")?;
        must(self.control.held.as_ref().is_none_or(|held| has(held.branch)), "a word has a branch")
    }

    fn check_inputs(&self, tail: Serial, open: &BTreeSet<&TurnId>) -> Checked {
        let names: BTreeSet<_> = self.inputs.iter().map(|known| &known.input).collect();
        must(names.len() == self.inputs.len(), "an input is known once")?;
        must(self.inputs.iter().all(|known| known.serial <= tail), "inputs lie in the log")?;
        let pending = self.inputs.iter().filter(|known| known.pending);
        must(pending.clone().all(|known| open.contains(&known.turn)), "who waits has a turn")?;
        must(pending.count() <= limits::MAILBOX, "the mailbox is bounded")?;
        let most = limits::INPUTS.max(limits::MAILBOX + limits::TURNS);
        must(self.inputs.len() <= most, "known inputs are bounded")?;
        must(self.cancels.len() <= limits::CANCELS, "cancels of what is to come are bounded")?;
        let come = self.cancels.iter().any(|turn| self.known(turn).is_some());
        must(!come, "what was cancelled before it came has not come")
    }

    fn check_interactions(&self, tail: Serial, turns: &BTreeSet<&TurnId>) -> Checked {
        let names: BTreeSet<_> = self.interactions.iter().map(|request| &request.id).collect();
        must(names.len() == self.interactions.len(), "a question is known once")?;
        let placed = self.interactions.iter().all(|request| request.serial <= tail);
        must(placed, "questions lie in the log")?;
        let is_open = |request: &&Interaction| request.over.is_none();
        let open = self.interactions.iter().filter(is_open);
        let of_turns = open.clone().all(|request| turns.contains(&request.turn));
        must(of_turns, "an open question is of an open turn")?;
        let open = open.count();
        must(open <= limits::INTERACTIONS, "open questions are bounded")?;
        must(self.interactions.len() - open <= limits::ANSWERS, "answers are bounded")?;
        let claimed = self.interactions.iter().filter(|request| request.caller.is_some());
        let fenced = |request: &Interaction| {
            request.over.is_none() && CallEpoch::default() < request.call_epoch
        };
        must(claimed.into_iter().all(fenced), "who makes a call has an epoch, and it is open")?;
        let waits = |turn: &&Turn| turn.stage == Stage::Asking;
        let asks = self.turns.iter().filter(waits).all(|turn| self.asks(&turn.id));
        must(asks, "a turn that waits for people has questions")
    }

    /// Whoever was begun by a turn is known to it, and ends before it.
    fn check_subturns(&self) -> Checked {
        let is_open = |id: &TurnId| self.turns.iter().any(|open| open.id == *id);
        for (at, turn) in self.turns.iter().enumerate() {
            let Some(parent) = &turn.parent else { continue };
            let above = self.turns[..at].iter().find(|open| open.id == *parent);
            let begun =
                above.and_then(|above| above.subturns.iter().find(|begun| begun.turn == turn.id));
            let open = begun.is_some_and(|begun| begun.state == SubTurnState::Open);
            must(open, "a sub-turn is open, and so is its turn, which was there before")?;
            must(turn.parallel, "a sub-turn waits for no other")?;
            let depth = self.ancestors(at).len();
            must(depth <= limits::SUB_TURN_DEPTH, "sub-turns are not deep")?;
        }
        for turn in &self.turns {
            let mut open =
                turn.subturns.iter().filter(|begun| begun.state == SubTurnState::Open).peekable();
            let joins = matches!(turn.stage, Stage::Joining { .. });
            must(!joins || open.peek().is_some(), "a turn that waits for sub-turns has some")?;
            must(open.all(|begun| is_open(&begun.turn)), "a sub-turn that is open is there")?;
        }
        Ok(())
    }
}

impl Turn {
    fn check(&self, tail: Serial) -> Checked {
        let inputs =
            Serial::ZERO < self.input && self.input <= self.last_input && self.last_input <= tail;
        must(inputs, "a turn's inputs are in order")?;
        let taken = self.consumed <= self.delivered && self.delivered <= self.last_input;
        must(taken, "what was consumed was delivered, and is an input")?;
        must(self.failures < self.failures_max, "a turn that failed is over")?;
        must(self.output.first <= self.output.last, "output begins before it ends")?;
        must(self.output.last <= tail, "output lies in the log")?;
        let stands = |first: Serial| {
            first == Serial::ZERO || (self.output.first <= first && first <= self.output.last)
        };
        let step = self.step.as_ref().map_or(Serial::ZERO, |step| step.first);
        must(stands(step), "a step's output is some of the turn's")?;
        must(self.tools.len() <= limits::TOOL_CALLS, "calls of tools are bounded")?;
        let calls: BTreeSet<_> = self.tools.iter().map(|begun| &begun.call).collect();
        must(calls.len() == self.tools.len(), "a call is under way once")?;
        must(self.subturns.len() <= limits::SUB_TURNS, "sub-turns are bounded")?;
        let placed = self.tools.iter().all(|begun| begun.serial <= tail);
        must(placed, "calls of tools lie in the log")?;
        let Some(lease) = self.lease() else { return Ok(()) };
        let known = self.tools.iter().all(|begun| begun.epoch <= lease.epoch);
        must(known, "no call is of a worker that is still to come")?;
        must(stands(lease.mark.unwrap_or_default()), "a mark is before output of the turn")?;
        must(lease.given <= self.last_input, "a worker was given inputs that exist")?;
        let newer = self.emitted.is_none_or(|emitted| emitted.epoch < lease.epoch);
        must(newer, "a worker's epoch is greater than the one's before")
    }
}
