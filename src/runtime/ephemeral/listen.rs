//! One reader of ephemeral messages, which come no faster than it takes them.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::pile::Pile;
use super::{EphemeralMessage, Ephemerals};
use crate::ids::SessionId;
use crate::limits::{
    EPHEMERAL_FRAME_BYTES, EPHEMERAL_PACE, EPHEMERAL_WAITING, EPHEMERAL_WAITING_BYTES,
};

/// What waits for a reader.
#[derive(Default)]
pub(super) struct Waiting {
    pile: Mutex<Pile>,
    news: Notify,
}

impl Waiting {
    /// Takes a message; returns how many were dropped for it.
    pub(super) fn take(&self, message: &Arc<EphemeralMessage>) -> u64 {
        let dropped = self
            .with(|pile| pile.push(message.clone(), EPHEMERAL_WAITING, EPHEMERAL_WAITING_BYTES));
        self.news.notify_one();
        dropped
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pile) -> T) -> T {
        act(&mut self.pile.lock().expect("no panic happens under this lock"))
    }
}

/// A reader's registration for messages. Dropping it ends that.
pub struct Listening {
    ephemerals: Arc<Ephemerals>,
    id: SessionId,
    waiting: Arc<Waiting>,
    /// When it may get something again: what gathers until then comes at once.
    again_at: Instant,
}

impl Ephemerals {
    /// Gets the messages of a session from now on.
    pub fn listen(self: &Arc<Self>, id: &SessionId) -> Listening {
        let waiting = Arc::new(Waiting::default());
        self.state().readers.entry(id.clone()).or_default().push(waiting.clone());
        let ephemerals = self.clone();
        Listening { ephemerals, id: id.clone(), waiting, again_at: Instant::now() }
    }
}

impl Listening {
    /// Whether there is something to send now.
    pub fn is_due(&self) -> bool {
        self.again_at <= Instant::now() && !self.waiting.with(|pile| pile.is_empty())
    }

    /// Waits until there is. Cancel safe.
    pub async fn due(&self) {
        while self.waiting.with(|pile| pile.is_empty()) {
            // What comes before the wait begins is remembered.
            self.waiting.news.notified().await;
        }
        sleep_until(self.again_at).await;
    }

    /// Takes what there is, as much as one frame holds.
    pub fn take(&mut self) -> Vec<Arc<EphemeralMessage>> {
        self.again_at = Instant::now() + EPHEMERAL_PACE;
        self.waiting.with(|pile| pile.take(EPHEMERAL_FRAME_BYTES))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.ephemerals.state();
        if let Some(readers) = state.readers.get_mut(&self.id) {
            readers.retain(|other| !Arc::ptr_eq(other, &self.waiting));
            if readers.is_empty() {
                state.readers.remove(&self.id);
            }
        }
    }
}
