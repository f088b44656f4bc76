//! Chunks of chat completions, as they stand in the log beside the text.

use super::Conversation;
use super::raw::Object;

const FORMAT: &str = "openai/1";

impl Conversation {
    /// Takes a chunk.
    pub(super) fn openai(&mut self, chunk: &Object<'_>) {
        let choices = chunk.objects("choices");
        let first = choices.iter().find(|choice| choice.number("index").unwrap_or(0) == 0);
        let Some(delta) = first.map(|choice| choice.object("delta")) else { return };
        for name in ["reasoning_content", "reasoning"] {
            if let Some(text) = delta.get(name).and_then(|text| self.letters.take(text)) {
                self.reasoning(FORMAT, "", &text, None);
                break;
            }
        }
        if let Some(refusal) = delta.text("refusal") {
            self.text(&refusal);
        }
        for piece in delta.objects("tool_calls") {
            self.openai_call(&piece);
        }
    }

    /// A piece of a call: its name comes once, and then its place stands for it.
    fn openai_call(&mut self, piece: &Object<'_>) {
        let place = piece.number("index").unwrap_or(0);
        let function = piece.object("function");
        let arguments = function.get("arguments").and_then(|text| self.letters.take(text));
        let known = self.entry().places.get(&place).cloned();
        // Some servers name it in each piece.
        let given = piece.text("id").filter(|id| !id.is_empty() && known.as_ref() != Some(id));
        if let Some(id) = &given {
            self.entry().places.insert(place, id.clone());
            self.begin_call(id, None);
        }
        let Some(call) = given.or(known).and_then(|id| self.call_here(&id)) else { return };
        if call.tool.is_empty() {
            call.tool = function.text("name").unwrap_or_default();
        }
        call.arguments.push_str(&arguments.unwrap_or_default());
    }
}
