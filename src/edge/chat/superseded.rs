//! What of an answer is known to be superseded, for those who read it from its beginning.

use super::question::Asking;
use crate::ids::{Serial, StepName, TurnId};
use crate::limits::ANSWER_REWINDS;
use crate::session::{Event, Fact};

/// Found by reading the log up to a place, before it is read to be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Superseded {
    turn: Option<TurnId>,
    /// What is after this is not known.
    upto: Serial,
    ranges: Vec<(Option<StepName>, Serial, Serial)>,
    /// There are more than can be kept.
    full: bool,
    asking: Asking,
    /// Up to where the agent had come when it last began to wait for people.
    waited: Serial,
    /// The last event of the turn.
    last: Serial,
    /// Where a question of the turn was last answered.
    answered: Serial,
    /// Where the turn last went on.
    moved: Serial,
}

impl Superseded {
    /// Nothing is known yet of this turn.
    pub(super) fn of(turn: &TurnId) -> Superseded {
        Superseded { turn: Some(turn.clone()), ..Superseded::default() }
    }

    pub(super) fn take(&mut self, event: &Event) {
        self.upto = event.serial;
        let fact = event.fact.as_deref().filter(|fact| fact.turn() == self.turn.as_ref());
        if let Some(fact) = fact {
            let waits = self.asking.take(event, fact);
            // An answer that came after a wait is where the turn goes on.
            if waits && !matches!(fact, Fact::Answered { .. }) {
                self.waited = self.last;
            }
            self.last = event.serial;
        }
        match fact {
            Some(Fact::Rewound { step, from, to, .. }) => {
                // Whoever got the oldest as if it stood would get what is not so.
                self.full |= ANSWER_REWINDS <= self.ranges.len();
                if !self.full {
                    self.ranges.push((step.clone(), *from, *to));
                }
            }
            Some(Fact::Answered { .. }) => {
                // Its output while no answer had come yet is sent with what follows.
                let waited = std::mem::take(&mut self.waited);
                self.answered = if waited == Serial::ZERO { event.serial } else { waited };
                self.moved = event.serial;
            }
            Some(Fact::Started { .. } | Fact::Ended { .. }) => self.moved = event.serial,
            _ => {}
        }
    }

    /// Whether more was taken back than can be followed.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the event at this place was read.
    pub(super) fn knows(&self, serial: Serial) -> bool {
        serial <= self.upto
    }

    /// Whether output at this place, of this step, is superseded.
    pub(super) fn has(&self, serial: Serial, step: Option<&StepName>) -> bool {
        let has = |(of, from, to): &(Option<StepName>, Serial, Serial)| {
            *from <= serial && serial <= *to && (of.is_none() || of.as_ref() == step)
        };
        self.ranges.iter().any(has)
    }

    /// Where the turn stood when it last went on after an answer of people; 0 where no answer came.
    pub(super) fn answered(&self) -> Serial {
        self.answered
    }

    /// Whether the turn is known to have gone on after a place.
    pub(super) fn goes_on_after(&self, serial: Serial) -> bool {
        serial < self.moved
    }
}
