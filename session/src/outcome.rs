//! What came of a command: applied, or refused for good.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::{Phase, Role};
use super::config::{BadConfig, Config};
use super::control::{Control, Mode};
use super::fact::{PauseReason, Sender};
use super::fork::Fork;
use super::turn::{Stage, Turn, TurnLease};
use super::work::Interaction;
use crate::ids::{
    AgentName, ControlEpoch, Incarnation, InteractionId, KindName, Millis, ProducerEpoch,
    ProducerId, Serial, StepName, TurnEpoch, TurnId, WorkerName,
};

/// What a command did. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The session lives; `created` is false where it already did. `closed`: it takes no events.
    Created { incarnation: Incarnation, created: bool, closed: bool },
    /// The events `first..=last` are in the log.
    ///
    /// `duplicate`: they have been since an earlier request; the places are absent where they are
    /// forgotten. `closed`: this very request closed the session. `seq`: the producer's last request
    /// that was accepted; where each event is a request, the last one of these that is in the log.
    Appended {
        first: Option<Serial>,
        last: Option<Serial>,
        duplicate: bool,
        closed: bool,
        seq: Option<u64>,
    },
    /// The session is closed after `tail`; `duplicate` where it already was, and `again` where this
    /// very request had closed it.
    Closed { tail: Serial, duplicate: bool, again: bool },
    /// The session and its log are no more.
    Deleted { incarnation: Incarnation, reason: DeleteReason },
    /// The time to live ends at `until`, if ever.
    Touched { until: Option<Millis> },
    /// The log now begins at `first`.
    Trimmed { first: Serial },
    /// Nothing was due.
    Unchanged,
    /// What was due has happened.
    Ticked,
    /// The log up to `at` is kept for the fork, if it begins before `until`.
    Held { at: Serial, until: Millis },
    /// The input is in the log at `serial`, and is of this turn; `duplicate`: it was before.
    Input { turn: TurnId, serial: Serial, duplicate: bool },
    /// The worker has the turn.
    Claimed { turn: Box<TurnStatus> },
    /// What was said is in the log at these places, where anything was; `duplicate`: it was before.
    /// `over`: the turn is. `spoken`: the last input of the turn.
    Said { places: Option<(Serial, Serial)>, duplicate: bool, over: bool, spoken: Serial },
    /// So many turns were ended by this request.
    Cancelled { turns: usize },
    /// The hold or pending release is settled; nothing more is to be done for it.
    Settled,
    /// The turn was taken from the worker, if it was still its own.
    Lost { was: bool },
    /// The answer is in the log at `serial`; `duplicate`: it was before.
    Answered { turn: TurnId, serial: Serial, duplicate: bool },
    /// So many people have had control, and how they are answered now. `serial`: the tail.
    Control { epoch: ControlEpoch, mode: Mode, serial: Serial },
    /// So many turns rest or go on, or are asked to, by this request.
    Paused { turns: usize },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteReason {
    /// Somebody asked for it.
    Asked,
    /// Its time to live was over.
    Expired,
}

/// Why a committed command changed nothing. Final: the session is exactly as it was (S1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("the session does not exist")]
    NotFound,
    #[error("the session was deleted; its log is kept for its forks alone")]
    Gone,
    #[error("the session exists with another configuration")]
    ConfigDiffers,
    #[error("the configuration cannot be kept: {0}")]
    BadConfig(BadConfig),
    #[error("the session is in its incarnation {current}; {given} was meant")]
    OtherIncarnation { given: Incarnation, current: Incarnation },
    #[error("the session was created too often")]
    IncarnationsSpent,
    #[error("{}", stale(producer, *given, *held))]
    StaleEpoch { producer: ProducerId, given: ProducerEpoch, held: ProducerEpoch },
    #[error("a new epoch begins with seq 0, not {received}")]
    EpochMustStartAtZero { received: u64 },
    #[error("seq {expected} comes next, not {received}")]
    SequenceGap { expected: u64, received: u64 },
    #[error("the session was closed at {tail}")]
    Closed { tail: Serial },
    #[error("the log ends at {tail}, not at {expected}")]
    SerialMismatch { expected: Serial, tail: Serial },
    #[error("the append carries no event")]
    NoEvents,
    #[error("the append carries {count} events; the limit is {limit}")]
    TooManyEvents { count: usize, limit: usize },
    #[error("an event has {bytes} bytes; the limit is {limit}")]
    EventTooLarge { bytes: usize, limit: usize },
    #[error("the append has {bytes} bytes; the limit is {limit}")]
    AppendTooLarge { bytes: usize, limit: usize },
    #[error("the session remembers {limit} producers, all in use")]
    TooManyProducers { limit: usize },
    #[error("the log is made of {held}")]
    OtherContentType { held: String },
    #[error("the order mark does not come after {last:?}")]
    OutOfOrder { last: String },
    #[error("the order mark has {bytes} bytes; the limit is {limit}")]
    OrderTooLong { bytes: usize, limit: usize },
    #[error("the log ends at {tail}; it cannot be forked at {at}")]
    ForkBeyondTail { at: Serial, tail: Serial },
    #[error("the log has as many forks as it may: {limit}")]
    TooManyForks { limit: usize },
    #[error("the hold on the source ended before the fork began")]
    HoldEnded,
    #[error("turn {turn} is open")]
    Busy { turn: TurnId },
    #[error("the session has {limit} open turns, as many as it may")]
    TooManyTurns { limit: usize },
    #[error("the turn does not exist")]
    NoSuchTurn,
    #[error("the turn is over")]
    TurnOver,
    #[error("the turn is not to be had now")]
    TurnTaken,
    #[error("epoch {given} is over; the turn is at {held}")]
    Fenced { given: TurnEpoch, held: TurnEpoch },
    #[error("the checkpoint has {bytes} bytes; the limit is {limit}")]
    CheckpointTooLarge { bytes: usize, limit: usize },
    #[error("this needs the role {}", needs.name())]
    RoleForbids { needs: Role },
    #[error("{limit} inputs wait for workers, as many as may")]
    MailboxFull { limit: usize },
    #[error("the step {step} was cancelled")]
    StepCancelled { step: StepName },
    #[error("the interaction does not exist")]
    NoSuchInteraction,
    #[error("the interaction is over")]
    InteractionOver,
    #[error("{by} was faster")]
    Conflict { by: String },
    #[error("an input of this name said something else, or was for another agent")]
    InputDiffers,
    #[error("another turn has an interaction of this name")]
    InteractionExists,
    #[error("the session has {limit} open interactions, as many as it may")]
    TooManyInteractions { limit: usize },
    #[error("{by} has control")]
    ControlHeld { by: String },
    /// The one refusal that is not final: nothing happened now, but an earlier try may have taken effect.
    #[error("too much happened since to tell whether an earlier try took effect")]
    OutcomeForgotten,
}

fn stale(producer: &ProducerId, given: ProducerEpoch, held: ProducerEpoch) -> String {
    if given == held {
        format!(
            "producer {producer} wrote in epoch {held} in an earlier life of the session; a greater one is next"
        )
    } else {
        format!("producer {producer} is at epoch {held}; {given} is stale")
    }
}

impl Refusal {
    /// Whether it says nothing of an earlier try of a request whose key is not kept over all lives: the life, the
    /// epoch or the turn in which that one may have taken effect is over. All others mean that no try took effect.
    #[must_use]
    pub fn tells_of_another_time(&self) -> bool {
        matches!(
            self,
            Refusal::NotFound
                | Refusal::Gone
                | Refusal::OtherIncarnation { .. }
                | Refusal::StaleEpoch { .. }
                | Refusal::Fenced { .. }
                | Refusal::NoSuchTurn
                | Refusal::NoSuchInteraction
                | Refusal::TurnOver
                | Refusal::TurnTaken
                | Refusal::HoldEnded
        )
    }

    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NotFound => "not_found",
            Refusal::Gone => "gone",
            Refusal::ConfigDiffers => "config_differs",
            Refusal::BadConfig(_) => "bad_config",
            Refusal::OtherIncarnation { .. } => "other_incarnation",
            Refusal::IncarnationsSpent => "incarnations_spent",
            Refusal::StaleEpoch { .. } => "stale_epoch",
            Refusal::EpochMustStartAtZero { .. } => "epoch_must_start_at_zero",
            Refusal::SequenceGap { .. } => "sequence_gap",
            Refusal::Closed { .. } => "closed",
            Refusal::SerialMismatch { .. } => "serial_mismatch",
            Refusal::NoEvents => "no_events",
            Refusal::TooManyEvents { .. } => "too_many_events",
            Refusal::EventTooLarge { .. } => "event_too_large",
            Refusal::AppendTooLarge { .. } => "append_too_large",
            Refusal::TooManyProducers { .. } => "too_many_producers",
            Refusal::OtherContentType { .. } => "other_content_type",
            Refusal::OutOfOrder { .. } => "out_of_order",
            Refusal::OrderTooLong { .. } => "order_too_long",
            Refusal::ForkBeyondTail { .. } => "fork_beyond_tail",
            Refusal::TooManyForks { .. } => "too_many_forks",
            Refusal::HoldEnded => "hold_ended",
            Refusal::Busy { .. } => "busy",
            Refusal::TooManyTurns { .. } => "too_many_turns",
            Refusal::NoSuchTurn => "no_such_turn",
            Refusal::TurnOver => "turn_over",
            Refusal::TurnTaken => "turn_taken",
            Refusal::Fenced { .. } => "fenced",
            Refusal::CheckpointTooLarge { .. } => "checkpoint_too_large",
            Refusal::RoleForbids { .. } => "role_forbids",
            Refusal::MailboxFull { .. } => "mailbox_full",
            Refusal::StepCancelled { .. } => "step_cancelled",
            Refusal::NoSuchInteraction => "no_such_interaction",
            Refusal::InteractionOver => "interaction_over",
            Refusal::Conflict { .. } | Refusal::InputDiffers => "conflict",
            Refusal::InteractionExists => "interaction_exists",
            Refusal::TooManyInteractions { .. } => "too_many_interactions",
            Refusal::ControlHeld { .. } => "control_held",
            Refusal::OutcomeForgotten => "outcome_unknown",
        }
    }
}

/// A live session as it is now, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
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
    /// Whether nobody can append any more.
    pub closed: bool,
    /// Hash of the log up to `tail`.
    pub chain: u64,
    /// Payload bytes of the log from `first`; after a trim, up to one mark more.
    pub bytes: u64,
    pub created_at: Millis,
    /// When the log last changed.
    pub updated_at: Millis,
    /// When the time to live last began.
    pub touched_at: Millis,
    /// When the session ends if nobody touches it.
    pub expires_at: Option<Millis>,
    pub config: Config,
    /// Producers that are remembered.
    pub producers: usize,
    /// Turns that are not over, oldest first.
    pub turns: Vec<TurnStatus>,
    /// What people are to answer, oldest first.
    pub interactions: Vec<InteractionStatus>,
    pub control: ControlStatus,
    /// Who watches; none before the leader has counted.
    pub audience: Option<AudienceStatus>,
}

/// An open turn as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnStatus {
    pub turn: TurnId,
    pub agent: AgentName,
    pub state: TurnState,
    /// Its first input, its last one, the last that has reached a worker, and the last that one has taken in.
    pub input: Serial,
    pub spoken: Serial,
    pub delivered: Serial,
    pub heard: Serial,
    /// Workers that have had it.
    pub attempts: u32,
    /// Workers in a row that were lost without output that stays, and how many are too many.
    pub failures: u32,
    pub failures_max: u32,
    pub checkpoint: Option<Bytes>,
    /// When it may be taken; none while a worker has it or it rests.
    pub waits_from: Option<Millis>,
    /// Its worker is asked to rest.
    pub pausing: Option<PauseReason>,
    /// The step under way, and which attempt at it.
    pub step: Option<(StepName, u32)>,
    /// The first output that is not superseded; 0 where there is none.
    pub first_output: Serial,
    /// Payload bytes that it put out.
    pub bytes: u64,
    /// The worker that has it.
    pub lease: Option<LeaseStatus>,
    /// Nobody works for its agent, as far as the node knows that is asked: the session itself does not.
    pub unserved: bool,
}

/// Where an open turn stands, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurnState {
    /// For a worker to take it.
    Queued,
    /// A worker has it.
    Active,
    /// For people to answer, with a worker or without.
    Waiting,
    Paused {
        reason: PauseReason,
    },
}

/// The worker of a turn, by its two clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    pub worker: WorkerName,
    pub epoch: TurnEpoch,
    pub lease_ms: u64,
    /// Whether it has put anything out.
    pub spoke: bool,
    /// When it was last heard of.
    pub alive_at: Millis,
    /// When it last said something, or said how long it would not.
    pub progress_at: Millis,
    pub quiet_ms: u64,
    pub stalled: bool,
    pub phase: Phase,
}

/// Something that people are to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractionStatus {
    pub interaction: InteractionId,
    pub turn: TurnId,
    pub kind: KindName,
    /// The question's place in the log.
    pub serial: Serial,
    pub deadline: Option<Millis>,
}

/// Who answers people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    pub mode: Mode,
    pub holder: Option<Sender>,
    /// Counts the changes of holder.
    pub epoch: ControlEpoch,
    pub until: Option<Millis>,
    /// Who would like to have it.
    pub requested: Option<Sender>,
    /// Whether inputs wait for the holder.
    pub held: bool,
}

/// Who watches, as the leader has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudienceStatus {
    pub watchers: u32,
    /// Those among them that may do more than speak.
    pub controllers: u32,
    /// Since when there has been somebody, or nobody.
    pub since: Millis,
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
            Stage::Asking => (TurnState::Waiting, None),
            Stage::Waiting { from } => (TurnState::Queued, Some(*from)),
            Stage::Active(_) => (TurnState::Active, None),
        };
        let waits = asks && !matches!(state, TurnState::Paused { .. });
        TurnStatus {
            turn: turn.id.clone(),
            agent: turn.agent.clone(),
            state: if waits { TurnState::Waiting } else { state },
            input: turn.input,
            spoken: turn.spoken,
            delivered: turn.delivered,
            heard: turn.heard,
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
            unserved: false,
        }
    }
}

impl From<&TurnLease> for LeaseStatus {
    fn from(lease: &TurnLease) -> LeaseStatus {
        LeaseStatus {
            worker: lease.worker.clone(),
            epoch: lease.epoch,
            lease_ms: lease.lease_ms,
            spoke: lease.spoke,
            alive_at: lease.alive_at,
            progress_at: lease.progress_at,
            quiet_ms: lease.quiet_ms,
            stalled: lease.stalled,
            phase: lease.phase.clone(),
        }
    }
}

impl From<&Interaction> for InteractionStatus {
    fn from(asked: &Interaction) -> InteractionStatus {
        InteractionStatus {
            interaction: asked.id.clone(),
            turn: asked.turn.clone(),
            kind: asked.kind.clone(),
            serial: asked.serial,
            deadline: asked.deadline,
        }
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
        }
    }
}
