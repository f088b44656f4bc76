//! The worker of a turn: it takes the turn, sends output in it, and is lost (S4, S11).

use bytes::Bytes;

use crate::command::{Claim, Lose, Phase, Then, TurnOutput, TurnReport};
use crate::control::Mode;
use crate::event::Event;
use crate::fact::{Cause, End, Fact, Output, Receipt};
use crate::ids::{Millis, Serial, TurnEpoch, TurnId};
use crate::limits;
use crate::live::{Live, check_size};
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::turn::{Stage, Step, TurnLease};

impl Live {
    /// Gives a turn to a worker.
    pub(crate) fn claim(
        &mut self,
        now: Millis,
        request: &Claim,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let at = self.open_turn(&request.turn)?;
        let first = self.work.is_first(at);
        let turn = &self.work.turns[at];
        match &turn.stage {
            Stage::Active(lease) if lease.key == request.key => {
                return Ok(Applied::Claimed { turn: Box::new(self.work.status_of(turn)) });
            }
            Stage::Waiting { from } if *from <= now && first => {}
            _ => return Err(Refusal::TurnAlreadyClaimed),
        }
        let epoch = self.work.epoch.next();
        self.work.epoch = epoch;
        let turn = &mut self.work.turns[at];
        turn.attempts = turn.attempts.saturating_add(1);
        turn.tell_subturns();
        turn.delivered = turn.last_input;
        let progress_timeout_ms = turn.progress_timeout_ms.unwrap_or(request.progress_timeout_ms);
        turn.stage = Stage::Active(TurnLease {
            worker: request.worker.clone(),
            key: request.key,
            epoch,
            seq: 0,
            given: turn.last_input,
            lease_ms: request.lease_ms,
            since: now,
            emitted: false,
            mark: None,
            last_seen_at: now,
            progress_at: now,
            progress_timeout_ms,
            usual_quiet_ms: progress_timeout_ms,
            stalled: false,
            step_cancelled: false,
            phase: Phase::Thinking,
            node: request.node,
        });
        let (turn, attempt) = (turn.id.clone(), turn.attempts);
        self.note(now, Fact::Started { turn, epoch, attempt }, out);
        Ok(Applied::Claimed { turn: Box::new(self.work.status_of(&self.work.turns[at])) })
    }

    /// Takes a worker's output and state of its turn.
    pub(crate) fn emit(
        &mut self,
        now: Millis,
        request: &TurnReport,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        if let Some(again) = self.repeated(request) {
            return Ok(again);
        }
        let at = self.open_turn(&request.turn)?;
        let emitted = self.check_say(at, request)?;
        self.touched_at = now;
        self.clock = now;
        let turn = &mut self.work.turns[at];
        let Stage::Active(lease) = &mut turn.stage else { unreachable!("it was just checked") };
        lease.last_seen_at = now;
        if request.output.is_some() && emitted.is_none() {
            // All of it was taken before; what came with later requests stays.
            let last_input = turn.last_input;
            let (places, tools) = (None, self.tool_keys(request));
            return Ok(Applied::OutputAccepted {
                places,
                duplicate: true,
                over: false,
                last_input,
                tools,
            });
        }
        let does = request.phase.as_ref().filter(|phase| **phase != lease.phase).cloned();
        let has_output = emitted.is_some_and(|emitted| !emitted.is_silent());
        lease.seq += u64::from(emitted.is_some());
        if has_output {
            lease.progress_timeout_ms = lease.usual_quiet_ms;
        }
        lease.progress_timeout_ms =
            request.progress_timeout_ms.unwrap_or(lease.progress_timeout_ms);
        let mut recovered = false;
        let progressed = has_output || does.is_some() || request.progress_timeout_ms.is_some();
        if progressed {
            lease.progress_at = now;
            recovered = std::mem::take(&mut lease.stalled);
        }
        if let Some(phase) = &does {
            lease.phase = phase.clone();
        }
        if request.checkpoint.is_some() {
            turn.checkpoint.clone_from(&request.checkpoint);
        }
        let (id, epoch) = (request.turn.clone(), request.epoch);
        if recovered {
            self.note(now, Fact::Recovered { turn: id.clone(), epoch }, out);
        }
        if let Some(phase) = does {
            self.note(now, Fact::Phase { turn: id, epoch, phase }, out);
        }
        if progressed {
            self.gets_on_above(now, at, out);
        }
        self.receive(now, at, request, out);
        let (before, last_input) = (self.log.tail, self.work.turns[at].last_input);
        if let Some(emitted) = emitted {
            self.speak(now, at, epoch, emitted, out);
        }
        let (first, last) = (before.next(), self.log.tail);
        let places = (first <= last).then_some((first, last));
        let over = self.work.find(&request.turn).is_none();
        let tools = self.tool_keys(request);
        Ok(Applied::OutputAccepted { places, duplicate: false, over, last_input, tools })
    }

    /// What of it is to be taken; nothing where all was taken before.
    fn check_say<'s>(
        &self,
        at: usize,
        request: &'s TurnReport,
    ) -> Result<Option<&'s TurnOutput>, Refusal> {
        let turn = &self.work.turns[at];
        let held = self.work.epoch;
        let Stage::Active(lease) = &turn.stage else {
            return Err(Refusal::Fenced { given: request.epoch, held });
        };
        if lease.epoch != request.epoch {
            return Err(Refusal::Fenced { given: request.epoch, held: lease.epoch });
        }
        let bytes = request.checkpoint.as_ref().map_or(0, Bytes::len);
        if limits::CHECKPOINT_BYTES < bytes {
            return Err(Refusal::CheckpointTooLarge { bytes, limit: limits::CHECKPOINT_BYTES });
        }
        let emitted = match &request.output {
            Some(emitted) if emitted.seq < lease.seq => return Ok(None),
            Some(emitted) if emitted.seq != lease.seq => {
                return Err(Refusal::SequenceGap { expected: lease.seq, received: emitted.seq });
            }
            Some(emitted) => emitted,
            None => return Ok(None),
        };
        check_size(&emitted.events)?;
        let cancelled = turn.step.as_ref().filter(|step| step.cancelled || lease.step_cancelled);
        if let Some(step) = cancelled
            && emitted.step.is_none()
            && !emitted.events.is_empty()
        {
            return Err(Refusal::StepCancelled { step: step.name.clone() });
        }
        self.check_tools(at, &emitted.tools)?;
        self.check_withdraws(&turn.id, &emitted.withdraw)?;
        self.check_asks(&turn.id, &emitted.ask, &emitted.withdraw)?;
        self.check_begins(at, &emitted.begin)?;
        Ok(Some(emitted))
    }

    /// The answer to a request that was taken before its lease ended: its last one, most likely (S11).
    fn repeated(&self, request: &TurnReport) -> Option<Applied> {
        let seq = request.output.as_ref().map(|emitted| emitted.seq);
        let answer = |over, last_input| {
            let tools = self.tool_keys(request);
            Applied::OutputAccepted { places: None, duplicate: true, over, last_input, tools }
        };
        if let Some(at) = self.work.find(&request.turn) {
            let turn = &self.work.turns[at];
            turn.emitted.filter(|emitted| emitted.has(request.epoch, seq))?;
            return Some(answer(false, turn.last_input));
        }
        let known = self.work.known(&request.turn)?;
        known.emitted.filter(|emitted| emitted.has(request.epoch, seq))?;
        Some(answer(true, known.serial))
    }

    /// Takes the worker's report of which inputs it has.
    fn receive(&mut self, now: Millis, at: usize, request: &TurnReport, out: &mut Vec<Event>) {
        let turn = &mut self.work.turns[at];
        let last_input = turn.last_input;
        let within =
            |given: Option<Serial>| given.map_or(Serial::ZERO, |given| given.min(last_input));
        let (consumed, before) = (within(request.consumed), turn.delivered);
        turn.consumed = turn.consumed.max(consumed);
        turn.delivered = before.max(within(request.delivered)).max(consumed);
        let (consumed, delivered, id) = (turn.consumed, turn.delivered, turn.id.clone());
        let epoch = request.epoch;
        let mut receipts = Vec::new();
        let pending = self.work.inputs.iter_mut().filter(|known| known.pending && known.turn == id);
        for known in pending {
            if before < known.serial && known.serial <= delivered {
                receipts.push((known.input.clone(), Receipt::Delivered { epoch }));
            }
            if known.serial <= consumed {
                known.pending = false;
                receipts.push((known.input.clone(), Receipt::Consumed { epoch }));
            }
        }
        for (input, receipt) in receipts {
            self.note(now, Fact::Receipt { input, turn: id.clone(), receipt }, out);
        }
    }

    fn speak(
        &mut self,
        now: Millis,
        at: usize,
        epoch: TurnEpoch,
        emitted: &TurnOutput,
        out: &mut Vec<Event>,
    ) {
        let id = self.work.turns[at].id.clone();
        if let Some(name) = &emitted.step {
            let turn = &mut self.work.turns[at];
            if turn.step.as_ref().is_none_or(|step| step.name != *name) {
                // What was put out before it is not superseded any more.
                turn.keep_output();
            }
            let before = turn.step.take().filter(|step| step.name == *name);
            let (attempt, first) = before
                .map_or((1, Serial::ZERO), |step| (step.attempt.saturating_add(1), step.first));
            turn.step = Some(Step { name: name.clone(), attempt, first, cancelled: false });
            turn.set_mark(false);
            if let Stage::Active(lease) = &mut turn.stage {
                lease.step_cancelled = false;
            }
            let step = name.clone();
            self.note(now, Fact::Step { turn: id.clone(), epoch, step, attempt }, out);
        }
        if !emitted.events.is_empty() {
            let turn = &mut self.work.turns[at];
            let first = match &mut turn.stage {
                Stage::Active(lease) => !std::mem::replace(&mut lease.emitted, true),
                _ => false,
            };
            if emitted.rewind {
                self.rewind(now, at, epoch, out);
            } else if first {
                // It goes on after what earlier workers put out.
                turn.keep_output();
            }
        }
        if emitted.mark {
            self.work.turns[at].set_mark(true);
        }
        self.finish_tools(now, at, epoch, &emitted.tools, out);
        self.put_out(now, at, epoch, emitted, out);
        self.start_tools(now, at, epoch, &emitted.tools, out);
        self.take_back(now, &emitted.withdraw, out);
        self.ask(now, &id, epoch, &emitted.ask, out);
        self.begin_subturns(now, at, &emitted.begin, out);
        self.continue_with(now, at, &emitted.then, out);
    }

    fn put_out(
        &mut self,
        now: Millis,
        at: usize,
        epoch: TurnEpoch,
        emitted: &TurnOutput,
        out: &mut Vec<Event>,
    ) {
        let internal = emitted.internal || self.work.control.mode != Mode::Auto;
        for event in &emitted.events {
            let serial = self.log.tail.next();
            let (message, place) = self.work.message_of_output(at, serial, internal);
            let turn = &mut self.work.turns[at];
            let output = Output {
                turn: turn.id.clone(),
                epoch,
                attempt: turn.attempts,
                offset: turn.output.bytes,
                step: turn.step.as_ref().map(|step| step.name.clone()),
                internal,
                message,
                place,
            };
            turn.output.bytes += event.payload.len() as u64;
            let (agent, fact) = (Some(turn.agent.clone()), Fact::Output(output));
            let serial = self.record_of(now, agent, fact, event, out);
            self.work.turns[at].put_out(serial);
        }
    }

    /// Supersedes what the worker put out since its mark, or what earlier attempts put out of the step under way, or
    /// of the turn.
    fn rewind(&mut self, now: Millis, at: usize, epoch: TurnEpoch, out: &mut Vec<Event>) {
        let turn = &mut self.work.turns[at];
        let from = turn.rewindable();
        if from == Serial::ZERO {
            return;
        }
        turn.forget_from(from);
        let (to, step) = (turn.output.last, turn.step.as_ref().map(|step| step.name.clone()));
        let turn = turn.id.clone();
        self.work.rewind_message(at, from);
        self.note(now, Fact::Rewound { turn, epoch, step, from, to }, out);
    }

    fn continue_with(&mut self, now: Millis, at: usize, then: &Then, out: &mut Vec<Event>) {
        let turn = &mut self.work.turns[at];
        let id = turn.id.clone();
        let end = match then {
            Then::GoOn => return,
            Then::Release => return self.lose(now, at, Cause::Released, 0, "", out),
            Then::Wait => {
                let asks = self.work.asks(&id);
                let turn = &mut self.work.turns[at];
                turn.vacate(Stage::Asking);
                if !asks {
                    // The answer was faster.
                    turn.offer(now);
                }
                self.note(now, Fact::Waiting { turn: id }, out);
                return;
            }
            Then::WaitAll => return self.join(now, at, true, out),
            Then::WaitAny => return self.join(now, at, false, out),
            Then::Pause => match turn.pausing.take() {
                Some(reason) => {
                    turn.vacate(Stage::Paused { reason });
                    self.note(now, Fact::Paused { turn: id, reason }, out);
                    return;
                }
                // It need not rest any more.
                None => return self.lose(now, at, Cause::Released, 0, "", out),
            },
            Then::Complete => End::Completed { reason: String::new() },
            Then::CompleteFor { reason } => End::Completed { reason: reason.clone() },
            Then::Fail { reason } => End::Failed { reason: reason.clone() },
        };
        self.end_all(now, &end, |open| open.id == id, out);
    }

    /// Takes a turn from a worker that is gone, if it is still its own.
    pub(crate) fn lose_gone(
        &mut self,
        now: Millis,
        request: &Lose,
        out: &mut Vec<Event>,
    ) -> Applied {
        let has = |turn: TurnId| {
            let at = self.work.find(&turn)?;
            let lease = self.work.turns[at].lease()?;
            (lease.epoch == request.epoch).then_some(at)
        };
        let Some(at) = has(request.turn.clone()) else { return Applied::Lost { was: false } };
        self.lose(now, at, request.cause, request.wait_ms, &request.detail, out);
        Applied::Lost { was: true }
    }

    pub(super) fn lose(
        &mut self,
        now: Millis,
        at: usize,
        cause: Cause,
        wait_ms: u64,
        detail: &str,
        out: &mut Vec<Event>,
    ) {
        let turn = &mut self.work.turns[at];
        let id = turn.id.clone();
        let (epoch, times) =
            (turn.lease().map_or(TurnEpoch::NONE, |lease| lease.epoch), turn.failures_max);
        let again = turn.lose(cause, now, wait_ms);
        let again_at = again.map_or(0, |at| at.0);
        let pausing = turn.pausing.take();
        let lost =
            Fact::Lost { turn: id.clone(), epoch, cause, again_at, detail: detail.to_owned() };
        self.note(now, lost, out);
        if again.is_none() {
            let reason = out_of_workers(times, detail);
            self.end_all(now, &End::Failed { reason }, |open| open.id == id, out);
            return;
        }
        if let Some(reason) = pausing {
            self.work.turns[at].stage = Stage::Paused { reason };
            self.note(now, Fact::Paused { turn: id, reason }, out);
        }
    }
}

/// Why a turn fails that lost its last worker, with the end of that one's report, within a reason's limit.
fn out_of_workers(times: u32, detail: &str) -> String {
    let mut reason = format!("{times} workers in a row were lost without output that stays");
    if !detail.is_empty() {
        reason.push_str("; the last one: ");
        let room = limits::REASON_BYTES - reason.len();
        reason.push_str(&detail[detail.ceil_char_boundary(detail.len().saturating_sub(room))..]);
    }
    reason
}

impl TurnOutput {
    /// Whether it is a heartbeat and nothing else.
    fn is_silent(&self) -> bool {
        self.events.is_empty()
            && self.ask.is_empty()
            && self.withdraw.is_empty()
            && self.tools.is_empty()
            && self.begin.is_empty()
            && self.step.is_none()
            && self.then == Then::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_has_lost_its_last_worker_tells_the_end_of_its_words() {
        let words = format!("{}panicked at line 7", "ä".repeat(2_000));
        let reason = out_of_workers(2, &words);
        assert!(reason.starts_with("2 workers in a row"), "{reason}");
        assert!(reason.ends_with("äpanicked at line 7"), "{reason}");
        assert!(reason.len() <= limits::REASON_BYTES);
    }
}
