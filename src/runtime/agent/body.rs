//! What an agent is made of on this node, and the actors that keep it going.
//!
//! A body lives: it opens links and serves them until it ends. Each life is an actor under one supervisor,
//! which begins the next life after a pause that doubles, and lets a body rest that fails too often. What a life had
//! of turns is not its supervisor's to mend: the link gave them back, and the sessions know (S9).

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use rand::Rng;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::workers::Workers;
use crate::ids::AgentId;
use crate::limits::{RESTART_WAIT, RESTART_WAIT_MAX, RESTARTS_REST};

/// What an agent is made of.
pub trait Body: Send + Sync + 'static {
    /// Whose turns it takes.
    fn agent(&self) -> &AgentId;

    /// How often it may fail before it rests.
    fn restart(&self) -> Restart;

    /// One life of it: until it fails, or is to stop.
    fn live(self: Arc<Self>, place: BodyContext) -> BoxFuture<'static, Ended>;
}

/// Where a body lives.
#[derive(Clone)]
pub struct BodyContext {
    pub workers: Arc<Workers>,
    /// Which of several like it, from 0.
    pub number: usize,
    /// It is to take no more turns, to end those that it has, and to end.
    pub stop: CancellationToken,
}

/// How often a body may fail before it rests for [`RESTARTS_REST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    pub intensity: u32,
    pub within: Duration,
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was to.
    Stopped,
    /// By itself, or because it was taken out of service.
    Failed(String),
}

/// The agents that this node runs by itself.
pub struct Agents {
    supervisor: ActorRef<Begin>,
    lives: TaskTracker,
    stop: CancellationToken,
}

impl Agents {
    /// Runs agents whose turns are those of `workers`: of each body, as many as given.
    pub async fn start(workers: Arc<Workers>, bodies: Vec<(Arc<dyn Body>, usize)>) -> Agents {
        let (lives, stop) = (TaskTracker::new(), CancellationToken::new());
        let slots = bodies.into_iter().flat_map(|(body, count)| {
            (0..count).map(move |number| Slot {
                body: body.clone(),
                number,
                failures: VecDeque::new(),
            })
        });
        let state = State {
            workers,
            slots: slots.collect(),
            living: HashMap::new(),
            lives: lives.clone(),
            stop: stop.clone(),
        };
        let spawned = Actor::spawn(None, Supervisor, state).await;
        let (supervisor, _join) = spawned.expect("an actor without a name always starts");
        Agents { supervisor, lives, stop }
    }

    /// Signals all agents to end, and waits until they have.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.lives.close();
        self.lives.wait().await;
        self.supervisor.stop(None);
    }
}

struct Supervisor;

/// Lets the next life of a slot begin.
struct Begin(usize);

struct State {
    workers: Arc<Workers>,
    slots: Vec<Slot>,
    living: HashMap<ActorId, usize>,
    lives: TaskTracker,
    stop: CancellationToken,
}

/// Room for one life at a time.
struct Slot {
    body: Arc<dyn Body>,
    number: usize,
    /// When it failed, within the time that counts.
    failures: VecDeque<Instant>,
}

impl Slot {
    /// How long to wait after a failure, at the time `now`; and whether that is a rest.
    fn pause(&mut self, now: Instant) -> (Duration, bool) {
        let Restart { intensity, within } = self.body.restart();
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|failed| within < now.duration_since(*failed)) {
            self.failures.pop_front();
        }
        let failures = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if intensity < failures {
            self.failures.clear();
            return (RESTARTS_REST, true);
        }
        // The first one may have been an accident.
        let Some(doublings) = failures.checked_sub(2) else { return (Duration::ZERO, false) };
        let pause = RESTART_WAIT.saturating_mul(1 << doublings.min(16)).min(RESTART_WAIT_MAX);
        (pause.mul_f64(rand::rng().random_range(0.5..1.0)), false)
    }
}

impl Actor for Supervisor {
    type Msg = Begin;
    type State = State;
    type Arguments = State;

    async fn pre_start(
        &self,
        myself: ActorRef<Begin>,
        state: State,
    ) -> Result<State, ActorProcessingErr> {
        for slot in 0..state.slots.len() {
            myself.send_message(Begin(slot))?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Begin>,
        Begin(slot): Begin,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.stop.is_cancelled() {
            return Ok(());
        }
        let Slot { body, number, .. } = &state.slots[slot];
        let (workers, stop) = (state.workers.clone(), state.stop.clone());
        let place = BodyContext { workers, number: *number, stop };
        let begun = (body.clone(), place, state.lives.clone());
        let (life, _join) = Actor::spawn_linked(None, Life, begun, myself.get_cell()).await?;
        state.living.insert(life.get_id(), slot);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Begin>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (life, why) = match event {
            SupervisionEvent::ActorTerminated(life, ..) => (life, None),
            SupervisionEvent::ActorFailed(life, why) => (life, Some(why.to_string())),
            _ => return Ok(()),
        };
        let Some(at) = state.living.remove(&life.get_id()) else { return Ok(()) };
        if state.stop.is_cancelled() {
            return Ok(());
        }
        let slot = &mut state.slots[at];
        let (pause, rests) = slot.pause(Instant::now());
        let (agent, number) = (slot.body.agent(), slot.number);
        let why = why.unwrap_or_else(|| "it ended by itself".into());
        let pause_ms = pause.as_millis();
        if rests {
            tracing::warn!(%agent, number, pause_ms, why, "an agent failed too often and rests");
        } else {
            tracing::warn!(%agent, number, pause_ms, why, "an agent ended and begins again");
        }
        myself.send_after(pause, move || Begin(at));
        Ok(())
    }
}

/// One life of a body.
struct Life;

impl Actor for Life {
    type Msg = Ended;
    type State = ();
    type Arguments = (Arc<dyn Body>, BodyContext, TaskTracker);

    async fn pre_start(
        &self,
        myself: ActorRef<Ended>,
        (body, place, lives): Self::Arguments,
    ) -> Result<(), ActorProcessingErr> {
        lives.spawn(async move {
            let lived = AssertUnwindSafe(body.live(place)).catch_unwind().await;
            let ended = lived.unwrap_or_else(|_| Ended::Failed("its body panicked".into()));
            // Where the actor is gone, so is its supervisor.
            drop(myself.send_message(ended));
        });
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Ended>,
        ended: Ended,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match ended {
            Ended::Stopped => {
                myself.stop(None);
                Ok(())
            }
            Ended::Failed(why) => Err(why.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Frail(AgentId);

    impl Body for Frail {
        fn agent(&self) -> &AgentId {
            &self.0
        }

        fn restart(&self) -> Restart {
            Restart { intensity: 3, within: Duration::from_secs(60) }
        }

        fn live(self: Arc<Self>, _place: BodyContext) -> BoxFuture<'static, Ended> {
            async { Ended::Failed("frail".into()) }.boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_begins_again_ever_later_and_rests_when_it_fails_too_often() {
        let body: Arc<dyn Body> =
            Arc::new(Frail(crate::ids::AgentName::parse("a").unwrap().into()));
        let mut slot = Slot { body, number: 0, failures: VecDeque::new() };
        let now = Instant::now();
        assert_eq!(slot.pause(now), (Duration::ZERO, false));
        let (second, third) = (slot.pause(now).0, slot.pause(now).0);
        assert!(RESTART_WAIT / 2 <= second && second <= RESTART_WAIT);
        assert!(RESTART_WAIT <= third && third <= RESTART_WAIT * 2);
        assert_eq!(slot.pause(now), (RESTARTS_REST, true));
        // After a rest, and after a long while, it begins with a clean slate.
        assert_eq!(slot.pause(now), (Duration::ZERO, false));
        assert_eq!(slot.pause(now + Duration::from_secs(61)), (Duration::ZERO, false));
    }
}
