//! What came of people's verbs.

use serde_json::{Value, json};

use crate::ids::Cursor;
use crate::runtime::Reply;
use crate::session::Applied;

pub(super) fn done(reply: &Reply) -> Value {
    let at = |serial| Cursor { incarnation: reply.incarnation, serial }.to_string();
    match &reply.applied {
        Applied::Answered { turn, serial, duplicate } => json!({
            "turn": turn.as_str(),
            "serial": serial.0,
            "cursor": at(*serial),
            "duplicate": duplicate,
        }),
        Applied::Control { epoch, mode, serial } => json!({
            "epoch": epoch,
            "mode": mode.name(),
            "serial": serial.0,
            "cursor": at(*serial),
        }),
        Applied::Rested { turns } => json!({ "turns": turns, "tail": reply.tail.0 }),
        other => unreachable!("people's verbs are not answered by {other:?}"),
    }
}
