//! The open questions of a session, as they come again with each ping: each is read from the log once.

use std::collections::HashMap;

use tokio::time::Instant;

use super::super::Edge;
use super::super::content::raw::Json;
use super::super::error::Problem;
use super::super::history::{Log, question};
use crate::ids::{Incarnation, Serial, SessionId};
use crate::limits::PING_QUESTIONS_BYTES;
use crate::runtime::Freshness;
use crate::session::{Event, Status};

/// Questions by their places; of one life.
#[derive(Default)]
pub(super) struct Asking {
    life: Option<Incarnation>,
    /// Those that are open, at most as many as a session may have; large ones without their text.
    known: HashMap<Serial, Event>,
}

impl Asking {
    /// Reads the questions that are open and not known yet. Cancel safe.
    pub(super) async fn learn(
        &mut self,
        edge: &Edge,
        id: &SessionId,
        status: &Status,
        deadline: Instant,
    ) -> Result<(), Problem> {
        if self.life != Some(status.incarnation) {
            (self.life, self.known) = (Some(status.incarnation), HashMap::new());
        }
        let open = || status.interactions.iter().map(|open| open.serial);
        self.known.retain(|serial, _| open().any(|other| other == *serial));
        let mut new: Vec<Serial> =
            open().filter(|serial| !self.known.contains_key(serial)).collect();
        new.sort_unstable();
        let log = Log::new(edge, id, status.incarnation, deadline);
        for shown in log.reading(Freshness::Local).at(&new).await? {
            let mut event = shown.event.clone();
            let held: usize = self.known.values().map(|event| event.payload.len()).sum();
            if PING_QUESTIONS_BYTES < held + event.payload.len() {
                event.payload = bytes::Bytes::new();
            }
            self.known.insert(event.serial, event);
        }
        Ok(())
    }

    /// The open questions, with their text where it is known.
    pub(super) fn tell(&self, status: &Status) -> Json {
        let open = status.interactions.iter();
        let open = open.map(|open| question(open, self.known.get(&open.serial)));
        open.collect::<Vec<_>>().into()
    }
}
