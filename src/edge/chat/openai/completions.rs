//! Chat completions: the answer of one turn, whole or as it comes. Each request is a session of its own, made of the
//! messages that it brings, unless the header `outlive-session` names one: that has the messages before the last.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use super::super::super::content::raw::Json;
use super::super::super::error::{self, Problem};
use super::super::super::gate::{By, while_granted};
use super::super::super::{Edge, body, delivery, headers};
use super::super::answer;
use super::super::begin::{self, Begun};
use super::super::client_message::{Incoming, bad};
use super::super::delta::{Delta, Kind};
use super::super::follow::Lost;
use super::super::live::{self, At, Begins, Dialect, Flow, Shown};
use super::super::names;
use super::events::count;
use super::items::{Item, Items, Text, What};
use super::request;
use super::{fresh, key, whole};
use crate::edge::State;
use crate::ids::{AgentName, InteractionId};
use crate::limits;
use crate::session::{End, Right};

const SESSION: HeaderName = HeaderName::from_static("outlive-session");
/// Whether stock clients send a request that failed again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const DONE: &[u8] = b"data: [DONE]\n\n";

/// `POST /v1/openai/chat/completions`
pub(super) async fn create(
    State(edge): State<Edge>,
    By(caller): By,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let deadline = begin::deadline(&given)?;
    let held = body::read(&edge, &given, body, limits::CHAT_BODY_BYTES).await?;
    let body = request::body(&held.bytes)?;
    let agent = request::agent(&body)?;
    let key = key(&given)?;
    let named = headers::one(&given, &SESSION)?;
    let name = named.map_or_else(|| fresh("chat", &caller, key), str::to_owned);
    let id = names::session(&caller, &name)?;
    caller.may(Right::Read, Some(&id))?;
    let streams = body.is_true("stream");
    let incoming = request::messages(&body, named.is_none())?;
    drop(body);
    drop(held);
    let place = (&edge, &caller, &id, deadline);
    let (begun, begins) = match incoming {
        Incoming::Message(has_text) => {
            let input = begin::turn_id(&fresh("msg", &caller, key))?;
            let input = (input, &agent, has_text);
            let begun = begin::begin(&edge, &caller, &id, input, (None, None), deadline).await?;
            (begun, Begins::AtStart)
        }
        Incoming::Answers(_) if named.is_none() => {
            return Err(bad("results of tools go with the header outlive-session"));
        }
        Incoming::Answers(answers) => answer::answer(place, None, answers).await?.shown(),
    };
    let (turn, from, life) = (&begun.turn, begun.serial, begun.life);
    let shown = Shown { id: &id, turn, from, life, begins, is_present: true, health: false };
    let mut completion = Completion::new(&begun, &agent, Items::new(edge.room.hold()));
    completion.streams = streams;
    if streams {
        let response = live::response(&edge, &caller, shown, completion, deadline).await;
        return delivery::roomy(&edge.room, response);
    }
    let rendered = async {
        let rendered = live::read(&edge, shown, completion, true, deadline).await;
        rendered.map_err(|why| match why {
            Lost::Unavailable => {
                Problem::new(&error::OUTCOME_UNKNOWN, "the answer cannot be read now")
            }
            Lost::Gone => Problem::new(&error::NO_SUCH_TURN, "the answer is no more"),
        })
    };
    whole(&edge, &while_granted(&caller, rendered).await?.whole()?)
}

pub(super) struct Completion {
    id: String,
    agent: AgentName,
    created_s: u64,
    /// What was sent cannot be taken back.
    pub(super) streams: bool,
    /// Something was sent.
    has_text: bool,
    finish: Option<&'static str>,
    /// Why there is no answer.
    error: Option<Problem>,
    items: Items,
}

impl Completion {
    pub(super) fn new(begun: &Begun, agent: &AgentName, items: Items) -> Completion {
        let id = format!("chatcmpl-{}-{}", begun.serial.0, begun.turn);
        let (agent, finish, error) = (agent.clone(), None, None);
        let (created_s, streams, has_text) = (0, true, false);
        Completion { id, agent, created_s, streams, has_text, finish, error, items }
    }

    fn object(&self, kind: &str, choice: Vec<(&'static str, Json)>) -> Json {
        let mut all = vec![("index", count(0))];
        all.extend(choice);
        all.push(("logprobs", Json::Null));
        let finish = self.finish.map_or(Json::Null, Json::from);
        all.push(("finish_reason", finish));
        Json::Object(vec![
            ("id", self.id.as_str().into()),
            ("object", kind.into()),
            ("created", count(self.created_s)),
            ("model", self.agent.as_str().into()),
            ("choices", vec![Json::Object(all)].into()),
        ])
    }

    fn chunk(&self, delta: Vec<(&'static str, Json)>, out: &mut Vec<u8>) {
        let delta = vec![("delta", Json::Object(delta))];
        live::data(out, &self.object("chat.completion.chunk", delta));
    }

    fn end(&mut self, reason: &'static str, out: &mut Vec<u8>) -> Flow {
        self.finish = Some(reason);
        self.chunk(Vec::new(), out);
        out.extend_from_slice(DONE);
        Flow::Ended
    }

    fn fail(&mut self, reason: String, out: &mut Vec<u8>) -> Flow {
        // Its clients repeat what fails by itself, and each time that were another turn.
        let problem = Problem::new(&error::AGENT_FAILED, reason.clone());
        self.ends_by(problem.header(SHOULD_RETRY, HeaderValue::from_static("false")), reason, out)
    }

    fn ends_by(&mut self, problem: Problem, reason: String, out: &mut Vec<u8>) -> Flow {
        let error = [("message", reason.as_str().into()), ("type", "server_error".into())];
        let error = Json::object(error).with("code", Json::Null).with("param", Json::Null);
        live::data(out, &Json::object([("error", error)]));
        out.extend_from_slice(DONE);
        self.error = Some(problem);
        Flow::Ended
    }

    /// The calls that the client is to make.
    fn calls(&self) -> Vec<Json> {
        let wanted = self.items.all.iter().filter_map(|item| match &item.what {
            What::Wanted { name, tool, arguments } => Some((name, tool, arguments)),
            _ => None,
        });
        let call = |(at, (name, tool, arguments)): (usize, (&InteractionId, &String, &String))| {
            let function =
                [("name", tool.as_str().into()), ("arguments", arguments.as_str().into())];
            let call = Json::object([("index", count(at as u64)), ("id", name.as_str().into())]);
            call.with("type", "function").with("function", Json::object(function))
        };
        wanted.enumerate().map(call).collect()
    }

    fn texts(&self, of: impl Fn(&What) -> Option<&Text>) -> String {
        let texts = self.items.all.iter().filter_map(|item| of(&item.what));
        texts.map(|whole| whole.text.as_str()).collect::<Vec<_>>().join("\n\n")
    }

    /// The whole completion.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn whole(&mut self) -> Result<Json, Problem> {
        if let Some(problem) = self.error.take() {
            return Err(problem);
        }
        let text = self.texts(|what| match what {
            What::Message(whole) => Some(whole),
            _ => None,
        });
        let reasoning = self.texts(|what| match what {
            What::Reasoning(whole) => Some(whole),
            _ => None,
        });
        let content = if text.is_empty() { Json::Null } else { text.into() };
        let message = Json::object([("role", "assistant".into()), ("content", content)]);
        let message = message.with("refusal", Json::Null);
        let reasoning = (!reasoning.is_empty()).then(|| reasoning.into());
        let message = message.with_some("reasoning_content", reasoning);
        let calls = self.calls();
        let message = message.with_some("tool_calls", (!calls.is_empty()).then(|| calls.into()));
        Ok(self.object("chat.completion", vec![("message", message)]))
    }

    fn goes(&mut self, at: At, kind: Kind, text: String, out: &mut Vec<u8>) {
        self.has_text = true;
        self.items.goes(at.serial, &text);
        let name = match kind {
            Kind::Text => "content",
            Kind::Reasoning => "reasoning_content",
        };
        self.chunk(vec![(name, text.into())], out);
    }

    fn begins(&mut self, at: At, kind: Kind, out: &mut Vec<u8>) {
        let is_text = |item: &Item| matches!(item.what, What::Message(_));
        // Two texts of an answer are two paragraphs.
        if kind == Kind::Text && self.items.all.iter().any(is_text) {
            self.chunk(vec![("content", "\n\n".into())], out);
        }
        let what = match kind {
            Kind::Text => What::Message(Text::default()),
            Kind::Reasoning => What::Reasoning(Text::default()),
        };
        self.items.add(Item { id: String::new(), serial: at.serial, what });
    }

    fn waits(&mut self, at: At, out: &mut Vec<u8>) -> Flow {
        for item in self.items.wanted(at.serial) {
            // Another question is put into words, and answered by another message.
            if let What::Message(whole) = &item.what {
                let pause = if self.has_text { "\n\n" } else { "" };
                self.has_text = true;
                self.chunk(vec![("content", format!("{pause}{}", whole.text).into())], out);
            }
            self.items.add(item);
        }
        let calls = self.calls();
        if calls.is_empty() {
            return self.end("stop", out);
        }
        self.chunk(vec![("tool_calls", calls.into())], out);
        self.end("tool_calls", out)
    }
}

impl Dialect for Completion {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn take(&mut self, at: At, delta: Delta, out: &mut Vec<u8>) -> Flow {
        if self.created_s == 0 {
            self.created_s = at.time.0 / 1000;
            self.chunk(vec![("role", "assistant".into()), ("content", "".into())], out);
        }
        match delta {
            Delta::Accepted { answered: false } => return self.end("stop", out),
            Delta::Begins(_, kind) => self.begins(at, kind, out),
            Delta::Goes(_, kind, text) => self.goes(at, kind, text, out),
            Delta::Rewound { .. } if self.streams && self.has_text => {
                return self.fail("the agent began anew; ask again".into(), out);
            }
            Delta::Rewound { from, .. } => self.items.take_back(from),
            Delta::Question(_) | Delta::Answered { .. } | Delta::Expired { .. } => {
                self.items.question(delta);
            }
            Delta::Waits => return self.waits(at, out),
            Delta::Ended(End::Completed { reason }) => {
                let reason = match reason.as_str() {
                    "length" => "length",
                    "content-filter" => "content_filter",
                    _ => "stop",
                };
                return self.end(reason, out);
            }
            Delta::Ended(End::Failed { reason }) => return self.fail(reason, out),
            Delta::Ended(End::Cancelled { .. }) => {
                let reason = "the answer was cancelled";
                let problem = Problem::new(&error::TURN_ENDED, reason);
                return self.ends_by(problem, reason.into(), out);
            }
            _ => {}
        }
        if self.items.is_too_large() {
            return self.fail("the answer is larger than one may be".into(), out);
        }
        if self.items.has_room() { Flow::GoesOn } else { Flow::BreaksOff }
    }

    fn knows(&mut self, delta: Delta) {
        self.items.question(delta);
    }

    fn lost(&mut self, out: &mut Vec<u8>) {
        self.fail("the answer can be followed no further".into(), out);
    }
}
