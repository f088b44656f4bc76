//! The conversation of a session as content: texts, calls of tools with what came of them, files, reasoning.
//!
//! Made of the messages of the log ([`super::attached::messages`]), whatever dialect each agent uses;
//! `docs/CONTENT.md` has the table. What a dialect has beside these kinds stays whole, for those who use it.

mod ag_ui;
mod ai_sdk;
mod anthropic;
mod calls;
mod ends;
mod openai;
pub(in crate::edge) mod parts;
#[cfg(test)]
mod parts_tests;
pub(super) mod raw;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::raw::{Json, Letters, Object};
use super::attached::messages::{MessagePieces, Messages, Speaks};
use super::attached::questions::{Question, Reply};
use crate::ids::{Serial, TurnId};
use crate::session::Format;

/// What stands between the texts of two parts where they are one text.
pub(super) const PARAGRAPH: &str = "\n\n";

/// A conversation, oldest entry first.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) entries: Vec<Entry>,
    /// Where the call of a name is: its entry and its part.
    calls: HashMap<String, (usize, usize)>,
    /// The agent's last question, and the turn of it.
    pub(super) asks: Vec<Ask>,
    asks_of: Option<TurnId>,
    /// Calls that earlier attempts began, and for which they reported no result.
    pub(super) in_doubt: Vec<Call>,
    /// All of it is kept, also what no request to an endpoint has.
    keeps_all: bool,
    /// The letters of the text, of the reasoning and of the arguments that are under way.
    letters: Letters,
}

/// What one side sent in one go.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) speaks: Speaks,
    pub(super) turn: Option<TurnId>,
    pub(super) from: Serial,
    pub(super) parts: Vec<Part>,
    /// The next text begins a part of its own.
    border: bool,
    /// Names of the calls of this entry by their place in a stream, where a dialect names them once.
    places: HashMap<u64, String>,
    /// Where data of a type and an id is.
    data: HashMap<(String, String), usize>,
    /// The last call that a chunk of its own was of.
    chunked: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// `extra`: the dialect's own members, a signature for example, which go back as they came.
    Reasoning {
        id: String,
        text: String,
        extra: Option<String>,
        format: Format,
    },
    Call(Call),
    File {
        media: String,
        /// Where it is; a `data:` URL where it is in the log.
        url: String,
    },
    /// A step begins.
    Step,
    /// All else, as it came: JSON of this format.
    Other {
        format: Format,
        json: String,
    },
    /// What came of a call that another message has. For those who read messages one by one, as the next two are.
    Result {
        id: String,
        result: Outcome,
    },
    /// The answer went wrong.
    Error(String),
    /// The answer came to its end: why, and what it cost, as its dialect has it.
    Finish {
        reason: Option<String>,
        usage: Option<String>,
    },
}

/// One call of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) tool: String,
    /// JSON, once all of it is there.
    pub(super) arguments: String,
    /// What its agent wanted to call it with, where people put other arguments in their place.
    pub(super) proposed: Option<String>,
    /// How often other arguments took the place of those that had come.
    pub(super) anew: usize,
    pub(super) result: Outcome,
    pub(super) approval: Option<Approval>,
    /// The tool is none that the endpoint's client knows by its type.
    pub(super) dynamic: bool,
    /// The provider of the model runs it.
    pub(super) by_provider: bool,
    /// The dialect's own members, as they came.
    pub(super) extra: Option<String>,
}

/// What came of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Outcome {
    #[default]
    Open,
    /// JSON.
    Output(String),
    Failed(String),
    Denied,
}

/// What people are to decide about a call before it is made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Approval {
    pub(super) id: String,
    /// Whether they let it, and their note.
    pub(super) answer: Option<(bool, Option<String>)>,
}

/// Something that an endpoint's answer ended with, for people to answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) reply: Reply,
}

impl Conversation {
    /// The conversation that messages are, as its agent is to go on in `turn`: the output of earlier attempts at that
    /// turn is left out, but what came before an answer of people stays.
    pub(super) fn of(messages: &Messages, turn: &TurnId) -> Conversation {
        let waited = messages.questions.waited(turn).map(|(at, _)| at);
        let mut whole = Conversation::default();
        whole.doubt(messages.tried.iter(), turn);
        for mut message in messages.as_pieces() {
            if message.speaks == Speaks::Agent && message.turn.as_ref() == Some(turn) {
                message.pieces.retain(|piece| waited.is_some_and(|at| piece.serial < at));
            }
            match message.speaks {
                Speaks::User => whole.user(&message),
                Speaks::Agent | Speaks::Person => whole.agent(message),
            }
        }
        whole.entries.retain(|entry| !entry.parts.is_empty());
        if messages.begins().is_some() {
            // What is left of an answer may begin in the middle of a sentence, or of a call.
            let first = whole.entries.iter().position(|entry| entry.speaks == Speaks::User);
            whole.entries.drain(..first.unwrap_or(0));
        }
        whole.answer(messages, turn, waited.is_some());
        whole.name_calls(turn);
        whole
    }

    fn user(&mut self, message: &MessagePieces) {
        let brought =
            message.pieces.iter().find_map(|it| ai_sdk::messages(&it.format, &it.payload));
        if let Some(brought) = brought {
            // What came before this session began, and the input of a person now.
            for (speaks, parts) in brought {
                self.entries.push(Entry { speaks, ..Entry::of(message, parts) });
            }
            return;
        }
        let parts = message.pieces.iter().flat_map(|piece| parts_of(&piece.format, &piece.payload));
        let parts = parts.collect();
        self.entries.push(Entry::of(message, parts));
    }

    fn agent(&mut self, message: MessagePieces) {
        let goes_on = self.entries.last().is_some_and(|last| {
            last.speaks == message.speaks && last.turn == message.turn && last.turn.is_some()
        });
        if !goes_on {
            self.entries.push(Entry::of(&message, Vec::new()));
        }
        for piece in &message.pieces {
            self.take(&piece.format, &piece.payload, message.turn.as_ref());
        }
        // Its text is not gone on with by the next message.
        self.entry().border = true;
    }

    /// An agent's output in a turn, for those who read it as it comes: nothing yet.
    pub(super) fn of_turn(turn: &TurnId, from: Serial) -> Conversation {
        let (speaks, turn, pieces) = (Speaks::Agent, Some(turn.clone()), Vec::new());
        let message = MessagePieces { speaks, turn, from, pieces };
        let entries = vec![Entry::of(&message, Vec::new())];
        Conversation { entries, ..Conversation::default() }
    }

    /// Takes the next output of the agent of the last entry.
    pub(super) fn take(&mut self, format: &Format, payload: &[u8], turn: Option<&TurnId>) {
        if *format == Format::TEXT {
            return self.text(&String::from_utf8_lossy(payload));
        }
        let object =
            str::from_utf8(payload).ok().and_then(|json| Some((json, Object::parse(json)?)));
        let Some((json, object)) = object else {
            return self.push_whole(format, payload);
        };
        self.end_of(format.as_str(), &object);
        match format.as_str() {
            "ai-sdk/1" => self.ai_sdk(&object, json),
            "ag-ui/1" => self.ag_ui(&object, json, turn),
            "openai/1" => self.openai(&object),
            "anthropic/1" => self.anthropic(&object),
            _ => self.push(Part::Other { format: format.clone(), json: json.to_owned() }),
        }
    }

    /// The entry that is under way.
    fn entry(&mut self) -> &mut Entry {
        self.entries.last_mut().expect("an entry is begun before its parts")
    }

    fn push(&mut self, part: Part) {
        self.entry().parts.push(part);
    }

    fn border(&mut self) {
        self.entry().border = true;
    }

    /// The last entry's content from a part on is superseded by what comes next. Parts keep their places.
    pub(super) fn take_back(&mut self, from: usize) {
        let last = self.entries.len() - 1;
        self.calls.retain(|_, (entry, part)| *entry != last || *part < from);
        self.letters = Letters::default();
        let entry = self.entry();
        entry.parts.iter_mut().skip(from).for_each(|part| *part = Part::Step);
        entry.data.retain(|_, part| *part < from);
        (entry.chunked, entry.border) = (None, true);
        entry.places.clear();
    }

    /// Text goes on where it is not a part of its own.
    fn text(&mut self, text: &str) {
        let entry = self.entry();
        let border = std::mem::take(&mut entry.border);
        let later = entry.parts.iter().any(|part| matches!(part, Part::Text(_)));
        match entry.parts.last_mut() {
            Some(Part::Text(whole)) if !border => whole.push_str(text),
            // It stands for the border, because in the log the texts of one message are one text.
            _ if later && text == PARAGRAPH => entry.parts.push(Part::Text(String::new())),
            _ => entry.parts.push(Part::Text(text.to_owned())),
        }
    }

    /// Reasoning of this id begins; steps of one answer may use the same.
    fn begin_reasoning(&mut self, format: &str, id: &str, extra: Option<&str>) {
        let format = Format::parse(format).expect("the names of dialects are formats");
        let (id, extra) = (id.to_owned(), extra.map(str::to_owned));
        self.push(Part::Reasoning { id, text: String::new(), extra, format });
    }

    /// The newest reasoning of this id goes on.
    fn reasoning(&mut self, format: &str, id: &str, text: &str, extra: Option<&str>) {
        let open = self.entry().parts.iter_mut().rev().find_map(|part| match part {
            Part::Reasoning { id: other, text, extra, .. } if other == id => Some((text, extra)),
            _ => None,
        });
        if let Some((whole, before)) = open {
            whole.push_str(text);
            *before = extra.map(str::to_owned).or(before.take());
            return;
        }
        self.begin_reasoning(format, id, extra);
        self.reasoning(format, id, text, None);
    }

    /// The question to people.
    fn ask(&mut self, id: String, turn: Option<&TurnId>) {
        self.asks_of = turn.cloned();
        self.asks.push(Ask { id, reply: Reply::Open });
    }

    /// Puts the answers of people where they belong. `goes_on`: the agent is about to go on after some in `turn`.
    fn answer(&mut self, messages: &Messages, turn: &TurnId, goes_on: bool) {
        for ask in &mut self.asks {
            ask.reply = reply(messages, turn, &ask.id).unwrap_or(Reply::Expired);
        }
        if self.asks_of.as_ref() != Some(turn) {
            self.asks.clear();
        }
        let last = self.entries.len().saturating_sub(1);
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let now = goes_on && entry.turn.as_ref() == Some(turn);
            let Some(of) = entry.turn.clone() else { continue };
            for part in &mut entry.parts {
                let Part::Call(call) = part else { continue };
                if let Some(approval) = &call.approval {
                    let reply = reply(messages, &of, &approval.id);
                    call.judged(reply.as_ref());
                }
                call.settle(reply(messages, &of, &call.id), now, at == last);
            }
        }
    }
}

/// The answer of people to the question of this name in this turn, if there is one.
fn reply(messages: &Messages, turn: &TurnId, id: &str) -> Option<Reply> {
    let named = |question: &&Question| {
        question.turn == *turn && is_named(question.interaction.as_str(), id)
    };
    messages.questions.all().rev().find(named).map(|question| question.reply.clone())
}

/// The name of a question: the endpoint's own, with a number where a name was taken.
pub(super) fn is_named(interaction: &str, id: &str) -> bool {
    let rest = interaction.strip_prefix(id).unwrap_or("-");
    let number = rest.strip_prefix('~').unwrap_or("-");
    rest.is_empty() || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether people let it, and their note: `true`, or an object whose member `approved` is, is a yes. No person
/// has answered where the answer is missing.
fn approved(reply: &Reply) -> Option<(bool, Option<String>)> {
    let Reply::Answered { format, payload } = reply else { return None };
    let text = String::from_utf8_lossy(payload);
    if *format != Format::JSON {
        return Some((false, Some(text.into_owned())));
    }
    if let Some(object) = Object::parse(&text) {
        return Some((object.is_true("approved"), object.text("reason")));
    }
    Some((text.trim() == "true", raw::string(&text)))
}

impl Entry {
    fn of(message: &MessagePieces, parts: Vec<Part>) -> Entry {
        let (speaks, turn, from) = (message.speaks, message.turn.clone(), message.from);
        let (places, data) = (HashMap::new(), HashMap::new());
        Entry { speaks, turn, from, parts, border: false, places, data, chunked: None }
    }

    /// Whether it is the agent's side, on which also whoever took over is.
    pub(super) fn is_agent(&self) -> bool {
        self.speaks != Speaks::User
    }
}

/// Whether something that an agent put out is in requests to endpoints.
pub(super) fn is_shown(format: &Format, payload: &[u8]) -> bool {
    if *format == Format::TEXT {
        return true;
    }
    let Some(object) = str::from_utf8(payload).ok().and_then(Object::parse) else { return false };
    let kind = object.text("type").unwrap_or_default();
    let kind = kind.as_str();
    match format.as_str() {
        "ai-sdk/1" => {
            let border = ["start", "finish", "finish-step", "message-metadata", "data-omitted"];
            !border.contains(&kind) && !object.is_true("transient")
        }
        "ag-ui/1" => {
            let shown = ["TEXT_MESSAGE_", "REASONING_", "TOOL_CALL_", "RUN_FINISHED"];
            shown.iter().any(|shown| kind.starts_with(shown))
        }
        "openai/1" => !object.list("choices").is_empty(),
        "anthropic/1" => kind.starts_with("content_block_"),
        _ => false,
    }
}

/// Whether this is a conversation that a client brought along.
pub(super) fn is_brought(format: &Format, payload: &[u8]) -> bool {
    ai_sdk::messages(format, payload).is_some_and(|messages| !messages.is_empty())
}

/// The texts of a message that a person sent in parts, or of the last one of a conversation that was brought along.
pub(super) fn texts(format: &Format, payload: &[u8]) -> Option<String> {
    let last = |mut messages: Vec<(Speaks, Vec<Part>)>| messages.pop().map(|(_, parts)| parts);
    let parts = ai_sdk::message(format, payload)
        .or_else(|| ai_sdk::messages(format, payload).and_then(last))?;
    let texts = parts.into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    Some(texts.collect::<Vec<_>>().join(PARAGRAPH))
}

/// The input of a person, as parts; none where it is empty.
pub(super) fn parts_of(format: &Format, payload: &[u8]) -> Vec<Part> {
    if let Some(parts) = ai_sdk::message(format, payload) {
        return parts;
    }
    let media = format.as_str().split(';').next().unwrap_or_default().trim();
    let is_media = ["image/", "audio/", "video/"].iter().any(|kind| media.starts_with(kind));
    let text = str::from_utf8(payload).ok().filter(|_| !is_media && *format != Format::RAW);
    match text {
        Some(text) if text.trim().is_empty() => Vec::new(),
        Some(text) => vec![Part::Text(text.to_owned())],
        None => {
            let media = if media.contains('/') { media } else { "application/octet-stream" };
            let url = format!("data:{media};base64,{}", STANDARD.encode(payload));
            vec![Part::File { media: media.to_owned(), url }]
        }
    }
}

/// Content as JSON: text is a string, and bytes are in base64.
pub(super) fn as_json(format: &Format, payload: &[u8]) -> Json {
    match str::from_utf8(payload) {
        Ok(text) if *format == Format::JSON => Json::raw(text),
        Ok(text) if *format != Format::RAW => text.into(),
        _ => Json::object([
            ("format", format.as_str().into()),
            ("base64", STANDARD.encode(payload).into()),
        ]),
    }
}
