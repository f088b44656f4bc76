//! What clients of AG-UI send: a run's input, with all messages of its thread, of which the last one counts.

use super::super::super::content::raw::{self, Object};
use super::super::super::error::Problem;
use super::super::client_message::{self, Incoming, MessagePart, bad};
use crate::limits;
use crate::session::NewEvent;

pub(super) struct Request {
    pub(super) thread: String,
    pub(super) run: String,
    /// What the client has, where that is not large.
    pub(super) messages: Option<String>,
    pub(super) incoming: Incoming,
}

/// The type of a file without a named type.
const UNKNOWN: &str = "application/octet-stream";

/// Parses a body.
///
/// # Errors
/// It is not what a client sends, or has no content.
pub(super) fn parse(body: &[u8]) -> Result<Request, Problem> {
    let body = str::from_utf8(body).ok().and_then(Object::parse);
    let body = body.ok_or_else(|| bad("the body is a JSON object"))?;
    let thread = body.text("threadId").ok_or_else(|| bad("threadId names the session"))?;
    let run = body.text("runId").ok_or_else(|| bad("runId names the run"))?;
    let messages = body.get("messages").filter(|all| all.len() <= limits::EVENT_BYTES);
    let answers = match body.get("resume") {
        None => Vec::new(),
        Some(all) => raw::list(all)
            .ok_or_else(|| bad("resume is a list"))?
            .into_iter()
            .map(answer)
            .collect::<Result<Vec<_>, _>>()?,
    };
    let incoming = match answers.is_empty() {
        false => Incoming::Answers(answers),
        true => Incoming::Message(sent_content(&body)?),
    };
    Ok(Request { thread, run, messages: messages.map(str::to_owned), incoming })
}

/// What is not understood is no consent.
fn answer(entry: &str) -> Result<(String, NewEvent), Problem> {
    let entry = Object::parse(entry).ok_or_else(|| bad("resume has objects"))?;
    let name = entry.text("interruptId");
    let name = name.ok_or_else(|| bad("interruptId names what is answered"))?;
    let payload = match entry.text("status").as_deref() {
        Some("cancelled") => r#"{"approved":false,"cancelled":true}"#,
        Some("resolved") => entry.get("payload").unwrap_or("null"),
        _ => return Err(bad("the status of an answer is resolved or cancelled")),
    };
    Ok((name, client_message::answer(payload)))
}

/// The content of the last message, which is a user's.
fn sent_content(body: &Object<'_>) -> Result<NewEvent, Problem> {
    let messages = body.list("messages");
    let last = messages.last().and_then(|last| Object::parse(last));
    let last = last.filter(|last| last.text("role").as_deref() == Some("user"));
    let last = last.ok_or_else(|| bad("the last message is a user's"))?;
    let content = last.get("content").ok_or_else(|| bad("a message has content"))?;
    if let Some(text) = raw::string(content) {
        return client_message::message(vec![MessagePart::Text(text)]);
    }
    let parts = raw::list(content).ok_or_else(|| bad("content is a text or a list of parts"))?;
    let part = |json: &str| Object::parse(json).and_then(|part| self::part(&part));
    let parts: Option<Vec<_>> = parts.into_iter().map(part).collect();
    // A part that is left out would be lost.
    client_message::message(
        parts.ok_or_else(|| bad("a part of the content is none that is known"))?,
    )
}

fn part(part: &Object<'_>) -> Option<MessagePart> {
    match part.text("type")?.as_str() {
        "text" => return Some(MessagePart::Text(part.text("text")?)),
        "image" | "audio" | "video" | "document" => {}
        // As older clients send it.
        "binary" => {
            let media = part.text("mimeType").unwrap_or_else(|| UNKNOWN.into());
            let data = part.text("data").map(|data| format!("data:{media};base64,{data}"));
            return Some(MessagePart::file(&media, part.text("url").or(data)?));
        }
        _ => return None,
    }
    let source = part.object("source");
    let media = source.text("mimeType").unwrap_or_else(|| UNKNOWN.into());
    let value = source.text("value")?;
    let url = match source.text("type")?.as_str() {
        "url" => value,
        "data" => format!("data:{media};base64,{value}"),
        _ => return None,
    };
    Some(MessagePart::file(&media, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left out would be lost, and no client would know.
    #[test]
    fn a_part_that_is_not_known_is_refused() {
        let parsed = |content: &str| {
            let body = format!(
                r#"{{"threadId":"t","runId":"r","messages":[{{"role":"user","content":{content}}}]}}"#
            );
            match parse(body.as_bytes()).map(|request| request.incoming) {
                Ok(Incoming::Message(sent_content)) => {
                    String::from_utf8_lossy(&sent_content.payload).into_owned()
                }
                Ok(Incoming::Answers(_)) => "answers".to_owned(),
                Err(why) => why.kind().code.to_owned(),
            }
        };
        let text = r#"{"type":"text","text":"hi"}"#;
        assert_eq!(parsed(&format!("[{text}]")), "hi");
        for part in ["7", "{}", r#"{"type":"later"}"#, r#"{"type":"image","source":{}}"#] {
            assert_eq!(parsed(&format!("[{text},{part}]")), "bad_json", "{part}");
        }
        assert_eq!(parsed("[]"), "bad_json");
        let old = r#"{"type":"binary","mimeType":"image/png","data":"AA=="}"#;
        assert_eq!(
            parsed(&format!("[{old}]")),
            r#"{"role":"user","parts":[{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AA=="}]}"#
        );
    }

    #[test]
    fn an_answer_that_is_not_understood_is_refused() {
        let parsed = |resume: &str| {
            let body = format!(
                r#"{{"threadId":"t","runId":"r","resume":{resume},"messages":[{{"role":"user","content":"hi"}}]}}"#
            );
            match parse(body.as_bytes()).map(|request| request.incoming) {
                Ok(Incoming::Answers(answers)) => {
                    let payload =
                        |(_, sent_content): &(String, NewEvent)| sent_content.payload.clone();
                    answers
                        .iter()
                        .map(payload)
                        .map(|one| String::from_utf8_lossy(&one).into())
                        .collect()
                }
                Ok(Incoming::Message(_)) => vec!["message".to_owned()],
                Err(why) => vec![why.kind().code.to_owned()],
            }
        };
        let one = |rest: &str| parsed(&format!(r#"[{{"interruptId":"a"{rest}}}]"#));
        assert_eq!(one(r#","status":"resolved","payload":1.10"#), ["1.10"]);
        assert_eq!(one(r#","status":"cancelled""#), [r#"{"approved":false,"cancelled":true}"#]);
        for rest in ["", r#","status":"wat","payload":true"#, r#","status":7,"payload":true"#] {
            assert_eq!(one(rest), ["bad_json"], "{rest}");
        }
        for resume in ["5", "[5]", "[{}]", r#"{"interruptId":"a"}"#] {
            assert_eq!(parsed(resume), ["bad_json"], "{resume}");
        }
        assert_eq!(
            (parsed("[]"), parsed("null")),
            (vec!["message".into()], vec!["message".into()])
        );
    }
}
