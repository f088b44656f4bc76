//! A session as it is now, for whoever requests it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::branch::Branches;
use super::command::{Phase, Role};
use super::config::Config;
use super::control::{Control, Mode};
use super::fact::{Cause, End, PauseReason, Sender};
use super::fork::Fork;
use super::standing::Standing;
use super::turn::{Stage, ToolCall, Turn, TurnLease};
use super::work::{Begun, Interaction, Known};
use crate::ids::{
    AgentName, CallEpoch, CallId, ControlEpoch, Incarnation, InteractionId, KindName, Millis,
    Serial, StepName, ToolName, TurnEpoch, TurnId, WorkerName,
};

/// A live session as it is now, for whoever requests it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its life.
    pub incarnation: Incarnation,
    /// See [`super::Session::root`].
    pub root: Incarnation,
    /// What it inherits, if it is a fork.
    pub fork: Option<Fork>,
    /// Deleted, and kept for its forks alone.
    pub hidden: bool,
    /// First event that can still be read; one beyond `tail` where there is none.
    pub first: Serial,
    /// Last event.
    pub tail: Serial,
    /// Whether appending has ended.
    pub closed: bool,
    /// Hash of the log up to `tail`.
    pub chain: u64,
    /// Payload bytes of the log from `first`; after a trim, up to one mark more.
    pub bytes: u64,
    /// When this life began.
    pub created_at: Millis,
    /// When the log last changed.
    pub updated_at: Millis,
    /// When the time to live last began.
    pub touched_at: Millis,
    /// When the session ends if no client touches it.
    pub expires_at: Option<Millis>,
    /// What it was created with.
    pub config: Config,
    /// Producers that are remembered.
    pub producers: usize,
    /// Turns that are not over, oldest first.
    pub turns: Vec<TurnStatus>,
    /// What people are to answer, oldest first.
    pub interactions: Vec<InteractionStatus>,
    /// Inputs that no worker has taken in yet, oldest first, and those that are held back for whoever has control;
    /// among the latter may be the messages of the holder itself.
    pub queued: Vec<QueuedStatus>,
    /// Where the newest message begins; 0 where none is known.
    pub message: Serial,
    /// Who answers people.
    pub control: ControlStatus,
    /// Who watches; none before the leader has counted.
    pub audience: Option<AudienceStatus>,
    /// The branches of its conversation.
    pub branches: Branches,
    /// What may still be added to it.
    pub standing: Standing,
}

/// An open turn as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnStatus {
    /// Its name.
    pub turn: TurnId,
    /// The agent that it is for.
    pub agent: AgentName,
    /// Where it stands.
    pub state: TurnState,
    /// Its first input.
    pub input: Serial,
    /// Its last input.
    pub last_input: Serial,
    /// Its last input that has reached a worker.
    pub delivered: Serial,
    /// Its last input that a worker has taken in.
    pub consumed: Serial,
    /// Workers that have had it.
    pub attempts: u32,
    /// Workers in a row that were lost without output that stays.
    pub failures: u32,
    /// So many of these and the turn fails.
    pub failures_max: u32,
    /// What the last worker left for the next; up to [`crate::limits::CHECKPOINT_BYTES`] bytes.
    pub checkpoint: Option<Bytes>,
    /// When it may be taken; none while a worker has it or it rests.
    pub waits_from: Option<Millis>,
    /// Its worker is to pause.
    pub pausing: Option<PauseReason>,
    /// The step under way, and which attempt at it.
    pub step: Option<(StepName, u32)>,
    /// The first output that is not superseded; 0 where there is none.
    pub first_output: Serial,
    /// Payload bytes that it put out.
    pub bytes: u64,
    /// The worker that has it.
    pub lease: Option<LeaseStatus>,
    /// Why it lost its last worker, if it has lost any.
    pub lost: Option<Cause>,
    /// No worker serves its agent, as far as the answering node knows: the session itself does not.
    pub unserved: bool,
    /// The branch of its output.
    pub branch: Serial,
    /// Calls of tools that were begun and have no result; oldest first.
    pub tools: Vec<ToolStatus>,
    /// The turn that began it.
    pub parent: Option<TurnId>,
    /// The turns that it began, oldest first.
    pub subturns: Vec<SubTurnStatus>,
    /// It has no worker until one more of these is over, or all are.
    pub joins: Option<Joins>,
}

/// Which of its sub-turns a turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joins {
    /// One more that is over.
    Any,
    /// All.
    All,
}

/// A turn that a turn has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTurnStatus {
    /// Its name.
    pub turn: TurnId,
    /// Whom it is for.
    pub agent: AgentName,
    /// Whether it is over, and how it ended.
    pub state: SubTurnState,
}

/// See [`SubTurnStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubTurnState {
    /// It is not over.
    Open,
    /// Its worker reported that it is done.
    Completed,
    /// It could not be done.
    Failed,
    /// It was ended.
    Cancelled,
}

/// A call of a tool that was begun. It is in doubt where it was begun under another epoch than the lease's: whether it
/// was made is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolStatus {
    /// Its name.
    pub call: CallId,
    /// What was called.
    pub tool: ToolName,
    /// Its idempotency key.
    pub key: u128,
    /// The epoch of the worker that began it.
    pub epoch: TurnEpoch,
    /// Where its arguments stand in the log.
    pub serial: Serial,
}

/// Where an open turn stands, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurnState {
    /// For a worker to take it.
    Queued,
    /// A worker has it.
    Active,
    /// For people to answer, with a worker or without; or for sub-turns.
    Waiting,
    /// Without a worker until a client resumes it.
    Paused {
        /// Why it rests.
        reason: PauseReason,
    },
}

/// The worker of a turn, by its two clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Who has the turn.
    pub worker: WorkerName,
    /// Its fencing token.
    pub epoch: TurnEpoch,
    /// How long it keeps the turn unheard, in milliseconds from `last_seen_at`.
    pub lease_ms: u64,
    /// Whether it has put anything out.
    pub emitted: bool,
    /// When something last came from it.
    pub last_seen_at: Millis,
    /// When it last made progress, or declared how long it would not.
    pub progress_at: Millis,
    /// How long it may put nothing out, in milliseconds from `progress_at`.
    pub progress_timeout_ms: u64,
    /// It has put nothing out for longer than that.
    pub stalled: bool,
    /// What it reports that it does.
    pub phase: Phase,
}

/// Something that people are to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractionStatus {
    /// Its name.
    pub interaction: InteractionId,
    /// The turn of the question.
    pub turn: TurnId,
    /// What sort of thing it is.
    pub kind: KindName,
    /// The question's place in the log.
    pub serial: Serial,
    /// Until when it can be answered; as long as its turn is open where nothing is given.
    pub deadline: Option<Millis>,
    /// Who may answer, at least.
    pub role: Role,
    /// The device that makes the call, where it is one for a client to make.
    pub caller: Option<CallerStatus>,
}

/// A device that makes a call for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerStatus {
    /// Who, on what.
    pub by: Sender,
    /// Its fencing token.
    pub epoch: CallEpoch,
    /// Until when it has the call, unless it renews it.
    pub until: Millis,
}

/// An input that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedStatus {
    /// Its name.
    pub input: TurnId,
    /// The turn that is to get it; its own name where it is held back.
    pub turn: TurnId,
    /// Its place in the log.
    pub serial: Serial,
}

/// What a session remembers of an input, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnPlace {
    /// The turn that took it in last: its own where it began one.
    pub turn: TurnId,
    /// Its place in the log.
    pub input: Serial,
    /// The last event of the turn that began with it, once that is over.
    pub ended: Option<Serial>,
}

/// Who answers people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// How people are answered.
    pub mode: Mode,
    /// Who has control; none in [`Mode::Auto`].
    pub holder: Option<Sender>,
    /// Counts the changes of holder.
    pub epoch: ControlEpoch,
    /// When it goes back to the agents unless the holder acts.
    pub until: Option<Millis>,
    /// Who would like to have it.
    pub requested: Option<Sender>,
    /// Whether inputs wait for the holder.
    pub held: bool,
    /// The note of the last change.
    pub note: String,
}

/// Who watches, as the leader has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudienceStatus {
    /// Everybody who is attached.
    pub watchers: u32,
    /// Those among them that may do more than send inputs.
    pub controllers: u32,
    /// Since when there has been any of them, or none.
    pub since: Millis,
}

impl SubTurnState {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            SubTurnState::Open => "open",
            SubTurnState::Completed => "completed",
            SubTurnState::Failed => "failed",
            SubTurnState::Cancelled => "cancelled",
        }
    }

    pub(super) fn of(end: &End) -> SubTurnState {
        match end {
            End::Completed { .. } => SubTurnState::Completed,
            End::Failed { .. } => SubTurnState::Failed,
            End::Cancelled { .. } => SubTurnState::Cancelled,
        }
    }
}

impl Joins {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Joins::Any => "any",
            Joins::All => "all",
        }
    }
}

impl TurnState {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            TurnState::Queued => "queued",
            TurnState::Active => "active",
            TurnState::Waiting => "waiting",
            TurnState::Paused { .. } => "paused",
        }
    }
}

impl TurnStatus {
    /// `asks`: it waits for people.
    pub(super) fn of(turn: &Turn, asks: bool) -> TurnStatus {
        let (state, waits_from) = match &turn.stage {
            Stage::Paused { reason } => (TurnState::Paused { reason: *reason }, None),
            Stage::Asking | Stage::Joining { .. } => (TurnState::Waiting, None),
            Stage::Waiting { from } => (TurnState::Queued, Some(*from)),
            Stage::Active(_) => (TurnState::Active, None),
        };
        let waits = asks && !matches!(state, TurnState::Paused { .. });
        TurnStatus {
            turn: turn.id.clone(),
            agent: turn.agent.clone(),
            state: if waits { TurnState::Waiting } else { state },
            input: turn.input,
            last_input: turn.last_input,
            delivered: turn.delivered,
            consumed: turn.consumed,
            attempts: turn.attempts,
            failures: turn.failures,
            failures_max: turn.failures_max,
            checkpoint: turn.checkpoint.clone(),
            waits_from,
            pausing: turn.pausing,
            step: turn.step.as_ref().map(|step| (step.name.clone(), step.attempt)),
            first_output: turn.output.first,
            bytes: turn.output.bytes,
            lease: turn.lease().map(LeaseStatus::from),
            lost: turn.lost,
            unserved: false,
            branch: turn.branch,
            tools: turn.tools.iter().map(ToolStatus::from).collect(),
            parent: turn.parent.clone(),
            subturns: turn.subturns.iter().map(SubTurnStatus::from).collect(),
            joins: match turn.stage {
                Stage::Joining { all: true } => Some(Joins::All),
                Stage::Joining { all: false } => Some(Joins::Any),
                _ => None,
            },
        }
    }
}

impl From<&Begun> for SubTurnStatus {
    fn from(begun: &Begun) -> SubTurnStatus {
        let Begun { turn, agent, state, .. } = begun.clone();
        SubTurnStatus { turn, agent, state }
    }
}

impl From<&ToolCall> for ToolStatus {
    fn from(begun: &ToolCall) -> ToolStatus {
        let ToolCall { call, tool, key, epoch, serial } = begun.clone();
        ToolStatus { call, tool, key, epoch, serial }
    }
}

impl From<&TurnLease> for LeaseStatus {
    fn from(lease: &TurnLease) -> LeaseStatus {
        LeaseStatus {
            worker: lease.worker.clone(),
            epoch: lease.epoch,
            lease_ms: lease.lease_ms,
            emitted: lease.emitted,
            last_seen_at: lease.last_seen_at,
            progress_at: lease.progress_at,
            progress_timeout_ms: lease.progress_timeout_ms,
            stalled: lease.stalled,
            phase: lease.phase.clone(),
        }
    }
}

impl From<&Interaction> for InteractionStatus {
    fn from(request: &Interaction) -> InteractionStatus {
        InteractionStatus {
            interaction: request.id.clone(),
            turn: request.turn.clone(),
            kind: request.kind.clone(),
            serial: request.serial,
            deadline: request.deadline,
            role: request.role,
            caller: request.caller.as_ref().map(|caller| CallerStatus {
                by: caller.by.clone(),
                epoch: request.call_epoch,
                until: caller.until,
            }),
        }
    }
}

impl From<&Known> for QueuedStatus {
    fn from(known: &Known) -> QueuedStatus {
        QueuedStatus { input: known.input.clone(), turn: known.turn.clone(), serial: known.serial }
    }
}

impl From<&Control> for ControlStatus {
    fn from(control: &Control) -> ControlStatus {
        ControlStatus {
            mode: control.mode,
            holder: control.holder.clone(),
            epoch: control.epoch,
            until: control.until,
            requested: control.requested.clone(),
            held: control.held.is_some(),
            note: control.note.clone(),
        }
    }
}
