//! Clients that write: sessions come and go, and events, retries, trims and forks with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outlive::ids::{ProducerEpoch, ProducerId, Serial, SessionId};
use outlive::runtime::fork::{ForkError, Wish};
use outlive::runtime::{Reply, Runtime, SubmitError};
use outlive::session::{
    Append, Applied, Command, Config, Format, NewEvent, Origin, Refusal, Retention,
};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::judge::Judge;
use crate::run::pass;
use crate::world::Nodes;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all clients have.
pub(crate) struct Client {
    pub(crate) name: u32,
    pub(crate) nodes: Nodes,
    pub(crate) judge: Judge,
    pub(crate) rng: SmallRng,
    pub(crate) sessions: Sessions,
    pub(crate) until: Instant,
    /// Counts what it wrote.
    pub(crate) number: u64,
}

/// The sessions of a run.
#[derive(Clone)]
pub(crate) struct Sessions {
    /// Created once and never deleted.
    pub(crate) kept: Vec<SessionId>,
    /// Deleted and created again.
    pub(crate) mortal: Vec<SessionId>,
    /// Begin as another one was.
    pub(crate) forks: Vec<SessionId>,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Yes(Box<Reply>),
    No(Refusal),
    /// It did not happen, and why.
    NotNow(String),
    Unknown,
}

impl Sessions {
    pub(crate) fn all(&self) -> Vec<SessionId> {
        [&self.kept[..], &self.mortal, &self.forks].concat()
    }
}

/// How a session of this name is created: always the same way.
pub(crate) fn config(id: &SessionId) -> Config {
    let name = id.name();
    let hour_ms = 60 * 60 * 1000;
    Config {
        ttl_ms: name.contains("ttl").then_some(hour_ms),
        retention: Retention {
            max_age_ms: name.contains("old").then_some(hour_ms),
            max_bytes: None,
        },
        ..Config::default()
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

impl Client {
    pub(crate) fn is_over(&self) -> bool {
        self.until <= Instant::now()
    }

    pub(crate) async fn pause(&mut self, most_ms: u64) {
        let pause = self.rng.random_range(100..most_ms * 1000);
        pass(Duration::from_micros(pause)).await;
    }

    /// Some node that runs.
    pub(crate) fn some_node(&mut self) -> Option<(u64, Arc<Runtime>)> {
        let nodes = self.nodes.all();
        let at = self.rng.random_range(0..nodes.len().max(1));
        nodes.into_iter().nth(at)
    }

    pub(crate) fn one_of(&mut self, sessions: &[SessionId]) -> Option<SessionId> {
        let at = self.rng.random_range(0..sessions.len().max(1));
        sessions.get(at).cloned()
    }

    /// An event that nobody else writes, and its name.
    pub(crate) fn event(&mut self, name: String) -> (String, NewEvent) {
        self.number += 1;
        let most = if self.rng.random_bool(0.05) { 4000 } else { 120 };
        let filling = "x".repeat(self.rng.random_range(0..most));
        let payload = Bytes::from(format!("{name} {filling}"));
        (name, NewEvent { format: Format::TEXT, payload })
    }

    /// Asks once, at some node.
    pub(crate) async fn ask(&mut self, id: &SessionId, command: Command) -> Answer {
        let Some((node, runtime)) = self.some_node() else {
            return Answer::NotNow("no node runs".into());
        };
        let answer = match runtime.sessions.submit(id, command, soon()).await {
            Ok(reply) => Answer::Yes(Box::new(reply)),
            Err(SubmitError::Refused { refusal, .. }) => Answer::No(refusal),
            Err(SubmitError::Unavailable(why)) => Answer::NotNow(why.to_string()),
            Err(SubmitError::Unknown(_)) => Answer::Unknown,
            Err(SubmitError::Denied(denied)) => {
                panic!("nobody is asked for a right here: {denied:?}")
            }
        };
        self.judge.note(format_args!("c{} n{node} {id:?} {}", self.name, received(&answer)));
        let count = match &answer {
            Answer::Yes(_) => "yes",
            Answer::No(_) => "no",
            Answer::NotNow(_) => "not now",
            Answer::Unknown => "unknown",
        };
        self.judge.count(count);
        answer
    }

    /// Creates a session until it is there.
    pub(crate) async fn create(&mut self, id: &SessionId) {
        loop {
            match self.ask(id, config(id).into()).await {
                Answer::Yes(reply) => return self.judge.lives(id, reply.incarnation, Serial::ZERO),
                // A fork that lives, or one whose source still holds its name.
                Answer::No(_) if !self.sessions.kept.contains(id) => return,
                Answer::No(refusal) => panic!("{id:?} cannot be created: {refusal}"),
                Answer::NotNow(_) | Answer::Unknown => {}
            }
            if self.is_over() && !self.sessions.kept.contains(id) {
                return;
            }
            self.pause(100).await;
        }
    }

    /// Appends, now with a producer and now without, and repeats what it does not know.
    pub(crate) async fn write(mut self) {
        let mut writers: BTreeMap<SessionId, Writer> = BTreeMap::new();
        while !self.is_over() {
            let most = if self.rng.random_bool(0.9) { 60 } else { 400 };
            self.pause(most).await;
            let kept = self.rng.random_bool(0.6);
            let all = if kept { self.sessions.kept.clone() } else { self.sessions.all() };
            let Some(id) = self.one_of(&all) else { continue };
            let count = if self.rng.random_bool(0.2) { self.rng.random_range(2..8) } else { 1 };
            let named = (0..count).map(|_| {
                let name = format!("a{}.{}/{}", self.name, self.number, id.name());
                self.event(name)
            });
            let (names, events): (Vec<_>, Vec<_>) = named.collect::<Vec<_>>().into_iter().unzip();
            if self.rng.random_bool(0.3) {
                self.append_once(&id, names, events).await;
            } else {
                let writer = writers.entry(id.clone()).or_default();
                self.append(&id, writer, names, events).await;
            }
        }
    }

    /// A request without a producer: nodes repeat it, the client does not.
    async fn append_once(&mut self, id: &SessionId, names: Vec<String>, events: Vec<NewEvent>) {
        let append = Append { events, ..Append::default() };
        match self.ask(id, Command::Append(append)).await {
            Answer::Yes(reply) => self.appended(id, &reply, &names, true),
            Answer::No(_) | Answer::NotNow(_) => self.judge.refused(&names),
            Answer::Unknown => {}
        }
    }

    async fn append(
        &mut self,
        id: &SessionId,
        writer: &mut Writer,
        names: Vec<String>,
        events: Vec<NewEvent>,
    ) {
        let producer = ProducerId::parse(&format!("p{}", self.name)).expect("a name");
        let origin = Origin { producer, epoch: ProducerEpoch(writer.epoch), seq: writer.seq };
        let append = Append { events, producer: Some(origin), ..Append::default() };
        let mut doubt = false;
        for _ in 0..6 {
            match self.ask(id, Command::Append(append.clone())).await {
                Answer::Yes(reply) => {
                    self.appended(id, &reply, &names, !doubt);
                    writer.seq += 1;
                    return;
                }
                Answer::No(refusal) => {
                    if !doubt {
                        self.judge.refused(&names);
                    }
                    let lost = self.sessions.kept.contains(id);
                    assert!(!lost, "{id:?} does not know {writer:?} any more: {refusal}");
                    break;
                }
                Answer::NotNow(_) => {}
                Answer::Unknown => doubt = true,
            }
            self.pause(300).await;
        }
        // The session has another life, or nobody knows: a new epoch begins.
        *writer = Writer { epoch: writer.epoch + 1, seq: 0 };
    }

    /// Appends one more event; says whether it is acknowledged.
    pub(crate) async fn append_for_sure(&mut self, id: &SessionId) -> bool {
        let (name, event) = self.event(format!("z{}.{}/{}", self.name, self.number, id.name()));
        let append = Append { events: vec![event], ..Append::default() };
        let answer = self.ask(id, Command::Append(append)).await;
        if let Answer::Yes(reply) = &answer {
            self.appended(id, reply, &[name], true);
        } else {
            self.pause(100).await;
        }
        matches!(answer, Answer::Yes(_))
    }

    fn appended(&self, id: &SessionId, reply: &Reply, names: &[String], first_try: bool) {
        let Applied::Appended { first, duplicate, .. } = reply.applied else {
            panic!("{id:?}: an append was answered with {reply:?}");
        };
        assert!(
            !duplicate || !first_try,
            "{id:?}: {names:?} was new, and is a duplicate: {reply:?}"
        );
        if let Some(first) = first {
            self.judge.acked(id, reply.incarnation, first, names);
        }
    }

    /// Deletes sessions and creates them again; trims; touches.
    pub(crate) async fn rule(mut self) {
        while !self.is_over() {
            self.pause(700).await;
            let mortal = [&self.sessions.mortal[..], &self.sessions.forks].concat();
            let id = self.one_of(&mortal);
            match (self.rng.random_range(0..8), id) {
                (0..=2, Some(id)) => self.delete(&id).await,
                (3, Some(id)) if self.sessions.mortal.contains(&id) => self.create(&id).await,
                (4, _) => {
                    if let Some(id) = self.one_of(&self.sessions.kept.clone()) {
                        self.ask(&id, Command::Touch).await;
                    }
                }
                _ => {
                    if let Some(id) = self.one_of(&self.sessions.all()) {
                        self.trim(&id).await;
                    }
                }
            }
        }
    }

    async fn delete(&mut self, id: &SessionId) {
        let life = self.judge.tail(id).0;
        let named = self.rng.random_bool(0.7).then_some(life);
        self.judge.will_delete(id, named);
        let delete = Command::Delete { incarnation: named };
        if let Answer::Yes(reply) = self.ask(id, delete).await
            && let Applied::Deleted { incarnation, .. } = reply.applied
        {
            self.judge.deleted(id, incarnation);
            self.judge.count("deletes");
        }
        if self.sessions.mortal.contains(id) && self.rng.random_bool(0.7) {
            self.create(id).await;
        }
    }

    async fn trim(&mut self, id: &SessionId) {
        let (_, tail) = self.judge.tail(id);
        if tail.0 < 2 {
            return;
        }
        let before = Serial(self.rng.random_range(1..=tail.0));
        self.judge.will_trim(id, before);
        self.ask(id, Command::Trim { before }).await;
    }

    /// Begins sessions as other ones were.
    pub(crate) async fn fork(mut self) {
        while !self.is_over() {
            self.pause(900).await;
            let sources = [&self.sessions.mortal[..], &self.sessions.kept].concat();
            let (fork, source) = (self.one_of(&self.sessions.forks.clone()), self.one_of(&sources));
            let Some((fork, source)) = fork.zip(source) else { return };
            let (_, tail) = self.judge.tail(&source);
            let anchor = self.rng.random_bool(0.5).then_some(tail.0).filter(|tail| 0 < *tail);
            let anchor = anchor.map(|tail| Serial(self.rng.random_range(1..=tail)));
            let wish = Wish {
                source: source.clone(),
                anchor,
                root: None,
                sub: 0,
                config: Config::default(),
                events: Vec::new(),
                close: false,
                branch: None,
            };
            let Some((node, runtime)) = self.some_node() else { continue };
            let forked = runtime.sessions.fork(&fork, wish, soon()).await;
            let received = match &forked {
                Ok(reply) => format!("{:?}", reply.applied),
                Err(ForkError::Submit(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let name = self.name;
            self.judge.note(format_args!(
                "c{name} n{node} {fork:?} of {source:?} {anchor:?}: {received}"
            ));
            if let Ok(Reply { applied: Applied::Created { incarnation, created, .. }, .. }) = forked
            {
                self.judge.lives(&fork, incarnation, Serial::ZERO);
                if created {
                    self.judge.count("forks");
                }
            }
        }
    }
}

/// A producer of one session, as its client knows it.
#[derive(Debug)]
struct Writer {
    epoch: u64,
    seq: u64,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer { epoch: 1, seq: 0 }
    }
}

fn received(answer: &Answer) -> String {
    match answer {
        Answer::Yes(reply) => format!("{} {:?}", reply.incarnation.0, reply.applied),
        Answer::No(refusal) => format!("no: {refusal}"),
        Answer::NotNow(why) => format!("not now: {why}"),
        Answer::Unknown => "unknown".into(),
    }
}
