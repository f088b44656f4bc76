//! What came of a command, as JSON: the same at every door.

use axum::http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::super::{headers, wire};
use crate::ids::{CallId, Cursor, Serial, SessionId};
use crate::runtime::Reply;
use crate::session::{Applied, tool_key};

/// What a client is answered for a command that took effect.
pub(in crate::edge) fn render(id: &SessionId, reply: &Reply) -> Value {
    let at = |serial| Cursor { incarnation: reply.incarnation, serial }.to_string();
    let (tail, number) = (reply.tail.0, |serial: Serial| serial.0);
    match &reply.applied {
        Applied::Created { incarnation, created, .. } => json!({
            "session": id.name(),
            "incarnation": incarnation.0,
            "created": created,
            "tail": tail,
            "cursor": Cursor { incarnation: *incarnation, serial: reply.tail }.to_string(),
        }),
        Applied::Appended { first, last, duplicate, closed, .. } => json!({
            "first": first.map(number),
            "last": last.map(number),
            "duplicate": duplicate,
            "closed": closed,
            "incarnation": reply.incarnation.0,
            "tail": tail,
            "cursor": place(reply).to_string(),
        }),
        Applied::Closed { duplicate, .. } => json!({
            "first": null,
            "last": null,
            "duplicate": duplicate,
            "closed": true,
            "incarnation": reply.incarnation.0,
            "tail": tail,
            "cursor": place(reply).to_string(),
        }),
        Applied::Cancelled { turns } => json!({ "cancelled": turns, "tail": tail }),
        Applied::Input { .. }
        | Applied::Answered { .. }
        | Applied::OutputAccepted { .. }
        | Applied::CallClaimed { .. }
        | Applied::CallReleased { .. }
        | Applied::ToolResult { .. } => of_work(reply),
        Applied::Control { epoch, mode, serial } => json!({
            "epoch": epoch,
            "mode": mode.name(),
            "serial": serial.0,
            "cursor": at(*serial),
        }),
        Applied::Paused { turns } => json!({ "turns": turns, "tail": tail }),
        Applied::Stands { standing, changed } => {
            json!({ "state": standing.name(), "changed": changed, "tail": tail })
        }
        Applied::Imported { tail, complete, again } => json!({
            "session": id.name(),
            "incarnation": reply.incarnation.0,
            "created": *complete && !*again,
            "tail": tail.0,
            "cursor": at(*tail),
        }),
        Applied::Touched { until } => json!({ "expires_at": wire::millis(*until) }),
        Applied::Trimmed { first } => json!({ "first": first.0 }),
        // Files have answers of their own; the others are requests of the program itself, and sent to no client.
        Applied::File { .. }
        | Applied::Deleted { .. }
        | Applied::Unchanged
        | Applied::Ticked
        | Applied::Held { .. }
        | Applied::Claimed { .. }
        | Applied::Settled
        | Applied::Lost { .. } => json!({ "tail": tail }),
    }
}

/// The same of inputs, answers, output of workers, and calls.
fn of_work(reply: &Reply) -> Value {
    let at = |serial| Cursor { incarnation: reply.incarnation, serial }.to_string();
    match &reply.applied {
        Applied::Input { turn, serial, duplicate }
        | Applied::Answered { turn, serial, duplicate } => json!({
            "turn": turn.as_str(),
            "serial": serial.0,
            "cursor": at(*serial),
            "duplicate": duplicate,
        }),
        Applied::OutputAccepted { places, duplicate, over, last_input, tools } => {
            let mut output = json!({
                "first": places.map(|(first, _)| first.0),
                "last": places.map(|(_, last)| last.0),
                "duplicate": duplicate,
                "over": over,
                "last_input": last_input.0,
            });
            if !tools.is_empty() {
                output["tools"] = keys(tools);
            }
            output
        }
        Applied::CallClaimed { turn, epoch, until, serial } => json!({
            "turn": turn.as_str(),
            "epoch": epoch,
            "lease_until": until.0,
            "serial": serial.0,
            "cursor": at(*serial),
        }),
        Applied::ToolResult { serial, duplicate, late } => json!({
            "serial": serial.0,
            "cursor": at(*serial),
            "duplicate": duplicate,
            "late": late,
        }),
        Applied::CallReleased { was } => json!({ "released": was, "tail": reply.tail.0 }),
        _ => json!({ "tail": reply.tail.0 }),
    }
}

/// The idempotency keys of calls.
pub(in crate::edge) fn keys(calls: &[(CallId, u128)]) -> Value {
    let key = |(call, key): &(CallId, u128)| json!({ "call": call.as_str(), "key": tool_key::text(*key) });
    calls.iter().map(key).collect()
}

/// The place after what was appended.
fn place(reply: &Reply) -> Cursor {
    let last = match reply.applied {
        Applied::Appended { last, .. } => last,
        _ => None,
    };
    Cursor { incarnation: reply.incarnation, serial: last.unwrap_or(reply.tail) }
}

/// The same place in the headers of an answer.
pub(in crate::edge) fn append_headers(reply: &Reply) -> [(HeaderName, HeaderValue); 2] {
    let cursor = place(reply);
    let text = HeaderValue::from_str(&cursor.to_string()).expect("digits are visible");
    [(headers::OUTLIVE_SERIAL, HeaderValue::from(cursor.serial.0)), (headers::OUTLIVE_CURSOR, text)]
}
