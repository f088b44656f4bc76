//! Agents that are somebody's HTTP endpoint: a request for each turn, and its stream is what the agent says.
//!
//! The endpoint knows nothing of outlive. It gets the conversation in the form that it takes anyway, and its
//! answer is read as it comes: pieces of text become events of text, all else is kept whole under the dialect's
//! format. A cancel reaches it as a closed connection. It cannot be steered, so an input that comes meanwhile begins
//! the next turn. An answer that breaks off is asked for again, and the new one supersedes the old.

mod ag_ui;
mod ai_sdk;
mod call;
mod openai;
mod reason;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attached::messages::Spoken;
use crate::client::sse::Frame;
use crate::config::Protocol;
use crate::ids::{AgentName, WorkerName};
use crate::limits;
use crate::runtime::agent::body::{Body, Ended, Place, Restart};
use crate::runtime::agent::{BrokeOff, FromWorker, Leave, LinkEnd, Register, ToWorker, TurnKey};

/// Why a turn failed whose answer the endpoint's own rules cut off.
const FILTERED: &str = "the answer was stopped by a content filter";

/// The longest name of a type that is told of a piece which is left out, in bytes.
const TYPE_BYTES: usize = 64;

/// An endpoint that takes turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub agent: AgentName,
    pub url: String,
    pub protocol: Protocol,
    /// Sent with each request.
    pub headers: BTreeMap<String, String>,
    /// Turns at once, of one node.
    pub capacity: usize,
    /// How long it may say nothing, in milliseconds.
    pub quiet_ms: u64,
    pub restart: Restart,
    /// Which model is asked for, where the protocol names one.
    pub model: Option<String>,
}

/// What a piece of an answer means.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// Something else that is kept as it came.
    Whole(Value),
    /// It waits for a tool of this name.
    Tool(String),
    /// It is done with tools.
    Thinking,
    Complete,
    Fail(String),
}

/// What an endpoint is asked.
struct Asked<'a> {
    session: &'a str,
    turn: &'a str,
    conversation: &'a [Spoken],
    model: Option<&'a str>,
}

impl Protocol {
    fn body(self, asked: &Asked<'_>) -> Value {
        match self {
            Protocol::AiSdk => ai_sdk::body(asked),
            Protocol::AgUi => ag_ui::body(asked),
            Protocol::OpenAi => openai::body(asked),
        }
    }

    /// What one event of the stream means. One without data is none, wherever it comes.
    fn read(self, frame: &Frame) -> Vec<Piece> {
        let data = frame.data.trim();
        if data.is_empty() {
            return Vec::new();
        }
        if frame.event == "error" {
            return vec![Piece::Fail(reason::of(data))];
        }
        if data == "[DONE]" {
            return vec![Piece::Complete];
        }
        let Ok(value) = serde_json::from_str::<Value>(data) else {
            return vec![Piece::Fail("the endpoint sent something that is no JSON".into())];
        };
        match self {
            Protocol::AiSdk => ai_sdk::read(value),
            Protocol::AgUi => ag_ui::read(value),
            Protocol::OpenAi => openai::read(value),
        }
    }
}

impl Protocol {
    /// What stands in the log for a piece that is larger than an event may be, as something that the protocol's readers
    /// pass over: its type, if it has one, and its size in bytes.
    fn left_out(self, piece: &Value, bytes: usize) -> Value {
        // The type is theirs, and may be what is too large.
        let kind = piece["type"].as_str().filter(|kind| kind.len() <= TYPE_BYTES);
        let mut told = json!({ "bytes": bytes });
        if let Some(kind) = kind {
            told["type"] = kind.into();
        }
        match self {
            Protocol::AiSdk => json!({ "type": "data-omitted", "data": told }),
            Protocol::AgUi => json!({ "type": "CUSTOM", "name": "omitted", "value": told }),
            Protocol::OpenAi => json!({ "choices": [], "omitted": told }),
        }
    }
}

impl Body for Endpoint {
    fn agent(&self) -> &AgentName {
        &self.agent
    }

    fn restart(&self) -> Restart {
        // A call that fails costs its turn an attempt; the link itself ends with the node alone.
        self.restart
    }

    fn live(self: Arc<Self>, place: Place) -> BoxFuture<'static, Ended> {
        Box::pin(async move {
            match serve(&self, &place).await {
                LinkEnd::Stopping | LinkEnd::Drained => Ended::Stopped,
                end => Ended::Failed(end.to_string()),
            }
        })
    }
}

/// Serves one link to its end.
async fn serve(endpoint: &Arc<Endpoint>, place: &Place) -> LinkEnd {
    let worker = format!("{}-{}", endpoint.protocol.name(), place.runtime.node());
    let register = Register {
        agent: endpoint.agent.clone(),
        worker: WorkerName::parse(&worker).expect("the names of protocols are short"),
        capacity: endpoint.capacity,
        lease_ms: limits::LINK_LEASE_MS,
        quiet_ms: endpoint.quiet_ms,
        cancel_grace: limits::CANCEL_GRACE,
    };
    let Some((speaker, mut listener)) = place.runtime.link(register) else {
        return LinkEnd::Stopping;
    };
    let speaker = Arc::new(speaker);
    let mut calls = JoinSet::new();
    let mut under_way: HashMap<TurnKey, CancellationToken> = HashMap::new();
    let end = loop {
        tokio::select! {
            told = listener.next() => match told {
                Ok(ToWorker::Turn(offered)) => {
                    let key = turn::key(&offered.assignment);
                    let stop = place.stop.child_token();
                    under_way.insert(key.clone(), stop.clone());
                    let (runtime, endpoint) = (place.runtime.clone(), endpoint.clone());
                    let speaker = speaker.clone();
                    calls.spawn(async move {
                        let turn = &offered.assignment;
                        (key, turn::run(&runtime, &endpoint, turn, &speaker, stop).await)
                    });
                }
                Ok(ToWorker::Told(told)) if told.what.is_end() => {
                    match under_way.get(&told.key) {
                        Some(stop) => stop.cancel(),
                        None => _ = speaker.hear(FromWorker::Done(told.key)).await,
                    }
                }
                Ok(ToWorker::Ping) => _ = speaker.hear(FromWorker::Pong).await,
                Ok(ToWorker::Told(_) | ToWorker::Ack(_)) => {}
                Ok(ToWorker::Refused(refused)) => {
                    // A turn that is not ours any more is told so as well.
                    let code = refused.code;
                    tracing::debug!(agent = %endpoint.agent, code, "a word was refused");
                }
                Err(end) => break end,
            },
            Some(done) = calls.join_next(), if !calls.is_empty() => {
                if let Ok((key, failed)) = done {
                    under_way.remove(&key);
                    // After what it said: the link keeps the order.
                    let word = match failed {
                        Some(failed) => {
                            let (wait, throttled) = (std::time::Duration::ZERO, false);
                            let failed = BrokeOff { detail: failed.to_string(), wait, throttled };
                            FromWorker::Failed(key, failed)
                        }
                        None => FromWorker::Done(key),
                    };
                    _ = speaker.hear(word).await;
                }
            }
            () = place.stop.cancelled() => break LinkEnd::Stopping,
        }
    };
    calls.shutdown().await;
    if let Some(speaker) = Arc::into_inner(speaker) {
        speaker.close(Leave::Released);
    }
    end
}
