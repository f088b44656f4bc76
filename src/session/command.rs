//! What can be asked of a session. Time is not part of it: the journal stamps the command (S6).

use bytes::Bytes;

use super::config::Config;
use super::event::{NewEvent, Origin};
use super::fact::Sender;
use super::fork::ForkRequest;
use super::media::ContentType;
use crate::ids::{AgentName, Incarnation, Serial, SessionId, TurnId, WorkerName};

/// One thing asked of one session. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the session live; asking again for the same is no change.
    Create(Box<Create>),
    Append(Append),
    /// Lets nobody append any more; asking again is no change.
    Close {
        producer: Option<Origin>,
    },
    /// Ends the session and frees its log; only this `incarnation`, where one is given.
    Delete {
        incarnation: Option<Incarnation>,
    },
    /// Says that somebody still cares: the time to live begins again.
    Touch,
    /// Lets what is due by now happen: retention by age, and the end of the time to live.
    Tick,
    /// Gives up all events before `before`.
    Trim {
        before: Serial,
    },
    /// Keeps the log for a fork that is about to begin; asking again is no change.
    Hold {
        fork: SessionId,
        /// Drawn by chance, so that nobody lets go for another.
        key: u64,
        /// Last event to be inherited; the tail where none is given.
        at: Option<Serial>,
        /// What the fork wants to be made of, where it says.
        content_type: Option<ContentType>,
    },
    /// The fork of this hold exists.
    Confirm {
        fork: SessionId,
        key: u64,
    },
    /// The fork of this hold is no more, or never was.
    Release {
        fork: SessionId,
        key: u64,
    },
    /// A source has let go.
    Settle {
        source: SessionId,
        key: u64,
    },
    /// Asks for a turn, or speaks into one; the same input again is no change.
    Input(Box<Input>),
    /// Takes a turn for a worker; the same claim again is no change.
    Claim(Box<Claim>),
    /// What a worker says of its turn.
    Say(Box<Say>),
    /// Ends turns, also one that has not been asked for yet; asking again is no change.
    Cancel(Box<Cancel>),
    /// Adds events, each of which is a request of its own.
    AppendEach(Box<AppendEach>),
}

/// What a participant sends to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Given by the client, so that a retry has the effect of one; the name of the turn that begins with it.
    pub input: TurnId,
    pub agent: AgentName,
    pub said: NewEvent,
    pub sender: Option<Sender>,
    pub when_busy: WhenBusy,
}

/// What becomes of an input whose agent has an open turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenBusy {
    /// It is spoken into that turn.
    #[default]
    Steer,
    /// It begins a turn behind it.
    Queue,
    /// It begins a turn, and those that are open are cancelled.
    Interrupt,
    /// It is refused.
    Reject,
}

/// A worker that wants a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub turn: TurnId,
    pub worker: WorkerName,
    /// Drawn by chance for each claim.
    pub key: u64,
    /// How long it keeps the turn without a word, in milliseconds; within [`crate::limits::LEASE_MS_RANGE`].
    pub lease_ms: u64,
    /// How long it may live and have nothing to say, in milliseconds.
    pub quiet_ms: u64,
}

/// What a worker says; nothing but that it lives, if nothing is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    pub turn: TurnId,
    pub epoch: u64,
    pub said: Option<Said>,
    /// The last input of the turn that it has taken in.
    pub heard: Option<Serial>,
    /// How long from now it may have nothing to say, in milliseconds: a slow tool, for example.
    pub quiet_ms: Option<u64>,
    /// What its successor should know; see [`crate::limits::CHECKPOINT_BYTES`].
    pub checkpoint: Option<Bytes>,
}

/// Output of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Counts the worker's requests in this epoch from 0: the same again is no change.
    pub seq: u64,
    /// Up to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    pub then: Then,
}

/// How a turn goes on behind what was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Then {
    #[default]
    GoOn,
    Complete,
    Fail {
        reason: String,
    },
    /// Another worker should have it.
    Release,
}

/// Turns that are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    pub scope: Scope,
    pub by: Option<Sender>,
    /// Up to [`crate::limits::REASON_BYTES`].
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Turn(TurnId),
    Agent(AgentName),
    All,
}

/// Begins a session, with what its log begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create {
    pub config: Config,
    pub fork: Option<ForkRequest>,
    /// Up to [`crate::limits::APPEND_EVENTS`]; where the session lives already, they are not looked at.
    pub events: Vec<NewEvent>,
    /// Closes the session behind these events.
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
/// is behind it is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEach {
    /// 1 to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// By whom, and the seq of the first event.
    pub first: Origin,
    /// What the events are: refused where the log is made of something else.
    pub content_type: Option<ContentType>,
}

/// Adds events to the log: all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// 1 to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// By whom, for the how-manieth time: a request with the same one has the effect of one (S11).
    pub producer: Option<Origin>,
    /// Closes the session behind these events.
    pub close: bool,
    /// Appends only if this is the last event's serial.
    pub expect: Option<Serial>,
    /// What the events are: refused where the log is made of something else.
    pub content_type: Option<ContentType>,
    /// Appends only if it comes behind the last one in the order of bytes; up to
    /// [`crate::limits::ORDER_BYTES`].
    pub order: Option<String>,
}
