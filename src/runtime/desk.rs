//! Turns that wait for a worker, and workers that wait for a turn, at one node.
//!
//! What is offered here is a hint: whoever takes it claims the turn by a command, and is refused if another
//! was faster. A hint that gets lost is offered again at the next sweep, because the turn still waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::ids::{AgentName, SessionId, TurnId};
use crate::limits::OFFERS;

/// A turn that may be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
}

#[derive(Default)]
pub(super) struct Desk {
    agents: Mutex<HashMap<AgentName, Queue>>,
}

#[derive(Default)]
struct Queue {
    offers: VecDeque<Offer>,
    workers: VecDeque<oneshot::Sender<Offer>>,
}

impl Desk {
    /// Hands the turn to a worker that waits, or keeps it for the next.
    pub(super) fn offer(&self, agent: &AgentName, mut offer: Offer) {
        let mut agents = self.agents();
        let queue = agents.entry(agent.clone()).or_default();
        while let Some(worker) = queue.workers.pop_front() {
            match worker.send(offer) {
                Ok(()) => return,
                // It waits no more.
                Err(back) => offer = back,
            }
        }
        if queue.offers.len() < OFFERS && !queue.offers.contains(&offer) {
            queue.offers.push_back(offer);
        }
    }

    /// Waits for a turn for this agent.
    pub(super) async fn take(&self, agent: &AgentName) -> Offer {
        loop {
            let waits = {
                let mut agents = self.agents();
                let queue = agents.entry(agent.clone()).or_default();
                if let Some(offer) = queue.offers.pop_front() {
                    return offer;
                }
                let (worker, waits) = oneshot::channel();
                queue.workers.retain(|other| !other.is_closed());
                queue.workers.push_back(worker);
                waits
            };
            if let Ok(offer) = waits.await {
                return offer;
            }
        }
    }

    /// Forgets agents that nobody offers and nobody waits for.
    pub(super) fn tidy(&self) {
        self.agents().retain(|_, queue| {
            queue.workers.retain(|worker| !worker.is_closed());
            !queue.workers.is_empty() || !queue.offers.is_empty()
        });
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<AgentName, Queue>> {
        self.agents.lock().expect("no panic happens under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(turn: &str) -> Offer {
        let session = SessionId::parse("s").unwrap();
        Offer { session, turn: TurnId::parse(turn).unwrap() }
    }

    #[tokio::test]
    async fn an_offer_goes_to_one_who_waits_and_is_kept_for_the_next() {
        let (desk, agent) = (Desk::default(), AgentName::parse("a").unwrap());
        desk.offer(&agent, offer("1"));
        desk.offer(&agent, offer("1"));
        desk.offer(&agent, offer("2"));
        assert_eq!(desk.take(&agent).await, offer("1"));
        assert_eq!(desk.take(&agent).await, offer("2"));
        let (gone, waits) = (desk.take(&agent), desk.take(&agent));
        futures::pin_mut!(waits);
        {
            futures::pin_mut!(gone);
            assert!(futures::poll!(gone).is_pending());
            assert!(futures::poll!(waits.as_mut()).is_pending());
        }
        desk.offer(&agent, offer("3"));
        assert_eq!(waits.await, offer("3"));
        desk.tidy();
        assert!(desk.agents().is_empty());
    }
}
