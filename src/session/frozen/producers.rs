//! The writers of a session as plain data.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ThawError, ensure};
use crate::ids::{Millis, ProducerId, Serial};
use crate::limits;
use crate::session::producers::{Producer, Producers, Run};

/// See [`super::Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenProducer<'a> {
    pub id: Cow<'a, str>,
    pub epoch: u64,
    pub seq: u64,
    pub used: u64,
    /// Seq, serial, events of each request, requests.
    pub runs: Vec<(u64, u64, u32, u32)>,
}

impl Producers {
    pub(super) fn freeze(&self) -> Vec<FrozenProducer<'_>> {
        self.all.iter().map(Producer::freeze).collect()
    }

    pub(super) fn thaw(
        frozen: Vec<FrozenProducer<'_>>,
        tail: Serial,
        clock: Millis,
    ) -> Result<Producers, ThawError> {
        ensure(frozen.len() <= limits::PRODUCERS, "the number of producers")?;
        let thawed = frozen.into_iter().map(|producer| Producer::thaw(producer, tail, clock));
        let all: Vec<Producer> = thawed.collect::<Result<_, _>>()?;
        ensure(all.windows(2).all(|pair| pair[0].id < pair[1].id), "the order of the producers")?;
        Ok(Producers { all })
    }
}

impl Producer {
    fn freeze(&self) -> FrozenProducer<'_> {
        FrozenProducer {
            id: self.id.as_str().into(),
            epoch: self.epoch,
            seq: self.seq,
            used: self.used.0,
            runs: self
                .runs
                .iter()
                .map(|run| (run.seq, run.serial.0, run.events, run.length))
                .collect(),
        }
    }

    fn thaw(
        frozen: FrozenProducer<'_>,
        tail: Serial,
        clock: Millis,
    ) -> Result<Producer, ThawError> {
        ensure(frozen.used <= clock.0, "the time of a producer")?;
        ensure(frozen.runs.len() <= limits::PRODUCER_RUNS, "the number of runs")?;
        // Where the next run must begin: its seq exactly, its serial at the earliest. Without a run, one that
        // ends at 0 lies before.
        let mut seq = frozen.runs.first().map_or(1, |run| run.0);
        let mut serial = 1;
        for &(run_seq, run_serial, events, length) in &frozen.runs {
            // A seq may end at 2^64 - 1, so what comes behind it is counted wider.
            ensure(run_seq == seq && serial <= run_serial && 1 <= length, "a run")?;
            let last = run_seq.checked_add(u64::from(length) - 1);
            let behind = u128::from(run_serial) + u128::from(events) * u128::from(length);
            ensure(behind <= u128::from(tail.0) + 1, "the place of a run")?;
            let last = last.ok_or(ThawError::Range("the seq of a run"))?;
            seq = last.wrapping_add(1);
            serial = u64::try_from(behind).map_err(|_| ThawError::Range("the place of a run"))?;
        }
        ensure(seq == frozen.seq.wrapping_add(1), "the seq of a producer")?;
        let runs = frozen.runs.into_iter().map(|(seq, serial, events, length)| Run {
            seq,
            serial: Serial(serial),
            events,
            length,
        });
        Ok(Producer {
            id: ProducerId::parse(&frozen.id)?,
            epoch: frozen.epoch,
            seq: frozen.seq,
            used: Millis(frozen.used),
            runs: runs.collect(),
        })
    }
}
