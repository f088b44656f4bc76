//! One attachment: exactly the events after a cursor, in order, once (S7).
//!
//! Catch-up and live are one path: take from the hot tail, else from sealed blocks, else wait. A reader is
//! a cursor, not a queue, so a slow one costs nothing and falls back to blocks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Freshness;
use super::fork_reader::ForkReader;
use super::outcome::Unavailable;
use super::relay::Relayed;
use super::relays::Joined;
use super::session::Looked;
use super::tail::{Found, Mark, Shown, Tail};
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::limits::{DELIVERY_BYTES, DELIVERY_EVENTS, READERS};
use crate::session::{Denied, Status};
use crate::store::{LogOf, Store};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// The first event that can still be read.
    Beginning,
    /// After the event that the cursor names.
    After(Cursor),
    /// After the present tail.
    Tail,
    /// After this event of the present life, if its serials are of this root.
    Offset { root: Incarnation, serial: Serial },
}

/// How a reader is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Attach {
    pub(super) start: Start,
    pub(super) freshness: Freshness,
    /// The life that a fork inherits from: it is read even if it is hidden, and no other is.
    pub(super) parent_of_fork: Option<Incarnation>,
}

impl Attach {
    /// At whatever this replica has.
    pub(super) fn to(start: Start) -> Attach {
        Attach { start, freshness: Freshness::Local, parent_of_fork: None }
    }
}

/// Why a reader was not attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AttachError {
    #[error("the session does not exist")]
    NotFound,
    /// The session was deleted, and is kept for its forks alone.
    #[error("the session was deleted; its log is kept for its forks alone")]
    Gone,
    /// The cursor is of another life.
    #[error("the cursor is from a log that is no more")]
    OtherRoot,
    /// The cursor lies beyond the tail: it is not from this log.
    #[error("the cursor is at {given}, beyond the tail at {tail}")]
    Ahead { given: Serial, tail: Serial },
    #[error("this node serves as many readers as it may")]
    TooManyReaders,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The grant of who reads does not allow it, where the session lives.
    #[error("{0}")]
    Denied(Denied),
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The next events, dense in serial. At most [`crate::limits::DELIVERY_EVENTS`] of them and about
    /// [`crate::limits::DELIVERY_BYTES`] bytes.
    Events(Vec<Arc<Shown>>),
    /// Everything up to here was delivered; what follows is live. Sent once after each catch-up.
    CaughtUp { at: Cursor },
    /// Retention took what comes next; the log goes on with `first`.
    Gap { first: Serial },
    /// The session was deleted and lives again: another log, from its beginning.
    Reset { incarnation: Incarnation },
    /// The session is closed and everything was delivered. The end.
    End { at: Cursor },
    /// The session was deleted. The end.
    Deleted,
    /// This node can serve the reader no more; it goes on elsewhere from its cursor. The end.
    Detached { reason: &'static str },
}

/// A live attachment. Dropping it detaches.
pub struct Reader {
    source: Source,
    _counted: Counted,
}

enum Source {
    Local(Box<Local>),
    Joined(Box<Joined>),
    Inherited(Box<Relayed>),
    ForkReader(Box<ForkReader>),
}

/// One place among the readers of a node.
pub(super) struct Counted(Arc<AtomicU64>);

impl Counted {
    /// Takes a place, if there is one.
    pub(super) fn new(readers: &Arc<AtomicU64>) -> Option<Counted> {
        let counted = Counted(readers.clone());
        let before = readers.fetch_add(1, Ordering::Relaxed);
        // The place is given back when `counted` is dropped.
        (before < READERS as u64).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// Attaches at the log's present mark.
    pub(super) fn attach(
        shard: u32,
        id: SessionId,
        store: Store,
        looked: Looked,
        attach: &Attach,
        counted: Counted,
    ) -> Result<Reader, AttachError> {
        let local = Local::attach(shard, id, store, looked, attach)?;
        Ok(Reader { source: Source::Local(Box::new(local)), _counted: counted })
    }

    /// A reader of a session that lives in memory alone, from its beginning.
    #[cfg(test)]
    pub(crate) fn of(
        session: &crate::session::Session,
        events: Vec<crate::session::Event>,
        store: Store,
    ) -> Reader {
        let mark = super::session::mark(session);
        let tail = Tail::new(mark);
        tail.extend(mark.incarnation, events.into_iter().map(Shown::new), Serial::ZERO);
        let looked = Looked { status: session.status(), inherits: None, tail, next: 0 };
        let counted = Counted::new(&Arc::default()).expect("there is room");
        let (id, attach) = (session.id().clone(), Attach::to(Start::Beginning));
        Reader::attach(1, id, store, looked, &attach, counted).expect("the session lives")
    }

    /// A reader of another node's log on behalf of a fork.
    pub(super) fn parent_of_fork(relayed: Relayed, counted: Counted) -> Reader {
        Reader { source: Source::Inherited(Box::new(relayed)), _counted: counted }
    }

    /// A reader of what a fork inherits, and then of its own log.
    pub(super) fn fork_reader(fork_reader: ForkReader, counted: Counted) -> Reader {
        Reader { source: Source::ForkReader(Box::new(fork_reader)), _counted: counted }
    }

    /// A reader whose events come from a replica on another node.
    pub(super) fn relayed(joined: Joined, counted: Counted) -> Reader {
        Reader { source: Source::Joined(Box::new(joined)), _counted: counted }
    }

    /// The same reader of this node's log, after the event `serial` of its present life.
    pub(super) fn skipped_to(mut self, serial: Serial) -> Reader {
        if let Source::Local(local) = &mut self.source {
            local.cursor = Cursor { incarnation: local.status.incarnation, serial };
        }
        self
    }

    /// Waits for what comes next. After an end it waits for ever. Cancel safe: nothing is lost when the
    /// future is dropped.
    pub async fn next(&mut self) -> Delivery {
        match &mut self.source {
            Source::Local(local) => local.next().await,
            Source::Joined(joined) => joined.next().await,
            Source::Inherited(relayed) => relayed.next().await,
            Source::ForkReader(fork_reader) => Box::pin(fork_reader.next()).await,
        }
    }

    /// The last event delivered, or where the reader began.
    pub fn cursor(&self) -> Cursor {
        match &self.source {
            Source::Local(local) => local.cursor,
            Source::Joined(joined) => joined.cursor,
            Source::Inherited(relayed) => relayed.cursor,
            Source::ForkReader(fork_reader) => fork_reader.cursor(),
        }
    }

    /// The session as it was when the reader was attached.
    pub fn status(&self) -> &Status {
        match &self.source {
            Source::Local(local) => &local.status,
            Source::Joined(joined) => &joined.status,
            Source::Inherited(relayed) => &relayed.status,
            Source::ForkReader(fork_reader) => fork_reader.own().status(),
        }
    }

    /// The end of the log as known now at this node: after it there is nothing to give yet.
    pub fn known_tail(&self) -> Serial {
        match &self.source {
            Source::Local(local) => local.marks.borrow().tail,
            Source::Joined(joined) => joined.known_tail(),
            Source::Inherited(relayed) => relayed.status.tail,
            Source::ForkReader(fork_reader) => fork_reader.own().known_tail(),
        }
    }

    /// Whether the session is closed, as known now.
    pub fn is_closed(&self) -> bool {
        match &self.source {
            Source::Local(local) => local.marks.borrow().closed,
            Source::Joined(joined) => joined.is_closed(),
            Source::Inherited(relayed) => relayed.status.closed,
            Source::ForkReader(fork_reader) => fork_reader.own().is_closed(),
        }
    }
}

/// A reader at this node's own replica.
struct Local {
    shard: u32,
    id: SessionId,
    store: Store,
    tail: Arc<Tail>,
    marks: watch::Receiver<Mark>,
    cursor: Cursor,
    status: Status,
    parent_of_fork: bool,
    phase: Phase,
    /// Events read from blocks and not delivered yet.
    ahead: VecDeque<Arc<Shown>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    CatchingUp,
    Live,
    Ended,
}

impl Local {
    /// Attaches at the log's present mark.
    fn attach(
        shard: u32,
        id: SessionId,
        store: Store,
        looked: Looked,
        attach: &Attach,
    ) -> Result<Local, AttachError> {
        let Looked { status, tail, .. } = looked;
        let status = status.ok_or(AttachError::NotFound)?;
        let marks = tail.subscribe();
        let mark = *marks.borrow();
        if !mark.served {
            let text = "the session's actor ended".to_string();
            return Err(Unavailable::NoQuorum(text).into());
        }
        match attach.parent_of_fork {
            Some(parent_of_fork) if !mark.kept || parent_of_fork != mark.incarnation => {
                return Err(AttachError::NotFound);
            }
            None if !mark.live && mark.kept => return Err(AttachError::Gone),
            None if !mark.live => return Err(AttachError::NotFound),
            _ => {}
        }
        let at = |serial| Cursor { incarnation: mark.incarnation, serial };
        let start = match attach.start {
            Start::Offset { root, serial } if root == status.root => Start::After(at(serial)),
            Start::Offset { .. } => return Err(AttachError::OtherRoot),
            start => start,
        };
        let cursor = match start {
            Start::Beginning => at(Serial(mark.first.0 - 1)),
            // Where the status was taken, so that what it does not have follows.
            Start::Tail if status.incarnation == mark.incarnation => at(status.tail),
            Start::Tail => at(mark.tail),
            Start::After(cursor) if cursor.incarnation < mark.incarnation => cursor,
            Start::After(cursor)
                if cursor.incarnation == mark.incarnation && cursor.serial <= mark.tail =>
            {
                cursor
            }
            Start::After(cursor) => {
                return Err(AttachError::Ahead { given: cursor.serial, tail: mark.tail });
            }
            Start::Offset { .. } => unreachable!("an offset was made a cursor above"),
        };
        let (phase, ahead, parent_of_fork) =
            (Phase::CatchingUp, VecDeque::new(), attach.parent_of_fork.is_some());
        Ok(Local { shard, id, store, tail, marks, cursor, status, parent_of_fork, phase, ahead })
    }

    /// Waits for what comes next. After an end it waits for ever. Cancel safe: nothing is lost when the
    /// future is dropped.
    async fn next(&mut self) -> Delivery {
        loop {
            if self.phase == Phase::Ended {
                return std::future::pending().await;
            }
            if let Some(delivery) = self.step().await {
                return delivery;
            }
            if self.marks.changed().await.is_err() {
                return self.end(Delivery::Detached { reason: "the session moved" });
            }
        }
    }

    /// What can be returned without waiting for the session.
    async fn step(&mut self) -> Option<Delivery> {
        let mark = *self.marks.borrow_and_update();
        if !mark.served {
            return Some(self.end(Delivery::Detached { reason: "the session moved" }));
        }
        let readable = if self.parent_of_fork { mark.kept } else { mark.live };
        if !readable {
            return Some(self.end(Delivery::Deleted));
        }
        if self.cursor.incarnation != mark.incarnation {
            self.cursor = Cursor { incarnation: mark.incarnation, serial: Serial::ZERO };
            self.phase = Phase::CatchingUp;
            self.ahead.clear();
            return Some(Delivery::Reset { incarnation: mark.incarnation });
        }
        if self.cursor.serial.next() < mark.first {
            self.cursor.serial = Serial(mark.first.0 - 1);
            self.ahead.clear();
            return Some(Delivery::Gap { first: mark.first });
        }
        if self.cursor.serial < mark.tail {
            return Some(self.deliver(mark).await);
        }
        if mark.closed {
            return Some(self.end(Delivery::End { at: self.cursor }));
        }
        if self.phase == Phase::CatchingUp {
            self.phase = Phase::Live;
            return Some(Delivery::CaughtUp { at: self.cursor });
        }
        None
    }

    async fn deliver(&mut self, mark: Mark) -> Delivery {
        if self.ahead.is_empty() {
            match self.tail.after(self.cursor, mark.tail) {
                Found::Events(events) if !events.is_empty() => return self.hand_out(events),
                Found::Events(_) => {
                    // The ring and the mark belong together; between them a life may have ended.
                    return self
                        .end(Delivery::Detached { reason: "the log changed under the reader" });
                }
                Found::Sealed => {}
            }
            match self.read_sealed(mark).await {
                Ok(events) => self.ahead = events,
                Err(error) => {
                    tracing::error!(session = self.id.for_operators(), %error, "sealed events are unreadable");
                    return self
                        .end(Delivery::Detached { reason: "the disk does not give the log back" });
                }
            }
            if self.ahead.is_empty() {
                return self.end(Delivery::Detached { reason: "the log changed under the reader" });
            }
        }
        let mut bytes = 0;
        let mut events = Vec::new();
        while let Some(shown) = self.ahead.front() {
            bytes += shown.event.payload.len();
            if !events.is_empty() && (DELIVERY_BYTES < bytes || DELIVERY_EVENTS <= events.len()) {
                break;
            }
            events.extend(self.ahead.pop_front());
        }
        self.hand_out(events)
    }

    /// The dense run of events after the cursor that sealed blocks hold, about one delivery of it.
    async fn read_sealed(&self, mark: Mark) -> std::io::Result<VecDeque<Arc<Shown>>> {
        let (store, shard, id) = (self.store.clone(), self.shard, self.id.clone());
        let (incarnation, after) = (mark.incarnation, self.cursor.serial);
        let read = move || {
            let at = LogOf { shard, id: &id, incarnation };
            let (mut events, mut bytes, mut last) = (VecDeque::new(), 0, after);
            for block in store.blocks(&at, after.next()) {
                for event in block?.events {
                    if event.serial != last.next() {
                        continue;
                    }
                    last = last.next();
                    bytes += event.payload.len();
                    events.push_back(Shown::new(event));
                }
                if DELIVERY_EVENTS <= events.len() || DELIVERY_BYTES <= bytes {
                    break;
                }
            }
            Ok(events)
        };
        super::blocking::off_thread(read).await?
    }

    fn hand_out(&mut self, events: Vec<Arc<Shown>>) -> Delivery {
        let first = events.first().map(|shown| shown.event.serial);
        let last = events.last().map(|shown| shown.event.serial);
        let dense = first == Some(self.cursor.serial.next());
        let Some(last) = last.filter(|_| dense) else {
            // Never skip over events (S7): better to end than to lie.
            return self.end(Delivery::Detached { reason: "the log has a hole on this node" });
        };
        self.cursor.serial = last;
        Delivery::Events(events)
    }

    fn end(&mut self, delivery: Delivery) -> Delivery {
        self.phase = Phase::Ended;
        delivery
    }
}
