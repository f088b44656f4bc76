//! Chat completions, as OpenAI and what is compatible with it serve them: messages in, chunks out.

use serde_json::{Value, json};

use super::super::attached::messages::Speaks;
use super::{Asked, FILTERED, Piece, reason};

pub(super) fn body(asked: &Asked<'_>) -> Value {
    let messages = asked.conversation.iter().map(|spoken| {
        let role = if spoken.speaks == Speaks::User { "user" } else { "assistant" };
        json!({ "role": role, "content": spoken.text })
    });
    let mut body = json!({ "messages": messages.collect::<Vec<_>>(), "stream": true });
    if let Some(model) = asked.model {
        body["model"] = model.into();
    }
    body
}

pub(super) fn read(chunk: Value) -> Vec<Piece> {
    // Some servers have the field in each chunk.
    let no_error = |error: &Value| matches!(error, Value::Null | Value::Bool(false)) || error == "";
    if let Some(error) = chunk.get("error").filter(|error| !no_error(error)) {
        let reason = reason::of_value(error).unwrap_or_else(|| "the endpoint failed".into());
        return vec![Piece::Fail(reason)];
    }
    // One is asked for; others that come have another index.
    let mut choices = chunk["choices"].as_array().into_iter().flatten();
    let choice = choices.find(|choice| choice["index"].as_u64().unwrap_or(0) == 0);
    let choice = choice.unwrap_or(&Value::Null);
    let (text, more) = (text(&choice["delta"]["content"]), says_more(&choice["delta"]));
    let end = match choice["finish_reason"].as_str() {
        // Some servers have it empty until the end.
        None | Some("") => None,
        Some("content_filter") => Some(Piece::Fail(FILTERED.into())),
        Some("error") => Some(Piece::Fail("the endpoint ended with an error".into())),
        // `[DONE]` comes after it, and is late or missing at some.
        Some(_) => Some(Piece::Complete),
    };
    let text = (!text.is_empty()).then_some(Piece::Text(text));
    let whole = more.then_some(Piece::Whole(chunk));
    [text, whole, end].into_iter().flatten().collect()
}

/// The text of a content that is text, or a list of parts of which some are.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            texts.filter_map(|part| part["text"].as_str()).collect()
        }
        _ => String::new(),
    }
}

/// Whether a delta has something beside text: tool calls, reasoning, a refusal, other parts.
fn says_more(delta: &Value) -> bool {
    let is_something = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        _ => true,
    };
    delta.as_object().into_iter().flatten().any(|(name, value)| match name.as_str() {
        "role" => false,
        "content" => {
            value.as_array().is_some_and(|parts| parts.iter().any(|part| part["type"] != "text"))
        }
        _ => is_something(value),
    })
}
