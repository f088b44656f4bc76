//! The reports of one epoch on a link: which one comes next, and the outcome of the others (S11).
//!
//! An acknowledgement means that the output is in the log. So one that was refused is not acknowledged when
//! it is sent again, but tried again; and one that is sent twice at once waits for its own outcome.

use std::collections::BTreeSet;

use crate::limits::LINK_REFUSED;
use crate::session::{Refusal, TurnReport};

/// Counts reports by their seqs, from 0.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The seq that comes next.
    next: u64,
    /// Of those below, nothing is under way.
    decided: u64,
    /// Those that were refused and not taken since; the newest [`LINK_REFUSED`].
    refused: BTreeSet<u64>,
    /// Below it, what was refused is forgotten.
    forgotten: u64,
}

/// What a report is to the others of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It comes next, or has no seq; it is counted.
    Next,
    /// It is being committed: its outcome is not known yet.
    UnderWay,
    /// It is in the log.
    Taken,
    /// It was refused, and may be sent again.
    Refused,
    /// It was sent long ago, and its outcome is forgotten.
    Forgotten,
    Gap {
        expected: u64,
    },
}

impl Reports {
    /// Returns what this one is.
    pub(super) fn place(&mut self, report: &TurnReport) -> Order {
        let Some(seq) = report.output.as_ref().map(|output| output.seq) else { return Order::Next };
        match seq {
            _ if seq == self.next => {
                self.next += 1;
                Order::Next
            }
            _ if self.next < seq => Order::Gap { expected: self.next },
            _ if self.decided <= seq => Order::UnderWay,
            _ if self.refused.contains(&seq) => Order::Refused,
            _ if seq < self.forgotten => Order::Forgotten,
            _ => Order::Taken,
        }
    }

    /// The last one that came next is looked at again.
    pub(super) fn take_back(&mut self, report: &TurnReport) {
        self.next -= u64::from(report.output.is_some());
    }

    /// The outcome of all that were sent is known.
    pub(super) fn decide(&mut self) {
        self.decided = self.next;
    }

    pub(super) fn took(&mut self, seq: u64) {
        self.refused.remove(&seq);
    }

    pub(super) fn refused(&mut self, seq: u64) {
        self.refused.insert(seq);
        if LINK_REFUSED < self.refused.len()
            && let Some(oldest) = self.refused.pop_first()
        {
            self.forgotten = self.forgotten.max(oldest + 1);
        }
    }
}

/// Whether nothing of this worker's epoch will be taken any more.
pub(super) fn is_final(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Fenced { .. }
            | Refusal::TurnEnded
            | Refusal::NoSuchTurn
            | Refusal::NotFound
            | Refusal::Gone
            | Refusal::Closed { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TurnEpoch, TurnId};
    use crate::session::TurnOutput;

    fn emit(seq: u64) -> TurnReport {
        let output = Some(TurnOutput { seq, ..TurnOutput::default() });
        TurnReport { output, ..TurnReport::new(TurnId::parse("t").unwrap(), TurnEpoch(1)) }
    }

    #[test]
    fn only_what_was_taken_is_said_to_be() {
        let mut reports = Reports::default();
        assert_eq!(
            reports.place(&TurnReport::new(TurnId::parse("t").unwrap(), TurnEpoch(1))),
            Order::Next
        );
        assert_eq!(reports.place(&emit(1)), Order::Gap { expected: 0 });
        assert_eq!(reports.place(&emit(0)), Order::Next);
        assert_eq!(reports.place(&emit(0)), Order::UnderWay);
        assert_eq!(reports.place(&emit(1)), Order::Next);
        reports.take_back(&emit(1));
        reports.took(0);
        reports.decide();
        assert_eq!(reports.place(&emit(0)), Order::Taken);
        assert_eq!(reports.place(&emit(1)), Order::Next);
        reports.refused(1);
        reports.decide();
        assert_eq!(reports.place(&emit(1)), Order::Refused);
        reports.took(1);
        assert_eq!(reports.place(&emit(1)), Order::Taken);
    }

    #[test]
    fn refusals_are_remembered_in_bounds_and_what_is_forgotten_is_not_said_to_be_taken() {
        let mut reports = Reports::default();
        for seq in 0..=LINK_REFUSED as u64 {
            assert_eq!(reports.place(&emit(seq)), Order::Next);
            reports.refused(seq);
            reports.decide();
        }
        assert_eq!(reports.refused.len(), LINK_REFUSED);
        assert_eq!(reports.place(&emit(0)), Order::Forgotten);
        assert_eq!(reports.place(&emit(1)), Order::Refused);
    }
}
