//! Writers, readers and onlookers of many sessions, who record everything they request and see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use outlive::client::Event;
use outlive::client::sse::{Frame, Parser};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::cluster::client;
use super::history::{Answer, Call, Control, Cursor, Producer, ReadMode, Record, SubId};
use super::recorder::Recorder;
use super::turn::{self, Fact};
use super::turns::board::Board;

/// What the load looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub seed: u64,
    pub sessions: usize,
    /// Writers of each session, each with a key of its own.
    pub writers: usize,
    /// Readers of each session, on different nodes.
    pub readers: usize,
    /// Pause of a writer between two appends.
    pub pause: Duration,
}

/// A running load.
pub struct Load {
    pub recorder: Arc<Recorder>,
    /// What the readers have seen of turns.
    pub board: Arc<Board>,
    urls: Arc<Vec<String>>,
    shape: Shape,
    stop: Arc<AtomicBool>,
    writers: JoinSet<()>,
    readers: JoinSet<()>,
}

pub fn name(session: usize) -> String {
    format!("chaos-{session}")
}

impl Load {
    /// Creates the sessions and starts writing, reading and looking.
    pub async fn start(urls: Vec<String>, shape: Shape, recorder: Arc<Recorder>) -> Load {
        let mut load = Load {
            recorder,
            board: Arc::default(),
            urls: Arc::new(urls),
            shape,
            stop: Arc::default(),
            writers: JoinSet::new(),
            readers: JoinSet::new(),
        };
        let mut next_client = 0;
        let mut new_client = || {
            next_client += 1;
            next_client
        };
        for session in 0..load.shape.sessions {
            load.agent(new_client(), session).create().await;
        }
        for session in 0..load.shape.sessions {
            for writer in 0..load.shape.writers {
                let mut agent = load.agent(new_client(), session);
                agent.node = (session + writer) % load.urls.len();
                let (pause, stop) = (load.shape.pause, load.stop.clone());
                load.writers.spawn(agent.write(pause, stop));
            }
            let onlooker = load.agent(new_client(), session);
            load.writers.spawn(onlooker.look(load.shape.pause * 4, load.stop.clone()));
            for reader in 0..load.shape.readers {
                let mut agent = load.agent(new_client(), session);
                agent.node = reader % load.urls.len();
                load.readers.spawn(agent.read());
            }
        }
        load
    }

    pub fn urls(&self) -> Vec<String> {
        self.urls.to_vec()
    }

    /// Ends the writing, waits until every reader has everything, and reads each node's final log.
    pub async fn finish(mut self) {
        self.stop.store(true, Ordering::Release);
        while let Some(done) = self.writers.join_next().await {
            done.expect("a writer does not fail");
        }
        for session in 0..self.shape.sessions {
            let closer = CLOSERS + 2 * u32::try_from(session).expect("few sessions");
            self.agent(closer, session).close().await;
        }
        while let Some(done) = self.readers.join_next().await {
            done.expect("a reader does not fail");
        }
        for session in 0..self.shape.sessions {
            for node in 0..self.urls.len() {
                let mut agent = self.agent(u32::MAX - node as u32, session);
                agent.node = node;
                agent.final_log().await;
            }
        }
    }

    fn agent(&self, client: u32, session: usize) -> Agent {
        let seed = self.shape.seed ^ (u64::from(client) << 20);
        let rng = StdRng::seed_from_u64(seed);
        Agent {
            id: client,
            node: session % self.urls.len(),
            session: name(session),
            urls: self.urls.clone(),
            http: super::cluster::client(),
            recorder: self.recorder.clone(),
            board: self.board.clone(),
            rng,
        }
    }
}

/// One client of one session.
struct Agent {
    id: u32,
    /// Place in `urls` of the node it uses now.
    node: usize,
    session: String,
    urls: Arc<Vec<String>>,
    http: reqwest::Client,
    recorder: Arc<Recorder>,
    board: Arc<Board>,
    rng: StdRng,
}

/// What an attempt came to.
pub enum Outcome {
    Ok(Value),
    /// Certainly no effect.
    No(String),
    Unknown(String),
}

/// Client numbers of those who close; each closing is recorded under the next number too.
const CLOSERS: u32 = 1 << 24;
const ATTEMPT: Duration = Duration::from_secs(8);
/// Nothing may hang longer than this, whatever is being killed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// One attempt at a request.
pub async fn send(request: reqwest::RequestBuilder) -> Outcome {
    let answer = match timeout(ATTEMPT, request.send()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.is_connect() => return Outcome::No(error.to_string()),
        Ok(Err(error)) => return Outcome::Unknown(error.to_string()),
        Err(_) => return Outcome::Unknown("the client gave up".into()),
    };
    let status = answer.status();
    if status == reqwest::StatusCode::NO_CONTENT {
        return Outcome::Ok(Value::Null);
    }
    let body: Value = match timeout(ATTEMPT, answer.json()).await {
        Ok(Ok(body)) => body,
        _ => return Outcome::Unknown(format!("{status} without a body")),
    };
    match body["outcome"].as_str() {
        None if status.is_success() => Outcome::Ok(body),
        Some("refused") => Outcome::No(body.to_string()),
        _ => Outcome::Unknown(body.to_string()),
    }
}

impl Agent {
    fn url(&self, rest: &str) -> String {
        format!("{}/v1/sessions/{}{rest}", self.urls[self.node], self.session)
    }

    fn name(&self) -> String {
        format!("n{}", self.node + 1)
    }

    fn hop(&mut self) {
        self.node = self.rng.random_range(0..self.urls.len());
    }

    async fn create(mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (node, session) = (self.name(), self.session.clone());
            let op = self.recorder.invoke(self.id, &node, &session, None, Call::Create);
            match send(self.http.put(self.url(""))).await {
                Outcome::Ok(_) => return self.recorder.ok(op, Answer::Done { incarnation: 1 }),
                Outcome::No(text) => self.recorder.fail(op, &text),
                Outcome::Unknown(text) => self.recorder.unknown(op, &text),
            }
            assert!(Instant::now() < deadline, "{session} was not created");
            self.hop();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An idempotent producer: each append is repeated with its key until it is acknowledged.
    async fn write(mut self, pause: Duration, stop: Arc<AtomicBool>) {
        let id = format!("writer-{}", self.id);
        let mut seq = 0;
        while !stop.load(Ordering::Acquire) {
            let batch = if self.rng.random_bool(0.1) { self.rng.random_range(2..8) } else { 1 };
            let values: Vec<String> =
                (0..batch).map(|part| format!("{}/{id}/{seq}/{part}", self.session)).collect();
            self.append(&id, seq, &values, false).await;
            seq += 1;
            tokio::time::sleep(pause.mul_f64(self.rng.random_range(0.5..1.5))).await;
        }
    }

    /// Appends a last event and closes the session with it.
    async fn close(mut self) {
        let id = format!("closer-{}", self.id);
        let last = vec![format!("{}/{id}/last", self.session)];
        self.append(&id, 0, &last, true).await;
    }

    async fn append(&mut self, id: &str, seq: u64, values: &[String], close: bool) {
        let events: Vec<Value> =
            values.iter().map(|value| json!({ "format": "text", "text": value })).collect();
        let body = json!({ "events": events, "close": close });
        let deadline = Instant::now() + PATIENCE;
        // The history wants to see the closing as a call of its own, by a client of its own.
        let closing = close.then(|| {
            let client = self.id + 1;
            self.recorder.invoke(client, &self.name(), &self.session, None, Call::Close)
        });
        loop {
            let producer = Producer { id: id.into(), epoch: 1, seq };
            let call = Call::Append { values: values.to_vec(), producer: Some(producer) };
            let op = self.recorder.invoke(self.id, &self.name(), &self.session, None, call);
            let request = self
                .http
                .post(self.url("/events"))
                .header("Producer-Id", id)
                .header("Producer-Epoch", "1")
                .header("Producer-Seq", seq.to_string())
                .json(&body);
            match send(request).await {
                Outcome::Ok(answer) => {
                    let number = |field: &str| answer[field].as_u64().expect("a serial");
                    let incarnation = u32::try_from(number("incarnation")).expect("small");
                    let (first, last) = (number("first"), number("last"));
                    self.recorder.ok(op, Answer::Appended { incarnation, first, last });
                    if let Some(op) = closing {
                        self.recorder.ok(op, Answer::Done { incarnation });
                    }
                    return;
                }
                Outcome::No(text) => self.recorder.fail(op, &text),
                Outcome::Unknown(text) => self.recorder.unknown(op, &text),
            }
            assert!(Instant::now() < deadline, "{} seq {seq} was not taken", self.session);
            self.hop();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads the tail at random nodes: each answer must hold all that was acknowledged before.
    async fn look(mut self, pause: Duration, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Acquire) {
            self.hop();
            let op = self.recorder.invoke(self.id, &self.name(), &self.session, None, Call::Tail);
            match send(self.http.get(self.url(""))).await {
                Outcome::Ok(body) => {
                    let tail = body["tail"].as_u64().expect("a tail");
                    self.recorder.ok(op, Answer::Tail { incarnation: 1, tail });
                }
                Outcome::No(text) => self.recorder.fail(op, &text),
                Outcome::Unknown(text) => self.recorder.unknown(op, &text),
            }
            tokio::time::sleep(pause.mul_f64(self.rng.random_range(0.5..1.5))).await;
        }
    }

    /// Follows the session to its end, at another node whenever one fails.
    async fn read(mut self) {
        let sub = self.recorder.subscription();
        let mut at = Cursor { incarnation: 1, serial: 0 };
        let mut progress = Instant::now();
        loop {
            let before = at;
            let ended = self.follow(sub, &mut at).await;
            if ended {
                return;
            }
            if before < at {
                progress = Instant::now();
            }
            let stuck = progress.elapsed();
            assert!(stuck < PATIENCE, "a reader of {} is stuck at {}", self.session, at.serial);
            self.hop();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One connection; true at the session's end.
    async fn follow(&mut self, sub: SubId, at: &mut Cursor) -> bool {
        let cursor = format!("{:010}_{:020}", at.incarnation, at.serial);
        let url = self.url(&format!("/events?live=sse&after={cursor}"));
        let Ok(Ok(answer)) = timeout(ATTEMPT, self.http.get(url).send()).await else {
            return false;
        };
        if !answer.status().is_success() {
            return false;
        }
        self.control(sub, Control::Attach { cursor: Some(*at) });
        let mut parser = Parser::default();
        let mut bytes = answer.bytes_stream();
        // Frames come at least with every heartbeat.
        while let Ok(Some(Ok(chunk))) = timeout(Duration::from_secs(20), bytes.next()).await {
            for frame in parser.feed(&chunk).expect("frames are bounded") {
                match self.take(sub, &frame, at) {
                    Taken::Goes => {}
                    Taken::Moves => {
                        self.control(sub, Control::Detach);
                        return false;
                    }
                    Taken::Ends => return true,
                }
            }
        }
        self.control(sub, Control::Detach);
        false
    }

    fn control(&self, sub: SubId, control: Control) {
        self.recorder.control(sub, &self.name(), &self.session, 1, control);
    }

    fn take(&self, sub: SubId, frame: &Frame, at: &mut Cursor) -> Taken {
        match frame.event.as_str() {
            "message" => {
                let record = record(&frame.data);
                at.serial = record.serial;
                if let Some(fact) = &record.fact {
                    self.board.see(&self.session, fact);
                }
                self.recorder.deliver(sub, &self.name(), &self.session, at.incarnation, record);
                Taken::Goes
            }
            "end" => {
                self.control(sub, Control::End);
                Taken::Ends
            }
            "gap" | "reset" | "deleted" => {
                panic!("{} has no {} in this run: {}", self.session, frame.event, frame.data)
            }
            "detached" => Taken::Moves,
            _ => Taken::Goes,
        }
    }

    /// The whole log as this node has it.
    async fn final_log(&mut self) {
        let mut after = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let call = Call::Read { after, mode: ReadMode::Final };
            let op = self.recorder.invoke(self.id, &self.name(), &self.session, None, call);
            let cursor = format!("{:010}_{after:020}", 1);
            let url = self.url(&format!("/events?after={cursor}&limit=1000"));
            match send(self.http.get(url)).await {
                Outcome::Ok(page) => {
                    let events = page["events"].as_array().expect("events");
                    let records: Vec<Record> =
                        events.iter().map(|event| record(&event.to_string())).collect();
                    after = records.last().map_or(after, |record| record.serial);
                    let done = page["up_to_date"].as_bool() == Some(true);
                    let tail = done.then_some(after);
                    self.recorder.ok(op, Answer::Page { incarnation: 1, first: 1, tail, records });
                    if done {
                        return;
                    }
                }
                Outcome::No(text) => self.recorder.fail(op, &text),
                Outcome::Unknown(text) => self.recorder.unknown(op, &text),
            }
            assert!(Instant::now() < deadline, "{} does not give its log", self.name());
        }
    }
}

enum Taken {
    Goes,
    /// The node can serve no more.
    Moves,
    Ends,
}

/// An event as the checker wants it. What the service wrote itself gets a text with its meaning.
pub fn record(json: &str) -> Record {
    let event = Event::parse(json).expect("an event");
    let received: Value = serde_json::from_str(json).expect("an event");
    let fact = Fact::parse(&received).map(Box::new);
    let payload = || String::from_utf8(event.payload.to_vec()).expect("our own text");
    let value = match &fact {
        Some(fact) if !fact.what.is_output() => {
            turn::received(event.serial, received["type"].as_str().expect("a name"), fact)
        }
        _ => payload(),
    };
    let chain = u64::from_str_radix(&event.chain, 16).expect("a chain in hex");
    Record { serial: event.serial, value, chain: Some(chain), fact }
}

/// Checks again until the condition holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the session takes an append that no other client makes, through this node.
pub async fn takes_appends(url: &str, session: &str) -> bool {
    let url = format!("{url}/v1/sessions/{session}");
    let answer = client().get(url).timeout(ATTEMPT).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
