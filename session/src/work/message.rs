//! Where messages begin, so that each event says by itself which message it is of.
//!
//! An input is a message, and so is what a person with control says. Output of a turn is one message until another
//! step begins, somebody speaks, it turns internal or public, or all of it is superseded; what the turn asks people
//! is part of it. The event that begins a message names the one that began before it, so that whoever reads backward
//! need not read what lies between.

use serde::{Deserialize, Serialize};

use crate::ids::{Serial, StepName};
use crate::turn::Turn;
use crate::work::Work;

/// The message that a turn's next output goes on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenMessage {
    pub(crate) first: Serial,
    /// Where the message before it begins.
    previous: Serial,
    step: Option<StepName>,
    internal: bool,
    /// A question is part of it, which stays whatever is superseded.
    asks: bool,
}

impl Work {
    /// A message begins with the event at `first`; says where the one before it began, 0 where none is known.
    pub(crate) fn begin_message(&mut self, first: Serial) -> Serial {
        std::mem::replace(&mut self.message, first)
    }

    /// Where the message begins that an output at `serial` is of, and, where it begins one, where the one before it
    /// began.
    pub(crate) fn message_of_output(
        &mut self,
        at: usize,
        serial: Serial,
        internal: bool,
    ) -> (Serial, Serial) {
        let turn = &mut self.turns[at];
        let step = turn.step.as_ref().map(|step| &step.name);
        let open = turn.message.as_ref();
        if let Some(open) =
            open.filter(|open| open.internal == internal && open.step.as_ref() == step)
        {
            return (open.first, Serial::ZERO);
        }
        let previous = std::mem::replace(&mut self.message, serial);
        let step = step.cloned();
        let asks = false;
        turn.message = Some(OpenMessage { first: serial, previous, step, internal, asks });
        (serial, previous)
    }

    /// The same for a question at `serial`, which is for everyone.
    pub(crate) fn message_of_question(&mut self, at: usize, serial: Serial) -> (Serial, Serial) {
        let begun = self.message_of_output(at, serial, false);
        if let Some(open) = &mut self.turns[at].message {
            open.asks = true;
        }
        begun
    }

    /// Ends the message of a turn whose output from `from` on is superseded, if all of it is.
    pub(crate) fn rewind_message(&mut self, at: usize, from: Serial) {
        let superseded = |open: &mut OpenMessage| from <= open.first;
        let Some(open) = self.turns[at].message.take_if(superseded) else { return };
        // Nobody needs to look at it any more.
        if self.message == open.first && !open.asks {
            self.message = open.previous;
        }
    }

    /// Ends the messages of all turns: somebody spoke.
    pub(crate) fn end_messages(&mut self) {
        self.turns.iter_mut().for_each(Turn::end_message);
    }
}

impl Turn {
    /// Ends its message: what it puts out next begins another one.
    pub(crate) fn end_message(&mut self) {
        self.message = None;
    }
}
