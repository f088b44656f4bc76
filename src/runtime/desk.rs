//! Turns that wait for a worker, and workers that wait for a turn, at one node.
//!
//! What is offered here is a hint: whoever takes it claims the turn by a command, and is refused if another
//! was faster. A hint that gets lost is offered again, because the turn still waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ids::{AgentName, SessionId, TurnId};
use crate::limits::{OFFER_LIFE, OFFERS};

/// A turn that may be claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Offer {
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
}

#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agents: HashMap<AgentName, Queue>,
    /// Offers of all agents, with those that are old.
    offers: usize,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they came.
    order: VecDeque<Offer>,
    /// When each was last offered.
    offered: HashMap<Offer, Instant>,
    workers: VecDeque<oneshot::Sender<Offer>>,
}

impl Desk {
    /// Hands the turn to a worker that waits, or keeps it for the next.
    pub(super) fn offer(&self, agent: &AgentName, mut offer: Offer) {
        let mut state = self.state();
        let room = state.offers < OFFERS;
        let queue = state.agents.entry(agent.clone()).or_default();
        while let Some(worker) = queue.workers.pop_front() {
            match worker.send(offer) {
                Ok(()) => return,
                // It waits no more.
                Err(back) => offer = back,
            }
        }
        if let Some(offered) = queue.offered.get_mut(&offer) {
            *offered = Instant::now();
        } else if room {
            queue.order.push_back(offer.clone());
            queue.offered.insert(offer, Instant::now());
            state.offers += 1;
        }
    }

    /// Waits for a turn for this agent.
    pub(super) async fn take(&self, agent: &AgentName) -> Offer {
        loop {
            let waits = {
                let mut state = self.state();
                let queue = state.agents.entry(agent.clone()).or_default();
                if let Some(offer) = queue.order.pop_front() {
                    queue.offered.remove(&offer);
                    state.offers -= 1;
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

    /// Forgets old offers, workers that wait no more, and agents without either.
    pub(super) fn tidy(&self, now: Instant) {
        let mut state = self.state();
        let mut offers = 0;
        state.agents.retain(|_, queue| {
            queue.offered.retain(|_, offered| now.duration_since(*offered) < OFFER_LIFE);
            queue.order.retain(|offer| queue.offered.contains_key(offer));
            queue.workers.retain(|worker| !worker.is_closed());
            offers += queue.order.len();
            !queue.workers.is_empty() || !queue.order.is_empty()
        });
        state.offers = offers;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
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
        assert_eq!(desk.state().offers, 2);
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
        desk.tidy(Instant::now());
        assert!(desk.state().agents.is_empty());
    }

    #[tokio::test]
    async fn an_offer_that_nobody_repeats_is_forgotten() {
        let (desk, agent) = (Desk::default(), AgentName::parse("a").unwrap());
        desk.offer(&agent, offer("1"));
        desk.tidy(Instant::now());
        assert_eq!(desk.state().offers, 1);
        desk.tidy(Instant::now() + OFFER_LIFE);
        assert_eq!(desk.state().offers, 0);
        assert!(desk.state().agents.is_empty());
    }
}
