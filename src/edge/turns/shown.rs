//! What is shown of turns.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::attached::health;
use super::super::wire;
use crate::ids::{Cursor, Millis, Serial};
use crate::runtime::claim::Assignment;
use crate::session::{Event, PauseReason, SubTurnStatus, ToolStatus, TurnStatus, tool_key};

pub(in crate::edge) fn assignment(
    assignment: &Assignment,
    (events, more): (&[Event], bool),
) -> AsJson {
    let Assignment { session, incarnation, turn } = assignment;
    let last = events.last().map_or(turn.input, |event| event.serial);
    let cursor = Cursor { incarnation: *incarnation, serial: last };
    let lease = turn.lease.as_ref();
    let mut head = json!({
        "session": session.name(),
        "turn": turn.turn.as_str(),
        "agent": turn.agent.as_str(),
        "epoch": lease.map(|lease| lease.epoch),
        "attempt": turn.attempts,
        "lease_ms": lease.map(|lease| lease.lease_ms),
        "progress_timeout_ms": lease.map(|lease| lease.progress_timeout_ms),
        "input": turn.input.0,
        "last_input": turn.last_input.0,
        "consumed": turn.consumed.0,
        "checkpoint": turn.checkpoint.as_ref().map(|bytes| STANDARD.encode(bytes)),
        "cursor": cursor.to_string(),
        "more": more,
        "in_doubt": tools(turn),
    });
    if turn.branch != Serial::ZERO {
        head["branch"] = turn.branch.0.into();
    }
    with_family(&mut head, turn);
    let mut text = head.to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"events\":[");
    for (place, event) in events.iter().enumerate() {
        if 0 < place {
            text.push(b',');
        }
        wire::event(&mut text, event, None);
    }
    text.extend_from_slice(b"]}");
    let text = String::from_utf8(text).expect("events are rendered as text");
    RawValue::from_string(text).expect("events are rendered as JSON")
}

/// Calls of tools that were begun, and have no result.
fn tools(turn: &TurnStatus) -> Value {
    let held = turn.lease.as_ref().map(|lease| lease.epoch);
    let tool = |begun: &ToolStatus| {
        json!({
            "call": begun.call.as_str(),
            "tool": begun.tool.as_str(),
            "key": tool_key::text(begun.key),
            "epoch": begun.epoch,
            "serial": begun.serial.0,
            "state": if held == Some(begun.epoch) { "running" } else { "in_doubt" },
        })
    };
    turn.tools.iter().map(tool).collect()
}

/// Adds the turn that began this one, and those that it began.
fn with_family(body: &mut Value, turn: &TurnStatus) {
    if let Some(parent) = &turn.parent {
        body["parent_turn"] = parent.as_str().into();
    }
    let below = |below: &SubTurnStatus| {
        json!({
            "turn": below.turn.as_str(),
            "agent": below.agent.as_str(),
            "state": below.state.name(),
        })
    };
    if !turn.subturns.is_empty() {
        body["subturns"] = turn.subturns.iter().map(below).collect();
    }
}

/// JSON that is ready.
pub(in crate::edge) type AsJson = Box<RawValue>;

/// One of these open turns and the health of its agent, at the time `now` of this node.
pub(in crate::edge) fn turn(turn: &TurnStatus, open: &[TurnStatus], now: Millis) -> Value {
    let lease = turn.lease.as_ref();
    let mut body = json!({
        "turn": turn.turn.as_str(),
        "agent": turn.agent.as_str(),
        "state": turn.state.name(),
        "input": turn.input.0,
        "last_input": turn.last_input.0,
        "delivered": turn.delivered.0,
        "consumed": turn.consumed.0,
        "pausing": turn.pausing.map(PauseReason::name),
        "step": turn.step.as_ref().map(|(step, _)| step.as_str()),
        "bytes": turn.bytes,
        "waits_from": wire::millis(turn.waits_from),
        "worker": lease.map(|lease| lease.worker.as_str()),
        "epoch": lease.map(|lease| lease.epoch),
        "phase": lease.map(|lease| lease.phase.name()),
        "last_seen_at": lease.map(|lease| lease.last_seen_at.0),
        "progress_at": lease.map(|lease| lease.progress_at.0),
        "progress_deadline": lease.map(|lease| lease.progress_at.after(lease.progress_timeout_ms).0),
        "lease_until": lease.map(|lease| lease.last_seen_at.after(lease.lease_ms).0),
    });
    if !turn.tools.is_empty() {
        body["tools"] = tools(turn);
    }
    if let Value::Object(body) = &mut body {
        body.extend(health::members(turn, open, now));
    }
    if turn.branch != Serial::ZERO {
        body["branch"] = turn.branch.0.into();
    }
    with_family(&mut body, turn);
    if let Some(joins) = turn.joins {
        body["waits_for"] = joins.name().into();
    }
    body
}
