//! The conversation of a session as messages: a projection of its log, made when it is asked for.
//!
//! Output of a turn, and of a step where there are steps, is one message, whoever had the turn, until
//! somebody speaks into the turn: what is said after that is another one. What a later attempt superseded is
//! in none. Inputs are messages of who sent them, and what a person who took over said is a message of that
//! person. Bounded in events that are read and in bytes that are kept: then the oldest go first (S10).

use std::collections::{HashMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::content;
use super::super::error::{self, Problem};
use super::super::json as json_text;
use super::Visibility;
use super::fold::is_internal;
use super::questions::Questions;
use crate::ids::{AgentName, Cursor, Serial, SessionId, StepName, TurnId};
use crate::limits::{MESSAGES_BYTES, MESSAGES_EVENTS, MESSAGES_EVENTS_MAX};
use crate::runtime::{Delivery, Freshness, Sessions, Start};
use crate::session::{Event, Fact, Format, Output, Sender, Status, TurnStatus};

/// Payload bytes of the inputs of one turn that its agent is told of, where they are more than all else may have.
const INPUTS_BYTES: usize = 4 * MESSAGES_BYTES;

/// Messages, oldest first.
#[derive(Default)]
pub(in crate::edge) struct Messages {
    visibility: Visibility,
    /// The turn that they are read for, if they are.
    reader: Option<TurnReader>,
    all: VecDeque<Message>,
    /// Messages that went to make room, and were there before the first.
    dropped: usize,
    /// Payload bytes of all.
    bytes: usize,
    /// Whether there is something older.
    more: bool,
    /// What the agents asked.
    pub(in crate::edge) questions: Questions,
    /// The messages of agents in turns that are not over, by their number from the first that ever was.
    turns: HashMap<TurnId, Vec<usize>>,
}

/// Who reads a conversation to go on in a turn: what it is not told of takes no room.
pub(in crate::edge) struct TurnReader {
    pub(in crate::edge) turn: TurnId,
    pub(in crate::edge) agent: AgentName,
    /// What the turn put out after this is what an earlier attempt came to.
    pub(in crate::edge) kept_to: Serial,
}

struct Message {
    role: Speaks,
    turn: Option<TurnId>,
    agent: Option<AgentName>,
    step: Option<StepName>,
    sender: Option<Sender>,
    input: Option<TurnId>,
    internal: bool,
    pieces: VecDeque<Piece>,
    from: Serial,
    to: Serial,
    /// Bytes that are missing at the beginning.
    cut: u64,
    complete: bool,
    /// Somebody spoke after it: what follows is another message.
    closed: bool,
    /// How its turn ended.
    end: Option<&'static str>,
}

/// One message as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) struct Spoken {
    pub(in crate::edge) speaks: Speaks,
    pub(in crate::edge) turn: Option<TurnId>,
    pub(in crate::edge) from: Serial,
    pub(in crate::edge) pieces: Vec<Piece>,
}

/// One payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) struct Piece {
    pub(in crate::edge) serial: Serial,
    pub(in crate::edge) format: Format,
    pub(in crate::edge) payload: bytes::Bytes,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Speaks {
    Agent,
    User,
    /// Who had control.
    Person,
}

/// Reads the conversation up to a place of the log.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn read(
    sessions: &Sessions,
    id: &SessionId,
    status: &Status,
    upto: Cursor,
    visibility: Visibility,
    deadline: Instant,
) -> Result<Messages, Problem> {
    let mut messages = Messages { visibility, ..Messages::default() };
    if upto.serial < status.first {
        messages.more = Serial(1) < status.first;
        return Ok(messages);
    }
    let start = begin(status, upto.serial);
    messages.more = Serial(1) < start;
    let of = (sessions, id, start);
    messages.more |= each(of, upto, deadline, |event| messages.take(event)).await?;
    Ok(messages)
}

/// Reads the conversation as an agent is to go on in a turn.
///
/// # Errors
/// As [`read`].
pub(in crate::edge) async fn read_for(
    sessions: &Sessions,
    id: &SessionId,
    status: &Status,
    upto: Cursor,
    turn: &TurnStatus,
    deadline: Instant,
) -> Result<Messages, Problem> {
    // Which of its output stays is known at its last wait.
    let mut asked = Questions::default();
    let from = turn.input.max(status.first).max(Serial(1));
    if from <= upto.serial {
        each((sessions, id, from), upto, deadline, |event| asked.take(event)).await?;
    }
    let kept_to = asked.waited(&turn.turn).map_or(Serial::ZERO, |(at, _)| at);
    let (agent, turn) = (turn.agent.clone(), turn.turn.clone());
    let mut messages = Messages::of_turn(TurnReader { turn, agent, kept_to });
    let start = begin(status, upto.serial);
    messages.more = Serial(1) < start;
    let of = (sessions, id, start);
    messages.more |= each(of, upto, deadline, |event| messages.take(event)).await?;
    Ok(messages)
}

/// Takes each event from a place of the log up to another; says whether some were not there any more.
async fn each(
    (sessions, id, start): (&Sessions, &SessionId, Serial),
    upto: Cursor,
    deadline: Instant,
    mut take: impl FnMut(&Event),
) -> Result<bool, Problem> {
    let mut missing = false;
    let before = Cursor { serial: Serial(start.0 - 1), ..upto };
    let attached = sessions.attach(id, Start::After(before), Freshness::Linearizable, deadline);
    let mut reader = attached.await?;
    let broken = || Problem::new(&error::NO_QUORUM, "the log is not here in time; try again");
    while reader.cursor().serial < upto.serial {
        match timeout_at(deadline, reader.next()).await.map_err(|_| broken())? {
            Delivery::Events(events) => {
                let meant = events.iter().take_while(|shown| shown.event.serial <= upto.serial);
                meant.for_each(|shown| take(&shown.event));
            }
            Delivery::Gap { .. } => missing = true,
            Delivery::CaughtUp { .. } => {}
            _ => return Err(Problem::new(&error::DETACHED, "the log changed; try again")),
        }
    }
    Ok(missing)
}

/// The first event that is looked at: the turns that are open are told whole.
fn begin(status: &Status, upto: Serial) -> Serial {
    let back = |events: usize| Serial((upto.0 + 1).saturating_sub(events as u64));
    let oldest = status.turns.iter().map(|turn| turn.input).min();
    let wanted = back(MESSAGES_EVENTS).min(oldest.unwrap_or(upto));
    wanted.max(back(MESSAGES_EVENTS_MAX)).max(status.first).max(Serial(1))
}

impl TurnReader {
    /// Whether its agent is told of an output.
    fn is_told(&self, event: &Event, output: &Output) -> bool {
        let is_old = output.turn == self.turn && self.kept_to < event.serial;
        let is_others = output.internal && event.agent.as_ref() != Some(&self.agent);
        !is_old && !is_others && content::is_told(&event.format, &event.payload)
    }
}

impl Messages {
    /// Those that an agent is told of which goes on in a turn.
    pub(in crate::edge) fn of_turn(reader: TurnReader) -> Messages {
        Messages { reader: Some(reader), ..Messages::default() }
    }

    /// Takes the next event.
    pub(in crate::edge) fn take(&mut self, event: &Event) {
        if self.visibility == Visibility::Public && is_internal(event) {
            return;
        }
        self.questions.take(event);
        self.take_said(event);
    }

    fn take_said(&mut self, event: &Event) {
        match event.fact.as_deref() {
            Some(Fact::Input { input, turn, sender, .. }) => {
                self.each_of(turn, |message| (message.closed, message.complete) = (true, true));
                let mut message = Message::of(event, Speaks::User);
                message.input = Some(input.clone());
                message.sender.clone_from(sender);
                self.add(message, event);
            }
            Some(Fact::Person { input, sender }) => {
                for message in &mut self.all {
                    (message.closed, message.complete) = (true, true);
                }
                let mut message = Message::of(event, Speaks::Person);
                message.input = Some(input.clone());
                message.sender.clone_from(sender);
                self.add(message, event);
            }
            Some(Fact::Step { turn, step, .. }) => {
                // Another step begins where one ends.
                self.each_of(turn, |message| {
                    message.complete |= message.step.as_ref() != Some(step);
                });
            }
            Some(Fact::Output(output)) => {
                if self.reader.as_ref().is_some_and(|reader| !reader.is_told(event, output)) {
                    return;
                }
                let open = self.turns.entry(output.turn.clone()).or_default();
                let (all, dropped) = (&mut self.all, self.dropped);
                let mut numbers = open.iter().rev().filter_map(|at| at.checked_sub(dropped));
                // What is said after a draft stands after it: only the newest message of a step goes on.
                let newest = numbers.find(|at| all[*at].step == output.step);
                let known =
                    newest.filter(|at| !all[*at].closed && all[*at].internal == output.internal);
                if let Some(at) = known {
                    all[at].push(event);
                    all[at].complete = false;
                    self.bytes += event.payload.len();
                    return self.make_room();
                }
                if let Some(at) = newest {
                    (all[at].closed, all[at].complete) = (true, true);
                }
                let mut message = Message::of(event, Speaks::Agent);
                message.step.clone_from(&output.step);
                message.internal = output.internal;
                message.complete = false;
                open.push(self.dropped + self.all.len());
                self.add(message, event);
            }
            Some(Fact::Rewound { turn, step, from, to, .. }) => {
                let mut freed = 0;
                self.each_of(turn, |message| {
                    if step.is_none() || message.step == *step {
                        freed += message.rewind(*from, *to);
                    }
                });
                self.bytes -= freed;
            }
            Some(Fact::Ended { turn, end }) => {
                self.each_of(turn, |message| {
                    message.complete = true;
                    message.end = Some(end.name());
                });
                self.turns.remove(turn);
            }
            _ => {}
        }
    }

    fn each_of(&mut self, turn: &TurnId, mut change: impl FnMut(&mut Message)) {
        let Some(open) = self.turns.get(turn) else { return };
        for at in open.iter().filter_map(|at| at.checked_sub(self.dropped)) {
            change(&mut self.all[at]);
        }
    }

    fn add(&mut self, mut message: Message, event: &Event) {
        message.push(event);
        self.all.push_back(message);
        self.bytes += event.payload.len();
        self.make_room();
    }

    /// Gives up what is oldest. What the turn that reads was given stays while there is anything else.
    fn make_room(&mut self) {
        while MESSAGES_BYTES < self.bytes {
            let turn = self.reader.as_ref().map(|reader| &reader.turn);
            let given = |message: &Message| {
                turn.is_some() && message.role == Speaks::User && message.turn.as_ref() == turn
            };
            let mut all = self.all.iter();
            let other = all.position(|message| !given(message) && !message.pieces.is_empty());
            if other.is_none() && self.bytes <= INPUTS_BYTES {
                return;
            }
            let oldest = other.unwrap_or(0);
            let Some(message) = self.all.get_mut(oldest) else { return };
            if let Some(piece) = message.pieces.pop_front() {
                self.bytes -= piece.payload.len();
                message.cut += piece.payload.len() as u64;
            }
            while self.all.front().is_some_and(|first| first.pieces.is_empty())
                && 1 < self.all.len()
            {
                self.all.pop_front();
                self.dropped += 1;
                self.more = true;
            }
        }
    }

    /// What was said, oldest first.
    pub(in crate::edge) fn spoken(&self) -> impl Iterator<Item = Spoken> {
        self.all.iter().filter(|message| message.is_told()).map(Spoken::from)
    }

    /// Where it begins, if there is something older than what is here.
    pub(in crate::edge) fn begins(&self) -> Option<Serial> {
        // What the turn was given stands before what is cut.
        let cut = self.all.iter().rev().find(|message| 0 < message.cut);
        let first = self.all.front().filter(|_| self.more);
        cut.or(first).map(|first| first.from)
    }

    /// Adds the members `messages` and `more` to a body.
    pub(in crate::edge) fn tell(&self, body: &mut Value) {
        body["messages"] = self.all.iter().filter(|message| message.is_told()).map(shown).collect();
        body["more"] = self.more.into();
    }
}

impl Message {
    fn of(event: &Event, role: Speaks) -> Message {
        Message {
            role,
            turn: event.fact.as_deref().and_then(Fact::turn).cloned(),
            agent: event.agent.clone(),
            step: None,
            sender: None,
            input: None,
            internal: false,
            pieces: VecDeque::new(),
            from: event.serial,
            to: event.serial,
            cut: 0,
            complete: true,
            closed: false,
            end: None,
        }
    }

    fn push(&mut self, event: &Event) {
        let (serial, format, payload) = (event.serial, event.format.clone(), event.payload.clone());
        self.pieces.push_back(Piece { serial, format, payload });
        self.to = serial;
    }

    /// Drops what was superseded; says how many bytes.
    fn rewind(&mut self, from: Serial, to: Serial) -> usize {
        let before: usize = self.pieces.iter().map(|piece| piece.payload.len()).sum();
        self.pieces.retain(|piece| piece.serial < from || to < piece.serial);
        if from <= self.from && self.from <= to {
            self.cut = 0;
            self.from = self.pieces.front().map_or(to.next(), |piece| piece.serial);
        }
        before - self.pieces.iter().map(|piece| piece.payload.len()).sum::<usize>()
    }

    /// Whether there is anything of it.
    fn is_told(&self) -> bool {
        !self.pieces.is_empty() || 0 < self.cut
    }
}

impl From<&Message> for Spoken {
    fn from(message: &Message) -> Spoken {
        Spoken {
            speaks: message.role,
            turn: message.turn.clone(),
            from: message.from,
            pieces: message.pieces.iter().cloned().collect(),
        }
    }
}

fn shown(message: &Message) -> Value {
    let role = match message.role {
        Speaks::Agent => "agent",
        Speaks::User => "user",
        Speaks::Person => "person",
    };
    let (mut text, mut parts) = (Vec::new(), Vec::new());
    for piece in &message.pieces {
        if piece.format == Format::TEXT {
            text.extend_from_slice(&piece.payload);
        } else {
            parts.push(part(piece, text.len()));
        }
    }
    let mut body = Map::new();
    let mut member = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    member("role", role.into());
    member("turn", message.turn.as_ref().map(TurnId::as_str).into());
    member("agent", message.agent.as_ref().map(AgentName::as_str).into());
    member("text", String::from_utf8_lossy(&text).into());
    member("from", message.from.0.into());
    member("to", message.to.0.into());
    member("complete", message.complete.into());
    if let Some(end) = message.end {
        member("end", end.into());
    }
    if let Some(step) = &message.step {
        member("step", step.as_str().into());
    }
    if let Some(input) = &message.input {
        member("input", input.as_str().into());
    }
    if let Some(sender) = &message.sender {
        member("participant", sender.participant.as_str().into());
        member("device", sender.device.as_ref().map(|device| device.as_str()).into());
    }
    if message.internal {
        member("visibility", "internal".into());
    }
    if 0 < message.cut {
        member("cut", message.cut.into());
    }
    if !parts.is_empty() {
        member("parts", parts.into());
    }
    Value::Object(body)
}

/// A payload that is no text, and where in the text it stands.
fn part(piece: &Piece, at: usize) -> Value {
    let mut body = json!({ "serial": piece.serial.0, "at": at, "format": piece.format.as_str() });
    let value = (piece.format == Format::JSON).then(|| json_text::as_value(&piece.payload));
    let value = value.flatten().and_then(|text| serde_json::from_str::<Value>(text).ok());
    match (value, str::from_utf8(&piece.payload)) {
        (Some(value), _) => body["data"] = value,
        (None, Ok(text)) if piece.format != Format::RAW => body["text"] = text.into(),
        _ => body["base64"] = STANDARD.encode(&piece.payload).into(),
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::fold::tests::output;
    use super::*;

    fn text_of(spoken: &Spoken) -> String {
        let pieces = spoken.pieces.iter().map(|piece| String::from_utf8_lossy(&piece.payload));
        pieces.collect()
    }

    #[test]
    fn the_text_of_a_turn_stays_in_order_whatever_of_it_is_internal() {
        let said = |visibility| {
            let mut messages = Messages { visibility, ..Messages::default() };
            let events = [(1, false, "a "), (2, false, "b "), (3, true, "c "), (4, false, "d ")];
            for (serial, internal, text) in events {
                messages.take(&output(serial, "t", None, internal, text));
            }
            let last = messages.all.iter().map(|message| message.complete).collect::<Vec<_>>();
            assert_eq!(last.iter().filter(|complete| !**complete).count(), 1, "one is under way");
            messages.spoken().map(|spoken| text_of(&spoken)).collect::<Vec<_>>()
        };
        assert_eq!(said(Visibility::All), ["a b ", "c ", "d "]);
        assert_eq!(said(Visibility::Public), ["a b d "]);
    }
}
