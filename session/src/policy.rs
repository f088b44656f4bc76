//! How a session treats its turns where no request decides otherwise.

use serde::{Deserialize, Serialize};

use super::command::WhenBusy;
use super::config::{BadConfig, Field};
use crate::limits;

/// Part of a session's [`super::Config`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What becomes of an input whose agent has an open turn, where the input does not decide.
    pub when_busy: WhenBusy,
    /// What becomes of turns when no participant watches.
    pub unwatched: Unwatched,
    /// Workers in a row that a turn may lose without output that stays, before it fails;
    /// [`limits::ATTEMPTS`] where nothing is given. From 1 to [`limits::ATTEMPTS_MAX`].
    pub attempts: Option<u32>,
    /// A turn that fails requests a person to take control.
    pub escalate: bool,
    /// How long a turn waits for a worker before it fails, in milliseconds; [`limits::WAIT_MS`] where
    /// nothing is given. From 1 to [`limits::WAIT_MS_MAX`].
    pub wait_ms: Option<u64>,
    /// How long a turn that merges inputs waits for more of them, in milliseconds; [`limits::MERGE_MS`] where nothing
    /// is given. From 0 to [`limits::MERGE_MS_MAX`].
    pub merge_ms: Option<u64>,
}

/// What becomes of turns when no participant watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unwatched {
    /// They go on.
    #[default]
    Continue,
    /// They pause after that many milliseconds, and go on when a participant comes.
    Pause {
        /// From 0 to [`limits::UNWATCHED_MS_MAX`].
        after_ms: u64,
    },
    /// They are cancelled after that many milliseconds.
    Cancel {
        /// From 0 to [`limits::UNWATCHED_MS_MAX`].
        after_ms: u64,
    },
}

impl Policy {
    /// How long a turn waits for a worker, in milliseconds.
    pub(super) fn waits_ms(&self) -> u64 {
        self.wait_ms.unwrap_or(limits::WAIT_MS)
    }

    /// How long a turn that merges inputs waits for more of them, in milliseconds.
    pub(super) fn merges_ms(&self) -> u64 {
        self.merge_ms.unwrap_or(limits::MERGE_MS)
    }

    pub(super) fn check(&self) -> Result<(), BadConfig> {
        if self.merge_ms.is_some_and(|merge_ms| limits::MERGE_MS_MAX < merge_ms) {
            let (field, limit) = (Field::MergeMs, limits::MERGE_MS_MAX);
            return Err(BadConfig::TooMuch { field, limit });
        }
        if let Some(after_ms) = self.unwatched.after_ms()
            && limits::UNWATCHED_MS_MAX < after_ms
        {
            let (field, limit) = (Field::Unwatched, limits::UNWATCHED_MS_MAX);
            return Err(BadConfig::TooMuch { field, limit });
        }
        match self.wait_ms {
            Some(0) => return Err(BadConfig::Zero { field: Field::WaitMs }),
            Some(wait_ms) if limits::WAIT_MS_MAX < wait_ms => {
                let (field, limit) = (Field::WaitMs, limits::WAIT_MS_MAX);
                return Err(BadConfig::TooMuch { field, limit });
            }
            _ => {}
        }
        match self.attempts {
            Some(0) => Err(BadConfig::Zero { field: Field::Attempts }),
            Some(attempts) if limits::ATTEMPTS_MAX < attempts => {
                let limit = u64::from(limits::ATTEMPTS_MAX);
                Err(BadConfig::TooMuch { field: Field::Attempts, limit })
            }
            _ => Ok(()),
        }
    }
}

impl Unwatched {
    /// How long the session may be unwatched before something happens, in milliseconds.
    pub fn after_ms(self) -> Option<u64> {
        match self {
            Unwatched::Continue => None,
            Unwatched::Pause { after_ms } | Unwatched::Cancel { after_ms } => Some(after_ms),
        }
    }
}
