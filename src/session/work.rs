//! What a session's agents are to do: turns are asked for, taken, spoken in, lost, cancelled and ended.
//!
//! Every turn ends exactly once, by whatever comes first (S9). Nobody speaks in a turn but the worker whose
//! epoch it is (S4), and nobody speaks in one that is over (S5); both are decided here, at apply, so a
//! worker that was paused for an hour changes nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use super::command::{Cancel, Claim, Input, Said, Say, Scope, Then, WhenBusy};
use super::event::{Event, Format, NewEvent};
use super::fact::{Cause, End, Fact};
use super::live::{Live, check_size};
use super::outcome::{Applied, Refusal, TurnStatus};
use super::turn::{Judgement, Seat, Spoke, Stage, Turn};
use crate::ids::{Millis, Serial, TurnId};
use crate::limits;

/// The turns of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Those that are not over, oldest first.
    pub(super) turns: Vec<Turn>,
    /// The last inputs, oldest first.
    pub(super) inputs: VecDeque<Known>,
    /// The last epoch that was given.
    pub(super) epoch: u64,
}

/// An input that was accepted, or whose turn was cancelled before it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) input: TurnId,
    pub(super) turn: TurnId,
    /// Its place in the log; 0 where it has not come yet.
    pub(super) serial: Serial,
    /// How far its turn's last worker came, once the turn that began with it is over.
    pub(super) spoke: Option<Spoke>,
}

impl Work {
    fn find(&self, turn: &TurnId) -> Option<usize> {
        self.turns.iter().position(|open| open.id == *turn)
    }

    fn known(&self, input: &TurnId) -> Option<&Known> {
        self.inputs.iter().rev().find(|known| known.input == *input)
    }

    /// Whether a turn is the first of its agent that is open: the others wait for it.
    fn is_first(&self, at: usize) -> bool {
        let agent = &self.turns[at].agent;
        !self.turns[..at].iter().any(|earlier| earlier.agent == *agent)
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
            Stage::Active(_) => None,
        })
    }

    /// When a tick changes something.
    pub(super) fn tick_at(&self) -> Option<Millis> {
        let open = self.turns.iter().enumerate();
        let judged = open.filter(|(at, turn)| turn.seat().is_some() || self.is_first(*at));
        judged.map(|(_, turn)| turn.tick_at()).min()
    }

    /// The open turns, for those who ask.
    pub(super) fn status(&self) -> Vec<TurnStatus> {
        self.turns.iter().map(TurnStatus::from).collect()
    }

    /// Forgets the oldest inputs whose turns are over.
    fn forget(&mut self) {
        while limits::INPUTS < self.inputs.len() {
            // The first input of an open turn stays, so that the turn is known when it is over.
            let idle = |known: &Known| self.turns.iter().all(|open| open.id != known.input);
            let Some(at) = self.inputs.iter().position(idle) else { return };
            self.inputs.remove(at);
        }
    }
}

impl Live {
    /// Takes an input: a turn begins with it, or one that is open hears it.
    pub(super) fn input(
        &mut self,
        now: Millis,
        asked: &Input,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let cancelled = match self.work.known(&asked.input) {
            Some(known) if known.serial != Serial::ZERO => {
                let (turn, serial) = (known.turn.clone(), known.serial);
                return Ok(Applied::Input { turn, serial, duplicate: true });
            }
            known => known.is_some(),
        };
        self.check_takes_turns()?;
        check_size(std::slice::from_ref(&asked.said))?;
        let busy = self.work.turns.iter().rposition(|open| open.agent == asked.agent);
        let into = match (busy, asked.when_busy) {
            _ if cancelled => None,
            (Some(at), WhenBusy::Steer) => Some(at),
            (Some(at), WhenBusy::Reject) => {
                return Err(Refusal::Busy { turn: self.work.turns[at].id.clone() });
            }
            (None, _) | (_, WhenBusy::Queue | WhenBusy::Interrupt) => None,
        };
        let left = match asked.when_busy {
            WhenBusy::Interrupt => {
                self.work.turns.iter().filter(|open| open.agent != asked.agent).count()
            }
            _ => self.work.turns.len(),
        };
        if into.is_none() && limits::TURNS <= left {
            return Err(Refusal::TooManyTurns { limit: limits::TURNS });
        }
        if asked.when_busy == WhenBusy::Interrupt && !cancelled {
            let end = End::Cancelled { by: asked.sender.clone(), reason: "interrupted".into() };
            self.end_all(now, &end, |turn| turn.agent == asked.agent, out);
        }
        let turn = into.map_or_else(|| asked.input.clone(), |at| self.work.turns[at].id.clone());
        let (input, agent) = (asked.input.clone(), asked.agent.clone());
        let sender = asked.sender.clone();
        let fact = Fact::Input { input, turn: turn.clone(), agent: agent.clone(), sender };
        let serial = self.record(now, fact, &asked.said, out);
        match into {
            Some(at) => self.work.turns[at].spoken = serial,
            None => self.work.turns.push(Turn::new(turn.clone(), agent, serial, now)),
        }
        self.work.inputs.retain(|known| known.input != asked.input);
        let (input, known_turn) = (asked.input.clone(), turn.clone());
        self.work.inputs.push_back(Known { input, turn: known_turn, serial, spoke: None });
        if cancelled {
            // Whoever cancelled it could not know that it would still come.
            let end = End::Cancelled { by: None, reason: "cancelled before it began".into() };
            self.end_all(now, &end, |open| open.id == turn, out);
        }
        self.work.forget();
        Ok(Applied::Input { turn, serial, duplicate: false })
    }

    /// Gives a turn to a worker.
    pub(super) fn claim(
        &mut self,
        now: Millis,
        asked: &Claim,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let at = self.open_turn(&asked.turn)?;
        let first = self.work.is_first(at);
        let turn = &self.work.turns[at];
        match &turn.stage {
            Stage::Active(seat) if seat.key == asked.key => {
                return Ok(Applied::Claimed { turn: TurnStatus::from(turn) });
            }
            Stage::Waiting { from } if *from <= now && first => {}
            _ => return Err(Refusal::TurnTaken),
        }
        self.work.epoch += 1;
        let epoch = self.work.epoch;
        let turn = &mut self.work.turns[at];
        turn.attempts = turn.attempts.saturating_add(1);
        turn.stage = Stage::Active(Seat {
            worker: asked.worker.clone(),
            key: asked.key,
            epoch,
            seq: 0,
            lease_ms: asked.lease_ms,
            alive_at: now,
            progress_at: now,
            quiet_ms: asked.quiet_ms,
            stalled: false,
        });
        let claimed = TurnStatus::from(&*turn);
        let (turn, agent, attempt) = (turn.id.clone(), turn.agent.clone(), turn.attempts);
        self.record(now, Fact::Started { turn, agent, epoch, attempt }, &NOTHING, out);
        Ok(Applied::Claimed { turn: claimed })
    }

    /// Takes what a worker says of its turn.
    pub(super) fn say(
        &mut self,
        now: Millis,
        asked: &Say,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if let Some(again) = self.said_before(asked) {
            return Ok(again);
        }
        let at = self.open_turn(&asked.turn)?;
        let turn = &mut self.work.turns[at];
        let held = self.work.epoch;
        let Stage::Active(seat) = &mut turn.stage else {
            return Err(Refusal::Fenced { given: asked.epoch, held });
        };
        if seat.epoch != asked.epoch {
            return Err(Refusal::Fenced { given: asked.epoch, held: seat.epoch });
        }
        let bytes = asked.checkpoint.as_ref().map_or(0, Bytes::len);
        if limits::CHECKPOINT_BYTES < bytes {
            return Err(Refusal::CheckpointTooLarge { bytes, limit: limits::CHECKPOINT_BYTES });
        }
        let said = match &asked.said {
            Some(said) if said.seq < seat.seq => None,
            Some(said) if said.seq != seat.seq => {
                return Err(Refusal::SequenceGap { expected: seat.seq, received: said.seq });
            }
            said => said.as_ref(),
        };
        if let Some(said) = said {
            check_size(&said.events)?;
            seat.seq += 1;
        }
        seat.alive_at = now;
        self.touched_at = now;
        self.clock = now;
        if asked.said.is_some() && said.is_none() {
            // All of it was taken before; what came with later requests stays.
            let spoken = turn.spoken;
            return Ok(Applied::Said { places: None, duplicate: true, over: false, spoken });
        }
        seat.quiet_ms = asked.quiet_ms.unwrap_or(seat.quiet_ms);
        if said.is_some_and(|said| !said.events.is_empty()) || asked.quiet_ms.is_some() {
            seat.progress_at = now;
            seat.stalled = false;
        }
        if let Some(heard) = asked.heard {
            turn.heard = turn.heard.max(heard.min(turn.spoken));
        }
        if asked.checkpoint.is_some() {
            turn.checkpoint.clone_from(&asked.checkpoint);
        }
        let (before, spoken) = (self.log.tail, self.work.turns[at].spoken);
        if let Some(said) = said {
            self.speak(now, at, asked.epoch, said, out);
        }
        let (first, last) = (before.next(), self.log.tail);
        let places = (first <= last).then_some((first, last));
        let over = self.work.find(&asked.turn).is_none();
        Ok(Applied::Said { places, duplicate: false, over, spoken })
    }

    /// The answer to a request that was taken before its seat ended: its last one, most likely (S11).
    fn said_before(&self, asked: &Say) -> Option<Applied> {
        let seq = asked.said.as_ref().map(|said| said.seq);
        let answer = |over, spoken| Applied::Said { places: None, duplicate: true, over, spoken };
        if let Some(at) = self.work.find(&asked.turn) {
            let turn = &self.work.turns[at];
            turn.spoke.filter(|spoke| spoke.has(asked.epoch, seq))?;
            return Some(answer(false, turn.spoken));
        }
        let known = self.work.known(&asked.turn)?;
        known.spoke.filter(|spoke| spoke.has(asked.epoch, seq))?;
        Some(answer(true, known.serial))
    }

    fn speak(&mut self, now: Millis, at: usize, epoch: u64, said: &Said, out: &mut Vec<Event>) {
        let turn = &mut self.work.turns[at];
        let id = turn.id.clone();
        if !said.events.is_empty() {
            turn.failures = 0;
        }
        for event in &said.events {
            self.record(now, Fact::Output { turn: id.clone(), epoch }, event, out);
        }
        let end = match &said.then {
            Then::GoOn => return,
            Then::Release => return self.lose(now, at, Cause::Released, out),
            Then::Complete => End::Completed,
            Then::Fail { reason } => End::Failed { reason: reason.clone() },
        };
        self.end_all(now, &end, |open| open.id == id, out);
    }

    /// Ends turns whatever their workers think.
    pub(super) fn cancel(&mut self, now: Millis, asked: &Cancel, out: &mut Vec<Event>) -> Applied {
        let (by, reason) = (asked.by.clone(), asked.reason.clone());
        let end = End::Cancelled { by, reason };
        let turns = self.end_all(
            now,
            &end,
            |open| match &asked.scope {
                Scope::All => true,
                Scope::Agent(agent) => open.agent == *agent,
                Scope::Turn(turn) => open.id == *turn,
            },
            out,
        );
        if let Scope::Turn(turn) = &asked.scope
            && self.work.known(turn).is_none()
            && !self.is_closed()
        {
            let (input, serial) = (turn.clone(), Serial::ZERO);
            self.work.inputs.push_back(Known { input, turn: turn.clone(), serial, spoke: None });
            self.work.forget();
            self.clock = now;
        }
        Applied::Cancelled { turns }
    }

    /// Judges the workers by their two clocks; says whether anything changed.
    pub(super) fn judge(&mut self, now: Millis, out: &mut Vec<Event>) -> bool {
        let before = out.len();
        let mut at = 0;
        while at < self.work.turns.len() {
            let first = self.work.is_first(at);
            let turn = &mut self.work.turns[at];
            let id = turn.id.clone();
            match &mut turn.stage {
                Stage::Waiting { .. }
                    if first && turn.waits_since.after(limits::WAIT_MS) <= now =>
                {
                    let end = End::Failed { reason: "nobody took the turn".into() };
                    self.end_all(now, &end, |open| open.id == id, out);
                    continue;
                }
                Stage::Active(seat) => match seat.judged(now) {
                    Some(Judgement::Stalled) => {
                        seat.stalled = true;
                        let epoch = seat.epoch;
                        self.record(now, Fact::Stalled { turn: id, epoch }, &NOTHING, out);
                    }
                    Some(Judgement::Lost(cause)) => {
                        let open = self.work.turns.len();
                        self.lose(now, at, cause, out);
                        if self.work.turns.len() < open {
                            continue;
                        }
                    }
                    None => {}
                },
                Stage::Waiting { .. } => {}
            }
            at += 1;
        }
        before < out.len()
    }

    /// Ends all turns, because the session ends.
    pub(super) fn end_with_session(&mut self, now: Millis, out: &mut Vec<Event>) {
        let end = End::Cancelled { by: None, reason: "the session was closed".into() };
        self.end_all(now, &end, |_| true, out);
    }

    fn lose(&mut self, now: Millis, at: usize, cause: Cause, out: &mut Vec<Event>) {
        let turn = &mut self.work.turns[at];
        let id = turn.id.clone();
        let epoch = turn.seat().map_or(0, |seat| seat.epoch);
        let again = turn.lose(cause, now);
        let again_at = again.map_or(0, |at| at.0);
        self.record(now, Fact::Lost { turn: id.clone(), epoch, cause, again_at }, &NOTHING, out);
        if again.is_none() {
            let times = limits::ATTEMPTS;
            let reason = format!("{times} workers in a row were lost without a word");
            self.end_all(now, &End::Failed { reason }, |open| open.id == id, out);
        }
    }

    fn end_all(
        &mut self,
        now: Millis,
        end: &End,
        chosen: impl Fn(&Turn) -> bool,
        out: &mut Vec<Event>,
    ) -> usize {
        let open = std::mem::take(&mut self.work.turns);
        let (over, left): (Vec<_>, Vec<_>) = open.into_iter().partition(chosen);
        self.work.turns = left;
        for turn in &over {
            // Whoever waited for it waits for a worker now.
            let next = self.work.turns.iter_mut().find(|open| open.agent == turn.agent);
            if let Some(next) = next.filter(|next| next.seat().is_none()) {
                next.waits_since = now;
            }
        }
        for turn in &over {
            if let Some(known) = self.work.inputs.iter_mut().find(|known| known.input == turn.id) {
                known.spoke = turn.spoke();
            }
            let (turn, end) = (turn.id.clone(), end.clone());
            self.record(now, Fact::Ended { turn, end }, &NOTHING, out);
        }
        over.len()
    }

    fn record(&mut self, now: Millis, fact: Fact, said: &NewEvent, out: &mut Vec<Event>) -> Serial {
        let retention = self.config.retention;
        self.log.retain(now, &retention);
        out.push(self.log.push(now, said, None, Some(fact), &retention));
        self.log.retain(now, &retention);
        self.updated_at = now;
        self.touched_at = now;
        self.clock = now;
        self.log.tail
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
            None if self.work.known(turn).is_some() => Err(Refusal::TurnOver),
            None => Err(Refusal::NoSuchTurn),
        }
    }
}

/// The payload of an event that only means something: JSON's `null`.
const NOTHING: NewEvent = NewEvent { format: Format::JSON, payload: Bytes::from_static(b"null") };
