//! A question to people, as chat clients know it: the call of a tool that is to be allowed, or that they are to make.

use super::super::content::raw::{self, Json, Object};
use super::super::interactions::choices;
use crate::ids::{InteractionId, KindName, Millis, TurnId};
use crate::limits::ASK_GRACE_MS;
use crate::session::{Event, Fact};

/// A question to people.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) interaction: InteractionId,
    pub(super) kind: String,
    /// JSON.
    pub(super) question: String,
    /// The id of the call that it is about, which is sent before it.
    pub(super) call: Option<String>,
}

/// The tool that a question is about, as far as it names one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tool {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    /// JSON.
    pub(super) arguments: String,
}

impl Tool {
    /// The tool of a question, which is JSON: its member `tool`, a name there, or the question itself.
    pub(super) fn of(question: &str) -> Option<Tool> {
        let question = Object::parse(question)?;
        let of = |object: &Object<'_>, name: Option<String>| {
            let arguments = object.get("arguments").or_else(|| object.get("input"));
            let arguments = arguments.unwrap_or("{}").to_owned();
            let texts = |name| object.text(name).filter(|text| !text.is_empty());
            Tool { id: texts("id"), name: name.or_else(|| texts("name")), arguments }
        };
        let tool = match question.get("tool") {
            Some(name) if name.starts_with('"') => of(&question, raw::string(name)),
            Some(_) => of(&question.object("tool"), None),
            None => of(&question, None),
        };
        (tool.id.is_some() || tool.name.is_some()).then_some(tool)
    }
}

/// One of the answers to a choice.
pub(super) struct Choice {
    /// JSON.
    pub(super) value: String,
    /// For people.
    pub(super) label: String,
}

impl Question {
    /// The answers that a choice has; none of another kind of question.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let question = Object::parse(&self.question).filter(|_| self.kind == KindName::CHOICE);
        let Some(question) = question else { return Vec::new() };
        let values = choices(&question).unwrap_or_default().into_iter();
        let named = question.list("choices");
        let choice = |(value, json): (&str, &str)| {
            let label = Object::parse(json).and_then(|named| named.text("label"));
            let label = label.or_else(|| raw::string(value)).unwrap_or_else(|| value.to_owned());
            Choice { value: value.to_owned(), label }
        };
        values.zip(named).map(choice).collect()
    }

    /// The call that stands for a question whose agent sent none, as a chunk of the AI SDK. Without it a client knows
    /// nothing that it could allow or make. None where no client is to.
    pub(super) fn call_of_its_own(&self) -> Option<String> {
        let tool = Tool::of(&self.question).unwrap_or_default();
        let (name, arguments) = match (self.kind.as_str(), tool.name) {
            ("approval" | "client_tool", Some(name)) => (name, tool.arguments),
            // As text alone: it is allowed or not all the same.
            ("approval", None) => {
                let text = Json::object([("text", Json::raw(&self.question))]).to_string();
                let is_object = Object::parse(&self.question).is_some();
                let arguments = if is_object { self.question.clone() } else { text };
                ("approval".to_owned(), arguments)
            }
            _ => return None,
        };
        let id = tool.id.unwrap_or_else(|| self.interaction.as_str().to_owned());
        let chunk = Json::object([("type", "tool-input-available".into())]);
        let chunk = chunk.with("toolCallId", id).with("toolName", name);
        Some(chunk.with("input", Json::raw(&arguments)).to_string())
    }
}

/// Which questions of a turn are open, and since when nothing happened in it.
///
/// An agent that has a question and sends no more waits for people, whether it says so or keeps its turn
/// meanwhile: after [`ASK_GRACE_MS`] by the log's time, so that it is the same for each reader.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking {
    open: Vec<InteractionId>,
    last: Millis,
}

impl Asking {
    /// Takes an event of the turn; returns whether its agent had waited for people before it.
    pub(super) fn take(&mut self, event: &Event, fact: &Fact) -> bool {
        let waited = self.is_over_at(event.time);
        // Who makes a call for the agent shows nothing of it.
        if matches!(fact, Fact::CallClaimed { .. } | Fact::CallReleased { .. }) {
            return waited;
        }
        self.last = event.time;
        match fact {
            Fact::Requested { interaction, .. } => self.open.push(interaction.clone()),
            Fact::Answered { interaction, .. }
            | Fact::Expired { interaction, .. }
            | Fact::Withdrawn { interaction, .. } => {
                self.open.retain(|open| open != interaction);
            }
            Fact::Ended { .. } => self.open.clear(),
            _ => {}
        }
        waited
    }

    /// Whether people are to answer something.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether, at this time, the agent has put out nothing more for so long that it waits.
    pub(super) fn is_over_at(&self, now: Millis) -> bool {
        self.is_open() && self.last.after(ASK_GRACE_MS) <= now
    }
}

/// The call of the client's that a question of a turn is about, with the question's name.
pub(super) fn client_call(event: &Event, turn: &TurnId) -> Option<(String, InteractionId)> {
    let Some(Fact::Requested { interaction, kind, turn: of, .. }) = event.fact.as_deref() else {
        return None;
    };
    if of != turn || kind.as_str() != "client_tool" {
        return None;
    }
    let question = super::super::content::as_json(&event.format, &event.payload).to_string();
    Some((Tool::of(&question)?.id?, interaction.clone()))
}
