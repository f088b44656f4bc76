//! What a command did. What it may be refused for is in [`crate::refusal`].

use serde::{Deserialize, Serialize};

use super::control::Mode;
use super::cut::Inherited;
use super::files::File;
use super::standing::Standing;
use super::status::TurnStatus;
use crate::ids::{CallEpoch, CallId, ControlEpoch, Incarnation, Millis, Serial, TurnId};

/// What a command did. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The session lives.
    Created {
        /// Its life.
        incarnation: Incarnation,
        /// False where it already lived, under the same configuration.
        created: bool,
        /// It takes no events.
        closed: bool,
    },
    /// The events are in the log.
    Appended {
        /// The first of them; none for a duplicate whose place is forgotten.
        first: Option<Serial>,
        /// The last of them; none for a duplicate whose place is forgotten.
        last: Option<Serial>,
        /// They have been there since an earlier request.
        duplicate: bool,
        /// This very request closed the session.
        closed: bool,
        /// The producer's last request that was accepted; where each event is a request, the last
        /// one of these that is in the log.
        seq: Option<u64>,
    },
    /// The session takes no more events.
    Closed {
        /// Its last event.
        tail: Serial,
        /// It was closed before.
        duplicate: bool,
        /// An earlier try of this very request had closed it.
        again: bool,
    },
    /// The session and its log are no more.
    Deleted {
        /// The life that is over.
        incarnation: Incarnation,
        /// Why it ended.
        reason: DeleteReason,
    },
    /// The time to live began again.
    Touched {
        /// When the session ends if no client touches it, if ever.
        until: Option<Millis>,
    },
    /// Events before a serial are given up.
    Trimmed {
        /// Where the log now begins.
        first: Serial,
    },
    /// Nothing was due.
    Unchanged,
    /// What was due has happened.
    Ticked,
    /// The log is kept for a fork.
    Held {
        /// Last event to be inherited.
        at: Serial,
        /// When the fork must have begun.
        until: Millis,
        /// What the state knows of that place.
        inherited: Box<Inherited>,
    },
    /// The input is in the log.
    Input {
        /// The turn that gets it.
        turn: TurnId,
        /// Its place.
        serial: Serial,
        /// It was there before.
        duplicate: bool,
    },
    /// The worker has the turn.
    Claimed {
        /// The turn, with the lease and its epoch.
        turn: Box<TurnStatus>,
    },
    /// What the worker brought is taken.
    OutputAccepted {
        /// First and last event of it; none where it left none, or where it is a duplicate.
        places: Option<(Serial, Serial)>,
        /// It was taken before.
        duplicate: bool,
        /// The turn is over.
        over: bool,
        /// The last input of the turn.
        last_input: Serial,
        /// The idempotency keys of the calls of tools that it begins.
        tools: Vec<(CallId, u128)>,
    },
    /// Turns were ended, or a step.
    Cancelled {
        /// How many this request ended.
        turns: usize,
    },
    /// The hold or pending release is settled; nothing more is to be done for it.
    Settled,
    /// The worker does not have the turn.
    Lost {
        /// It had it until this request.
        was: bool,
    },
    /// The answer is in the log.
    Answered {
        /// The turn of the question.
        turn: TurnId,
        /// Its place.
        serial: Serial,
        /// It was there before.
        duplicate: bool,
    },
    /// Who has control is as requested.
    Control {
        /// That of whoever has it now.
        epoch: ControlEpoch,
        /// How people are answered now.
        mode: Mode,
        /// The session's last event.
        serial: Serial,
    },
    /// Turns pause or go on, or are to.
    Paused {
        /// How many by this request.
        turns: usize,
    },
    /// The device has the call.
    CallClaimed {
        /// The turn of the question.
        turn: TurnId,
        /// Its fencing token.
        epoch: CallEpoch,
        /// Until when it has the call, unless it renews it.
        until: Millis,
        /// The question's place.
        serial: Serial,
    },
    /// What came of a tool's call is in the log.
    ToolResult {
        /// Its place.
        serial: Serial,
        /// It was there before.
        duplicate: bool,
        /// The worker that made the call did not have its turn any more.
        late: bool,
    },
    /// The device does not have the call.
    CallReleased {
        /// It had it until this request.
        was: bool,
    },
    /// What may still be added to the session is as requested.
    Stands {
        /// What may.
        standing: Standing,
        /// By this request.
        changed: bool,
    },
    /// The file is as requested.
    File {
        /// As it is now; one that was given up as it was.
        file: Box<File>,
        /// By this request.
        changed: bool,
    },
    /// What was brought in is here.
    Imported {
        /// The last event that is here.
        tail: Serial,
        /// The session is there for all.
        complete: bool,
        /// An earlier request has brought this.
        again: bool,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteReason {
    /// A client requested it.
    Requested,
    /// Its time to live was over.
    Expired,
}
