//! What a command did. What it may be refused for is in [`crate::refusal`].

use serde::{Deserialize, Serialize};

use super::control::Mode;
use super::status::TurnStatus;
use crate::ids::{ControlEpoch, Incarnation, Millis, Serial, TurnId};

/// What a command did. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The session lives; `created` is false where it already did. `closed`: it takes no events.
    Created { incarnation: Incarnation, created: bool, closed: bool },
    /// The events `first..=last` are in the log.
    ///
    /// `duplicate`: they have been since an earlier request; the places are absent where they are
    /// forgotten. `closed`: this very request closed the session. `seq`: the producer's last request
    /// that was accepted; where each event is a request, the last one of these that is in the log.
    Appended {
        first: Option<Serial>,
        last: Option<Serial>,
        duplicate: bool,
        closed: bool,
        seq: Option<u64>,
    },
    /// The session is closed after `tail`; `duplicate` where it already was, and `again` where this
    /// very request had closed it.
    Closed { tail: Serial, duplicate: bool, again: bool },
    /// The session and its log are no more.
    Deleted { incarnation: Incarnation, reason: DeleteReason },
    /// The time to live ends at `until`, if ever.
    Touched { until: Option<Millis> },
    /// The log now begins at `first`.
    Trimmed { first: Serial },
    /// Nothing was due.
    Unchanged,
    /// What was due has happened.
    Ticked,
    /// The log up to `at` is kept for the fork, if it begins before `until`.
    Held { at: Serial, until: Millis },
    /// The input is in the log at `serial`, and is of this turn; `duplicate`: it was before.
    Input { turn: TurnId, serial: Serial, duplicate: bool },
    /// The worker has the turn.
    Claimed { turn: Box<TurnStatus> },
    /// What was said is in the log at these places, where anything was; `duplicate`: it was before.
    /// `over`: the turn is. `spoken`: the last input of the turn.
    Said { places: Option<(Serial, Serial)>, duplicate: bool, over: bool, spoken: Serial },
    /// So many turns were ended by this request.
    Cancelled { turns: usize },
    /// The hold or pending release is settled; nothing more is to be done for it.
    Settled,
    /// The turn was taken from the worker, if it was still its own.
    Lost { was: bool },
    /// The answer is in the log at `serial`; `duplicate`: it was before.
    Answered { turn: TurnId, serial: Serial, duplicate: bool },
    /// So many people have had control, and how they are answered now. `serial`: the tail.
    Control { epoch: ControlEpoch, mode: Mode, serial: Serial },
    /// So many turns rest or go on, or are asked to, by this request.
    Paused { turns: usize },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteReason {
    /// Somebody asked for it.
    Asked,
    /// Its time to live was over.
    Expired,
}
