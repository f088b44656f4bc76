//! What a transport of the AI SDK sends: all messages of the chat, of which the last one counts, since the session
//! has the others.

use super::super::super::content::raw::{Json, Object};
use super::super::super::error::Problem;
use super::super::client_message::{self, MessagePart, bad};
use crate::session::{NewEvent, WhenBusy};

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The chat.
    pub(super) id: String,
    pub(super) trigger: Trigger,
    /// The person's message that the last one takes the place of, where it names one.
    pub(super) edits: Option<String>,
    pub(super) when_busy: Option<WhenBusy>,
    pub(super) incoming: Incoming,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Submit,
    /// Another answer is wanted, in place of this one where it is named.
    Regenerate(Option<String>),
}

/// The content of the last message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Incoming {
    /// A message of a person.
    Message { id: String, sent_content: NewEvent },
    /// The questions of the agent are in this message, and these are the answers, by the names of the questions.
    Answers { message: String, answers: Vec<(String, NewEvent)> },
}

/// Parses a body.
///
/// # Errors
/// It is not what a transport sends, or its last message has no content.
pub(super) fn parse(body: &[u8]) -> Result<Request, Problem> {
    let body = str::from_utf8(body).ok().and_then(Object::parse);
    let body = body.ok_or_else(|| bad("the body is a JSON object"))?;
    let id = body.text("id").ok_or_else(|| bad("id is the chat's name"))?;
    let trigger = match body.text("trigger").as_deref() {
        None | Some("submit-message") => Trigger::Submit,
        Some("regenerate-message") => Trigger::Regenerate(body.text("messageId")),
        Some(_) => return Err(bad("trigger is submit-message or regenerate-message")),
    };
    // A WebSocket's frame has what the application adds in a member of its own.
    let when_busy = body.text("whenBusy").or_else(|| body.object("body").text("whenBusy"));
    let when_busy = match when_busy.as_deref() {
        None => None,
        Some("queue") => Some(WhenBusy::Queue),
        Some("interrupt") => Some(WhenBusy::Interrupt),
        Some("reject") => Some(WhenBusy::Reject),
        Some(_) => return Err(bad("whenBusy is queue, interrupt or reject")),
    };
    let messages = body.list("messages");
    let last = messages.last().and_then(|last| Object::parse(last));
    let last = last.ok_or_else(|| bad("messages are the chat's, and there is a last one"))?;
    let message = last.text("id").ok_or_else(|| bad("a message has an id"))?;
    let incoming = match last.text("role").as_deref() {
        Some("user") => Incoming::Message { sent_content: sent_content(&last)?, id: message },
        Some("assistant") => {
            let answers: Vec<_> = last.objects("parts").iter().filter_map(answered).collect();
            if answers.is_empty() {
                return Err(bad("the last message is the agent's, and answers nothing"));
            }
            Incoming::Answers { message, answers }
        }
        _ => return Err(bad("the last message is a user's or an assistant's")),
    };
    // A user's message is the one that is wanted another answer to, where it is named itself.
    let trigger = match (trigger, &incoming) {
        (Trigger::Regenerate(Some(named)), Incoming::Message { id, .. }) if named == *id => {
            Trigger::Regenerate(None)
        }
        (trigger, _) => trigger,
    };
    let edits = match &trigger {
        Trigger::Submit => body.text("messageId"),
        Trigger::Regenerate(_) => None,
    };
    Ok(Request { id, trigger, edits, when_busy, incoming })
}

/// The content of a person's message.
fn sent_content(message: &Object<'_>) -> Result<NewEvent, Problem> {
    let part = |json: &str| {
        let part = Object::parse(json).filter(|part| part.text("type").is_some());
        let part = part.ok_or_else(|| bad("a part is an object with a type"))?;
        Ok(match part.text("type").as_deref() {
            Some("text") => MessagePart::Text(part.text("text").unwrap_or_default()),
            _ => MessagePart::Part(Json::raw(json)),
        })
    };
    let parts = message.list("parts").into_iter().map(part);
    client_message::message(parts.collect::<Result<_, Problem>>()?)
}

/// What a part of the agent's message answers, if it does.
fn answered(part: &Object<'_>) -> Option<(String, NewEvent)> {
    let kind = part.text("type")?;
    if !kind.starts_with("tool-") && kind != "dynamic-tool" {
        return None;
    }
    let (name, answer) = match part.text("state")?.as_str() {
        "approval-responded" => {
            let approval = part.object("approval");
            let (approved, reason) = (approval.is_true("approved"), approval.get("reason"));
            (approval.text("id")?, client_message::approval(approved, reason))
        }
        "output-available" => {
            (part.text("toolCallId")?, client_message::answer(part.get("output").unwrap_or("null")))
        }
        "output-error" => {
            let error = part.text("errorText").unwrap_or_default();
            let error = Json::object([("error", error.into())]).to_string();
            (part.text("toolCallId")?, client_message::answer(&error))
        }
        _ => return None,
    };
    Some((name, answer))
}
