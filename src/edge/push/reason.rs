//! In what words an endpoint says that it failed.

use serde_json::Value;

/// The message of an error, whose shape differs from server to server: text, a field of a JSON object, or an object in
/// such a field. What has none of these is told as it came.
pub(super) fn of(said: &str) -> String {
    let said = said.trim();
    let message = serde_json::from_str::<Value>(said).ok().and_then(|value| of_value(&value));
    message.unwrap_or_else(|| said.to_owned())
}

/// The message in an error that is JSON.
pub(super) fn of_value(error: &Value) -> Option<String> {
    match error {
        Value::String(message) if !message.trim().is_empty() => Some(message.clone()),
        Value::Object(fields) => ["message", "error", "errorText", "detail", "title"]
            .iter()
            .find_map(|name| fields.get(*name).and_then(of_value)),
        _ => None,
    }
}
