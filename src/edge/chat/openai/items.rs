//! The output of a response: items, as far as they have come.

use std::collections::HashMap;

use super::super::super::content::raw::{self, Json, Object};
use super::super::super::content::{Call, Outcome};
use super::super::super::room::Hold;
use super::super::delta::Delta;
use super::super::question::{Question, Tool};
use crate::ids::{InteractionId, Serial};
use crate::limits::{INTERACTIONS, RESPONSE_BYTES};

pub(super) struct Item {
    pub(super) id: String,
    /// The event that began it.
    pub(super) serial: Serial,
    pub(super) what: What,
}

pub(super) enum What {
    Message(Text),
    Reasoning(Text),
    /// A call that the agent made itself, and what came of it.
    Made(Call),
    /// A call that the client is to make, under the name by which it is answered.
    Wanted {
        name: InteractionId,
        tool: String,
        arguments: String,
    },
    /// A call that people are to allow.
    Approval {
        tool: String,
        arguments: String,
    },
    /// A picture, in base64.
    Image(String),
}

/// Statuses of a message.
pub(super) const UNDER_WAY: &str = "in_progress";
pub(super) const WHOLE: &str = "completed";

/// Text, and how much of it came with which event.
#[derive(Default)]
pub(super) struct Text {
    pub(super) text: String,
    pieces: Vec<(Serial, usize)>,
}

/// All that has come of a response.
pub(super) struct Items {
    pub(super) all: Vec<Item>,
    /// Calls whose arguments are whole and that have no result, by their ids.
    ready: HashMap<String, Call>,
    pending: Vec<Question>,
    bytes: usize,
    room: Hold,
}

impl Items {
    pub(super) fn new(room: Hold) -> Items {
        Items { all: Vec::new(), ready: HashMap::new(), pending: Vec::new(), bytes: 0, room }
    }

    pub(super) fn add(&mut self, item: Item) {
        self.bytes += item.size();
        self.all.push(item);
    }

    /// Adds to the text that is under way.
    pub(super) fn goes(&mut self, serial: Serial, text: &str) {
        self.bytes += text.len() + size_of::<(Serial, usize)>();
        if let Some(Item { what: What::Message(whole) | What::Reasoning(whole), .. }) =
            self.all.last_mut()
        {
            whole.text.push_str(text);
            whole.pieces.push((serial, text.len()));
        }
    }

    /// Whether it is larger than a response may be: it is sent once more, whole, when the response ends (S10).
    pub(super) fn is_too_large(&self) -> bool {
        RESPONSE_BYTES < self.bytes
    }

    /// Whether this node has room for all of it now.
    pub(super) fn has_room(&mut self) -> bool {
        self.room.reach(self.bytes)
    }

    /// Takes back what came from a place on.
    pub(super) fn take_back(&mut self, from: Serial) {
        self.all.retain(|item| item.serial < from);
        for item in &mut self.all {
            let (What::Message(whole) | What::Reasoning(whole)) = &mut item.what else { continue };
            let kept = whole.pieces.iter().filter(|(serial, _)| *serial < from);
            let kept = kept.map(|(_, bytes)| bytes).sum();
            whole.text.truncate(kept);
            whole.pieces.retain(|(serial, _)| *serial < from);
        }
        self.bytes = self.all.iter().map(Item::size).sum();
        self.ready.clear();
    }

    pub(super) fn ready(&mut self, call: Call) {
        if self.ready.len() < INTERACTIONS {
            self.ready.insert(call.id.clone(), call);
        }
    }

    pub(super) fn made(&mut self, id: &str) {
        self.ready.remove(id);
    }

    /// Calls that came to nothing.
    pub(super) fn left(&mut self) -> Vec<Call> {
        let mut left: Vec<_> = self.ready.drain().map(|(_, call)| call).collect();
        left.sort_by(|a, b| a.id.cmp(&b.id));
        left
    }

    /// Takes questions to people, and the answers.
    pub(super) fn question(&mut self, delta: Delta) {
        match delta {
            Delta::Question(pending) if self.pending.len() < INTERACTIONS => {
                self.pending.push(pending)
            }
            Delta::Answered { interaction, .. } | Delta::Expired { interaction } => {
                self.pending.retain(|open| open.interaction != interaction);
            }
            _ => {}
        }
    }

    /// What the turn waits for, as items.
    pub(super) fn wanted(&mut self, serial: Serial) -> Vec<Item> {
        let pending = std::mem::take(&mut self.pending);
        for call in pending.iter().filter_map(|pending| pending.call.as_ref()) {
            self.ready.remove(call);
        }
        let numbered = pending.into_iter().enumerate();
        numbered.map(|(number, pending)| wanted(serial, number, pending)).collect()
    }

    /// The output, as JSON; the status of its last message.
    pub(super) fn json(&self, agent: &str, last: &'static str) -> Vec<Json> {
        let end = self.all.len().saturating_sub(1);
        let items = self.all.iter().enumerate();
        items.map(|(at, item)| item.json(agent, if at < end { WHOLE } else { last })).collect()
    }
}

fn wanted(serial: Serial, number: usize, pending: Question) -> Item {
    let choices = pending.choices();
    let Question { interaction: name, kind, question, .. } = pending;
    let Tool { name: named, arguments, .. } = Tool::of(&question).unwrap_or_default();
    let id = format!("{}_{number}", serial.0);
    match (kind.as_str(), named) {
        ("client_tool", Some(tool)) => {
            Item { id: format!("fc_{id}"), serial, what: What::Wanted { name, tool, arguments } }
        }
        ("approval", Some(tool)) => {
            let id = name.as_str().to_owned();
            Item { id, serial, what: What::Approval { tool, arguments } }
        }
        // As text: an answer by another message is an input instead.
        _ => {
            let text = Object::parse(&question).and_then(|all| all.text("text"));
            let text = text.or_else(|| raw::string(&question));
            let text = text.unwrap_or(question);
            let text = choices.iter().fold(text, |text, choice| text + "\n- " + &choice.label);
            let pieces = vec![(serial, text.len())];
            let what = What::Message(Text { text, pieces });
            Item { id: format!("msg_{id}"), serial, what }
        }
    }
}

impl Item {
    fn size(&self) -> usize {
        let more = match &self.what {
            What::Message(whole) | What::Reasoning(whole) => {
                whole.text.len() + whole.pieces.len() * size_of::<(Serial, usize)>()
            }
            What::Made(call) => call.arguments.len() + call.result_text().len(),
            What::Wanted { arguments, .. } | What::Approval { arguments, .. } => arguments.len(),
            What::Image(data) => data.len(),
        };
        size_of::<Item>() + more
    }

    pub(super) fn json(&self, agent: &str, status: &'static str) -> Json {
        let of =
            |kind: &str| Json::object([("id", self.id.as_str().into()), ("type", kind.into())]);
        match &self.what {
            What::Message(whole) => {
                let content = vec![text_part(&whole.text)];
                let item = of("message").with("status", status).with("role", "assistant");
                item.with("content", content)
            }
            What::Reasoning(whole) => {
                let part = [("type", "summary_text".into()), ("text", whole.text.as_str().into())];
                let summary = match whole.text.is_empty() {
                    true => Vec::new(),
                    false => vec![Json::object(part)],
                };
                of("reasoning").with("summary", summary)
            }
            What::Made(call) => made(of("mcp_call"), call, agent),
            What::Wanted { name, tool, arguments } => {
                let item = of("function_call").with("status", "completed");
                let item = item.with("call_id", name.as_str()).with("name", tool.as_str());
                item.with("arguments", arguments.as_str())
            }
            What::Approval { tool, arguments } => {
                let item = of("mcp_approval_request").with("server_label", agent);
                item.with("name", tool.as_str()).with("arguments", arguments.as_str())
            }
            What::Image(data) => {
                let item = of("image_generation_call").with("status", "completed");
                item.with("result", data.as_str())
            }
        }
    }
}

pub(super) fn text_part(text: &str) -> Json {
    Json::object([
        ("type", "output_text".into()),
        ("text", text.into()),
        ("annotations", Vec::new().into()),
        ("logprobs", Vec::new().into()),
    ])
}

fn made(item: Json, call: &Call, agent: &str) -> Json {
    let (status, output, error) = match &call.result {
        Outcome::Output(_) => ("completed", call.result_text().into(), Json::Null),
        Outcome::Open => ("incomplete", Json::Null, Json::Null),
        Outcome::Failed(_) | Outcome::Denied => ("failed", Json::Null, call.result_text().into()),
    };
    let item = item.with("status", status).with("server_label", agent);
    let item = item.with("name", call.tool.as_str()).with("arguments", call.arguments());
    item.with("output", output).with("error", error)
}
