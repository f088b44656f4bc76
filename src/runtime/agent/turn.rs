//! One turn on a link: its worker's output goes in, in order; what concerns it comes out.
//!
//! One command is under way at a time, and what gathers meanwhile rides in the next one. A sign of
//! life costs a commit only where nothing came for a quarter of the lease.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::super::claim::Assignment;
use super::super::outcome::{Reply, SubmitError};
use super::super::sessions::Sessions;
use super::batch::{Batch, Received};
use super::feed::{Fed, Feed};
use super::reports::{Order, Reports, is_final};
use super::{Ack, BrokeOff, Leave, Refused, Signal, ToWorker, TurnKey, What};
use crate::ids::{CallId, Serial};
use crate::limits::{FEED_WAIT, FLUSH_WAIT, REQUEST_DEADLINE};
use crate::session::{Applied, Command, Grant, Refusal, TurnReport};

/// What reaches a turn from its link.
pub(super) enum ToTurn {
    TurnReport(Received),
    Done,
    /// The attempt came to nothing, and why.
    Failed(BrokeOff),
}

/// What came of a turn on its link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The worker is free again.
    Free,
    /// The worker did not stop within the grace.
    Defiant,
}

/// How a feed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeedEnd {
    /// The worker got the signal to stop.
    Signal,
    /// The turn ended in another way.
    Over,
}

/// What one command came to.
enum Came {
    Applied,
    /// The worker ended the turn, or gave it up.
    Left,
    /// Nothing of this worker is taken any more, and why.
    Closed(Why),
}

/// Why something is refused.
#[derive(Clone, Debug)]
struct Why {
    code: &'static str,
    detail: String,
}

/// What a turn is made of.
pub(super) struct Parts {
    pub(super) sessions: Arc<Sessions>,
    pub(super) key: TurnKey,
    pub(super) from_link: mpsc::Receiver<ToTurn>,
    pub(super) to_worker: mpsc::Sender<ToWorker>,
    /// When something last came from the worker.
    pub(super) signs: watch::Receiver<Instant>,
    /// How long it may take to stop.
    pub(super) cancel_grace: Duration,
    /// Of who works; none where that is the node itself.
    pub(super) grant: Option<Arc<Grant>>,
    /// How the worker left, once it did.
    pub(super) left: watch::Receiver<Option<Leave>>,
}

/// Works on a turn until its worker is free of it.
pub(super) async fn run(parts: Parts, assignment: Assignment) -> Outcome {
    let deadline = Instant::now() + REQUEST_DEADLINE;
    let Parts { sessions, key, from_link, to_worker, signs, cancel_grace, grant, left } = parts;
    let lease_ms = assignment.turn.lease.as_ref().map_or(0, |lease| lease.lease_ms);
    let (delivering, delivered) = watch::channel(Serial::ZERO);
    let mut speaking = Speaking {
        sessions: sessions.clone(),
        key: key.clone(),
        lease: Duration::from_millis(lease_ms),
        from_link,
        to_worker: to_worker.clone(),
        signs,
        cancel_grace,
        grant,
        left: left.clone(),
        commands: 0,
        reports: Reports::default(),
        last_input: assignment.turn.last_input,
        delivered,
        renewed_at: Instant::now(),
    };
    let Some((feed, offered)) = Feed::open(sessions, key, assignment, deadline).await else {
        speaking.leave(&Leave::Released).await;
        return Outcome::Free;
    };
    let offered = ToWorker::Turn(Box::new(offered));
    if to_worker.send(offered).await.is_err() {
        speaking.leave(&Leave::Disconnected).await;
        return Outcome::Free;
    }
    let (stop, mut stopped) = watch::channel(None);
    let feeding = async {
        let end = feed_all(feed, &to_worker, &delivering).await;
        stop.send_replace(Some(end));
        std::future::pending().await
    };
    // Whatever hinders it: others wait for the turn.
    let late = async {
        gone(&mut left.clone()).await;
        sleep(FLUSH_WAIT).await;
    };
    let outcome = tokio::select! {
        outcome = speaking.run(&mut stopped) => Some(outcome),
        () = feeding => unreachable!("it waits for ever"),
        () = late => None,
    };
    match outcome {
        Some(outcome) => outcome,
        None => {
            let leave = left.borrow().clone().unwrap_or(Leave::Disconnected);
            speaking.leave(&leave).await;
            Outcome::Free
        }
    }
}

/// A worker's output in its turn.
struct Speaking {
    sessions: Arc<Sessions>,
    key: TurnKey,
    lease: Duration,
    from_link: mpsc::Receiver<ToTurn>,
    to_worker: mpsc::Sender<ToWorker>,
    signs: watch::Receiver<Instant>,
    cancel_grace: Duration,
    grant: Option<Arc<Grant>>,
    left: watch::Receiver<Option<Leave>>,
    /// Commands of this epoch that had output.
    commands: u64,
    reports: Reports,
    /// The last input of the turn.
    last_input: Serial,
    /// The last input that the worker got.
    delivered: watch::Receiver<Serial>,
    /// When the session last got something from the worker.
    renewed_at: Instant,
}

impl Speaking {
    async fn run(&mut self, stopped: &mut watch::Receiver<Option<FeedEnd>>) -> Outcome {
        // What did not fit in with the output before it.
        let mut next: Option<ToTurn> = None;
        loop {
            // Nothing is under way now.
            self.reports.decide();
            let incoming = match next.take() {
                Some(incoming) => Some(incoming),
                None => tokio::select! {
                    biased;
                    end = ended(stopped) => return self.stop(end).await,
                    incoming = self.from_link.recv() => match incoming {
                        Some(incoming) => Some(incoming),
                        // All of its output is committed.
                        None => {
                            let leave = gone(&mut self.left).await;
                            self.leave(&leave).await;
                            return Outcome::Free;
                        }
                    },
                    () = due(self.renewed_at, self.lease, &mut self.signs) => None,
                    Ok(()) = self.delivered.changed() => None,
                },
            };
            let came = match incoming {
                Some(ToTurn::TurnReport(incoming)) => {
                    match self.reports.place(&incoming.report) {
                        Order::Next => {
                            let mut batch = Batch::of(incoming);
                            next = self.gather(&mut batch).await;
                            self.emit(batch).await
                        }
                        // It stands for itself: it comes after the output since.
                        Order::Refused => self.emit(Batch::of(incoming)).await,
                        order => {
                            self.answer_again(&incoming, order).await;
                            continue;
                        }
                    }
                }
                // It wants no more of a turn that is its own.
                Some(ToTurn::Done) => {
                    self.leave(&Leave::Released).await;
                    return Outcome::Free;
                }
                // After all output before it: that is in the log by now.
                Some(ToTurn::Failed(why)) => {
                    self.leave(&Leave::BrokeOff(why)).await;
                    return Outcome::Free;
                }
                None => self.beat().await,
            };
            match came {
                Came::Applied => {}
                Came::Left => return Outcome::Free,
                Came::Closed(why) => return self.close(next, stopped, &why).await,
            }
        }
    }

    /// Takes what waits into the batch, as far as it fits; gives back what does not.
    async fn gather(&mut self, batch: &mut Batch) -> Option<ToTurn> {
        while let Ok(incoming) = self.from_link.try_recv() {
            let ToTurn::TurnReport(incoming) = incoming else { return Some(incoming) };
            match self.reports.place(&incoming.report) {
                Order::Next => {
                    if let Some(incoming) = batch.join(incoming) {
                        // It is looked at again.
                        self.reports.take_back(&incoming.report);
                        return Some(ToTurn::TurnReport(incoming));
                    }
                }
                // Its outcome is not known yet, or it stands for itself.
                Order::UnderWay | Order::Refused => return Some(ToTurn::TurnReport(incoming)),
                order => self.answer_again(&incoming, order).await,
            }
        }
        None
    }

    /// Answers a report that is not taken: it was before, or it is out of order.
    async fn answer_again(&self, incoming: &Received, order: Order) {
        let Some(seq) = incoming.report.output.as_ref().map(|output| output.seq) else { return };
        let refusal = match order {
            Order::Taken => return self.ack((seq, true), None, false, Vec::new()).await,
            Order::Gap { expected } => Refusal::SequenceGap { expected, received: seq },
            _ => Refusal::OutcomeForgotten,
        };
        self.refuse(seq, &Why::from(&refusal)).await;
    }

    /// Commits a batch and answers its reports.
    async fn emit(&mut self, batch: Batch) -> Came {
        let command = batch.command(self.commands, self.take_delivered());
        let numbered = command.output.is_some();
        let refusal = match self.commit(command).await {
            Ok(reply) => {
                self.commands += u64::from(numbered);
                batch.seqs().for_each(|seq| self.reports.took(seq));
                return self.answer(&batch, &reply).await;
            }
            Err(refusal) => refusal,
        };
        let why = Why::from(&refusal);
        if is_final(&refusal) {
            self.refuse_all(&batch, &why).await;
            return Came::Closed(why);
        }
        match batch.split() {
            // One of them is to blame; the others are not.
            Ok(alone) => {
                for batch in alone {
                    match Box::pin(self.emit(batch)).await {
                        Came::Applied => {}
                        came => return came,
                    }
                }
            }
            Err(batch) => {
                batch.seqs().for_each(|seq| self.reports.refused(seq));
                self.refuse_all(&batch, &why).await;
            }
        }
        Came::Applied
    }

    async fn answer(&mut self, batch: &Batch, reply: &Reply) -> Came {
        let Applied::OutputAccepted { places, duplicate, over, last_input, tools } = &reply.applied
        else {
            unreachable!("a report is answered by OutputAccepted")
        };
        let (over, ends) = (*over, batch.ends());
        self.last_input = *last_input;
        for (seq, places) in batch.answers(*places) {
            // A report that begins calls is a command of its own.
            self.ack((seq, *duplicate), places, over, tools.clone()).await;
        }
        if over || ends { Came::Left } else { Came::Applied }
    }

    /// The last input that the worker got, where there was any.
    fn take_delivered(&mut self) -> Option<Serial> {
        let delivered = *self.delivered.borrow_and_update();
        (Serial::ZERO < delivered).then_some(delivered)
    }

    /// Commits a heartbeat of the worker, and which inputs have reached it.
    async fn beat(&mut self) -> Came {
        let delivered = self.take_delivered();
        let beat =
            TurnReport { delivered, ..TurnReport::new(self.key.turn.clone(), self.key.epoch) };
        match self.commit(beat).await {
            Err(refusal) if is_final(&refusal) => Came::Closed(Why::from(&refusal)),
            _ => Came::Applied,
        }
    }

    /// Commits a command; repeats it until its outcome is known.
    async fn commit(&mut self, report: TurnReport) -> Result<Reply, Refusal> {
        let command = Command::Report(Box::new(report));
        let mut in_doubt = false;
        loop {
            let began = Instant::now();
            let (grant, until) = (self.grant.as_deref(), began + REQUEST_DEADLINE);
            let submitted =
                self.sessions.submit_for(grant, &self.key.session, command.clone(), until);
            let error = match submitted.await {
                Ok(reply) => {
                    self.renewed_at = began;
                    return Ok(reply);
                }
                // An earlier try may have taken effect in what is over now.
                Err(SubmitError::Refused { refusal, .. })
                    if in_doubt && refusal.tells_of_another_time() =>
                {
                    return Err(Refusal::OutcomeForgotten);
                }
                Err(SubmitError::Refused { refusal, .. }) => return Err(refusal),
                // As one that does not exist: repeating it changes nothing.
                Err(SubmitError::Denied(_)) => return Err(Refusal::NotFound),
                Err(error) => error,
            };
            in_doubt |= matches!(error, SubmitError::Unknown(_));
            tracing::debug!(session = self.key.session.for_operators(), turn = %self.key.turn, %error, "the report of a worker waits");
            sleep(FEED_WAIT).await;
        }
    }

    /// Nothing of the worker is taken any more: the feed has the reason.
    async fn close(
        &mut self,
        next: Option<ToTurn>,
        stopped: &mut watch::Receiver<Option<FeedEnd>>,
        why: &Why,
    ) -> Outcome {
        match next {
            Some(ToTurn::TurnReport(incoming)) => self.refuse_received(&incoming, why).await,
            Some(ToTurn::Done | ToTurn::Failed(_)) => return Outcome::Free,
            None => {}
        }
        let end = timeout(FLUSH_WAIT, async {
            loop {
                tokio::select! {
                    biased;
                    end = ended(stopped) => return Some(end),
                    incoming = self.from_link.recv() => match incoming {
                        Some(ToTurn::TurnReport(incoming)) => self.refuse_received(&incoming, why).await,
                        Some(ToTurn::Done | ToTurn::Failed(_)) | None => return None,
                    },
                }
            }
        });
        match end.await {
            Ok(None) => Outcome::Free,
            Ok(Some(end)) => self.stop(end).await,
            Err(_) => self.stop(FeedEnd::Over).await,
        }
    }

    /// Waits until the worker has stopped.
    async fn stop(&mut self, end: FeedEnd) -> Outcome {
        if end == FeedEnd::Over {
            let (key, what) = (self.key.clone(), What::Fenced);
            let signal = Signal { key, what, cursor: None, event: None };
            self.tell(ToWorker::Signal(Box::new(signal))).await;
        }
        let why = Why::from(&Refusal::TurnEnded);
        let stopping = timeout(self.cancel_grace, async {
            while let Some(ToTurn::TurnReport(incoming)) = self.from_link.recv().await {
                self.refuse_received(&incoming, &why).await;
            }
        });
        if stopping.await.is_ok() { Outcome::Free } else { Outcome::Defiant }
    }

    /// Lets another worker have the turn.
    async fn leave(&self, leave: &Leave) {
        let (session, turn, epoch) = (&self.key.session, self.key.turn.clone(), self.key.epoch);
        tracing::info!(session = session.for_operators(), %turn, %epoch, ?leave, "a worker leaves its turn");
        let command = leave.command(turn, epoch, self.commands);
        let until = Instant::now() + REQUEST_DEADLINE;
        if let Err(error) = self.sessions.submit(session, command, until).await {
            tracing::debug!(session = session.for_operators(), %error, "a turn waits for the lease of a worker that is gone");
        }
    }

    async fn ack(
        &self,
        (seq, duplicate): (u64, bool),
        places: Option<(Serial, Serial)>,
        over: bool,
        tools: Vec<(CallId, u128)>,
    ) {
        let ack = Ack {
            key: self.key.clone(),
            seq,
            duplicate,
            places,
            over,
            last_input: self.last_input,
            tools,
        };
        self.tell(ToWorker::Ack(Box::new(ack))).await;
    }

    async fn refuse_all(&self, batch: &Batch, why: &Why) {
        for seq in batch.seqs() {
            self.refuse(seq, why).await;
        }
    }

    async fn refuse_received(&self, incoming: &Received, why: &Why) {
        let Some(output) = &incoming.report.output else { return };
        self.refuse(output.seq, why).await;
    }

    async fn refuse(&self, seq: u64, why: &Why) {
        let (key, code, detail) = (Some(self.key.clone()), why.code, why.detail.clone());
        let refused = Refused { key, seq: Some(seq), code, detail, retry_after_ms: None };
        self.tell(ToWorker::Refused(Box::new(refused))).await;
    }

    async fn tell(&self, signal: ToWorker) {
        // Where the listener is gone, the link is about to report it.
        drop(self.to_worker.send(signal).await);
    }
}

impl From<&Refusal> for Why {
    fn from(refusal: &Refusal) -> Why {
        Why { code: refusal.code(), detail: refusal.to_string() }
    }
}

/// Passes on what concerns the turn until the worker is to stop.
async fn feed_all(
    mut feed: Feed,
    to_worker: &mpsc::Sender<ToWorker>,
    delivering: &watch::Sender<Serial>,
) -> FeedEnd {
    loop {
        let signal = match feed.next().await {
            Fed::Signal(signal) => signal,
            Fed::Over => return FeedEnd::Over,
        };
        let (what, event) = (signal.what, signal.event.clone());
        let sent = to_worker.send(ToWorker::Signal(Box::new(signal))).await;
        if sent.is_err() || what.is_end() {
            return FeedEnd::Signal;
        }
        if let Some(shown) = event.filter(|_| what == What::Steer) {
            delivering.send_replace(shown.event.serial);
        }
    }
}

async fn ended(stopped: &mut watch::Receiver<Option<FeedEnd>>) -> FeedEnd {
    match stopped.wait_for(Option::is_some).await.ok().and_then(|end| *end) {
        Some(end) => end,
        None => std::future::pending().await,
    }
}

/// Resolves when the worker has left its link.
pub(super) async fn gone(left: &mut watch::Receiver<Option<Leave>>) -> Leave {
    match left.wait_for(Option::is_some).await {
        Ok(leave) => leave.clone().unwrap_or(Leave::Disconnected),
        Err(_) => Leave::Disconnected,
    }
}

/// Resolves when the lease is to be renewed and the worker has shown that it lives.
async fn due(renewed_at: Instant, lease: Duration, signs: &mut watch::Receiver<Instant>) {
    sleep_until(renewed_at + lease / RENEWALS).await;
    if signs.wait_for(|sign| renewed_at < *sign).await.is_err() {
        std::future::pending().await
    }
}

/// Signs of life in one lease.
const RENEWALS: u32 = 4;
