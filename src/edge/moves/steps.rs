//! What is brought in, step by step: each is a command of its own, and the last one makes the session visible.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::auth::Caller;
use crate::edge::error::{self, Problem};
use crate::edge::{Edge, verbs};
use crate::ids::{Incarnation, SessionId};
use crate::runtime::{Reply, moved};
use crate::session::{Applied, Carried, Command, Event, Import, ImportEvents, ImportStep, Refusal};

/// Bytes and events that one step brings.
const STEP_BYTES: usize = 256 << 10;
const STEP_EVENTS: usize = 500;
/// Time for one step: long enough for a leader to be replaced.
const STEP: Duration = Duration::from_secs(30);
/// How often a step waits for the caller's quotas.
const WAITS: usize = 60;

/// An import under way.
pub(super) struct Steps {
    edge: Edge,
    caller: Caller,
    id: SessionId,
    digest: u128,
    /// The life that it began.
    life: Incarnation,
    carried: Carried,
    events: Vec<Event>,
    /// Whether the first of them follows what is here.
    linked: bool,
    bytes: usize,
    /// All of it is here since an earlier request.
    complete: Option<Reply>,
}

impl Steps {
    /// Begins the import of what is carried, or goes on with it.
    ///
    /// # Errors
    /// Another session has the name, or the caller may not.
    pub(super) async fn begin(
        edge: &Edge,
        caller: &Caller,
        id: &SessionId,
        (digest, mut carried): (u128, Carried),
    ) -> Result<Steps, Problem> {
        let begin = ImportStep::Begin(Box::new(carried.begin()));
        let writers = carried.take_writers();
        let (edge, caller, id) = (edge.clone(), caller.clone(), id.clone());
        let (events, linked, bytes, complete) = (Vec::new(), false, 0, None);
        let life = Incarnation(0);
        let mut steps =
            Steps { edge, caller, id, digest, life, carried, events, linked, bytes, complete };
        let reply = steps.step(begin).await?;
        steps.life = reply.incarnation;
        if matches!(reply.applied, Applied::Imported { complete: true, .. }) {
            steps.complete = Some(reply);
            return Ok(steps);
        }
        for some in writers {
            if let Err(why) = steps.step(ImportStep::Writers(some)).await {
                return Err(steps.given_up(why).await);
            }
        }
        Ok(steps)
    }

    /// Leaves nothing of it, and the name free, if what comes can never be a session: the same again would be refused
    /// again. Where a connection or a node failed, who goes on with it finds what is here already.
    pub(super) async fn given_up(&self, why: Problem) -> Problem {
        let kind = why.kind();
        let is_over = (400..500).contains(&kind.status) && !why.is_passing();
        let goes_on = [error::BAD_BODY, error::IMPORT_OVER].contains(kind);
        if self.complete.is_none() && is_over && !goes_on {
            let left = self.step(ImportStep::GiveUp).await;
            if let Err(why) = left {
                tracing::debug!(code = why.code(), "an import that was refused waits for its end");
            }
        }
        why
    }

    /// Brings the next event.
    ///
    /// # Errors
    /// It, or one before it, is not taken.
    pub(super) async fn event(&mut self, event: Event, linked: bool) -> Result<(), Problem> {
        if self.complete.is_some() {
            return Ok(());
        }
        let bytes = moved::event_bytes(&event);
        let fits = self.bytes + bytes <= STEP_BYTES && self.events.len() < STEP_EVENTS;
        if !self.events.is_empty() && (!linked || !fits) {
            self.flush().await?;
        }
        if self.events.is_empty() {
            self.linked = linked;
        }
        self.bytes += bytes;
        self.events.push(event);
        Ok(())
    }

    /// Makes the session visible.
    ///
    /// # Errors
    /// It is no session; nothing of it is seen.
    pub(super) async fn finish(&mut self) -> Result<Reply, Problem> {
        if let Some(reply) = self.complete.take() {
            return Ok(reply);
        }
        self.flush().await?;
        let carried = Box::new(self.carried.clone());
        self.step(ImportStep::Finish(carried)).await
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let events = std::mem::take(&mut self.events);
        self.bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        let linked = self.linked;
        self.step(ImportStep::Events(ImportEvents { linked, events })).await.map(drop)
    }

    /// One step; where the caller's quotas are used up it waits for them.
    async fn step(&self, step: ImportStep) -> Result<Reply, Problem> {
        let import = Import { digest: self.digest, life: self.life, step };
        let command = Command::Import(Box::new(import));
        for _ in 0..WAITS {
            let (deadline, command) = (Instant::now() + STEP, command.clone());
            match verbs::submit(&self.edge, &self.caller, &self.id, command, deadline).await {
                Err(why) if *why.kind() == error::QUOTA_EXCEEDED => {
                    let wait = why.retry_after_ms().unwrap_or(1_000).clamp(10, 1_000);
                    sleep(Duration::from_millis(wait)).await;
                }
                done => return done,
            }
        }
        Err(Problem::new(&error::OVERLOADED, "the quotas of the caller are used up"))
    }
}

/// What is brought in is no session.
pub(super) fn bad(why: impl Into<String>) -> Problem {
    Refusal::BadImport { why: why.into() }.into()
}
