//! An answer as it comes: a fold from the events of one turn to what they mean, whichever dialect its agent uses.
//!
//! The same events give the same deltas at every node and every time, one event after the other; nothing of it is of a
//! connection. What was sent already is given up, so that an answer costs its open calls and not its text (S10).

use std::mem::{replace, take};

use super::super::content::raw::Object;
use super::super::content::{self, Call, Conversation, Outcome, Part};
use super::delta::{Delta, Kind, PartId};
use super::question::{Asking, Question, Tool};
use super::superseded::Superseded;
use crate::ids::{Serial, StepName, TurnId};
use crate::limits::{ANSWER_CALLS_BYTES, ANSWER_PARTS};
use crate::session::{Event, Fact, Format, Output};

/// The answer of one turn.
pub(super) struct Fold {
    turn: TurnId,
    whole: Conversation,
    /// One for each part of the answer.
    seen: Vec<Seen>,
    /// The text that has not ended.
    open: Option<usize>,
    steps: Vec<StepOf>,
    /// A step that begins with the next output: its name, and its first part.
    next_step: Option<(Option<StepName>, usize)>,
    /// What is left out because it is known to be superseded.
    superseded: Superseded,
    asking: Asking,
    full: bool,
    deltas: Vec<Delta>,
}

/// What was sent of a part.
struct Seen {
    id: PartId,
    begun: bool,
    /// The arguments of a call are known to be whole.
    ready: bool,
    /// Bytes of the arguments that were sent.
    sent: usize,
    /// Which arguments these were: others may have taken their place.
    anew: usize,
}

/// Output between two borders.
struct StepOf {
    name: Option<StepName>,
    /// None where nothing was sent.
    first: Option<Serial>,
    last: Serial,
    part: usize,
}

/// How the arguments of a call come in an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arguments {
    /// Piece by piece; another event marks when they are whole.
    Pieces,
    /// All of them.
    Whole,
    /// Piece by piece, and whole when they are JSON.
    Judged,
}

impl Fold {
    pub(super) fn new(turn: &TurnId, from: Serial, superseded: Superseded) -> Fold {
        Fold {
            turn: turn.clone(),
            whole: Conversation::of_turn(turn, from),
            seen: Vec::new(),
            open: None,
            steps: Vec::new(),
            next_step: Some((None, 0)),
            full: superseded.is_full(),
            superseded,
            asking: Asking::default(),
            deltas: Vec::new(),
        }
    }

    /// Whether the answer has more parts, or larger calls, than can be followed.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// What the next event of the log means; nothing where it is of another turn, or of no interest.
    pub(super) fn take(&mut self, event: &Event) -> Vec<Delta> {
        let Some(fact) = event.fact.as_deref() else { return Vec::new() };
        match fact {
            Fact::Person { input, .. } if *input == self.turn => {
                return vec![Delta::Accepted { answered: false }];
            }
            _ if fact.turn() != Some(&self.turn) => return Vec::new(),
            _ => {}
        }
        if self.asking.take(event, fact) && !self.superseded.knows(event.serial) {
            self.deltas.push(Delta::Waits);
        }
        match fact {
            Fact::Input { held, .. } => self.deltas.push(Delta::Accepted { answered: !held }),
            Fact::Started { .. } => self.deltas.push(Delta::Started),
            Fact::Output(output) => self.output(event, output),
            Fact::Step { step, .. } => self.border(Some(step.clone())),
            Fact::Rewound { step, from, .. } if !self.superseded.knows(event.serial) => {
                self.rewind(step.as_ref(), *from);
            }
            Fact::Waiting { .. } => {
                self.end_text();
                // That it waits may come only later, or it may be known to have gone on since.
                if self.asking.is_open() && !self.superseded.goes_on_after(event.serial) {
                    self.deltas.push(Delta::Waits);
                }
            }
            Fact::Ended { end, .. } => {
                self.end_text();
                self.deltas.push(Delta::Ended(end.clone()));
            }
            Fact::Requested { .. }
            | Fact::Answered { .. }
            | Fact::Expired { .. }
            | Fact::Withdrawn { .. } => {
                self.question(event, fact);
            }
            _ => {}
        }
        take(&mut self.deltas)
    }

    fn question(&mut self, event: &Event, fact: &Fact) {
        let json = || content::as_json(&event.format, &event.payload).to_string();
        match fact {
            Fact::Requested { interaction, kind, .. } => {
                self.end_text();
                let (interaction, kind) = (interaction.clone(), kind.as_str().to_owned());
                let mut pending = Question { interaction, kind, question: json(), call: None };
                pending.call = self.call_of(event, &pending);
                self.deltas.push(Delta::Question(pending));
            }
            Fact::Answered { interaction, .. } => {
                let (interaction, answer) = (interaction.clone(), json());
                self.deltas.push(Delta::Answered { interaction, answer });
            }
            Fact::Expired { interaction, .. } | Fact::Withdrawn { interaction, .. } => {
                self.deltas.push(Delta::Expired { interaction: interaction.clone() });
            }
            _ => {}
        }
    }

    /// The id of the call that a question is about. Clients get it before, whether its agent sent it or not.
    fn call_of(&mut self, event: &Event, pending: &Question) -> Option<String> {
        let named = Tool::of(&pending.question).and_then(|tool| tool.id);
        if let Some(id) = &named
            && self.is_begun(id)
        {
            self.ready(id);
            return named;
        }
        let Some(chunk) = pending.call_of_its_own() else { return named };
        let before = self.deltas.len();
        let format = Format::parse("ai-sdk/1").expect("the name of a dialect is a format");
        let call = Event { format, payload: chunk.into(), ..event.clone() };
        self.fold(&call, Arguments::Whole);
        let step = self.steps.last().and_then(|step| step.name.clone());
        self.append_output(event.serial, before, step.as_ref());
        named.or_else(|| Some(pending.interaction.as_str().to_owned()))
    }

    fn is_begun(&self, id: &str) -> bool {
        let mut parts = self.whole.entries[0].parts.iter().zip(&self.seen);
        parts.any(|(part, seen)| matches!(part, Part::Call(call) if call.id == id && seen.begun))
    }

    /// What of it people are to answer.
    pub(super) fn asking(&self) -> &Asking {
        &self.asking
    }

    fn output(&mut self, event: &Event, output: &Output) {
        // What is not for everyone is for none of those who come here.
        if output.internal || self.superseded.has(event.serial, output.step.as_ref()) || self.full {
            return;
        }
        if self.next_step.is_none()
            && self.steps.last().is_some_and(|step| step.name != output.step)
        {
            self.border(output.step.clone());
        }
        let before = self.deltas.len();
        match event.format.as_str() {
            "ai-sdk/1" => self.ai_sdk(event),
            "ag-ui/1" => {
                self.fold(event, Arguments::Judged);
                self.ag_ui(event);
            }
            _ => self.fold(event, Arguments::Judged),
        }
        if before < self.deltas.len() {
            self.append_output(event.serial, before, output.step.as_ref());
        }
    }

    /// There is output in the step under way, which may begin with it.
    fn append_output(&mut self, serial: Serial, before: usize, name: Option<&StepName>) {
        // What a border ends is of the step before it, and is no output of the next one.
        let is_end = |delta: &&Delta| matches!(delta, Delta::Ends(..));
        let ended = before + self.deltas[before..].iter().take_while(is_end).count();
        if ended < self.deltas.len()
            && let Some((_, part)) = self.next_step.take()
        {
            self.steps.push(StepOf { name: name.cloned(), first: None, last: serial, part });
            self.deltas.insert(ended, Delta::Step);
        }
        if let Some(step) = self.steps.last_mut() {
            step.first.get_or_insert(serial);
            step.last = serial;
        }
    }

    fn border(&mut self, name: Option<StepName>) {
        self.end_text();
        match (self.steps.last_mut(), &mut self.next_step) {
            (_, Some((next, _))) => *next = name,
            (Some(step), None) if step.first.is_none() => step.name = name,
            (_, None) => self.next_step = Some((name, self.whole.entries[0].parts.len())),
        }
    }

    /// The output from a place on is superseded.
    fn rewind(&mut self, step: Option<&StepName>, from: Serial) {
        self.end_text();
        let Some(at) = self.steps.iter().position(|step| from <= step.last && step.first.is_some())
        else {
            return;
        };
        let last = at + 1 == self.steps.len();
        let met = &mut self.steps[at];
        let is_all = met.first.is_some_and(|first| from <= first);
        let is_its = step.is_none() || met.name.as_ref() == step;
        let since_step = last && is_all && is_its && self.next_step.is_none();
        let (part, name) = (met.part, met.name.clone());
        if since_step {
            met.first = None;
        } else {
            self.steps.truncate(at);
            self.next_step = Some((name, part));
        }
        self.whole.take_back(part);
        self.deltas.push(Delta::Rewound { since_step, from });
    }

    /// Takes a chunk of the AI SDK: borders and data are sent as they are, all else has a place in the content.
    fn ai_sdk(&mut self, event: &Event) {
        let chunk = str::from_utf8(&event.payload).ok();
        let Some((json, chunk)) = chunk.and_then(|json| Some((json, Object::parse(json)?))) else {
            return self.fold(event, Arguments::Pieces);
        };
        let kind = chunk.text("type").unwrap_or_default();
        match kind.as_str() {
            "start" | "message-metadata" | "finish" => {
                if let Some(metadata) = chunk.get("messageMetadata") {
                    self.deltas.push(Delta::Metadata(metadata.to_owned()));
                }
            }
            "start-step" => self.border(self.steps.last().and_then(|step| step.name.clone())),
            "finish-step" | "reset-step" | "abort" | "error" => {}
            "tool-input-available" | "tool-input-error" => self.fold(event, Arguments::Whole),
            "source-url" | "source-document" | "custom" | "file" | "reasoning-file" => {
                self.fold(event, Arguments::Pieces);
            }
            _ if ["text-", "reasoning-", "tool-"].iter().any(|known| kind.starts_with(known)) => {
                self.fold(event, Arguments::Pieces);
            }
            _ => self.other(&event.format, json),
        }
    }

    /// Passes on what an event of AG-UI has that is no content.
    fn ag_ui(&mut self, event: &Event) {
        let Some(json) = str::from_utf8(&event.payload).ok() else { return };
        let kind = Object::parse(json).and_then(|event| event.text("type")).unwrap_or_default();
        let sent = ["STATE_SNAPSHOT", "STATE_DELTA", "CUSTOM", "RAW"].contains(&kind.as_str());
        if sent || kind.starts_with("ACTIVITY_") {
            self.other(&event.format, json);
        }
    }

    fn other(&mut self, format: &Format, json: &str) {
        self.deltas.push(Delta::Other { format: format.clone(), json: json.to_owned() });
    }

    /// Puts an event into the content, and passes on what changed there.
    fn fold(&mut self, event: &Event, arguments: Arguments) {
        self.whole.take(&event.format, &event.payload, Some(&self.turn));
        let (mut number, mut held) = (0, 0);
        for at in 0..self.whole.entries[0].parts.len() {
            let is_new = at == self.seen.len();
            if is_new {
                let id = PartId { serial: event.serial, number };
                self.seen.push(Seen { id, begun: false, ready: false, sent: 0, anew: 0 });
                number += 1;
            }
            let part = replace(&mut self.whole.entries[0].parts[at], Part::Step);
            let left = self.part(at, part, is_new, (event, arguments));
            if let Part::Call(call) = &left {
                held += call.arguments.len();
            }
            self.whole.entries[0].parts[at] = left;
        }
        self.full = ANSWER_CALLS_BYTES < held || ANSWER_PARTS < self.seen.len();
    }

    /// Sends what is new of a part; returns what is left to be sent later.
    fn part(&mut self, at: usize, part: Part, is_new: bool, by: (&Event, Arguments)) -> Part {
        match part {
            Part::Text(text) => {
                if !text.is_empty() {
                    self.goes(at, Kind::Text, text, by.0.serial);
                }
                Part::Text(String::new())
            }
            Part::Reasoning { id, text, extra, format } => {
                if is_new || !text.is_empty() {
                    self.goes(at, Kind::Reasoning, text, by.0.serial);
                }
                Part::Reasoning { id, text: String::new(), extra, format }
            }
            Part::Call(call) => Part::Call(self.call(at, call, by)),
            Part::File { media, url } if is_new => {
                self.end_text();
                self.deltas.push(Delta::File { media, url });
                Part::File { media: String::new(), url: String::new() }
            }
            Part::Other { format, json } if is_new => {
                self.end_text();
                self.deltas.push(Delta::Other { format: format.clone(), json });
                Part::Other { format, json: String::new() }
            }
            other => other,
        }
    }

    fn goes(&mut self, at: usize, kind: Kind, text: String, serial: Serial) {
        if self.open != Some(at) {
            self.end_text();
            let seen = &mut self.seen[at];
            if seen.begun {
                // It goes on after something else: for whoever reads it is another one.
                seen.id = PartId { serial, number: 0 };
            }
            seen.begun = true;
            self.open = Some(at);
            self.deltas.push(Delta::Begins(seen.id, kind));
        }
        if !text.is_empty() {
            self.deltas.push(Delta::Goes(self.seen[at].id, kind, text));
        }
    }

    fn end_text(&mut self) {
        let Some(at) = self.open.take() else { return };
        let (kind, extra) = match &mut self.whole.entries[0].parts[at] {
            Part::Reasoning { extra, .. } => (Kind::Reasoning, extra.take()),
            _ => (Kind::Text, None),
        };
        self.deltas.push(Delta::Ends(self.seen[at].id, kind, extra));
    }

    fn call(&mut self, at: usize, mut call: Call, by: (&Event, Arguments)) -> Call {
        let (event, arguments) = by;
        if call.tool.is_empty() {
            return call;
        }
        let id = self.seen[at].id;
        if !self.seen[at].begun || self.seen[at].anew != call.anew {
            self.end_text();
            self.seen[at] = Seen { id, begun: true, ready: false, sent: 0, anew: call.anew };
            self.deltas.push(Delta::CallBegins(id, head(&call)));
        }
        let seen = &mut self.seen[at];
        if !seen.ready {
            let more = call.arguments.get(seen.sent..).unwrap_or_default();
            if arguments != Arguments::Whole && !more.is_empty() {
                self.deltas.push(Delta::CallGoes(id, head(&call), more.to_owned()));
            }
            seen.sent = call.arguments.len();
            let is_whole = match arguments {
                Arguments::Pieces => false,
                Arguments::Whole => is_of(event, &call.id),
                Arguments::Judged => call.arguments.trim_end().ends_with('}') && call.is_whole(),
            };
            // Its result shows as well that nothing more of them comes.
            if is_whole || call.result != Outcome::Open {
                seen.ready = true;
                self.deltas.push(Delta::CallReady(id, call.clone()));
            }
        }
        if call.result != Outcome::Open && !is_shown(&call.result) {
            let preliminary = is_preliminary(event);
            if !preliminary {
                // It is a part of its own to some who read it: a text that goes on after it is another one.
                self.end_text();
            }
            self.deltas.push(Delta::CallResult { part: id, call: call.clone(), preliminary });
            call.result = SENT;
            if !preliminary {
                call.arguments.clear();
            }
        }
        call
    }

    /// Nothing more comes of the arguments of a call.
    fn ready(&mut self, id: &str) {
        for (part, seen) in self.whole.entries[0].parts.iter().zip(&mut self.seen) {
            if let Part::Call(call) = part
                && call.id == id
                && seen.begun
                && !seen.ready
            {
                seen.ready = true;
                self.deltas.push(Delta::CallReady(seen.id, call.clone()));
            }
        }
    }
}

/// Stands for a result that was sent: no JSON is empty.
const SENT: Outcome = Outcome::Output(String::new());

fn is_shown(result: &Outcome) -> bool {
    matches!(result, Outcome::Output(output) if output.is_empty())
}

/// A call without what is large of it.
fn head(call: &Call) -> Call {
    let (id, tool, extra) = (call.id.clone(), call.tool.clone(), call.extra.clone());
    let (dynamic, by_provider) = (call.dynamic, call.by_provider);
    Call { id, tool, extra, dynamic, by_provider, ..Call::default() }
}

fn chunk(event: &Event) -> Object<'_> {
    str::from_utf8(&event.payload).ok().and_then(Object::parse).unwrap_or_default()
}

fn is_of(event: &Event, call: &str) -> bool {
    chunk(event).text("toolCallId").as_deref() == Some(call)
}

fn is_preliminary(event: &Event) -> bool {
    event.format.as_str() == "ai-sdk/1" && chunk(event).is_true("preliminary")
}
