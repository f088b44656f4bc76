//! What a worker gets of one turn: a reader of the session's log at this node, filtered.
//!
//! The log is where it comes from, so it is in order and outlives leaders: a reader that is detached
//! attaches again after the last event it passed on.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::super::Freshness;
use super::super::claim::Assignment;
use super::super::reader::{AttachError, Delivery, Reader, Start};
use super::super::sessions::Sessions;
use super::super::story::{Story, Took};
use super::super::tail::Shown;
use super::{Offered, Signal, TurnKey, What};
use crate::ids::{Cursor, Serial};
use crate::limits::{FEED_WAIT, PAGE_EVENTS, REQUEST_DEADLINE};
use crate::session::{Cause, End, Event, Fact, Receipt};

/// The log of one turn's session, after what the worker knows.
pub struct Feed {
    sessions: Arc<Sessions>,
    key: TurnKey,
    reader: Option<Reader>,
    /// The last event that was looked at.
    cursor: Cursor,
    /// Read, and not looked at yet.
    ahead: VecDeque<Arc<Shown>>,
    /// What the worker was given; none where it was given that elsewhere.
    story: Option<Story>,
}

/// What the feed comes to.
pub enum Fed {
    Signal(Signal),
    /// The worker ended the turn, or gave it back.
    Over,
}

impl Feed {
    /// Reads the turn's events so far, at most about one page; whether there are more; and the feed after them.
    ///
    /// None where the session is gone, or the log does not come in time.
    pub(super) async fn open(
        sessions: Arc<Sessions>,
        key: TurnKey,
        assignment: Assignment,
        deadline: Instant,
    ) -> Option<(Feed, Offered)> {
        let serial = Serial(assignment.turn.input.0 - 1);
        let cursor = Cursor { incarnation: assignment.incarnation, serial };
        let mut feed = Feed::after(sessions, key, cursor);
        let mut story = Story::of(&assignment.turn, PAGE_EVENTS);
        let read = tokio::time::timeout_at(deadline, feed.page(&mut story)).await;
        let (events, more) = (story.events(), read.ok()??);
        feed.story = Some(story);
        let status = feed.reader.as_ref().map(Reader::status);
        let control = status.map(|status| status.control.clone()).unwrap_or_default();
        let audience = status.and_then(|status| status.audience);
        Some((feed, Offered { assignment, events, more, control, audience }))
    }

    /// The feed after an event that the worker has.
    pub fn after(sessions: Arc<Sessions>, key: TurnKey, cursor: Cursor) -> Feed {
        Feed { sessions, key, reader: None, cursor, ahead: VecDeque::new(), story: None }
    }

    /// Reads the turn's events so far, and whether there are more.
    async fn page(&mut self, story: &mut Story) -> Option<bool> {
        loop {
            let fed = self.step().await;
            while let Some(shown) = self.ahead.pop_front() {
                if story.take(&shown.event) == Took::Full {
                    self.ahead.push_front(shown);
                    return Some(true);
                }
                self.cursor.serial = shown.event.serial;
            }
            match fed {
                Step::GoOn => {}
                // After this all is live.
                Step::CaughtUp | Step::End => return Some(false),
                Step::Gone => return None,
            }
        }
    }

    /// Waits for the next thing that the worker is to know. Not cancel safe.
    pub async fn next(&mut self) -> Fed {
        loop {
            while let Some(shown) = self.ahead.pop_front() {
                self.cursor.serial = shown.event.serial;
                if let Some(input) = self.left(&shown.event) {
                    return Fed::Signal(self.signal(What::Steer, Some(Shown::new(input))));
                }
                match self.look(&shown.event) {
                    Look::Tell(what) => return Fed::Signal(self.signal(what, Some(shown))),
                    Look::Over => return Fed::Over,
                    Look::Pass => {}
                }
            }
            if let Step::Gone = self.step().await {
                return Fed::Signal(self.signal(What::Fenced, None));
            }
        }
    }

    fn signal(&self, what: What, event: Option<Arc<Shown>>) -> Signal {
        let cursor = event.as_ref().map(|_| self.cursor);
        Signal { key: self.key.clone(), what, cursor, event }
    }

    /// The input that another turn left to this one, where there was no room for it when the worker took the turn.
    fn left(&mut self, event: &Event) -> Option<Event> {
        let found = self.story.as_mut()?.look(event);
        let is_left =
            matches!(event.fact.as_deref(), Some(Fact::Receipt { receipt: Receipt::Deferred, .. }));
        found.filter(|_| is_left)
    }

    fn look(&self, event: &Event) -> Look {
        let Some(fact) = event.fact.as_deref() else { return Look::Pass };
        match fact {
            Fact::Control(_) => return Look::Tell(What::Control),
            Fact::Audience { .. } => return Look::Tell(What::Audience),
            Fact::ToolLate { of, .. } if *of == self.key.turn => {
                return Look::Tell(What::ToolResult);
            }
            fact if fact.turn() != Some(&self.key.turn) => return Look::Pass,
            _ => {}
        }
        let own = self.key.epoch;
        match fact {
            Fact::Input { held: false, .. } => Look::Tell(What::Steer),
            Fact::Started { epoch, .. } if own < *epoch => Look::Tell(What::Fenced),
            Fact::Lost { epoch, cause: Cause::Released, .. } if *epoch == own => Look::Over,
            Fact::Lost { epoch, .. } if *epoch == own => Look::Tell(What::Fenced),
            Fact::Stalled { epoch, .. } if *epoch == own => Look::Tell(What::Stalled),
            Fact::Ended { end: End::Cancelled { .. }, .. } => Look::Tell(What::Cancel),
            // Its worker gave its lease up to that, or the turn is over.
            Fact::Ended { .. } | Fact::Waiting { .. } | Fact::Paused { .. } => Look::Over,
            Fact::Answered { .. } | Fact::Expired { .. } | Fact::Withdrawn { .. } => {
                Look::Tell(What::Answer)
            }
            Fact::Pausing { .. } => Look::Tell(What::Pause),
            Fact::Resumed { .. } => Look::Tell(What::Resume),
            Fact::StepCancelled { .. } => Look::Tell(What::CancelStep),
            Fact::Input { .. }
            | Fact::Started { .. }
            | Fact::Output(_)
            | Fact::Phase { .. }
            | Fact::Stalled { .. }
            | Fact::Recovered { .. }
            | Fact::Lost { .. }
            | Fact::Step { .. }
            | Fact::Rewound { .. }
            | Fact::Receipt { .. }
            | Fact::Requested { .. }
            | Fact::CallClaimed { .. }
            | Fact::CallReleased { .. }
            | Fact::ToolStarted { .. }
            | Fact::ToolFinished { .. } => Look::Pass,
            Fact::Person { .. }
            | Fact::Control(_)
            | Fact::Audience { .. }
            | Fact::Standing { .. }
            | Fact::ToolLate { .. } => Look::Pass,
        }
    }

    /// Reads on, and attaches again where that is needed.
    async fn step(&mut self) -> Step {
        let Some(reader) = &mut self.reader else { return self.attach().await };
        match reader.next().await {
            Delivery::Events(events) => self.ahead.extend(events),
            Delivery::CaughtUp { .. } => return Step::CaughtUp,
            Delivery::Gap { first } => {
                let session = &self.key.session;
                tracing::warn!(session = session.for_operators(), turn = %self.key.turn, "retention took events of a turn that is under way");
                self.cursor.serial = Serial(first.0 - 1);
            }
            Delivery::Reset { .. } | Delivery::Deleted => return Step::Gone,
            Delivery::End { .. } => return Step::End,
            Delivery::Detached { .. } => self.reader = None,
        }
        Step::GoOn
    }

    async fn attach(&mut self) -> Step {
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let (session, start) = (&self.key.session, Start::After(self.cursor));
        match self.sessions.attach(session, start, Freshness::Linearizable, deadline).await {
            Ok(reader) => {
                self.reader = Some(reader);
                return Step::GoOn;
            }
            Err(AttachError::NotFound | AttachError::Gone | AttachError::OtherRoot) => {
                return Step::Gone;
            }
            Err(error) => {
                tracing::debug!(session = session.for_operators(), %error, "a feed is not attached yet")
            }
        }
        sleep(FEED_WAIT).await;
        Step::GoOn
    }
}

enum Look {
    Tell(What),
    Over,
    Pass,
}

enum Step {
    GoOn,
    CaughtUp,
    /// The session is closed; its turns were ended before.
    End,
    Gone,
}
