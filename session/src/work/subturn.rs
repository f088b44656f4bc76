//! Sub-turns: what a turn gives to other agents, or to its own once more.
//!
//! A worker begins them by its report, under names of its own, so that its successor may repeat that and nothing begins
//! twice. They run beside everything else. Their turn may wait for all of them or for any, without a worker. It ends
//! after them: where it is over before, so are they.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::command::SubTurn;
use crate::event::Event;
use crate::fact::{End, Fact};
use crate::ids::{AgentName, Millis, TurnId};
use crate::limits;
use crate::live::{Live, check_size};
use crate::refusal::Refusal;
use crate::status::SubTurnState;
use crate::turn::{Stage, Turn};
use crate::work::input::digest_of;
use crate::work::message::Spot;
use crate::work::{Known, Work};

/// A turn that a turn has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) turn: TurnId,
    pub(crate) agent: AgentName,
    /// Hash of the content and its agent.
    pub(crate) digest: u64,
    pub(crate) state: SubTurnState,
    /// A worker got the turn with this state of it.
    pub(crate) told: bool,
}

impl Live {
    /// Refuses what a turn may not begin.
    pub(super) fn check_begins(&self, at: usize, begins: &[SubTurn]) -> Result<(), Refusal> {
        if begins.is_empty() {
            return Ok(());
        }
        self.check_standing()?;
        let turn = &self.work.turns[at];
        let names: BTreeSet<_> = begins.iter().map(|begin| &begin.turn).collect();
        let mut new = 0;
        for begin in begins {
            check_size(std::slice::from_ref(&begin.content))?;
            // What it has begun is its own, whoever has used the name since the session forgot it.
            let own = turn.subturns.iter().find(|begun| begun.turn == begin.turn);
            match (own, self.work.known(&begin.turn)) {
                (Some(own), _) if own.digest == begin.digest() => {}
                (Some(_), _) | (None, Some(_)) => return Err(Refusal::InputDiffers),
                (None, None) => new += 1,
            }
        }
        if names.len() < begins.len() {
            return Err(Refusal::InputDiffers);
        }
        let (limit, depth) = (limits::SUB_TURNS, limits::SUB_TURN_DEPTH);
        if 0 < new && (limit < turn.subturns.len() + new || depth <= self.work.ancestors(at).len())
        {
            return Err(Refusal::TooManySubTurns { limit, depth });
        }
        self.check_turns_more(new)
    }

    /// Begins what was checked, each once.
    pub(super) fn begin_subturns(
        &mut self,
        now: Millis,
        at: usize,
        begins: &[SubTurn],
        out: &mut Vec<Event>,
    ) {
        for begin in begins {
            let own = &self.work.turns[at].subturns;
            if !own.iter().any(|begun| begun.turn == begin.turn) {
                self.begin_subturn(now, at, begin, out);
            }
        }
    }

    fn begin_subturn(&mut self, now: Millis, at: usize, begin: &SubTurn, out: &mut Vec<Event>) {
        let SubTurn { turn: id, agent, content, attempts, progress_timeout_ms } = begin;
        let cancelled = self.work.cancels.contains(id);
        let (parent, spot) =
            (self.work.turns[at].id.clone(), Spot::End(self.work.turns[at].branch));
        let follows = self.followed_at(spot);
        // What people read stays the same branch, wherever this turn is.
        let current = self.work.branches.current;
        let place = self.begin_message(self.log.tail.next(), spot);
        self.work.branches.current = current;
        let fact = Fact::Input {
            input: id.clone(),
            turn: id.clone(),
            sender: None,
            held: false,
            place,
            parent: Some(parent.clone()),
        };
        let serial = self.record_of(now, Some(agent.clone()), fact, content, out);
        let mut begun = Turn::new(id.clone(), agent.clone(), serial, now);
        let limit = attempts.or(self.config.policy.attempts);
        begun.failures_max = limit.unwrap_or(limits::ATTEMPTS).max(1);
        (begun.progress_timeout_ms, begun.branch, begun.follows) =
            (*progress_timeout_ms, place.branch, follows);
        (begun.parallel, begun.parent) = (true, Some(parent));
        self.work.turns.push(begun);
        let (turn, agent, state) = (id.clone(), agent.clone(), SubTurnState::Open);
        let digest = begin.digest();
        self.work.turns[at].subturns.push(Begun { turn, agent, digest, state, told: false });
        self.work.remember(Known {
            input: id.clone(),
            turn: id.clone(),
            serial,
            digest,
            emitted: None,
            pending: false,
            ended: None,
        });
        if cancelled {
            let end = End::Cancelled { by: None, reason: "cancelled before it began".into() };
            self.end_all(now, &end, |open| open.id == *id, out);
        }
    }

    /// Waits for sub-turns: all of them, or any that no worker of the turn was told of.
    pub(super) fn join(&mut self, now: Millis, at: usize, all: bool, out: &mut Vec<Event>) {
        let turn = &mut self.work.turns[at];
        // Somebody spoke into it while the worker decided to wait.
        let is_spoken_to = turn.taken_in() < turn.last_input;
        turn.vacate(Stage::Joining { all });
        if is_spoken_to || turn.is_joined(all) {
            turn.offer(now);
        }
        let turn = turn.id.clone();
        self.note(now, Fact::Waiting { turn }, out);
    }

    /// Tells a turn that one of its sub-turns is over.
    pub(super) fn subturn_ended(&mut self, now: Millis, over: &Turn, end: &End) {
        let Some(at) = over.parent.as_ref().and_then(|parent| self.work.find(parent)) else {
            return;
        };
        let turn = &mut self.work.turns[at];
        if let Some(begun) = turn.subturns.iter_mut().find(|begun| begun.turn == over.id) {
            (begun.state, begun.told) = (SubTurnState::of(end), false);
        }
        if let Stage::Joining { all } = turn.stage
            && turn.is_joined(all)
        {
            turn.offer(now);
        }
    }

    /// A sub-turn that gets on is progress of those above it.
    pub(super) fn gets_on_above(&mut self, now: Millis, at: usize, out: &mut Vec<Event>) {
        for at in self.work.ancestors(at) {
            let turn = &mut self.work.turns[at];
            let id = turn.id.clone();
            let Stage::Active(lease) = &mut turn.stage else { continue };
            lease.progress_at = now;
            let epoch = lease.epoch;
            if std::mem::take(&mut lease.stalled) {
                self.note(now, Fact::Recovered { turn: id, epoch }, out);
            }
        }
    }
}

impl Work {
    /// The open turns above this one, the nearest first.
    pub(crate) fn ancestors(&self, mut at: usize) -> Vec<usize> {
        let mut above = Vec::new();
        while let Some(parent) = self.turns[at].parent.as_ref().and_then(|id| self.find(id)) {
            above.push(parent);
            at = parent;
        }
        above
    }

    /// Whether people are to answer something of a turn, or of one below it.
    pub(crate) fn asks_within(&self, at: usize) -> bool {
        let asks = |below: usize| self.asks(&self.turns[below].id);
        let is_below = |below: &usize| self.ancestors(*below).contains(&at);
        // A session without sub-turns pays nothing for them.
        let has_below = !self.turns[at].subturns.is_empty();
        asks(at) || (has_below && (at + 1..self.turns.len()).filter(is_below).any(asks))
    }

    /// Whether nothing happens to a turn before a client lets it go on.
    pub(crate) fn rests(&self, turn: &Turn) -> bool {
        match turn.stage {
            Stage::Paused { .. } => true,
            Stage::Joining { .. } => {
                let below = |below: &&Turn| below.parent.as_ref() == Some(&turn.id);
                self.turns.iter().filter(below).all(|below| self.rests(below))
            }
            _ => false,
        }
    }

    /// The open turns that these have begun, and what those have.
    pub(super) fn begun_by(&self, turns: &BTreeSet<TurnId>) -> BTreeSet<TurnId> {
        let mut begun: BTreeSet<TurnId> = BTreeSet::new();
        // Who begins a turn was there before it.
        for turn in &self.turns {
            let above = turn.parent.as_ref();
            let is_below = above.is_some_and(|id| turns.contains(id) || begun.contains(id));
            if is_below && !turns.contains(&turn.id) {
                begun.insert(turn.id.clone());
            }
        }
        begun
    }
}

impl Turn {
    /// Whether what it waits for has come.
    fn is_joined(&self, all: bool) -> bool {
        let open = self.subturns.iter().filter(|begun| begun.state == SubTurnState::Open).count();
        let news =
            self.subturns.iter().any(|begun| begun.state != SubTurnState::Open && !begun.told);
        open == 0 || (!all && news)
    }

    /// A worker gets it, and is told how its sub-turns stand.
    pub(super) fn tell_subturns(&mut self) {
        self.subturns.iter_mut().for_each(|begun| begun.told = true);
    }
}

impl SubTurn {
    fn digest(&self) -> u64 {
        digest_of(&self.agent, &self.content, None)
    }
}
