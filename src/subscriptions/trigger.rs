//! Which subscriptions this node works for, and which of them are notified of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Subscriptions;
use super::named::{Named, PREFIXES};
use super::place::LogPosition;
use super::worker::{Inbox, Worker};
use crate::ids::{SessionId, TenantName};
use crate::limits;
use crate::runtime::changes::Change;

struct Watch {
    shared: Arc<Subscriptions>,
    workers: BTreeMap<SessionId, Employed>,
    tasks: JoinSet<()>,
    /// What changes anywhere; listened to only while a worker needs it.
    others: Option<Receiver<Change>>,
    led: BTreeSet<u32>,
    sweep_at: Instant,
}

struct Employed {
    /// Whose streams it is notified of.
    tenant: Option<TenantName>,
    inbox: Arc<Inbox>,
    stop: CancellationToken,
    task: AbortHandle,
}

/// Employs a worker for each subscription that this node leads.
pub(super) async fn run(shared: Arc<Subscriptions>, stop: CancellationToken) {
    let mut reserved = shared.sessions.reserved_changes();
    let (sweep_at, mut tick_at) = (Instant::now(), Instant::now());
    let (workers, tasks, led) = (BTreeMap::new(), JoinSet::new(), BTreeSet::new());
    let mut watch = Watch { shared, workers, tasks, others: None, led, sweep_at };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            change = reserved.recv() => match change {
                Ok(change) if change.live => watch.employ(&change.id),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => watch.sweep_at = Instant::now(),
                Err(RecvError::Closed) => break,
            },
            change = next(&mut watch.others) => watch.hear(change),
            Some(_) = watch.tasks.join_next() => watch.dismiss_ended(),
            () = sleep_until(tick_at) => {
                watch.tick().await;
                tick_at = Instant::now() + limits::SUBSCRIPTION_TICK;
            }
        }
    }
    for worker in watch.workers.values() {
        worker.stop.cancel();
    }
    while watch.tasks.join_next().await.is_some() {}
}

async fn next(others: &mut Option<Receiver<Change>>) -> Result<Change, RecvError> {
    match others {
        Some(others) => others.recv().await,
        None => std::future::pending().await,
    }
}

impl Watch {
    fn hear(&mut self, change: Result<Change, RecvError>) {
        match change {
            Ok(Change { id, root, tail, live }) => {
                let tail = live.then(|| LogPosition::new(root, tail));
                let theirs = |worker: &&Employed| id.is_of(worker.tenant.as_ref());
                let workers = self.workers.values().filter(theirs);
                workers.for_each(|worker| worker.inbox.hear(id.name(), tail));
            }
            Err(RecvError::Lagged(_)) => {
                self.workers.values().for_each(|worker| worker.inbox.missed());
            }
            Err(RecvError::Closed) => self.others = None,
        }
    }

    async fn tick(&mut self) {
        let led = self.shared.sessions.led_shards();
        if led != self.led {
            self.led = led;
            self.sweep_at = Instant::now();
            let moved = |id: &SessionId| !self.shared.sessions.leads(id);
            self.workers.iter().filter(|(id, _)| moved(id)).for_each(|(_, w)| w.stop.cancel());
        }
        if self.sweep_at <= Instant::now() && !self.led.is_empty() {
            self.sweep_at = Instant::now() + limits::SUBSCRIPTION_SWEEP;
            self.sweep().await;
        }
    }

    /// Looks for subscriptions without a worker.
    async fn sweep(&mut self) {
        for prefix in PREFIXES {
            self.sweep_below(prefix).await;
        }
    }

    async fn sweep_below(&mut self, prefix: &str) {
        let (page, mut after) = (limits::LIST_SESSIONS_MAX, None);
        loop {
            let deadline = Instant::now() + limits::REQUEST_DEADLINE;
            let sessions = self.shared.sessions.clone();
            let place = (prefix, after.as_ref().map(SessionId::name));
            let listed = match sessions.list(None, place, page, deadline).await {
                Ok(listed) => listed,
                Err(why) => {
                    tracing::debug!(%why, "subscriptions are not listed");
                    return;
                }
            };
            for line in &listed {
                self.employ(&line.id);
            }
            if listed.len() < page {
                return;
            }
            after = listed.last().map(|line| line.id.clone());
        }
    }

    fn employ(&mut self, session: &SessionId) {
        let Some(named) = Named::of(session) else { return };
        let works = self.workers.get(session).is_some_and(|worker| !worker.task.is_finished());
        if works || !self.shared.sessions.leads(session) {
            return;
        }
        if limits::SUBSCRIPTION_WORKERS <= self.workers.len() {
            tracing::warn!(
                session = session.for_operators(),
                "this node works for as many subscriptions as it may"
            );
            return;
        }
        if self.others.is_none() {
            // Before the first survey, so that nothing falls in between.
            self.others = Some(self.shared.sessions.changes());
        }
        let (inbox, stop) = (Arc::new(Inbox::default()), CancellationToken::new());
        let tenant = named.tenant.clone();
        let worker = Worker {
            shared: self.shared.clone(),
            named,
            session: session.clone(),
            inbox: inbox.clone(),
        };
        let stopped = stop.clone();
        let task = self.tasks.spawn(async move {
            tokio::select! { () = stopped.cancelled() => (), () = worker.run() => () }
        });
        self.workers.insert(session.clone(), Employed { tenant, inbox, stop, task });
    }

    fn dismiss_ended(&mut self) {
        self.workers.retain(|_, worker| !worker.task.is_finished());
        if self.workers.is_empty() {
            self.others = None;
        }
    }
}
