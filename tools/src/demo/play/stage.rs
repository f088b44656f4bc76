//! What every row plays on: the nodes, requests to whichever of them answers, and the score so far.

use std::sync::Mutex;

use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::device::{Device, PATIENCE, Who};
use super::record::Record;
use super::score::Score;
use super::story;
use crate::demo::nodes::{AGENT, NODES, Nodes};
use crate::demo::process::Blow;
use crate::demo::{LOOK, create, http, node_ready, ready};

/// Time that one node has for one answer.
const ANSWER: Duration = Duration::from_secs(8);

pub(super) struct Stage {
    pub(super) http: reqwest::Client,
    pub(super) nodes: Mutex<Nodes>,
    pub(super) score: Mutex<Score>,
}

impl Stage {
    /// Starts three nodes and waits until they are ready.
    ///
    /// # Errors
    /// They do not start.
    pub(super) async fn set() -> anyhow::Result<Stage> {
        let stage = Stage {
            http: http()?,
            nodes: Mutex::new(Nodes::start_all(None)?),
            score: Mutex::default(),
        };
        ready(&stage.http, &stage.nodes).await?;
        Ok(stage)
    }

    pub(super) fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("no holder panics")
    }

    /// URLs of the nodes, this one first.
    pub(super) fn urls_from(&self, node: usize) -> Vec<String> {
        let mut urls = self.nodes().urls();
        urls.rotate_left(node - 1);
        urls
    }

    /// Makes the session, with a policy for when no device watches.
    pub(super) async fn session(&self, session: &str, unwatched_ms: u64) -> anyhow::Result<()> {
        create(&self.http, &self.nodes, session, unwatched_ms).await
    }

    /// Switches a device on at a node.
    pub(super) fn device(&self, node: usize, session: &str, who: Who) -> Device {
        Device::on(&self.http, &self.urls_from(node), session, who)
    }

    /// Sends a request to one node after the other until there is an answer. It must have the effect of one
    /// however often it is sent.
    ///
    /// # Errors
    /// It was refused, or no node answered in time.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(|body| ("application/json", Bytes::from(body.to_string())));
        let answer = self.bytes(method, path, body).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).with_context(|| format!("the answer of {path}"))
    }

    /// The same with a body of any type, and the answer as it is.
    ///
    /// # Errors
    /// As of [`Stage::ask`].
    pub(super) async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> anyhow::Result<Bytes> {
        let deadline = Instant::now() + PATIENCE;
        let urls = self.nodes().urls();
        for url in urls.iter().cycle() {
            let request = self.http.request(method.clone(), format!("{url}{path}")).timeout(ANSWER);
            let request = match &body {
                Some((media_type, bytes)) => {
                    request.header(CONTENT_TYPE, *media_type).body(bytes.clone())
                }
                None => request,
            };
            if let Ok(answer) = request.send().await {
                let status = answer.status();
                if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                    bail!("{path}: {status} {}", answer.text().await.unwrap_or_default());
                }
                // One that breaks off is asked for again.
                if let (true, Ok(bytes)) = (status.is_success(), answer.bytes().await) {
                    return Ok(bytes);
                }
            }
            if deadline < Instant::now() {
                break;
            }
            sleep(LOOK).await;
        }
        bail!("{path}: no node answers")
    }

    pub(super) async fn post(
        &self,
        session: &str,
        path: &str,
        body: Value,
    ) -> anyhow::Result<Value> {
        self.ask(Method::POST, &format!("/v1/sessions/{session}/{path}"), Some(&body)).await
    }

    /// Sends an input to the agent; the name of the turn that it went to.
    pub(super) async fn emit(
        &self,
        session: &str,
        input: &str,
        text: &str,
        who: Who,
    ) -> anyhow::Result<String> {
        let body = json!({ "id": input, "agent": AGENT, "content": { "text": text },
            "participant": who.participant, "device": who.device, "role": who.role });
        let answer = self.post(session, "inputs", body).await?;
        // What is held for a person begins no turn.
        Ok(answer["turn"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) async fn status(&self, session: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, &format!("/v1/sessions/{session}"), None).await
    }

    /// Waits until the status of a session answers the question.
    ///
    /// # Errors
    /// It did not in time.
    pub(super) async fn shows<T>(
        &self,
        session: &str,
        what: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(session).await?;
            if let Some(found) = look(&status) {
                return Ok(found);
            }
            if deadline < Instant::now() {
                bail!("{what}: not within {} s; {}", PATIENCE.as_secs(), status["turns"]);
            }
            sleep(LOOK).await;
        }
    }

    /// The node that leads the session.
    pub(super) async fn leader(&self, session: &str) -> anyhow::Result<usize> {
        let path = format!("/v1/sessions/{session}/home");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let home = self.ask(Method::GET, &path, None).await?;
            let leader = home["leader"].as_u64().and_then(|node| usize::try_from(node).ok());
            if let Some(leader) = leader {
                return Ok(leader);
            }
            sleep(LOOK).await;
        }
        bail!("nobody leads {session}")
    }

    /// kill -9.
    pub(super) fn kill(&self, node: usize) -> anyhow::Result<u32> {
        self.nodes().kill(node)
    }

    /// Starts a node that was killed, and waits until it is one of three again.
    pub(super) async fn mend(&self, node: usize) -> anyhow::Result<()> {
        self.nodes().start(node)?;
        node_ready(&self.http, &self.nodes, node).await
    }

    /// Waits for the process of the agent that has the session's turn.
    pub(super) async fn speaker(&self, session: &str, turn: &str) -> anyhow::Result<u32> {
        let workers = self.shows(session, "an agent has the turn", |status| {
            let mut turns = status["turns"].as_array()?.iter();
            Some(turns.find(|open| open["turn"] == turn)?["worker"].as_str()?.to_owned())
        });
        let worker = workers.await?;
        let agents = self.nodes().agents();
        let speaks =
            |pid: u32| worker.split(|c: char| !c.is_ascii_digit()).any(|n| n == pid.to_string());
        let agent = agents.iter().find(|agent| speaks(agent.process.pid));
        let agent =
            agent.with_context(|| format!("worker {worker:?} is no process of an agent"))?;
        Ok(agent.process.pid)
    }

    pub(super) fn strike(&self, pid: u32, blow: Blow) -> anyhow::Result<()> {
        self.nodes().strike(pid, blow).map(drop)
    }

    /// Checks what a device received in a turn against the story as it must be, and counts its words.
    ///
    /// # Errors
    /// A word is missing, comes twice, or is another one.
    pub(super) fn story_of(
        &self,
        record: &Record,
        turn: &str,
        requested: &str,
    ) -> anyhow::Result<usize> {
        let words = story::check(&record.text(turn), requested)?;
        self.score.lock().expect("no holder panics").words(words);
        Ok(words)
    }

    /// Adds what a device saw to the score.
    pub(super) fn count(&self, record: &Record) {
        self.score.lock().expect("no holder panics").add(record);
    }

    /// What the nodes wrote last, for whoever looks for the cause.
    pub(super) fn tell_why(&self) {
        for node in 1..=NODES {
            eprintln!("node {node} wrote last:\n{}", self.nodes().log_end(node));
        }
    }

    /// Ends what a row left: turns that still run, nodes that are down, agents that are frozen.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        for node in 1..=NODES {
            if self.nodes().pid(node).is_none() {
                self.mend(node).await?;
            }
        }
        let frozen = self.nodes().agents().into_iter().filter(|agent| agent.process.is_stopped);
        for agent in frozen {
            // It may have been replaced meanwhile.
            agent.process.strike(Blow::Continue);
        }
        let list = self.ask(Method::GET, "/v1/sessions", None).await?;
        for session in list["sessions"].as_array().into_iter().flatten() {
            let name = session["session"].as_str().unwrap_or_default();
            self.post(name, "cancel", json!({ "all": true, "reason": "the row is over" })).await?;
        }
        Ok(())
    }
}

/// Every node, from 1.
pub(super) fn others(node: usize) -> [usize; 2] {
    [1 + node % NODES, 1 + (node + 1) % NODES]
}
