//! The live actors of one shard: found, started, passivated and replaced here alone.
//!
//! Mail is counted under the lock, so that an actor can tell whether it has seen everything before it
//! leaves: no mail is ever sent to an actor that has gone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Mutex, MutexGuard, Weak};

use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shard;
use crate::ids::SessionId;
use crate::limits::IDLE;
use crate::runtime::session::{Mail, SessionActor, Start};

/// Whether an actor that wanted to leave may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Exit {
    Left,
    /// More mail is on its way.
    Stays,
}

pub(in crate::runtime) struct Sessions {
    shard: Weak<Shard>,
    supervisor: ActorCell,
    /// Where actors run.
    work: Handle,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    actors: HashMap<SessionId, Entry>,
    /// Sessions whose actor failed: the next one replays the journal.
    lost: HashSet<SessionId>,
    handed_out_next: u64,
    stopped: bool,
}

struct Entry {
    actor: ActorRef<Mail>,
    sent: u64,
    used: Instant,
}

impl Sessions {
    pub(super) fn new(shard: Weak<Shard>, supervisor: ActorCell, work: Handle) -> Sessions {
        Sessions { shard, supervisor, work, live: Mutex::default() }
    }

    /// Sends mail to a session's actor, which is started if there is none.
    pub(in crate::runtime) fn send(&self, id: &SessionId, mail: Mail) {
        self.send_at(id, mail, Some(Instant::now()));
    }

    /// The same as no use of the session: one that was passive is so again at the next sweep.
    pub(in crate::runtime) fn look_in(&self, id: &SessionId, mail: Mail) {
        self.send_at(id, mail, None);
    }

    fn send_at(&self, id: &SessionId, mail: Mail, used: Option<Instant>) {
        let mut live = self.live();
        if live.stopped {
            return;
        }
        if !live.actors.contains_key(id) {
            match self.start(id) {
                Some(actor) => {
                    let long_ago = || Instant::now().checked_sub(IDLE);
                    let since = used.or_else(long_ago).unwrap_or_else(Instant::now);
                    let entry = Entry { actor, sent: 0, used: since };
                    live.actors.insert(id.clone(), entry);
                }
                None => return,
            }
        }
        let entry = live.actors.get_mut(id).expect("it was just found or started");
        entry.sent += 1;
        entry.used = used.unwrap_or(entry.used);
        // An actor that failed a moment ago drops its mail; its supervisor hears of it.
        entry.actor.cast(mail).ok();
    }

    /// Sends mail to this very actor, if it is still the session's.
    pub(in crate::runtime) fn tell(&self, id: &SessionId, actor: &ActorRef<Mail>, mail: Mail) {
        let mut live = self.live();
        if let Some(entry) = live.actors.get_mut(id)
            && entry.actor.get_id() == actor.get_id()
        {
            entry.sent += 1;
            entry.actor.cast(mail).ok();
        }
    }

    /// Sends mail to every live actor.
    pub(in crate::runtime) fn send_all(&self, mail: impl Fn() -> Mail) {
        for entry in self.live().actors.values_mut() {
            entry.sent += 1;
            // An actor that failed a moment ago drops its mail; its supervisor hears of it.
            entry.actor.cast(mail()).ok();
        }
    }

    /// Asks every live actor; those that have failed drop the question.
    pub(super) fn ask_all(
        &self,
        question: impl Fn(oneshot::Sender<io::Result<()>>) -> Mail,
    ) -> Vec<oneshot::Receiver<io::Result<()>>> {
        let mut live = self.live();
        let entries = live.actors.values_mut();
        entries
            .map(|entry| {
                let (reply, answer) = oneshot::channel();
                entry.sent += 1;
                entry.actor.cast(question(reply)).ok();
                answer
            })
            .collect()
    }

    /// Lets an actor go that has seen `received` mails, if there are no more.
    pub(in crate::runtime) fn leave(&self, id: &SessionId, received: u64) -> Exit {
        let mut live = self.live();
        match live.actors.get(id) {
            Some(entry) if entry.sent == received => {
                live.actors.remove(id);
                Exit::Left
            }
            _ => Exit::Stays,
        }
    }

    /// Asks those that nobody used since `since` to leave.
    pub(in crate::runtime) fn retire_idle(&self, since: Instant) {
        let mut live = self.live();
        for entry in live.actors.values_mut().filter(|entry| entry.used < since) {
            entry.sent += 1;
            entry.actor.cast(Mail::Retire).ok();
        }
    }

    /// Forgets a failed actor; the next one of its session replays the journal.
    pub(in crate::runtime) fn failed(&self, actor: ActorId) -> Option<SessionId> {
        let mut live = self.live();
        let id = live.actors.iter().find(|(_, entry)| entry.actor.get_id() == actor);
        let id = id.map(|(id, _)| id.clone())?;
        live.actors.remove(&id);
        live.lost.insert(id.clone());
        Some(id)
    }

    /// Whether an earlier actor of the session failed; asked once by its successor.
    pub(in crate::runtime) fn was_lost(&self, id: &SessionId) -> bool {
        self.live().lost.remove(id)
    }

    /// Whether the session has an actor now.
    pub(in crate::runtime) fn is_live(&self, id: &SessionId) -> bool {
        self.live().actors.contains_key(id)
    }

    /// Actors that are live.
    pub(in crate::runtime) fn count(&self) -> usize {
        self.live().actors.len()
    }

    pub(super) fn handed_out(&self, next: u64) {
        let mut live = self.live();
        live.handed_out_next = live.handed_out_next.max(next);
    }

    /// Index + 1 of the last entry whose mail was sent.
    pub(in crate::runtime) fn handed_out_next(&self) -> u64 {
        self.live().handed_out_next
    }

    /// Ends all actors; mail sent from now on is dropped.
    pub(super) fn stop(&self) {
        let mut live = self.live();
        live.stopped = true;
        for (_, entry) in live.actors.drain() {
            entry.actor.stop(None);
        }
    }

    fn start(&self, id: &SessionId) -> Option<ActorRef<Mail>> {
        let shard = self.shard.upgrade()?;
        let start = Start { id: id.clone(), shard };
        let supervisor = self.supervisor.clone();
        // Mail comes from threads that must not wait for an actor's disk.
        let _there = self.work.enter();
        let started = ActorRuntime::spawn_linked_instant(None, SessionActor, start, supervisor);
        let (actor, _join) = started.expect("an actor without a name always starts");
        Some(actor)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("no panic happens under this lock")
    }
}
