//! What workers are sent: frames, each one line of JSON.

use serde_json::{Value, json};

use super::super::turns::assignment;
use super::super::{verbs, wire};
use crate::limits;
use crate::runtime::agent::{Ack, Offered, Refused, Signal, ToWorker, TurnKey};

/// Renders one frame, without a line end.
pub(super) fn write(signal: &ToWorker) -> Vec<u8> {
    match signal {
        ToWorker::Turn(offered) => turn(offered),
        ToWorker::Signal(signal) => happened(signal),
        ToWorker::Ack(ack) => acknowledged(ack).to_string().into_bytes(),
        ToWorker::Refused(refused) => refusal(refused).to_string().into_bytes(),
        ToWorker::Ping => br#"{"type":"ping"}"#.to_vec(),
    }
}

/// The answer to a register.
pub(super) fn registered(node: u64) -> Vec<u8> {
    let bytes = limits::APPEND_BYTES;
    json!({ "type": "registered", "node": node, "max_output_bytes": bytes })
        .to_string()
        .into_bytes()
}

fn turn(offered: &Offered) -> Vec<u8> {
    let Offered { assignment: given, events, more, control, audience } = offered;
    let control = json!({
        "mode": control.mode.name(),
        "holder": control.holder.as_ref().map(|holder| holder.participant.as_str()),
        "epoch": control.epoch,
    });
    let audience = audience.map(
        |audience| json!({ "watchers": audience.watchers, "controllers": audience.controllers }),
    );
    let head = json!({ "type": "turn", "control": control, "audience": audience });
    let body = assignment(given, (events, *more));
    let mut frame = head.to_string().into_bytes();
    frame.pop();
    frame.push(b',');
    frame.extend_from_slice(&body.get().as_bytes()[1..]);
    frame
}

fn happened(signal: &Signal) -> Vec<u8> {
    let TurnKey { session, turn, epoch } = &signal.key;
    let event = signal.event.as_ref().map(|shown| &shown.event);
    let head = json!({
        "type": "signal",
        "session": session.name(),
        "turn": turn.as_str(),
        "epoch": epoch,
        "what": signal.what.name(),
        "serial": event.map(|event| event.serial.0),
    });
    let mut frame = head.to_string().into_bytes();
    if let Some(event) = event {
        frame.pop();
        frame.extend_from_slice(br#","event":"#);
        wire::event(&mut frame, event, signal.cursor);
        frame.push(b'}');
    }
    frame
}

fn acknowledged(ack: &Ack) -> Value {
    let TurnKey { session, turn, epoch } = &ack.key;
    let mut frame = json!({
        "type": "ack",
        "session": session.name(),
        "turn": turn.as_str(),
        "epoch": epoch,
        "seq": ack.seq,
        "duplicate": ack.duplicate,
        "first": ack.places.map(|(first, _)| first.0),
        "last": ack.places.map(|(_, last)| last.0),
        "over": ack.over,
        "last_input": ack.last_input.0,
    });
    if !ack.tools.is_empty() {
        frame["tools"] = verbs::keys(&ack.tools);
    }
    frame
}

fn refusal(refused: &Refused) -> Value {
    let key = refused.key.as_ref();
    let mut frame = json!({
        "type": "refused",
        "session": key.map(|key| key.session.name()),
        "turn": key.map(|key| key.turn.as_str()),
        "epoch": key.map(|key| key.epoch),
        "seq": refused.seq,
        "code": refused.code,
        "detail": refused.detail,
    });
    if let Some(wait_ms) = refused.retry_after_ms {
        frame["retry_after_ms"] = wait_ms.into();
    }
    frame
}
