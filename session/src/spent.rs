//! What later lives of a name may not use again: numbers that fence grow over all of them (S4, S11).
//!
//! Whoever sent output, wrote or held control in a life that is over knows the number that let it. Were it given
//! again, the old one would be taken for the new one.

use serde::{Deserialize, Serialize};

use super::live::Live;
use super::producers::Producers;
use crate::ids::{ControlEpoch, TurnEpoch};

/// The numbers that the lives of a name have used so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    /// The last epoch that was given to the worker of a turn.
    pub(super) turn_epoch: TurnEpoch,
    /// The last epoch of control.
    pub(super) control_epoch: ControlEpoch,
    /// Who wrote, and in which epoch last.
    pub(super) producers: Producers,
}

impl Spent {
    /// What is used up once this life is over.
    pub(super) fn by(live: &Live) -> Spent {
        Spent {
            turn_epoch: live.work.epoch,
            control_epoch: live.work.control.epoch,
            producers: live.producers.spent(),
        }
    }
}
