//! Events of AG-UI, as they stand in the log beside the text.

use super::raw::Object;
use super::{Conversation, Outcome};
use crate::ids::TurnId;

const FORMAT: &str = "ag-ui/1";

impl Conversation {
    /// Takes an event.
    pub(super) fn ag_ui(&mut self, event: &Object<'_>, turn: Option<&TurnId>) {
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
                let id = text("toolCallId");
                self.begin_call(&id).tool = text("toolCallName");
            }
            "TOOL_CALL_ARGS" | "TOOL_CALL_CHUNK" => {
                let id = text("toolCallId");
                let delta = event.get("delta").and_then(|delta| self.letters.take(delta));
                let call = self.begin_call(&id);
                if let Some(tool) = event.text("toolCallName") {
                    call.tool = tool;
                }
                call.arguments.push_str(&delta.unwrap_or_default());
            }
            "TOOL_CALL_RESULT" => {
                let id = text("toolCallId");
                let Some(call) = self.call(&id) else { return };
                let content = event.get("content").unwrap_or(r#""""#);
                call.result = match event.text("error") {
                    Some(error) => Outcome::Failed(error),
                    None => Outcome::Output(content.to_owned()),
                };
            }
            "RUN_FINISHED" => self.interrupted(event, turn),
            _ => {}
        }
    }

    fn interrupted(&mut self, event: &Object<'_>, turn: Option<&TurnId>) {
        self.asks.clear();
        for interrupt in event.object("outcome").objects("interrupts") {
            if let Some(id) = interrupt.text("id") {
                self.ask(id, turn);
            }
        }
    }
}
