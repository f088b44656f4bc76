//! Agents that are an operator's HTTP endpoint: a request for each turn, and its stream is the agent's output.
//!
//! The endpoint knows nothing of outlive. It gets the conversation in the form that it takes anyway, and its
//! answer is read as it comes: pieces of text become events of text, all else is kept whole under the dialect's
//! format. A cancel reaches it as a closed connection. It cannot be steered, so an input that comes meanwhile begins
//! the next turn. An answer that breaks off is requested again, and the new one supersedes the old.

mod ag_ui;
mod ai_sdk;
mod answer;
mod anthropic;
#[cfg(test)]
mod anthropic_tests;
mod call;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile_tests;
mod openai;
mod reason;
#[cfg(test)]
mod tests;
mod turn;

pub(super) use openai::delta_of;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
use super::attached::messages::Messages;
use super::content::Conversation;
use super::content::raw::{Json, Object};
use crate::auth::SigningSecret;
use crate::config::Protocol;
use crate::ids::{AgentId, WorkerName};
use crate::limits;
use crate::runtime::agent::body::{Body, BodyContext, Ended, Restart};
use crate::runtime::agent::{FromWorker, Leave, LinkEnd, Refused, Register, ToWorker, TurnKey};

/// The longest name of a type that is shown of a piece which is left out, in bytes.
const TYPE_BYTES: usize = 64;

/// An endpoint that takes turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub agent: AgentId,
    pub url: String,
    pub protocol: Protocol,
    /// Sent with each request.
    pub headers: BTreeMap<String, String>,
    /// Each request is signed with each of them.
    pub signing: Vec<SigningSecret>,
    /// Turns at once, of one node.
    pub capacity: usize,
    /// How long it may be without progress, in milliseconds.
    pub progress_timeout_ms: u64,
    pub restart: Restart,
    /// How long one answer may take, if it has a limit.
    pub call_limit: Option<Duration>,
    /// Which model is requested, where the protocol names one.
    pub model: Option<String>,
    /// How many tokens one answer may have, where the protocol wants to know.
    pub max_tokens: Option<u64>,
    /// How many tokens of the conversation a request has at most, each counted as [`limits::TOKEN_BYTES`].
    pub context_tokens: Option<usize>,
}

/// A request to an endpoint.
struct Request<'a> {
    session: &'a str,
    turn: &'a str,
    conversation: &'a Conversation,
    model: Option<&'a str>,
    max_tokens: Option<u64>,
    /// How often the turn has waited for people, if it has: its last answer goes on.
    waited: Option<u32>,
    /// Calls that the attempt before may have made, each with its idempotency key.
    in_doubt: Vec<Json>,
}

/// A list, if there is something in it.
fn some(all: &[Json]) -> Option<Json> {
    (!all.is_empty()).then(|| all.to_vec().into())
}

impl Protocol {
    fn body(self, request: &Request<'_>) -> Bytes {
        let body = match self {
            Protocol::AiSdk => ai_sdk::body(request),
            Protocol::AgUi => ag_ui::body(request),
            Protocol::OpenAi => openai::body(request),
            Protocol::Anthropic => anthropic::body(request),
        };
        Bytes::from(body.to_string())
    }

    /// What stands in the log for something that is left out, as something that the protocol's readers pass over.
    fn left_out(self, notice: Value) -> Value {
        match self {
            Protocol::AiSdk => json!({ "type": "data-omitted", "data": notice }),
            Protocol::AgUi => json!({ "type": "CUSTOM", "name": "omitted", "value": notice }),
            Protocol::OpenAi => json!({ "choices": [], "omitted": notice }),
            Protocol::Anthropic => json!({ "type": "omitted", "omitted": notice }),
        }
    }

    /// The same for a piece that is larger than an event may be: its type, if it has one, and its size in bytes.
    fn piece_left_out(self, piece: &str) -> Value {
        // The type is theirs, and may be what is too large.
        let kind = Object::parse(piece).and_then(|piece| piece.text("type"));
        let mut notice = json!({ "bytes": piece.len() });
        if let Some(kind) = kind.filter(|kind| kind.len() <= TYPE_BYTES) {
            notice["type"] = kind.into();
        }
        self.left_out(notice)
    }
}

impl Body for Endpoint {
    fn agent(&self) -> &AgentId {
        &self.agent
    }

    fn restart(&self) -> Restart {
        // A call that fails costs its turn an attempt; the link itself ends with the node alone.
        self.restart
    }

    fn live(self: Arc<Self>, place: BodyContext) -> BoxFuture<'static, Ended> {
        Box::pin(async move {
            match serve(&self, &place).await {
                LinkEnd::Stopping | LinkEnd::Drained => Ended::Stopped,
                end => Ended::Failed(end.to_string()),
            }
        })
    }
}

/// A turn that the endpoint works on.
struct UnderWay {
    stop: CancellationToken,
    taken: watch::Sender<Taken>,
}

/// What became of the output of a turn.
#[derive(Debug, Default)]
struct Taken {
    /// The last seq that is in the log.
    seq: Option<u64>,
    /// The last one that was refused, and why.
    refusal: Option<(u64, String)>,
}

/// Serves one link to its end.
async fn serve(endpoint: &Arc<Endpoint>, place: &BodyContext) -> LinkEnd {
    let worker = format!("{}-{}", endpoint.protocol.name(), place.workers.node());
    let register = Register {
        agent: endpoint.agent.clone(),
        worker: WorkerName::parse(&worker).expect("the names of protocols are short"),
        capacity: endpoint.capacity,
        lease_ms: limits::LINK_LEASE_MS,
        progress_timeout_ms: endpoint.progress_timeout_ms,
        cancel_grace: limits::CANCEL_GRACE,
        grant: None,
    };
    let Some((speaker, mut listener)) = place.workers.link(register) else {
        return LinkEnd::Stopping;
    };
    let speaker = Arc::new(speaker);
    let mut calls = JoinSet::new();
    let mut under_way: HashMap<TurnKey, UnderWay> = HashMap::new();
    let end = loop {
        tokio::select! {
            notice = listener.next() => match notice {
                Ok(ToWorker::Turn(offered)) => {
                    let key = turn::key(&offered.assignment);
                    let (taken, outcomes) = watch::channel(Taken::default());
                    let stop = place.stop.child_token();
                    under_way.insert(key.clone(), UnderWay { stop: stop.clone(), taken });
                    let (sessions, endpoint) = (place.workers.sessions.clone(), endpoint.clone());
                    let speaker = speaker.clone();
                    calls.spawn(async move {
                        let turn = &offered.assignment;
                        let run = turn::run(&sessions, &endpoint, turn, &speaker, outcomes, stop);
                        (key, run.await)
                    });
                }
                Ok(ToWorker::Signal(notice)) if notice.what.is_end() => {
                    match under_way.get(&notice.key) {
                        Some(turn) => turn.stop.cancel(),
                        None => _ = speaker.hear(FromWorker::Done(notice.key)).await,
                    }
                }
                Ok(ToWorker::Ping) => _ = speaker.hear(FromWorker::Pong).await,
                Ok(ToWorker::Signal(_)) => {}
                Ok(ToWorker::Ack(ack)) => {
                    if let Some(turn) = under_way.get(&ack.key) {
                        turn.taken.send_modify(|taken| taken.seq = Some(ack.seq));
                    }
                }
                Ok(ToWorker::Refused(refused)) => note(&endpoint.agent, &under_way, *refused),
                Err(end) => break end,
            },
            Some(done) = calls.join_next(), if !calls.is_empty() => {
                if let Ok((key, failed)) = done {
                    under_way.remove(&key);
                    // After its output: the link keeps the order.
                    let word = match failed {
                        Some(failed) => FromWorker::Failed(key, failed.into()),
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

/// Notes that a report was refused, for the turn that sent it.
fn note(agent: &AgentId, under_way: &HashMap<TurnKey, UnderWay>, refused: Refused) {
    // A turn that is not ours any more learns it as well.
    let code = refused.code;
    tracing::debug!(%agent, code, "a report was refused");
    let turn = refused.key.as_ref().and_then(|key| under_way.get(key));
    let Some((turn, seq)) = turn.zip(refused.seq) else { return };
    let why = refused.detail;
    // The first: what comes after it would come after a hole.
    turn.taken.send_modify(|taken| _ = taken.refusal.get_or_insert((seq, why)));
}

/// The body of a request to an endpoint, for tests of what stands in it.
#[cfg(test)]
pub(in crate::edge) fn body_of(protocol: Protocol, messages: &Messages, turn: &str) -> String {
    let id = crate::ids::TurnId::parse(turn).expect("a name");
    let waited = messages.questions.waited(&id).map(|(_, times)| times);
    let conversation = &Conversation::of(messages, &id);
    let request = Request {
        session: "s",
        turn,
        conversation,
        model: None,
        max_tokens: None,
        waited,
        in_doubt: Vec::new(),
    };
    String::from_utf8(protocol.body(&request).to_vec()).expect("JSON is text")
}
