//! The turns of a session as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ThawError, ensure};
use crate::ids::{AgentName, Millis, Serial, TurnId, WorkerName};
use crate::limits;
use crate::session::turn::{Seat, Spoke, Stage, Turn};
use crate::session::work::{Known, Work};

/// The work of a session, as in [`super::FrozenLive`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenWork<'a> {
    pub turns: Vec<FrozenTurn<'a>>,
    pub inputs: Vec<FrozenKnown<'a>>,
    pub epoch: u64,
}

/// Input, turn where it is another, serial, and how far the turn's last worker came.
type FrozenKnown<'a> = (Cow<'a, str>, Option<Cow<'a, str>>, u64, Option<(u64, u64)>);

/// See [`FrozenWork`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenTurn<'a> {
    pub id: Cow<'a, str>,
    pub agent: Cow<'a, str>,
    pub input: u64,
    pub spoken: u64,
    pub heard: u64,
    pub waits_since: u64,
    pub attempts: u32,
    pub failures: u32,
    pub stage: FrozenStage<'a>,
    /// Epoch and requests of the last seat that was lost.
    pub spoke: Option<(u64, u64)>,
    pub checkpoint: Option<Bytes>,
}

/// See [`FrozenTurn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenStage<'a> {
    Waiting { from: u64 },
    Active(FrozenSeat<'a>),
}

/// See [`FrozenTurn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenSeat<'a> {
    pub worker: Cow<'a, str>,
    pub key: u64,
    pub epoch: u64,
    pub seq: u64,
    pub lease_ms: u64,
    pub alive_at: u64,
    pub progress_at: u64,
    pub quiet_ms: u64,
    pub stalled: bool,
}

impl Work {
    pub(super) fn freeze(&self) -> FrozenWork<'_> {
        FrozenWork {
            turns: self.turns.iter().map(Turn::freeze).collect(),
            inputs: self.inputs.iter().map(Known::freeze).collect(),
            epoch: self.epoch,
        }
    }

    pub(super) fn thaw(frozen: FrozenWork<'_>, tail: Serial) -> Result<Work, ThawError> {
        ensure(frozen.turns.len() <= limits::TURNS, "the number of turns")?;
        let epoch = frozen.epoch;
        let turns = frozen.turns.into_iter().map(|turn| Turn::thaw(turn, tail, epoch));
        let turns: Vec<Turn> = turns.collect::<Result<_, _>>()?;
        let inputs = frozen.inputs.into_iter().map(|(input, turn, serial, spoke)| {
            ensure(serial <= tail.0, "the place of an input")?;
            let turn = TurnId::parse(turn.as_ref().unwrap_or(&input))?;
            let (input, serial) = (TurnId::parse(&input)?, Serial(serial));
            Ok(Known { input, turn, serial, spoke: spoke.map(Spoke::thaw) })
        });
        Ok(Work { turns, inputs: inputs.collect::<Result<_, ThawError>>()?, epoch })
    }
}

impl Known {
    fn freeze(&self) -> FrozenKnown<'_> {
        let turn = (self.turn != self.input).then(|| self.turn.as_str().into());
        let spoke = self.spoke.map(Spoke::freeze);
        (self.input.as_str().into(), turn, self.serial.0, spoke)
    }
}

impl Turn {
    fn freeze(&self) -> FrozenTurn<'_> {
        FrozenTurn {
            id: self.id.as_str().into(),
            agent: self.agent.as_str().into(),
            input: self.input.0,
            spoken: self.spoken.0,
            heard: self.heard.0,
            waits_since: self.waits_since.0,
            attempts: self.attempts,
            failures: self.failures,
            stage: match &self.stage {
                Stage::Waiting { from } => FrozenStage::Waiting { from: from.0 },
                Stage::Active(seat) => FrozenStage::Active(FrozenSeat {
                    worker: seat.worker.as_str().into(),
                    key: seat.key,
                    epoch: seat.epoch,
                    seq: seat.seq,
                    lease_ms: seat.lease_ms,
                    alive_at: seat.alive_at.0,
                    progress_at: seat.progress_at.0,
                    quiet_ms: seat.quiet_ms,
                    stalled: seat.stalled,
                }),
            },
            spoke: self.spoke.map(Spoke::freeze),
            checkpoint: self.checkpoint.clone(),
        }
    }

    fn thaw(frozen: FrozenTurn<'_>, tail: Serial, epoch: u64) -> Result<Turn, ThawError> {
        let in_order = 1 <= frozen.input
            && frozen.input <= frozen.spoken
            && frozen.spoken <= tail.0
            && frozen.heard <= frozen.spoken;
        ensure(in_order, "the inputs of a turn")?;
        let stage = match frozen.stage {
            FrozenStage::Waiting { from } => Stage::Waiting { from: Millis(from) },
            FrozenStage::Active(seat) => {
                ensure(seat.epoch <= epoch, "the epoch of a seat")?;
                Stage::Active(Seat {
                    worker: WorkerName::parse(&seat.worker)?,
                    key: seat.key,
                    epoch: seat.epoch,
                    seq: seat.seq,
                    lease_ms: seat.lease_ms,
                    alive_at: Millis(seat.alive_at),
                    progress_at: Millis(seat.progress_at),
                    quiet_ms: seat.quiet_ms,
                    stalled: seat.stalled,
                })
            }
        };
        Ok(Turn {
            id: TurnId::parse(&frozen.id)?,
            agent: AgentName::parse(&frozen.agent)?,
            input: Serial(frozen.input),
            spoken: Serial(frozen.spoken),
            heard: Serial(frozen.heard),
            waits_since: Millis(frozen.waits_since),
            attempts: frozen.attempts,
            failures: frozen.failures,
            stage,
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
