//! One WebSocket of a person's device: many sessions, and the verbs, on one connection.
//!
//! Everything of it happens in one task. Answers and what else is no event go out first; events follow
//! when the client has taken what was sent before, within the credit of their session. Nothing is read
//! from a client that leaves too many answers unread (S10).

use std::collections::HashMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::super::Edge;
use super::super::attached;
use super::super::ephemeral;
use super::super::error::{self, Problem};
use super::super::quota;
use super::super::telling::Telling;
use super::super::verbs;
use super::parse::{self, Attach, Called, Frame, Misunderstood, Operation, Request};
use super::socket::{CloseReason, Received, SocketReceiver, SocketSender};
use super::subscription::{Batch, Credit, Subscription};
use crate::auth::{Caller, Ending, Refused};
use crate::ids::SessionId;
use crate::limits;
use crate::session::Right;
use crate::telemetry::RequestLabels;

/// A connection and what happens on it.
pub(super) struct People {
    edge: Edge,
    caller: Caller,
    ending: Ending,
    /// Whether a newer credential is being looked at.
    is_asking: bool,
    sender: SocketSender,
    /// Under way; at most [`limits::SOCKET_REQUESTS`].
    requests: FuturesUnordered<BoxFuture<'static, Done>>,
    /// At most [`limits::SOCKET_SESSIONS`].
    places: HashMap<SessionId, AttachedSession>,
    speaking: FuturesUnordered<BoxFuture<'static, Batch>>,
    /// Sessions that were attached.
    attached: u64,
}

/// A session that is attached, or about to be.
struct AttachedSession {
    number: u64,
    credit: Credit,
    detached: CancellationToken,
    /// What it was attached for, as its caller could have it.
    wants: attached::AttachOptions,
    /// Among the streams of its tenant and key.
    _place: Option<crate::auth::StreamSlot>,
}

/// What came of a request.
enum Done {
    Answered(Option<u64>, Result<Value, Problem>),
    Attached(Option<u64>, SessionId, u64, Result<Box<Telling>, Problem>),
    Known(Option<u64>, Result<Caller, Refused>),
    /// It needs no answer.
    Unasked,
}

/// Carries out the request of a verb; it goes on even if the connection ends.
async fn call(
    edge: &Edge,
    caller: &Caller,
    session: SessionId,
    called: Called,
) -> Result<Value, Problem> {
    let deadline = Instant::now() + Duration::from_millis(called.timeout_ms);
    let _room = edge.room.hold_for(called.bytes)?;
    let reply = verbs::submit(edge, caller, &session, called.command, deadline).await?;
    Ok(verbs::render(&session, &reply))
}

impl People {
    pub(super) fn new(edge: Edge, caller: Caller, sender: SocketSender) -> People {
        People {
            edge,
            ending: caller.ending(),
            is_asking: false,
            caller,
            sender,
            requests: FuturesUnordered::new(),
            places: HashMap::new(),
            speaking: FuturesUnordered::new(),
            attached: 0,
        }
    }

    /// Serves the client until either side has enough.
    pub(super) async fn run(mut self, mut receiver: SocketReceiver) {
        let reason = self.serve(&mut receiver).await;
        if let Some(problem) = receiver.objection(reason) {
            self.answer(None, Err(problem));
        }
        let parting = match reason {
            CloseReason::Stopping => Some("stopping"),
            CloseReason::Ended(ended) => Some(ended.code()),
            _ => None,
        };
        if let Some(parting) = parting {
            let sessions: Vec<_> = self.places.drain().map(|(session, _)| session).collect();
            for session in sessions {
                self.part(&session, parting);
            }
        }
        // What was requested is still done, as it would be by HTTP.
        let drain = Duration::from_millis(limits::DRAIN_MS) / 2;
        let _ = timeout(drain, async {
            while let Some(done) = self.requests.next().await {
                if let Done::Answered(re, answer) = done {
                    self.answer(re, answer);
                }
            }
        })
        .await;
        self.sender.close(receiver, reason).await;
    }

    async fn serve(&mut self, receiver: &mut SocketReceiver) -> CloseReason {
        let stop = self.edge.stop.clone();
        let ping = Duration::from_millis(limits::SOCKET_PING_MS);
        let mut pings = interval(ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let listens = self.requests.len() < limits::SOCKET_REQUESTS
                && self.sender.waiting() < limits::SOCKET_REQUESTS;
            let is_idle = self.sender.is_idle();
            if !listens || !is_idle {
                // Whoever is not listened to is not silent, and who does not read is slow.
                receiver.received_at = Instant::now();
            }
            let patience = receiver.patience();
            tokio::select! {
                biased;
                () = stop.cancelled() => return CloseReason::Stopping,
                ended = self.ending.came() => return CloseReason::Ended(ended),
                flushed = self.sender.flush(), if !is_idle => {
                    if let Err(reason) = flushed {
                        return reason;
                    }
                }
                Some(done) = self.requests.next() => self.settle(done),
                received = receiver.hear(), if listens => match received {
                    Received::Text(text) => self.hear(text),
                    Received::Sign => {}
                    Received::Odd(problem) => self.answer(None, Err(problem)),
                    Received::Over(reason) => return reason,
                },
                _ = pings.tick() => self.sender.ping(),
                () = sleep_until(patience) => return CloseReason::Silent,
                Some(batch) = self.speaking.next(), if is_idle => self.pass_on(batch),
            }
        }
    }

    fn hear(&mut self, text: Utf8Bytes) {
        let Request { re, session, operation } = match parse::frame(&self.caller, &text) {
            Ok(Frame::Request(request)) => *request,
            Ok(Frame::Auth { re, .. }) if self.is_asking => {
                let why = parse::bad("an auth is under way".to_owned());
                return self.answer(re, Err(why));
            }
            Ok(Frame::Auth { re, credential }) => {
                self.is_asking = true;
                let edge = self.edge.clone();
                let known = async move {
                    let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_MS);
                    let now = edge.runtime.sessions.now();
                    Done::Known(re, edge.auth.caller(Some(&credential), now, deadline).await)
                };
                return self.requests.push(known.boxed());
            }
            Err(Misunderstood { re, why }) => return self.answer(re, Err(why)),
        };
        match operation {
            Operation::Attach(attach) => {
                if let Err(why) = self.attach(re, &session, &attach) {
                    self.answer(re, Err(why));
                }
            }
            Operation::Detach => {
                let answer = self.place(&session).map(|place| {
                    place.detached.cancel();
                    json!({ "session": session.name() })
                });
                self.places.remove(&session);
                self.answer(re, answer);
            }
            Operation::Credit(events) => {
                let answer = self.place(&session).and_then(|place| {
                    place.credit.add(events).map_err(|sum| {
                        let most = limits::SOCKET_CREDIT_MAX;
                        parse::bad(format!("the credit would be {sum} events; the limit is {most}"))
                    })
                });
                // A request without a number needs no answer.
                if re.is_some() || answer.is_err() {
                    self.answer(re, answer.map(|()| json!({ "session": session.name() })));
                }
            }
            Operation::Ephemeral(frames) => {
                let attached = self.places.get(&session);
                let attached = attached.map(|place| place.wants.who.clone());
                let (edge, caller) = (self.edge.clone(), self.caller.clone());
                let request = async move {
                    let done = ephemeral::submit(&edge, &caller, session, *frames, attached).await;
                    match (re, done) {
                        // A request without a number needs no answer.
                        (None, Ok(_)) => Done::Unasked,
                        (re, done) => Done::Answered(re, done),
                    }
                };
                self.requests.push(request.boxed());
            }
            Operation::Verb(called) => {
                let (edge, caller) = (self.edge.clone(), self.caller.clone());
                let request =
                    async move { Done::Answered(re, call(&edge, &caller, session, *called).await) };
                self.requests.push(request.boxed());
            }
        }
    }

    fn place(&self, session: &SessionId) -> Result<&AttachedSession, Problem> {
        self.places.get(session).ok_or_else(|| {
            Problem::new(&error::NOT_ATTACHED, format!("{:?} is not", session.name()))
        })
    }

    fn attach(
        &mut self,
        re: Option<u64>,
        session: &SessionId,
        operation: &Attach,
    ) -> Result<(), Problem> {
        self.caller.may(Right::Read, Some(session))?;
        let wants = operation.wants.clone().of(&self.caller, session)?;
        if self.places.contains_key(session) {
            return Err(Problem::new(&error::ALREADY_ATTACHED, "detach it first"));
        }
        let limit = limits::SOCKET_SESSIONS;
        if limit <= self.places.len() {
            let detail = format!("the limit is {limit}");
            return Err(Problem::new(&error::TOO_MANY_SESSIONS, detail).with("limit", limit));
        }
        let taken = quota::place(&self.edge, &self.caller)?;
        self.attached += 1;
        let number = self.attached;
        let credit = Credit::new(operation.credit);
        let detached = CancellationToken::new();
        let place =
            AttachedSession { number, credit, detached, wants: wants.clone(), _place: taken };
        self.places.insert(session.clone(), place);
        let (edge, id) = (self.edge.clone(), session.clone());
        let Attach { start, freshness, timeout_ms, .. } = *operation;
        let request = async move {
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            let telling = async {
                let reader = edge.sessions().attach(&id, start, freshness, deadline).await?;
                attached::open(&edge, &id, reader, &wants, deadline).await.map(Box::new)
            };
            let telling = telling.await;
            Done::Attached(re, id, number, telling)
        };
        self.requests.push(request.boxed());
        Ok(())
    }

    fn settle(&mut self, done: Done) {
        let (re, session, number, telling) = match done {
            Done::Unasked => return,
            Done::Answered(re, answer) => return self.answer(re, answer),
            Done::Known(re, known) => {
                self.is_asking = false;
                return match known {
                    Ok(caller) => self.go_on_as(re, caller),
                    Err(why) => self.answer(re, Err(why.into())),
                };
            }
            Done::Attached(re, session, number, telling) => (re, session, number, telling),
        };
        let place = self.places.get(&session).filter(|place| place.number == number);
        let Some(place) = place else {
            let detail = "it was detached before it was attached";
            return self.answer(re, Err(Problem::new(&error::NOT_ATTACHED, detail)));
        };
        match telling {
            Ok(telling) => {
                let (credit, detached) = (place.credit.clone(), place.detached.clone());
                let ok = json!({ "session": session.name() });
                let mut subscription =
                    Subscription::new(session, number, *telling, credit, detached);
                self.answer(re, Ok(ok));
                self.sender.send(subscription.opening());
                self.speaking.push(subscription.speak().boxed());
            }
            Err(why) => {
                self.places.remove(&session);
                self.answer(re, Err(why));
            }
        }
    }

    /// Goes on under another grant; what it would not have attached as it is, is detached.
    fn go_on_as(&mut self, re: Option<u64>, caller: Caller) {
        if caller.tenant() != self.caller.tenant() {
            let detail = "a connection stays in its tenant";
            return self.answer(re, Err(Problem::new(&error::FORBIDDEN, detail)));
        }
        let keeps = |session: &SessionId, place: &AttachedSession| {
            let wants = place.wants.clone().of(&caller, session);
            caller.may(Right::Read, Some(session)).is_ok()
                && wants.is_ok_and(|wants| wants == place.wants)
        };
        let lost = self.places.extract_if(|session, place| !keeps(session, place));
        let lost: Vec<_> = lost.map(|(session, _)| session).collect();
        let caller = caller.in_place_of(&self.caller);
        self.edge = self.edge.for_caller(&caller);
        (self.ending, self.caller) = (caller.ending(), caller);
        self.answer(re, Ok(json!({})));
        for session in lost {
            self.part(&session, "forbidden");
        }
    }

    /// Reports that nothing more is sent for a session.
    fn part(&mut self, session: &SessionId, reason: &str) {
        let data = json!({ "reason": reason });
        let text = json!({ "session": session.name(), "type": "detached", "data": data });
        self.sender.send(text.to_string());
    }

    fn pass_on(&mut self, batch: Batch) {
        let Batch { session, number, texts, rest } = batch;
        // Of a session that was detached nothing is sent, even if it is attached again.
        if self.places.get(&session).is_none_or(|place| place.number != number) {
            return;
        }
        for text in texts {
            self.sender.send(text);
        }
        match rest {
            Some(rest) => self.speaking.push(rest.speak().boxed()),
            None => _ = self.places.remove(&session),
        }
    }

    fn answer(&mut self, re: Option<u64>, answer: Result<Value, Problem>) {
        let code = answer.as_ref().err().map_or("ok", |why| why.kind().code);
        let labels = RequestLabels { route: "ws", code };
        self.edge.metrics.requests.get_or_create(&labels).inc();
        let text = match answer {
            Ok(ok) => json!({ "re": re, "ok": ok }),
            Err(why) => json!({ "re": re, "problem": why.body() }),
        };
        self.sender.send(text.to_string());
    }
}
