//! Agents as the runtime sees them: workers of every body use one protocol over a [`link`].
//!
//! A body (a connection, a child process, a request to an operator's endpoint) opens a link with
//! [`Workers::link`](super::Workers::link), passes on its worker's frames with [`Speaker::hear`], and gives its worker
//! what [`Listener::next`] yields. All else is the link's: it takes turns while there is capacity, feeds each
//! turn from the session's log, commits output in order, keeps the leases, and reports to the
//! session when the worker is gone. Who may send output is decided at apply alone (S4, S5); a link that lies or lags
//! changes nothing.

mod batch;
pub mod body;
pub mod child_process;
mod feed;
mod leave;
mod lines;
mod link;
mod reports;
mod turn;

use std::sync::Arc;
use std::time::Duration;

pub use feed::{Fed, Feed};
pub use leave::{BrokeOff, Leave};
pub use link::{LinkClosed, Listener, Speaker};

use super::claim::Assignment;
use super::tail::Shown;
use crate::ids::{
    AgentId, AgentName, CallId, Cursor, KindName, Serial, SessionId, TurnEpoch, TurnId, WorkerName,
};
use crate::session::{AudienceStatus, ControlStatus, Event, Grant, NewEvent, TurnReport};

/// A worker that wants turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    pub agent: AgentId,
    pub worker: WorkerName,
    /// Turns that it works on at once; 1 to [`crate::limits::LINK_TURNS`].
    pub capacity: usize,
    /// How long it may be silent before its turns go to others, in milliseconds; within
    /// [`crate::limits::LEASE_MS_RANGE`]. The link renews the leases while the worker answers pings.
    pub lease_ms: u64,
    /// See [`crate::session::Claim::progress_timeout_ms`].
    pub progress_timeout_ms: u64,
    /// How long it may take to stop a turn that is not its own any more.
    pub cancel_grace: Duration,
    /// Of who registered it, judged again where its turns live; the node's own agents have none.
    pub grant: Option<Arc<Grant>>,
}

/// What a worker registers about itself; what it leaves out is its body's to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub agent: Option<AgentName>,
    pub worker: Option<WorkerName>,
    pub capacity: Option<usize>,
    pub lease_ms: Option<u64>,
    pub progress_timeout_ms: Option<u64>,
}

/// How a worker's frames are written. The edge knows; a body that exchanges bytes is given one.
pub trait Codec: Send + Sync {
    /// Reads one frame.
    ///
    /// # Errors
    /// What to answer: the frame changes nothing.
    fn read(&self, frame: &[u8]) -> Result<Frame, Box<Refused>>;

    /// Writes one frame; it has no line end.
    fn write(&self, message: &ToWorker) -> Vec<u8>;

    /// Writes the answer to a register.
    fn registered(&self, node: u64) -> Vec<u8>;
}

/// One frame of a worker.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The first one.
    Register(Registration),
    /// Any later one.
    FromWorker(FromWorker),
}

/// One worker's hold of one turn: its frames name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TurnKey {
    pub session: SessionId,
    pub turn: TurnId,
    pub epoch: TurnEpoch,
}

/// What a worker gets.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// It has a turn.
    Turn(Box<Offered>),
    /// Something happened that concerns one of its turns. In order for each turn, at least once.
    Signal(Box<Signal>),
    /// A report is committed.
    Ack(Box<Ack>),
    /// A report, or a frame that could not be read, changed nothing.
    Refused(Box<Refused>),
    /// It is to show that it lives, with any frame.
    Ping,
}

/// What a worker sends.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// Output, an end, an acknowledgement, a heartbeat: the seq of output counts from 0 in each epoch.
    Report { session: SessionId, report: Box<TurnReport> },
    /// Something about a turn of its own that is not kept: how it gets on, for those who watch.
    Ephemeral { key: TurnKey, kind: KindName, content: NewEvent, internal: bool },
    /// It has really stopped working on a turn that was cancelled or taken from it.
    Done(TurnKey),
    /// Its attempt at a turn came to nothing, and why. Its output before that stays.
    Failed(TurnKey, BrokeOff),
    /// It lives.
    Pong,
    /// It wants no more turns; the link closes after the last one.
    Drain,
}

/// A turn for a worker, and the turn's events so far.
#[derive(Clone, Debug)]
pub struct Offered {
    pub assignment: Assignment,
    /// In order, about one page at most.
    pub events: Vec<Event>,
    /// Whether there were more. Inputs among those come one by one; output does not.
    pub more: bool,
    /// Who answers people, and who watches.
    pub control: ControlStatus,
    pub audience: Option<AudienceStatus>,
}

/// Something that concerns a turn.
#[derive(Clone, Debug)]
pub struct Signal {
    pub key: TurnKey,
    pub what: What,
    /// After the event.
    pub cursor: Option<Cursor>,
    /// The event that caused it, as readers see it; none where the session itself is gone, or its log is not to be
    /// had.
    pub event: Option<Arc<Shown>>,
}

/// What an event means for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The turn is over: stop, and report that it is done.
    Cancel,
    /// The turn is another's: stop, and report that it is done.
    Fenced,
    /// An input was steered into the turn.
    Steer,
    /// It counts as stalled now.
    Stalled,
    /// Its question was answered, or no answer is taken any more.
    Answer,
    /// It is to pause at its next safe boundary: it sends `pause` then.
    Pause,
    /// It need not rest any more.
    Resume,
    /// The number of those who watch has changed.
    Audience,
    /// Who answers people has changed, or a participant requests it to.
    Control,
    /// The step under way is to end; no more output of it is taken.
    CancelStep,
    /// A worker that had the turn before reports the result of a tool's call.
    ToolResult,
}

/// A report is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub key: TurnKey,
    pub seq: u64,
    /// Whether a report under this seq was taken before; of this one nothing is in the log then.
    pub duplicate: bool,
    /// Where its output lies in the log; none where it had none, or the places are forgotten.
    pub places: Option<(Serial, Serial)>,
    /// Whether the turn is over.
    pub over: bool,
    /// The last input of the turn.
    pub last_input: Serial,
    /// The idempotency keys of the calls of tools that it begins.
    pub tools: Vec<(CallId, u128)>,
}

/// Something changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Absent where a frame did not name it.
    pub key: Option<TurnKey>,
    pub seq: Option<u64>,
    /// A stable name for programs.
    pub code: &'static str,
    pub detail: String,
    /// When the same may be taken, where that is known, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// Why a link gives nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    #[error("the last turn is over, and no more were wanted")]
    Drained,
    #[error("the worker did not answer pings")]
    Silent,
    #[error("the worker went on with a turn that was taken from it")]
    Defiant,
    #[error("the body let go of the link")]
    Closed,
    #[error("the node is ending")]
    Stopping,
}

impl What {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            What::Cancel => "cancel",
            What::Fenced => "fenced",
            What::Steer => "steer",
            What::Stalled => "stalled",
            What::Answer => "answer",
            What::Pause => "pause",
            What::Resume => "resume",
            What::Audience => "audience",
            What::Control => "control",
            What::CancelStep => "cancel_step",
            What::ToolResult => "tool_result",
        }
    }

    /// Whether the worker is to stop, and to report when it is done.
    pub fn is_end(self) -> bool {
        matches!(self, What::Cancel | What::Fenced)
    }
}

impl Refused {
    /// The answer to a frame that cannot be read.
    pub fn frame(code: &'static str, detail: String) -> ToWorker {
        ToWorker::Refused(Box::new(Refused {
            key: None,
            seq: None,
            code,
            detail,
            retry_after_ms: None,
        }))
    }
}
