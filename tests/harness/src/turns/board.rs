//! What the readers of a run have seen of its turns so far, for those who want to disturb them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::super::turn::{Fact, What};

/// Shared by all who take part in a run.
#[derive(Default)]
pub struct Board {
    /// By session and turn.
    turns: Mutex<BTreeMap<(String, String), Seen>>,
    changed: Notify,
}

/// What is known about one turn: it only grows, whichever reader reports it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub agent: String,
    /// The last epoch that was given.
    pub epoch: u64,
    pub over: bool,
}

impl Board {
    pub fn see(&self, session: &str, fact: &Fact) {
        if fact.turn.is_empty() {
            return;
        }
        let mut turns = self.turns();
        let seen = turns.entry((session.to_owned(), fact.turn.clone())).or_default();
        if let Some(agent) = &fact.agent {
            seen.agent.clone_from(agent);
        }
        if fact.what == What::Started {
            seen.epoch = seen.epoch.max(fact.epoch.unwrap_or(0));
        }
        seen.over |= fact.what.is_terminal();
        drop(turns);
        self.changed.notify_waiters();
    }

    /// The open turns of an agent in a session.
    pub fn open(&self, session: &str, agent: &str) -> Vec<String> {
        let turns = self.turns();
        let mine = turns.iter().filter(|((at, _), seen)| {
            at == session && !seen.over && (seen.agent == agent || agent.is_empty())
        });
        mine.map(|((_, turn), _)| turn.clone()).collect()
    }

    pub fn seen(&self, session: &str, turn: &str) -> Seen {
        self.turns().get(&(session.to_owned(), turn.to_owned())).cloned().unwrap_or_default()
    }

    /// Waits until the board shows so.
    pub async fn until(&self, holds: impl Fn(&Board) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<(String, String), Seen>> {
        self.turns.lock().expect("no panic happens under this lock")
    }
}
