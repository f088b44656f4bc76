//! The content of a client's request, in no dialect: a person's message, or answers to questions of an agent.

use super::super::content::PARAGRAPH;
use super::super::content::raw::Json;
use super::super::error::{self, Problem};
use crate::limits;
use crate::session::{Format, NewEvent};

/// The content of the last message of a request.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::edge) enum Incoming {
    /// A message of a person.
    Message(NewEvent),
    /// Names of the questions, and the answers.
    Answers(Vec<(String, NewEvent)>),
}

/// A part of a person's message.
#[derive(Clone, Debug)]
pub(in crate::edge) enum MessagePart {
    Text(String),
    /// All else, as a part of a UI message.
    Part(Json),
}

impl MessagePart {
    /// A file; a data URL has its own type.
    pub(in crate::edge) fn file(media: &str, url: String) -> MessagePart {
        let named = url.strip_prefix("data:").and_then(|rest| rest.split([';', ',']).next());
        let media = named.filter(|named| named.contains('/')).unwrap_or(media).to_owned();
        let part = Json::object([("type", "file".into()), ("mediaType", media.into())]);
        MessagePart::Part(part.with("url", url))
    }

    /// It as a part of a UI message.
    pub(in crate::edge) fn into_json(self) -> Json {
        match self {
            MessagePart::Text(text) => {
                Json::object([("type", "text".into()), ("text", text.into())])
            }
            MessagePart::Part(part) => part,
        }
    }
}

/// The content of a person's message: text alone is text, all else stays a UI message.
///
/// # Errors
/// It is nothing, or too large.
pub(in crate::edge) fn message(parts: Vec<MessagePart>) -> Result<NewEvent, Problem> {
    let is_text = parts.iter().all(|part| matches!(part, MessagePart::Text(_)));
    let is_blank =
        |part: &MessagePart| matches!(part, MessagePart::Text(text) if text.trim().is_empty());
    let parts: Vec<_> = parts.into_iter().filter(|part| !is_blank(part)).collect();
    if parts.is_empty() {
        return Err(bad("the last message says nothing"));
    }
    if is_text {
        let text = |part| match part {
            MessagePart::Text(text) => Some(text),
            MessagePart::Part(_) => None,
        };
        let texts: Vec<_> = parts.into_iter().filter_map(text).collect();
        return sized(&Format::TEXT, texts.join(PARAGRAPH));
    }
    let parts = parts.into_iter().map(MessagePart::into_json).collect::<Vec<_>>();
    ui(Json::object([("role", "user".into()), ("parts", parts.into())]))
}

/// A UI message, or a conversation of them.
///
/// # Errors
/// It is too large.
pub(in crate::edge) fn ui(message: Json) -> Result<NewEvent, Problem> {
    let format = Format::parse("ai-sdk/1").expect("the name of a dialect is a format");
    sized(&format, message.to_string())
}

fn sized(format: &Format, payload: String) -> Result<NewEvent, Problem> {
    let (bytes, limit) = (payload.len(), limits::EVENT_BYTES);
    if limit < bytes {
        let detail = format!("what is sent has {bytes} bytes; the limit is {limit}");
        return Err(Problem::new(&error::EVENT_TOO_LARGE, detail));
    }
    Ok(NewEvent { format: format.clone(), payload: payload.into() })
}

/// An answer, as JSON.
pub(in crate::edge) fn answer(json: &str) -> NewEvent {
    NewEvent { format: Format::JSON, payload: json.to_owned().into() }
}

/// An answer to whether something may be done. `reason` is JSON.
pub(in crate::edge) fn approval(approved: bool, reason: Option<&str>) -> NewEvent {
    let sent_content = Json::object([("approved", approved.into())]);
    answer(&sent_content.with_some("reason", reason.map(Json::raw)).to_string())
}

pub(in crate::edge) fn bad(detail: &str) -> Problem {
    Problem::new(&error::BAD_JSON, detail)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_a_person_says_is_text_where_it_is_nothing_else() {
        let text = |text: &str| MessagePart::Text(text.to_owned());
        let file = || MessagePart::file("image/*", "data:image/png;base64,AA==".into());
        let mut rendered = String::new();
        for parts in [
            vec![text("a"), text(" "), text("b")],
            vec![text(""), file(), text("What is it?")],
            vec![file()],
            vec![MessagePart::file("audio/wav", "https://h/a".into())],
            vec![text(" \n")],
            vec![],
            vec![text(&"x".repeat(limits::EVENT_BYTES + 1))],
        ] {
            rendered += &match message(parts) {
                Ok(NewEvent { format, payload }) => {
                    format!("{}: {}\n", format.as_str(), String::from_utf8_lossy(&payload))
                }
                Err(why) => format!("{}\n", why.kind().code),
            };
        }
        expect![[r#"
            text: a

            b
            ai-sdk/1: {"role":"user","parts":[{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AA=="},{"type":"text","text":"What is it?"}]}
            ai-sdk/1: {"role":"user","parts":[{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AA=="}]}
            ai-sdk/1: {"role":"user","parts":[{"type":"file","mediaType":"audio/wav","url":"https://h/a"}]}
            bad_json
            bad_json
            event_too_large
        "#]].assert_eq(&rendered);
    }
}
