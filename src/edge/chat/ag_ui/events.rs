//! Deltas as events of AG-UI, each under an id with its place in the log: a client that comes back with the last
//! one that it has gets the rest.

use std::collections::HashSet;

use axum::response::{IntoResponse, Response};

use super::super::super::content::raw::{Json, Object};
use super::super::super::content::{Call, Outcome};
use super::super::delta::{Delta, Kind, PartId};
use super::super::live::{self, At, Dialect, Flow};
use super::super::question::{Choice, Question};
use crate::ids::{Incarnation, Serial, TurnId};
use crate::limits::INTERACTIONS;
use crate::session::{End, Format};

/// A place among the events: the serial of the log's event, and the number among those that it is sent as.
pub(super) type Id = (u64, u64);

/// A run on its way to one client.
pub(super) struct Events {
    thread: String,
    run: String,
    turn: TurnId,
    life: Incarnation,
    /// The last event that the client has.
    seen: Option<Id>,
    at: Id,
    /// What the client sent, to begin anew with where an answer is taken back.
    messages: Option<String>,
    pending: Vec<Question>,
    /// Calls whose arguments came in pieces.
    going: HashSet<String>,
    /// The first of what was sent in messages of this run and stands.
    stands: Option<Serial>,
}

/// The id that a client has seen last: the session's life, and the place there.
pub(super) fn id_of(text: &str) -> Option<(Incarnation, Id)> {
    let mut parts = text.splitn(3, '-').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let life = Incarnation(u32::try_from(next()?).ok()?);
    Some((life, (next()?, next()?)))
}

/// The answer to whoever comes back after an event that the run does not have: its own stream has no id for it.
fn beyond() -> Json {
    let event = of("RUN_ERROR").with("message", "there is no such event of this run");
    event.with("code", "cursor_out_of_range")
}

/// The response with that answer.
pub(super) fn no_such_place() -> Response {
    let mut out = Vec::new();
    live::data(&mut out, &beyond());
    live::headers(out.into_response())
}

impl Events {
    pub(super) fn new(
        (thread, run): (String, String),
        (turn, life): (&TurnId, Incarnation),
        seen: Option<Id>,
        messages: Option<String>,
    ) -> Events {
        let (turn, pending, going) = (turn.clone(), Vec::new(), HashSet::new());
        Events { thread, run, turn, life, seen, at: (0, 0), messages, pending, going, stands: None }
    }

    fn emit(&mut self, event: &Json, out: &mut Vec<u8>) {
        let id = self.at;
        self.at.1 += 1;
        if self.seen.is_some_and(|seen| id <= seen) {
            return;
        }
        let id = format!("id: {}-{}-{}\n", self.life.0, id.0, id.1);
        out.extend_from_slice(id.as_bytes());
        live::data(out, event);
    }

    fn run(&self, kind: &str) -> Json {
        let event = of(kind).with("threadId", self.thread.as_str());
        event.with("runId", self.run.as_str())
    }

    fn fail(&mut self, message: String, code: &str, out: &mut Vec<u8>) -> Flow {
        self.end(&of("RUN_ERROR").with("message", message).with("code", code), out)
    }

    /// The last event. A client that has it already gets it again, and one that claims to have more gets the answer
    /// that there is no more: nothing at all would be taken for the end of an answer.
    fn end(&mut self, event: &Json, out: &mut Vec<u8>) -> Flow {
        match self.seen {
            Some(seen) if self.at < seen => {
                live::data(out, &beyond());
                return Flow::Ended;
            }
            Some(seen) if self.at == seen => self.seen = None,
            _ => {}
        }
        self.emit(event, out);
        Flow::Ended
    }

    fn message(&self, part: PartId) -> String {
        format!("{}-{part}", self.turn)
    }

    fn begins(&mut self, part: PartId, kind: Kind, out: &mut Vec<u8>) {
        let id = self.message(part);
        let with_id = |kind: &str| of(kind).with("messageId", id.as_str());
        match kind {
            Kind::Text => {
                self.emit(&with_id("TEXT_MESSAGE_START").with("role", "assistant"), out);
            }
            Kind::Reasoning => {
                self.emit(&with_id("REASONING_START"), out);
                self.emit(&with_id("REASONING_MESSAGE_START").with("role", "reasoning"), out);
            }
        }
    }

    fn ends(&mut self, part: PartId, kind: Kind, extra: Option<String>, out: &mut Vec<u8>) {
        let id = self.message(part);
        let with_id = |kind: &str| of(kind).with("messageId", id.as_str());
        if kind == Kind::Text {
            return self.emit(&with_id("TEXT_MESSAGE_END"), out);
        }
        self.emit(&with_id("REASONING_MESSAGE_END"), out);
        // A signature is a text here; another dialect's stays its own.
        if let Some(value) = extra.filter(|extra| extra.starts_with('"')) {
            let event = of("REASONING_ENCRYPTED_VALUE").with("subtype", "message");
            let event = event.with("entityId", id.as_str());
            self.emit(&event.with("encryptedValue", Json::raw(&value)), out);
        }
        self.emit(&with_id("REASONING_END"), out);
    }

    fn result(&mut self, part: PartId, call: &Call, out: &mut Vec<u8>) {
        let event = of("TOOL_CALL_RESULT").with("messageId", self.message(part) + ".result");
        let event = event.with("toolCallId", call.id.as_str()).with("role", "tool");
        let event = event.with("content", call.result_text());
        let failed = matches!(call.result, Outcome::Failed(_) | Outcome::Denied);
        let error = failed.then(|| call.result_text().into());
        self.emit(&event.with_some("error", error), out);
    }

    fn custom(&mut self, name: &str, value: Json, out: &mut Vec<u8>) {
        self.emit(&of("CUSTOM").with("name", name).with("value", value), out);
    }

    fn other(&mut self, format: &Format, json: &str, out: &mut Vec<u8>) {
        if format.as_str() == "ag-ui/1" {
            return self.emit(&Json::raw(json), out);
        }
        let value = Json::object([("format", format.as_str().into()), ("data", Json::raw(json))]);
        self.custom("event", value, out);
    }

    /// A run that waits for people is over: they have a question, and another run goes on with the answer.
    fn waits(&mut self, out: &mut Vec<u8>) -> Flow {
        let pending = std::mem::take(&mut self.pending);
        let interrupts: Vec<_> = pending.iter().map(interrupt).collect();
        let outcome = Json::object([("type", "interrupt".into())]);
        let outcome = outcome.with("interrupts", interrupts);
        let event = self.run("RUN_FINISHED").with("outcome", outcome);
        self.end(&event, out)
    }

    /// What was sent from a place on is superseded. The client has what it sent; where more than that stands, the same
    /// run is to be requested again, which gets what stands alone.
    fn rewound(&mut self, from: Serial, out: &mut Vec<u8>) -> Flow {
        self.stands = self.stands.filter(|first| *first < from);
        if self.seen.is_some_and(|seen| self.at <= seen) {
            return Flow::GoesOn;
        }
        let messages = self.messages.as_ref().filter(|_| self.stands.is_none());
        let Some(messages) = messages else {
            let event = of("RUN_ERROR").with("message", "the agent began anew; ask again");
            // Without an id: nothing can be sent to whoever comes back after it.
            live::data(out, &event.with("code", "rewound"));
            return Flow::Ended;
        };
        let event = of("MESSAGES_SNAPSHOT").with("messages", Json::raw(messages));
        self.emit(&event, out);
        Flow::GoesOn
    }
}

impl Dialect for Events {
    fn open(&mut self, out: &mut Vec<u8>) {
        let started = self.run("RUN_STARTED");
        self.emit(&started, out);
    }

    fn take(&mut self, at: At, delta: Delta, out: &mut Vec<u8>) -> Flow {
        if self.at.0 != at.serial.0 {
            self.at = (at.serial.0, 0);
        }
        if let Delta::Begins(..) | Delta::CallBegins(..) | Delta::CallResult { .. } = &delta {
            self.stands.get_or_insert(at.serial);
        }
        match delta {
            Delta::Accepted { answered: false } | Delta::Ended(End::Completed { .. }) => {
                let event = self.run("RUN_FINISHED");
                return self.end(&event, out);
            }
            Delta::Rewound { from, .. } => return self.rewound(from, out),
            Delta::Begins(part, kind) => self.begins(part, kind, out),
            Delta::Goes(part, kind, text) => {
                let kind = match kind {
                    Kind::Text => "TEXT_MESSAGE_CONTENT",
                    Kind::Reasoning => "REASONING_MESSAGE_CONTENT",
                };
                let event = of(kind).with("messageId", self.message(part));
                self.emit(&event.with("delta", text), out);
            }
            Delta::Ends(part, kind, extra) => self.ends(part, kind, extra, out),
            Delta::CallBegins(_, call) => {
                if self.going.remove(&call.id) {
                    let event = of("TOOL_CALL_END").with("toolCallId", call.id.as_str());
                    self.emit(&event, out);
                }
                let event = of("TOOL_CALL_START").with("toolCallId", call.id.as_str());
                self.emit(&event.with("toolCallName", call.tool.as_str()), out);
            }
            Delta::CallGoes(_, call, text) => {
                self.going.insert(call.id.clone());
                self.arguments(&call, text, out);
            }
            Delta::CallReady(_, call) => {
                if !self.going.remove(&call.id) {
                    self.arguments(&call, call.arguments().to_owned(), out);
                }
                let event = of("TOOL_CALL_END").with("toolCallId", call.id.as_str());
                self.emit(&event, out);
            }
            Delta::CallResult { part, call, preliminary: false } => self.result(part, &call, out),
            Delta::File { media, url } => {
                let file = Json::object([("mediaType", media.into()), ("url", url.into())]);
                self.custom("file", file, out);
            }
            Delta::Other { format, json } => self.other(&format, &json, out),
            Delta::Question(_) | Delta::Answered { .. } | Delta::Expired { .. } => {
                self.knows(delta);
            }
            Delta::Waits => return self.waits(out),
            Delta::Ended(End::Failed { reason }) => return self.fail(reason, "failed", out),
            Delta::Ended(End::Cancelled { reason, .. }) => {
                return self.fail(reason, "cancelled", out);
            }
            _ => {}
        }
        Flow::GoesOn
    }

    fn knows(&mut self, delta: Delta) {
        match delta {
            Delta::Question(pending) => {
                self.pending.push(pending);
                self.pending.truncate(INTERACTIONS);
            }
            Delta::Answered { interaction, .. } | Delta::Expired { interaction } => {
                self.pending.retain(|open| open.interaction != interaction);
            }
            _ => {}
        }
    }

    fn lost(&mut self, out: &mut Vec<u8>) {
        self.fail("the answer can be followed no further".into(), "lost", out);
    }
}

impl Events {
    fn arguments(&mut self, call: &Call, text: String, out: &mut Vec<u8>) {
        let event = of("TOOL_CALL_ARGS").with("toolCallId", call.id.as_str());
        self.emit(&event.with("delta", text), out);
    }
}

fn interrupt(pending: &Question) -> Json {
    let question = Object::parse(&pending.question).unwrap_or_default();
    let (name, call) = (&pending.interaction, pending.call.clone());
    let reason = match pending.kind.as_str() {
        "client_tool" => "tanstack:client_tool_execution",
        "approval" => "tool_call",
        _ => "input",
    };
    let interrupt = Json::object([("id", name.as_str().into()), ("reason", reason.into())]);
    let interrupt = interrupt.with_some("toolCallId", call.map(Json::from));
    let interrupt = interrupt.with_some("message", question.text("text").map(Json::from));
    let schema = question.get("schema").map(Json::raw).or_else(|| choice(pending, &question));
    interrupt.with_some("responseSchema", schema)
}

/// What fits a choice, as a schema; none of another question.
fn choice(pending: &Question, question: &Object<'_>) -> Option<Json> {
    let one = |choice: Choice| {
        Json::object([("const", Json::raw(&choice.value)), ("title", choice.label.into())])
    };
    let all: Vec<_> = pending.choices().into_iter().map(one).collect();
    if all.is_empty() {
        return None;
    }
    let one = Json::object([("oneOf", all.into())]);
    Some(match question.is_true("multiple") {
        true => Json::object([("type", "array".into()), ("items", one)]),
        false => one,
    })
}

fn of(kind: &str) -> Json {
    Json::object([("type", kind.into())])
}
