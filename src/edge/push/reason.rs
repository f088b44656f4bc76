//! How an endpoint reports that it failed, and why its answer ended.

use serde_json::Value;

use super::answer::End;

/// Why a turn failed whose answer the endpoint's own rules cut off.
const FILTERED: &str = "the answer was stopped by a content filter";

/// Why a turn failed whose endpoint reports no more than that.
const FAILED: &str = "the endpoint ended with an error";

/// The message of an error, whose shape differs from server to server: text, a field of a JSON object, or an object in
/// such a field. What has none of these stays as it came.
pub(super) fn of(text: &str) -> String {
    let text = text.trim();
    let message = serde_json::from_str::<Value>(text).ok().and_then(|value| of_value(&value));
    message.unwrap_or_else(|| text.to_owned())
}

/// The message in an error that is JSON.
fn of_value(error: &Value) -> Option<String> {
    match error {
        Value::String(message) if !message.trim().is_empty() => Some(message.clone()),
        Value::Object(fields) => ["message", "error", "errorText", "detail", "title"]
            .iter()
            .find_map(|name| fields.get(*name).and_then(of_value)),
        _ => None,
    }
}

/// The text of a failure, or that there were none.
pub(super) fn or_none(words: String) -> String {
    if words.trim().is_empty() { "the endpoint failed without a word".into() } else { words }
}

/// What a dialect's finish reason means: one table for all of them.
pub(super) fn end(word: &str) -> End {
    let complete = |reason: &str| End::Complete { reason: reason.to_owned() };
    let fail = |reason: &str| End::Fail { reason: reason.to_owned() };
    match word {
        "" | "stop" | "stop_sequence" | "end_turn" | "eos" => complete(""),
        "length" | "max_tokens" | "max_completion_tokens" | "model_context_window_exceeded" => {
            complete("length")
        }
        "tool-calls" | "tool_calls" | "function_call" | "tool_use" => complete("tool-calls"),
        "content-filter" | "content_filter" | "refusal" => fail(FILTERED),
        "error" => fail(FAILED),
        other => complete(other),
    }
}
