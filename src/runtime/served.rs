//! Which agents have workers: known for this node, and from other nodes where a turn waits.
//!
//! It is shown with a turn's health, and nothing follows from it: a turn whose agent has no worker waits on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::join_all;
use tokio::time::Instant;

use super::peer::wire::{Request, Response};
use super::workers::Workers;
use crate::ids::{AgentId, SessionId};
use crate::limits::{SERVED_AGENTS, SERVED_FRESH, SERVED_LINGER, SERVED_WAIT};
use crate::session::{TurnState, TurnStatus};

/// The agents of a cluster that have workers, as one node knows.
#[derive(Default)]
pub(super) struct Served {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    here: HashMap<AgentId, Here>,
    /// The answers of the other nodes, and when they came.
    elsewhere: HashMap<AgentId, (bool, Instant)>,
}

/// The workers of one agent at this node.
struct Here {
    workers: usize,
    /// When there was one last.
    seen: Instant,
}

/// Counts one worker while it lives.
pub(super) struct Serving {
    served: Arc<Served>,
    agent: AgentId,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(here) = self.served.state().here.get_mut(&self.agent) {
            here.workers -= 1;
            here.seen = Instant::now();
        }
    }
}

impl Served {
    /// A worker is here; one that claims anew from time to time is so in between, too.
    pub(super) fn serve(self: &Arc<Self>, agent: &AgentId) -> Serving {
        let new = || Here { workers: 0, seen: Instant::now() };
        self.state().here.entry(agent.clone()).or_insert_with(new).workers += 1;
        Serving { served: self.clone(), agent: agent.clone() }
    }

    /// Whether this node has a worker of the agent, or had one a moment ago.
    pub(super) fn is_here(&self, agent: &AgentId) -> bool {
        let state = self.state();
        let here = state.here.get(agent);
        here.is_some_and(|here| 0 < here.workers || here.seen.elapsed() < SERVED_LINGER)
    }

    /// The answers of the other nodes, if they came not long ago.
    fn elsewhere(&self, agent: &AgentId) -> Option<bool> {
        let state = self.state();
        let (is, since) = state.elsewhere.get(agent)?;
        (since.elapsed() < SERVED_FRESH).then_some(*is)
    }

    fn received(&self, agent: AgentId, is: bool) {
        let elsewhere = &mut self.state().elsewhere;
        if elsewhere.len() < SERVED_AGENTS || elsewhere.contains_key(&agent) {
            elsewhere.insert(agent, (is, Instant::now()));
        }
    }

    /// Forgets what is old.
    pub(super) fn tidy(&self) {
        let State { here, elsewhere } = &mut *self.state();
        here.retain(|_, here| 0 < here.workers || here.seen.elapsed() < SERVED_LINGER);
        elsewhere.retain(|_, (_, since)| since.elapsed() < SERVED_FRESH);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

impl Workers {
    /// Marks the turns of a session that wait for an agent of its tenant without a worker in the cluster.
    pub async fn mark_unserved(&self, session: &SessionId, turns: &mut [TurnStatus]) {
        let until = Instant::now() + SERVED_WAIT;
        for turn in turns {
            let waits = turn.state == TurnState::Queued && turn.lease.is_none();
            // Nodes that do not answer delay no answer for long.
            if waits && Instant::now() < until {
                let agent = AgentId { tenant: session.tenant(), name: turn.agent.clone() };
                turn.unserved = self.is_served(&agent).await == Some(false);
            }
        }
    }

    /// Whether anybody in the cluster works for the agent; none where that cannot be known now.
    async fn is_served(&self, agent: &AgentId) -> Option<bool> {
        if self.served.is_here(agent) {
            return Some(true);
        }
        if let Some(known) = self.served.elsewhere(agent) {
            return Some(known);
        }
        let request = Request::Serves { agent: agent.clone() };
        let nodes = self.host.connected();
        let answers = nodes.into_iter().map(|node| self.directory.ask(node, &request, SERVED_WAIT));
        let answers: Vec<_> = join_all(answers).await.into_iter().map(Result::ok).collect();
        let is = |wanted: bool| {
            move |answer: &Option<Response>| *answer == Some(Response::Serves(wanted))
        };
        // A node that does not answer may have one.
        let known = match (answers.iter().any(is(true)), answers.iter().all(is(false))) {
            (true, _) => true,
            (_, true) => false,
            _ => return None,
        };
        self.served.received(agent.clone(), known);
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AgentName;

    #[tokio::test(start_paused = true)]
    async fn a_worker_counts_while_it_is_here_and_for_a_moment_after() {
        let (served, agent) =
            (Arc::new(Served::default()), AgentId::from(AgentName::parse("a").unwrap()));
        assert!(!served.is_here(&agent));
        let (one, two) = (served.serve(&agent), served.serve(&agent));
        drop(one);
        tokio::time::advance(SERVED_LINGER).await;
        served.tidy();
        assert!(served.is_here(&agent));
        drop(two);
        assert!(served.is_here(&agent), "it may only be asking anew");
        tokio::time::advance(SERVED_LINGER).await;
        assert!(!served.is_here(&agent));
        served.tidy();
        assert!(served.state().here.is_empty());
    }
}
