//! A reader that goes on elsewhere by itself where its node can serve it no more (S7).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Edge;
use super::super::error::Problem;
use super::problem;
use crate::ids::{Incarnation, Serial, SessionId};
use crate::limits;
use crate::offset::Offset;
use crate::runtime::{AttachError, Delivery, Freshness, Reader, Shown, Start};
use crate::session::Status;

/// What a follower gets next.
pub(super) enum Next {
    Events(Vec<Arc<Shown>>),
    /// Everything was delivered; what follows is live.
    CaughtUp,
    /// Nothing follows.
    End,
    /// The log cannot be followed any further. The end.
    Lost(Problem),
}

pub(super) struct Follow {
    edge: Edge,
    id: SessionId,
    reader: Reader,
    incarnation: Incarnation,
    root: Incarnation,
    /// The last event that was delivered.
    serial: Serial,
    /// Whether a log that begins later now is still what was requested.
    from_start: bool,
    live: bool,
    detached: bool,
}

impl Follow {
    pub(super) fn new(edge: &Edge, id: &SessionId, start: Start, reader: Reader) -> Follow {
        let (cursor, root) = (reader.cursor(), reader.status().root);
        Follow {
            edge: edge.clone(),
            id: id.clone(),
            reader,
            incarnation: cursor.incarnation,
            root,
            serial: cursor.serial,
            from_start: start == Start::Beginning,
            live: false,
            detached: false,
        }
    }

    /// The stream as it was when the reader was attached.
    pub(super) fn status(&self) -> &Status {
        self.reader.status()
    }

    /// After what was delivered.
    pub(super) fn offset(&self) -> Offset {
        Offset { root: self.root, serial: self.serial }
    }

    /// Whether what was known at the start was delivered, so that a look ahead costs no disk.
    pub(super) fn is_near_tail(&self) -> bool {
        self.live || self.status().tail <= self.serial
    }

    /// Whether retention took what comes after the offset that was requested.
    pub(super) fn lacks_beginning(&self) -> bool {
        !self.from_start && self.serial.next() < self.status().first
    }

    /// Whether everything was delivered that this node knows of.
    pub(super) fn is_at_tail(&self) -> bool {
        self.reader.known_tail() <= self.serial
    }

    /// Whether the stream is closed, as known now.
    pub(super) fn is_closed(&self) -> bool {
        self.reader.is_closed()
    }

    /// Whether everything was delivered once.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Waits for what comes next. Cancel safe. After an end it waits for ever.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            if self.detached
                && let Err(lost) = self.attach_again().await
            {
                return Next::Lost(lost);
            }
            match self.reader.next().await {
                Delivery::Events(events) => {
                    if let Some(last) = events.last() {
                        self.serial = last.event.serial;
                        self.from_start = false;
                    }
                    return Next::Events(events);
                }
                Delivery::CaughtUp { .. } => {
                    self.live = true;
                    return Next::CaughtUp;
                }
                Delivery::End { .. } => return Next::End,
                Delivery::Gap { first } if self.from_start => {
                    self.serial = Serial(first.0.saturating_sub(1));
                }
                Delivery::Gap { .. } | Delivery::Reset { .. } | Delivery::Deleted => {
                    return Next::Lost(problem::log_gone());
                }
                Delivery::Detached { reason } => {
                    tracing::debug!(
                        session = self.id.for_operators(),
                        reason,
                        "a reader goes on elsewhere"
                    );
                    self.detached = true;
                }
            }
        }
    }

    async fn attach_again(&mut self) -> Result<(), Problem> {
        let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
        let start = match self.from_start {
            true => Start::Beginning,
            false => Start::Offset { root: self.root, serial: self.serial },
        };
        let attached =
            self.edge.sessions().attach(&self.id, start, Freshness::Linearizable, deadline).await;
        let reader = match attached {
            Ok(reader) => reader,
            Err(AttachError::NotFound | AttachError::Gone) => return Err(problem::log_gone()),
            Err(why) => return Err(why.into()),
        };
        if reader.cursor().incarnation != self.incarnation {
            return Err(problem::log_gone());
        }
        self.reader = reader;
        self.detached = false;
        self.live = false;
        Ok(())
    }
}
