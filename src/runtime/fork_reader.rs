//! A fork's log as one: what it inherits from its source, wherever that lives, and then its own (S7).

use super::reader::{Delivery, Reader};
use crate::ids::{Cursor, Serial};

/// A reader of both parts, under the fork's own cursors.
pub(super) struct ForkReader {
    /// Reads the source; none once everything up to `at` was delivered.
    inherited: Option<Reader>,
    /// Last event that is inherited.
    at: Serial,
    /// After `at`.
    own: Reader,
    cursor: Cursor,
    /// The reader's cursor, where it is of an earlier life and the reader was not notified yet.
    before: Option<Cursor>,
    ended: bool,
}

impl ForkReader {
    /// `inherited` begins where the reader does, and `own` after `at`; `before` is the reader's cursor where that is
    /// of an earlier life.
    pub(super) fn new(
        inherited: Reader,
        at: Serial,
        own: Reader,
        before: Option<Cursor>,
    ) -> ForkReader {
        let incarnation = own.cursor().incarnation;
        let cursor = Cursor { incarnation, serial: inherited.cursor().serial };
        ForkReader { inherited: Some(inherited), at, own, cursor, before, ended: false }
    }

    pub(super) fn own(&self) -> &Reader {
        &self.own
    }

    pub(super) fn cursor(&self) -> Cursor {
        match self.before {
            Some(before) => before,
            None if self.inherited.is_some() => self.cursor,
            None => self.own.cursor(),
        }
    }

    /// The next delivery; see [`Reader::next`].
    pub(super) async fn next(&mut self) -> Delivery {
        if self.ended {
            return std::future::pending().await;
        }
        if self.before.take().is_some() {
            return Delivery::Reset { incarnation: self.cursor.incarnation };
        }
        while let Some(inherited) = &mut self.inherited {
            let delivery = inherited.next().await;
            if let Some(delivery) = self.take(delivery) {
                return delivery;
            }
        }
        self.own.next().await
    }

    /// What a delivery of the source means for the fork's reader; none if nothing.
    fn take(&mut self, delivery: Delivery) -> Option<Delivery> {
        match delivery {
            Delivery::Events(mut events) => {
                events.retain(|shown| shown.event.serial <= self.at);
                let last = events.last().map(|shown| shown.event.serial);
                self.advance(last.unwrap_or(self.at));
                last.map(|_| Delivery::Events(events))
            }
            Delivery::Gap { first } => {
                let first = first.min(self.at.next());
                self.advance(Serial(first.0 - 1));
                Some(Delivery::Gap { first })
            }
            // The source is behind on this node, or closed: what is inherited ends at `at`, not there.
            Delivery::CaughtUp { .. } => None,
            Delivery::End { .. } | Delivery::Deleted | Delivery::Reset { .. } => {
                self.ended = true;
                Some(Delivery::Detached { reason: "the fork's source does not have its part" })
            }
            Delivery::Detached { reason } => {
                self.ended = true;
                Some(Delivery::Detached { reason })
            }
        }
    }

    fn advance(&mut self, to: Serial) {
        self.cursor.serial = to;
        if self.at <= to {
            self.inherited = None;
        }
    }
}
