//! How a worker leaves its turns, and how the session learns of it.

use std::time::Duration;

use crate::ids::{TurnEpoch, TurnId};
use crate::limits::DETAIL_BYTES;
use crate::session::{Cause, Command, Lose, Then, TurnOutput, TurnReport};

/// Why an attempt at a turn came to nothing, by no fault of the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokeOff {
    /// A description of the failure.
    pub detail: String,
    /// How long another attempt is to wait at least.
    pub wait: Duration,
    /// There was no room for it: it costs the turn no attempt.
    pub throttled: bool,
}

/// How a worker leaves the turns that it still has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Its connection ended.
    Disconnected,
    /// What it relied on broke off.
    BrokeOff(BrokeOff),
    /// Its process ended; with a description of the end.
    Exited(String),
    /// It is taken out of service, for this reason.
    Replaced(String),
    /// It gives them back: no fault of anybody.
    Released,
}

impl Leave {
    /// What lets another worker have the turn. `seq`: of the next command with output in this epoch.
    pub(super) fn command(&self, turn: TurnId, epoch: TurnEpoch, seq: u64) -> Command {
        let (cause, detail) = match self {
            Leave::Disconnected => (Cause::Disconnected, ""),
            Leave::BrokeOff(BrokeOff { detail, throttled: true, .. }) => {
                (Cause::Throttled, &**detail)
            }
            Leave::BrokeOff(BrokeOff { detail, .. }) => (Cause::Disconnected, &**detail),
            Leave::Exited(detail) => (Cause::Exited, &**detail),
            Leave::Replaced(detail) => (Cause::Replaced, &**detail),
            Leave::Released => {
                let output = TurnOutput { seq, then: Then::Release, ..TurnOutput::default() };
                return Command::Report(Box::new(TurnReport {
                    output: Some(output),
                    ..TurnReport::new(turn, epoch)
                }));
            }
        };
        // The end is what matters of a long detail.
        let from = detail.ceil_char_boundary(detail.len().saturating_sub(DETAIL_BYTES));
        let detail = detail[from..].to_owned();
        let wait = match self {
            Leave::BrokeOff(BrokeOff { wait, .. }) => *wait,
            _ => Duration::ZERO,
        };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Command::Lose(Box::new(Lose { turn, epoch, cause, wait_ms, detail }))
    }
}
