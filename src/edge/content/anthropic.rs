//! Events of Anthropic's Messages API, as they stand in the log beside the text.

use super::raw::Object;
use super::{Conversation, Outcome};

const FORMAT: &str = "anthropic/1";

impl Conversation {
    /// Takes an event. Blocks have numbers, which begin anew in each answer.
    pub(super) fn anthropic(&mut self, event: &Object<'_>) {
        let index = event.number("index").unwrap_or(0);
        match event.text("type").unwrap_or_default().as_str() {
            "content_block_start" => self.begin_block(index, &event.object("content_block"), event),
            "content_block_delta" => self.block_goes_on(index, &event.object("delta")),
            "content_block_stop" => {
                // None of the arguments came: there are none.
                let known = self.entry().places.remove(&index);
                if let Some(call) = known.and_then(|id| self.call_here(&id))
                    && call.arguments.trim().is_empty()
                {
                    call.begin_arguments("{}");
                }
            }
            _ => {}
        }
    }

    fn begin_block(&mut self, index: u64, block: &Object<'_>, event: &Object<'_>) {
        let kind = block.text("type").unwrap_or_default();
        match kind.as_str() {
            "thinking" => self.begin_reasoning(FORMAT, &index.to_string(), None),
            "redacted_thinking" => {
                let block = event.get("content_block");
                self.begin_reasoning(FORMAT, &index.to_string(), block);
            }
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                let id = block.text("id").unwrap_or_default();
                self.entry().places.insert(index, id.clone());
                let call = self.begin_call(&id, block.text("name"));
                call.by_provider = kind != "tool_use";
                if let Some(input) = block.get("input").filter(|input| *input != "{}") {
                    call.begin_arguments(input);
                }
            }
            _ if kind.ends_with("_tool_result") => {
                let result = Outcome::Output(block.get("content").unwrap_or("null").to_owned());
                let id = block.text("tool_use_id").unwrap_or_default();
                match self.called(&id) {
                    Some(call) => call.result = result,
                    None => self.stray(id, result),
                }
            }
            _ => {}
        }
    }

    fn block_goes_on(&mut self, index: u64, delta: &Object<'_>) {
        let mut letters = |name: &str| delta.get(name).and_then(|text| self.letters.take(text));
        match delta.text("type").unwrap_or_default().as_str() {
            "thinking_delta" => {
                let text = letters("thinking").unwrap_or_default();
                self.reasoning(FORMAT, &index.to_string(), &text, None);
            }
            "signature_delta" => {
                self.reasoning(FORMAT, &index.to_string(), "", delta.get("signature"));
            }
            "input_json_delta" => {
                let more = letters("partial_json").unwrap_or_default();
                let known = self.entry().places.get(&index).cloned();
                if let Some(call) = known.and_then(|id| self.call_here(&id)) {
                    call.arguments.push_str(&more);
                }
            }
            _ => {}
        }
    }
}
