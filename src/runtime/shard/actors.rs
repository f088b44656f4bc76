//! The live actors of one shard: found, started, passivated and replaced here alone.
//!
//! Mail is counted under the lock, so that an actor knows whether it has seen everything before it
//! leaves: no mail is ever sent to an actor that has gone. An entry counts as handed out before its mail is
//! sent: the successor of an actor that dropped it replays it, and no other needs it twice.
//!
//! A session whose actor failed is *lost* until a successor has replayed what the journal has for it. What
//! covers all sessions (a checkpoint, the flush before an install) has those rebuilt first, or fails.

use std::collections::hash_map;
use std::io;
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::Shard;
use crate::ids::SessionId;
use crate::limits::{IDLE, REBUILD_WAIT, REBUILD_WAIT_MAX, REPLAY_ACTORS, REPLAY_WAIT};
use crate::runtime::chance::Map;
use crate::runtime::session::{Mail, SessionActor, Start};

/// Whether an actor that wanted to leave may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Exit {
    Left,
    /// More mail is on its way.
    Stays,
}

pub(in crate::runtime) struct Actors {
    shard: Weak<Shard>,
    supervisor: ActorCell,
    /// Where actors run.
    work: Handle,
    live: Mutex<LiveActors>,
    /// The actors that have not ended, also those that are forgotten here.
    running: TaskTracker,
    /// Notifies that an actor left.
    left: Notify,
}

#[derive(Default)]
struct LiveActors {
    actors: Map<SessionId, Entry>,
    /// Sessions whose actor failed: the next one replays the journal.
    lost: Map<SessionId, Lost>,
    handed_out_next: u64,
    stopped: bool,
}

/// What is known about a session whose actor failed.
struct Lost {
    /// Failures in a row.
    failures: u32,
    /// Until then mail for it is dropped: all of it is in the journal, or may be repeated.
    not_before: Instant,
}

struct Entry {
    actor: ActorRef<Mail>,
    sent: u64,
    used: Instant,
}

impl Actors {
    pub(super) fn new(shard: Weak<Shard>, supervisor: ActorCell, work: Handle) -> Actors {
        let (live, running) = (Mutex::default(), TaskTracker::new());
        Actors { shard, supervisor, work, live, running, left: Notify::new() }
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
        let now = Instant::now();
        if !live.actors.contains_key(id) {
            // Each failed attempt reads the journal again.
            if live.lost.get(id).is_some_and(|lost| now < lost.not_before) {
                return;
            }
            match self.start(id) {
                Some(actor) => {
                    let long_ago = || now.checked_sub(IDLE);
                    let since = used.or_else(long_ago).unwrap_or(now);
                    live.actors.insert(id.clone(), Entry { actor, sent: 0, used: since });
                }
                None => return,
            }
        }
        let entry = live.actors.get_mut(id).expect("it was just found or started");
        entry.sent += 1;
        entry.used = used.unwrap_or(entry.used);
        // An actor that failed a moment ago drops its mail; its supervisor is notified of it.
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

    /// Sends mail to every live actor, as no use of its session.
    pub(in crate::runtime) fn send_all(&self, mail: impl Fn() -> Mail) {
        for entry in self.live().actors.values_mut() {
            entry.sent += 1;
            // An actor that failed a moment ago drops its mail; its supervisor is notified of it.
            entry.actor.cast(mail()).ok();
        }
    }

    /// Sends a request to every live actor, and a new one for each session whose actor failed; those that have failed
    /// drop the question.
    pub(super) fn ask_all(
        &self,
        question: impl Fn(oneshot::Sender<io::Result<()>>) -> Mail,
    ) -> Vec<oneshot::Receiver<io::Result<()>>> {
        let mut guard = self.live();
        let live = &mut *guard;
        if !live.stopped {
            for id in live.lost.keys() {
                if let hash_map::Entry::Vacant(vacant) = live.actors.entry(id.clone())
                    && let Some(actor) = self.start(id)
                {
                    vacant.insert(Entry { actor, sent: 0, used: Instant::now() });
                }
            }
        }
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
                self.left.notify_waiters();
                Exit::Left
            }
            _ => Exit::Stays,
        }
    }

    /// Requests those that were not used since `since` to leave.
    pub(in crate::runtime) fn retire_idle(&self, since: Instant) {
        let mut live = self.live();
        for entry in live.actors.values_mut().filter(|entry| entry.used < since) {
            entry.sent += 1;
            entry.actor.cast(Mail::Retire).ok();
        }
    }

    /// Lets actors leave that are not needed, and waits for a while until most have: what a start applies again
    /// would wake every session that the journal names.
    pub(super) async fn make_room(&self) {
        self.retire_idle(Instant::now());
        let fewer = async {
            loop {
                // Whoever leaves from here on is noticed.
                let left = self.left.notified();
                if self.count() < REPLAY_ACTORS / 2 {
                    return;
                }
                left.await;
            }
        };
        timeout(REPLAY_WAIT, fewer).await.ok();
    }

    /// Forgets a failed actor; the next one of its session replays the journal.
    pub(in crate::runtime) fn failed(&self, actor: ActorId) -> Option<SessionId> {
        let mut live = self.live();
        let id = live.actors.iter().find(|(_, entry)| entry.actor.get_id() == actor);
        let id = id.map(|(id, _)| id.clone())?;
        live.actors.remove(&id);
        let failures = live.lost.get(&id).map_or(0, |lost| lost.failures).saturating_add(1);
        // The first successor comes at once: what failed may have been a single read.
        let wait = match failures {
            1 => Duration::ZERO,
            _ => (REBUILD_WAIT * 2u32.saturating_pow(failures - 2)).min(REBUILD_WAIT_MAX),
        };
        live.lost.insert(id.clone(), Lost { failures, not_before: Instant::now() + wait });
        Some(id)
    }

    /// Whether an earlier actor of the session failed, and no successor has rebuilt it yet.
    pub(in crate::runtime) fn is_lost(&self, id: &SessionId) -> bool {
        self.live().lost.contains_key(id)
    }

    /// A session whose actor failed and that no successor has rebuilt, if there is any.
    pub(in crate::runtime) fn a_lost_one(&self) -> Option<SessionId> {
        self.live().lost.keys().next().cloned()
    }

    /// A successor has replayed all that the journal has for the session.
    pub(in crate::runtime) fn rebuilt(&self, id: &SessionId) {
        self.live().lost.remove(id);
    }

    /// Whether memory knows more of the session than its head does: it has an actor, or lost one.
    pub(in crate::runtime) fn is_live(&self, id: &SessionId) -> bool {
        let live = self.live();
        live.actors.contains_key(id) || live.lost.contains_key(id)
    }

    /// Actors that are live.
    pub(in crate::runtime) fn count(&self) -> usize {
        self.live().actors.len()
    }

    pub(super) fn handed_out(&self, next: u64) {
        let mut live = self.live();
        live.handed_out_next = live.handed_out_next.max(next);
    }

    /// Index + 1 of the last entry whose mail was sent, or is being sent.
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

    /// Ends all actors and returns once none of them runs any more: until then one may write to the store.
    pub(in crate::runtime) async fn ended(&self) {
        self.stop();
        self.running.close();
        self.running.wait().await;
    }

    fn start(&self, id: &SessionId) -> Option<ActorRef<Mail>> {
        let shard = self.shard.upgrade()?;
        let start = Start { id: id.clone(), shard, running: self.running.token() };
        let supervisor = self.supervisor.clone();
        // Mail comes from threads that must not wait for an actor's disk.
        let _there = self.work.enter();
        let started = ActorRuntime::spawn_linked_instant(None, SessionActor, start, supervisor);
        let (actor, _join) = started.expect("an actor without a name always starts");
        Some(actor)
    }

    fn live(&self) -> MutexGuard<'_, LiveActors> {
        self.live.lock().expect("no panic happens under this lock")
    }
}
