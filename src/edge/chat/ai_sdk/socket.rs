//! The AI SDK's `WebSocketChatTransport`: the chats of one agent on one WebSocket. Source: "Wire Protocol" of that
//! transport in the reference of AI SDK 7.
//!
//! A client's `send` and `resume` name a request, whose answer comes as `start`, chunks that are counted from 0, and
//! `end`; or as `no-active` or `error`. An `abort` cancels what its request began. A connection that ends cancels
//! nothing. Nothing is read of an answer while the client has not taken what came before (S10).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::super::super::content::raw::{Json, Object};
use super::super::super::error::{self, Problem};
use super::super::super::gate::By;
use super::super::super::live::BrokenOff;
use super::super::super::takeover::Takeover;
use super::super::super::verbs::submit;
use super::super::super::ws::{
    CloseReason, Received, SocketReceiver, SocketSender, accept as accept_socket,
};
use super::super::super::{Edge, frame, quota};
use super::super::begin::Begun;
use super::super::client_message::bad;
use super::super::live::{self, Begins, Shown};
use super::super::names::{self, Agent};
use super::{Chunks, HEALTH, Version};
use crate::auth::{Caller, StreamSlot};
use crate::edge::State;
use crate::ids::{AgentName, SessionId, TurnId};
use crate::limits;
use crate::session::{Cancel, Command, Right, Role, Scope};

/// `GET /v1/ai-sdk/{agent}/ws`
pub(super) async fn chats(
    State(edge): State<Edge>,
    Agent(agent): Agent,
    By(caller): By,
    headers: HeaderMap,
    takeover: Option<Extension<Arc<Takeover>>>,
) -> Result<Response, Problem> {
    let limit = limits::CHAT_BODY_BYTES;
    accept_socket(&edge.clone(), &headers, takeover, limit, |(receiver, sender)| async {
        let (answers, under_way) = (HashMap::new(), FuturesUnordered::new());
        let chats = Chats { edge, caller, agent, sender, answers, under_way };
        chats.run(receiver).await;
    })
}

/// A connection, and what its client waits for.
struct Chats {
    edge: Edge,
    caller: Caller,
    agent: AgentName,
    sender: SocketSender,
    /// By the names of their requests; at most [`limits::SOCKET_SESSIONS`].
    answers: HashMap<String, Answering>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// An answer on its way.
#[derive(Default)]
struct Answering {
    /// Of the next chunk.
    sequence: u64,
    /// What is answered, once that is known.
    turn: Option<(SessionId, TurnId)>,
    /// The client wants no more of it.
    aborted: CancellationToken,
}

/// What came of a request, by its name.
enum Done {
    Opened(String, Result<Option<Box<Opened>>, Problem>),
    Piece(String, Option<Result<Bytes, BrokenOff>>, Box<Opened>),
    /// Nobody waits for it.
    Unasked,
}

struct Opened {
    id: SessionId,
    turn: TurnId,
    /// Whole events, and comments.
    pieces: BoxStream<'static, Result<Bytes, BrokenOff>>,
    /// It was there before the request.
    resumed: bool,
    /// Among the streams of its tenant and key.
    _place: Option<StreamSlot>,
}

impl Chats {
    async fn run(mut self, mut receiver: SocketReceiver) {
        let reason = self.serve(&mut receiver).await;
        self.answers.retain(|_, answering| {
            let is_aborted = answering.aborted.is_cancelled();
            answering.aborted.cancel();
            is_aborted
        });
        // What was sent is still done, and what was aborted before it began is cancelled.
        let drain = Duration::from_millis(limits::DRAIN_MS) / 2;
        let _ = timeout(drain, async {
            while let Some(done) = self.under_way.next().await {
                if let Done::Opened(name, Ok(Some(opened))) = done
                    && self.answers.remove(&name).is_some()
                {
                    self.cancel(opened.id, opened.turn);
                }
            }
        })
        .await;
        self.sender.close(receiver, reason).await;
    }

    async fn serve(&mut self, receiver: &mut SocketReceiver) -> CloseReason {
        let stop = self.edge.stop.clone();
        let mut ending = self.caller.ending();
        let mut pings = interval(Duration::from_millis(limits::SOCKET_PING_MS));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_idle = self.sender.is_idle();
            let most = limits::SOCKET_REQUESTS;
            let listens = self.under_way.len() < limits::SOCKET_SESSIONS + most
                && self.sender.waiting() < most;
            if !listens || !is_idle {
                // Whoever is not listened to is not silent, and who does not read is slow.
                receiver.received_at = Instant::now();
            }
            let patience = receiver.patience();
            tokio::select! {
                biased;
                () = stop.cancelled() => return CloseReason::Stopping,
                ended = ending.came() => return CloseReason::Ended(ended),
                flushed = self.sender.flush(), if !is_idle => {
                    if let Err(reason) = flushed {
                        return reason;
                    }
                }
                received = receiver.hear(), if listens => match received {
                    Received::Text(text) => {
                        if let Err(why) = self.hear(&text) {
                            return why;
                        }
                    }
                    Received::Sign => {}
                    Received::Odd(_) => return CloseReason::NotUnderstood,
                    Received::Over(reason) => return reason,
                },
                Some(done) = self.under_way.next(), if is_idle => self.settle(done),
                _ = pings.tick() => self.sender.ping(),
                () = sleep_until(patience) => return CloseReason::Silent,
            }
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// It names no request, or one of too many bytes, so there is nothing to answer.
    fn hear(&mut self, text: &Utf8Bytes) -> Result<(), CloseReason> {
        let frame = Object::parse(text).ok_or(CloseReason::NotUnderstood)?;
        // Each chunk has it once more.
        let name = frame.text("requestId").filter(|name| name.len() <= limits::NAME_BYTES);
        let name = name.ok_or(CloseReason::NotUnderstood)?;
        let kind = frame.text("type").unwrap_or_default();
        match kind.as_str() {
            "abort" => self.abort(&name),
            "send" | "resume" if self.answers.contains_key(&name) => {}
            "send" | "resume" if limits::SOCKET_SESSIONS <= self.answers.len() => {
                let detail = "as many answers are under way as one connection may have";
                self.fail(&name, &Problem::new(&error::TOO_MANY_SESSIONS, detail));
            }
            "send" => self.begin(name, text.clone(), true),
            "resume" => self.begin(name, text.clone(), false),
            _ => self.fail(&name, &bad("type is send, resume or abort")),
        }
        Ok(())
    }

    fn begin(&mut self, name: String, text: Utf8Bytes, sends: bool) {
        let room = match self.edge.room.hold_for(text.len()) {
            Ok(room) => room,
            Err(why) => return self.fail(&name, &why),
        };
        self.answers.insert(name.clone(), Answering::default());
        let (edge, caller, agent) = (self.edge.clone(), self.caller.clone(), self.agent.clone());
        let opened = async move {
            let opened = open(&edge, &caller, &agent, &text, sends).await;
            drop((text, room));
            Done::Opened(name, opened.map(|opened| opened.map(Box::new)))
        };
        self.under_way.push(opened.boxed());
    }

    /// Cancels what a request began, and tells no more of it.
    fn abort(&mut self, name: &str) {
        let Some(answering) = self.answers.get(name) else { return };
        answering.aborted.cancel();
        // Where that is not known yet, it is cancelled when it is.
        if let Some((id, turn)) = answering.turn.clone() {
            self.answers.remove(name);
            self.cancel(id, turn);
        }
    }

    fn cancel(&mut self, id: SessionId, turn: TurnId) {
        let (edge, caller) = (self.edge.clone(), self.caller.clone());
        let cancel = async move {
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
            let (scope, reason) = (Scope::Turn(turn), "stopped".into());
            let cancel = Cancel { scope, by: None, reason, role: Role::default() };
            // Who may not cancel has stopped to read, and that is all.
            submit(&edge, &caller, &id, Command::Cancel(Box::new(cancel)), deadline).await.ok();
            Done::Unasked
        };
        self.under_way.push(cancel.boxed());
    }

    fn settle(&mut self, done: Done) {
        match done {
            Done::Unasked => {}
            Done::Opened(name, Err(why)) => {
                self.answers.remove(&name);
                self.fail(&name, &why);
            }
            Done::Opened(name, Ok(None)) => {
                self.answers.remove(&name);
                self.tell("no-active", &name);
            }
            Done::Opened(name, Ok(Some(opened))) => {
                let Some(answering) = self.answers.get_mut(&name) else { return };
                let turn = (opened.id.clone(), opened.turn.clone());
                if answering.aborted.is_cancelled() {
                    self.answers.remove(&name);
                    return self.cancel(turn.0, turn.1);
                }
                answering.turn = Some(turn);
                if opened.resumed {
                    self.tell("start", &name);
                }
                self.read_on(name, opened);
            }
            Done::Piece(name, piece, opened) => self.pass_on(name, piece, opened),
        }
    }

    fn read_on(&mut self, name: String, mut opened: Box<Opened>) {
        let Some(answering) = self.answers.get(&name) else { return };
        let aborted = answering.aborted.clone();
        let piece = async move {
            let piece = aborted.run_until_cancelled(opened.pieces.next()).await;
            piece.map_or(Done::Unasked, |piece| Done::Piece(name, piece, opened))
        };
        self.under_way.push(piece.boxed());
    }

    fn pass_on(
        &mut self,
        name: String,
        piece: Option<Result<Bytes, BrokenOff>>,
        opened: Box<Opened>,
    ) {
        let Some(answering) = self.answers.get_mut(&name) else { return };
        match piece {
            Some(Ok(bytes)) => {
                for chunk in frame::datas(&bytes).filter(|data| *data != "[DONE]") {
                    let head = Json::object([("type", "chunk".into())]);
                    let head = head.with("requestId", name.as_str());
                    let frame = head.with("sequence", answering.sequence);
                    answering.sequence += 1;
                    self.sender.send(frame.with("chunk", Json::raw(chunk)).to_string());
                }
                self.read_on(name, opened);
            }
            Some(Err(BrokenOff)) => {
                self.answers.remove(&name);
                let detail = "the answer cannot be read at this node now; it goes on, so resume it";
                self.fail(&name, &Problem::new(&error::DETACHED, detail));
            }
            None => {
                self.answers.remove(&name);
                self.tell("end", &name);
            }
        }
    }

    fn tell(&mut self, kind: &'static str, name: &str) {
        let frame = Json::object([("type", kind.into()), ("requestId", name.into())]);
        self.sender.send(frame.to_string());
    }

    fn fail(&mut self, name: &str, why: &Problem) {
        let frame = Json::object([("type", "error".into()), ("requestId", name.into())]);
        self.sender
            .send(frame.with("errorText", format!("{}: {}", why.code(), why.detail())).to_string());
    }
}

/// What a request is answered with: the answer to what it sends, or the one that is under way, if one is.
async fn open(
    edge: &Edge,
    caller: &Caller,
    agent: &AgentName,
    text: &str,
    sends: bool,
) -> Result<Option<Opened>, Problem> {
    let deadline = Instant::now() + Duration::from_millis(limits::ANSWER_HOLD_MS);
    // Before anything begins that could not be shown.
    let place = quota::place(edge, caller)?;
    let frame = Object::parse(text).ok_or_else(|| bad("a frame is a JSON object"))?;
    let (id, begun, begins): (SessionId, Begun, Begins) = if sends {
        super::take(edge, caller, agent, text.as_bytes(), deadline).await?
    } else {
        let name = frame.text("id").ok_or_else(|| bad("id is the chat's name"))?;
        let id = names::session(caller, &name)?;
        caller.may(Right::Read, Some(&id))?;
        let Some(begun) = super::under_way(edge, &id, agent, deadline).await? else {
            return Ok(None);
        };
        (id, begun, Begins::AtStart)
    };
    let health = frame.object("headers").text(HEALTH.as_str()).as_deref() == Some("1");
    let (turn, from, life) = (&begun.turn, begun.serial, begun.life);
    let shown = Shown { id: &id, turn, from, life, begins, is_present: true, health };
    let chunks = Chunks::new(Version::V7, (life, from), turn);
    let pieces = live::pieces(edge, caller, shown, chunks, deadline).await;
    let pieces = pieces.ok_or_else(|| {
        Problem::new(&error::DETACHED, "the answer cannot be read now; it goes on, so resume it")
    })?;
    let (turn, resumed) = (begun.turn, !sends);
    Ok(Some(Opened { id, turn, pieces, resumed, _place: place }))
}
