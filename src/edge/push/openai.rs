//! Chat completions, as OpenAI and what is compatible with it serve them: messages in, chunks out.

use super::super::content::raw::{Json, Object};
use super::super::content::{Call, Entry, PARAGRAPH, Part};
use super::answer::Read;
use super::{Request, reason};

/// One message of a request, before it is put into its form.
#[derive(Default)]
struct Message {
    role: &'static str,
    texts: Vec<String>,
    files: Vec<Json>,
    calls: Vec<Json>,
    results: Vec<Json>,
    /// Calls of another step follow.
    closed: bool,
}

pub(super) fn body(request: &Request<'_>) -> Json {
    let mut messages: Vec<Message> = Vec::new();
    for entry in &request.conversation.entries {
        messages_of(entry, &mut messages);
    }
    let messages = messages.into_iter().flat_map(Message::into_json).collect::<Vec<_>>();
    let body = Json::object([("messages", messages.into()), ("stream", true.into())]);
    body.with_some("model", request.model.map(Json::from))
}

/// Many servers refuse two messages of one role after each other, so neighbours are one.
fn messages_of(entry: &Entry, all: &mut Vec<Message>) {
    let role = if entry.is_agent() { "assistant" } else { "user" };
    for part in &entry.parts {
        if let (Part::Step, Some(last)) = (part, all.last_mut()) {
            last.closed = !last.results.is_empty();
        }
        if !is_rendered(part, entry) {
            continue;
        }
        // What comes after the results of tools is another message.
        let is_call = matches!(part, Part::Call(_));
        let goes_on = |last: &Message| {
            last.role == role && !last.closed && (is_call || last.results.is_empty())
        };
        if !all.last().is_some_and(goes_on) {
            all.push(Message { role, ..Message::default() });
        }
        let message = all.last_mut().expect("it is there by now");
        match part {
            Part::Text(text) => message.texts.push(text.clone()),
            Part::File { media, url } => message.files.push(file(media, url)),
            Part::Call(call) => {
                message.calls.push(call_of(call));
                message.results.push(result_of(call));
            }
            _ => {}
        }
    }
}

/// Whether chat completions have something for it. Files are of users alone there.
fn is_rendered(part: &Part, entry: &Entry) -> bool {
    match part {
        Part::Text(text) => !text.is_empty(),
        Part::File { .. } => !entry.is_agent(),
        Part::Call(call) => call.is_whole(),
        _ => false,
    }
}

fn call_of(call: &Call) -> Json {
    let function = [("name", call.tool.as_str().into()), ("arguments", call.arguments().into())];
    Json::object([
        ("id", call.id.as_str().into()),
        ("type", "function".into()),
        ("function", Json::object(function)),
    ])
}

fn result_of(call: &Call) -> Json {
    Json::object([
        ("role", "tool".into()),
        ("tool_call_id", call.id.as_str().into()),
        ("content", call.result_text().into()),
    ])
}

fn file(media: &str, url: &str) -> Json {
    if media.starts_with("image/") {
        let image = Json::object([("url", url.into())]);
        return Json::object([("type", "image_url".into()), ("image_url", image)]);
    }
    let kind = media.split_once('/').map_or("bin", |(_, kind)| kind);
    let name = format!("file.{kind}");
    let file = Json::object([("filename", name.into()), ("file_data", url.into())]);
    Json::object([("type", "file".into()), ("file", file)])
}

impl Message {
    fn into_json(self) -> Vec<Json> {
        let text = self.texts.join(PARAGRAPH);
        let content = match (self.files.is_empty(), text.is_empty()) {
            (true, true) => Json::Null,
            (true, false) => text.into(),
            (false, _) => {
                let text = Json::object([("type", "text".into()), ("text", text.clone().into())]);
                let texts = (!self.texts.is_empty()).then_some(text);
                texts.into_iter().chain(self.files).collect::<Vec<_>>().into()
            }
        };
        let message = Json::object([("role", self.role.into()), ("content", content)]);
        let calls = (!self.calls.is_empty()).then_some(self.calls.into());
        let message = message.with_some("tool_calls", calls);
        [message].into_iter().chain(self.results).collect()
    }
}

/// Takes a chunk.
pub(super) fn take(chunk: &Object<'_>, data: &str, read: &mut Read) {
    // Some servers have the field in each chunk.
    if let Some(error) = chunk.get("error").filter(|error| !matches!(*error, "false" | r#""""#)) {
        let words = reason::of(error);
        return read.fail(words);
    }
    if chunk.text("object").as_deref() == Some("error") {
        return read.fail(reason::of(data));
    }
    // One is requested; others that come have another index.
    let choices = chunk.objects("choices");
    let choice = choices.iter().find(|choice| choice.number("index").unwrap_or(0) == 0);
    let delta = choice.map(delta_of).unwrap_or_default();
    if let Some(text) = choice.and_then(|choice| choice.get("text")) {
        read.text(None, text);
    }
    match delta.get("content") {
        Some(parts) if parts.starts_with('[') => {
            for part in delta.objects("content") {
                if part.text("type").as_deref() == Some("text")
                    && let Some(text) = part.get("text")
                {
                    read.text(None, text);
                }
            }
        }
        Some(text) => read.text(None, text),
        None => {}
    }
    // Some servers have it empty until the end.
    let finish = choice.and_then(|choice| choice.text("finish_reason"));
    let finish = finish.filter(|word| !word.is_empty());
    // Of a server that counts all the time, the last count is the one.
    let ends = finish.is_some() || choice.is_none() && has_usage(chunk);
    if says_more(&delta) || ends {
        read.whole(data);
    }
    if goes_on(&delta) {
        read.go_on();
    }
    if let Some(word) = finish {
        read.finish_by(&word, reason::end(&word));
    }
}

/// The content of a choice: the next piece of it, or all of it at once, as servers send it that do not stream.
pub(in crate::edge) fn delta_of<'a>(choice: &Object<'a>) -> Object<'a> {
    let whole = choice.get("delta").is_none() && choice.get("message").is_some();
    choice.object(if whole { "message" } else { "delta" })
}

/// What the answer cost comes in a chunk of its own, or in the last one.
fn has_usage(chunk: &Object<'_>) -> bool {
    chunk.object("usage").members().next().is_some()
}

/// Whether a delta is of an answer that is not over, whatever it had of its end before. Text is one by itself.
fn goes_on(delta: &Object<'_>) -> bool {
    let more = ["reasoning_content", "reasoning", "refusal", "tool_calls"];
    more.iter().filter_map(|name| delta.get(name)).any(|value| !matches!(value, r#""""# | "[]"))
}

/// Whether a delta has something beside text: tool calls, reasoning, a refusal, other parts.
fn says_more(delta: &Object<'_>) -> bool {
    delta.members().any(|(name, value)| match name {
        "role" => false,
        "content" => {
            let parts = delta.objects("content");
            parts.iter().any(|part| part.text("type").as_deref() != Some("text"))
        }
        _ => !matches!(value, "null" | r#""""# | "[]"),
    })
}
