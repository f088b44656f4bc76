//! The events of one session for as long as a client shows an answer of it: where its node can serve the reader no
//! more, it goes on elsewhere by itself, because stock clients do not come back (S7).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::Edge;
use super::super::error::{self, Problem};
use super::superseded::Superseded;
use crate::ids::{Cursor, Incarnation, Serial, SessionId, TurnId};
use crate::limits;
use crate::runtime::{AttachError, Delivery, Freshness, Reader, Shown, Start};
use crate::session::{Event, Refusal};

pub(in crate::edge) struct Follow {
    edge: Edge,
    id: SessionId,
    reader: Reader,
    /// The last event that was delivered.
    cursor: Cursor,
    /// Since when no node serves it, if none does.
    detached: Option<Instant>,
}

/// The log cannot be followed any further.
#[derive(Debug)]
pub(in crate::edge) enum Lost {
    /// No node serves it now.
    Unavailable,
    /// What comes next is no more, or the session is over.
    Gone,
}

impl Follow {
    /// Follows a log from `from` on.
    ///
    /// # Errors
    /// As [`AttachError`]; nothing is followed then.
    pub(in crate::edge) async fn from(
        edge: &Edge,
        id: &SessionId,
        from: Serial,
        deadline: Instant,
    ) -> Result<Follow, AttachError> {
        let attach = |start| edge.sessions().attach(id, start, Freshness::Linearizable, deadline);
        // The first look shows which life of the session it is.
        let reader = attach(Start::Tail).await?;
        let incarnation = reader.cursor().incarnation;
        let cursor = Cursor { incarnation, serial: Serial(from.0.saturating_sub(1)) };
        let reader = attach(Start::After(cursor)).await?;
        Ok(Follow { edge: edge.clone(), id: id.clone(), reader, cursor, detached: None })
    }

    /// What of a turn is superseded by now, or answered; and the same log once more from where this began.
    ///
    /// # Errors
    /// The log could not be read in time.
    pub(super) async fn look_ahead(
        mut self,
        turn: &TurnId,
        deadline: Instant,
    ) -> Result<(Superseded, Follow), Lost> {
        let (begin, tail) = (self.cursor, self.reader.status().tail);
        let mut found = Superseded::of(turn);
        while self.cursor.serial < tail {
            let next = tokio::time::timeout_at(deadline, self.next());
            let events = next.await.map_err(|_| Lost::Unavailable)??;
            let known = events.iter().take_while(|shown| shown.event.serial <= tail);
            known.for_each(|shown| found.take(&shown.event));
        }
        if begin.serial < tail {
            self.cursor = begin;
            self.attach_again().await?;
        }
        Ok((found, self))
    }

    /// Takes the events of a log from `from` to its end as it is now, as long as they are wanted; returns where it
    /// came to.
    ///
    /// # Errors
    /// They cannot be read in time, or are no more.
    pub(super) async fn each(
        edge: &Edge,
        id: &SessionId,
        from: Serial,
        deadline: Instant,
        mut take: impl FnMut(&Event) -> bool,
    ) -> Result<Cursor, Problem> {
        let mut follow = Follow::from(edge, id, from, deadline).await?;
        let tail = follow.tail();
        while follow.at() < tail {
            let events = match tokio::time::timeout_at(deadline, follow.next()).await {
                Ok(Ok(events)) => events,
                Ok(Err(Lost::Gone)) => return Err(Refusal::NotFound.into()),
                Ok(Err(Lost::Unavailable)) | Err(_) => {
                    return Err(Problem::new(&error::NO_QUORUM, "the log cannot be read now"));
                }
            };
            if !events.iter().all(|shown| take(&shown.event)) {
                break;
            }
        }
        Ok(follow.cursor)
    }

    /// The life of the session that this is the log of.
    pub(super) fn life(&self) -> Incarnation {
        self.cursor.incarnation
    }

    /// The last event that was delivered.
    pub(super) fn at(&self) -> Serial {
        self.cursor.serial
    }

    /// The last event that there was when this began, or last went on elsewhere.
    pub(super) fn tail(&self) -> Serial {
        self.reader.status().tail
    }

    /// Waits for the next events. Cancel safe.
    ///
    /// # Errors
    /// There are none any more, or not here.
    pub(in crate::edge) async fn next(&mut self) -> Result<Vec<Arc<Shown>>, Lost> {
        loop {
            if self.detached.is_some() {
                self.attach_again().await?;
            }
            match self.reader.next().await {
                Delivery::Events(events) => {
                    if let Some(last) = events.last() {
                        self.cursor.serial = last.event.serial;
                    }
                    return Ok(events);
                }
                Delivery::CaughtUp { .. } => {}
                Delivery::Detached { reason } => {
                    tracing::debug!(session = ?self.id, reason, "a reader goes on elsewhere");
                    self.detached = Some(Instant::now());
                }
                Delivery::Gap { .. }
                | Delivery::Reset { .. }
                | Delivery::End { .. }
                | Delivery::Deleted => return Err(Lost::Gone),
            }
        }
    }

    /// Attaches wherever the log is served, as soon as it is.
    async fn attach_again(&mut self) -> Result<(), Lost> {
        let since = *self.detached.get_or_insert_with(Instant::now);
        loop {
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
            let start = Start::After(self.cursor);
            let sessions = self.edge.sessions();
            match sessions.attach(&self.id, start, Freshness::Linearizable, deadline).await {
                Ok(reader) => {
                    self.reader = reader;
                    self.detached = None;
                    return Ok(());
                }
                Err(AttachError::Unavailable(_) | AttachError::TooManyReaders)
                    if since.elapsed() < limits::ANSWER_PATIENCE =>
                {
                    sleep(limits::LEADER_WAIT).await;
                }
                Err(AttachError::Unavailable(_) | AttachError::TooManyReaders) => {
                    return Err(Lost::Unavailable);
                }
                Err(_) => return Err(Lost::Gone),
            }
        }
    }
}

impl From<AttachError> for Lost {
    fn from(why: AttachError) -> Lost {
        match why {
            AttachError::Unavailable(_) | AttachError::TooManyReaders => Lost::Unavailable,
            _ => Lost::Gone,
        }
    }
}
