//! What clients of AG-UI send: a run's input, with all messages of its thread, of which the last one counts.

use super::super::super::content::raw::{self, Json, Object};
use super::super::super::error::{self, Problem};
use crate::limits;
use crate::session::{Format, NewEvent};

pub(super) struct Request {
    pub(super) thread: String,
    pub(super) run: String,
    /// What the client has, where that is not large.
    pub(super) messages: Option<String>,
    pub(super) says: Says,
}

pub(super) enum Says {
    Message(NewEvent),
    /// Names of what was asked, and the answers.
    Answers(Vec<(String, NewEvent)>),
}

/// Parses a body.
///
/// # Errors
/// It is not what a client sends, or says nothing.
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
    let says = match answers.is_empty() {
        false => Says::Answers(answers),
        true => Says::Message(said(&body)?),
    };
    Ok(Request { thread, run, messages: messages.map(str::to_owned), says })
}

/// What is not understood is nobody's consent.
fn answer(entry: &str) -> Result<(String, NewEvent), Problem> {
    let entry = Object::parse(entry).ok_or_else(|| bad("resume has objects"))?;
    let name = entry.text("interruptId");
    let name = name.ok_or_else(|| bad("interruptId names what is answered"))?;
    let payload = match entry.text("status").as_deref() {
        Some("cancelled") => r#"{"approved":false,"cancelled":true}"#,
        Some("resolved") => entry.get("payload").unwrap_or("null"),
        _ => return Err(bad("the status of an answer is resolved or cancelled")),
    };
    Ok((name, NewEvent { format: Format::JSON, payload: payload.to_owned().into() }))
}

/// What the last message says, which is a user's.
fn said(body: &Object<'_>) -> Result<NewEvent, Problem> {
    let messages = body.list("messages");
    let last = messages.last().and_then(|last| Object::parse(last));
    let last = last.filter(|last| last.text("role").as_deref() == Some("user"));
    let last = last.ok_or_else(|| bad("the last message is a user's"))?;
    let content = last.get("content").ok_or_else(|| bad("a message has content"))?;
    if let Some(text) = raw::string(content) {
        return sized("text", text);
    }
    let parts = raw::list(content).ok_or_else(|| bad("content is a text or a list of parts"))?;
    let parts: Vec<_> = parts.into_iter().filter_map(Object::parse).collect();
    if parts.iter().all(|part| part.text("type").as_deref() == Some("text")) {
        let texts: Vec<_> = parts.iter().filter_map(|part| part.text("text")).collect();
        return sized("text", texts.join("\n\n"));
    }
    let parts: Vec<_> = parts.iter().filter_map(part).collect();
    let whole = Json::object([("role", "user".into()), ("parts", parts.into())]);
    sized("ai-sdk/1", whole.to_string())
}

fn part(part: &Object<'_>) -> Option<Json> {
    if part.text("type")? == "text" {
        return Some(Json::object([("type", "text".into()), ("text", part.text("text")?.into())]));
    }
    let source = part.object("source");
    let media = source.text("mimeType").unwrap_or_else(|| "application/octet-stream".into());
    let value = source.text("value")?;
    let url = match source.text("type")?.as_str() {
        "url" => value,
        "data" => format!("data:{media};base64,{value}"),
        _ => return None,
    };
    let file = Json::object([("type", "file".into()), ("mediaType", media.into())]);
    Some(file.with("url", url))
}

fn sized(format: &str, payload: String) -> Result<NewEvent, Problem> {
    if payload.trim().is_empty() {
        return Err(bad("the last message says nothing"));
    }
    let (bytes, limit) = (payload.len(), limits::EVENT_BYTES);
    if limit < bytes {
        let detail = format!("the last message has {bytes} bytes; the limit is {limit}");
        return Err(Problem::new(&error::EVENT_TOO_LARGE, detail));
    }
    let format = Format::parse(format).expect("these are formats");
    Ok(NewEvent { format, payload: payload.into() })
}

pub(super) fn bad(detail: &str) -> Problem {
    Problem::new(&error::BAD_JSON, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_understood_is_refused() {
        let parsed = |resume: &str| {
            let body = format!(
                r#"{{"threadId":"t","runId":"r","resume":{resume},"messages":[{{"role":"user","content":"hi"}}]}}"#
            );
            match parse(body.as_bytes()).map(|request| request.says) {
                Ok(Says::Answers(answers)) => {
                    let payload = |(_, said): &(String, NewEvent)| said.payload.clone();
                    answers
                        .iter()
                        .map(payload)
                        .map(|one| String::from_utf8_lossy(&one).into())
                        .collect()
                }
                Ok(Says::Message(_)) => vec!["message".to_owned()],
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
