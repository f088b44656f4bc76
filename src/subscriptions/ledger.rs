//! The log of one subscription: read, added up, and appended to by compare-and-swap.
//!
//! Whoever wants a change names the serial that it belongs after. If another came first, the log is read on
//! and the change is thought over; so any node may serve any request, and what is decided is linearizable.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::change::{self, Change};
use super::state::{Refused, State};
use super::{Fault, Named};
use crate::ids::{Incarnation, Millis, Serial, SessionId};
use crate::limits;
use crate::runtime::{AttachError, Delivery, Freshness, Reader, Sessions, Start, SubmitError};
use crate::session::{Append, Applied, Command, Event, NewEvent, Refusal};

/// A subscription's log as far as it was read.
pub(super) struct Ledger {
    sessions: Arc<Sessions>,
    id: SessionId,
    reader: Reader,
    life: Incarnation,
    serial: Serial,
    /// Time of the last change.
    time: Millis,
    state: Option<State>,
    /// Changes since the log began or began anew.
    changes: usize,
    /// Where it last began anew.
    kept: Serial,
}

/// The result of requested changes.
pub(super) enum Committed {
    /// They are in the log; the first that was refused by its time, if any.
    Done(Result<(), Refused>),
    /// Another change came first; this has been read now.
    Overtaken,
}

impl Ledger {
    /// Reads the log up to its end; none where there is no such subscription.
    pub(super) async fn open(
        sessions: &Arc<Sessions>,
        subscription: &Named,
        deadline: Instant,
    ) -> Result<Option<Ledger>, Fault> {
        let Ok(id) = subscription.session() else { return Ok(None) };
        let attached =
            sessions.attach(&id, Start::Beginning, Freshness::Linearizable, deadline).await;
        let reader = match attached {
            Ok(reader) => reader,
            Err(AttachError::NotFound | AttachError::Gone) => return Ok(None),
            Err(why) => return Err(Fault::unavailable(&why)),
        };
        let cursor = reader.cursor();
        let mut ledger = Ledger {
            sessions: sessions.clone(),
            id,
            reader,
            life: cursor.incarnation,
            serial: cursor.serial,
            time: Millis(0),
            state: None,
            changes: 0,
            kept: Serial::ZERO,
        };
        let tail = ledger.reader.status().tail;
        ledger.read_to(tail, deadline, |_, _| {}).await?;
        Ok(ledger.state.is_some().then_some(ledger))
    }

    /// The subscription; a ledger that was opened has one until its log is gone.
    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The time as the journal would stamp it now, or a little before.
    pub(super) fn now(&self) -> Millis {
        self.sessions.time_of(&self.id).max(self.time)
    }

    /// Waits for the next changes and takes them in. Cancel safe.
    ///
    /// # Errors
    /// The log is read here no more: it is gone, or is elsewhere.
    pub(super) async fn follow(&mut self) -> Result<(), Fault> {
        let delivery = self.reader.next().await;
        self.take(delivery, &mut |_, _| {})
    }

    /// Appends changes if nothing came in between.
    pub(super) async fn commit(
        &mut self,
        changes: &[Change],
        deadline: Instant,
    ) -> Result<Committed, Fault> {
        let events: Vec<_> = changes.iter().map(|change| change.event(Some(self.life))).collect();
        let (after, life) = (self.serial, self.life);
        let last = loop {
            let append =
                Append { events: events.clone(), expect: Some(after), ..Append::default() };
            match self.sessions.submit(&self.id, Command::Append(append), deadline).await {
                Ok(reply) if reply.incarnation != life => return Err(Fault::Gone),
                Ok(reply) => match reply.applied {
                    Applied::Appended { last: Some(last), .. } => break last,
                    _ => return Err(Fault::Internal),
                },
                Err(SubmitError::Refused {
                    refusal: Refusal::SerialMismatch { tail, .. }, ..
                }) if after <= tail => break tail,
                // Another life, in which our changes mean nothing.
                Err(SubmitError::Refused { refusal: Refusal::SerialMismatch { .. }, .. }) => {
                    return Err(Fault::Gone);
                }
                Err(SubmitError::Refused {
                    refusal: Refusal::NotFound | Refusal::Gone, ..
                }) => {
                    return Err(Fault::Gone);
                }
                Err(SubmitError::Refused { refusal, .. }) => {
                    tracing::warn!(session = self.id.for_operators(), %refusal, "a change cannot be kept");
                    return Err(Fault::Internal);
                }
                // It takes effect after this serial or never, so it may be sent again.
                Err(SubmitError::Unknown(why)) if Instant::now() < deadline => {
                    tracing::debug!(
                        session = self.id.for_operators(),
                        why,
                        "a change is sent again"
                    );
                }
                Err(why) => return Err(Fault::unavailable(&why)),
            }
        };
        let (mut ours, mut refused) = (0, Ok(()));
        let mut compare = |event: &Event, outcome: Result<(), Refused>| {
            let place = event.serial.0.checked_sub(after.0 + 1);
            let wanted = place.and_then(|place| events.get(usize::try_from(place).ok()?));
            if wanted.is_some_and(|wanted: &NewEvent| wanted.payload == event.payload) {
                ours += 1;
                if refused.is_ok() {
                    refused = outcome;
                }
            }
        };
        self.read_to(last, deadline, &mut compare).await?;
        if self.life != life {
            return Err(Fault::Gone);
        }
        let all = ours == events.len();
        Ok(if all { Committed::Done(refused) } else { Committed::Overtaken })
    }

    /// Lets the log begin anew, if it has grown long.
    pub(super) async fn compact(&mut self, deadline: Instant) -> Result<(), Fault> {
        let Some(state) = &self.state else { return Ok(()) };
        if limits::SUBSCRIPTION_CHANGES <= self.changes {
            let changes = change::kept(state, limits::WAKE_STREAMS);
            self.commit(&changes, deadline).await?;
        }
        if self.reader.status().first < self.kept {
            let trim = Command::Trim { before: self.kept };
            // Should it be lost, the next compaction does it too.
            if let Err(why) = self.sessions.submit(&self.id, trim, deadline).await {
                tracing::debug!(session = self.id.for_operators(), %why, "a log was not trimmed");
            }
            self.kept = Serial::ZERO;
        }
        Ok(())
    }

    async fn read_to(
        &mut self,
        last: Serial,
        deadline: Instant,
        mut saw: impl FnMut(&Event, Result<(), Refused>),
    ) -> Result<(), Fault> {
        while self.serial < last {
            let delivery = timeout_at(deadline, self.reader.next()).await;
            let delivery = delivery.map_err(|late| Fault::unavailable(&late))?;
            self.take(delivery, &mut saw)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        delivery: Delivery,
        saw: &mut impl FnMut(&Event, Result<(), Refused>),
    ) -> Result<(), Fault> {
        match delivery {
            Delivery::Events(events) => {
                for shown in events {
                    let outcome = self.absorb(&shown.event);
                    saw(&shown.event, outcome);
                }
            }
            Delivery::CaughtUp { .. } => {}
            // What was trimmed is repeated by what comes next.
            Delivery::Gap { first } => self.serial = Serial(first.0.saturating_sub(1)),
            Delivery::Reset { .. } | Delivery::Deleted | Delivery::End { .. } => {
                self.state = None;
                return Err(Fault::Gone);
            }
            Delivery::Detached { reason } => return Err(Fault::unavailable(&reason)),
        }
        Ok(())
    }

    fn absorb(&mut self, event: &Event) -> Result<(), Refused> {
        self.serial = event.serial;
        self.time = event.time;
        self.changes += 1;
        let Some(change) = Change::read(&event.payload, self.life) else {
            tracing::warn!(session = self.id.for_operators(), serial = %event.serial, "a change is unreadable");
            return Err(Refused::Fenced);
        };
        match change {
            Change::Created { plan, base } => self.state = Some(State::new(plan, base, event.time)),
            Change::Kept { state } => {
                self.state = Some(*state);
                (self.changes, self.kept) = (1, event.serial);
            }
            change => {
                let state = self.state.as_mut().ok_or(Refused::Fenced)?;
                return state.apply(event.time, &change);
            }
        }
        Ok(())
    }
}
