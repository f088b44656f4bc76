//! The conversation of a session as an agent is to go on in it: a projection of its log, made on request.
//!
//! The log shows which output is of which message; what a later attempt superseded is in none. Inputs are messages of
//! who sent them, and an input of a person who took over is a message of that person. Bounded in events that are read
//! and in bytes that are kept: then the oldest go first (S10). Pages for people are in [`super::super::history`].

use std::collections::{HashMap, VecDeque};

use tokio::time::{Instant, timeout_at};

use super::super::content;
use super::super::error::{self, Problem};
use super::questions::Questions;
use crate::ids::{AgentName, Cursor, Serial, SessionId, StepName, TurnId};
use crate::limits::{MESSAGES_BYTES, MESSAGES_EVENTS, MESSAGES_EVENTS_MAX};
use crate::runtime::{Delivery, Freshness, Sessions, Start};
use crate::session::{Event, Fact, Format, Output, Status, TurnStatus, View};

/// Payload bytes of the inputs of one turn that its agent gets, where they are more than all else may have.
const INPUTS_BYTES: usize = 4 * MESSAGES_BYTES;

/// Messages, oldest first.
#[derive(Default)]
pub(in crate::edge) struct Messages {
    /// The turn that they are read for, if they are.
    reader: Option<TurnReader>,
    all: VecDeque<Message>,
    /// Messages that went to make room, and were there before the first.
    dropped: usize,
    /// Payload bytes of all.
    bytes: usize,
    /// Whether there is something older.
    more: bool,
    /// The questions of the agents.
    pub(in crate::edge) questions: Questions,
    /// What earlier attempts at the reader's turn put out, as far as it may have calls; the newest of it.
    pub(in crate::edge) tried: VecDeque<Piece>,
    tried_bytes: usize,
    /// The messages of agents in turns that are not over, by their number from the first that ever was.
    turns: HashMap<TurnId, Vec<usize>>,
}

/// Who reads a conversation to go on in a turn: what it does not get takes no room.
pub(in crate::edge) struct TurnReader {
    pub(in crate::edge) turn: TurnId,
    pub(in crate::edge) agent: AgentName,
    /// What the turn put out after this is what an earlier attempt came to.
    pub(in crate::edge) kept_to: Serial,
    /// Payload bytes that it gets at most, but for what the turn was given.
    pub(in crate::edge) room: usize,
    /// The path that the turn is on.
    pub(in crate::edge) view: View,
}

struct Message {
    /// Where it begins, by the log.
    id: Serial,
    role: Speaks,
    turn: Option<TurnId>,
    step: Option<StepName>,
    pieces: VecDeque<Piece>,
    /// The first event of it that stands.
    from: Serial,
    /// Bytes that are missing at the beginning.
    cut: u64,
}

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) struct MessagePieces {
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

/// Reads the conversation as an agent is to go on in a turn.
///
/// # Errors
/// The log is not to be had before the deadline, or is another one by now.
pub(in crate::edge) async fn read_for(
    sessions: &Sessions,
    id: &SessionId,
    status: &Status,
    upto: Cursor,
    (turn, room): (&TurnStatus, usize),
    deadline: Instant,
) -> Result<Messages, Problem> {
    // Which of its output stays is known at its last wait.
    let mut request = Questions::default();
    let from = turn.input.max(status.first).max(Serial(1));
    if from <= upto.serial {
        each((sessions, id, from), upto, deadline, |event| request.take(event)).await?;
    }
    let kept_to = request.waited(&turn.turn).map_or(Serial::ZERO, |(at, _)| at);
    let view = status.branches.view(turn.branch).unwrap_or_default();
    let (agent, turn) = (turn.agent.clone(), turn.turn.clone());
    let mut messages = Messages::of_turn(TurnReader { turn, agent, kept_to, room, view });
    let start = begin(status, upto.serial);
    messages.more = Serial(1) < start;
    let of = (sessions, id, start);
    messages.more |= each(of, upto, deadline, |event| messages.take(event)).await?;
    Ok(messages)
}

/// Takes each event from a place of the log up to another; returns whether some were not there any more.
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

/// The first event that is looked at: the turns that are open come whole.
fn begin(status: &Status, upto: Serial) -> Serial {
    let back = |events: usize| Serial((upto.0 + 1).saturating_sub(events as u64));
    let oldest = status.turns.iter().map(|turn| turn.input).min();
    let wanted = back(MESSAGES_EVENTS).min(oldest.unwrap_or(upto));
    wanted.max(back(MESSAGES_EVENTS_MAX)).max(status.first).max(Serial(1))
}

/// Whether an event is of a message that is not on the path of the turn that reads.
fn is_elsewhere(event: &Event, view: &View) -> bool {
    match event.fact.as_deref() {
        Some(Fact::Input { place, .. } | Fact::Person { place, .. }) => {
            !view.has_for_agent(place.branch, event.serial)
        }
        Some(Fact::Output(output)) => !view.has(output.place.branch, output.message),
        _ => false,
    }
}

impl TurnReader {
    /// Whether an earlier attempt at its turn put it out.
    fn is_old(&self, event: &Event, output: &Output) -> bool {
        output.turn == self.turn && self.kept_to < event.serial
    }

    /// Whether its agent gets an output.
    fn is_shown(&self, event: &Event, output: &Output) -> bool {
        let is_old = self.is_old(event, output);
        let is_others = output.internal && event.agent.as_ref() != Some(&self.agent);
        !is_old && !is_others && content::is_shown(&event.format, &event.payload)
    }
}

impl Messages {
    /// Those that an agent gets which goes on in a turn.
    pub(in crate::edge) fn of_turn(reader: TurnReader) -> Messages {
        Messages { reader: Some(reader), ..Messages::default() }
    }

    /// Takes the next event.
    pub(in crate::edge) fn take(&mut self, event: &Event) {
        self.questions.take(event);
        self.take_output(event);
    }

    fn take_output(&mut self, event: &Event) {
        let view = self.reader.as_ref().map(|reader| &reader.view);
        if view.is_some_and(|view| is_elsewhere(event, view)) {
            return;
        }
        match event.fact.as_deref() {
            Some(Fact::Input { .. }) => self.add(Message::of(event, Speaks::User), event),
            // What came before a session began is in an event that is about nothing else.
            None if content::is_brought(&event.format, &event.payload) => {
                self.add(Message::of(event, Speaks::User), event);
            }
            Some(Fact::Person { .. }) => self.add(Message::of(event, Speaks::Person), event),
            Some(Fact::Output(output)) => {
                if let Some(reader) = &self.reader
                    && !reader.is_shown(event, output)
                {
                    return if reader.is_old(event, output) {
                        self.try_out(event)
                    };
                }
                let open = self.turns.entry(output.turn.clone()).or_default();
                let (all, dropped) = (&mut self.all, self.dropped);
                let mut numbers = open.iter().rev().filter_map(|at| at.checked_sub(dropped));
                let known = numbers.find(|at| all[*at].id == output.message);
                if let Some(at) = known {
                    all[at].push(event);
                    self.bytes += event.payload.len();
                    return self.make_room();
                }
                let mut message = Message::of(event, Speaks::Agent);
                message.id = output.message;
                message.step.clone_from(&output.step);
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
            Some(Fact::Ended { turn, .. }) => _ = self.turns.remove(turn),
            _ => {}
        }
    }

    /// Keeps what an earlier attempt put out beside text.
    fn try_out(&mut self, event: &Event) {
        if event.format == Format::TEXT || !content::is_shown(&event.format, &event.payload) {
            return;
        }
        let (serial, format, payload) = (event.serial, event.format.clone(), event.payload.clone());
        self.tried_bytes += payload.len();
        self.tried.push_back(Piece { serial, format, payload });
        while MESSAGES_BYTES < self.tried_bytes {
            let oldest = self.tried.pop_front();
            self.tried_bytes -= oldest.map_or(0, |piece| piece.payload.len());
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
        let room = self.reader.as_ref().map_or(MESSAGES_BYTES, |reader| reader.room);
        while room < self.bytes {
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

    /// Its content, oldest first.
    pub(in crate::edge) fn as_pieces(&self) -> impl Iterator<Item = MessagePieces> {
        self.all.iter().filter(|message| message.is_shown()).map(MessagePieces::from)
    }

    /// Where it begins, if there is something older than what is here.
    pub(in crate::edge) fn begins(&self) -> Option<Serial> {
        // What the turn was given stands before what is cut.
        let cut = self.all.iter().rev().find(|message| 0 < message.cut);
        let first = self.all.front().filter(|_| self.more);
        cut.or(first).map(|first| first.from)
    }
}

impl Message {
    fn of(event: &Event, role: Speaks) -> Message {
        Message {
            id: event.serial,
            role,
            turn: event.fact.as_deref().and_then(Fact::turn).cloned(),
            step: None,
            pieces: VecDeque::new(),
            from: event.serial,
            cut: 0,
        }
    }

    fn push(&mut self, event: &Event) {
        let (serial, format, payload) = (event.serial, event.format.clone(), event.payload.clone());
        self.pieces.push_back(Piece { serial, format, payload });
    }

    /// Drops what was superseded; returns how many bytes.
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
    fn is_shown(&self) -> bool {
        !self.pieces.is_empty() || 0 < self.cut
    }
}

impl From<&Message> for MessagePieces {
    fn from(message: &Message) -> MessagePieces {
        MessagePieces {
            speaks: message.role,
            turn: message.turn.clone(),
            from: message.from,
            pieces: message.pieces.iter().cloned().collect(),
        }
    }
}
