//! Chunks of chat completions, as they stand in the log beside the text.

use super::super::push::delta_of;
use super::raw::Object;
use super::{Conversation, Outcome};

const FORMAT: &str = "openai/1";

impl Conversation {
    /// Takes a chunk.
    pub(super) fn openai(&mut self, chunk: &Object<'_>) {
        let choices = chunk.objects("choices");
        let first = choices.iter().find(|choice| choice.number("index").unwrap_or(0) == 0);
        let Some(delta) = first.map(delta_of) else { return };
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

    /// The name of the call at a place; some servers give two calls of one answer the same.
    fn name_of(&mut self, id: String, place: u64) -> String {
        let mut others = self.entry().places.iter();
        let is_taken = others.any(|(other, known)| *other != place && *known == id);
        let is_open = self.call_here(&id).is_some_and(|call| call.result == Outcome::Open);
        if is_taken && is_open { format!("{id}~{}", place.saturating_add(1)) } else { id }
    }

    /// A piece of a call: its name comes once, and then its place stands for it.
    fn openai_call(&mut self, piece: &Object<'_>) {
        let place = piece.number("index").unwrap_or(0);
        let function = piece.object("function");
        let arguments = function.get("arguments").and_then(|text| self.letters.take(text));
        let known = self.entry().places.get(&place).cloned();
        // Some servers name it in each piece.
        let given = piece.text("id").filter(|id| !id.is_empty() && known.as_ref() != Some(id));
        let given = given.map(|id| self.name_of(id, place));
        let given = given.filter(|id| known.as_ref() != Some(id));
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
