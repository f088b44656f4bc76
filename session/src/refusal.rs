//! Why a command changed nothing.

use serde::{Deserialize, Serialize};

use super::command::Role;
use super::config::BadConfig;
use crate::ids::{Incarnation, ProducerEpoch, ProducerId, Serial, StepName, TurnEpoch, TurnId};

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
