//! An answer as it comes: what each event of its stream means, given all before it.
//!
//! An answer ends by what its dialect calls a finish, never by `[DONE]` or by the end of the connection alone: that is
//! how a server that died looks. After a finish it may go on, so its end waits for the stream's.

use super::super::content::PARAGRAPH;
use super::super::content::raw::{Letters, Object};
use super::{Request, ag_ui, ai_sdk, anthropic, openai, reason};
use crate::client::sse::Frame;
use crate::config::Protocol;
use crate::limits;
use crate::session::{Format, NewEvent};

/// What a piece of an answer means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// Something else, byte for byte as it came.
    Whole(String),
    /// It waits for a tool of this name.
    Tool(String),
    /// It is done with tools.
    Thinking,
    /// What follows may be taken back.
    Mark,
    /// All since the last mark is taken back.
    Rewind,
}

/// How an answer ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// `reason`: where it was not the answer's own end; empty otherwise.
    Complete {
        reason: String,
    },
    Fail {
        reason: String,
    },
    /// It failed for now: another attempt may not.
    Again {
        reason: String,
    },
    /// It goes on when people have answered.
    Ask(Vec<Question>),
}

/// What people are to answer before an agent goes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    /// The endpoint's own name for it.
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) question: NewEvent,
}

/// What has been read of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    dialect: Dialect,
    read: Read,
}

#[derive(Debug)]
enum Dialect {
    AiSdk(ai_sdk::State),
    AgUi(ag_ui::State),
    OpenAi,
    Anthropic(anthropic::State),
}

/// What all dialects know of an answer.
#[derive(Debug, Default)]
pub(super) struct Read {
    pieces: Vec<Piece>,
    /// The end that the answer reported, and whether that is final.
    finish: Option<(End, bool)>,
    /// An error that it may go on after, and whether it has.
    fault: Option<(String, bool)>,
    letters: Letters,
    /// The text part under way.
    part: Option<String>,
    text: Text,
    /// The same where the last mark is.
    marked: Text,
}

/// How the text of an answer stands.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    /// There is some.
    begun: bool,
    /// The next one begins a part of its own.
    border: bool,
}

impl Answer {
    pub(super) fn new(protocol: Protocol, request: &Request<'_>) -> Answer {
        let dialect = match protocol {
            Protocol::AiSdk => Dialect::AiSdk(ai_sdk::State::default()),
            Protocol::AgUi => Dialect::AgUi(ag_ui::State::new(request)),
            Protocol::OpenAi => Dialect::OpenAi,
            Protocol::Anthropic => Dialect::Anthropic(anthropic::State::default()),
        };
        Answer { dialect, read: Read::default() }
    }

    /// What one event of the stream means. One without data is none, wherever it comes, unless it is an error.
    pub(super) fn take(&mut self, frame: &Frame) -> Vec<Piece> {
        let data = frame.data.trim();
        // An error of a dialect that has events of that name has more in it than that it is one.
        let is_own = || {
            matches!(self.dialect, Dialect::Anthropic(_))
                && Object::parse(data).is_some_and(|event| event.get("type").is_some())
        };
        if frame.event == "error" && !is_own() {
            self.read.fail(reason::of(data));
        } else if !data.is_empty() && data != DONE {
            match Object::parse(data) {
                None => self.read.fail("the endpoint sent something that is no JSON".into()),
                Some(object) => match &mut self.dialect {
                    Dialect::AiSdk(state) => state.take(&object, data, &mut self.read),
                    Dialect::AgUi(state) => state.take(&object, data, &mut self.read),
                    Dialect::OpenAi => openai::take(&object, data, &mut self.read),
                    Dialect::Anthropic(state) => state.take(&object, data, &mut self.read),
                },
            }
        }
        std::mem::take(&mut self.read.pieces)
    }

    /// Whether nothing follows an event.
    pub(super) fn is_last(&self, frame: &Frame) -> bool {
        let is_over = match &self.read.finish {
            Some((End::Fail { .. } | End::Again { .. }, true)) => true,
            Some((_, last)) => *last && matches!(self.dialect, Dialect::Anthropic(_)),
            None => false,
        };
        is_over || frame.data.trim() == DONE
    }

    /// Whether it has finished, so that nothing may be waited for but the end of the stream.
    pub(super) fn is_finished(&self) -> bool {
        self.read.finish.as_ref().is_some_and(|(_, last)| *last)
    }

    /// How it ends if nothing more comes; nothing where that would not be its end.
    pub(super) fn end(&self) -> Option<End> {
        let finish = self.read.finish.as_ref().map(|(end, _)| end);
        match (&self.read.fault, finish) {
            // It went on after its error and came to a good end.
            (Some((_, true)), Some(end)) if !matches!(end, End::Fail { .. }) => Some(end.clone()),
            (Some((words, _)), _) => Some(End::Fail { reason: words.clone() }),
            (None, end) => end.cloned(),
        }
    }
}

impl Read {
    /// Takes a piece of the text, which is a JSON string, of the part of this name.
    pub(super) fn text(&mut self, part: Option<String>, text: &str) {
        if part.is_some() && part != self.part {
            if self.part.is_some() {
                self.border();
            }
            self.part = part;
        }
        let Some(text) = self.letters.take(text) else { return };
        self.letters_of_text(text);
    }

    /// Takes text that was whole already.
    pub(super) fn letters_of_text(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        if self.text.border && self.text.begun {
            self.pieces.push(Piece::Text(PARAGRAPH.into()));
        }
        self.go_on();
        self.text = Text { begun: true, border: false };
        if let Some((_, went_on)) = &mut self.fault {
            *went_on = true;
        }
        self.pieces.push(Piece::Text(text));
    }

    /// The next output is a part of its own.
    pub(super) fn border(&mut self) {
        let half = self.letters.end();
        self.letters_of_text(half.map(String::from).unwrap_or_default());
        self.text.border = true;
        self.part = None;
    }

    pub(super) fn whole(&mut self, data: &str) {
        self.pieces.push(Piece::Whole(data.to_owned()));
    }

    pub(super) fn tool(&mut self, name: String) {
        self.pieces.push(Piece::Tool(name));
    }

    pub(super) fn thinking(&mut self) {
        self.pieces.push(Piece::Thinking);
    }

    pub(super) fn mark(&mut self) {
        self.border();
        self.marked = self.text;
        self.pieces.push(Piece::Mark);
    }

    pub(super) fn rewind(&mut self) {
        self.letters = Letters::default();
        self.text = Text { border: true, ..self.marked };
        self.part = None;
        self.pieces.push(Piece::Rewind);
    }

    /// The answer ends so, unless it goes on.
    pub(super) fn finish(&mut self, end: End) {
        self.end_with(end, true);
    }

    /// The answer ends so by a finish reason of its dialect. An agent that loops ends a round for its tools, and
    /// begins the next one when they are done, which may be long in coming.
    pub(super) fn finish_by(&mut self, word: &str, end: End) {
        let asks = matches!(end, End::Ask(_));
        let tools = matches!(word, "tool-calls" | "tool_calls" | "function_call");
        self.end_with(end, asks || !tools);
    }

    /// The answer goes on after what looked like its end.
    pub(super) fn go_on(&mut self) {
        if !matches!(self.finish, Some((End::Fail { .. } | End::Again { .. }, _))) {
            self.finish = None;
        }
    }

    /// An error, which the answer may go on after.
    pub(super) fn fault(&mut self, words: String) {
        self.fault = Some((reason::or_none(words), false));
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.finish(End::Fail { reason: reason::or_none(reason) });
    }

    /// The answer failed, and may not the next time.
    pub(super) fn fail_for_now(&mut self, reason: String) {
        self.finish(End::Again { reason: reason::or_none(reason) });
    }

    fn end_with(&mut self, end: End, last: bool) {
        let half = self.letters.end();
        self.letters_of_text(half.map(String::from).unwrap_or_default());
        // The first failure is the cause.
        if !matches!(self.finish, Some((End::Fail { .. } | End::Again { .. }, true))) {
            self.finish = Some((end, last));
        }
    }
}

/// The longest arguments of a call in a question, in bytes.
pub(super) const ARGUMENTS_BYTES: usize = limits::EVENT_BYTES / 2;

/// What ends a stream, in some dialects; it does not show how the answer ends.
pub(super) const DONE: &str = "[DONE]";

/// A question as text alone, or an object of what there is to know of it.
pub(super) fn question(format: Format, text: String) -> NewEvent {
    NewEvent { format, payload: text.into() }
}
