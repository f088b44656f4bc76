//! Commands for turns: of those who want them, and of the workers that take them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::people::Role;
use crate::event::NewEvent;
use crate::fact::{Cause, Sender};
use crate::ids::{
    AgentName, CallId, Incarnation, InteractionId, KindName, Serial, StepName, ToolName, TurnEpoch,
    TurnId, WorkerName,
};

/// What a participant sends to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Given by the client, so that a retry has the effect of one; the name of the turn that begins with it.
    pub input: TurnId,
    /// Whom it is for.
    pub agent: AgentName,
    /// What is sent.
    pub content: NewEvent,
    /// Who sends it, where that is known.
    pub sender: Option<Sender>,
    /// As the session's policy has it, where nothing is given.
    pub when_busy: Option<WhenBusy>,
    /// From [`Role::Participant`].
    pub role: Role,
    /// Workers in a row that may be lost without output that stays, for a turn that begins with it; from 1.
    pub attempts: Option<u32>,
    /// How long a worker of such a turn may live without progress, in milliseconds, whatever it declared when it
    /// took the turn.
    pub progress_timeout_ms: Option<u64>,
    /// Where it stands in the conversation; after the newest message of the current branch, where nothing is given.
    pub follows: Option<Follows>,
}

/// A message that an input names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follows {
    /// The message that it follows, 0 where it is to be the first one; or one to which another answer is wanted.
    pub message: Serial,
    /// Another answer is wanted, to the same message.
    pub again: bool,
    /// What is in the log there; nothing where no node has found the message.
    pub found: Option<Found>,
}

/// A message that a node has found in the log, which never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The life whose log it is.
    pub life: Incarnation,
    /// The message itself; where another answer is wanted, the message to answer.
    pub message: Serial,
    /// The branch that it is on.
    pub branch: Serial,
}

/// What becomes of an input whose agent has an open turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenBusy {
    /// It is steered into that turn.
    #[default]
    Steer,
    /// It begins a turn after it.
    Queue,
    /// It begins a turn, and those that are open are cancelled.
    Interrupt,
    /// It is refused.
    Reject,
    /// It begins a turn, and those that wait for people and have no worker are cancelled: a participant sends an
    /// input instead of answering. Where the agent works, it begins a turn after that.
    Instead,
    /// As the session's policy has it, but for one who may not steer: where that is to steer, it begins a turn after
    /// the open one. No client requests it by name.
    Unsteered,
    /// It begins a turn at once, beside those that are open.
    Parallel,
    /// It begins a turn that is not given to a worker for a while, and those of its kind that come until a worker has
    /// it are steered into it: see [`crate::Policy::merge_ms`]. Where the agent works, that turn comes after it.
    Merge,
    /// As [`WhenBusy::Interrupt`], and it takes the place of the oldest of those turns on its branch: it follows what
    /// that one's input followed, so they are on another branch from then on.
    Rollback,
}

/// A worker that wants a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The turn that it wants.
    pub turn: TurnId,
    /// Who wants it.
    pub worker: WorkerName,
    /// A random number for each claim: the same claim again is no other.
    pub key: u64,
    /// How long it keeps the turn without a heartbeat, in milliseconds; within [`crate::limits::LEASE_MS_RANGE`].
    pub lease_ms: u64,
    /// How long it may live without progress, in milliseconds.
    pub progress_timeout_ms: u64,
    /// The node whose end is the worker's end; none for one that goes on by another node.
    pub node: Option<NodeStart>,
}

/// One start of a node, from then to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStart {
    /// The node's number.
    pub node: u64,
    /// A later start of the same node has a greater number.
    pub boot: u64,
}

/// What a worker reports of its turn: output, and its state; a heartbeat alone, if nothing is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnReport {
    /// The turn that it has.
    pub turn: TurnId,
    /// The epoch of its lease: refused where another worker has had the turn since (S4).
    pub epoch: TurnEpoch,
    /// What it puts out, if anything.
    pub output: Option<TurnOutput>,
    /// The last input of the turn that it has taken in.
    pub consumed: Option<Serial>,
    /// The last input of the turn that has reached it.
    pub delivered: Option<Serial>,
    /// How long from now it may be without progress, in milliseconds: a slow tool, for example.
    pub progress_timeout_ms: Option<u64>,
    /// What it does now.
    pub phase: Option<Phase>,
    /// What its successor should know; see [`crate::limits::CHECKPOINT_BYTES`].
    pub checkpoint: Option<Bytes>,
}

impl TurnReport {
    /// Sub-turns that begin with it, if they are new.
    pub fn begins(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.begin.len())
    }

    /// Bytes of what it brings: events, questions, marks of tools, sub-turns, and checkpoint.
    pub fn content_bytes(&self) -> usize {
        let output = self.output.as_ref().map_or(0, |output| {
            let events = output.events.iter().map(|event| event.payload.len());
            let asks = output.ask.iter().map(|ask| ask.question.payload.len());
            events
                .chain(asks)
                .chain(output.tools.iter().map(|mark| mark.output().payload.len()))
                .chain(output.begin.iter().map(|begin| begin.content.payload.len()))
                .sum()
        });
        output + self.checkpoint.as_ref().map_or(0, Bytes::len)
    }
}

/// Output of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnOutput {
    /// Counts the worker's requests in this epoch from 0: the same again is no change.
    pub seq: u64,
    /// Begins a step: what follows belongs to it.
    pub step: Option<StepName>,
    /// What earlier attempts put out of this step, or of the turn where there is no step, is superseded by these
    /// events.
    ///
    /// Where the worker has set a mark, it is what the worker itself put out since then.
    pub rewind: bool,
    /// What follows may be superseded by this same worker: a later `rewind` of it goes back to here.
    pub mark: bool,
    /// Up to [`crate::limits::APPEND_EVENTS`].
    pub events: Vec<NewEvent>,
    /// The events are not for everyone: drafts and notes.
    pub internal: bool,
    /// What people are to answer; up to [`crate::limits::INTERACTIONS`].
    pub ask: Vec<Ask>,
    /// How the turn goes on after it.
    pub then: Then,
    /// What people need not answer any more; up to [`crate::limits::INTERACTIONS`].
    pub withdraw: Vec<Withdraw>,
    /// Calls of tools that the worker begins to make, or has made; up to [`crate::limits::TOOL_CALLS`].
    pub tools: Vec<ToolMark>,
    /// Turns that begin with it, each once whoever repeats it; up to [`crate::limits::SUB_TURNS`].
    pub begin: Vec<SubTurn>,
}

/// A turn that a turn begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTurn {
    /// Given by the worker; the name of the turn, and of its input.
    pub turn: TurnId,
    /// Whom it is for.
    pub agent: AgentName,
    /// What is to be done.
    pub content: NewEvent,
    /// As [`Input::attempts`].
    pub attempts: Option<u32>,
    /// As [`Input::progress_timeout_ms`].
    pub progress_timeout_ms: Option<u64>,
}

/// A call of a tool, as its worker makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolMark {
    /// Its name within the turn; it is the same call for every worker of the turn.
    pub call: CallId,
    /// How far it is.
    pub step: ToolStep,
}

/// See [`ToolMark`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolStep {
    /// It is about to be made; the same again under one epoch is no change.
    Started {
        /// What is called.
        tool: ToolName,
        /// What it is called with.
        arguments: NewEvent,
    },
    /// It was made.
    Finished {
        /// What came of it.
        result: NewEvent,
        /// That is an error.
        failed: bool,
    },
}

/// What came of a call, from whoever made it: also from a worker that has lost its turn, and when the turn is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The turn that it was made in.
    pub turn: TurnId,
    /// Its name.
    pub call: CallId,
    /// Its idempotency key, as the worker got it.
    pub key: u128,
    /// The epoch of the worker that made it.
    pub epoch: TurnEpoch,
    /// What came of it.
    pub result: NewEvent,
    /// That is an error.
    pub failed: bool,
}

/// A question that its turn takes back. One that is over already stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// The question.
    pub interaction: InteractionId,
    /// For people; up to [`crate::limits::REASON_BYTES`].
    pub reason: String,
}

/// Something that a person is to answer: an approval, or a tool that only a client has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Given by the worker; repeating it under the same name, in the same turn, is no change.
    pub interaction: InteractionId,
    /// What sort of thing it is, for those who show it.
    pub kind: KindName,
    /// What people are shown.
    pub question: NewEvent,
    /// How long it stays open, in milliseconds; as long as its turn where nothing is given.
    pub deadline_ms: Option<u64>,
    /// Who may answer, at least; from [`Role::Participant`].
    pub role: Role,
}

/// What a worker does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It works on an answer, and nothing of it comes out yet.
    #[default]
    Thinking,
    /// It puts an answer out.
    Streaming,
    /// It waits for this tool.
    Tool(ToolName),
}

/// How a turn goes on after this output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// The worker keeps it and has more to put out.
    #[default]
    GoOn,
    /// It is over, and done.
    Complete,
    /// It is over, and could not be done.
    Fail {
        /// For people; up to [`crate::limits::REASON_BYTES`].
        reason: String,
    },
    /// Another worker should have it.
    Release,
    /// The lease is given up until an interaction of the turn is answered.
    Wait,
    /// The lease is given up until the turn is to go on.
    Pause,
    /// Complete, though not by the answer's own end: it was cut at a length, for example.
    CompleteFor {
        /// Why the answer ended, for programs; up to [`crate::limits::REASON_BYTES`].
        reason: String,
    },
    /// The lease is given up until all sub-turns are over.
    WaitAll,
    /// The lease is given up until one more of the sub-turns is over.
    WaitAny,
}

/// Turns that are to end, or a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// What is to end.
    pub scope: Scope,
    /// Who requests it, where that is known.
    pub by: Option<Sender>,
    /// Up to [`crate::limits::REASON_BYTES`].
    pub reason: String,
    /// From [`Role::Controller`].
    pub role: Role,
}

/// Which turns of the session are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// This one.
    Turn(TurnId),
    /// All that are open of this agent.
    Agent(AgentName),
    /// All that are open.
    All,
    /// A step of a turn, if it is the one under way.
    Step(TurnId, StepName),
}

/// A worker that is gone, as a node saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lose {
    /// The turn that the worker had.
    pub turn: TurnId,
    /// The epoch of its lease: no change where that is over.
    pub epoch: TurnEpoch,
    /// How the node lost the worker.
    pub cause: Cause,
    /// The next worker has the turn no earlier than after this span, in milliseconds; up to
    /// [`crate::limits::RETRY_AFTER_MS_MAX`].
    pub wait_ms: u64,
    /// A last message, for those who look into it; up to [`crate::limits::DETAIL_BYTES`].
    pub detail: String,
}

impl Phase {
    /// A stable name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Thinking => "thinking",
            Phase::Streaming => "streaming",
            Phase::Tool(_) => "tool",
        }
    }
}

impl WhenBusy {
    /// Those that a request can name.
    pub const ALL: [WhenBusy; 8] = [
        WhenBusy::Steer,
        WhenBusy::Queue,
        WhenBusy::Interrupt,
        WhenBusy::Reject,
        WhenBusy::Instead,
        WhenBusy::Parallel,
        WhenBusy::Merge,
        WhenBusy::Rollback,
    ];

    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            WhenBusy::Steer => "steer",
            WhenBusy::Queue => "queue",
            WhenBusy::Interrupt => "interrupt",
            WhenBusy::Reject => "reject",
            WhenBusy::Instead => "instead",
            WhenBusy::Unsteered => "unsteered",
            WhenBusy::Parallel => "parallel",
            WhenBusy::Merge => "merge",
            WhenBusy::Rollback => "rollback",
        }
    }

    /// What is done where a client requests this, or nothing, under a policy.
    pub fn under(request: Option<WhenBusy>, policy: WhenBusy) -> WhenBusy {
        match (request, policy) {
            (Some(WhenBusy::Unsteered), WhenBusy::Steer) => WhenBusy::Queue,
            (None | Some(WhenBusy::Unsteered), policy) => policy,
            (Some(request), _) => request,
        }
    }

    /// What has this name.
    pub fn parse(name: &str) -> Option<WhenBusy> {
        WhenBusy::ALL.into_iter().find(|busy| busy.name() == name)
    }
}

impl Input {
    /// An input that names no sender, under the session's policy.
    pub fn new(input: TurnId, agent: AgentName, content: NewEvent) -> Input {
        let (sender, when_busy, role) = (None, None, Role::default());
        let (attempts, progress_timeout_ms, follows) = (None, None, None);
        Input {
            input,
            agent,
            content,
            sender,
            when_busy,
            role,
            attempts,
            progress_timeout_ms,
            follows,
        }
    }
}

impl TurnReport {
    /// A sign of life.
    pub fn new(turn: TurnId, epoch: TurnEpoch) -> TurnReport {
        TurnReport {
            turn,
            epoch,
            output: None,
            consumed: None,
            delivered: None,
            progress_timeout_ms: None,
            phase: None,
            checkpoint: None,
        }
    }
}

impl ToolMark {
    /// What it brings: the arguments of a call, or what came of it.
    pub fn output(&self) -> &NewEvent {
        match &self.step {
            ToolStep::Started { arguments, .. } => arguments,
            ToolStep::Finished { result, .. } => result,
        }
    }
}

impl Cancel {
    /// A cancel that names no requester.
    pub fn new(scope: Scope, reason: &str) -> Cancel {
        Cancel { scope, by: None, reason: reason.into(), role: Role::default() }
    }
}

impl Scope {
    /// Whether it means this turn.
    pub(crate) fn has(&self, turn: &TurnId, of: &AgentName) -> bool {
        match self {
            Scope::All => true,
            Scope::Agent(agent) => of == agent,
            Scope::Turn(id) => turn == id,
            Scope::Step(..) => false,
        }
    }
}
