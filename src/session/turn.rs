//! One turn, from the input that asked for it to its end (S4, S5, S9).

use super::fact::Cause;
use crate::ids::{AgentName, Millis, Serial, TurnId, WorkerName};
use crate::limits;

/// A turn that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) id: TurnId,
    pub(super) agent: AgentName,
    /// Its first input.
    pub(super) input: Serial,
    /// Its last input.
    pub(super) spoken: Serial,
    /// Its last input that a worker has taken in.
    pub(super) heard: Serial,
    /// Since when it could have had a worker and has none.
    pub(super) waits_since: Millis,
    /// Workers that have had it.
    pub(super) attempts: u32,
    /// Workers in a row that were lost without any output.
    pub(super) failures: u32,
    pub(super) stage: Stage,
    /// The last seat that was lost: what it had said is known again.
    pub(super) spoke: Option<Spoke>,
    /// What the last worker left for the next; see [`limits::CHECKPOINT_BYTES`].
    pub(super) checkpoint: Option<bytes::Bytes>,
}

/// How far a seat came that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spoke {
    pub(super) epoch: u64,
    /// Requests that it said something with.
    pub(super) requests: u64,
}

impl Spoke {
    /// Whether this request was taken.
    pub(super) fn has(self, epoch: u64, seq: Option<u64>) -> bool {
        self.epoch == epoch && seq.is_some_and(|seq| seq < self.requests)
    }
}

/// Where a turn stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For a worker to take it, from this time on.
    Waiting {
        from: Millis,
    },
    Active(Seat),
}

/// The right of one worker to speak in a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) worker: WorkerName,
    /// The number of the claim, drawn by chance: the same claim again is no other.
    pub(super) key: u64,
    /// No other seat of this session's life has it, and later ones have greater ones (S4).
    pub(super) epoch: u64,
    /// The number of the worker's next request that says something.
    pub(super) seq: u64,
    pub(super) lease_ms: u64,
    /// When it was last heard of.
    pub(super) alive_at: Millis,
    /// When it last said something.
    pub(super) progress_at: Millis,
    /// How long it may say nothing.
    pub(super) quiet_ms: u64,
    /// Whether it was told of that it is stalled.
    pub(super) stalled: bool,
}

impl Turn {
    pub(super) fn new(id: TurnId, agent: AgentName, input: Serial, now: Millis) -> Turn {
        Turn {
            id,
            agent,
            input,
            spoken: input,
            heard: Serial(input.0 - 1),
            waits_since: now,
            attempts: 0,
            failures: 0,
            stage: Stage::Waiting { from: now },
            spoke: None,
            checkpoint: None,
        }
    }

    /// How far the last seat came.
    pub(super) fn spoke(&self) -> Option<Spoke> {
        let seat = self.seat().map(|seat| Spoke { epoch: seat.epoch, requests: seat.seq });
        seat.or(self.spoke)
    }

    pub(super) fn seat(&self) -> Option<&Seat> {
        match &self.stage {
            Stage::Active(seat) => Some(seat),
            Stage::Waiting { .. } => None,
        }
    }

    /// When a tick changes something about it.
    pub(super) fn tick_at(&self) -> Millis {
        match &self.stage {
            Stage::Waiting { .. } => self.waits_since.after(limits::WAIT_MS),
            Stage::Active(seat) => seat.tick_at(),
        }
    }

    /// Takes the worker away; says when the turn is to be given to another, or that it is enough.
    pub(super) fn lose(&mut self, cause: Cause, now: Millis) -> Option<Millis> {
        self.spoke = self.spoke();
        if cause != Cause::Released {
            self.failures += 1;
        }
        if limits::ATTEMPTS <= self.failures {
            return None;
        }
        // The first successor comes at once, the later ones ever later.
        let again = match self.failures {
            0 | 1 => 0,
            more => limits::BACK_OFF_MS.saturating_mul(1 << (more - 2).min(16)),
        };
        let from = now.after(again.min(limits::BACK_OFF_MS_MAX));
        self.stage = Stage::Waiting { from };
        self.waits_since = from;
        Some(from)
    }
}

impl Seat {
    fn tick_at(&self) -> Millis {
        let quiet_ms = if self.stalled { self.quiet_ms.saturating_mul(2) } else { self.quiet_ms };
        let stalls = self.progress_at.after(quiet_ms);
        stalls.min(self.alive_at.after(self.lease_ms))
    }

    /// What has become of the worker by now, if anything has.
    pub(super) fn judged(&self, now: Millis) -> Option<Judgement> {
        if self.alive_at.after(self.lease_ms) <= now {
            return Some(Judgement::Lost(Cause::Silent));
        }
        if self.progress_at.after(self.quiet_ms.saturating_mul(2)) <= now {
            return Some(Judgement::Lost(Cause::Stalled));
        }
        (!self.stalled && self.progress_at.after(self.quiet_ms) <= now)
            .then_some(Judgement::Stalled)
    }
}

/// What the two clocks say of a worker: whether it lives, and whether it gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Stalled,
    Lost(Cause),
}
