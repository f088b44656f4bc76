//! What a session's agents are to do: turns are requested, claimed, steered, lost, cancelled and ended.
//!
//! Every turn ends exactly once, by whatever comes first (S9). Only the worker whose epoch it is sends output
//! in a turn (S4), and none does in one that is over (S5); both are decided here, at apply, so a worker that
//! was paused for an hour changes nothing.

mod ask;
mod call;
mod cancel;
mod control;
mod input;
mod judge;
mod lease;
mod message;
mod pause;
mod subturn;
mod tool;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use bytes::Bytes;

pub(super) use ask::Interaction;
pub(super) use message::OpenMessage;
pub(super) use subturn::Begun;
pub(super) use tool::ToolOutcome;

use super::branch::Branches;
use super::command::Role;
use super::control::Control;
use super::event::{Event, Format, NewEvent};
use super::fact::Fact;
use super::live::Live;
use super::policy::Policy;
use super::refusal::Refusal;
use super::status::{AudienceStatus, InteractionStatus, QueuedStatus, TurnPlace, TurnStatus};
use super::turn::{LastOutput, Stage, Turn};
use crate::ids::{AgentName, Millis, Serial, TurnEpoch, TurnId};
use crate::limits;

/// The turns of one session, and the people around them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    /// Those that are not over, oldest first.
    pub(super) turns: Vec<Turn>,
    /// The last inputs, oldest first.
    pub(super) inputs: VecDeque<Known>,
    /// The last turns that were cancelled before they were requested, oldest first; up to [`limits::CANCELS`].
    pub(super) cancels: VecDeque<TurnId>,
    /// The last epoch that was given.
    pub(super) epoch: TurnEpoch,
    /// Those that are open, and the last that are over; oldest first.
    pub(super) interactions: Vec<Interaction>,
    pub(super) control: Control,
    /// Who watches; not known before the leader has counted.
    pub(super) audience: Option<AudienceStatus>,
    /// Where the newest message begins; 0 where none is known.
    pub(super) message: Serial,
    pub(super) branches: Branches,
    /// See [`crate::tool_key::seed`].
    pub(super) key_seed: u128,
    /// The last results of calls of tools, oldest first; up to [`limits::TOOL_RESULTS`].
    pub(super) tool_results: VecDeque<ToolOutcome>,
}

/// An input that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(super) input: TurnId,
    pub(super) turn: TurnId,
    /// Its place in the log.
    pub(super) serial: Serial,
    /// Hash of the content and its agent, so that the same again is known from another.
    pub(super) digest: u64,
    /// How far its turn's last worker came, once the turn that began with it is over.
    pub(super) emitted: Option<LastOutput>,
    /// It was steered into a turn that is open, and no worker has taken it in yet.
    pub(super) pending: bool,
    /// The last event of the turn that began with it, once that is over.
    pub(super) ended: Option<Serial>,
}

impl Work {
    fn find(&self, turn: &TurnId) -> Option<usize> {
        self.turns.iter().position(|open| open.id == *turn)
    }

    pub(crate) fn known(&self, input: &TurnId) -> Option<&Known> {
        self.inputs.iter().rev().find(|known| known.input == *input)
    }

    /// Whether a turn waits for no other: it is the first of its agent that is open, or goes beside them.
    pub(crate) fn is_first(&self, at: usize) -> bool {
        let Turn { agent, parallel, .. } = &self.turns[at];
        *parallel || !self.turns[..at].iter().any(|earlier| earlier.agent == *agent)
    }

    /// Turns that a worker may take now.
    pub(super) fn on_offer(&self, now: Millis) -> impl Iterator<Item = &Turn> {
        let open = self.turns.iter().enumerate();
        let free = move |(at, turn): &(usize, &Turn)| {
            matches!(turn.stage, Stage::Waiting { from } if from <= now) && self.is_first(*at)
        };
        open.filter(free).map(|(_, turn)| turn)
    }

    /// When turns are to be offered.
    pub(super) fn offers_at(&self) -> impl Iterator<Item = Millis> {
        let open = self.turns.iter().enumerate().filter(|(at, _)| self.is_first(*at));
        open.filter_map(|(_, turn)| match turn.stage {
            Stage::Waiting { from } => Some(from),
            _ => None,
        })
    }

    /// The first input of a turn that is open, or is to begin with what is held back.
    pub(super) fn needed(&self) -> Option<Serial> {
        let held = self.control.held.as_ref().map(|held| held.first);
        self.turns.iter().map(|turn| turn.input).chain(held).min()
    }

    /// Whether a worker works or is waited for, or a participant watches.
    pub(super) fn is_in_use(&self) -> bool {
        let watched = self.audience.is_some_and(|audience| 0 < audience.watchers);
        // A turn that rests may do so for ever.
        watched || !self.turns.iter().all(|turn| self.rests(turn))
    }

    /// When a tick changes something.
    pub(super) fn tick_at(&self, policy: &Policy) -> Option<Millis> {
        let open = self.turns.iter().enumerate();
        let judged = open.filter(|(at, turn)| turn.lease().is_some() || self.is_first(*at));
        let turns = judged.filter_map(|(at, turn)| turn.tick_at(self.asks_within(at), policy));
        let open = self.interactions.iter().filter(|request| request.over.is_none());
        let interactions =
            open.flat_map(|request| [request.deadline, request.silent_at()]).flatten();
        turns.chain(interactions).chain(self.control.until).chain(self.unwatched_from(policy)).min()
    }

    /// The open turns, for whoever requests them.
    pub(super) fn status(&self) -> Vec<TurnStatus> {
        self.turns.iter().map(|turn| self.status_of(turn)).collect()
    }

    fn status_of(&self, turn: &Turn) -> TurnStatus {
        TurnStatus::of(turn, self.asks(&turn.id))
    }

    /// The open interactions, for whoever requests them.
    pub(super) fn interactions(&self) -> Vec<InteractionStatus> {
        let open = self.interactions.iter().filter(|request| request.over.is_none());
        open.map(InteractionStatus::from).collect()
    }

    /// The inputs that no worker has taken in yet, oldest first. Among those that are held back may be what their
    /// holder sent, which only the log distinguishes.
    pub(super) fn queued(&self) -> Vec<QueuedStatus> {
        let held = self.control.held.as_ref();
        let is_held = |serial| held.is_some_and(|held| held.first <= serial && serial <= held.last);
        let waits = |known: &&Known| match self.find(&known.turn) {
            Some(at) => self.turns[at].taken_in() < known.serial,
            None => known.input == known.turn && is_held(known.serial),
        };
        self.inputs.iter().filter(waits).map(QueuedStatus::from).collect()
    }

    /// What is known about an input: where it is, and which turn took it in.
    pub(super) fn place(&self, input: &TurnId) -> Option<TurnPlace> {
        let Known { turn, serial, ended, .. } = self.known(input)?.clone();
        Some(TurnPlace { turn, input: serial, ended })
    }

    fn remember(&mut self, known: Known) {
        self.inputs.retain(|other| other.input != known.input);
        self.cancels.retain(|early| *early != known.input);
        self.inputs.push_back(known);
        self.forget();
    }

    /// Remembers that a turn is not to begin.
    fn cancel_early(&mut self, turn: &TurnId) {
        if !self.cancels.contains(turn) {
            self.cancels.push_back(turn.clone());
        }
        if limits::CANCELS < self.cancels.len() {
            self.cancels.pop_front();
        }
    }

    /// Forgets the oldest inputs whose turns are over.
    fn forget(&mut self) {
        while limits::INPUTS < self.inputs.len() {
            // The first input of a turn that is open, or is to begin with what is held back, stays, so that the turn
            // is known when it is over; and one that is owed a receipt.
            let held = self.control.held.as_ref().map(|held| &held.input);
            let idle = |known: &Known| {
                !known.pending
                    && held != Some(&known.input)
                    && self.turns.iter().all(|open| open.id != known.input)
            };
            let Some(at) = self.inputs.iter().position(idle) else { return };
            self.inputs.remove(at);
        }
    }
}

impl Live {
    /// Records content, and what it means for a turn that is open or for none.
    fn record(
        &mut self,
        now: Millis,
        fact: Fact,
        content: &NewEvent,
        out: &mut Vec<Event>,
    ) -> Serial {
        let turn = fact.turn().and_then(|turn| self.work.find(turn));
        let agent = turn.map(|at| self.work.turns[at].agent.clone());
        self.record_of(now, agent, fact, content, out)
    }

    fn record_of(
        &mut self,
        now: Millis,
        agent: Option<AgentName>,
        fact: Fact,
        content: &NewEvent,
        out: &mut Vec<Event>,
    ) -> Serial {
        debug_assert_eq!(agent.is_some(), fact.turn().is_some(), "whose turn is it?");
        let retention = self.config.retention;
        self.retain(now);
        out.push(self.log.push(now, content, None, agent, Some(fact), &retention));
        self.retain(now);
        self.updated_at = now;
        self.touched_at = now;
        self.clock = now;
        self.log.tail
    }

    /// Records what only means something.
    pub(crate) fn note(&mut self, now: Millis, fact: Fact, out: &mut Vec<Event>) -> Serial {
        self.record(now, fact, &NOTHING, out)
    }

    fn check_takes_turns(&self) -> Result<(), Refusal> {
        if self.is_closed() {
            return Err(Refusal::Closed { tail: self.log.tail });
        }
        match &self.config.content_type {
            Some(held) => Err(Refusal::OtherContentType { held: held.as_str().into() }),
            None => Ok(()),
        }
    }

    fn open_turn(&self, turn: &TurnId) -> Result<usize, Refusal> {
        match self.work.find(turn) {
            Some(at) => Ok(at),
            None if self.work.known(turn).is_some() || self.work.cancels.contains(turn) => {
                Err(Refusal::TurnEnded)
            }
            None => Err(Refusal::NoSuchTurn),
        }
    }
}

/// Refuses a role that may not do this.
fn check_role(given: Role, needs: Role) -> Result<(), Refusal> {
    if given < needs { Err(Refusal::InsufficientRole { needs }) } else { Ok(()) }
}

/// The payload of an event that only means something: JSON's `null`.
const NOTHING: NewEvent = NewEvent { format: Format::JSON, payload: Bytes::from_static(b"null") };
