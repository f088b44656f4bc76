//! Routes for the AI SDK's `useChat`: UI messages in, UI message chunks out (UI message stream protocol, v1).

use super::super::content::raw::{Json, Object};
use super::super::content::{Approval, Call, Entry, Outcome, Part};
use super::answer::{ARGUMENTS_BYTES, End, Question, Read, question};
use super::{Request, reason, some};
use crate::limits;
use crate::session::Format;

const FORMAT: &str = "ai-sdk/1";

pub(super) fn body(request: &Request<'_>) -> Json {
    let entries = &request.conversation.entries;
    let messages = entries.iter().map(message).collect::<Vec<_>>();
    // An answer that goes on is the last message's.
    let last = entries.last().filter(|last| last.is_agent() && request.waited.is_some());
    Json::object([
        ("id", request.session.into()),
        ("messages", messages.into()),
        ("trigger", "submit-message".into()),
        ("messageId", last.map_or(Json::Null, |last| id(last).into())),
        ("turn", request.turn.into()),
    ])
    .with_some("inDoubt", some(&request.in_doubt))
}

fn id(entry: &Entry) -> String {
    format!("m{}", entry.from.0)
}

fn message(entry: &Entry) -> Json {
    let role = if entry.is_agent() { "assistant" } else { "user" };
    let parts = entry.parts.iter().filter_map(part).collect::<Vec<_>>();
    Json::object([("id", id(entry).into()), ("role", role.into()), ("parts", parts.into())])
}

fn part(part: &Part) -> Option<Json> {
    let of = |kind: &str| Json::object([("type", kind.into())]);
    Some(match part {
        Part::Text(text) if text.is_empty() => return None,
        Part::Text(text) => of("text").with("text", text.as_str()),
        Part::Reasoning { text, extra, format, .. } => {
            // A signature is its own dialect's alone.
            let extra = extra.as_deref().filter(|_| format.as_str() == FORMAT).map(Json::raw);
            let reasoning = of("reasoning").with("text", text.as_str());
            reasoning.with_some("providerMetadata", extra)
        }
        Part::Call(call) if call.is_whole() => tool(call),
        Part::File { media, url } => {
            of("file").with("mediaType", media.as_str()).with("url", url.as_str())
        }
        Part::Step => of("step-start"),
        Part::Other { format, json } if format.as_str() == FORMAT => Json::raw(json),
        Part::Call(_)
        | Part::Other { .. }
        | Part::Result { .. }
        | Part::Error(_)
        | Part::Finish { .. } => return None,
    })
}

fn tool(call: &Call) -> Json {
    let kind = if call.dynamic { "dynamic-tool".into() } else { format!("tool-{}", call.tool) };
    let name = call.dynamic.then(|| call.tool.as_str().into());
    let state = match (&call.result, &call.approval) {
        (Outcome::Output(_), _) => "output-available",
        (Outcome::Failed(_), _) => "output-error",
        (Outcome::Denied, _) => "output-denied",
        (Outcome::Open, Some(_)) => "approval-responded",
        (Outcome::Open, None) => "input-available",
    };
    let part = Json::object([("type", kind.into())]);
    let part = part.with_some("toolName", name).with("toolCallId", call.id.as_str());
    let part = part.with("state", state).with("input", Json::raw(call.arguments()));
    let part = match &call.result {
        Outcome::Output(output) => part.with("output", Json::raw(output)),
        Outcome::Failed(why) => part.with("errorText", why.as_str()),
        Outcome::Denied | Outcome::Open => part,
    };
    let part = part.with_some("approval", call.approval.as_ref().map(approval));
    let part = part.with_some("providerExecuted", call.by_provider.then_some(true.into()));
    part.with_some("callProviderMetadata", call.extra.as_deref().map(Json::raw))
}

fn approval(approval: &Approval) -> Json {
    let (approved, reason) = match &approval.answer {
        Some((approved, reason)) => (*approved, reason.as_deref()),
        // It goes on all the same: an input came instead, or no answer is taken any more.
        None => (false, Some("nobody answered")),
    };
    let answer = Json::object([("id", approval.id.as_str().into()), ("approved", approved.into())]);
    answer.with_some("reason", reason.map(Json::from))
}

/// What has been read of an answer.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The newest calls of tools.
    calls: Vec<Pending>,
    /// How many there were at the last mark.
    marked: usize,
}

#[derive(Debug, Default)]
struct Pending {
    id: String,
    tool: String,
    /// None where it is too large, or no person is to answer any more.
    input: Option<String>,
    approval: Option<String>,
    /// Nothing is to be done about it here.
    settled: bool,
}

impl State {
    /// Takes a chunk.
    pub(super) fn take(&mut self, chunk: &Object<'_>, data: &str, read: &mut Read) {
        let text = |name: &str| chunk.text(name).unwrap_or_default();
        let Some(kind) = chunk.text("type") else {
            return read.fail("the endpoint sent a chunk without a type".into());
        };
        match kind.as_str() {
            "text-delta" => {
                if let Some(delta) = chunk.get("delta") {
                    read.text(chunk.text("id"), delta);
                }
                return;
            }
            "text-start" => read.border(),
            // Whoever was about to read it starts again.
            "reset-step" => {
                self.calls.truncate(self.marked);
                read.rewind();
            }
            "start"
            | "start-step"
            | "reasoning-start"
            | "reasoning-delta"
            | "tool-input-start"
            | "tool-input-available" => read.go_on(),
            _ => {}
        }
        read.whole(data);
        match kind.as_str() {
            "start-step" => {
                self.marked = self.calls.len();
                read.mark();
            }
            "error" => read.fault(text("errorText")),
            "abort" => read.fail("the endpoint aborted".into()),
            "finish" => {
                let word = text("finishReason");
                read.finish_by(&word, self.end(&word));
            }
            _ if kind.starts_with("tool-") => self.tool(&kind, chunk, read),
            _ => {}
        }
    }

    fn tool(&mut self, kind: &str, chunk: &Object<'_>, read: &mut Read) {
        let text = |name: &str| chunk.text(name).unwrap_or_default();
        let id = text("toolCallId");
        let at = self.calls.iter().rposition(|call| call.id == id);
        match (kind, at) {
            ("tool-input-available", _) => {
                let (tool, settled) = (text("toolName"), chunk.is_true("providerExecuted"));
                let input = chunk.get("input").unwrap_or("{}");
                let input = (input.len() <= ARGUMENTS_BYTES).then(|| input.to_owned());
                read.tool(tool.clone());
                self.calls.push(Pending { id, tool, input, settled, ..Pending::default() });
                if limits::INTERACTIONS < self.calls.len() {
                    self.calls.remove(0);
                    self.marked = self.marked.saturating_sub(1);
                }
            }
            ("tool-approval-request", Some(at)) if !chunk.is_true("isAutomatic") => {
                self.calls[at].approval = chunk.text("approvalId");
                self.calls[at].settled = false;
            }
            ("tool-output-available", at) if chunk.is_true("preliminary") => _ = at,
            ("tool-output-available" | "tool-output-error" | "tool-output-denied", at) => {
                read.thinking();
                if let Some(at) = at {
                    (self.calls[at].settled, self.calls[at].input) = (true, None);
                }
            }
            ("tool-approval-response", _) => {
                let id = chunk.text("approvalId");
                let pending = self.calls.iter_mut().find(|call| call.approval == id);
                if let Some(call) = pending {
                    call.settled = true;
                }
            }
            _ => {}
        }
    }

    /// An answer that ends in calls is gone on with when people have let them, or have made them.
    fn end(&self, word: &str) -> End {
        let end = reason::end(word);
        if matches!(end, End::Fail { .. }) {
            return end;
        }
        // The last call of an answer that was cut may be cut too, and one that reports that it is at its end waits
        // for no call of a client.
        let waits = word != "stop" && end != End::Complete { reason: "length".into() };
        let open = self.calls.iter().filter(|call| !call.settled);
        let pending = open.filter(|call| call.approval.is_some() || waits).map(Pending::question);
        let pending: Vec<_> = pending.collect();
        if pending.is_empty() { end } else { End::Ask(pending) }
    }
}

impl Pending {
    fn question(&self) -> Question {
        let tool =
            Json::object([("id", self.id.as_str().into()), ("name", self.tool.as_str().into())]);
        let tool = match &self.input {
            Some(input) => tool.with("arguments", Json::raw(input)),
            None => tool.with("cut", true),
        };
        let text = Json::object([("tool", tool)]).to_string();
        let (id, kind) = match &self.approval {
            Some(approval) => (approval, "approval"),
            None => (&self.id, "client_tool"),
        };
        Question { id: id.clone(), kind, question: question(Format::JSON, text) }
    }
}
