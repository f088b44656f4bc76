//! Deltas as chunks of a UI message stream.
//!
//! A client dies on a chunk that its version does not know, and on one whose members are not what it expects. So what
//! came from an agent is sent as itself only where it is known to be whole, and wrapped in `data-event` otherwise.

use std::collections::HashMap;

use super::super::super::content::raw::{self, Json, Object};
use super::super::super::content::{Call, Outcome};
use super::super::delta::{Delta, Kind};
use super::super::live::{self, At, Dialect, Flow};
use super::super::question::Question;
use super::Version;
use crate::ids::{Incarnation, InteractionId, Serial, TurnId};
use crate::limits;
use crate::session::{End, Format};

const FORMAT: &str = "ai-sdk/1";
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The message that an answer is, on its way to one client.
pub(super) struct Chunks {
    version: Version,
    message: String,
    in_step: bool,
    /// A question to people: its kind, and the call that it is about.
    pending: HashMap<InteractionId, (String, Option<String>)>,
}

/// The name of the message that is the answer of a turn: the same on every device.
fn message_of((life, from): (Incarnation, Serial), turn: &TurnId) -> String {
    format!("answer-{}.{}-{turn}", life.0, from.0)
}

/// The turn that a message is the answer of, and where its log begins: in which life of the session, and there.
pub(super) fn answer_of(message: &str) -> Option<((Incarnation, Serial), TurnId)> {
    let (place, turn) = message.strip_prefix("answer-")?.split_once('-')?;
    let (life, serial) = place.split_once('.')?;
    let place = (Incarnation(life.parse().ok()?), Serial(serial.parse().ok()?));
    Some((place, TurnId::parse(turn).ok()?))
}

impl Chunks {
    pub(super) fn new(version: Version, from: (Incarnation, Serial), turn: &TurnId) -> Chunks {
        let message = message_of(from, turn);
        Chunks { version, message, in_step: false, pending: HashMap::new() }
    }

    fn step(&mut self, out: &mut Vec<u8>) {
        self.finish_step(out);
        live::data(out, &of("start-step"));
        self.in_step = true;
    }

    fn finish_step(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.in_step) {
            live::data(out, &of("finish-step"));
        }
    }

    fn finish(&mut self, reason: &str, out: &mut Vec<u8>) -> Flow {
        self.finish_step(out);
        live::data(out, &of("finish").with("finishReason", reason));
        out.extend_from_slice(DONE);
        Flow::Ended
    }

    fn end(&mut self, end: End, out: &mut Vec<u8>) -> Flow {
        match end {
            End::Completed { reason } => {
                let known = ["length", "content-filter", "tool-calls"];
                let reason = match reason.as_str() {
                    "" => "stop",
                    reason if known.contains(&reason) => reason,
                    _ => "other",
                };
                self.finish(reason, out)
            }
            End::Failed { reason } => {
                let reason = if reason.is_empty() { "the agent failed".into() } else { reason };
                self.error(reason, out);
                Flow::Ended
            }
            End::Cancelled { reason, .. } => {
                let reason = (!reason.is_empty()).then(|| reason.into());
                live::data(out, &of("abort").with_some("reason", reason));
                out.extend_from_slice(DONE);
                Flow::Ended
            }
        }
    }

    fn error(&mut self, reason: String, out: &mut Vec<u8>) {
        live::data(out, &of("error").with("errorText", reason));
        out.extend_from_slice(DONE);
    }

    fn pending(&mut self, delta: Delta, out: &mut Vec<u8>) {
        let Delta::Question(Question { interaction, kind, question, call }) = delta else { return };
        if limits::INTERACTIONS <= self.pending.len() {
            return;
        }
        match (kind.as_str(), &call) {
            ("client_tool", Some(_)) => {}
            ("approval", Some(call)) if Version::V6 <= self.version => {
                let request = of("tool-approval-request");
                let request = request.with("approvalId", interaction.as_str());
                live::data(out, &request.with("toolCallId", call.as_str()));
            }
            _ => {
                let question = Json::raw(&question);
                live::data(
                    out,
                    &interaction_of(&interaction, &kind, "open", Some(("question", question))),
                );
            }
        }
        self.pending.insert(interaction, (kind, call));
    }

    fn answered(&mut self, interaction: &InteractionId, answer: Option<&str>, out: &mut Vec<u8>) {
        // Questions from before the client came, it knows.
        let Some((kind, call)) = self.pending.remove(interaction) else { return };
        match (kind.as_str(), call, answer) {
            ("client_tool", Some(call), Some(answer)) => {
                let output = of("tool-output-available").with("toolCallId", call);
                live::data(out, &output.with("output", Json::raw(answer)));
            }
            ("approval", Some(_), Some(answer)) if self.version == Version::V7 => {
                let (approved, reason) = approved(answer);
                let response = of("tool-approval-response");
                let response = response.with("approvalId", interaction.as_str());
                let response = response.with("approved", approved);
                live::data(out, &response.with_some("reason", reason.map(Json::from)));
            }
            ("client_tool", Some(_), None) => {}
            ("approval", Some(_), _) if Version::V6 <= self.version => {}
            (_, _, Some(answer)) => {
                let answer = Some(("answer", Json::raw(answer)));
                live::data(out, &interaction_of(interaction, &kind, "answered", answer));
            }
            (_, _, None) => live::data(out, &interaction_of(interaction, &kind, "expired", None)),
        }
    }

    fn call_result(&self, call: &Call, preliminary: bool, out: &mut Vec<u8>) {
        let chunk = match &call.result {
            Outcome::Output(output) => {
                let chunk = of("tool-output-available").with("toolCallId", call.id.as_str());
                let chunk = chunk.with("output", Json::raw(output));
                chunk.with_some("preliminary", preliminary.then(|| true.into()))
            }
            Outcome::Denied if Version::V6 <= self.version => {
                return live::data(
                    out,
                    &of("tool-output-denied").with("toolCallId", call.id.as_str()),
                );
            }
            _ => {
                let chunk = of("tool-output-error").with("toolCallId", call.id.as_str());
                chunk.with("errorText", call.result_text())
            }
        };
        live::data(out, &flags(chunk, call));
    }

    fn other(&self, format: &Format, json: &str, out: &mut Vec<u8>) {
        let object = Object::parse(json).unwrap_or_default();
        if format.as_str() == FORMAT && is_known(&object, self.version) {
            return live::data(out, &Json::raw(json));
        }
        let data = Json::object([("format", format.as_str().into()), ("data", Json::raw(json))]);
        live::data(out, &of("data-event").with("data", data));
    }
}

impl Dialect for Chunks {
    fn open(&mut self, out: &mut Vec<u8>) {
        live::data(out, &of("start").with("messageId", self.message.as_str()));
    }

    fn take(&mut self, _: At, delta: Delta, out: &mut Vec<u8>) -> Flow {
        match delta {
            Delta::Accepted { answered: true } | Delta::Started => {}
            // A person has control, and answers elsewhere.
            Delta::Accepted { answered: false } => return self.finish("other", out),
            Delta::Step => self.step(out),
            Delta::Rewound { since_step: true, .. } if self.version == Version::V7 => {
                live::data(out, &of("reset-step"));
            }
            Delta::Rewound { .. } => return Flow::BreaksOff,
            Delta::Begins(part, kind) => {
                live::data(out, &of(kind.chunk("start")).with("id", part.to_string()));
            }
            Delta::Goes(part, kind, text) => {
                let chunk = of(kind.chunk("delta")).with("id", part.to_string());
                live::data(out, &chunk.with("delta", text));
            }
            Delta::Ends(part, kind, extra) => {
                let chunk = of(kind.chunk("end")).with("id", part.to_string());
                live::data(
                    out,
                    &chunk.with_some("providerMetadata", extra.as_deref().map(metadata)),
                );
            }
            Delta::CallBegins(_, call) => {
                let chunk = named("tool-input-start", &call);
                live::data(out, &chunk);
            }
            Delta::CallGoes(_, call, text) => {
                let chunk = of("tool-input-delta").with("toolCallId", call.id);
                live::data(out, &chunk.with("inputTextDelta", text));
            }
            Delta::CallReady(_, call) if call.is_whole() => {
                let chunk = named("tool-input-available", &call);
                live::data(out, &chunk.with("input", Json::raw(call.arguments())));
            }
            Delta::CallReady(_, call) => {
                let chunk = named("tool-input-error", &call).with("input", call.arguments.as_str());
                live::data(out, &chunk.with("errorText", "the arguments are no JSON"));
            }
            Delta::CallResult { call, preliminary, .. } => {
                self.call_result(&call, preliminary, out);
            }
            Delta::File { media, url } => {
                live::data(out, &of("file").with("url", url).with("mediaType", media));
            }
            Delta::Other { format, json } => self.other(&format, &json, out),
            Delta::Metadata(json) => {
                let chunk = of("message-metadata");
                live::data(out, &chunk.with("messageMetadata", Json::raw(&json)));
            }
            Delta::Question(_) => self.pending(delta, out),
            Delta::Answered { interaction, answer } => {
                self.answered(&interaction, Some(&answer), out);
            }
            Delta::Expired { interaction } => self.answered(&interaction, None, out),
            Delta::Waits => return self.finish("tool-calls", out),
            Delta::Ended(end) => return self.end(end, out),
        }
        Flow::GoesOn
    }

    fn lost(&mut self, out: &mut Vec<u8>) {
        self.error("the answer can be followed no further".into(), out);
    }

    fn health(&mut self, health: Json, out: &mut Vec<u8>) {
        let chunk = of("data-health").with("data", health);
        live::data(out, &chunk.with("transient", true));
    }
}

impl Kind {
    fn chunk(self, what: &'static str) -> &'static str {
        match (self, what) {
            (Kind::Text, "start") => "text-start",
            (Kind::Text, "delta") => "text-delta",
            (Kind::Text, _) => "text-end",
            (Kind::Reasoning, "start") => "reasoning-start",
            (Kind::Reasoning, "delta") => "reasoning-delta",
            (Kind::Reasoning, _) => "reasoning-end",
        }
    }
}

fn of(kind: &str) -> Json {
    Json::object([("type", kind.into())])
}

fn named(kind: &str, call: &Call) -> Json {
    let chunk = of(kind).with("toolCallId", call.id.as_str()).with("toolName", call.tool.as_str());
    let extra = call.extra.as_deref().map(metadata);
    flags(chunk, call).with_some("providerMetadata", extra)
}

fn flags(chunk: Json, call: &Call) -> Json {
    let chunk = chunk.with_some("dynamic", call.dynamic.then(|| true.into()));
    chunk.with_some("providerExecuted", call.by_provider.then(|| true.into()))
}

/// What a dialect adds to a part of its own, as the object of objects that clients take.
fn metadata(extra: &str) -> Json {
    let is_known = Object::parse(extra)
        .is_some_and(|all| all.members().all(|(_, value)| Object::parse(value).is_some()));
    if is_known {
        return Json::raw(extra);
    }
    Json::object([("agent", Json::object([("value", Json::raw(extra))]))])
}

/// A question that has no chunk of its own, as it stands now.
fn interaction_of(
    id: &InteractionId,
    kind: &str,
    state: &str,
    more: Option<(&'static str, Json)>,
) -> Json {
    let data = Json::object([
        ("interaction", id.as_str().into()),
        ("kind", kind.into()),
        ("state", state.into()),
    ]);
    let data = match more {
        Some((name, value)) => data.with(name, value),
        None => data,
    };
    of("data-interaction").with("id", id.as_str()).with("data", data)
}

/// Whether an answer is a yes, and its note.
fn approved(answer: &str) -> (bool, Option<String>) {
    match Object::parse(answer) {
        Some(object) => (object.is_true("approved"), object.text("reason")),
        None => (answer.trim() == "true", raw::string(answer)),
    }
}

/// Whether clients of a version take a chunk for what it is.
fn is_known(chunk: &Object<'_>, version: Version) -> bool {
    let kind = chunk.text("type").unwrap_or_default();
    let texts = |names: &[&str]| names.iter().all(|name| chunk.text(name).is_some());
    let maybe_text = |name: &str| chunk.get(name).is_none() || chunk.text(name).is_some();
    let metadata = chunk.get("providerMetadata").is_none_or(|extra| {
        Object::parse(extra)
            .is_some_and(|all| all.members().all(|(_, value)| Object::parse(value).is_some()))
    });
    metadata
        && match kind.as_str() {
            "source-url" => texts(&["sourceId", "url"]) && maybe_text("title"),
            "source-document" => {
                texts(&["sourceId", "mediaType", "title"]) && maybe_text("filename")
            }
            "custom" => version == Version::V7 && texts(&["kind"]),
            "reasoning-file" => version == Version::V7 && texts(&["url", "mediaType"]),
            _ if kind.starts_with("data-") => {
                let transient = chunk.get("transient").is_none_or(raw::is_flag);
                chunk.get("data").is_some() && maybe_text("id") && transient
            }
            _ => false,
        }
}
