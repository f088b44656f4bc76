//! What a history knows of turns: what people and workers request, and what the events of a log record of it.

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

/// How a turn goes on after this output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    GoOn,
    Complete,
    Release,
}

/// What an event records of a turn.
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
    /// The input waits for a person: no turn is to get it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// A result that was reported when its worker had the turn no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The call of a tool, and its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interaction: Option<String>,
    /// The branch that it stands on.
    #[serde(default, skip_serializing_if = "is_first")]
    pub branch: u64,
    /// The message that it follows, where that is not the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
}

fn is_first(branch: &u64) -> bool {
    *branch == 0
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
    #[serde(rename = "tool.started")]
    ToolStarted,
    #[serde(rename = "tool.finished")]
    ToolFinished,
    #[serde(rename = "interaction.claimed")]
    CallClaimed,
    /// Something that no property is about.
    #[serde(other, rename = "other")]
    Other,
}

impl What {
    /// The turn is over with it.
    pub fn is_terminal(self) -> bool {
        matches!(self, What::Completed | What::Failed | What::Cancelled)
    }

    /// It is the final receipt of an input.
    pub fn is_final_receipt(self) -> bool {
        matches!(self, What::Consumed | What::Deferred | What::Dropped)
    }

    /// Its payload came from a client, and not from the service.
    pub fn is_output(self) -> bool {
        matches!(self, What::Accepted | What::Output)
    }
}

impl Fact {
    pub fn new(what: What, turn: &str) -> Fact {
        let turn = turn.to_owned();
        Fact {
            what,
            turn,
            input: None,
            agent: None,
            epoch: None,
            held: false,
            late: false,
            call: None,
            key: None,
            interaction: None,
            branch: 0,
            parent: None,
        }
    }

    pub fn of_epoch(what: What, turn: &str, epoch: u64) -> Fact {
        Fact { epoch: Some(epoch), ..Fact::new(what, turn) }
    }

    pub fn of_input(what: What, turn: &str, input: &str) -> Fact {
        Fact { input: Some(input.to_owned()), ..Fact::new(what, turn) }
    }

    /// What an event's JSON records of a turn; none where a client only appended it.
    pub fn parse(event: &Value) -> Option<Fact> {
        event.get("type")?;
        Some(Fact::deserialize(event).expect("an event's meaning"))
    }
}

/// A value for an event without a payload of a client: no other event of the session has it.
pub fn received(serial: u64, name: &str, fact: &Fact) -> String {
    let epoch = fact.epoch.map_or_else(String::new, |epoch| format!(" {epoch}"));
    let input = fact.input.as_deref().unwrap_or_default();
    format!("{serial} {name} {}{epoch} {input}", fact.turn)
}
