//! What a history knows of turns: what people and workers ask, and what the events of a log say of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What becomes of an input whose agent has an open turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    Steer,
    Queue,
    Interrupt,
    Reject,
}

/// Turns that are to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Turn(String),
    Agent(String),
    All,
}

/// How a turn goes on after what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    GoOn,
    Complete,
    Release,
}

/// What an event says of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    #[serde(rename = "type")]
    pub what: What,
    /// Empty where the event is of no turn.
    #[serde(default)]
    pub turn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The input waits for a person: no turn is to hear it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum What {
    #[serde(rename = "input.accepted")]
    Accepted,
    #[serde(rename = "input.delivered")]
    Delivered,
    #[serde(rename = "input.consumed")]
    Consumed,
    #[serde(rename = "input.deferred")]
    Deferred,
    #[serde(rename = "input.dropped")]
    Dropped,
    #[serde(rename = "turn.started")]
    Started,
    #[serde(rename = "turn.output")]
    Output,
    #[serde(rename = "agent.stalled")]
    Stalled,
    #[serde(rename = "agent.lost")]
    Lost,
    #[serde(rename = "turn.completed")]
    Completed,
    #[serde(rename = "turn.failed")]
    Failed,
    #[serde(rename = "turn.cancelled")]
    Cancelled,
    /// Something that no property speaks of.
    #[serde(other, rename = "other")]
    Other,
}

impl What {
    /// The turn is over with it.
    pub fn is_terminal(self) -> bool {
        matches!(self, What::Completed | What::Failed | What::Cancelled)
    }

    /// It says once and for all what became of an input.
    pub fn is_final_receipt(self) -> bool {
        matches!(self, What::Consumed | What::Deferred | What::Dropped)
    }

    /// A client said its payload, and not the service.
    pub fn is_output(self) -> bool {
        matches!(self, What::Accepted | What::Output)
    }
}

impl Fact {
    pub fn new(what: What, turn: &str) -> Fact {
        let turn = turn.to_owned();
        Fact { what, turn, input: None, agent: None, epoch: None, held: false }
    }

    pub fn of_epoch(what: What, turn: &str, epoch: u64) -> Fact {
        Fact { epoch: Some(epoch), ..Fact::new(what, turn) }
    }

    pub fn of_input(what: What, turn: &str, input: &str) -> Fact {
        Fact { input: Some(input.to_owned()), ..Fact::new(what, turn) }
    }

    /// What an event's JSON says of a turn; none where a client only appended it.
    pub fn parse(event: &Value) -> Option<Fact> {
        event.get("type")?;
        Some(Fact::deserialize(event).expect("an event's meaning"))
    }
}

/// A value for an event that nobody said: no other event of the session has it.
pub fn received(serial: u64, name: &str, fact: &Fact) -> String {
    let epoch = fact.epoch.map_or_else(String::new, |epoch| format!(" {epoch}"));
    let input = fact.input.as_deref().unwrap_or_default();
    format!("{serial} {name} {}{epoch} {input}", fact.turn)
}
