//! People: they send inputs, steer, queue, interrupt and cancel, and repeat each message until it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::cluster::client;
use super::super::history::{Answer, Call};
use super::super::load::{Outcome, PATIENCE, send};
use super::super::recorder::Recorder;
use super::super::turn::{Scope, WhenBusy};
use super::board::Board;
use super::worker::{BACK_OFF, BACK_OFF_MOST};

/// How a person treats one agent.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub agent: &'static str,
    /// How many of a hundred messages interrupt or cancel.
    pub interrupts: u32,
    pub words: usize,
    pub pause: Duration,
}

/// What people see of the faults, and count.
#[derive(Default)]
pub struct Storm {
    /// A node is down, or was a moment ago.
    pub blows: AtomicBool,
    /// Interrupts that were acknowledged and had something to interrupt.
    pub interrupts: AtomicUsize,
    /// Those of them that were under way while a node was down.
    pub in_storm: AtomicUsize,
}

pub struct Person {
    pub id: u32,
    pub session: String,
    pub habit: Habit,
    pub urls: Vec<String>,
    pub recorder: Arc<Recorder>,
    pub board: Arc<Board>,
    pub storm: Arc<Storm>,
    pub stop: Arc<AtomicBool>,
}

struct Hand {
    http: reqwest::Client,
    rng: StdRng,
    node: usize,
    inputs: u64,
}

impl Person {
    pub async fn run(self) {
        let seed = u64::from(self.id) * 7919;
        let rng = StdRng::seed_from_u64(seed);
        let mut hand = Hand { http: client(), rng, node: self.id as usize, inputs: 0 };
        while !self.stop.load(Ordering::Acquire) {
            self.act(&mut hand).await;
            sleep(self.habit.pause.mul_f64(hand.rng.random_range(0.5..1.5))).await;
        }
    }

    fn input_name(&self, number: u64) -> String {
        format!("i{}-{number}", self.id)
    }

    async fn act(&self, hand: &mut Hand) {
        let open = self.board.open(&self.session, self.habit.agent);
        let interrupts = hand.rng.random_range(0..100) < self.habit.interrupts;
        let dice = hand.rng.random_range(0..100);
        if open.is_empty() || !interrupts {
            let when_busy = match dice {
                _ if open.is_empty() => WhenBusy::Steer,
                0..70 => WhenBusy::Steer,
                70..85 if open.len() < 3 => WhenBusy::Queue,
                70..95 => WhenBusy::Reject,
                _ => {
                    // A cancel that comes before its turn does.
                    let scope = Scope::Turn(self.input_name(hand.inputs));
                    return self.cancel(hand, scope, false).await;
                }
            };
            return self.input(hand, when_busy, false).await;
        }
        match dice {
            0..50 => self.input(hand, WhenBusy::Interrupt, true).await,
            50..85 => {
                let turn = open[hand.rng.random_range(0..open.len())].clone();
                self.cancel(hand, Scope::Turn(turn), true).await;
            }
            85..97 => self.cancel(hand, Scope::Agent(self.habit.agent.to_owned()), true).await,
            _ => self.cancel(hand, Scope::All, true).await,
        }
    }

    async fn input(&self, hand: &mut Hand, when_busy: WhenBusy, interrupts: bool) {
        let input = self.input_name(hand.inputs);
        hand.inputs += 1;
        let agent = self.habit.agent.to_owned();
        let value = format!("say {} words for {input}", self.habit.words);
        let body = json!({
            "id": input, "agent": agent, "content": { "text": value }, "when_busy": when_busy,
            "participant": format!("person-{}", self.id),
        });
        let call = Call::Input { input, agent, value, when_busy };
        let answered = |answer: &Value| Answer::Accepted {
            turn: answer["turn"].as_str().expect("a turn").to_owned(),
            serial: answer["serial"].as_u64().expect("a serial"),
            duplicate: answer["duplicate"] == true,
        };
        self.ask(hand, "inputs", &body, &call, answered, interrupts).await;
    }

    async fn cancel(&self, hand: &mut Hand, scope: Scope, interrupts: bool) {
        let body = match &scope {
            Scope::Turn(turn) => json!({ "turn": turn }),
            Scope::Agent(agent) => json!({ "agent": agent }),
            Scope::All => json!({ "all": true }),
        };
        let call = Call::Cancel { scope };
        let answered = |answer: &Value| Answer::Cancelled {
            turns: answer["cancelled"].as_u64().expect("a number"),
            tail: answer["tail"].as_u64().expect("a serial"),
        };
        self.ask(hand, "cancel", &body, &call, answered, interrupts).await;
    }

    /// Sends a request to one node after another until one answers with success or a final refusal.
    async fn ask(
        &self,
        hand: &mut Hand,
        verb: &str,
        body: &Value,
        call: &Call,
        answered: impl Fn(&Value) -> Answer,
        interrupts: bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = BACK_OFF;
        let mut stormy = self.storm.blows.load(Ordering::Acquire);
        loop {
            let node = hand.node % self.urls.len();
            let url = format!("{}/v1/sessions/{}/{verb}", self.urls[node], self.session);
            let name = format!("n{}", node + 1);
            let op = self.recorder.invoke(self.id, &name, &self.session, None, call.clone());
            match send(hand.http.post(url).json(body)).await {
                Outcome::Ok(answer) => {
                    let answer = answered(&answer);
                    stormy |= self.storm.blows.load(Ordering::Acquire);
                    let in_vain = matches!(answer, Answer::Cancelled { turns: 0, .. });
                    self.recorder.ok(op, answer);
                    if interrupts && !in_vain {
                        self.storm.interrupts.fetch_add(1, Ordering::Relaxed);
                        self.storm.in_storm.fetch_add(usize::from(stormy), Ordering::Relaxed);
                    }
                    return;
                }
                Outcome::No(text) => {
                    self.recorder.fail(op, &text);
                    let refusal: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                    if matches!(
                        refusal["code"].as_str(),
                        Some("busy" | "too_many_turns" | "mailbox_full")
                    ) {
                        return;
                    }
                }
                Outcome::Unknown(text) => self.recorder.unknown(op, &text),
            }
            assert!(Instant::now() < deadline, "{} does not take {call:?}", self.session);
            hand.node = hand.rng.random_range(0..self.urls.len());
            sleep(pause).await;
            pause = (2 * pause).min(BACK_OFF_MOST);
        }
    }
}
