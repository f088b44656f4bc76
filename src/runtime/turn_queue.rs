//! Turns that wait for a worker, and workers that wait for a turn, at one node.
//!
//! A turn lies here for as long as its session is led here and reports that it waits, so that the session itself
//! costs no memory meanwhile. What is handed out is a hint: whoever takes it claims the turn by a command, and is
//! refused if another was faster. Where no claim follows, because the worker or its node is gone, it is handed out
//! again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::chance::Map;
use crate::ids::{AgentId, SessionId, TurnId};
use crate::limits::{OFFER_AGAIN, OFFERS};

/// A turn that may be claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Offer {
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
}

/// What a session offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) agent: AgentId,
    pub(super) turn: TurnId,
    /// Workers that have had it: a turn that was lost is another offer.
    pub(super) attempt: u32,
}

#[derive(Default)]
pub(super) struct TurnQueue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agents: Map<AgentId, Queue>,
    sessions: Map<SessionId, Offered>,
    /// Offers of all sessions.
    offers: usize,
}

/// The offers of one session.
struct Offered {
    shard: u32,
    all: Vec<Lying>,
}

struct Lying {
    waiting: Waiting,
    /// When it was handed out last, if it was.
    handed: Option<Instant>,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they came; those that are withdrawn are skipped.
    order: VecDeque<Offer>,
    workers: VecDeque<oneshot::Sender<Offer>>,
}

impl TurnQueue {
    /// Takes what a session offers now; what it offered before and does not any more is withdrawn.
    pub(super) fn set(&self, session: &SessionId, shard: u32, offers: Vec<Waiting>) {
        let mut state = self.state();
        let mut before = state.sessions.remove(session).map_or_else(Vec::new, |known| known.all);
        state.offers -= before.len();
        let mut all = Vec::new();
        let mut new = Vec::new();
        for waiting in offers {
            match before.iter().position(|lying| lying.waiting == waiting) {
                Some(at) => all.push(before.swap_remove(at)),
                None if OFFERS <= state.offers + all.len() => {}
                None => {
                    new.push((waiting.agent.clone(), waiting.turn.clone()));
                    all.push(Lying { waiting, handed: None });
                }
            }
        }
        if all.is_empty() {
            return;
        }
        state.offers += all.len();
        state.sessions.insert(session.clone(), Offered { shard, all });
        for (agent, turn) in new {
            state.hand_out(&agent, Offer { session: session.clone(), turn });
        }
    }

    /// Waits for a turn for this agent.
    pub(super) async fn take(&self, agent: &AgentId) -> Offer {
        loop {
            let waits = {
                let mut state = self.state();
                while let Some(offer) = state.queue(agent).order.pop_front() {
                    if state.mark_handed(&offer) {
                        return offer;
                    }
                }
                let (worker, waits) = oneshot::channel();
                let queue = state.queue(agent);
                queue.workers.retain(|other| !other.is_closed());
                queue.workers.push_back(worker);
                waits
            };
            if let Ok(offer) = waits.await {
                return offer;
            }
        }
    }

    /// Hands out again what was not claimed, and forgets what is led elsewhere, workers that wait no more, and
    /// agents without either.
    pub(super) fn tidy(&self, now: Instant, leads: impl Fn(u32) -> bool) {
        let mut state = self.state();
        state.sessions.retain(|_, offered| leads(offered.shard));
        state.offers = state.sessions.values().map(|offered| offered.all.len()).sum();
        let mut again = Vec::new();
        for (session, offered) in &mut state.sessions {
            for lying in &mut offered.all {
                if lying.handed.is_some_and(|at| OFFER_AGAIN <= now.duration_since(at)) {
                    lying.handed = None;
                    let Waiting { agent, turn, .. } = lying.waiting.clone();
                    again.push((agent, Offer { session: session.clone(), turn }));
                }
            }
        }
        for (agent, offer) in again {
            state.hand_out(&agent, offer);
        }
        let State { agents, sessions, .. } = &mut *state;
        agents.retain(|_, queue| {
            // One that was withdrawn and came again lies there twice.
            let mut seen = Map::default();
            queue.order.retain(|offer| {
                lying(sessions, offer).is_some() && seen.insert(offer.clone(), ()).is_none()
            });
            queue.workers.retain(|worker| !worker.is_closed());
            !queue.workers.is_empty() || !queue.order.is_empty()
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

impl State {
    fn queue(&mut self, agent: &AgentId) -> &mut Queue {
        self.agents.entry(agent.clone()).or_default()
    }

    /// Gives an offer to a worker that waits, or puts it after the others.
    fn hand_out(&mut self, agent: &AgentId, mut offer: Offer) {
        while let Some(worker) = self.queue(agent).workers.pop_front() {
            match worker.send(offer.clone()) {
                Ok(()) => {
                    self.mark_handed(&offer);
                    return;
                }
                // It waits no more.
                Err(back) => offer = back,
            }
        }
        self.queue(agent).order.push_back(offer);
    }

    /// Remembers that an offer was handed out, if it is still one.
    fn mark_handed(&mut self, offer: &Offer) -> bool {
        let lying = lying(&mut self.sessions, offer).filter(|lying| lying.handed.is_none());
        lying.map(|lying| lying.handed = Some(Instant::now())).is_some()
    }
}

fn lying<'a>(sessions: &'a mut Map<SessionId, Offered>, offer: &Offer) -> Option<&'a mut Lying> {
    let offered = sessions.get_mut(&offer.session)?;
    offered.all.iter_mut().find(|lying| lying.waiting.turn == offer.turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AgentName, TenantName};

    fn session() -> SessionId {
        SessionId::parse("s").unwrap()
    }

    fn offer(turn: &str) -> Offer {
        Offer { session: session(), turn: TurnId::parse(turn).unwrap() }
    }

    fn waiting(turns: &[(&str, u32)]) -> Vec<Waiting> {
        let waits = |&(turn, attempt): &(&str, u32)| Waiting {
            agent: agent(),
            turn: TurnId::parse(turn).unwrap(),
            attempt,
        };
        turns.iter().map(waits).collect()
    }

    fn agent() -> AgentId {
        AgentName::parse("a").unwrap().into()
    }

    fn is_empty(turn_queue: &TurnQueue) -> bool {
        let state = turn_queue.state();
        state.agents.is_empty() && state.sessions.is_empty() && state.offers == 0
    }

    #[tokio::test]
    async fn an_offer_goes_to_one_who_waits_and_is_kept_for_the_next() {
        let turn_queue = TurnQueue::default();
        for _ in 0..2 {
            turn_queue.set(&session(), 1, waiting(&[("1", 0), ("2", 0)]));
        }
        assert_eq!(turn_queue.state().offers, 2);
        assert_eq!(turn_queue.take(&agent()).await, offer("1"));
        assert_eq!(turn_queue.take(&agent()).await, offer("2"));
        let (who, waits) = (agent(), agent());
        let (gone, waits) = (turn_queue.take(&who), turn_queue.take(&waits));
        futures::pin_mut!(waits);
        {
            futures::pin_mut!(gone);
            assert!(futures::poll!(gone).is_pending());
            assert!(futures::poll!(waits.as_mut()).is_pending());
        }
        turn_queue.set(&session(), 1, waiting(&[("3", 0)]));
        assert_eq!(waits.await, offer("3"));
        turn_queue.set(&session(), 1, Vec::new());
        turn_queue.tidy(Instant::now(), |_| true);
        assert!(is_empty(&turn_queue));
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_that_nobody_claims_is_handed_out_again_soon() {
        let turn_queue = TurnQueue::default();
        turn_queue.set(&session(), 1, waiting(&[("1", 0)]));
        assert_eq!(turn_queue.take(&agent()).await, offer("1"));
        let who = agent();
        let next = turn_queue.take(&who);
        futures::pin_mut!(next);
        // It is reported again, and a worker may be about to claim it.
        turn_queue.set(&session(), 1, waiting(&[("1", 0)]));
        turn_queue.tidy(Instant::now(), |_| true);
        assert!(futures::poll!(next.as_mut()).is_pending());
        tokio::time::advance(OFFER_AGAIN).await;
        turn_queue.tidy(Instant::now(), |_| true);
        assert_eq!(next.await, offer("1"));
        // A turn that was claimed and lost is another offer.
        turn_queue.set(&session(), 1, waiting(&[("1", 1)]));
        assert_eq!(turn_queue.take(&agent()).await, offer("1"));
    }

    /// As often as a turn is paused and resumed.
    #[tokio::test]
    async fn an_offer_that_comes_and_goes_lies_in_order_once() {
        let turn_queue = TurnQueue::default();
        for _ in 0..100 {
            turn_queue.set(&session(), 1, waiting(&[("1", 0)]));
            turn_queue.set(&session(), 1, Vec::new());
        }
        turn_queue.set(&session(), 1, waiting(&[("1", 0), ("2", 0)]));
        turn_queue.tidy(Instant::now(), |_| true);
        assert_eq!(turn_queue.state().queue(&agent()).order, [offer("1"), offer("2")]);
    }

    #[tokio::test]
    async fn a_turn_goes_to_workers_of_its_own_tenant_alone() {
        let turn_queue = TurnQueue::default();
        turn_queue.set(&session(), 1, waiting(&[("1", 0)]));
        let theirs = AgentId { tenant: TenantName::parse("acme").ok(), ..agent() };
        let other = turn_queue.take(&theirs);
        futures::pin_mut!(other);
        assert!(futures::poll!(other.as_mut()).is_pending());
        assert_eq!(turn_queue.take(&agent()).await, offer("1"));
        assert!(futures::poll!(other).is_pending());
    }

    #[tokio::test]
    async fn what_is_withdrawn_or_led_elsewhere_is_not_handed_out() {
        let turn_queue = TurnQueue::default();
        turn_queue.set(&session(), 1, waiting(&[("1", 0), ("2", 0)]));
        turn_queue.set(&session(), 1, waiting(&[("2", 0)]));
        assert_eq!(turn_queue.take(&agent()).await, offer("2"));
        turn_queue.set(&session(), 1, waiting(&[("3", 0)]));
        turn_queue.tidy(Instant::now(), |shard| shard != 1);
        assert!(is_empty(&turn_queue));
    }
}
