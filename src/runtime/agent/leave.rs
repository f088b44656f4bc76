//! How a worker leaves its turns, and what the session is told of it.

use crate::ids::{TurnEpoch, TurnId};
use crate::limits::DETAIL_BYTES;
use crate::session::{Cause, Command, Lose, Said, Say, Then};

/// How a worker leaves the turns that it still has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Its connection ended.
    Disconnected,
    /// What it relied on broke off; with what there is to say of it.
    BrokeOff(String),
    /// Its process ended; with what there is to say of it.
    Exited(String),
    /// It is taken out of service, for this reason.
    Replaced(String),
    /// It gives them back: no fault of anybody.
    Released,
}

impl Leave {
    /// What lets another worker have the turn. `seq`: of the next command that says something in this epoch.
    pub(super) fn command(&self, turn: TurnId, epoch: TurnEpoch, seq: u64) -> Command {
        let (cause, detail) = match self {
            Leave::Disconnected => (Cause::Disconnected, ""),
            Leave::BrokeOff(detail) => (Cause::Disconnected, &**detail),
            Leave::Exited(detail) => (Cause::Exited, &**detail),
            Leave::Replaced(detail) => (Cause::Replaced, &**detail),
            Leave::Released => {
                let said = Said { seq, then: Then::Release, ..Said::default() };
                return Command::Say(Box::new(Say { said: Some(said), ..Say::new(turn, epoch) }));
            }
        };
        // The end is what matters of long last words.
        let from = detail.ceil_char_boundary(detail.len().saturating_sub(DETAIL_BYTES));
        let detail = detail[from..].to_owned();
        Command::Lose(Box::new(Lose { turn, epoch, cause, detail }))
    }
}
