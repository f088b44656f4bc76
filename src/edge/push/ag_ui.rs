//! AG-UI endpoints: `RunAgentInput` in, events out (AG-UI 1.0).

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::super::attached::questions::Reply;
use super::super::content::raw::{self, Json, Letters, Object};
use super::super::content::{Ask, Call, Entry, Outcome, PARAGRAPH, Part, as_json};
use super::super::interactions::{edited_arguments, is_dismissal, is_schema};
use super::answer::{ARGUMENTS_BYTES, End, Question, Read, question};
use super::{Request, reason, some};
use crate::limits;
use crate::session::Format;

const FORMAT: &str = "ag-ui/1";

/// How many messages of one answer are kept apart.
const MESSAGES: usize = 1024;

pub(super) fn body(request: &Request<'_>) -> Json {
    let mut messages = Vec::new();
    for entry in &request.conversation.entries {
        match entry.is_agent() {
            true => Rendered::of(entry, &mut messages),
            false => messages.push(user(entry)),
        }
    }
    // Each run has a name of its own; one that goes on after answers names the one before.
    let run = |times: u32| match times {
        0 => request.turn.to_owned(),
        times => format!("{}:{times}", request.turn),
    };
    let resume: Vec<_> = request.conversation.asks.iter().map(resumed).collect();
    let input = Json::object([
        ("threadId", request.session.into()),
        ("runId", run(request.waited.unwrap_or(0)).into()),
        ("messages", messages.into()),
        ("tools", Json::List(Vec::new())),
        ("context", Json::List(Vec::new())),
        ("state", Json::Object(Vec::new())),
        ("forwardedProps", Json::Object(Vec::new()).with_some("inDoubt", some(&request.in_doubt))),
    ]);
    let parent = request.waited.map(|times| run(times - 1).into());
    let resume = request.waited.filter(|_| !resume.is_empty()).map(|_| resume.into());
    input.with_some("parentRunId", parent).with_some("resume", resume)
}

/// Each question of the run before is answered exactly once.
fn resumed(ask: &Ask) -> Json {
    let of = |status: &str| {
        Json::object([("interruptId", ask.id.as_str().into()), ("status", status.into())])
    };
    match &ask.reply {
        Reply::Answered { format, payload } if is_dismissal(format, payload) => of("cancelled"),
        Reply::Answered { format, payload } => {
            of("resolved").with("payload", payload_of(format, payload))
        }
        Reply::Open | Reply::Expired | Reply::Withdrawn => of("cancelled"),
    }
}

/// An answer as it is, and other arguments under the name that the dialect has for them, too.
fn payload_of(format: &Format, payload: &[u8]) -> Json {
    let whole = as_json(format, payload);
    let text = whole.to_string();
    let edited = edited_arguments(&text);
    let is_named = Object::parse(&text).is_some_and(|answer| answer.get("editedArgs").is_some());
    match (edited, text.trim_end().strip_suffix('}')) {
        (Some(edited), Some(members)) if !is_named => {
            Json::raw(&format!("{members},\"editedArgs\":{edited}}}"))
        }
        _ => whole,
    }
}

fn message(id: String, role: &str) -> Json {
    Json::object([("id", id.into()), ("role", role.into())])
}

fn user(entry: &Entry) -> Json {
    let message = message(format!("m{}", entry.from.0), "user");
    if let [Part::Text(text)] = &entry.parts[..] {
        return message.with("content", text.as_str());
    }
    let parts = entry.parts.iter().filter_map(|part| match part {
        Part::Text(text) => {
            Some(Json::object([("type", "text".into()), ("text", text.as_str().into())]))
        }
        Part::File { media, url } => Some(file(media, url)),
        _ => None,
    });
    message.with("content", parts.collect::<Vec<_>>())
}

fn file(media: &str, url: &str) -> Json {
    let kind = media.split('/').next().filter(|kind| ["image", "audio", "video"].contains(kind));
    let kind = kind.unwrap_or("document");
    let inline = url.split_once(";base64,").filter(|_| url.starts_with("data:"));
    let (of, value) = inline.map_or(("url", url), |(_, data)| ("data", data));
    let source =
        Json::object([("type", of.into()), ("value", value.into()), ("mimeType", media.into())]);
    Json::object([("type", kind.into()), ("source", source)])
}

/// The messages that one entry of an agent is: what comes after the results of tools is another one.
struct Rendered<'a> {
    from: u64,
    /// Messages of the entry so far.
    count: usize,
    texts: Vec<&'a str>,
    calls: Vec<&'a Call>,
}

impl<'a> Rendered<'a> {
    fn of(entry: &'a Entry, out: &mut Vec<Json>) {
        let (texts, calls) = (Vec::new(), Vec::new());
        let mut rendered = Rendered { from: entry.from.0, count: 0, texts, calls };
        for part in &entry.parts {
            match part {
                Part::Text(text) if text.is_empty() => {}
                Part::Text(text) => {
                    if !rendered.calls.is_empty() {
                        rendered.close(out);
                    }
                    rendered.texts.push(text);
                }
                Part::Call(call) if call.is_whole() => rendered.calls.push(call),
                Part::Step if !rendered.calls.is_empty() => rendered.close(out),
                // An endpoint that never sent any may not know its role.
                Part::Reasoning { text, extra, format, .. } if format.as_str() == FORMAT => {
                    rendered.close(out);
                    let id = rendered.next_id();
                    let thought = message(id, "reasoning").with("content", text.as_str());
                    out.push(thought.with_some("encryptedValue", extra.as_deref().map(Json::raw)));
                }
                _ => {}
            }
        }
        rendered.close(out);
    }

    fn next_id(&mut self) -> String {
        self.count += 1;
        match self.count {
            1 => format!("m{}", self.from),
            more => format!("m{}.{more}", self.from),
        }
    }

    fn close(&mut self, out: &mut Vec<Json>) {
        let (texts, calls) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.calls));
        if texts.is_empty() && calls.is_empty() {
            return;
        }
        let content = (!texts.is_empty()).then(|| texts.join(PARAGRAPH).into());
        let made =
            (!calls.is_empty()).then(|| calls.iter().map(|call| made(call)).collect::<Vec<_>>());
        let output = message(self.next_id(), "assistant").with_some("content", content);
        out.push(output.with_some("toolCalls", made.map(Json::from)));
        out.extend(calls.into_iter().filter_map(result));
    }
}

fn made(call: &Call) -> Json {
    let function =
        [("name", call.tool.as_str().into()), ("arguments", call.arguments_of_agent().into())];
    Json::object([
        ("id", call.id.as_str().into()),
        ("type", "function".into()),
        ("function", Json::object(function)),
    ])
}

/// A call that is still open has none: the run that goes on knows.
fn result(call: &Call) -> Option<Json> {
    if call.result == Outcome::Open {
        return None;
    }
    let result = message(format!("{}.result", call.id), "tool");
    let result = result.with("toolCallId", call.id.as_str());
    let text = call.result_text();
    let failed = matches!(call.result, Outcome::Failed(_) | Outcome::Denied);
    let error = failed.then(|| Json::from(text.as_str()));
    Some(result.with("content", text).with_some("error", error))
}

/// What has been read of an answer.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Messages whose text came, by the hash of their id.
    shown: HashSet<u64>,
    hasher: RandomState,
    /// The last snapshot of the messages.
    snapshot: String,
    /// The newest calls of tools.
    calls: Vec<Called>,
    /// The last call that a chunk of its own was of.
    chunked: Option<String>,
    /// What the answer goes on after: the id of its message, and its texts.
    before: Option<(String, Vec<String>)>,
}

#[derive(Debug, Default)]
struct Called {
    id: String,
    tool: String,
    arguments: String,
    /// Some of the arguments is not here, because they are too large.
    cut: bool,
    letters: Letters,
}

impl State {
    /// An answer to a request that ends in the agent's own output goes on after that.
    pub(super) fn new(request: &Request<'_>) -> State {
        let last = request.conversation.entries.last().filter(|last| last.is_agent());
        let texts = |entry: &Entry| {
            let texts = entry.parts.iter().filter_map(|part| match part {
                Part::Text(text) => Some(text.clone()),
                _ => None,
            });
            texts.collect()
        };
        let before = last.map(|last| (format!("m{}", last.from.0), texts(last)));
        State { before, ..State::default() }
    }

    /// Takes an event.
    pub(super) fn take(&mut self, event: &Object<'_>, data: &str, read: &mut Read) {
        let Some(kind) = event.text("type") else {
            return read.fail("the endpoint sent an event without a type".into());
        };
        let mut begun = None;
        match kind.as_str() {
            "TEXT_MESSAGE_CONTENT" | "TEXT_MESSAGE_CHUNK" => {
                let message = event.text("messageId");
                if let Some(message) = message.as_ref().filter(|_| self.shown.len() < MESSAGES) {
                    self.shown.insert(self.hasher.hash_one(message));
                }
                if let Some(delta) = event.get("delta") {
                    read.text(message, delta);
                }
                return;
            }
            "TEXT_MESSAGE_START" => read.border(),
            "RUN_STARTED" | "REASONING_MESSAGE_CONTENT" | "REASONING_MESSAGE_CHUNK" => read.go_on(),
            "RUN_FINISHED" => self.tell_snapshot(read),
            "TOOL_CALL_START" | "TOOL_CALL_ARGS" | "TOOL_CALL_CHUNK" => {
                read.go_on();
                begun = self.call(&kind, event);
            }
            "MESSAGES_SNAPSHOT" => data.clone_into(&mut self.snapshot),
            _ => {}
        }
        read.whole(data);
        match kind.as_str() {
            "RUN_ERROR" => read.fail(reason::of(event.get("message").unwrap_or_default())),
            "RUN_FINISHED" => self.finish(event, read),
            "TOOL_CALL_RESULT" => read.thinking(),
            _ => {}
        }
        if let Some(tool) = begun {
            read.tool(tool);
        }
    }

    /// Takes what stands in the last snapshot alone: the agent's output after the last input of a person, in messages
    /// whose text did not come by itself.
    fn tell_snapshot(&mut self, read: &mut Read) {
        let snapshot = std::mem::take(&mut self.snapshot);
        let Some(snapshot) = Object::parse(&snapshot) else { return };
        let messages = snapshot.objects("messages");
        let role = |message: &Object<'_>| message.text("role").unwrap_or_default();
        let new = messages.rsplit(|message| role(message) == "user").next().unwrap_or_default();
        for message in new.iter().filter(|message| role(message) == "assistant") {
            let id = message.text("id").unwrap_or_default();
            let text = message.get("content").and_then(raw::string).unwrap_or_default();
            let hash = self.hasher.hash_one(&id);
            if !self.shown.contains(&hash) && !self.is_before(&id, &text) {
                read.border();
                read.letters_of_text(text);
            }
            self.shown.insert(hash);
        }
    }

    /// Whether a message is one that the answer goes on after.
    fn is_before(&self, id: &str, text: &str) -> bool {
        self.before.as_ref().is_some_and(|(own, texts)| {
            let ours = id.strip_prefix(own.as_str());
            let ours = ours.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            ours || texts.iter().any(|before| before == text)
        })
    }

    /// Takes an event of a call; the call's tool where it begins.
    fn call(&mut self, kind: &str, event: &Object<'_>) -> Option<String> {
        let given = event.text("toolCallId");
        let begins = match kind {
            "TOOL_CALL_START" => true,
            "TOOL_CALL_CHUNK" => given.is_some() && given != self.chunked,
            _ => false,
        };
        if kind == "TOOL_CALL_CHUNK" && given.is_some() {
            self.chunked.clone_from(&given);
        }
        let id = given.or_else(|| self.chunked.clone())?;
        let tool = begins.then(|| event.text("toolCallName").unwrap_or_default());
        if let Some(tool) = tool.clone() {
            self.calls.push(Called { id: id.clone(), tool, ..Called::default() });
            if limits::INTERACTIONS < self.calls.len() {
                self.calls.remove(0);
            }
        }
        if let Some(called) = self.calls.iter_mut().rfind(|called| called.id == id)
            && let Some(delta) = event.get("delta")
        {
            let delta = called.letters.take(delta).unwrap_or_default();
            called.cut |= ARGUMENTS_BYTES < called.arguments.len() + delta.len();
            match called.cut {
                true => called.arguments = String::new(),
                false => called.arguments.push_str(&delta),
            }
        }
        tool
    }

    /// Success, unless it reports that it is not: people are to answer, or it was stopped.
    fn finish(&self, event: &Object<'_>, read: &mut Read) {
        let outcome = event.object("outcome");
        let kind = outcome.text("type").or_else(|| event.text("outcome")).unwrap_or_default();
        if kind == "cancelled" {
            return read.fail("the endpoint cancelled its run".into());
        }
        if kind == "error" {
            return read.fail(reason::of(event.get("outcome").unwrap_or_default()));
        }
        if kind == "interrupt" {
            let interrupts = outcome.objects("interrupts");
            let questions = interrupts.iter().filter_map(|interrupt| self.question(interrupt));
            let questions: Vec<_> = questions.collect();
            return match questions.is_empty() {
                true => read.fail("the endpoint stopped for people without a question".into()),
                false => read.finish(End::Ask(questions)),
            };
        }
        // Calls that are the client's to make: their results go back as messages.
        let pending = outcome.list("pendingToolCallIds");
        let pending: Vec<_> = pending.into_iter().filter_map(raw::string).collect();
        if !pending.is_empty() {
            let questions = pending.into_iter().map(|id| {
                let tool = Json::object([("tool", self.tool(&id))]).to_string();
                Question { id, kind: "client_tool", question: question(Format::JSON, tool) }
            });
            return read.finish(End::Ask(questions.collect()));
        }
        let word = event.text("finishReason").unwrap_or_default();
        read.finish_by(&word, reason::end(&word));
    }

    fn question(&self, interrupt: &Object<'_>) -> Option<Question> {
        let schema = interrupt.get("responseSchema");
        let kind = match interrupt.text("reason").unwrap_or_default().as_str() {
            "tool_call" | "confirmation" => "approval",
            "tanstack:client_tool_execution" => "client_tool",
            // One that no answer could be judged by is shown, and judged by its agent alone.
            _ if schema.is_some_and(|schema| is_schema(schema).is_ok()) => "form",
            _ => "text",
        };
        let message = interrupt.text("message");
        let tool = interrupt.text("toolCallId").map(|id| self.tool(&id));
        let questions = match (message, schema, tool) {
            (Some(message), None, None) => question(Format::TEXT, message),
            (message, schema, tool) => {
                let questions = Json::Object(Vec::new()).with_some("text", message.map(Json::from));
                let questions = questions.with_some("tool", tool);
                let questions = questions.with_some("schema", schema.map(Json::raw));
                question(Format::JSON, questions.to_string())
            }
        };
        Some(Question { id: interrupt.text("id")?, kind, question: questions })
    }

    fn tool(&self, id: &str) -> Json {
        let tool = Json::object([("id", id.into())]);
        let Some(called) = self.calls.iter().rfind(|called| called.id == id) else { return tool };
        let arguments = match called.arguments.trim() {
            "" => "{}",
            arguments => arguments,
        };
        let tool = tool.with("name", called.tool.as_str());
        match called.cut {
            true => tool.with("cut", true),
            false => tool.with("arguments", Json::raw(arguments)),
        }
    }
}
