//! Does what sessions owe the world.

use tokio::time::Instant;

use super::Runtime;
use crate::ids::SessionId;
use crate::limits::EFFECT_DEADLINE;
use crate::session::{Command, Effect};

/// Why an effect is still owed.
pub(super) type Owed = Box<dyn std::error::Error + Send + Sync>;

impl Runtime {
    pub(super) async fn perform(&self, id: &SessionId, effect: &Effect) -> Result<(), Owed> {
        let deadline = Instant::now() + EFFECT_DEADLINE;
        match effect {
            Effect::Release { source, key } => {
                let release = Command::Release { fork: id.clone(), key: *key };
                self.submit(source, release, deadline).await?;
                let settle = Command::Settle { source: source.clone(), key: *key };
                self.submit(id, settle, deadline).await?;
            }
            Effect::AskFork { fork, key } => {
                let command = match self.has_fork(fork, *key, deadline).await? {
                    true => Command::Confirm { fork: fork.clone(), key: *key },
                    false => Command::Release { fork: fork.clone(), key: *key },
                };
                self.submit(id, command, deadline).await?;
            }
            // It lies in the turn queue.
            Effect::Offer { .. } => {}
        }
        Ok(())
    }
}
