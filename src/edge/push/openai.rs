//! Chat completions, as OpenAI and what is compatible with it serve them: messages in, chunks out.

use serde_json::{Value, json};

use super::super::attached::messages::Speaks;
use super::{Asked, Piece};

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
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        let reason = error["message"].as_str().unwrap_or("the endpoint failed").to_owned();
        return vec![Piece::Fail(reason)];
    }
    let choice = &chunk["choices"][0];
    let mut pieces = Vec::new();
    if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
        pieces.push(Piece::Text(text.to_owned()));
    }
    if !choice["delta"]["tool_calls"].is_null() {
        pieces.push(Piece::Whole(chunk.clone()));
    }
    match choice["finish_reason"].as_str() {
        None => {}
        Some("content_filter") => {
            pieces.push(Piece::Fail("the answer was stopped by a content filter".into()));
        }
        // `[DONE]` comes after it, and is late or missing at some.
        Some(_) => pieces.push(Piece::Complete),
    }
    pieces
}
