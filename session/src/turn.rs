//! One turn, from the input that requested it to its end (S4, S5, S9).

use serde::{Deserialize, Serialize};

use super::command::{NodeStart, Phase};
use super::fact::{Cause, PauseReason};
use super::policy::Policy;
use super::work::{Begun, OpenMessage};
use crate::ids::{
    AgentName, CallId, Millis, Serial, StepName, ToolName, TurnEpoch, TurnId, WorkerName,
};
use crate::limits;

/// A turn that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) id: TurnId,
    pub(super) agent: AgentName,
    /// Its first input.
    pub(super) input: Serial,
    /// Its last input.
    pub(super) last_input: Serial,
    /// Its last input that has reached a worker.
    pub(super) delivered: Serial,
    /// Its last input that a worker has taken in.
    pub(super) consumed: Serial,
    /// Since when it could have had a worker and has none.
    pub(super) waits_since: Millis,
    /// Workers that have had it.
    pub(super) attempts: u32,
    /// Workers in a row that were lost without output that stays, and how many are too many.
    pub(super) failures: u32,
    pub(super) failures_max: u32,
    /// Workers in a row that it lost within [`limits::BACK_OFF_MS_MAX`], whatever they put out.
    pub(super) losses: u32,
    /// Whether the last of them was for want of room, and nothing was put out since then.
    pub(super) throttled: bool,
    /// How long a worker may be without progress, whatever it declares when it takes the turn.
    pub(super) progress_timeout_ms: Option<u64>,
    pub(super) stage: Stage,
    /// The worker is to pause.
    pub(super) pausing: Option<PauseReason>,
    pub(super) output: Outputs,
    pub(super) step: Option<Step>,
    /// The last lease that was lost: its requests are known again.
    pub(super) emitted: Option<LastOutput>,
    /// What the last worker left for the next; see [`limits::CHECKPOINT_BYTES`].
    pub(super) checkpoint: Option<bytes::Bytes>,
    /// What its next output goes on with.
    pub(super) message: Option<OpenMessage>,
    /// Why it lost its last worker, if it has lost any.
    pub(super) lost: Option<Cause>,
    /// The branch of its output.
    pub(super) branch: Serial,
    /// Calls of tools that were begun and have no result; oldest first.
    pub(super) tools: Vec<ToolCall>,
    /// It waits for no other turn of its agent.
    pub(super) parallel: bool,
    /// It waits for more inputs, which are steered into it until a worker has it.
    pub(super) merges: bool,
    /// The message that its first input follows, and the branch of that; none where that is not known.
    pub(super) follows: Option<(Serial, Serial)>,
    /// The turn that began it.
    pub(super) parent: Option<TurnId>,
    /// The turns that it began, oldest first; up to [`limits::SUB_TURNS`].
    pub(super) subturns: Vec<Begun>,
}

/// A call of a tool that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToolCall {
    pub(super) call: CallId,
    pub(super) tool: ToolName,
    pub(super) key: u128,
    /// The epoch of the last worker that began it.
    pub(super) epoch: TurnEpoch,
    /// Where that stands in the log.
    pub(super) serial: Serial,
}

/// What a turn has put out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outputs {
    /// The first event that is not superseded, and the last; 0 where there is none.
    pub(super) first: Serial,
    pub(super) last: Serial,
    /// Payload bytes, with what is superseded.
    pub(super) bytes: u64,
}

/// The step under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) name: StepName,
    /// Workers that have begun it.
    pub(super) attempt: u32,
    /// The first event of it that is not superseded; 0 where there is none.
    pub(super) first: Serial,
    /// No more of it is taken.
    pub(super) cancelled: bool,
}

/// How far a lease came that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastOutput {
    pub(super) epoch: TurnEpoch,
    /// Its requests that had output.
    pub(super) requests: u64,
}

impl LastOutput {
    /// Whether this request was taken.
    pub(super) fn has(self, epoch: TurnEpoch, seq: Option<u64>) -> bool {
        self.epoch == epoch && seq.is_some_and(|seq| seq < self.requests)
    }
}

/// Where a turn stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// For a worker to take it, from this time on.
    Waiting {
        from: Millis,
    },
    Active(TurnLease),
    /// Without a worker until a client resumes it.
    Paused {
        reason: PauseReason,
    },
    /// Without a worker until one of its interactions is over.
    Asking,
    /// Without a worker until sub-turns are over.
    Joining {
        /// All of them, and not only one more.
        all: bool,
    },
}

/// The right of one worker to send output in a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TurnLease {
    pub(super) worker: WorkerName,
    /// The number of the claim, drawn at random: the same claim again is no other.
    pub(super) key: u64,
    /// No other lease of this session's life has it, and later ones have greater ones (S4).
    pub(super) epoch: TurnEpoch,
    /// The number of the worker's next request with output.
    pub(super) seq: u64,
    /// The turn's last input when the worker took it: all up to there came with it.
    pub(super) given: Serial,
    pub(super) lease_ms: u64,
    /// Since when it has the turn, and whether it has put anything out.
    pub(super) since: Millis,
    pub(super) emitted: bool,
    /// The first output since the worker's mark, 0 where there is none yet; absent where it set no mark.
    pub(super) mark: Option<Serial>,
    /// When something last came from it.
    pub(super) last_seen_at: Millis,
    /// When it last made progress.
    pub(super) progress_at: Millis,
    /// How long it may be without progress, and how long where it has not declared another span.
    pub(super) progress_timeout_ms: u64,
    pub(super) usual_quiet_ms: u64,
    /// Whether it got the signal that it is stalled.
    pub(super) stalled: bool,
    /// The step under way was taken from it because it stalled.
    pub(super) step_cancelled: bool,
    pub(super) phase: Phase,
    /// The node whose end is the worker's end.
    pub(super) node: Option<NodeStart>,
}

impl Turn {
    pub(super) fn new(id: TurnId, agent: AgentName, input: Serial, now: Millis) -> Turn {
        let before = Serial(input.0 - 1);
        Turn {
            id,
            agent,
            input,
            last_input: input,
            delivered: before,
            consumed: before,
            waits_since: now,
            attempts: 0,
            failures: 0,
            failures_max: limits::ATTEMPTS,
            losses: 0,
            throttled: false,
            progress_timeout_ms: None,
            stage: Stage::Waiting { from: now },
            pausing: None,
            output: Outputs::default(),
            step: None,
            emitted: None,
            checkpoint: None,
            message: None,
            lost: None,
            branch: Serial::ZERO,
            tools: Vec::new(),
            parallel: false,
            merges: false,
            follows: None,
            parent: None,
            subturns: Vec::new(),
        }
    }

    /// How far the last lease came.
    pub(super) fn emitted(&self) -> Option<LastOutput> {
        let lease =
            self.lease().map(|lease| LastOutput { epoch: lease.epoch, requests: lease.seq });
        lease.or(self.emitted)
    }

    pub(super) fn lease(&self) -> Option<&TurnLease> {
        match &self.stage {
            Stage::Active(lease) => Some(lease),
            _ => None,
        }
    }

    /// When a tick changes something about it, where that does not depend on its session.
    /// `asks`: it waits for people, who have all the time.
    pub(super) fn tick_at(&self, asks: bool, policy: &Policy) -> Option<Millis> {
        match &self.stage {
            Stage::Waiting { .. } => Some(self.waits_since.after(policy.waits_ms())),
            Stage::Active(lease) => Some(lease.tick_at(asks, self.has_step())),
            Stage::Paused { .. } | Stage::Asking | Stage::Joining { .. } => None,
        }
    }

    /// The first output that a rewind would supersede now; 0 where there is none.
    pub(super) fn rewindable(&self) -> Serial {
        self.lease().and_then(|lease| lease.mark).unwrap_or_else(|| self.first_of_step())
    }

    /// The first output of the step under way, or of the turn, that is not superseded; 0 where there is none.
    fn first_of_step(&self) -> Serial {
        self.step.as_ref().map_or(self.output.first, |step| step.first)
    }

    /// Whether what its worker puts out from now on can be superseded by itself.
    pub(super) fn set_mark(&mut self, mark: bool) {
        if let Stage::Active(lease) = &mut self.stage {
            lease.mark = mark.then_some(Serial::ZERO);
        }
    }

    /// Remembers its newest output.
    pub(super) fn put_out(&mut self, serial: Serial) {
        self.output.last = serial;
        for first in self.firsts().into_iter().flatten() {
            if *first == Serial::ZERO {
                *first = serial;
            }
        }
    }

    /// Its output from this place on is superseded.
    pub(super) fn forget_from(&mut self, from: Serial) {
        for first in self.firsts().into_iter().flatten() {
            if from <= *first {
                *first = Serial::ZERO;
            }
        }
    }

    /// The first output of the turn, of its step, and since its worker's mark.
    fn firsts(&mut self) -> [Option<&mut Serial>; 3] {
        let mark = match &mut self.stage {
            Stage::Active(lease) => lease.mark.as_mut(),
            _ => None,
        };
        let step = self.step.as_mut().map(|step| &mut step.first);
        [Some(&mut self.output.first), step, mark]
    }

    /// Forgives its failures, where output stays for which they were not in vain.
    pub(super) fn keep_output(&mut self) {
        if self.first_of_step() != Serial::ZERO {
            (self.failures, self.throttled) = (0, false);
        }
    }

    /// Whether there is a step that the worker can be signalled to end.
    pub(super) fn has_step(&self) -> bool {
        self.step.as_ref().is_some_and(|step| !step.cancelled)
    }

    /// The last input that a worker has, from its assignment or by its own report.
    pub(super) fn taken_in(&self) -> Serial {
        self.lease().map_or(self.consumed, |lease| lease.given.max(self.consumed))
    }

    /// Lets workers have it from now on.
    pub(super) fn offer(&mut self, now: Millis) {
        self.stage = Stage::Waiting { from: now };
        (self.waits_since, self.throttled) = (now, false);
    }

    /// Takes the worker away, where it chose to go or is to rest.
    pub(super) fn vacate(&mut self, stage: Stage) {
        self.emitted = self.emitted();
        self.stage = stage;
    }

    /// Takes the worker away; returns when the turn is to be given to another, which is after `wait_ms` at the
    /// earliest, or that it is enough.
    pub(super) fn lose(&mut self, cause: Cause, now: Millis, wait_ms: u64) -> Option<Millis> {
        self.emitted = self.emitted();
        self.lost = Some(cause);
        let had_ms = self.lease().map_or(0, |lease| now.since(lease.since));
        let before = if had_ms < limits::BACK_OFF_MS_MAX { self.losses } else { 0 };
        self.losses = before.saturating_add(1);
        if !matches!(cause, Cause::Released | Cause::Throttled) {
            self.failures += 1;
        }
        if self.failures_max <= self.failures {
            return None;
        }
        // The first successor comes at once, the later ones ever later.
        let again = match self.losses {
            0 | 1 => 0,
            more => limits::BACK_OFF_MS.saturating_mul(1 << (more - 2).min(16)),
        };
        let wait_ms = wait_ms.min(limits::RETRY_AFTER_MS_MAX);
        let from = now.after(again.min(limits::BACK_OFF_MS_MAX).max(wait_ms));
        self.stage = Stage::Waiting { from };
        // No attempt counts where there is never room for one: then the turn's time to wait ends it.
        if cause != Cause::Throttled || !self.throttled {
            self.waits_since = from;
        }
        self.throttled = cause == Cause::Throttled;
        Some(from)
    }
}

impl TurnLease {
    fn tick_at(&self, asks: bool, has_step: bool) -> Millis {
        let silent = self.last_seen_at.after(self.lease_ms);
        if asks {
            return silent;
        }
        let progress_timeout_ms = match (self.stalled, has_step && !self.step_cancelled) {
            (false, _) => self.progress_timeout_ms,
            (true, true) => self.step_cancelled_after_ms(),
            (true, false) => self.lost_after_ms(),
        };
        silent.min(self.progress_at.after(progress_timeout_ms))
    }

    /// How long it may be without progress before the step under way is taken from it.
    fn step_cancelled_after_ms(&self) -> u64 {
        self.progress_timeout_ms.saturating_add(self.progress_timeout_ms / 2)
    }

    /// How long it may be without progress before another takes its place.
    fn lost_after_ms(&self) -> u64 {
        self.progress_timeout_ms.saturating_mul(2)
    }

    /// What has become of the worker by now, if anything has.
    pub(super) fn judged(&self, now: Millis, asks: bool, has_step: bool) -> Option<Judgement> {
        if self.last_seen_at.after(self.lease_ms) <= now {
            return Some(Judgement::Lost(Cause::Silent));
        }
        if asks {
            return None;
        }
        let is_quiet_for = |span_ms| self.progress_at.after(span_ms) <= now;
        if is_quiet_for(self.lost_after_ms()) {
            return Some(Judgement::Lost(Cause::Stalled));
        }
        if !self.stalled {
            return is_quiet_for(self.progress_timeout_ms).then_some(Judgement::Stalled);
        }
        let ends_step =
            has_step && !self.step_cancelled && is_quiet_for(self.step_cancelled_after_ms());
        ends_step.then_some(Judgement::EndsStep)
    }
}

/// What the two clocks show of a worker: whether it lives, and whether it gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Stalled,
    /// It is still stalled: the step under way is taken from it.
    EndsStep,
    Lost(Cause),
}
