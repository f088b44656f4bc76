//! What one device saw, and when: the ground of every judgement of the script.

use serde_json::Value;
use tokio::time::Instant;

/// Everything that a device received, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) events: Vec<Seen>,
    /// What came with the first frame: the conversation so far, who is there, how the agents are.
    pub(super) snapshot: Option<Value>,
    /// Serial after which this device began.
    pub(super) begins_behind: u64,
    /// Who is there, as it was last received.
    pub(super) presence: Option<Value>,
    /// Attachments so far; each but the first is a node that was left.
    pub(super) attachments: usize,
    /// Gaps and resets; there are to be none.
    pub(super) breaks: usize,
    /// Why the device gave up, if it did.
    pub(super) failure: Option<String>,
}

/// An event and the moment in which it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) event: Value,
}

impl Seen {
    pub(super) fn is(&self, kind: &str) -> bool {
        self.event["type"] == kind
    }

    pub(super) fn serial(&self) -> u64 {
        self.event["serial"].as_u64().unwrap_or_default()
    }

    /// Whether it is something that an agent sent to people in this turn.
    pub(super) fn speaks_in(&self, turn: &str) -> bool {
        self.is("turn.output")
            && self.event["turn"] == turn
            && self.event["visibility"] != "internal"
    }
}

impl Record {
    /// Events of a kind, whatever turn they belong to.
    pub(super) fn of(&self, kind: &str) -> impl Iterator<Item = &Seen> {
        self.events.iter().filter(move |seen| seen.is(kind))
    }

    /// The first event of a kind in a turn.
    pub(super) fn in_turn(&self, kind: &str, turn: &str) -> Option<&Seen> {
        self.of(kind).find(|seen| seen.event["turn"] == turn)
    }

    /// How many pieces were sent in a turn.
    pub(super) fn pieces(&self, turn: &str) -> usize {
        self.events.iter().filter(|seen| seen.speaks_in(turn)).count()
    }

    /// The first piece of a turn that came after a moment.
    pub(super) fn piece_after(&self, turn: &str, moment: Instant) -> Option<Instant> {
        let mut pieces = self.events.iter().filter(|seen| seen.speaks_in(turn));
        pieces.find(|seen| moment < seen.at).map(|seen| seen.at)
    }

    /// What the people received in a turn: what the snapshot brought, and what came since.
    pub(super) fn text(&self, turn: &str) -> String {
        let mut pieces: Vec<(u64, String)> = Vec::new();
        let messages = self.snapshot.as_ref().map(|snapshot| &snapshot["messages"]);
        for message in messages.and_then(Value::as_array).into_iter().flatten() {
            if message["turn"] == turn && message["role"] == "agent" {
                let text = message["text"].as_str().unwrap_or_default();
                pieces.push((message["from"].as_u64().unwrap_or_default(), text.to_owned()));
            }
        }
        for seen in &self.events {
            if seen.speaks_in(turn) {
                let text = seen.event["text"].as_str().unwrap_or_default();
                pieces.push((seen.serial(), text.to_owned()));
            } else if seen.is("step.rewound") && seen.event["turn"] == turn {
                let edge = |name: &str| seen.event[name].as_u64().unwrap_or_default();
                pieces.retain(|(serial, _)| !(edge("from")..=edge("to")).contains(serial));
            }
        }
        pieces.into_iter().map(|(_, text)| text).collect()
    }
}
