//! What an event of the log means to whoever shows an answer as it comes, in no dialect.

use std::fmt;

use super::super::content::Call;
use super::question::Question;
use crate::ids::{InteractionId, Serial};
use crate::session::{End, Format};

/// Name of a part of an answer: the place of the event that began it, and its number among those of that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartId {
    pub(super) serial: Serial,
    pub(super) number: usize,
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => write!(f, "{}", self.serial.0),
            number => write!(f, "{}.{number}", self.serial.0),
        }
    }
}

/// What sort of running text a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Reasoning,
}

/// The next of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Delta {
    /// The input is there. `answered`: a turn answers it, or is to; else a person has control.
    Accepted {
        answered: bool,
    },
    /// A worker has the turn.
    Started,
    /// What follows is a step of its own.
    Step,
    /// The output from a place on is superseded by what follows: all since the last step where `since_step`, else
    /// more than that, or less.
    Rewound {
        since_step: bool,
        from: Serial,
    },
    /// A text begins.
    Begins(PartId, Kind),
    /// It goes on.
    Goes(PartId, Kind, String),
    /// It is whole. `extra`: JSON of the dialect that it came in, a signature for example.
    Ends(PartId, Kind, Option<String>),
    /// A call of a tool begins; its arguments are still to come. Where it had begun, those that came are no more.
    CallBegins(PartId, Call),
    /// More of its arguments.
    CallGoes(PartId, Call, String),
    /// Its arguments are whole.
    CallReady(PartId, Call),
    /// Something came of it; where it is `preliminary`, more is to come, which takes its place.
    CallResult {
        part: PartId,
        call: Call,
        preliminary: bool,
    },
    File {
        media: String,
        url: String,
    },
    /// Something that is of none of these kinds: JSON of this format.
    Other {
        format: Format,
        json: String,
    },
    /// What an endpoint sent about its message: JSON.
    Metadata(String),
    /// There is a question for people.
    Question(Question),
    /// A person has answered it. `answer` is JSON.
    Answered {
        interaction: InteractionId,
        answer: String,
    },
    /// No answer to it is taken any more.
    Expired {
        interaction: InteractionId,
    },
    /// The turn waits for people.
    Waits,
    Ended(End),
}
