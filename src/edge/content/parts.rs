//! The parts of one message, as JSON: what `docs/CONTENT.md` lists, whichever dialect each came in.
//!
//! A message stands by itself: what came of its calls later, in other messages of its turn, is looked up in
//! `later` and `answers`, and what is a result of another message's call is shown as such. So it reads the same on
//! whatever page it stands.

use std::collections::HashSet;

use super::ends::whole;
use super::raw::{Json, Object, is_json};
use super::{Approval, Call, Conversation, Entry, Outcome, Part, as_json, is_named};
use crate::edge::attached::messages::{MessagePieces, Piece, Speaks};
use crate::edge::attached::questions::Reply;

/// A question of a message's turn: its name, and what came of it.
pub(in crate::edge) type Answer<'a> = (&'a str, &'a Reply);

/// What came of a call, as it was put out in another message.
pub(in crate::edge) struct Found {
    /// The id of the call.
    call: String,
    pub(in crate::edge) piece: Piece,
}

impl Found {
    /// Its payload bytes.
    pub(in crate::edge) fn len(&self) -> usize {
        self.piece.payload.len()
    }
}

/// What a payload has of a call that began before it, if it may.
pub(in crate::edge) fn found(piece: Piece) -> Option<Found> {
    let wanted = ["ai-sdk/1", "ag-ui/1"];
    if !wanted.contains(&piece.format.as_str()) {
        return None;
    }
    let object = str::from_utf8(&piece.payload).ok().and_then(Object::parse)?;
    let kind = object.text("type").unwrap_or_default();
    let is_result = kind.starts_with("tool-output-") || kind == "TOOL_CALL_RESULT";
    let call = object.text("toolCallId").filter(|_| is_result)?;
    Some(Found { call, piece })
}

/// The parts of a message. `later`: results that its turn put out after it, of whatever calls. `answers`: the
/// questions of its turn since it began, with their answers, oldest first.
pub(in crate::edge) fn of(
    message: &MessagePieces,
    later: &[Found],
    answers: &[Answer<'_>],
) -> Json {
    let mut all = Conversation { keeps_all: true, ..Conversation::default() };
    match message.speaks {
        Speaks::User => {
            let parts = message.pieces.iter();
            let parts = parts.flat_map(|piece| whole(&piece.format, &piece.payload)).collect();
            all.entries.push(Entry::of(message, parts));
        }
        Speaks::Agent | Speaks::Person => {
            all.agent(message.clone());
            all.keeps_all = false;
            let parts = all.entries.iter().flat_map(|entry| &entry.parts);
            let calls = parts.filter_map(|part| match part {
                Part::Call(call) => Some(call.id.as_str()),
                _ => None,
            });
            let calls: HashSet<&str> = calls.collect();
            // Only those of its own calls are looked at again.
            let own = later.iter().filter(|found| calls.contains(found.call.as_str()));
            let pieces: Vec<Piece> = own.map(|found| found.piece.clone()).collect();
            if !pieces.is_empty() {
                let (speaks, turn, from) = (message.speaks, message.turn.clone(), message.from);
                all.agent(MessagePieces { speaks, turn, from, pieces });
            }
        }
    }
    let parts = all.entries.into_iter().flat_map(|entry| entry.parts);
    let parts = parts.filter(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    let parts = parts.map(|part| match part {
        Part::Call(mut call) => {
            call.take(answers);
            rendered(&Part::Call(call))
        }
        part => rendered(&part),
    });
    parts.collect::<Vec<_>>().into()
}

impl Call {
    /// Takes the answer of people.
    fn take(&mut self, answers: &[Answer<'_>]) {
        let reply = |id: &str| {
            answers.iter().rev().find(|(name, _)| is_named(name, id)).map(|(_, reply)| *reply)
        };
        if let Some(approval) = &self.approval {
            let reply = reply(&approval.id);
            return self.judged(reply);
        }
        let answer = reply(&self.id);
        if let (Outcome::Open, Some(Reply::Answered { format, payload })) = (&self.result, answer) {
            self.result = Outcome::Output(as_json(format, payload).to_string());
        }
    }

    /// Where it stands, by name.
    fn state(&self) -> &'static str {
        match (&self.result, &self.approval) {
            (Outcome::Output(_), _) => "output",
            (Outcome::Failed(_), _) => "error",
            (Outcome::Denied, _) | (_, Some(Approval { answer: Some((false, _)), .. })) => "denied",
            (_, Some(Approval { answer: None, .. })) => "approval-requested",
            (_, Some(Approval { answer: Some((true, _)), .. })) => "running",
            (Outcome::Open, None) if self.is_whole() => "input-available",
            (Outcome::Open, None) => "input-streaming",
        }
    }
}

fn part(kind: &'static str) -> Json {
    Json::object([("type", kind.into())])
}

fn rendered(of: &Part) -> Json {
    match of {
        Part::Text(text) => part("text").with("text", text.as_str()),
        Part::Reasoning { id, text, extra, format } => {
            let id = (!id.is_empty()).then(|| id.as_str().into());
            let extra = extra.as_deref().map(Json::raw);
            let known = extra.is_some().then(|| format.as_str().into());
            part("reasoning")
                .with("text", text.as_str())
                .with_some("id", id)
                .with_some("format", known)
                .with_some("extra", extra)
        }
        Part::Call(call) => called(call),
        Part::File { media, url } => {
            part("file").with("media_type", media.as_str()).with("url", url.as_str())
        }
        Part::Step => part("step"),
        Part::Other { format, json } => other(format.as_str(), json),
        Part::Result { id, result } => outcome(part("tool_result").with("id", id.as_str()), result),
        Part::Error(text) => part("error").with("text", text.as_str()),
        Part::Finish { reason, usage } => {
            let reason = reason.as_deref().map(Json::from);
            let usage = usage.as_deref().map(Json::raw);
            part("finish").with_some("reason", reason).with_some("usage", usage)
        }
    }
}

fn called(call: &Call) -> Json {
    let mut out = part("tool_call")
        .with("id", call.id.as_str())
        .with("tool", call.tool.as_str())
        .with("state", call.state());
    let arguments = call.arguments.trim();
    out = match is_json(arguments) {
        true => out.with("arguments", Json::raw(arguments)),
        // As far as it came.
        false => out.with("arguments_text", call.arguments.as_str()),
    };
    if let Some(approval) = &call.approval {
        let mut question = Json::object([("id", approval.id.as_str().into())]);
        if let Some((yes, reason)) = &approval.answer {
            question = question.with("approved", *yes);
            question = question.with_some("reason", reason.as_deref().map(Json::from));
        }
        // What holds stands in `arguments`.
        let proposed = call.proposed.as_deref().filter(|json| is_json(json));
        question = question.with_some("proposed", proposed.map(Json::raw));
        out = out.with("approval", question);
    }
    if call.dynamic {
        out = out.with("dynamic", true);
    }
    if call.by_provider {
        out = out.with("by_provider", true);
    }
    outcome(out.with_some("extra", call.extra.as_deref().map(Json::raw)), &call.result)
}

fn outcome(out: Json, of: &Outcome) -> Json {
    match of {
        Outcome::Output(output) => out.with("output", Json::raw(output)),
        Outcome::Failed(why) => out.with("error", why.as_str()),
        Outcome::Denied => out.with("denied", true),
        Outcome::Open => out,
    }
}

/// JSON that is of no kind above: a source, data, or something that this version does not know.
fn other(format: &str, json: &str) -> Json {
    let kind = Object::parse(json).and_then(|object| object.text("type")).unwrap_or_default();
    let word = match (format, kind.as_str()) {
        ("ai-sdk/1", "source-url" | "source-document") => "source",
        ("ai-sdk/1", kind) if kind.starts_with("data-") => "data",
        ("json", _) | ("ag-ui/1", "CUSTOM") => "data",
        _ => "other",
    };
    part(word).with("format", format).with("value", Json::raw(json))
}
