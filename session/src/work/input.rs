//! Inputs: what begins a turn, what is steered into one, and what a person answers.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::command::{Follows, Input, Role, WhenBusy};
use crate::control::{Held, Mode};
use crate::event::{Event, NewEvent};
use crate::fact::{End, Fact};
use crate::ids::{AgentName, Millis, Serial, TurnId};
use crate::limits;
use crate::live::{Live, check_size};
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::turn::{Stage, Turn};
use crate::work::ask::digest;
use crate::work::message::Spot;
use crate::work::{Known, check_role};

impl Live {
    /// Takes an input: a turn begins with it, one that is open gets it, or whoever has control does.
    pub(crate) fn input(
        &mut self,
        now: Millis,
        request: &Input,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if let Some(known) = self.work.known(&request.input) {
            return known.answer(request);
        }
        let cancelled = self.work.cancels.contains(&request.input);
        check_role(request.role, Role::Participant)?;
        self.check_takes_turns()?;
        self.check_standing()?;
        check_size(std::slice::from_ref(&request.content))?;
        let spot = self.spot(request)?;
        let control = &self.work.control;
        match control.mode {
            Mode::Assist | Mode::Manual if control.is_held_by(request.sender.as_ref()) => {
                return Ok(self.person_says(now, request, spot, out));
            }
            Mode::Manual if !cancelled => return self.hold_back(now, request, spot, out),
            _ => {}
        }
        let when_busy = WhenBusy::under(request.when_busy, self.config.policy.when_busy);
        let ending = if cancelled { Vec::new() } else { self.ended_by(request, when_busy) };
        let spot = match when_busy {
            WhenBusy::Rollback => self.in_place_of(&ending, request, spot)?,
            _ => spot,
        };
        let into = if cancelled { None } else { self.steers(request, when_busy, spot)? };
        match into {
            Some(_) => self.check_mailbox()?,
            None => self.check_turns(ending.len())?,
        }
        if !ending.is_empty() {
            let reason = match when_busy {
                WhenBusy::Rollback => "rolled back",
                _ => "interrupted",
            };
            let end = End::Cancelled { by: request.sender.clone(), reason: reason.into() };
            self.end_all(now, &end, |turn| ending.contains(&turn.id), out);
        }
        let turn = into.map_or_else(|| request.input.clone(), |at| self.work.turns[at].id.clone());
        let (input, sender) = (request.input.clone(), request.sender.clone());
        let follows = self.followed_at(spot);
        let place = self.begin_message(self.log.tail.next(), spot);
        let fact =
            Fact::Input { input, turn: turn.clone(), sender, held: false, place, parent: None };
        let serial = self.record_of(now, Some(request.agent.clone()), fact, &request.content, out);
        match into {
            Some(at) => {
                self.work.turns[at].last_input = serial;
                self.work.turns[at].end_message();
            }
            None => self.begin_turn(now, request, when_busy, (serial, place.branch), follows),
        }
        let (input, of, digest) = (request.input.clone(), turn.clone(), request.digest());
        let pending = into.is_some();
        let (emitted, ended) = (None, None);
        self.work.remember(Known { input, turn: of, serial, digest, emitted, pending, ended });
        if let Some(at) = into {
            self.wake(now, at, out);
        }
        if cancelled {
            // Whoever cancelled it could not know that it would still come.
            let end = End::Cancelled { by: None, reason: "cancelled before it began".into() };
            self.end_all(now, &end, |open| open.id == turn, out);
        }
        Ok(Applied::Input { turn, serial, duplicate: false })
    }

    /// A turn begins with an input, under its name.
    fn begin_turn(
        &mut self,
        now: Millis,
        request: &Input,
        when_busy: WhenBusy,
        (serial, branch): (Serial, Serial),
        follows: Option<(Serial, Serial)>,
    ) {
        let limit = request.attempts.or(self.config.policy.attempts);
        let mut begun = Turn::new(request.input.clone(), request.agent.clone(), serial, now);
        begun.failures_max = limit.unwrap_or(limits::ATTEMPTS).max(1);
        (begun.progress_timeout_ms, begun.branch, begun.follows) =
            (request.progress_timeout_ms, branch, follows);
        match when_busy {
            WhenBusy::Parallel => begun.parallel = true,
            WhenBusy::Merge => {
                begun.merges = true;
                begun.waits_since = now.after(self.config.policy.merges_ms());
                begun.stage = Stage::Waiting { from: begun.waits_since };
            }
            _ => {}
        }
        self.work.turns.push(begun);
    }

    /// Lets a turn that has no worker go on, now that an input came into it.
    fn wake(&mut self, now: Millis, at: usize, out: &mut Vec<Event>) {
        match self.work.turns[at].stage {
            Stage::Paused { .. } => _ = self.go_on(now, at, out),
            // An input comes in place of an answer, or of sub-turns: the turn goes on, and those stay open.
            Stage::Asking | Stage::Joining { .. } => self.work.turns[at].offer(now),
            Stage::Waiting { .. } | Stage::Active(_) => {}
        }
    }

    /// The open turns that an input ends.
    fn ended_by(&self, request: &Input, when_busy: WhenBusy) -> Vec<TurnId> {
        let ends = |open: &&Turn| match when_busy {
            WhenBusy::Interrupt | WhenBusy::Rollback => true,
            // One that a worker has goes on meanwhile, and one that is paused is not ended by an input.
            WhenBusy::Instead => {
                let rests = matches!(
                    open.stage,
                    Stage::Asking | Stage::Joining { .. } | Stage::Waiting { .. }
                );
                rests && self.work.asks(&open.id)
            }
            WhenBusy::Steer
            | WhenBusy::Queue
            | WhenBusy::Reject
            | WhenBusy::Unsteered
            | WhenBusy::Parallel
            | WhenBusy::Merge => false,
        };
        let of = self.work.turns.iter().filter(|open| open.agent == request.agent);
        of.filter(ends).map(|open| open.id.clone()).collect()
    }

    /// Where an input stands that rolls these turns back: in place of the oldest of them on its branch, if that is
    /// known and the input names no other place.
    fn in_place_of(&self, ending: &[TurnId], request: &Input, spot: Spot) -> Result<Spot, Refusal> {
        let turns = self.work.turns.iter().filter(|turn| ending.contains(&turn.id));
        let here = turns.filter(|turn| Some(turn.branch) == spot.branch());
        let oldest = here.min_by_key(|turn| turn.input);
        match oldest.and_then(|turn| turn.follows) {
            Some(follows) if request.follows.is_none() => self.after(follows, false),
            _ => Ok(spot),
        }
    }

    /// The open turn that the input is steered into, if it is into one.
    fn steers(
        &self,
        request: &Input,
        when_busy: WhenBusy,
        spot: Spot,
    ) -> Result<Option<usize>, Refusal> {
        let busy = self.work.turns.iter().rposition(|open| open.agent == request.agent);
        match (busy, when_busy) {
            // A turn gets the inputs of its own branch; one that a turn began does where there is no other.
            (Some(_), WhenBusy::Steer) => {
                let fits =
                    |open: &Turn| open.agent == request.agent && Some(open.branch) == spot.branch();
                let turns = self.work.turns.iter();
                let first = turns.clone().rposition(|open| fits(open) && open.parent.is_none());
                Ok(first.or_else(|| turns.clone().rposition(fits)))
            }
            (Some(at), WhenBusy::Merge) => {
                let turn = &self.work.turns[at];
                let waits = turn.merges
                    && turn.attempts == 0
                    && matches!(turn.stage, Stage::Waiting { .. });
                Ok((waits && Some(turn.branch) == spot.branch()).then_some(at))
            }
            (Some(at), WhenBusy::Reject) => {
                Err(Refusal::Busy { turn: self.work.turns[at].id.clone() })
            }
            (None, _)
            | (
                _,
                WhenBusy::Queue
                | WhenBusy::Interrupt
                | WhenBusy::Instead
                | WhenBusy::Unsteered
                | WhenBusy::Parallel
                | WhenBusy::Rollback,
            ) => Ok(None),
        }
    }

    /// A message of whoever has control, for people and not for an agent.
    fn person_says(
        &mut self,
        now: Millis,
        request: &Input,
        spot: Spot,
        out: &mut Vec<Event>,
    ) -> Applied {
        let (input, sender) = (request.input.clone(), request.sender.clone());
        self.work.end_messages();
        let place = self.begin_message(self.log.tail.next(), spot);
        let fact = Fact::Person { input, sender, place };
        let serial = self.record(now, fact, &request.content, out);
        let control = &mut self.work.control;
        control.until = control.until.map(|_| now.after(control.for_ms));
        self.know_without_turn(request, serial)
    }

    /// Keeps an input for whoever has control, and for the agent afterwards.
    fn hold_back(
        &mut self,
        now: Millis,
        request: &Input,
        spot: Spot,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        match &self.work.control.held {
            None => self.check_turns(0)?,
            // All that is held back becomes one turn, which is on one branch.
            Some(held) if Some(held.branch) != spot.branch() => {
                let holder = self.work.control.holder.as_ref();
                let by = holder.map(|holder| holder.participant.as_str().to_owned());
                return Err(Refusal::ControlledByOther { by: by.unwrap_or_default() });
            }
            Some(_) => {}
        }
        let (input, turn) = (request.input.clone(), request.input.clone());
        let (agent, sender) = (request.agent.clone(), request.sender.clone());
        let place = self.begin_message(self.log.tail.next(), spot);
        let fact = Fact::Input { input, turn, sender, held: true, place, parent: None };
        let serial = self.record_of(now, Some(agent.clone()), fact, &request.content, out);
        let first = self.work.control.held.take().map_or(serial, |held| held.first);
        let input = request.input.clone();
        let branch = place.branch;
        self.work.control.held = Some(Held { input, agent, first, last: serial, branch });
        Ok(self.know_without_turn(request, serial))
    }

    fn know_without_turn(&mut self, request: &Input, serial: Serial) -> Applied {
        let (input, turn, digest) =
            (request.input.clone(), request.input.clone(), request.digest());
        self.work.remember(Known {
            input,
            turn,
            serial,
            digest,
            emitted: None,
            pending: false,
            ended: None,
        });
        Applied::Input { turn: request.input.clone(), serial, duplicate: false }
    }

    /// Whether one more turn may be open, once so many have ended. What is held back has a place of its own.
    fn check_turns(&self, ending: usize) -> Result<(), Refusal> {
        let held = usize::from(self.work.control.held.is_some());
        if limits::TURNS <= self.work.turns.len() + held - ending {
            return Err(Refusal::TooManyTurns { limit: limits::TURNS });
        }
        Ok(())
    }

    /// Whether so many more turns may be open.
    pub(super) fn check_turns_more(&self, more: usize) -> Result<(), Refusal> {
        let held = usize::from(self.work.control.held.is_some());
        if 0 < more && limits::TURNS < self.work.turns.len() + held + more {
            return Err(Refusal::TooManyTurns { limit: limits::TURNS });
        }
        Ok(())
    }

    fn check_mailbox(&self) -> Result<(), Refusal> {
        let pending = self.work.inputs.iter().filter(|known| known.pending).count();
        if limits::MAILBOX <= pending {
            return Err(Refusal::MailboxFull { limit: limits::MAILBOX });
        }
        Ok(())
    }
}

impl Input {
    fn digest(&self) -> u64 {
        digest_of(&self.agent, &self.content, self.follows.as_ref())
    }
}

impl Known {
    /// What the same input is answered, when it comes again.
    fn answer(&self, request: &Input) -> Result<Applied, Refusal> {
        if self.digest != request.digest() {
            return Err(Refusal::InputDiffers);
        }
        Ok(Applied::Input { turn: self.turn.clone(), serial: self.serial, duplicate: true })
    }
}

/// What makes an input another one, under the same name.
pub(super) fn digest_of(agent: &AgentName, content: &NewEvent, follows: Option<&Follows>) -> u64 {
    let content = || xxh3_64_with_seed(agent.as_str().as_bytes(), digest(content));
    match follows {
        None => content(),
        Some(follows) => {
            // What is to be answered again may be gone when the request is repeated.
            let seed = if follows.again { 1 } else { content() };
            xxh3_64_with_seed(&follows.message.0.to_le_bytes(), seed)
        }
    }
}
