//! A worker that claims turns at any node and sends numbered words as output; now and then it dies without
//! notice, and when it is answered that its turn is another's it insists, as a zombie would.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::cluster::client;
use super::super::history::{Answer, Call, OpId, Taken};
use super::super::load::{Outcome, PATIENCE, send};
use super::super::turn::Then;

/// How a worker is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manner {
    pub name: String,
    pub agent: String,
    pub urls: Vec<String>,
    pub seed: u64,
    pub lease_ms: u64,
    /// Pause between two requests.
    pub pause_ms: u64,
    /// How many of a hundred requests are its last, without notice.
    pub dies: u32,
}

/// Who records what a worker requests and is answered.
pub trait Tape {
    /// Before the request leaves; none if there is to be no request any more.
    fn invoke(
        &mut self,
        node: &str,
        session: &str,
        call: Call,
    ) -> impl Future<Output = Option<OpId>> + Send;
    fn received(&mut self, op: OpId, outcome: Result<Answer, NotOk>);
}

/// An outcome that is not yes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum NotOk {
    No(String),
    Unknown(String),
}

pub struct Worker<T> {
    manner: Manner,
    tape: T,
    http: reqwest::Client,
    rng: StdRng,
    node: usize,
}

/// A turn as it was assigned.
struct TurnLease {
    taken: Taken,
    seq: u64,
    /// The next word, and the number of all.
    word: usize,
    words: usize,
    incoming: u64,
}

/// The result of a report.
enum Next {
    GoesOn,
    Over,
    /// The turn is another worker's, or no worker's.
    Gone,
    /// There is no tape any more to record requests.
    Ends,
}

impl<T: Tape> Worker<T> {
    pub fn new(manner: Manner, tape: T) -> Worker<T> {
        let rng = StdRng::seed_from_u64(manner.seed);
        let node = manner.seed as usize % manner.urls.len();
        Worker { manner, tape, http: client(), rng, node }
    }

    /// Works until the tape ends.
    pub async fn run(mut self) {
        while let Some(lease) = self.claim().await {
            let pause = match lease {
                Some(lease) => {
                    if !self.speak(lease).await {
                        return;
                    }
                    Duration::from_millis(5)
                }
                // Repeated requests to a dead node take the time of those that live.
                None => Duration::from_millis(200),
            };
            self.hop();
            sleep(pause).await;
        }
    }

    fn hop(&mut self) {
        self.node = self.rng.random_range(0..self.manner.urls.len());
    }

    fn node(&self) -> (String, &str) {
        (format!("n{}", self.node + 1), self.manner.urls[self.node].as_str())
    }

    /// None at the end of the tape; else whether there was a turn.
    async fn claim(&mut self) -> Option<Option<TurnLease>> {
        let Manner { agent, name, lease_ms, .. } = self.manner.clone();
        let call = Call::Claim { agent: agent.clone(), worker: name.clone() };
        let (node, url) = self.node();
        let url = format!("{url}/v1/agents/{agent}/claim");
        let op = self.tape.invoke(&node, "", call).await?;
        let body = json!({ "worker": name, "wait_ms": 1_500, "lease_ms": lease_ms });
        let answer = match send(self.http.post(url).json(&body)).await {
            Outcome::Ok(answer) => answer,
            other => {
                self.tape.received(op, Err(not_yes(other)));
                return Some(None);
            }
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (Some(session), Some(turn)) = (text(&answer["session"]), text(&answer["turn"])) else {
            self.tape.received(op, Ok(Answer::Claimed { taken: None }));
            return Some(None);
        };
        let epoch = answer["epoch"].as_u64().expect("an epoch");
        let taken = Taken { session, turn, epoch };
        self.tape.received(op, Ok(Answer::Claimed { taken: Some(taken.clone()) }));
        let events = self.whole(&taken, &answer).await;
        let is = |event: &&Value, kind: &str| event["type"] == kind && event["turn"] == taken.turn;
        let word = events.iter().filter(|event| is(event, "turn.output")).count();
        let request = events.iter().find(|event| is(event, "input.accepted"));
        let words =
            request.and_then(|event| event["text"].as_str()?.split(' ').nth(1)?.parse().ok());
        let incoming = answer["last_input"].as_u64().unwrap_or(0);
        Some(Some(TurnLease { taken, seq: 0, word, words: words.unwrap_or(5), incoming }))
    }

    /// All events of the turn, also where there are too many for one answer.
    async fn whole(&mut self, taken: &Taken, answer: &Value) -> Vec<Value> {
        let mut events = answer["events"].as_array().cloned().unwrap_or_default();
        let mut cursor = answer["cursor"].clone();
        let mut more = answer["more"] == true;
        while more {
            let (_, url) = self.node();
            let at = cursor.as_str().expect("a cursor");
            let url = format!("{url}/v1/sessions/{}/events?after={at}", taken.session);
            let Outcome::Ok(page) = send(self.http.get(url)).await else {
                self.hop();
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let new = page["events"].as_array().expect("a page").iter();
            events.extend(new.filter(|event| event["turn"] == taken.turn).cloned());
            cursor = page["next"].clone();
            more = page["up_to_date"] != true;
        }
        events
    }

    /// Sends output to the end of the turn, or of the worker's right to it; false at the end of the tape.
    async fn speak(&mut self, mut lease: TurnLease) -> bool {
        loop {
            let dice = self.rng.random_range(0..100);
            if dice < self.manner.dies {
                return true;
            }
            let beats = dice < self.manner.dies + 8;
            let gives_back = self.manner.dies != 0 && 97 <= dice;
            let count = self.rng.random_range(1..=3).min(lease.words.saturating_sub(lease.word));
            let then = match (lease.words <= lease.word + count, gives_back) {
                (_, true) => Then::Release,
                (true, _) => Then::Complete,
                _ => Then::GoOn,
            };
            let output = match beats {
                true => self.emit(&mut lease, None, 0, Then::GoOn).await,
                false => self.emit(&mut lease, Some(count), count, then).await,
            };
            match output {
                Next::GoesOn if then == Then::Release && !beats => return true,
                Next::GoesOn => {}
                Next::Over => return true,
                Next::Ends => return false,
                Next::Gone => return self.insist(lease).await,
            }
            let pause = Duration::from_millis(self.manner.pause_ms);
            sleep(pause.mul_f64(self.rng.random_range(0.5..1.5))).await;
        }
    }

    /// A zombie believes no answer: it sends the same to other nodes, a heartbeat, and that it is done.
    async fn insist(&mut self, mut lease: TurnLease) -> bool {
        for (count, then) in [(1, Then::GoOn), (0, Then::GoOn), (1, Then::Complete)] {
            self.hop();
            let numbered = (0 < count).then_some(count);
            if let Next::Ends = self.emit(&mut lease, numbered, count, then).await {
                return false;
            }
        }
        true
    }

    /// Sends so many words, or only a heartbeat, until there is an answer that is one.
    async fn emit(
        &mut self,
        lease: &mut TurnLease,
        numbered: Option<usize>,
        count: usize,
        then: Then,
    ) -> Next {
        let Taken { session, turn, epoch } = lease.taken.clone();
        let seq = numbered.map(|_| lease.seq);
        let word = |n: usize| format!("{turn} {n} {epoch}/{}/{then:?}/{count}", lease.seq);
        let values: Vec<String> = (lease.word..lease.word + count).map(word).collect();
        let events: Vec<Value> = values.iter().map(|value| json!({ "text": value })).collect();
        let mut body = json!({ "epoch": epoch, "consumed": lease.incoming, "events": events });
        if let Some(seq) = seq {
            body["seq"] = seq.into();
        }
        match then {
            Then::GoOn => {}
            Then::Complete => body["then"] = "complete".into(),
            Then::Release => body["then"] = "release".into(),
        }
        let deadline = Instant::now() + PATIENCE;
        let mut pause = BACK_OFF;
        loop {
            let (turn, values) = (turn.clone(), values.clone());
            let (node, url) = self.node();
            let url = format!("{url}/v1/sessions/{session}/turns/{turn}/output");
            let call = Call::Report { turn, epoch, seq, values, then };
            let Some(op) = self.tape.invoke(&node, &session, call).await else { return Next::Ends };
            match send(self.http.post(url).json(&body)).await {
                Outcome::Ok(answer) => {
                    let place = |name: &str| answer[name].as_u64();
                    let places = place("first").zip(place("last"));
                    let over = answer["over"] == true;
                    let duplicate = answer["duplicate"] == true;
                    self.tape.received(op, Ok(Answer::OutputAccepted { places, duplicate, over }));
                    lease.incoming = place("last_input").unwrap_or(0).max(lease.incoming);
                    lease.seq += u64::from(seq.is_some());
                    lease.word += count;
                    return if over { Next::Over } else { Next::GoesOn };
                }
                other => {
                    let received = not_yes(other);
                    let gone = matches!(&received, NotOk::No(text) if is_gone(text));
                    self.tape.received(op, Err(received));
                    if gone {
                        return Next::Gone;
                    }
                }
            }
            assert!(Instant::now() < deadline, "{session} does not hear its worker");
            self.hop();
            sleep(pause).await;
            pause = (2 * pause).min(BACK_OFF_MOST);
        }
    }
}

/// Pause before a request is repeated, doubled each time.
pub const BACK_OFF: Duration = Duration::from_millis(20);
pub const BACK_OFF_MOST: Duration = Duration::from_secs(1);

/// Whether a refusal means that the turn is another's, or over.
pub fn is_gone(refusal: &str) -> bool {
    let body: Value = serde_json::from_str(refusal).unwrap_or(Value::Null);
    matches!(body["code"].as_str(), Some("fenced" | "turn_ended"))
}

fn not_yes(outcome: Outcome) -> NotOk {
    match outcome {
        Outcome::Ok(body) => NotOk::Unknown(format!("a strange yes: {body}")),
        Outcome::No(text) => NotOk::No(text),
        Outcome::Unknown(text) => NotOk::Unknown(text),
    }
}
