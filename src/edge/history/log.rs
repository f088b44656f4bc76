//! Reading pieces of a log that lie anywhere in it, and counting what is read.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::super::Edge;
use super::super::error::{self, Problem};
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::limits::{
    DELIVERY_EVENTS, MESSAGES_EVENTS, MESSAGES_EVENTS_MAX, MESSAGES_LAST_BYTES, MESSAGES_READ_BYTES,
};
use crate::runtime::{Delivery, Freshness, Reader, Shown, Start};

/// Events that are read back at once where they may be large, and the mean bytes that are.
const LAST_EVENTS: usize = 16;
const LARGE_BYTES: usize = 8 << 10;

/// One life of a session's log, at whatever node it is.
pub(in crate::edge) struct Log<'a> {
    source: Source<'a>,
    deadline: Instant,
    /// Events that were read, and their payload bytes.
    pub(super) read: u64,
    pub(super) bytes: usize,
}

enum Source<'a> {
    Session {
        edge: &'a Edge,
        id: &'a SessionId,
        incarnation: Incarnation,
        freshness: Freshness,
        /// Where the last piece ended.
        reader: Option<Box<Reader>>,
    },
    #[cfg(test)]
    Events(&'a [crate::session::Event]),
}

impl<'a> Log<'a> {
    /// What is known to be in the log at some replica is there, wherever it is read.
    pub(in crate::edge) fn new(
        edge: &'a Edge,
        id: &'a SessionId,
        incarnation: Incarnation,
        deadline: Instant,
    ) -> Log<'a> {
        let freshness = Freshness::Linearizable;
        let source = Source::Session { edge, id, incarnation, freshness, reader: None };
        Log { source, deadline, read: 0, bytes: 0 }
    }

    /// The same, as far as the log is here.
    pub(in crate::edge) fn reading(mut self, here: Freshness) -> Log<'a> {
        match &mut self.source {
            Source::Session { freshness, .. } => *freshness = here,
            #[cfg(test)]
            Source::Events(_) => {}
        }
        self
    }

    /// A log that is in memory; what was trimmed is not in `events`.
    #[cfg(test)]
    pub(super) fn of(events: &'a [crate::session::Event]) -> Log<'a> {
        Log { source: Source::Events(events), deadline: Instant::now(), read: 0, bytes: 0 }
    }

    /// Events from `from` on, up to `upto`: at least one of them and at most [`DELIVERY_EVENTS`]. None where they are
    /// not there any more. They are dense; where retention took some meanwhile, they begin later.
    ///
    /// # Errors
    /// The log is not to be had before the deadline, or is another one by now.
    pub(super) async fn piece(
        &mut self,
        from: Serial,
        upto: Serial,
    ) -> Result<Vec<Arc<Shown>>, Problem> {
        let (from, mut piece) = (from.max(Serial(1)), Vec::new());
        if upto < from {
            return Ok(piece);
        }
        match &mut self.source {
            Source::Session { edge, id, incarnation, freshness, reader } => {
                let life = *incarnation;
                let before = Cursor { incarnation: life, serial: Serial(from.0 - 1) };
                if reader.as_ref().is_none_or(|reader| reader.cursor() != before) {
                    let sessions = edge.sessions();
                    let start = Start::After(before);
                    let attached = sessions.attach(id, start, *freshness, self.deadline);
                    *reader = Some(Box::new(attached.await?));
                }
                let reader = reader.as_mut().expect("it is there by now");
                piece = next_of(reader, life, upto, self.deadline).await?;
            }
            #[cfg(test)]
            Source::Events(events) => {
                let meant = events.iter().filter(|event| from <= event.serial);
                let meant = meant.take_while(|event| event.serial <= upto).take(DELIVERY_EVENTS);
                let mut bytes = 0;
                let meant = meant.take_while(|event| {
                    let has_room = bytes < crate::limits::DELIVERY_BYTES;
                    bytes += event.payload.len();
                    has_room
                });
                let shown = |event: &crate::session::Event| {
                    Arc::new(Shown { event: event.clone(), rendered: Default::default() })
                };
                piece.extend(meant.map(shown));
            }
        }
        piece.truncate(DELIVERY_EVENTS);
        self.read += piece.len() as u64;
        self.bytes += piece.iter().map(|shown| shown.event.payload.len()).sum::<usize>();
        match &self.source {
            Source::Session { edge, .. } => {
                _ = edge.metrics.history_events.inc_by(piece.len() as u64);
            }
            #[cfg(test)]
            Source::Events(_) => {}
        }
        Ok(piece)
    }

    /// The last events up to `upto`, as many as one piece has, but none before `first`. They end with `upto`.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub(super) async fn back(
        &mut self,
        upto: Serial,
        first: Serial,
        most: usize,
    ) -> Result<Vec<Arc<Shown>>, Problem> {
        let most = most.min(DELIVERY_EVENTS) as u64;
        let mut from = Serial((upto.0 + 1).saturating_sub(most)).max(first).max(Serial(1));
        let mut all = Vec::new();
        while from <= upto {
            // Large events come in more pieces than one.
            let piece = self.piece(from, upto).await?;
            let Some(last) = piece.last().map(|shown| shown.event.serial) else { break };
            all.extend(piece);
            from = last.next();
        }
        Ok(all)
    }

    /// The last events up to `upto`, none before `from`: about as many as the end of a message has.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub(super) async fn last(
        &mut self,
        from: Serial,
        upto: Serial,
    ) -> Result<Vec<Arc<Shown>>, Problem> {
        let (mut pieces, mut end, begun) = (Vec::new(), upto, (self.read, self.bytes));
        while from <= end
            && self.read - begun.0 < MESSAGES_EVENTS as u64
            && self.bytes - begun.1 < MESSAGES_LAST_BYTES
        {
            let piece = self.back(end, from, self.most()).await?;
            let Some(first) = piece.first().map(|shown| shown.event.serial) else { break };
            pieces.push(piece);
            end = Serial(first.0 - 1);
        }
        Ok(pieces.into_iter().rev().flatten().collect())
    }

    /// How many events are read back at once: fewer where they are large.
    pub(super) fn most(&self) -> usize {
        let is_small = self.bytes as u64 <= self.read * LARGE_BYTES as u64;
        if 0 < self.read && is_small { DELIVERY_EVENTS } else { LAST_EVENTS }
    }

    /// Whether more was read since `begun` than a page is worth: so many events, and so many bytes.
    pub(super) fn is_spent(&self, (read, bytes): (u64, usize)) -> bool {
        MESSAGES_EVENTS_MAX as u64 <= self.read - read || MESSAGES_READ_BYTES <= self.bytes - bytes
    }

    /// The events at these places, which are in order, as far as they are there.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub(in crate::edge) async fn at(
        &mut self,
        places: &[Serial],
    ) -> Result<Vec<Arc<Shown>>, Problem> {
        let mut found = Vec::new();
        let mut piece: Vec<Arc<Shown>> = Vec::new();
        for (at, place) in places.iter().enumerate() {
            let is_before = |shown: &Arc<Shown>| shown.event.serial < *place;
            if piece.last().is_none_or(is_before) {
                // Up to the last one that comes along.
                let reach = Serial(place.0 + DELIVERY_EVENTS as u64 - 1);
                let upto = places[at..].iter().take_while(|other| **other <= reach).last();
                piece = self.piece(*place, *upto.unwrap_or(place)).await?;
            }
            found.extend(piece.iter().find(|shown| shown.event.serial == *place).cloned());
        }
        Ok(found)
    }
}

/// What a reader delivers next of one life, up to a place; nothing where that is not there any more.
async fn next_of(
    reader: &mut Reader,
    life: Incarnation,
    upto: Serial,
    deadline: Instant,
) -> Result<Vec<Arc<Shown>>, Problem> {
    let late = || Problem::new(&error::NO_QUORUM, "the log is not here in time; try again");
    while reader.cursor().serial < upto {
        match timeout_at(deadline, reader.next()).await.map_err(|_| late())? {
            Delivery::Events(mut events) if reader.cursor().incarnation == life => {
                events.retain(|shown| shown.event.serial <= upto);
                return Ok(events);
            }
            Delivery::Gap { .. } => {}
            // What the tail was is here by now, at this node or another.
            Delivery::CaughtUp { .. } => return Ok(Vec::new()),
            _ => return Err(Problem::new(&error::DETACHED, "the log changed; try again")),
        }
    }
    Ok(Vec::new())
}
