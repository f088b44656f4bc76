//! What OpenAI's clients send: the input of a response, or the messages of a chat.

use std::collections::BTreeSet;

use super::super::super::content::raw::{self, Json, Object};
use super::super::super::error::Problem;
use super::super::client_message::{self, Incoming, MessagePart, bad};
use crate::ids::AgentName;
use crate::session::NewEvent;

pub(super) fn body(bytes: &[u8]) -> Result<Object<'_>, Problem> {
    let body = str::from_utf8(bytes).ok().and_then(Object::parse);
    body.ok_or_else(|| bad("the body is a JSON object"))
}

/// The agent that is to answer.
pub(super) fn agent(body: &Object<'_>) -> Result<AgentName, Problem> {
    let model = body.text("model").ok_or_else(|| bad("model is the agent's name"))?;
    AgentName::parse(&model).map_err(|why| bad(&format!("model: {why}")))
}

/// The input of a response. `alone`: the session has nothing yet, so all of the input counts, not the last of it.
pub(super) fn input(body: &Object<'_>, alone: bool) -> Result<Incoming, Problem> {
    let given = body.get("input").ok_or_else(|| bad("input is missing"))?;
    if let Some(text) = raw::string(given) {
        return client_message::message(vec![MessagePart::Text(text)]).map(Incoming::Message);
    }
    let items = raw::list(given).ok_or_else(|| bad("input is a text or a list of items"))?;
    let items: Vec<_> = items.into_iter().filter_map(Object::parse).collect();
    let answers: Vec<_> = items.iter().filter_map(answer).collect();
    let last = items.last().ok_or_else(|| bad("input is empty"))?;
    let messages: Vec<_> = items.iter().filter(|item| is_message(item)).collect();
    // An answer whose call comes along is history, and so is what comes before it.
    let calls: BTreeSet<_> = items.iter().filter_map(call).collect();
    let are_new = answers.iter().any(|(id, _)| !calls.contains(id));
    if !alone && !messages.is_empty() && are_new {
        return Err(bad("answers to calls and a message go in two requests, the answers first"));
    }
    if !answers.is_empty() && answer(last).is_some() {
        return Ok(Incoming::Answers(answers));
    }
    messages_of(&messages, alone)
}

/// The messages of a chat, likewise.
pub(super) fn messages(body: &Object<'_>, alone: bool) -> Result<Incoming, Problem> {
    let messages = body.objects("messages");
    let tools: Vec<_> = messages.iter().rev().map_while(answer).collect();
    if !tools.is_empty() {
        return Ok(Incoming::Answers(tools));
    }
    messages_of(&messages.iter().collect::<Vec<_>>(), alone)
}

/// The id of a call that an agent made, or wants made, by which it is answered.
fn call(item: &Object<'_>) -> Option<String> {
    match item.text("type").as_deref() {
        Some("function_call") => item.text("call_id"),
        Some("mcp_approval_request") => item.text("id"),
        _ => None,
    }
}

fn is_message(item: &Object<'_>) -> bool {
    matches!(item.text("type").as_deref(), None | Some("message")) && item.text("role").is_some()
}

/// The last message, which is a person's, or all of them where the session does not have the others.
fn messages_of(messages: &[&Object<'_>], alone: bool) -> Result<Incoming, Problem> {
    let last = messages.last().filter(|last| last.text("role").as_deref() == Some("user"));
    let last = last.ok_or_else(|| bad("the last of it is a user's message"))?;
    let is_shown = |message: &&&Object<'_>| {
        matches!(message.text("role").as_deref(), Some("user" | "assistant"))
    };
    let shown: Vec<_> = messages.iter().filter(is_shown).collect();
    if !alone || shown.len() == 1 {
        return client_message::message(parts(last)?).map(Incoming::Message);
    }
    let all = shown.into_iter().map(|message| ui(message)).collect::<Result<Vec<_>, _>>()?;
    client_message::ui(Json::object([("messages", all.into())])).map(Incoming::Message)
}

/// What came before a conversation begins, as one event; none where it is nothing.
///
/// # Errors
/// It is more than messages of people and agents, or too large.
pub(super) fn brought(items: &[&str]) -> Result<Option<NewEvent>, Problem> {
    let message = |item: &&str| {
        let item = Object::parse(item).filter(is_message);
        let item = item.ok_or_else(|| bad("items are messages"))?;
        let role = item.text("role").unwrap_or_default();
        if !matches!(role.as_str(), "user" | "assistant") {
            return Err(bad("items are messages of users and assistants"));
        }
        ui(&item)
    };
    let messages = items.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    if messages.is_empty() {
        return Ok(None);
    }
    client_message::ui(Json::object([("messages", messages.into())])).map(Some)
}

/// A message of a conversation that is brought along.
fn ui(message: &Object<'_>) -> Result<Json, Problem> {
    let role = message.text("role").unwrap_or_default();
    let parts = parts(message)?.into_iter().map(MessagePart::into_json).collect::<Vec<_>>();
    Ok(Json::object([("role", role.into()), ("parts", parts.into())]))
}

/// The content of a message.
///
/// # Errors
/// A part is none that is known: left out it would be lost.
pub(in crate::edge) fn parts(message: &Object<'_>) -> Result<Vec<MessagePart>, Problem> {
    let Some(content) = message.get("content") else { return Ok(Vec::new()) };
    if let Some(text) = raw::string(content) {
        return Ok(vec![MessagePart::Text(text)]);
    }
    let parts = raw::list(content).ok_or_else(|| bad("content is a text or a list of parts"))?;
    let part = |json: &str| Object::parse(json).and_then(|part| self::part(&part));
    let parts: Option<Vec<_>> = parts.into_iter().map(part).collect();
    parts.ok_or_else(|| bad("a part of the content is none that is known"))
}

fn part(part: &Object<'_>) -> Option<MessagePart> {
    let file = |url| Some(MessagePart::file("application/octet-stream", url));
    match part.text("type")?.as_str() {
        "text" | "input_text" | "output_text" => Some(MessagePart::Text(part.text("text")?)),
        "refusal" => Some(MessagePart::Text(part.text("refusal")?)),
        "input_image" => Some(MessagePart::file("image/*", part.text("image_url")?)),
        "image_url" => Some(MessagePart::file("image/*", part.object("image_url").text("url")?)),
        "input_file" => file(part.text("file_url").or_else(|| part.text("file_data"))?),
        "file" => file(part.object("file").text("file_data")?),
        "input_audio" => {
            let audio = part.object("input_audio");
            let media = format!("audio/{}", audio.text("format")?);
            Some(MessagePart::file(&media, format!("data:{media};base64,{}", audio.text("data")?)))
        }
        _ => None,
    }
}

/// What an item answers, if it does.
fn answer(item: &Object<'_>) -> Option<(String, NewEvent)> {
    match (item.text("type").as_deref(), item.text("role").as_deref()) {
        (Some("function_call_output"), _) => Some((
            item.text("call_id")?,
            client_message::answer(item.get("output").unwrap_or("null")),
        )),
        (Some("mcp_approval_response"), _) => {
            let answer = client_message::approval(item.is_true("approve"), item.get("reason"));
            Some((item.text("approval_request_id")?, answer))
        }
        (_, Some("tool")) => Some((
            item.text("tool_call_id")?,
            client_message::answer(item.get("content").unwrap_or("null")),
        )),
        _ => None,
    }
}
