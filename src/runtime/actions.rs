//! Does what sessions owe the world: what their actors want done outside of them (see `effect`).

use std::sync::Arc;

use cluster::essential::essential;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::effect::Action;
use super::outcome::SubmitError;
use super::presence::table::PresenceTable;
use super::sessions::Sessions;
use super::tasks::Tasks;
use crate::ids::SessionId;
use crate::limits::{ACTIONS_AT_ONCE, EFFECT_DEADLINE};
use crate::session::{Command, Effect};

/// Does each thing that is wanted in a task of its own, until the node stops.
pub(super) async fn run(
    mut wanted: mpsc::Receiver<Action>,
    sessions: Arc<Sessions>,
    presence: Arc<PresenceTable>,
    tasks: Tasks,
) {
    let places = Arc::new(Semaphore::new(ACTIONS_AT_ONCE));
    while let Some(action) = wanted.recv().await {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let acting = essential("action", act(action, sessions.clone(), presence.clone()));
        tasks.spawn_until_stop(async move {
            let _place = place;
            acting.await;
        });
    }
}

async fn act(action: Action, sessions: Arc<Sessions>, presence: Arc<PresenceTable>) {
    match action {
        Action::Perform { id, effect, done } => {
            if let Err(why) = perform(&sessions, &id, &effect).await {
                // It stays owed, and is tried again at the next sweep.
                tracing::debug!(session = id.for_operators(), ?effect, %why, "an effect was not done");
            }
            done(effect);
        }
        Action::Tell { id, audience, done } => {
            let until = Instant::now() + EFFECT_DEADLINE;
            let submitted = sessions.submit(&id, Command::Audience(audience), until).await;
            match &submitted {
                // One that is no more need not know.
                Ok(_) | Err(SubmitError::Refused { .. }) => {}
                Err(why) => {
                    tracing::debug!(session = id.for_operators(), %why, "a session does not know who watches");
                    presence.look_again(&id);
                }
            }
            done(submitted.is_ok());
        }
    }
}

/// Why an effect is still owed.
type Owed = Box<dyn std::error::Error + Send + Sync>;

async fn perform(sessions: &Sessions, id: &SessionId, effect: &Effect) -> Result<(), Owed> {
    let deadline = Instant::now() + EFFECT_DEADLINE;
    match effect {
        Effect::Release { source, key } => {
            let release = Command::Release { fork: id.clone(), key: *key };
            sessions.submit(source, release, deadline).await?;
            let settle = Command::Settle { source: source.clone(), key: *key };
            sessions.submit(id, settle, deadline).await?;
        }
        Effect::AskFork { fork, key } => {
            let command = match sessions.has_fork(fork, *key, deadline).await? {
                true => Command::Confirm { fork: fork.clone(), key: *key },
                false => Command::Release { fork: fork.clone(), key: *key },
            };
            sessions.submit(id, command, deadline).await?;
        }
        // It lies in the turn queue.
        Effect::Offer { .. } => {}
    }
    Ok(())
}
