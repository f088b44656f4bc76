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
        let given = piece.text("id").filter(|id| !id.is_empty());
        if let Some(id) = &given {
            self.entry().places.insert(place, id.clone());
        }
        let Some(id) = given.or_else(|| self.entry().places.get(&place).cloned()) else { return };
        let function = piece.object("function");
        let arguments = function.get("arguments").and_then(|text| self.letters.take(text));
        let call = self.begin_call(&id);
        call.tool.push_str(&function.text("name").unwrap_or_default());
        call.arguments.push_str(&arguments.unwrap_or_default());
    }
}
