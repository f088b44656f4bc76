//! What OpenAI's clients send: the input of a response, or the messages of a chat.

use super::super::super::content::raw::{self, Json, Object};
use super::super::super::error::{self, Problem};
use crate::ids::AgentName;
use crate::limits;
use crate::session::{Format, NewEvent};

/// What the last of an input says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Says {
    Message(NewEvent),
    /// Names of what was asked, and the answers.
    Answers(Vec<(String, NewEvent)>),
}

pub(super) fn body(bytes: &[u8]) -> Result<Object<'_>, Problem> {
    let body = str::from_utf8(bytes).ok().and_then(Object::parse);
    body.ok_or_else(|| bad("the body is a JSON object"))
}

/// The agent that is asked.
pub(super) fn agent(body: &Object<'_>) -> Result<AgentName, Problem> {
    let model = body.text("model").ok_or_else(|| bad("model is the agent's name"))?;
    AgentName::parse(&model).map_err(|why| bad(&format!("model: {why}")))
}

/// The input of a response. `alone`: the session has nothing yet, so all of the input is told, not the last of it.
pub(super) fn input(body: &Object<'_>, alone: bool) -> Result<Says, Problem> {
    let given = body.get("input").ok_or_else(|| bad("input is missing"))?;
    if let Some(text) = raw::string(given) {
        return said(vec![text_part(&text)]).map(Says::Message);
    }
    let items = raw::list(given).ok_or_else(|| bad("input is a text or a list of items"))?;
    let items: Vec<_> = items.into_iter().filter_map(Object::parse).collect();
    let answers: Vec<_> = items.iter().filter_map(answer).collect();
    let last = items.last().ok_or_else(|| bad("input is empty"))?;
    if !answers.is_empty() && answer(last).is_some() {
        return Ok(Says::Answers(answers));
    }
    let messages: Vec<_> = items.iter().filter(|item| is_message(item)).collect();
    messages_of(&messages, alone)
}

/// The messages of a chat, likewise.
pub(super) fn messages(body: &Object<'_>, alone: bool) -> Result<Says, Problem> {
    let messages = body.objects("messages");
    let tools: Vec<_> = messages.iter().rev().map_while(answer).collect();
    if !tools.is_empty() {
        return Ok(Says::Answers(tools));
    }
    messages_of(&messages.iter().collect::<Vec<_>>(), alone)
}

fn is_message(item: &Object<'_>) -> bool {
    matches!(item.text("type").as_deref(), None | Some("message")) && item.text("role").is_some()
}

/// The last message, which is a person's, or all of them where the session does not have the others.
fn messages_of(messages: &[&Object<'_>], alone: bool) -> Result<Says, Problem> {
    let last = messages.last().filter(|last| last.text("role").as_deref() == Some("user"));
    let last = last.ok_or_else(|| bad("the last of it is a user's message"))?;
    let is_told = |message: &&&Object<'_>| {
        matches!(message.text("role").as_deref(), Some("user" | "assistant"))
    };
    let told: Vec<_> = messages.iter().filter(is_told).collect();
    if !alone || told.len() == 1 {
        return said(parts(last)).map(Says::Message);
    }
    let message = |message: &&&Object<'_>| {
        let role = message.text("role").unwrap_or_default();
        Json::object([("role", role.into()), ("parts", parts(message).into())])
    };
    let all = told.iter().map(message).collect::<Vec<_>>();
    let whole = Json::object([("messages", all.into())]);
    sized("ai-sdk/1", whole.to_string()).map(Says::Message)
}

/// What was said before a conversation begins, as one event; none where it is nothing.
///
/// # Errors
/// It is more than what people and agents said, or too large.
pub(super) fn brought(items: &[&str]) -> Result<Option<NewEvent>, Problem> {
    let message = |item: &&str| {
        let item = Object::parse(item).filter(is_message);
        let item = item.ok_or_else(|| bad("items are messages"))?;
        let role = item.text("role").unwrap_or_default();
        if !matches!(role.as_str(), "user" | "assistant") {
            return Err(bad("items are messages of users and assistants"));
        }
        Ok(Json::object([("role", role.into()), ("parts", parts(&item).into())]))
    };
    let messages = items.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    if messages.is_empty() {
        return Ok(None);
    }
    sized("ai-sdk/1", Json::object([("messages", messages.into())]).to_string()).map(Some)
}

/// The content of a message, as parts of a UI message.
fn parts(message: &Object<'_>) -> Vec<Json> {
    let Some(content) = message.get("content") else { return Vec::new() };
    if let Some(text) = raw::string(content) {
        return vec![text_part(&text)];
    }
    let parts = raw::list(content).unwrap_or_default();
    parts.into_iter().filter_map(Object::parse).filter_map(|part| self::part(&part)).collect()
}

fn part(part: &Object<'_>) -> Option<Json> {
    match part.text("type")?.as_str() {
        "text" | "input_text" | "output_text" => Some(text_part(&part.text("text")?)),
        "input_image" => file("image/*", part.text("image_url")?),
        "image_url" => file("image/*", part.object("image_url").text("url")?),
        "input_file" => {
            let url = part.text("file_url").or_else(|| part.text("file_data"))?;
            file("application/octet-stream", url)
        }
        "file" => file("application/octet-stream", part.object("file").text("file_data")?),
        _ => None,
    }
}

fn file(media: &str, url: String) -> Option<Json> {
    let named = url.strip_prefix("data:").and_then(|rest| rest.split([';', ',']).next());
    let media = named.filter(|named| named.contains('/')).unwrap_or(media).to_owned();
    let part = Json::object([("type", "file".into()), ("mediaType", media.into())]);
    Some(part.with("url", url))
}

fn text_part(text: &str) -> Json {
    Json::object([("type", "text".into()), ("text", text.into())])
}

/// What a person says: one text is text, all else a UI message.
fn said(parts: Vec<Json>) -> Result<NewEvent, Problem> {
    let text = |part: &Json| Object::parse(&part.to_string()).and_then(|part| part.text("text"));
    let texts: Vec<_> = parts.iter().filter_map(text).collect();
    if texts.len() < parts.len() {
        let whole = Json::object([("role", "user".into()), ("parts", parts.into())]);
        return sized("ai-sdk/1", whole.to_string());
    }
    let text = texts.join("\n\n");
    if text.trim().is_empty() {
        return Err(bad("the last message says nothing"));
    }
    sized("text", text)
}

fn sized(format: &str, payload: String) -> Result<NewEvent, Problem> {
    let (bytes, limit) = (payload.len(), limits::EVENT_BYTES);
    if limit < bytes {
        let detail = format!("what is sent has {bytes} bytes; the limit is {limit}");
        return Err(Problem::new(&error::EVENT_TOO_LARGE, detail));
    }
    let format = Format::parse(format).expect("these are formats");
    Ok(NewEvent { format, payload: payload.into() })
}

/// What an item answers, if it does.
fn answer(item: &Object<'_>) -> Option<(String, NewEvent)> {
    let json = |text: &str| NewEvent { format: Format::JSON, payload: text.to_owned().into() };
    match (item.text("type").as_deref(), item.text("role").as_deref()) {
        (Some("function_call_output"), _) => {
            Some((item.text("call_id")?, json(item.get("output").unwrap_or("null"))))
        }
        (Some("mcp_approval_response"), _) => {
            let approved = Json::object([("approved", item.is_true("approve").into())]);
            let approved = approved.with_some("reason", item.get("reason").map(Json::raw));
            Some((item.text("approval_request_id")?, json(&approved.to_string())))
        }
        (_, Some("tool")) => {
            Some((item.text("tool_call_id")?, json(item.get("content").unwrap_or("null"))))
        }
        _ => None,
    }
}

pub(super) fn bad(detail: &str) -> Problem {
    Problem::new(&error::BAD_JSON, detail)
}
