//! What the cluster keeps of who has access to it: a log in a session of its own, which every node follows, and what
//! it adds up to.
//!
//! What a node does not know may be new. Before it refuses, it reads on to the end of the log as the cluster has
//! it; such looks are shared, so that guessing costs the cluster nothing.

use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use session::ids::{Cursor, Incarnation, Millis, Serial, SessionId};
use session::{Append, Applied, Command, Config, Create, Format, NewEvent};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::limits;
use crate::runtime::{AttachError, Delivery, Freshness, Reader, Sessions, Start, SubmitError};

/// How often a node looks whether the log has begun.
const LOOK: Duration = Duration::from_secs(1);
/// How often a node that has no keys looks for some in the cluster.
const LOOK_FIRST: Duration = Duration::from_secs(10);
/// Pause between two looks for what is not known.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often a node makes sure that it is in touch with the log, and how long it may be behind.
const TOUCH: Duration = Duration::from_secs(2);
const LATE: &str = "the log was not read in time";
const NO_PANIC: &str = "no panic under this lock";

/// What a log adds up to.
pub(super) trait Sum: Default + Send + Sync {
    /// Takes the next change in, which was made at `time`.
    fn take(&mut self, payload: &[u8], time: Millis);

    /// Begins anew: the log is another one.
    fn forget(&mut self) {
        *self = Self::default();
    }
}

/// A log, and what it adds up to as far as it was read here.
pub(super) struct Log<S> {
    sessions: Arc<Sessions>,
    id: SessionId,
    config: Config,
    sum: RwLock<S>,
    /// How far the log was read.
    read: watch::Sender<StreamSlot>,
    /// When the last look for what is not known began that came to its end.
    looked: Mutex<Option<Instant>>,
}

/// A place in the log; before all of them where there is no log.
pub(super) type StreamSlot = (Incarnation, Serial);

/// Why the log could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// As the session of the log answered.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It could not be read in time.
    #[error("{0}")]
    Unavailable(String),
}

impl<S: Sum> Log<S> {
    pub(super) fn new(sessions: Arc<Sessions>, name: &str, config: Config) -> Log<S> {
        let read = watch::Sender::new((Incarnation(0), Serial::ZERO));
        let id = SessionId::parse(name).expect("the name is possible");
        Log { sessions, id, config, sum: RwLock::default(), read, looked: Mutex::default() }
    }

    /// What the log adds up to, as far as it was read.
    pub(super) fn sum(&self) -> RwLockReadGuard<'_, S> {
        self.sum.read().expect(NO_PANIC)
    }

    /// The time on this node.
    pub(super) fn now(&self) -> Millis {
        self.sessions.now()
    }

    /// Waits until the cluster has the log.
    pub(super) async fn begun(&self) {
        loop {
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
            match self.sessions.status(&self.id, Freshness::Linearizable, deadline).await {
                Ok(Some(_)) => return,
                Ok(None) => sleep(LOOK_FIRST).await,
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// Changes with each piece of the log that is read.
    pub(super) fn changes(&self) -> watch::Receiver<StreamSlot> {
        self.read.subscribe()
    }

    /// Follows the log for ever.
    pub(super) async fn follow(&self) {
        let mut at = None;
        loop {
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
            let start = at.map_or(Start::Beginning, Start::After);
            // Where this node's own replica is not in touch, another node's is read.
            match self.sessions.attach(&self.id, start, Freshness::Linearizable, deadline).await {
                Ok(mut reader) => tokio::select! {
                    () = self.take_all(&mut reader, &mut at) => {}
                    () = self.fall_behind() => {
                        tracing::debug!(log = self.id.for_operators(), "a log is read elsewhere: it goes on there");
                    }
                },
                Err(AttachError::NotFound) => {}
                Err(why) => {
                    tracing::debug!(log = self.id.for_operators(), %why, "a log is not to be read now")
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the cluster has the log longer than this node for too long.
    async fn fall_behind(&self) {
        loop {
            sleep(TOUCH).await;
            let deadline = Instant::now() + TOUCH;
            match self.catch_up(deadline).await {
                Err(LogError::Unavailable(why)) if why == LATE => return,
                // No node has a majority in reach: there is nothing new to read either.
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Takes what the reader has, until it has no more.
    async fn take_all(&self, reader: &mut Reader, at: &mut Option<Cursor>) {
        loop {
            match reader.next().await {
                Delivery::Events(events) => {
                    let mut sum = self.sum.write().expect(NO_PANIC);
                    for shown in events {
                        sum.take(&shown.event.payload, shown.event.time);
                    }
                }
                Delivery::Reset { .. } => self.sum.write().expect(NO_PANIC).forget(),
                Delivery::CaughtUp { .. } | Delivery::Gap { .. } => {}
                Delivery::End { .. } | Delivery::Deleted | Delivery::Detached { .. } => return,
            }
            let cursor = reader.cursor();
            *at = Some(cursor);
            self.read.send_replace((cursor.incarnation, cursor.serial));
        }
    }

    /// Reads on to where the log ends in the cluster. Whoever comes while a look is waited for shares it.
    ///
    /// # Errors
    /// It could not be read so far in time.
    pub(super) async fn catch_up(&self, deadline: Instant) -> Result<(), LogError> {
        let request = Instant::now();
        let mut looked = timeout_at(deadline, self.looked.lock()).await.map_err(late)?;
        if let Some(last) = *looked {
            if request <= last {
                return Ok(());
            }
            timeout_at(deadline, sleep_until(last + LOOK_AGAIN)).await.map_err(late)?;
        }
        let begun = Instant::now();
        let status = self.sessions.status(&self.id, Freshness::Linearizable, deadline).await;
        let status = status.map_err(|why| LogError::Unavailable(why.to_string()))?;
        if let Some(status) = status {
            self.reach((status.incarnation, status.tail), deadline).await?;
        }
        *looked = Some(begun);
        Ok(())
    }

    /// Adds a change, and waits until it is known here.
    ///
    /// # Errors
    /// It is not known whether it was added, unless the error states it; adding it again must be harmless.
    pub(super) async fn append(&self, payload: Vec<u8>, deadline: Instant) -> Result<(), LogError> {
        let create = Create { config: self.config.clone(), ..Create::default() };
        self.sessions.submit(&self.id, create.into(), deadline).await?;
        let event = NewEvent { format: Format::JSON, payload: payload.into() };
        let append = Append { events: vec![event], ..Append::default() };
        let reply = self.sessions.submit(&self.id, Command::Append(append), deadline).await?;
        let last = match reply.applied {
            Applied::Appended { last: Some(last), .. } => last,
            _ => reply.tail,
        };
        self.reach((reply.incarnation, last), deadline).await
    }

    async fn reach(&self, place: StreamSlot, deadline: Instant) -> Result<(), LogError> {
        let mut read = self.read.subscribe();
        let reached = timeout_at(deadline, read.wait_for(|read| place <= *read)).await;
        reached.map(drop).map_err(late)
    }
}

fn late(_: tokio::time::error::Elapsed) -> LogError {
    LogError::Unavailable(LATE.into())
}
