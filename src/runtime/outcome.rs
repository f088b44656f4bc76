//! What came of a request: ok, refused for good, or unknown.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, Serial};
use crate::session::{Applied, Denied, Refusal};

/// A command took effect, and where the session stands after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub applied: Applied,
    /// The life in which it happened.
    pub incarnation: Incarnation,
    /// See [`crate::session::Session::root`].
    pub root: Incarnation,
    /// The session's tail when it was applied.
    pub tail: Serial,
}

impl Reply {
    /// The answer of the try that took effect, whose own answer was lost on the way.
    pub(super) fn of_first_try(mut self) -> Reply {
        match &mut self.applied {
            Applied::Appended { duplicate, .. }
            | Applied::Closed { duplicate, again: true, .. }
            | Applied::Input { duplicate, .. }
            | Applied::OutputAccepted { duplicate, .. } => *duplicate = false,
            Applied::Imported { again, .. } => *again = false,
            _ => {}
        }
        self
    }
}

/// Why there is no answer. Nothing happened, and the same request may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unavailable {
    #[error("no leader with a majority answered in time: {0}")]
    NoQuorum(String),
    #[error("too much work waits on this node")]
    Overloaded,
    #[error("the disk of the leading node is full")]
    DiskFull,
    /// The requester's grant does not allow it, where the session lives. Repeating it changes nothing.
    #[error("{0}")]
    Denied(Denied),
}

/// Why a command has no reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SubmitError {
    /// It changed nothing, committed or too large for that; final.
    #[error("{refusal}")]
    Refused {
        refusal: Refusal,
        /// Where the session stood, if it exists.
        incarnation: Option<Incarnation>,
        root: Option<Incarnation>,
        tail: Serial,
    },
    /// It did not happen.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It may have happened or may yet; safe to repeat with the same producer key.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// It did not happen: where the session lives, the grant that came with it was found not to allow it.
    #[error(transparent)]
    Denied(Denied),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_try_did_is_no_repetition() {
        let place = Some(Serial(3));
        let appended = |duplicate| Applied::Appended {
            first: place,
            last: place,
            duplicate,
            closed: false,
            seq: Some(0),
        };
        let closed = |duplicate, again| Applied::Closed { tail: Serial(3), duplicate, again };
        for (second, first) in [
            (appended(true), appended(false)),
            (closed(true, true), closed(false, true)),
            // Another request had closed it.
            (closed(true, false), closed(true, false)),
        ] {
            let (incarnation, tail) = (Incarnation::FIRST, Serial(3));
            let reply = Reply { applied: second, incarnation, root: incarnation, tail };
            assert_eq!(reply.of_first_try().applied, first);
        }
    }
}
