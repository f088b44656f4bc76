//! What an answer has beside the conversation that goes on: how it ended, what it cost, what went wrong, and
//! what is of no kind that this version knows. Kept only for those who read messages as they are.

use super::raw::Object;
use super::{Conversation, Outcome, Part, parts_of};
use crate::session::Format;

impl Conversation {
    /// A result whose call is in another message.
    pub(super) fn stray(&mut self, id: String, result: Outcome) {
        if self.keeps_all && result != Outcome::Open {
            self.push(Part::Result { id, result });
        }
    }

    /// A payload that is no object of JSON.
    pub(super) fn push_whole(&mut self, format: &Format, payload: &[u8]) {
        for part in whole(format, payload) {
            // A picture, for example. Text under another format than `text` is for those who know that tag.
            if self.keeps_all || matches!(part, Part::File { .. }) {
                self.push(part);
            }
        }
    }

    /// Takes what a chunk has of the end of an answer, or of its failure.
    pub(super) fn end_of(&mut self, format: &str, chunk: &Object<'_>) {
        if !self.keeps_all {
            return;
        }
        let kind = chunk.text("type").unwrap_or_default();
        let finish = |reason: Option<String>, usage: Option<&str>| Part::Finish {
            reason,
            usage: usage.map(str::to_owned),
        };
        let part = match (format, kind.as_str()) {
            ("ai-sdk/1", "finish") => {
                let usage = chunk.object("messageMetadata").get("usage").or(chunk.get("usage"));
                finish(chunk.text("finishReason"), usage)
            }
            ("ai-sdk/1", "error") => Part::Error(chunk.text("errorText").unwrap_or_default()),
            ("ag-ui/1", "RUN_FINISHED") => {
                finish(chunk.text("finishReason"), chunk.object("result").get("usage"))
            }
            ("ag-ui/1", "RUN_ERROR") => Part::Error(chunk.text("message").unwrap_or_default()),
            ("anthropic/1", "message_delta") => {
                finish(chunk.object("delta").text("stop_reason"), chunk.get("usage"))
            }
            ("anthropic/1", "error") => {
                Part::Error(chunk.object("error").text("message").unwrap_or_default())
            }
            ("openai/1", _) => {
                let choices = chunk.objects("choices");
                let reason = choices.first().and_then(|choice| choice.text("finish_reason"));
                match chunk.get("usage") {
                    Some(usage) => finish(reason, Some(usage)),
                    None if reason.is_some() => finish(reason, None),
                    None => return,
                }
            }
            _ => return,
        };
        // What the answer cost may come after why it ended.
        if let (
            Part::Finish { reason: None, usage },
            Some(Part::Finish { usage: known @ None, .. }),
        ) = (&part, self.entry().parts.last_mut())
        {
            known.clone_from(usage);
            return;
        }
        self.push(part);
    }
}

/// A payload as a part: text, bytes, or JSON as it is. Nothing is left out but what is empty.
pub(super) fn whole(format: &Format, payload: &[u8]) -> Vec<Part> {
    match str::from_utf8(payload) {
        Ok(json) if *format == Format::JSON && super::raw::is_json(json) => {
            vec![Part::Other { format: format.clone(), json: json.to_owned() }]
        }
        _ => parts_of(format, payload),
    }
}
