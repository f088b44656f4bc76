//! What an attachment may request beside the events, and what it gets beside them: who attaches, the
//! snapshot that a device begins with, pings with health, and who else is there.
//!
//! None of it is of one kind of connection: [`super::telling`] sends it on server-sent events and WebSockets.

mod again;
mod asking;
pub(super) mod fold;
pub(super) mod health;
pub(super) mod messages;
mod options;
pub(super) mod people;
pub(super) mod questions;
mod snapshot;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) use self::again::Again;
use self::asking::Asking;
pub(super) use self::options::{AttachOptions, PARAMETERS, Visibility, visibility};
use super::Edge;
use super::content::raw::Json;
use super::ephemeral;
use super::error::Problem;
use super::history::Log;
use super::telling::{Control, Telling};
use crate::ids::{Serial, SessionId};
use crate::limits;
use crate::runtime::ephemeral::Listening;
use crate::runtime::presence::Attendance;
use crate::runtime::{Freshness, Reader};
use crate::session::View;

const PING: Duration = Duration::from_millis(limits::PING_MS);
/// How long a ping may hold up the events after it.
const PATIENCE: Duration = Duration::from_millis(500);

/// What comes of a session beside its events.
pub(super) struct Beside {
    edge: Edge,
    id: SessionId,
    /// Counted as present while this lives, where a participant is named.
    attendance: Option<Attendance>,
    ping_at: Instant,
    request: Asking,
    /// Gets ephemeral messages, if that was requested.
    listening: Option<Listening>,
    visibility: Visibility,
}

/// Opens an attachment as it was requested: counted as present, with its snapshot, and the right to pings.
///
/// # Errors
/// The snapshot could not be made in time; no device is attached then.
pub(super) async fn open(
    edge: &Edge,
    id: &SessionId,
    reader: Reader,
    request: &AttachOptions,
    deadline: Instant,
) -> Result<Telling, Problem> {
    // Who comes from another life is sent everything of this one.
    let is_reset = reader.cursor().incarnation != reader.status().incarnation;
    let is_pinned = request.pin.is_path() && !is_reset;
    let pinned = match request.snapshot || is_pinned {
        true => {
            let status = reader.status();
            let mut log = Log::new(edge, id, status.incarnation, deadline);
            request.pin.view(&mut log, status).await?
        }
        // It is not used.
        false => View::default(),
    };
    let listening = request.ephemeral.then(|| edge.runtime.ephemerals.listen(id));
    let attendance = request.who.clone().map(|who| edge.runtime.presence.attend(id, who));
    let snapshot = match request.snapshot {
        true => {
            let wanted = (request.messages, request.visibility, pinned.clone());
            Some(snapshot::of(edge, id, &reader, wanted, deadline).await?)
        }
        false => None,
    };
    // Who only reads the log is not woken for more than its events.
    let wants = attendance.is_some() || request.snapshot || request.pings || listening.is_some();
    let visibility = request.visibility;
    let beside = wants.then(|| {
        let (edge, id) = (edge.clone(), id.clone());
        let ping_at = Instant::now() + PING;
        let request = Asking::default();
        Box::new(Beside { edge, id, attendance, ping_at, request, listening, visibility })
    });
    let again = Again::of(edge, id, request);
    let telling = Telling::new(reader, &edge.metrics, &edge.room);
    let pinned = is_pinned.then(|| Box::new(pinned));
    Ok(telling.with(beside, (snapshot, again), request, pinned))
}

impl Beside {
    /// Waits until [`Self::next`] has something to send. Cancel safe.
    pub(super) async fn due(&mut self) {
        let attendance = async {
            match &mut self.attendance {
                Some(attendance) => attendance.changed().await,
                None => std::future::pending().await,
            }
        };
        let ephemeral = async {
            match &self.listening {
                // Boxed: most do not listen, and each that waits is to be small.
                Some(listening) => Box::pin(listening.due()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = attendance => {}
            () = ephemeral => {}
            () = sleep_until(self.ping_at) => {}
        }
    }

    /// Whether there is something to send already.
    pub(super) fn is_due(&self) -> bool {
        self.ping_at <= Instant::now()
            || self.attendance.as_ref().is_some_and(Attendance::has_news)
            || self.listening.as_ref().is_some_and(Listening::is_due)
    }

    /// What is to be sent now, if anything is; `tail` as the reader knows it. Cancel safe.
    pub(super) async fn next(&mut self, tail: Serial) -> Option<Control> {
        if self.ping_at <= Instant::now() {
            let data = self.ping(tail).await;
            self.ping_at = Instant::now() + PING;
            return Some(Control { name: "ping", cursor: None, data });
        }
        if let Some(company) = self.attendance.as_mut().and_then(Attendance::news) {
            let data = people::company(&company).into();
            return Some(Control { name: "presence", cursor: None, data });
        }
        let listening = self.listening.as_mut().filter(|listening| listening.is_due())?;
        let messages = ephemeral::render(&listening.take(), self.visibility)?;
        Some(Control { name: "ephemeral", cursor: None, data: messages })
    }

    /// How far the log goes, how the agents are, which questions they have, and how many watch.
    async fn ping(&mut self, tail: Serial) -> Json {
        let until = Instant::now() + PATIENCE;
        let status = self.edge.sessions().status(&self.id, Freshness::Local, until);
        // A replica that is not to be had now is no reason to be silent.
        let mut status = timeout(PATIENCE, status).await.ok().and_then(Result::ok).flatten();
        if let Some(status) = &mut status {
            self.edge.runtime.workers.mark_unserved(&self.id, &mut status.turns).await;
        }
        if let Some(status) = &status {
            let known = self.request.learn(&self.edge, &self.id, status, until);
            // What is not to be had now is looked for again with the next ping.
            timeout(PATIENCE, known).await.ok();
        }
        let interactions = status.as_ref().map_or(Json::Null, |status| self.request.tell(status));
        let now = self.edge.runtime.sessions.time_of(&self.id);
        let known = self.attendance.as_ref().and_then(Attendance::known);
        let counted = status.as_ref().and_then(|status| status.audience);
        let audience = match (known, counted) {
            (Some(company), _) => people::audience(company.watchers, company.controllers),
            (None, Some(counted)) => people::audience(counted.watchers, counted.controllers),
            (None, None) => Value::Null,
        };
        let tail = status.as_ref().map_or(tail, |status| status.tail.max(tail));
        let health = status.map(|status| health::all(&status, now));
        Json::object([
            ("tail", tail.0.into()),
            ("health", health.map_or(Json::Null, Json::from)),
            ("audience", audience.into()),
            ("interactions", interactions),
        ])
    }
}
