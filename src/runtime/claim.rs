//! Finding a turn for a worker, wherever its session is led.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, timeout_at};

use super::chance;
use super::peer::wire::{Request, Response};
use super::reader::{Delivery, Start};
use super::sessions::Sessions;
use super::story::{Story, Took};
use super::turn_queue::Offer;
use super::workers::Workers;
use super::{Freshness, Reply, SubmitError, Unavailable};
use crate::ids::{AgentId, Cursor, Incarnation, Serial, SessionId, WorkerName};
use crate::limits::{OFFER_WAIT, REQUEST_DEADLINE, SWEEP_INTERVAL};
use crate::session::{
    Applied, Claim, Command, Event, Grant, NodeStart, Then, TurnOutput, TurnReport, TurnStatus,
};

/// A worker that looks for a turn.
#[derive(Clone, Debug)]
pub struct Claimer {
    pub agent: AgentId,
    pub worker: WorkerName,
    /// See [`Claim::lease_ms`].
    pub lease_ms: u64,
    pub progress_timeout_ms: u64,
    /// Whether it is gone when this node is.
    pub is_bound: bool,
    /// Of who works, judged again where the turn lives; the node's own agents have none.
    pub grant: Option<Arc<Grant>>,
}

/// A turn that a worker has.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub session: SessionId,
    pub incarnation: Incarnation,
    pub turn: TurnStatus,
}

impl Workers {
    /// Waits for a turn and takes it for a worker; none if there is none by the deadline.
    ///
    /// # Errors
    /// The cluster is not bootstrapped yet. No turn was taken.
    pub async fn claim(
        &self,
        claimer: &Claimer,
        deadline: Instant,
    ) -> Result<Option<Assignment>, Unavailable> {
        let _serving = self.served.serve(&claimer.agent);
        loop {
            let Ok(offer) = timeout_at(deadline, self.any_offer(&claimer.agent)).await else {
                return Ok(None);
            };
            let claim = Claim {
                turn: offer.turn,
                worker: claimer.worker.clone(),
                key: chance::draw(),
                lease_ms: claimer.lease_ms,
                progress_timeout_ms: claimer.progress_timeout_ms,
                node: claimer
                    .is_bound
                    .then(|| NodeStart { node: self.host.local().0, boot: self.host.boot() }),
            };
            if let Some(assignment) =
                self.take(offer.session, (claim, claimer.grant.clone())).await?
            {
                return Ok(Some(assignment));
            }
        }
    }

    /// Claims a turn, to the end: if the worker is gone by then, the turn goes to another at once and does
    /// not wait for its lease.
    async fn take(
        &self,
        session: SessionId,
        (claim, grant): (Claim, Option<Arc<Grant>>),
    ) -> Result<Option<Assignment>, Unavailable> {
        let ending = || Unavailable::NoQuorum("this node is ending".into());
        let sessions = self.sessions.clone();
        let (reply, taken) = oneshot::channel();
        self.tasks.spawn(async move {
            let until = Instant::now() + REQUEST_DEADLINE;
            let command = Command::Claim(Box::new(claim));
            let claimed = match sessions.submit_for(grant.as_deref(), &session, command, until).await
            {
                Ok(Reply { applied: Applied::Claimed { turn }, incarnation, .. }) => {
                    Some(Assignment { session, incarnation, turn: *turn })
                }
                Ok(_) | Err(SubmitError::Refused { .. }) => None,
                Err(error) => {
                    tracing::debug!(session = session.for_operators(), %error, "a claim came to nothing");
                    None
                }
            };
            if let Err(Some(assignment)) = reply.send(claimed) {
                give_back(&sessions, &assignment).await;
            }
        });
        taken.await.map_err(|_| ending())
    }

    /// Waits for an offer here or at any other node.
    async fn any_offer(&self, agent: &AgentId) -> Offer {
        let here = self.turn_queue.take(agent);
        let mut elsewhere = FuturesUnordered::new();
        let mut request = HashSet::new();
        let mut nodes = interval(SWEEP_INTERVAL);
        let ask = |node| {
            async move {
                // A call goes on at the peer when no caller waits for it here, so they are few.
                let _place = self.claimers.acquire().await;
                loop {
                    let within = OFFER_WAIT + PEER_SLACK;
                    let within_ms = u64::try_from(OFFER_WAIT.as_millis()).unwrap_or(u64::MAX);
                    let request = Request::Offer { agent: agent.clone(), within_ms };
                    match self.directory.ask(node, &request, within).await {
                        Ok(Response::Offered(Some((session, turn)))) => {
                            return Offer { session, turn };
                        }
                        Ok(_) => {}
                        // It may be back the moment after.
                        Err(_) => tokio::time::sleep(OFFER_WAIT).await,
                    }
                }
            }
        };
        tokio::pin!(here);
        loop {
            tokio::select! {
                offer = &mut here => return offer,
                Some(offer) = elsewhere.next(), if !elsewhere.is_empty() => return offer,
                // Whoever comes later may lead what was led by one that is gone.
                _ = nodes.tick() => {
                    let connected = self.host.connected();
                    elsewhere.extend(connected.into_iter().filter(|node| request.insert(*node)).map(ask));
                }
            }
        }
    }

    /// Waits for an offer at this node, for a worker at another one.
    pub(super) async fn offer_for_peer(&self, agent: &AgentId, within: Duration) -> Option<Offer> {
        tokio::time::timeout(within.min(OFFER_WAIT), self.turn_queue.take(agent)).await.ok()
    }

    /// The events of a turn so far, in order, at most about one page; and whether there are more.
    ///
    /// # Errors
    /// The log is not to be had before the deadline.
    pub async fn events_of(
        &self,
        assignment: &Assignment,
        limit: usize,
        deadline: Instant,
    ) -> Result<(Vec<Event>, bool), Unavailable> {
        let Assignment { session, incarnation, turn } = assignment;
        let before = Serial(turn.input.0 - 1);
        let start = Start::After(Cursor { incarnation: *incarnation, serial: before });
        let attached =
            self.sessions.attach(session, start, Freshness::Linearizable, deadline).await;
        let broken = |text: String| Unavailable::NoQuorum(text);
        let mut reader = attached.map_err(|error| broken(error.to_string()))?;
        let mut story = Story::of(turn, limit);
        loop {
            let delivery = timeout_at(deadline, reader.next()).await;
            let late = |_| broken("the log did not come in time".into());
            match delivery.map_err(late)? {
                Delivery::Events(all) => {
                    if all.iter().any(|shown| story.take(&shown.event) == Took::Full) {
                        return Ok((story.events(), true));
                    }
                }
                Delivery::Gap { .. } => {}
                Delivery::CaughtUp { .. } | Delivery::End { .. } => {
                    return Ok((story.events(), false));
                }
                _ => return Err(broken("the log is not here any more".into())),
            }
        }
    }
}

/// Lets another worker have a turn.
async fn give_back(sessions: &Sessions, assignment: &Assignment) {
    let Assignment { session, turn, .. } = assignment;
    let Some(lease) = &turn.lease else { return };
    let output = Some(TurnOutput { then: Then::Release, ..TurnOutput::default() });
    let release = TurnReport { output, ..TurnReport::new(turn.turn.clone(), lease.epoch) };
    let until = Instant::now() + REQUEST_DEADLINE;
    if let Err(error) = sessions.submit(session, Command::Report(Box::new(release)), until).await {
        tracing::debug!(session = session.for_operators(), %error, "a turn waits for the lease of a worker that is gone");
    }
}

/// How much later than requested a peer's answer may come.
const PEER_SLACK: Duration = Duration::from_secs(1);
