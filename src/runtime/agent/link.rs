//! A worker's link: it takes turns while the worker has room, and gives them up when the worker is gone.
//!
//! Bounded by what it holds: reports that are not answered, their bytes, turns, and what the worker has not
//! read (S10). The log is never held for a slow worker: its feeds wait.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep_until};

use super::super::claim::{Assignment, Claimer};
use super::super::ephemeral::{EphemeralMessage, Source};
use super::super::served::Serving;
use super::super::workers::Workers;
use super::batch::Received;
use super::turn::{Outcome, Parts, ToTurn};
use super::{BrokeOff, FromWorker, Leave, LinkEnd, Refused, Register, ToWorker, TurnKey, turn};
use crate::ids::{KindName, TurnEpoch};
use crate::limits::{LINK_BYTES, LINK_CLAIM, LINK_REPORTS, LINK_SIGNALS, LINK_TURNS};
use crate::session::{NewEvent, Refusal};

/// Takes a worker's frames. Closed when it is dropped, as if the connection had ended.
pub struct Speaker {
    to_link: mpsc::Sender<ToLink>,
    signs: Arc<watch::Sender<Instant>>,
    leave: Arc<watch::Sender<Option<Leave>>>,
    reports: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Yields the frames for the worker.
pub struct Listener {
    from_link: mpsc::Receiver<ToWorker>,
    end: watch::Receiver<Option<LinkEnd>>,
}

/// The link takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link is closed")]
pub struct LinkClosed;

/// Room that one report takes from when it is received until it is answered.
pub(super) struct Room(#[expect(dead_code, reason = "held until it is dropped")] Held);

type Held = Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

impl Room {
    #[cfg(test)]
    pub(super) fn none() -> Room {
        Room(None)
    }
}

enum ToLink {
    Report(TurnKey, Received),
    Done(TurnKey),
    /// Its kind, its content, and whether it is internal.
    Ephemeral(TurnKey, Box<(KindName, NewEvent, bool)>),
    Failed(TurnKey, BrokeOff),
    Drain,
}

impl Workers {
    /// Registers a worker at this node: from now on it gets turns. None once the node stops.
    pub fn link(self: &Arc<Self>, register: Register) -> Option<(Speaker, Listener)> {
        let stop = self.tasks.stop().clone();
        if stop.is_cancelled() {
            return None;
        }
        let (to_link, received) = mpsc::channel(LINK_REPORTS);
        let (to_worker, from_link) = mpsc::channel(LINK_SIGNALS);
        let (signs, _) = watch::channel(Instant::now());
        let (leave, left) = watch::channel(None);
        let (ended, end) = watch::channel(None);
        let signs = Arc::new(signs);
        let leave = Arc::new(leave);
        let speaker = Speaker {
            to_link,
            signs: signs.clone(),
            leave: leave.clone(),
            reports: Arc::new(Semaphore::new(LINK_REPORTS)),
            bytes: Arc::new(Semaphore::new(LINK_BYTES)),
        };
        let link = WorkerLink {
            _serving: self.served.serve(&register.agent),
            workers: self.clone(),
            register,
            received,
            to_worker,
            signs,
            leave,
            left,
            turns: HashMap::new(),
            working: FuturesUnordered::new(),
            drains: false,
        };
        self.tasks.spawn(async move {
            let why = link.run(stop).await;
            ended.send_replace(Some(why));
        });
        Some((speaker, Listener { from_link, end }))
    }
}

impl Speaker {
    /// Passes on a frame of the worker. Waits while [`LINK_REPORTS`] of its reports, or [`LINK_BYTES`] bytes of
    /// them, are not answered: until then nothing more is to be read from the worker.
    ///
    /// # Errors
    /// The link is closed; the frame is not taken.
    pub async fn hear(&self, frame: FromWorker) -> Result<(), LinkClosed> {
        self.signs.send_replace(Instant::now());
        let to_link = match frame {
            FromWorker::Pong if self.to_link.is_closed() => return Err(LinkClosed),
            FromWorker::Pong => return Ok(()),
            FromWorker::Drain => ToLink::Drain,
            FromWorker::Done(key) => ToLink::Done(key),
            FromWorker::Ephemeral { key, kind, content, internal } => {
                ToLink::Ephemeral(key, Box::new((kind, content, internal)))
            }
            FromWorker::Failed(key, why) => ToLink::Failed(key, why),
            FromWorker::Report { session, report } => {
                let bytes =
                    u32::try_from(report.content_bytes().min(LINK_BYTES)).unwrap_or(u32::MAX);
                let room = async {
                    let reports = self.reports.clone().acquire_owned().await.ok()?;
                    Some((reports, self.bytes.clone().acquire_many_owned(bytes).await.ok()?))
                };
                let room = tokio::select! {
                    room = room => Room(room),
                    () = self.to_link.closed() => return Err(LinkClosed),
                };
                let key = TurnKey { session, turn: report.turn.clone(), epoch: report.epoch };
                ToLink::Report(key, Received { report, _room: room })
            }
        };
        self.to_link.send(to_link).await.map_err(|_| LinkClosed)
    }

    /// Closes the link: what was received is still committed, then the worker's turns go to others.
    pub fn close(self, leave: Leave) {
        self.leave.send_replace(Some(leave));
    }
}

impl Listener {
    /// Waits for the next frame for the worker; after the last one, why there is no more.
    /// Cancel safe.
    ///
    /// # Errors
    /// The link is closed. The worker has no turns any more.
    pub async fn next(&mut self) -> Result<ToWorker, LinkEnd> {
        if let Some(entry) = self.from_link.recv().await {
            return Ok(entry);
        }
        let end = self.end.wait_for(Option::is_some).await;
        Err(end.ok().and_then(|end| *end).unwrap_or(LinkEnd::Stopping))
    }
}

struct WorkerLink {
    /// There is a worker of its agent, though it may have no room.
    _serving: Serving,
    workers: Arc<Workers>,
    register: Register,
    received: mpsc::Receiver<ToLink>,
    to_worker: mpsc::Sender<ToWorker>,
    signs: Arc<watch::Sender<Instant>>,
    leave: Arc<watch::Sender<Option<Leave>>>,
    left: watch::Receiver<Option<Leave>>,
    turns: HashMap<TurnKey, mpsc::Sender<ToTurn>>,
    working: FuturesUnordered<BoxFuture<'static, (TurnKey, Outcome)>>,
    drains: bool,
}

impl WorkerLink {
    async fn run(mut self, stop: tokio_util::sync::CancellationToken) -> LinkEnd {
        let end = self.serve(stop).await;
        let leave = match end {
            LinkEnd::Silent | LinkEnd::Defiant => Leave::Replaced(end.to_string()),
            LinkEnd::Stopping | LinkEnd::Drained => Leave::Released,
            LinkEnd::Closed => Leave::Disconnected,
        };
        // What the body reported first is true.
        self.leave.send_if_modified(|left| {
            let first = left.is_none();
            if first {
                *left = Some(leave);
            }
            first
        });
        self.pass_on_the_rest();
        // The turns commit what they still have, and then report that the worker is gone.
        while self.working.next().await.is_some() {}
        end
    }

    async fn serve(&mut self, stop: tokio_util::sync::CancellationToken) -> LinkEnd {
        let lease = Duration::from_millis(self.register.lease_ms);
        let mut pings = interval(lease / PINGS);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (workers, claimer) = (self.workers.clone(), self.claimer());
        let mut left = self.left.clone();
        let mut claim: Option<BoxFuture<'static, Option<Assignment>>> = None;
        loop {
            let room = !self.drains && self.working.len() < self.capacity();
            match (&claim, room) {
                (None, true) => claim = Some(seek(workers.clone(), claimer.clone())),
                // Dropping it gives back what it may have taken.
                (Some(_), false) => claim = None,
                _ => {}
            }
            if self.drains && self.working.is_empty() {
                return LinkEnd::Drained;
            }
            let silent = *self.signs.borrow() + lease;
            tokio::select! {
                received = self.received.recv() => match received {
                    Some(received) => self.pass_on(received),
                    None => return LinkEnd::Closed,
                },
                Some((key, outcome)) = self.working.next(), if !self.working.is_empty() => {
                    self.turns.remove(&key);
                    if outcome == Outcome::Defiant {
                        return LinkEnd::Defiant;
                    }
                }
                taken = seeking(&mut claim), if claim.is_some() => {
                    claim = None;
                    if let Some(assignment) = taken {
                        self.begin(assignment);
                    }
                }
                // A worker that does not read its frames is pinged by those.
                _ = pings.tick() => drop(self.to_worker.try_send(ToWorker::Ping)),
                () = sleep_until(silent) => {
                    if *self.signs.borrow() + lease <= Instant::now() {
                        return LinkEnd::Silent;
                    }
                }
                _ = turn::gone(&mut left) => return LinkEnd::Closed,
                () = self.to_worker.closed() => return LinkEnd::Closed,
                () = stop.cancelled() => return LinkEnd::Stopping,
            }
        }
    }

    fn capacity(&self) -> usize {
        self.register.capacity.clamp(1, LINK_TURNS)
    }

    fn claimer(&self) -> Claimer {
        let Register { agent, worker, lease_ms, progress_timeout_ms, .. } = &self.register;
        let (agent, worker, grant) = (agent.clone(), worker.clone(), self.register.grant.clone());
        let (lease_ms, progress_timeout_ms) = (*lease_ms, *progress_timeout_ms);
        Claimer { agent, worker, lease_ms, progress_timeout_ms, is_bound: true, grant }
    }

    /// Begins to work on a turn.
    fn begin(&mut self, assignment: Assignment) {
        let epoch = assignment.turn.lease.as_ref().map_or(TurnEpoch::NONE, |lease| lease.epoch);
        let (session, turn) = (assignment.session.clone(), assignment.turn.turn.clone());
        let key = TurnKey { session, turn, epoch };
        // All reports of the link have room in it, and one message for each turn that it stops.
        let (to_turn, from_link) = mpsc::channel(LINK_REPORTS + 1);
        self.turns.insert(key.clone(), to_turn);
        let parts = Parts {
            sessions: self.workers.sessions.clone(),
            key: key.clone(),
            from_link,
            to_worker: self.to_worker.clone(),
            signs: self.signs.subscribe(),
            cancel_grace: self.register.cancel_grace,
            grant: self.register.grant.clone(),
            left: self.left.clone(),
        };
        self.working.push(Box::pin(async { (key, turn::run(parts, assignment).await) }));
    }

    fn pass_on(&mut self, received: ToLink) {
        let (key, to_turn) = match received {
            ToLink::Drain => {
                self.drains = true;
                return;
            }
            ToLink::Ephemeral(key, output) => return self.say_ephemeral(key, *output),
            ToLink::Done(key) => (key, ToTurn::Done),
            ToLink::Failed(key, why) => (key, ToTurn::Failed(why)),
            ToLink::Report(key, received) => (key, ToTurn::TurnReport(received)),
        };
        let undelivered = match self.turns.get(&key) {
            None => to_turn,
            Some(turn) => match turn.try_send(to_turn) {
                Ok(()) => return,
                Err(error) => error.into_inner(),
            },
        };
        let ToTurn::TurnReport(received) = undelivered else { return };
        let seq = received.report.output.as_ref().map(|output| output.seq);
        self.refuse(key, seq);
    }

    /// Sends what is not kept, if it is of a turn that the worker has: that of a fenced one is refused (S4).
    fn say_ephemeral(&self, key: TurnKey, (kind, content, internal): (KindName, NewEvent, bool)) {
        if !self.turns.contains_key(&key) {
            return self.refuse(key, None);
        }
        let at = self.workers.sessions.now();
        let source = Source::Agent { agent: self.register.agent.name.clone(), turn: key.turn };
        let message =
            EphemeralMessage { session: key.session, source, kind, content, internal, at };
        // Nothing is promised: what finds no room is counted.
        self.workers.ephemerals.send(message);
    }

    /// The turn is over here; whoever reads slowly misses an answer to what it must not send.
    fn refuse(&self, key: TurnKey, seq: Option<u64>) {
        let refusal = Refusal::TurnEnded;
        let (code, detail) = (refusal.code(), refusal.to_string());
        let refused = Refused { key: Some(key), seq, code, detail, retry_after_ms: None };
        drop(self.to_worker.try_send(ToWorker::Refused(Box::new(refused))));
    }

    /// What was received before the worker left.
    fn pass_on_the_rest(&mut self) {
        self.received.close();
        while let Ok(received) = self.received.try_recv() {
            self.pass_on(received);
        }
        // After it nothing more comes.
        self.turns.clear();
    }
}

async fn seeking(claim: &mut Option<BoxFuture<'static, Option<Assignment>>>) -> Option<Assignment> {
    match claim {
        Some(claim) => claim.await,
        None => std::future::pending().await,
    }
}

fn seek(workers: Arc<Workers>, claimer: Claimer) -> BoxFuture<'static, Option<Assignment>> {
    Box::pin(async move {
        loop {
            match workers.claim(&claimer, Instant::now() + LINK_CLAIM).await {
                Ok(None) => {}
                Ok(assignment) => return assignment,
                Err(error) => {
                    tracing::debug!(agent = %claimer.agent, %error, "no turn is to be had");
                    tokio::time::sleep(LINK_CLAIM / 10).await;
                }
            }
        }
    })
}

/// Pings in one lease.
const PINGS: u32 = 6;
