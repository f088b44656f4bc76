//! AG-UI endpoints: `RunAgentInput` in, events out (AG-UI 1.0).

use serde_json::{Value, json};

use super::super::attached::messages::Speaks;
use super::{Asked, Piece};

pub(super) fn body(asked: &Asked<'_>) -> Value {
    let messages = asked.conversation.iter().map(|spoken| {
        let role = if spoken.speaks == Speaks::User { "user" } else { "assistant" };
        json!({ "id": format!("m{}", spoken.from.0), "role": role, "content": spoken.text })
    });
    json!({
        "threadId": asked.session,
        "runId": asked.turn,
        "messages": messages.collect::<Vec<_>>(),
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
    })
}

pub(super) fn read(event: Value) -> Vec<Piece> {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    match event["type"].as_str() {
        Some("TEXT_MESSAGE_CONTENT" | "TEXT_MESSAGE_CHUNK") => vec![Piece::Text(text("delta"))],
        Some("RUN_ERROR") => vec![Piece::Fail(text("message"))],
        // Success, unless it says that it is not: people are to answer, or somebody stopped it.
        Some("RUN_FINISHED") => {
            match event["outcome"]["type"].as_str().or(event["outcome"].as_str()) {
                Some("cancelled") => vec![Piece::Fail("the endpoint cancelled its run".into())],
                _ => vec![Piece::Whole(event), Piece::Complete],
            }
        }
        Some("TOOL_CALL_START") => {
            let tool = text("toolCallName");
            vec![Piece::Whole(event), Piece::Tool(tool)]
        }
        Some("TOOL_CALL_RESULT") => vec![Piece::Whole(event), Piece::Thinking],
        Some(_) => vec![Piece::Whole(event)],
        None => vec![Piece::Fail("the endpoint sent an event without a type".into())],
    }
}
