//! One attachment: exactly the events after a cursor, in order, once (S7).

use std::sync::Arc;

use super::outcome::Unavailable;
use super::tail::Shown;
use crate::ids::{Cursor, Incarnation, Serial};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first event that can still be read.
    Beginning,
    /// Behind the event that the cursor names.
    After(Cursor),
    /// Behind the present tail.
    Tail,
}

/// Why a reader was not attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("the session does not exist")]
    NotFound,
    /// The cursor lies beyond the tail: it is not from this log.
    #[error("the cursor is at {given}, beyond the tail at {tail}")]
    Ahead { given: Serial, tail: Serial },
    #[error("this node serves as many readers as it may")]
    TooManyReaders,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The next events, dense in serial. At most [`crate::limits::DELIVERY_EVENTS`] of them and about
    /// [`crate::limits::DELIVERY_BYTES`] bytes.
    Events(Vec<Arc<Shown>>),
    /// Everything up to here was delivered; what follows is live. Said once after each catch-up.
    CaughtUp { at: Cursor },
    /// Retention took what comes next; the log goes on with `first`.
    Gap { first: Serial },
    /// The session was deleted and lives again: another log, from its beginning.
    Reset { incarnation: Incarnation },
    /// The session is closed and everything was delivered. The end.
    End { at: Cursor },
    /// The session was deleted. The end.
    Gone,
    /// This node can serve the reader no more; it goes on elsewhere from its cursor. The end.
    Detached { reason: &'static str },
}

/// A live attachment. Dropping it detaches.
pub struct Reader {}

impl Reader {
    /// Waits for what comes next. After an end it waits for ever. Cancel safe: nothing is lost when the
    /// future is dropped.
    pub async fn next(&mut self) -> Delivery {
        unimplemented!()
    }

    /// The last event delivered, or where the reader began.
    pub fn cursor(&self) -> Cursor {
        unimplemented!()
    }

    /// The tail that was known when the reader was attached.
    pub fn tail_at_attach(&self) -> Serial {
        unimplemented!()
    }
}
