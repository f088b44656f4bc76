//! The hot end of a log, shared by all its readers: an event is kept and encoded once, however many read.
//!
//! The session's actor writes, readers look. What is no longer here lies in sealed blocks; a reader that
//! is behind takes it from there by the same path (S7). Bounded by count and bytes, except for events that
//! are in no block yet (S10).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use tokio::sync::watch;

use crate::ids::{Cursor, Incarnation, Serial};
use crate::limits::{DELIVERY_BYTES, DELIVERY_EVENTS, TAIL_BYTES, TAIL_EVENTS};
use crate::session::Event;

/// A committed event as readers share it: encoded at most once, however many read it.
#[derive(Debug)]
pub struct Shown {
    pub event: Event,
    /// The edge's rendering of the event for a live stream, made by the first reader that needs it.
    pub rendered: OnceLock<Rendered>,
}

/// An event as a frame, whose id is of one life.
#[derive(Debug)]
pub struct Rendered {
    pub incarnation: Incarnation,
    pub frame: Bytes,
}

impl Shown {
    pub(super) fn new(event: Event) -> Arc<Shown> {
        Arc::new(Shown { event, rendered: OnceLock::new() })
    }
}

/// How far a log goes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) incarnation: Incarnation,
    /// First event that may be read; one beyond `tail` where there is none.
    pub(super) first: Serial,
    pub(super) tail: Serial,
    pub(super) closed: bool,
    pub(super) live: bool,
    /// Whether there is a log, be it for forks alone.
    pub(super) kept: bool,
    /// False once this tail is written no more: its readers go on elsewhere.
    pub(super) served: bool,
}

/// The hot end of one session's log on one node.
#[derive(Debug)]
pub(super) struct Tail {
    ring: Mutex<Ring>,
    mark: watch::Sender<Mark>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The life that the events are of: a mark has the next one a moment later.
    incarnation: Option<Incarnation>,
    events: VecDeque<Arc<Shown>>,
    bytes: usize,
}

/// What the ring has after a serial.
pub(super) enum Found {
    Events(Vec<Arc<Shown>>),
    /// It lies in sealed blocks.
    Sealed,
}

impl Tail {
    pub(super) fn new(mark: Mark) -> Arc<Tail> {
        Arc::new(Tail { ring: Mutex::default(), mark: watch::Sender::new(mark) })
    }

    /// Takes committed events of one life, keeps those after `sealed` whatever the bounds are, and shows them.
    pub(super) fn extend(
        &self,
        incarnation: Incarnation,
        events: impl Iterator<Item = Arc<Shown>>,
        sealed: Serial,
    ) {
        let mut ring = self.ring();
        if ring.incarnation != Some(incarnation) {
            *ring = Ring { incarnation: Some(incarnation), ..Ring::default() };
        }
        for event in events {
            ring.bytes += event.event.payload.len();
            ring.events.push_back(event);
        }
        while TAIL_EVENTS < ring.events.len() || TAIL_BYTES < ring.bytes {
            let oldest = ring.events.front().map(|shown| shown.event.serial);
            if oldest.is_none_or(|serial| sealed < serial) {
                break;
            }
            if let Some(shown) = ring.events.pop_front() {
                ring.bytes -= shown.event.payload.len();
            }
        }
    }

    /// Resolves when there are no readers.
    pub(super) async fn unwatched(&self) {
        self.mark.closed().await;
    }

    /// Notifies all readers that nothing more comes from here.
    fn abandon(&self) {
        self.mark.send_modify(|mark| mark.served = false);
    }

    /// Forgets all events: another life, or a state that came from elsewhere.
    pub(super) fn clear(&self) {
        *self.ring() = Ring::default();
    }

    /// Notifies all readers of how far the log goes.
    pub(super) fn publish(&self, mark: Mark) {
        self.mark.send_if_modified(|current| {
            let changed = *current != mark;
            *current = mark;
            changed
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Mark> {
        self.mark.subscribe()
    }

    /// Readers that are attached.
    pub(super) fn readers(&self) -> usize {
        self.mark.receiver_count()
    }

    /// The next events after `after`, up to `upto`, in one delivery's bounds.
    pub(super) fn after(&self, after: Cursor, upto: Serial) -> Found {
        let ring = self.ring();
        if ring.incarnation != Some(after.incarnation) {
            return Found::Sealed;
        }
        let after = after.serial;
        let Some(oldest) = ring.events.front().map(|shown| shown.event.serial) else {
            return Found::Sealed;
        };
        if after.next() < oldest {
            return Found::Sealed;
        }
        let skip = usize::try_from(after.0 + 1 - oldest.0).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let events = ring.events.iter().skip(skip).take(DELIVERY_EVENTS);
        let events = events.take_while(|shown| {
            let first = bytes == 0;
            bytes += 1 + shown.event.payload.len();
            shown.event.serial <= upto && (first || bytes <= DELIVERY_BYTES)
        });
        Found::Events(events.cloned().collect())
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no panic happens under this lock")
    }
}

/// The writer's hold on a tail. Readers hold the tail too, so they must be notified of its end.
#[derive(Debug)]
pub(super) struct Served(Arc<Tail>);

impl Served {
    pub(super) fn new(tail: Arc<Tail>) -> Served {
        Served(tail)
    }

    /// What readers attach to.
    pub(super) fn shared(&self) -> Arc<Tail> {
        self.0.clone()
    }
}

impl std::ops::Deref for Served {
    type Target = Tail;

    fn deref(&self) -> &Tail {
        &self.0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Format;

    fn event(serial: u64) -> Arc<Shown> {
        Shown::new(Event {
            serial: Serial(serial),
            time: crate::ids::Millis(0),
            format: Format::TEXT,
            payload: Bytes::from_static(b"x"),
            chain: 0,
            origin: None,
            agent: None,
            fact: None,
        })
    }

    #[test]
    fn a_reader_of_one_life_never_gets_events_of_another() {
        let (old, new) = (Incarnation(1), Incarnation(2));
        let mark = Mark {
            incarnation: old,
            first: Serial(1),
            tail: Serial(0),
            closed: false,
            live: true,
            kept: true,
            served: true,
        };
        let tail = Tail::new(mark);
        let count = |incarnation, serial| {
            let after = Cursor { incarnation, serial: Serial(serial) };
            match tail.after(after, Serial(9)) {
                Found::Events(events) => Some(events.len()),
                Found::Sealed => None,
            }
        };
        tail.extend(old, (1..=3).map(event), Serial(0));
        assert_eq!((count(old, 1), count(new, 1)), (Some(2), None));
        // Applied, and not published yet: readers still have the mark of the old life.
        tail.extend(new, (1..=5).map(event), Serial(0));
        assert_eq!((count(old, 1), count(new, 1)), (None, Some(4)));
        tail.extend(new, std::iter::once(event(6)), Serial(0));
        assert_eq!(count(new, 0), Some(6));
    }
}
