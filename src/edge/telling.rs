//! What an attachment has to send next, whatever kind of connection it is sent on (S7).
//!
//! It takes more from the reader only when what it has was taken, so a slow client costs one delivery and
//! no more (S10).

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use serde_json::json;
use tokio::time::timeout;

use super::attached::fold::Shape;
use super::attached::{Again, AttachOptions, Beside};
use super::content::raw::Json;
use super::cursor;
use super::room::{Hold, Room};
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::runtime::{Delivery, Reader, Shown};
use crate::session::View;
use crate::telemetry::Metrics;

/// How long a reader that has seen the end may take to see it again, in milliseconds.
const END_AGAIN_MS: u64 = 200;

/// A reader and what it delivered.
pub(super) struct Telling {
    reader: Reader,
    /// Delivered by the reader and not yet sent.
    next: Option<Delivery>,
    backlog: vec::IntoIter<Arc<Shown>>,
    /// For what of it is held nowhere else.
    room: Hold,
    incarnation: Incarnation,
    stage: Stage,
    shape: Shape,
    /// Before everything that was there is delivered.
    catching_up: bool,
    /// Where a reader goes on after events that it is not shown.
    skipped: Option<Cursor>,
    beside: Option<Box<Beside>>,
    snapshot: Option<Json>,
    /// How to begin again where the log does not go on from what the reader has.
    again: Option<Box<Again>>,
    /// It is to begin again now.
    is_due: bool,
    counted: Counted,
}

/// Whether anything follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Following,
    /// Nothing follows; a clean end.
    Ended,
    /// Something would follow, but not here.
    BreakingOff,
}

/// Something that is sent beside the events, and where a reader goes on after it.
pub(super) struct Control {
    pub(super) name: &'static str,
    pub(super) cursor: Option<Cursor>,
    pub(super) data: Json,
}

/// Counts a reader while it lives.
pub(super) struct Counted(Arc<Metrics>);

impl Counted {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Counted {
        metrics.readers.inc();
        Counted(metrics.clone())
    }

    /// Counts events that it was handed.
    pub(super) fn delivered(&self, count: u64) {
        self.0.delivered_events.inc_by(count);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.readers.dec();
    }
}

impl Telling {
    pub(super) fn new(reader: Reader, metrics: &Arc<Metrics>, room: &Arc<Room>) -> Telling {
        Telling {
            room: room.hold(),
            next: None,
            backlog: Vec::new().into_iter(),
            incarnation: reader.cursor().incarnation,
            stage: Stage::Following,
            shape: Shape::default(),
            catching_up: true,
            skipped: None,
            beside: None,
            snapshot: None,
            again: None,
            is_due: false,
            counted: Counted::new(metrics),
            reader,
        }
    }

    /// The same, with more than the events.
    pub(super) fn with(
        self,
        beside: Option<Box<Beside>>,
        (snapshot, again): (Option<Json>, Option<Box<Again>>),
        options: &AttachOptions,
        view: Option<Box<View>>,
    ) -> Telling {
        let shape = Shape { fold: options.fold, visibility: options.visibility, view };
        Telling { beside, snapshot, again, shape, ..self }
    }

    /// What is sent first, and once.
    pub(super) fn attached(&mut self, id: &SessionId) -> Control {
        let at = self.reader.cursor();
        let data = Json::object([
            ("session", id.name().into()),
            ("incarnation", u64::from(at.incarnation.0).into()),
            ("cursor", at.to_string().into()),
            ("tail", self.reader.status().tail.0.into()),
            ("closed", self.reader.is_closed().into()),
        ]);
        let data = data.with_some("snapshot", self.snapshot.take());
        Control { name: "attached", cursor: Some(at), data }
    }

    /// Begins again with the session as it is now, where that was requested. Cancel safe: it happens at the end or
    /// not.
    async fn begin_again(&mut self) -> Option<Control> {
        let again = self.again.as_ref().filter(|_| self.is_due)?;
        let begun = Box::pin(again.begin()).await;
        self.is_due = false;
        let Ok((reader, data, view)) = begun else {
            self.stage = Stage::BreakingOff;
            let data = json!({ "reason": "the snapshot is not to be had now" }).into();
            return Some(Control { name: "detached", cursor: None, data });
        };
        let at = reader.cursor();
        (self.reader, self.next, self.skipped) = (reader, None, None);
        (self.incarnation, self.catching_up) = (at.incarnation, true);
        self.shape.view = view;
        Some(Control { name: "snapshot", cursor: Some(at), data })
    }

    /// Whether nothing follows, as far as is known without waiting for anyone to write.
    pub(super) async fn ends_soon(&mut self) -> bool {
        let wait = Duration::from_millis(END_AGAIN_MS);
        let Ok(first) = timeout(wait, self.reader.next()).await else { return false };
        self.next = match first {
            Delivery::CaughtUp { .. } => match timeout(wait, self.reader.next()).await {
                Ok(second) => Some(second),
                Err(_) => Some(first),
            },
            first => Some(first),
        };
        matches!(self.next, Some(Delivery::End { .. }))
    }

    /// Has nothing more sent: who reads may read no more.
    pub(super) fn break_off(&mut self) {
        self.stage = Stage::BreakingOff;
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// The log that the events of the backlog are of.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The next event of those that were delivered.
    pub(super) fn peek(&self) -> Option<&Arc<Shown>> {
        self.backlog.as_slice().first()
    }

    /// Takes the next event of those that were delivered.
    pub(super) fn take(&mut self) -> Option<Arc<Shown>> {
        let taken = self.backlog.next();
        if self.backlog.as_slice().is_empty() {
            self.room.keep(0);
        }
        self.counted.delivered(u64::from(taken.is_some()));
        taken
    }

    /// Waits until something is to be sent beside the events, or events are there to be taken: then none.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Control> {
        if let Some(at) = self.skipped.take() {
            let data = json!({ "cursor": at.to_string() }).into();
            return Some(Control { name: "skipped", cursor: Some(at), data });
        }
        if self.is_due
            && let Some(frames) = self.begin_again().await
        {
            return Some(frames);
        }
        if self.next.is_none()
            && let Some(frames) = self.beside().await
        {
            return Some(frames);
        }
        let delivery = match (self.next.take(), &mut self.beside) {
            (Some(delivery), _) => delivery,
            (None, None) => self.reader.next().await,
            (None, Some(beside)) => tokio::select! {
                biased;
                delivery = self.reader.next() => delivery,
                () = beside.due() => return self.beside().await,
            },
        };
        self.show(delivery)
    }

    /// Waits for what is to be sent beside the events alone; for ever where there is nothing. Cancel safe.
    pub(super) async fn aside(&mut self) -> Control {
        loop {
            match &mut self.beside {
                Some(beside) => beside.due().await,
                None => std::future::pending().await,
            }
            if let Some(frames) = self.beside().await {
                return frames;
            }
        }
    }

    /// What is to be sent beside the events by now, however many of them come. Cancel safe.
    async fn beside(&mut self) -> Option<Control> {
        let beside = self.beside.as_mut().filter(|beside| beside.is_due())?;
        // Most readers wait without it, so it takes no room in them.
        Box::pin(beside.next(self.reader.known_tail())).await
    }

    /// What is sent for a delivery that is no event; events go to the backlog.
    fn show(&mut self, delivery: Delivery) -> Option<Control> {
        let incarnation = self.reader.cursor().incarnation;
        self.incarnation = incarnation;
        let (name, cursor, data) = match delivery {
            Delivery::Events(events) if !self.room.reach(alone(&events)) => {
                self.stage = Stage::BreakingOff;
                // From where it is now, at this node or another, when there is room.
                ("detached", None, json!({ "reason": "overloaded" }))
            }
            Delivery::Events(events) => {
                let fold = self.shape.fold && self.catching_up;
                let (shown, skipped) = self.shape.apply(fold, events, incarnation);
                let skipped = skipped.map(|serial| Cursor { incarnation, serial });
                (self.backlog, self.skipped) = (shown.into_iter(), skipped);
                return None;
            }
            Delivery::CaughtUp { at } => {
                self.catching_up = false;
                ("caught-up", Some(at), json!({ "cursor": at.to_string() }))
            }
            Delivery::Gap { first } => {
                let at = Cursor { incarnation, serial: cursor::before(first) };
                ("gap", Some(at), json!({ "first": first.0 }))
            }
            Delivery::Reset { incarnation } => {
                (self.incarnation, self.catching_up) = (incarnation, true);
                // It is another conversation.
                self.shape.view = None;
                let at = Cursor { incarnation, serial: Serial::ZERO };
                ("reset", Some(at), json!({ "incarnation": incarnation.0 }))
            }
            Delivery::End { at } => {
                self.stage = Stage::Ended;
                ("end", Some(at), json!({ "cursor": at.to_string() }))
            }
            Delivery::Deleted => {
                self.stage = Stage::Ended;
                ("deleted", None, json!({}))
            }
            Delivery::Detached { reason } => {
                self.stage = Stage::BreakingOff;
                ("detached", None, json!({ "reason": reason }))
            }
        };
        // What it has of the log does not go on. One that comes back before it has the snapshot gets it again.
        self.is_due = self.again.is_some() && matches!(name, "gap" | "reset");
        let cursor = cursor.filter(|_| !self.is_due);
        Some(Control { name, cursor, data: data.into() })
    }
}

/// Bytes of events that were read from blocks for one reader; what is in the hot tail is held anyway.
fn alone(events: &[Arc<Shown>]) -> usize {
    let alone = events.iter().filter(|shown| Arc::strong_count(shown) == 1);
    alone.map(|shown| shown.event.payload.len()).sum()
}
