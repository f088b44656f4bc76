//! Routes for the AI SDK's `useChat`: UI messages in, UI message chunks out (UI message stream protocol, v1).

use serde_json::{Value, json};

use super::super::attached::messages::Speaks;
use super::{Asked, FILTERED, Piece};

pub(super) fn body(asked: &Asked<'_>) -> Value {
    let messages = asked.conversation.iter().map(|spoken| {
        let role = if spoken.speaks == Speaks::User { "user" } else { "assistant" };
        let parts = json!([{ "type": "text", "text": spoken.text }]);
        json!({ "id": format!("m{}", spoken.from.0), "role": role, "parts": parts })
    });
    json!({
        "id": asked.session,
        "messages": messages.collect::<Vec<_>>(),
        "trigger": "submit-message",
        "messageId": null,
        "turn": asked.turn,
    })
}

pub(super) fn read(chunk: Value) -> Vec<Piece> {
    let text = |name: &str| chunk[name].as_str().unwrap_or_default().to_owned();
    match chunk["type"].as_str() {
        Some("text-delta") => vec![Piece::Text(text("delta"))],
        Some("error") => vec![Piece::Fail(text("errorText"))],
        Some("abort") => vec![Piece::Fail("the endpoint aborted".into())],
        // `[DONE]` comes after it, or the end of the stream.
        Some("finish") => {
            let end = match chunk["finishReason"].as_str() {
                Some("error") => Piece::Fail("the endpoint ended with an error".into()),
                Some("content-filter") => Piece::Fail(FILTERED.into()),
                _ => Piece::Complete,
            };
            vec![Piece::Whole(chunk), end]
        }
        Some("tool-input-available") => {
            let tool = text("toolName");
            vec![Piece::Whole(chunk), Piece::Tool(tool)]
        }
        Some("tool-output-available" | "tool-output-error") => {
            vec![Piece::Whole(chunk), Piece::Thinking]
        }
        Some(_) => vec![Piece::Whole(chunk)],
        None => vec![Piece::Fail("the endpoint sent a chunk without a type".into())],
    }
}
