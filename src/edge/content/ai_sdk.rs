//! Chunks of the AI SDK's UI message stream, as they stand in the log beside the text.

use super::raw::{self, Object};
use super::{Approval, Call, Conversation, Outcome, Part, Speaks};
use crate::session::Format;

const FORMAT: &str = "ai-sdk/1";

/// The parts of a UI message that a person sent, if it is one: its texts and files, and data as it came.
pub(super) fn message(format: &Format, payload: &[u8]) -> Option<Vec<Part>> {
    if format.as_str() != FORMAT {
        return None;
    }
    let message = str::from_utf8(payload).ok().and_then(Object::parse)?;
    parts(format, &message)
}

/// The messages of a conversation that a person brought along, if this is one: whose each is, and its parts.
pub(super) fn messages(format: &Format, payload: &[u8]) -> Option<Vec<(Speaks, Vec<Part>)>> {
    if format.as_str() != FORMAT {
        return None;
    }
    let whole = str::from_utf8(payload).ok().and_then(Object::parse)?;
    let messages = raw::list(whole.get("messages")?)?;
    let message = |json: &&str| {
        let message = Object::parse(json)?;
        let speaks = match message.text("role")?.as_str() {
            "assistant" => Speaks::Agent,
            _ => Speaks::User,
        };
        Some((speaks, parts(format, &message)?))
    };
    Some(messages.iter().filter_map(message).collect())
}

fn parts(format: &Format, message: &Object<'_>) -> Option<Vec<Part>> {
    let parts = raw::list(message.get("parts")?)?;
    let part = |json: &&str| {
        let part = Object::parse(json)?;
        let text = |name: &str| part.text(name).unwrap_or_default();
        match text("type").as_str() {
            "text" if text("text").trim().is_empty() => None,
            "text" => Some(Part::Text(text("text"))),
            "file" => Some(Part::File { media: text("mediaType"), url: text("url") }),
            _ => Some(Part::Other { format: format.clone(), json: (*json).to_owned() }),
        }
    };
    Some(parts.iter().filter_map(part).collect())
}

impl Conversation {
    /// Takes a chunk.
    pub(super) fn ai_sdk(&mut self, chunk: &Object<'_>, json: &str) {
        let text = |name: &str| chunk.text(name).unwrap_or_default();
        let kind = text("type");
        match kind.as_str() {
            "text-start" | "text-end" => self.border(),
            "start-step" => self.push(Part::Step),
            "reasoning-start" => {
                self.begin_reasoning(FORMAT, &text("id"), chunk.get("providerMetadata"));
            }
            "reasoning-end" => {
                self.reasoning(FORMAT, &text("id"), "", chunk.get("providerMetadata"));
            }
            "reasoning-delta" => {
                let delta = chunk.get("delta").and_then(|delta| self.letters.take(delta));
                let delta = delta.unwrap_or_default();
                self.reasoning(FORMAT, &text("id"), &delta, chunk.get("providerMetadata"));
            }
            _ if kind.starts_with("tool-") => self.ai_sdk_tool(&kind, chunk),
            "file" => self.push(Part::File { media: text("mediaType"), url: text("url") }),
            "source-url" | "source-document" | "custom" | "reasoning-file" => self.other(json),
            _ if kind.starts_with("data-") && kind != "data-omitted" => self.data(chunk, json),
            // Borders of the stream, and what was taken back.
            "start" | "finish" | "finish-step" | "message-metadata" | "error" | "abort"
            | "reset-step" | "data-omitted" => {}
            // What this version knows not.
            _ if self.keeps_all => self.other(json),
            _ => {}
        }
    }

    fn ai_sdk_tool(&mut self, kind: &str, chunk: &Object<'_>) {
        let text = |name: &str| chunk.text(name).unwrap_or_default();
        let id = text("toolCallId");
        match kind {
            "tool-input-start" | "tool-input-available" | "tool-input-error" => {
                let call = self.begin_call(&id, chunk.text("toolName"));
                match (kind, chunk.get("input")) {
                    ("tool-input-start", input) => call.begin_arguments(input.unwrap_or_default()),
                    (_, Some(input)) => call.end_arguments(input),
                    (_, None) => {}
                }
                call.dynamic |= chunk.is_true("dynamic");
                call.by_provider |= chunk.is_true("providerExecuted");
                call.extra = chunk.get("providerMetadata").map(str::to_owned).or(call.extra.take());
                if kind == "tool-input-error" {
                    call.result = Outcome::Failed(text("errorText"));
                }
            }
            "tool-input-delta" => {
                let delta = chunk.get("inputTextDelta").and_then(|text| self.letters.take(text));
                if let Some(call) = self.call_here(&id) {
                    call.arguments.push_str(&delta.unwrap_or_default());
                }
            }
            "tool-approval-request" if !chunk.is_true("isAutomatic") => {
                if let Some(call) = self.call_here(&id) {
                    call.approval = Some(Approval { id: text("approvalId"), answer: None });
                }
            }
            _ => {
                let Some(call) = self.called(&id) else {
                    let mut call = Call::default();
                    call.come_to(kind, chunk);
                    return self.stray(id, call.result);
                };
                call.come_to(kind, chunk);
            }
        }
    }

    fn other(&mut self, json: &str) {
        let format = Format::parse(FORMAT).expect("the names of dialects are formats");
        self.push(Part::Other { format, json: json.to_owned() });
    }

    /// One of the same type and id takes the place of the one before.
    fn data(&mut self, chunk: &Object<'_>, json: &str) {
        if chunk.is_true("transient") {
            return;
        }
        let Some(key) = chunk.text("type").zip(chunk.text("id")) else { return self.other(json) };
        let entry = self.entry();
        let place = *entry.data.entry(key).or_insert(entry.parts.len());
        match entry.parts.get_mut(place) {
            Some(Part::Other { json: before, .. }) => json.clone_into(before),
            _ => self.other(json),
        }
    }
}

impl Call {
    fn come_to(&mut self, kind: &str, chunk: &Object<'_>) {
        match kind {
            "tool-output-available" => {
                self.result = Outcome::Output(chunk.get("output").unwrap_or("null").to_owned());
            }
            "tool-output-error" => {
                self.result = Outcome::Failed(chunk.text("errorText").unwrap_or_default());
            }
            "tool-output-denied" => self.result = Outcome::Denied,
            _ => {}
        }
    }
}
