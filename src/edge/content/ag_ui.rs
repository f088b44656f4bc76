//! Events of AG-UI, as they stand in the log beside the text.

use super::raw::Object;
use super::{Approval, Conversation, Outcome, Part};
use crate::ids::TurnId;
use crate::session::Format;

const FORMAT: &str = "ag-ui/1";

impl Conversation {
    /// Takes an event.
    pub(super) fn ag_ui(&mut self, event: &Object<'_>, json: &str, turn: Option<&TurnId>) {
        let text = |name: &str| event.text(name).unwrap_or_default();
        match text("type").as_str() {
            "TEXT_MESSAGE_START" | "TEXT_MESSAGE_END" => self.border(),
            "REASONING_MESSAGE_CONTENT" | "REASONING_MESSAGE_CHUNK" => {
                let delta = event.get("delta").and_then(|delta| self.letters.take(delta));
                self.reasoning(FORMAT, &text("messageId"), &delta.unwrap_or_default(), None);
            }
            "REASONING_ENCRYPTED_VALUE" if text("subtype") == "message" => {
                self.reasoning(FORMAT, &text("entityId"), "", event.get("encryptedValue"));
            }
            "TOOL_CALL_START" => {
                let tool = event.text("toolCallName");
                self.begin_call(&text("toolCallId"), tool).begin_arguments("");
            }
            "TOOL_CALL_ARGS" => self.call_goes_on(&text("toolCallId"), event),
            "TOOL_CALL_CHUNK" => {
                if let Some(id) = event.text("toolCallId") {
                    self.begin_call(&id, event.text("toolCallName"));
                    self.entry().chunked = Some(id);
                }
                let Some(id) = self.entry().chunked.clone() else { return };
                self.call_goes_on(&id, event);
            }
            "TOOL_CALL_RESULT" => {
                let content = event.get("content").unwrap_or(r#""""#);
                let result = match event.text("error") {
                    Some(error) => Outcome::Failed(error),
                    None => Outcome::Output(content.to_owned()),
                };
                let id = text("toolCallId");
                match self.called(&id) {
                    Some(call) => call.result = result,
                    None => self.stray(id, result),
                }
            }
            "RUN_FINISHED" => self.interrupted(event, turn),
            "CUSTOM" if self.keeps_all => {
                let format = Format::parse(FORMAT).expect("the names of dialects are formats");
                self.push(Part::Other { format, json: json.to_owned() });
            }
            _ => {}
        }
    }

    /// Takes a piece of the arguments of a call, if that has begun.
    fn call_goes_on(&mut self, id: &str, event: &Object<'_>) {
        let delta = event.get("delta").and_then(|delta| self.letters.take(delta));
        if let Some(call) = self.call_here(id) {
            call.arguments.push_str(&delta.unwrap_or_default());
        }
    }

    fn interrupted(&mut self, event: &Object<'_>, turn: Option<&TurnId>) {
        self.asks.clear();
        for interrupt in event.object("outcome").objects("interrupts") {
            let Some(id) = interrupt.text("id") else { continue };
            // The answer to these has `approved`; that to others is its agent's own.
            if interrupt.text("reason").as_deref() == Some("tool_call")
                && let Some(call) = interrupt.text("toolCallId")
                && let Some(call) = self.call_here(&call)
            {
                call.approval = Some(Approval { id: id.clone(), answer: None });
            }
            self.ask(id, turn);
        }
    }
}
