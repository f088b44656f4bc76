//! What the world owes a session, done by the leader alone (S8), and derived from state, never queued: a
//! new leader asks the same question and goes on.

use std::sync::{Arc, OnceLock, Weak};

use cluster::ids::GroupId;
use tokio::time::Instant;

use super::changes::Feeds;
use super::desk::Offer;
use super::{Freshness, Runtime, Unavailable};
use crate::ids::SessionId;
use crate::limits::DUTY_DEADLINE;
use crate::session::{Command, Duty};

/// The way from a session's actor to everything that is not the session.
#[derive(Default)]
pub(super) struct World {
    runtime: OnceLock<Weak<Runtime>>,
    /// Who on this node hears of changes.
    pub(super) feeds: Feeds,
}

impl World {
    pub(super) fn open(&self, runtime: Weak<Runtime>) {
        // It is opened once, at the start.
        self.runtime.set(runtime).ok();
    }

    fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.get().and_then(Weak::upgrade)
    }

    /// Whether this node may act for the sessions of a shard.
    pub(super) fn leads(&self, shard: u32) -> bool {
        let group = self.runtime().and_then(|runtime| runtime.host.group(GroupId(shard)));
        group.is_some_and(|group| group.leads())
    }

    /// Does one duty of a session; `done` hears when the attempt is over, whatever came of it.
    pub(super) fn perform(
        &self,
        id: SessionId,
        duty: Duty,
        done: impl FnOnce(Duty) + Send + 'static,
    ) {
        let Some(runtime) = self.runtime() else { return };
        let stop = runtime.stop.clone();
        let tasks = runtime.tasks.clone();
        tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = runtime.perform(&id, &duty) => outcome,
                () = stop.cancelled() => return,
            };
            if let Err(why) = outcome {
                // It stays owed, and is tried again at the next sweep.
                tracing::debug!(session = %id, ?duty, %why, "a duty was not done");
            }
            done(duty);
        });
    }
}

/// Why a duty is still owed.
type Owed = Box<dyn std::error::Error + Send + Sync>;

impl Runtime {
    async fn perform(&self, id: &SessionId, duty: &Duty) -> Result<(), Owed> {
        let deadline = Instant::now() + DUTY_DEADLINE;
        match duty {
            Duty::Release { source, key } => {
                let release = Command::Release { fork: id.clone(), key: *key };
                self.submit(source, release, deadline).await?;
                let settle = Command::Settle { source: source.clone(), key: *key };
                self.submit(id, settle, deadline).await?;
            }
            Duty::AskFork { fork, key } => {
                let command = match self.has_fork(fork, *key, deadline).await? {
                    true => Command::Confirm { fork: fork.clone(), key: *key },
                    false => Command::Release { fork: fork.clone(), key: *key },
                };
                self.submit(id, command, deadline).await?;
            }
            Duty::Offer { turn, agent, .. } => {
                self.desk.offer(agent, Offer { session: id.clone(), turn: turn.clone() });
            }
        }
        Ok(())
    }

    /// Whether a session lives, or is kept, as the fork with this key.
    pub(super) async fn has_fork(
        &self,
        fork: &SessionId,
        key: u64,
        deadline: Instant,
    ) -> Result<bool, Unavailable> {
        let status = self.status(fork, Freshness::Linearizable, deadline).await?;
        let held = status.and_then(|status| status.fork);
        Ok(held.is_some_and(|held| held.key == key))
    }
}
