//! The turns of a session as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::fact::FrozenPhase;
use super::people::{FrozenControl, FrozenInteraction};
use super::{ThawError, ensure, number_of, numbered};
use crate::ids::{AgentName, Millis, Serial, StepName, TurnId, WorkerName};
use crate::limits;
use crate::session::command::Phase;
use crate::session::control::Control;
use crate::session::fact::Rest;
use crate::session::outcome::AudienceStatus;
use crate::session::turn::{Outputs, Seat, Spoke, Stage, Step, Turn};
use crate::session::work::{Interaction, Known, Work};

/// The work of a session, as in [`super::FrozenLive`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenWork<'a> {
    pub turns: Vec<FrozenTurn<'a>>,
    pub inputs: Vec<FrozenKnown<'a>>,
    pub cancels: Vec<Cow<'a, str>>,
    pub epoch: u64,
    pub interactions: Vec<FrozenInteraction<'a>>,
    pub control: FrozenControl<'a>,
    /// Watchers, controllers, since.
    pub audience: Option<(u32, u32, u64)>,
}

/// Input, turn where it is another, serial, digest, how far the turn's last worker came, and whether it waits for one.
type FrozenKnown<'a> = (Cow<'a, str>, Option<Cow<'a, str>>, u64, u64, Option<(u64, u64)>, bool);

/// See [`FrozenWork`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenTurn<'a> {
    pub id: Cow<'a, str>,
    pub agent: Cow<'a, str>,
    pub input: u64,
    pub spoken: u64,
    pub delivered: u64,
    pub heard: u64,
    pub waits_since: u64,
    pub attempts: u32,
    pub failures: u32,
    pub failures_max: u32,
    pub losses: u32,
    pub quiet_ms: Option<u64>,
    pub stage: FrozenStage<'a>,
    pub pausing: Option<u8>,
    /// First and last serial, bytes.
    pub output: (u64, u64, u64),
    /// Name, attempt, first serial, cancelled.
    pub step: Option<(Cow<'a, str>, u32, u64, bool)>,
    /// Epoch and requests of the last seat that was lost.
    pub spoke: Option<(u64, u64)>,
    pub checkpoint: Option<Bytes>,
}

/// See [`FrozenTurn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenStage<'a> {
    Waiting { from: u64 },
    Active(FrozenSeat<'a>),
    Paused { reason: u8 },
    Asking,
}

/// See [`FrozenTurn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenSeat<'a> {
    pub worker: Cow<'a, str>,
    pub key: u64,
    pub epoch: u64,
    pub seq: u64,
    pub given: u64,
    pub lease_ms: u64,
    pub since: u64,
    pub spoke: bool,
    pub alive_at: u64,
    pub progress_at: u64,
    pub quiet_ms: u64,
    pub usual_quiet_ms: u64,
    pub stalled: bool,
    pub step_cancelled: bool,
    pub phase: FrozenPhase<'a>,
}

impl Work {
    pub(super) fn freeze(&self) -> FrozenWork<'_> {
        FrozenWork {
            turns: self.turns.iter().map(Turn::freeze).collect(),
            inputs: self.inputs.iter().map(Known::freeze).collect(),
            cancels: self.cancels.iter().map(|turn| turn.as_str().into()).collect(),
            epoch: self.epoch,
            interactions: self.interactions.iter().map(Interaction::freeze).collect(),
            control: self.control.freeze(),
            audience: self
                .audience
                .map(|audience| (audience.watchers, audience.controllers, audience.since.0)),
        }
    }

    pub(super) fn thaw(frozen: FrozenWork<'_>, tail: Serial) -> Result<Work, ThawError> {
        ensure(frozen.turns.len() <= limits::TURNS, "the number of turns")?;
        let epoch = frozen.epoch;
        let turns = frozen.turns.into_iter().map(|turn| Turn::thaw(turn, tail, epoch));
        let turns: Vec<Turn> = turns.collect::<Result<_, _>>()?;
        let inputs =
            frozen.inputs.into_iter().map(|(input, turn, serial, digest, spoke, pending)| {
                ensure(serial <= tail.0, "the place of an input")?;
                let turn = TurnId::parse(turn.as_ref().unwrap_or(&input))?;
                let (input, serial) = (TurnId::parse(&input)?, Serial(serial));
                Ok(Known { input, turn, serial, digest, spoke: spoke.map(Spoke::thaw), pending })
            });
        ensure(frozen.cancels.len() <= limits::CANCELS, "the number of cancels")?;
        let cancels = frozen.cancels.into_iter().map(|turn| TurnId::parse(&turn));
        Interaction::check_count(frozen.interactions.len())?;
        let interactions = frozen.interactions.into_iter();
        let interactions = interactions.map(|asked| Interaction::thaw(asked, tail));
        let audience = frozen.audience.map(|(watchers, controllers, since)| AudienceStatus {
            watchers,
            controllers,
            since: Millis(since),
        });
        Ok(Work {
            turns,
            inputs: inputs.collect::<Result<_, ThawError>>()?,
            cancels: cancels.collect::<Result<_, _>>()?,
            epoch,
            interactions: interactions.collect::<Result<_, _>>()?,
            control: Control::thaw(frozen.control, tail)?,
            audience,
        })
    }
}

impl Known {
    fn freeze(&self) -> FrozenKnown<'_> {
        let turn = (self.turn != self.input).then(|| self.turn.as_str().into());
        let spoke = self.spoke.map(Spoke::freeze);
        (self.input.as_str().into(), turn, self.serial.0, self.digest, spoke, self.pending)
    }
}

impl Turn {
    fn freeze(&self) -> FrozenTurn<'_> {
        FrozenTurn {
            id: self.id.as_str().into(),
            agent: self.agent.as_str().into(),
            input: self.input.0,
            spoken: self.spoken.0,
            delivered: self.delivered.0,
            heard: self.heard.0,
            waits_since: self.waits_since.0,
            attempts: self.attempts,
            failures: self.failures,
            failures_max: self.failures_max,
            losses: self.losses,
            quiet_ms: self.quiet_ms,
            stage: match &self.stage {
                Stage::Waiting { from } => FrozenStage::Waiting { from: from.0 },
                Stage::Active(seat) => FrozenStage::Active(FrozenSeat {
                    worker: seat.worker.as_str().into(),
                    key: seat.key,
                    epoch: seat.epoch,
                    seq: seat.seq,
                    given: seat.given.0,
                    lease_ms: seat.lease_ms,
                    since: seat.since.0,
                    spoke: seat.spoke,
                    alive_at: seat.alive_at.0,
                    progress_at: seat.progress_at.0,
                    quiet_ms: seat.quiet_ms,
                    usual_quiet_ms: seat.usual_quiet_ms,
                    stalled: seat.stalled,
                    step_cancelled: seat.step_cancelled,
                    phase: seat.phase.freeze(),
                }),
                Stage::Paused { reason } => {
                    FrozenStage::Paused { reason: number_of(&Rest::ALL, *reason) }
                }
                Stage::Asking => FrozenStage::Asking,
            },
            pausing: self.pausing.map(|reason| number_of(&Rest::ALL, reason)),
            output: (self.output.first.0, self.output.last.0, self.output.bytes),
            step: self.step.as_ref().map(|step| {
                (step.name.as_str().into(), step.attempt, step.first.0, step.cancelled)
            }),
            spoke: self.spoke.map(Spoke::freeze),
            checkpoint: self.checkpoint.clone(),
        }
    }

    fn thaw(frozen: FrozenTurn<'_>, tail: Serial, epoch: u64) -> Result<Turn, ThawError> {
        let in_order = 1 <= frozen.input
            && frozen.input <= frozen.spoken
            && frozen.spoken <= tail.0
            && frozen.heard <= frozen.delivered
            && frozen.delivered <= frozen.spoken;
        ensure(in_order, "the inputs of a turn")?;
        let rest = |number| numbered(&Rest::ALL, number, "a reason to rest");
        let stage = match frozen.stage {
            FrozenStage::Waiting { from } => Stage::Waiting { from: Millis(from) },
            FrozenStage::Active(seat) => {
                ensure(seat.epoch <= epoch, "the epoch of a seat")?;
                Stage::Active(Seat {
                    worker: WorkerName::parse(&seat.worker)?,
                    key: seat.key,
                    epoch: seat.epoch,
                    seq: seat.seq,
                    given: Serial(seat.given),
                    lease_ms: seat.lease_ms,
                    since: Millis(seat.since),
                    spoke: seat.spoke,
                    alive_at: Millis(seat.alive_at),
                    progress_at: Millis(seat.progress_at),
                    quiet_ms: seat.quiet_ms,
                    usual_quiet_ms: seat.usual_quiet_ms,
                    stalled: seat.stalled,
                    step_cancelled: seat.step_cancelled,
                    phase: Phase::thaw(seat.phase)?,
                })
            }
            FrozenStage::Paused { reason } => Stage::Paused { reason: rest(reason)? },
            FrozenStage::Asking => Stage::Asking,
        };
        let (first, last, bytes) = frozen.output;
        let step = frozen.step.map(|(name, attempt, first, cancelled)| {
            let name = StepName::parse(&name)?;
            Ok::<_, ThawError>(Step { name, attempt, first: Serial(first), cancelled })
        });
        Ok(Turn {
            id: TurnId::parse(&frozen.id)?,
            agent: AgentName::parse(&frozen.agent)?,
            input: Serial(frozen.input),
            spoken: Serial(frozen.spoken),
            delivered: Serial(frozen.delivered),
            heard: Serial(frozen.heard),
            waits_since: Millis(frozen.waits_since),
            attempts: frozen.attempts,
            failures: frozen.failures,
            failures_max: frozen.failures_max,
            losses: frozen.losses,
            quiet_ms: frozen.quiet_ms,
            stage,
            pausing: frozen.pausing.map(rest).transpose()?,
            output: Outputs { first: Serial(first), last: Serial(last), bytes },
            step: step.transpose()?,
            spoke: frozen.spoke.map(Spoke::thaw),
            checkpoint: frozen.checkpoint,
        })
    }
}

impl Spoke {
    fn freeze(self) -> (u64, u64) {
        (self.epoch, self.requests)
    }

    fn thaw((epoch, requests): (u64, u64)) -> Spoke {
        Spoke { epoch, requests }
    }
}
