//! Load with turns: people who send inputs, steer and interrupt, workers that send output, die and sleep, and readers
//! who see it all.

pub mod board;
pub mod people;
pub mod process;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::history::{Answer, Call, OpId};
use super::load::{Load, PATIENCE, name};
use super::recorder::Recorder;
use people::{Habit, Person, Storm};
use process::{Sleeper, Tally};
use worker::{Manner, NotOk, Tape, Worker};

/// What the load looks like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub seed: u64,
    pub sessions: usize,
    /// Workers of each agent, in this process.
    pub workers: usize,
    /// Workers that are processes, and zombies most of the time.
    pub sleepers: usize,
    /// The test of this executable that is such a process.
    pub process: &'static str,
}

/// A running load of turns, beside the ordinary one of the same sessions.
pub struct Turns {
    pub storm: Arc<Storm>,
    pub tally: Arc<Tally>,
    people: JoinSet<()>,
    workers: JoinSet<()>,
    calm: Arc<AtomicBool>,
    people_stop: Arc<AtomicBool>,
    workers_stop: Arc<AtomicBool>,
    sessions: usize,
}

/// One agent is interrupted all the time, and the other is left to those who put workers to sleep.
const HABITS: [Habit; 2] = [
    Habit { agent: "poet", interrupts: 60, words: 40, pause: Duration::from_millis(700) },
    Habit { agent: "clerk", interrupts: 4, words: 24, pause: Duration::from_millis(1_500) },
];

impl Turns {
    pub fn start(load: &Load, shape: Shape) -> Turns {
        let mut turns = Turns {
            storm: Arc::default(),
            tally: Arc::default(),
            people: JoinSet::new(),
            workers: JoinSet::new(),
            calm: Arc::default(),
            people_stop: Arc::default(),
            workers_stop: Arc::default(),
            sessions: shape.sessions,
        };
        let urls = load.urls();
        for session in 0..shape.sessions {
            for (number, habit) in HABITS.into_iter().enumerate() {
                let person = Person {
                    id: PEOPLE + (2 * session + number) as u32,
                    session: name(session),
                    habit,
                    urls: urls.clone(),
                    recorder: load.recorder.clone(),
                    board: load.board.clone(),
                    storm: turns.storm.clone(),
                    stop: turns.people_stop.clone(),
                };
                turns.people.spawn(person.run());
            }
        }
        let manner = |number: usize, agent: &str, lease_ms, dies| Manner {
            name: format!("worker-{number}"),
            agent: agent.to_owned(),
            urls: urls.clone(),
            seed: shape.seed * 1_000 + number as u64,
            lease_ms,
            pause_ms: 60,
            dies,
        };
        for number in 0..2 * shape.workers {
            let manner = manner(number, HABITS[number % 2].agent, 2_000, 2);
            let tape = Here {
                client: WORKERS + number as u32,
                recorder: load.recorder.clone(),
                stop: turns.workers_stop.clone(),
            };
            turns.workers.spawn(Worker::new(manner, tape).run());
        }
        for number in 0..shape.sleepers {
            let sleeper = Sleeper {
                client: SLEEPERS + number as u32,
                recorder: load.recorder.clone(),
                board: load.board.clone(),
                stop: turns.workers_stop.clone(),
                calm: turns.calm.clone(),
                tally: turns.tally.clone(),
            };
            let manner = manner(SLEEPERS as usize + number, "clerk", 1_000, 0);
            turns.workers.spawn(sleeper.run(manner, shape.process));
        }
        turns
    }

    /// Lets people fall silent, waits until every turn has come to its end, and lets the workers go.
    pub async fn finish(mut self, load: &Load) {
        self.people_stop.store(true, Ordering::Release);
        self.calm.store(true, Ordering::Release);
        while let Some(done) = self.people.join_next().await {
            done.expect("a person does not fail");
        }
        for session in 0..self.sessions {
            let session = name(session);
            let over = load.board.until(|board| board.open(&session, "").is_empty());
            if timeout(PATIENCE, over).await.is_err() {
                let open = load.board.open(&session, "");
                panic!("turns of {session} without an end: {open:?}");
            }
        }
        self.workers_stop.store(true, Ordering::Release);
        while let Some(done) = self.workers.join_next().await {
            done.expect("a worker does not fail");
        }
    }
}

const PEOPLE: u32 = 1 << 16;
const WORKERS: u32 = 1 << 17;
const SLEEPERS: u32 = 1 << 18;

/// The tape of a worker in this process.
struct Here {
    client: u32,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
}

impl Tape for Here {
    async fn invoke(&mut self, node: &str, session: &str, call: Call) -> Option<OpId> {
        if self.stop.load(Ordering::Acquire) {
            return None;
        }
        Some(self.recorder.invoke(self.client, node, session, None, call))
    }

    fn received(&mut self, op: OpId, outcome: Result<Answer, NotOk>) {
        match outcome {
            Ok(answer) => self.recorder.ok(op, answer),
            Err(NotOk::No(text)) => self.recorder.fail(op, &text),
            Err(NotOk::Unknown(text)) => self.recorder.unknown(op, &text),
        }
    }
}
