//! The commands of a session. Time is not part of them: the journal stamps the command (S6).

mod import;
mod people;
mod turn;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::content_type::ContentType;
use super::event::{NewEvent, Origin};
use super::files::FileRequest;
use super::fork::ForkRequest;
use crate::ids::{Incarnation, Serial, SessionId};

pub use import::{Import, ImportBegin, ImportEvents, ImportStep};
pub use people::{
    Answer, Audience, ClaimCall, ControlRequest, ControlVerb, Pause, ReleaseCall, Resume, Role,
    Shelve,
};
pub use turn::{
    Ask, Cancel, Claim, Follows, Found, Input, Lose, NodeStart, Phase, Scope, SubTurn, Then,
    ToolMark, ToolResult, ToolStep, TurnOutput, TurnReport, WhenBusy, Withdraw,
};

/// One request to one session. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes the session live; repeating it is no change.
    Create(Box<Create>),
    /// Adds events to the log.
    Append(Append),
    /// Ends all appending; repeating it is no change.
    Close {
        /// By whom, where it is numbered as a producer's requests are.
        producer: Option<Origin>,
    },
    /// Ends the session and frees its log; only this `incarnation`, where one is given.
    Delete {
        /// The life that is meant; the present one, whichever it is, where none is given.
        incarnation: Option<Incarnation>,
    },
    /// Marks the session as in use: the time to live begins again.
    Touch,
    /// Lets what is due by now happen: retention by age, and the end of the time to live.
    Tick,
    /// Gives up all events before `before`.
    Trim {
        /// First event that stays; beyond the tail, all go.
        before: Serial,
    },
    /// Keeps the log for a fork that is about to begin; repeating it is no change.
    Hold {
        /// The session that is to begin.
        fork: SessionId,
        /// A random number, so that no fork releases the hold of another.
        key: u64,
        /// Last event to be inherited; the tail where none is given.
        at: Option<Serial>,
        /// The content type that the fork requests, if it names one.
        content_type: Option<ContentType>,
    },
    /// The fork of this hold exists.
    Confirm {
        /// The session that the hold is for.
        fork: SessionId,
        /// The number of the hold.
        key: u64,
    },
    /// The fork of this hold is no more, or never was.
    Release {
        /// The session that the hold was for.
        fork: SessionId,
        /// The number of the hold.
        key: u64,
    },
    /// A source has let go.
    Settle {
        /// The session that had the hold.
        source: SessionId,
        /// The number of the hold.
        key: u64,
    },
    /// Requests a turn, or sends an input into one; the same input again is no change.
    Input(Box<Input>),
    /// Takes a turn for a worker; the same claim again is no change.
    Claim(Box<Claim>),
    /// A worker's output and state of its turn.
    Report(Box<TurnReport>),
    /// Ends turns, also one that has not been requested yet; the same again is no change.
    Cancel(Box<Cancel>),
    /// Takes a turn from a worker that is gone; for one that does not have it, no change.
    Lose(Box<Lose>),
    /// Answers an interaction; the first answer holds.
    Answer(Box<Answer>),
    /// Requests, gives, takes or gives back control over who answers people.
    Control(Box<ControlRequest>),
    /// Reports how many watch the session now.
    Audience(Audience),
    /// Requests that turns pause at their next safe boundary.
    Pause(Box<Pause>),
    /// Lets paused turns go on.
    Resume(Box<Resume>),
    /// Adds events, each of which is a request of its own.
    AppendEach(Box<AppendEach>),
    /// Ends the session as [`Command::Delete`] does, if nothing has come to its log since the requester looked at it.
    DeleteUnchanged {
        /// The life that is meant.
        incarnation: Incarnation,
        /// The last event that was there.
        tail: Serial,
    },
    /// Has a device make a call for an agent, or go on with it.
    ClaimCall(Box<ClaimCall>),
    /// Lets another device make a call; for one that does not have it, no change.
    ReleaseCall(Box<ReleaseCall>),
    /// Reports the result of a tool's call, however late; the same again is no change.
    ToolResult(Box<ToolResult>),
    /// Freezes the session, puts it away or takes it back; repeating it is no change.
    Shelve(Box<Shelve>),
    /// Brings a file, piece by piece, or gives one up; the same again is no change.
    File(Box<FileRequest>),
    /// Brings in some of a session that was exported; the same again is no change.
    Import(Box<Import>),
}

/// How a command is treated where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ends something, makes room, or shows that a client lives: it passes by all others, on a reserve.
    Control,
    /// Small, but many of them are a flood like any other: no part in the reserve.
    Small,
    /// Brings content: refused where the disk is nearly full.
    Data,
}

impl Command {
    /// How it is treated where room is short.
    pub fn class(&self) -> Class {
        let large = |bytes: usize| SMALL_BYTES < bytes;
        match self {
            Command::Append(_)
            | Command::AppendEach(_)
            | Command::Input(_)
            | Command::ToolResult(_) => Class::Data,
            Command::Import(import) if import.step == ImportStep::GiveUp => Class::Control,
            Command::Import(_) => Class::Data,
            Command::File(request) => match &**request {
                FileRequest::Begin(_) | FileRequest::Put(_) => Class::Data,
                FileRequest::Drop { .. } | FileRequest::GiveUp { .. } => Class::Control,
            },
            Command::Create(create) if create.events.is_empty() => Class::Small,
            Command::Create(_) => Class::Data,
            Command::Report(report) if 0 < report.begins() => Class::Data,
            Command::Report(report) if large(report.content_bytes()) => Class::Data,
            Command::Report(report) => match &report.output {
                Some(output) if output.then == Then::GoOn => Class::Small,
                // A sign of life, or an end.
                _ => Class::Control,
            },
            Command::Answer(answer) if large(answer.content.payload.len()) => Class::Data,
            Command::Answer(_)
            | Command::Close { .. }
            | Command::Delete { .. }
            | Command::DeleteUnchanged { .. }
            | Command::Touch
            | Command::Tick
            | Command::Trim { .. }
            | Command::Hold { .. }
            | Command::Confirm { .. }
            | Command::Release { .. }
            | Command::Settle { .. }
            | Command::Claim(_)
            | Command::Cancel(_)
            | Command::Lose(_)
            | Command::Control(_)
            | Command::Audience(_)
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::ClaimCall(_)
            | Command::ReleaseCall(_)
            | Command::Shelve(_) => Class::Control,
        }
    }

    /// Payload bytes that it brings: of events, questions, answers, checkpoints and files.
    pub fn content_bytes(&self) -> usize {
        let all = |events: &[NewEvent]| events.iter().map(|event| event.payload.len()).sum();
        match self {
            Command::Create(create) => all(&create.events),
            Command::Append(append) => all(&append.events),
            Command::AppendEach(each) => all(&each.events),
            Command::Input(input) => input.content.payload.len(),
            Command::Answer(answer) => answer.content.payload.len(),
            Command::Report(report) => report.content_bytes(),
            Command::ToolResult(result) => result.result.payload.len(),
            Command::File(request) => match &**request {
                FileRequest::Put(piece) => piece.bytes.len(),
                FileRequest::Begin(_) | FileRequest::Drop { .. } | FileRequest::GiveUp { .. } => 0,
            },
            Command::Import(import) => match &import.step {
                ImportStep::Events(some) => {
                    some.events.iter().map(|event| event.payload.len()).sum()
                }
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Whether its client may send it again with the effect of once: it names its producer, its life or its turn, or
    /// requests what holds already.
    pub fn has_key(&self) -> bool {
        match self {
            Command::Append(append) => append.producer.is_some(),
            Command::Delete { incarnation } => incarnation.is_some(),
            // Turns that are requested meanwhile would not be meant.
            Command::Cancel(cancel) => matches!(cancel.scope, Scope::Turn(_)),
            _ => true,
        }
    }

    /// Whether a node that sends it again must draw a key for it: doing it twice would have another effect than once,
    /// or another answer, or it could reach a later life of the session.
    pub fn needs_key(&self) -> bool {
        match self {
            Command::Append(append) => append.producer.is_none(),
            Command::Close { producer } => producer.is_none(),
            // In between another client may have created, or deleted and created, the session.
            Command::Create(_) | Command::Delete { .. } | Command::DeleteUnchanged { .. } => true,
            // Turns that were requested after the first try are not meant, nor is a later life of the session.
            Command::Input(_) | Command::Answer(_) | Command::Cancel(_) => true,
            // Another client may have changed it after the first try.
            Command::Control(_) | Command::Pause(_) | Command::Resume(_) => true,
            // Another device may have claimed it, and left it, after the first try.
            Command::ClaimCall(_) => true,
            // A result is forgotten when many others came since.
            Command::ToolResult(_) => true,
            Command::Shelve(_) => true,
            Command::Touch
            | Command::Tick
            | Command::Trim { .. }
            | Command::Hold { .. }
            | Command::Confirm { .. }
            | Command::Release { .. }
            | Command::Settle { .. }
            | Command::Claim(_)
            // A heartbeat twice is a heartbeat; output has a number.
            | Command::Report(_)
            // Each names an epoch or a count.
            | Command::Lose(_)
            | Command::ReleaseCall(_)
            | Command::Audience(_)
            | Command::AppendEach(_)
            // A piece has an offset, and a file's bytes are known by their hash; so is what is here of an import.
            | Command::File(_)
            | Command::Import(_) => false,
        }
    }

    /// Whether the session knows it again by a name in it, as long as this life lasts: twice in one life is once.
    pub fn is_of_one_life(&self) -> bool {
        match self {
            Command::Input(_) | Command::Answer(_) => true,
            Command::Cancel(cancel) => matches!(cancel.scope, Scope::Turn(_)),
            _ => false,
        }
    }
}

/// What a report or an answer may bring and still pass where data does not, in bytes.
pub const SMALL_BYTES: usize = 1 << 10;

/// Begins a session, with what its log begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// What it is to be; a repeated request needs the same.
    pub config: Config,
    /// What it inherits, where it is to be a fork.
    pub fork: Option<ForkRequest>,
    /// Up to [`crate::limits::APPEND_EVENTS`]; where the session lives already, they are not looked at.
    pub events: Vec<NewEvent>,
    /// Closes the session after these events.
    pub close: bool,
}

impl From<Create> for Command {
    fn from(create: Create) -> Command {
        Command::Create(Box::new(create))
    }
}

impl From<Config> for Command {
    /// Creates an empty session.
    fn from(config: Config) -> Command {
        Create { config, ..Create::default() }.into()
    }
}

/// Adds events of one producer that each take one of its seqs, side by side: all or none of those that are new.
///
/// Where the session knows the beginning from earlier requests, it answers with that and adds nothing: what
/// comes after it must be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendEach {
    /// 1 to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// By whom, and the seq of the first event.
    pub first: Origin,
    /// What the events are: refused where the log is made of something else.
    pub content_type: Option<ContentType>,
}

/// Adds events to the log: all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// 1 to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// By whom, for the how-manieth time: a request with the same one has the effect of one (S11).
    pub producer: Option<Origin>,
    /// Closes the session after these events.
    pub close: bool,
    /// Appends only if this is the last event's serial.
    pub expect: Option<Serial>,
    /// What the events are: refused where the log is made of something else.
    pub content_type: Option<ContentType>,
    /// Appends only if it comes after the last one in the order of bytes; up to
    /// [`crate::limits::ORDER_BYTES`].
    pub order: Option<String>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Format;
    use crate::ids::{AgentName, InteractionId, ProducerEpoch, ProducerId, TurnEpoch, TurnId};

    #[test]
    fn what_brings_content_is_data_and_a_flood_of_small_things_is_no_interrupt() {
        let event = |bytes: usize| {
            let payload = Bytes::from(vec![b'x'; bytes]);
            NewEvent { format: Format::TEXT, payload }
        };
        let turn = TurnId::parse("t").unwrap();
        let emit = |bytes: Option<usize>, then: Then| {
            let events = bytes.map(event).into_iter().collect();
            let output = Some(TurnOutput { events, then, ..TurnOutput::default() });
            Command::Report(Box::new(TurnReport {
                output,
                ..TurnReport::new(turn.clone(), TurnEpoch(1))
            }))
        };
        let beat = |checkpoint: Option<usize>| {
            let checkpoint = checkpoint.map(|bytes| vec![0; bytes].into());
            Command::Report(Box::new(TurnReport {
                checkpoint,
                ..TurnReport::new(turn.clone(), TurnEpoch(1))
            }))
        };
        let create = |events: Vec<NewEvent>| Command::from(Create { events, ..Create::default() });
        let producer = ProducerId::parse("p").unwrap();
        let first = Origin { producer, epoch: ProducerEpoch(0), seq: 0 };
        let each = AppendEach { events: Vec::new(), first, content_type: None };
        let input = Input::new(turn.clone(), AgentName::parse("a").unwrap(), event(1));
        let answer = |bytes: usize| {
            let interaction = InteractionId::parse("i").unwrap();
            let (content, role) = (event(bytes), Role::Participant);
            Command::Answer(Box::new(Answer { role, ..Answer::new(interaction, content) }))
        };
        for (command, class) in [
            (Command::Append(Append::default()), Class::Data),
            (Command::AppendEach(Box::new(each)), Class::Data),
            (Command::Input(Box::new(input)), Class::Data),
            (create(vec![event(1)]), Class::Data),
            (create(Vec::new()), Class::Small),
            (emit(Some(2_000), Then::GoOn), Class::Data),
            (emit(Some(2_000), Then::Complete), Class::Data),
            (emit(Some(5), Then::GoOn), Class::Small),
            (emit(None, Then::Complete), Class::Control),
            (emit(Some(5), Then::Complete), Class::Control),
            (beat(None), Class::Control),
            (beat(Some(2_000)), Class::Data),
            (answer(5), Class::Control),
            (answer(2_000), Class::Data),
            (Command::Cancel(Box::new(Cancel::new(Scope::All, ""))), Class::Control),
            (Command::Touch, Class::Control),
            (Command::Delete { incarnation: None }, Class::Control),
        ] {
            assert_eq!(command.class(), class, "{command:?}");
        }
    }
}
