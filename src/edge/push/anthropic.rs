//! The Messages API of Anthropic, as it and what is compatible with it serve it: messages of blocks in, events of
//! blocks out. An answer ends with `message_stop`, never with the end of the connection.

use xxhash_rust::xxh3::xxh3_64;

use super::super::content::raw::{Json, Object};
use super::super::content::{Call, Entry, Outcome, Part};
use super::answer::Read;
use super::{Request, reason};
use crate::limits;

const FORMAT: &str = "anthropic/1";

/// The longest id of a call, and the longest name of a tool, in bytes.
const ID_BYTES: usize = 64;
const TOOL_BYTES: usize = 128;

/// Failures of the moment: the same request may be answered the next time.
const PASSING: [&str; 4] = ["overloaded_error", "api_error", "rate_limit_error", "timeout_error"];

/// One message of a request: its blocks.
struct Message {
    role: &'static str,
    blocks: Vec<Json>,
}

pub(super) fn body(request: &Request<'_>) -> Json {
    let mut messages: Vec<Message> = Vec::new();
    for entry in &request.conversation.entries {
        match entry.is_agent() {
            true => assistant(entry, &mut messages),
            false => add(&mut messages, "user", entry.parts.iter().filter_map(tool_use).collect()),
        }
    }
    let message = |message: Message| {
        Json::object([("role", message.role.into()), ("content", message.blocks.into())])
    };
    let messages = messages.into_iter().map(message).collect::<Vec<_>>();
    let max_tokens = request.max_tokens.unwrap_or(limits::MODEL_TOKENS);
    let body = Json::object([("max_tokens", max_tokens.into())]);
    let body = body.with("messages", messages).with("stream", true);
    body.with_some("model", request.model.map(Json::from))
}

/// Roles take turns, so neighbours of one role are one message.
fn add(all: &mut Vec<Message>, role: &'static str, blocks: Vec<Json>) {
    match all.last_mut() {
        _ if blocks.is_empty() => {}
        Some(last) if last.role == role => last.blocks.extend(blocks),
        _ => all.push(Message { role, blocks }),
    }
}

/// The output of an agent: each call of a tool has its result in the very next message.
fn assistant(entry: &Entry, all: &mut Vec<Message>) {
    let (mut blocks, mut results) = (Vec::new(), Vec::new());
    for part in &entry.parts {
        let block = match part {
            Part::Call(call) if call.is_whole() && !call.by_provider => {
                results.push(result(call));
                blocks.push(made(call));
                continue;
            }
            Part::Text(text) => (!text.trim().is_empty()).then(|| text_block(text)),
            Part::Reasoning { text, extra, format, .. } if format.as_str() == FORMAT => {
                thought(text, extra.as_deref())
            }
            Part::Step => None,
            _ => continue,
        };
        if !results.is_empty() {
            add(all, "assistant", std::mem::take(&mut blocks));
            add(all, "user", std::mem::take(&mut results));
        }
        blocks.extend(block);
    }
    add(all, "assistant", blocks);
    add(all, "user", results);
}

fn of(kind: &str) -> Json {
    Json::object([("type", kind.into())])
}

fn text_block(text: &str) -> Json {
    of("text").with("text", text)
}

/// Thoughts go back byte for byte, with their signature; without it they would be refused.
fn thought(text: &str, extra: Option<&str>) -> Option<Json> {
    match extra? {
        signature if signature.starts_with('"') => {
            Some(of("thinking").with("thinking", text).with("signature", Json::raw(signature)))
        }
        // What no client may read is a block of its own.
        block => Some(Json::raw(block)),
    }
}

fn made(call: &Call) -> Json {
    let arguments = call.arguments();
    let input = match Object::parse(arguments) {
        Some(_) => Json::raw(arguments),
        None => Json::object([("value", Json::raw(arguments))]),
    };
    let block = of("tool_use").with("id", plain(&call.id, ID_BYTES));
    block.with("name", plain(&call.tool, TOOL_BYTES)).with("input", input)
}

fn result(call: &Call) -> Json {
    let block = of("tool_result").with("tool_use_id", plain(&call.id, ID_BYTES));
    let failed = !matches!(call.result, Outcome::Output(_));
    let block = block.with("content", call.result_text());
    block.with_some("is_error", failed.then(|| true.into()))
}

/// A name of the letters, digits, `_` and `-` that names here have, and no other one's.
fn plain(name: &str, most: usize) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !name.is_empty() && name.len() <= most && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let mark = format!("_{:016x}", xxh3_64(name.as_bytes()));
    let letters = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' });
    letters.take(most - mark.len()).collect::<String>() + &mark
}

/// The input of a person, as a block.
fn tool_use(part: &Part) -> Option<Json> {
    match part {
        Part::Text(text) => (!text.trim().is_empty()).then(|| text_block(text)),
        Part::File { media, url } => Some(file(media, url)),
        _ => None,
    }
}

fn file(media: &str, url: &str) -> Json {
    let kind = if media.starts_with("image/") { "image" } else { "document" };
    let inline = url.split_once(";base64,").filter(|_| url.starts_with("data:"));
    let source = match inline {
        Some((_, data)) => of("base64").with("media_type", media).with("data", data),
        None => of("url").with("url", url),
    };
    of(kind).with("source", source)
}

/// What has been read of an answer.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The block under way is text.
    in_text: bool,
    /// Why the answer stops.
    stop: Option<String>,
}

impl State {
    /// Takes an event.
    pub(super) fn take(&mut self, event: &Object<'_>, data: &str, read: &mut Read) {
        let Some(kind) = event.text("type") else {
            return read.fail("the endpoint sent an event without a type".into());
        };
        match kind.as_str() {
            "ping" => return,
            "content_block_start" => {
                let block = event.object("content_block");
                let is_text = block.text("type").as_deref() == Some("text");
                // What is cited divides one text into blocks.
                if is_text && !self.in_text {
                    read.border();
                }
                self.in_text = is_text;
                if is_text {
                    return read.text(None, block.get("text").unwrap_or(r#""""#));
                }
                read.whole(data);
                if let Some(tool) = block.text("name") {
                    read.tool(tool);
                }
                return;
            }
            "content_block_delta" => {
                let delta = event.object("delta");
                if delta.text("type").as_deref() == Some("text_delta") {
                    return read.text(None, delta.get("text").unwrap_or(r#""""#));
                }
            }
            "content_block_stop" if self.in_text => return,
            "message_delta" => {
                self.stop = event.object("delta").text("stop_reason").or(self.stop.take());
            }
            _ => {}
        }
        read.whole(data);
        match kind.as_str() {
            "message_stop" => read.finish(reason::end(self.stop.as_deref().unwrap_or_default())),
            "error" => failed(event, read),
            _ => {}
        }
    }
}

fn failed(event: &Object<'_>, read: &mut Read) {
    let words = reason::of(event.get("error").unwrap_or_default());
    let kind = event.object("error").text("type").unwrap_or_default();
    match PASSING.contains(&kind.as_str()) {
        true => read.fail_for_now(words),
        false => read.fail(words),
    }
}
