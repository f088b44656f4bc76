//! What came of a command, as one node tells another. A promise, like all of [`super::wire`].

use serde::{Deserialize, Serialize};

use super::told::ToldTurn;
use crate::ids::{Incarnation, Millis, ProducerId, Serial, StepName, TurnId};
use crate::runtime::outcome::{Reply, SubmitError, Unavailable};
use crate::session::{Applied, BadConfig, DeleteReason, Mode, Refusal, Role};

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Outcome {
    Applied { what: Did, incarnation: u32, root: u32, tail: u64 },
    Refused { why: Why, incarnation: Option<u32>, root: Option<u32>, tail: u64 },
    NoQuorum(String),
    Overloaded,
    DiskFull,
    Unknown(String),
}

/// [`Applied`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Did {
    Created {
        incarnation: u32,
        created: bool,
        closed: bool,
    },
    Appended {
        first: Option<u64>,
        last: Option<u64>,
        duplicate: bool,
        closed: bool,
        seq: Option<u64>,
    },
    Closed {
        tail: u64,
        duplicate: bool,
        again: bool,
    },
    Deleted {
        incarnation: u32,
        expired: bool,
    },
    Touched {
        until: Option<u64>,
    },
    Trimmed {
        first: u64,
    },
    Unchanged,
    Held {
        at: u64,
        until: u64,
    },
    Settled,
    Ticked,
    Input {
        turn: String,
        serial: u64,
        duplicate: bool,
    },
    Claimed(Box<ToldTurn>),
    Said {
        places: Option<(u64, u64)>,
        duplicate: bool,
        over: bool,
        spoken: u64,
    },
    Cancelled {
        turns: u64,
    },
    Lost {
        was: bool,
    },
    Answered {
        turn: String,
        serial: u64,
        duplicate: bool,
    },
    Control {
        epoch: u64,
        mode: String,
        serial: u64,
    },
    Rested {
        turns: u64,
    },
}

/// [`Refusal`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Why {
    NotFound,
    ConfigDiffers,
    /// As text: the config is the asker's own.
    BadConfig {
        count: u64,
        limit: u64,
        kind: u8,
    },
    OtherIncarnation {
        given: u32,
        current: u32,
    },
    IncarnationsSpent,
    StaleEpoch {
        producer: String,
        given: u64,
        held: u64,
    },
    EpochMustStartAtZero {
        received: u64,
    },
    SequenceGap {
        expected: u64,
        received: u64,
    },
    Closed {
        tail: u64,
    },
    SerialMismatch {
        expected: u64,
        tail: u64,
    },
    NoEvents,
    TooManyEvents {
        count: u64,
        limit: u64,
    },
    EventTooLarge {
        bytes: u64,
        limit: u64,
    },
    AppendTooLarge {
        bytes: u64,
        limit: u64,
    },
    TooManyProducers {
        limit: u64,
    },
    Gone,
    OtherContentType {
        held: String,
    },
    OutOfOrder {
        last: String,
    },
    OrderTooLong {
        bytes: u64,
        limit: u64,
    },
    ForkBeyondTail {
        at: u64,
        tail: u64,
    },
    TooManyForks {
        limit: u64,
    },
    HoldEnded,
    Busy {
        turn: String,
    },
    TooManyTurns {
        limit: u64,
    },
    NoSuchTurn,
    TurnOver,
    TurnTaken,
    Fenced {
        given: u64,
        held: u64,
    },
    CheckpointTooLarge {
        bytes: u64,
        limit: u64,
    },
    /// A field of the config by its number, and its limit.
    ConfigTooMuch {
        field: u8,
        limit: u64,
    },
    RoleForbids {
        needs: String,
    },
    MailboxFull {
        limit: u64,
    },
    StepCancelled {
        step: String,
    },
    NoSuchInteraction,
    InteractionOver,
    Conflict {
        by: String,
    },
    InteractionExists,
    TooManyInteractions {
        limit: u64,
    },
    ControlHeld {
        by: String,
    },
    OutcomeForgotten,
    InputDiffers,
}

impl From<Result<Reply, SubmitError>> for Outcome {
    fn from(done: Result<Reply, SubmitError>) -> Outcome {
        match done {
            Ok(Reply { applied, incarnation, root, tail }) => Outcome::Applied {
                what: did(applied),
                incarnation: incarnation.0,
                root: root.0,
                tail: tail.0,
            },
            Err(SubmitError::Refused { refusal, incarnation, root, tail }) => Outcome::Refused {
                why: why(refusal),
                incarnation: incarnation.map(|incarnation| incarnation.0),
                root: root.map(|root| root.0),
                tail: tail.0,
            },
            Err(SubmitError::Unavailable(Unavailable::NoQuorum(text))) => Outcome::NoQuorum(text),
            Err(SubmitError::Unavailable(Unavailable::Overloaded)) => Outcome::Overloaded,
            Err(SubmitError::Unavailable(Unavailable::DiskFull)) => Outcome::DiskFull,
            Err(SubmitError::Unknown(text)) => Outcome::Unknown(text),
        }
    }
}

impl Outcome {
    pub(in crate::runtime) fn thaw(self) -> Result<Reply, SubmitError> {
        Err(match self {
            Outcome::Applied { what, incarnation, root, tail } => {
                let (incarnation, root) = (Incarnation(incarnation), Incarnation(root));
                let odd = || SubmitError::Unknown("the peer's answer is unreadable".into());
                let applied = applied(what).ok_or_else(odd)?;
                return Ok(Reply { applied, incarnation, root, tail: Serial(tail) });
            }
            Outcome::Refused { why, incarnation, root, tail } => match refusal(why) {
                Some(refusal) => {
                    let (incarnation, root) = (incarnation.map(Incarnation), root.map(Incarnation));
                    SubmitError::Refused { refusal, incarnation, root, tail: Serial(tail) }
                }
                None => SubmitError::Unknown("the peer's refusal is unreadable".into()),
            },
            Outcome::NoQuorum(text) => Unavailable::NoQuorum(text).into(),
            Outcome::Overloaded => Unavailable::Overloaded.into(),
            Outcome::DiskFull => Unavailable::DiskFull.into(),
            Outcome::Unknown(text) => SubmitError::Unknown(text),
        })
    }
}

fn did(applied: Applied) -> Did {
    match applied {
        Applied::Created { incarnation, created, closed } => {
            Did::Created { incarnation: incarnation.0, created, closed }
        }
        Applied::Appended { first, last, duplicate, closed, seq } => {
            let (first, last) = (first.map(|serial| serial.0), last.map(|serial| serial.0));
            Did::Appended { first, last, duplicate, closed, seq }
        }
        Applied::Closed { tail, duplicate, again } => {
            Did::Closed { tail: tail.0, duplicate, again }
        }
        Applied::Deleted { incarnation, reason } => {
            let expired = reason == DeleteReason::Expired;
            Did::Deleted { incarnation: incarnation.0, expired }
        }
        Applied::Touched { until } => Did::Touched { until: until.map(|until| until.0) },
        Applied::Trimmed { first } => Did::Trimmed { first: first.0 },
        Applied::Unchanged => Did::Unchanged,
        Applied::Held { at, until } => Did::Held { at: at.0, until: until.0 },
        Applied::Settled => Did::Settled,
        Applied::Ticked => Did::Ticked,
        Applied::Input { turn, serial, duplicate } => {
            Did::Input { turn: turn.as_str().into(), serial: serial.0, duplicate }
        }
        Applied::Claimed { turn } => Did::Claimed(Box::new((*turn).into())),
        Applied::Said { places, duplicate, over, spoken } => {
            let places = places.map(|(first, last)| (first.0, last.0));
            Did::Said { places, duplicate, over, spoken: spoken.0 }
        }
        Applied::Cancelled { turns } => Did::Cancelled { turns: turns as u64 },
        Applied::Lost { was } => Did::Lost { was },
        Applied::Answered { turn, serial, duplicate } => {
            Did::Answered { turn: turn.as_str().into(), serial: serial.0, duplicate }
        }
        Applied::Control { epoch, mode, serial } => {
            Did::Control { epoch, mode: mode.name().into(), serial: serial.0 }
        }
        Applied::Rested { turns } => Did::Rested { turns: turns as u64 },
    }
}

fn applied(did: Did) -> Option<Applied> {
    Some(match did {
        Did::Created { incarnation, created, closed } => {
            Applied::Created { incarnation: Incarnation(incarnation), created, closed }
        }
        Did::Appended { first, last, duplicate, closed, seq } => {
            let (first, last) = (first.map(Serial), last.map(Serial));
            Applied::Appended { first, last, duplicate, closed, seq }
        }
        Did::Closed { tail, duplicate, again } => {
            Applied::Closed { tail: Serial(tail), duplicate, again }
        }
        Did::Deleted { incarnation, expired } => {
            let reason = if expired { DeleteReason::Expired } else { DeleteReason::Asked };
            Applied::Deleted { incarnation: Incarnation(incarnation), reason }
        }
        Did::Touched { until } => Applied::Touched { until: until.map(Millis) },
        Did::Trimmed { first } => Applied::Trimmed { first: Serial(first) },
        Did::Unchanged => Applied::Unchanged,
        Did::Held { at, until } => Applied::Held { at: Serial(at), until: Millis(until) },
        Did::Settled => Applied::Settled,
        Did::Ticked => Applied::Ticked,
        Did::Input { turn, serial, duplicate } => {
            Applied::Input { turn: TurnId::parse(&turn).ok()?, serial: Serial(serial), duplicate }
        }
        Did::Claimed(turn) => Applied::Claimed { turn: Box::new(turn.thaw()?) },
        Did::Said { places, duplicate, over, spoken } => {
            let places = places.map(|(first, last)| (Serial(first), Serial(last)));
            Applied::Said { places, duplicate, over, spoken: Serial(spoken) }
        }
        Did::Cancelled { turns } => Applied::Cancelled { turns: usize::try_from(turns).ok()? },
        Did::Lost { was } => Applied::Lost { was },
        Did::Answered { turn, serial, duplicate } => {
            let (turn, serial) = (TurnId::parse(&turn).ok()?, Serial(serial));
            Applied::Answered { turn, serial, duplicate }
        }
        Did::Control { epoch, mode, serial } => {
            Applied::Control { epoch, mode: Mode::parse(&mode)?, serial: Serial(serial) }
        }
        Did::Rested { turns } => Applied::Rested { turns: usize::try_from(turns).ok()? },
    })
}

const FIELDS: [&str; 6] = ["max_age_ms", "max_bytes", "ttl_ms", "attempts", "unwatched", "wait_ms"];

fn why(refusal: Refusal) -> Why {
    let bad = |kind: usize, count: usize, limit: usize| Why::BadConfig {
        kind: u8::try_from(kind).unwrap_or(u8::MAX),
        count: count as u64,
        limit: limit as u64,
    };
    match refusal {
        Refusal::NotFound => Why::NotFound,
        Refusal::ConfigDiffers => Why::ConfigDiffers,
        Refusal::BadConfig(BadConfig::Zero { field }) => {
            bad(FIELDS.iter().position(|known| *known == field).unwrap_or(0), 0, 0)
        }
        Refusal::BadConfig(BadConfig::TooMuch { field, limit }) => {
            let at = FIELDS.iter().position(|known| *known == field).unwrap_or(0);
            Why::ConfigTooMuch { field: u8::try_from(at).unwrap_or(u8::MAX), limit }
        }
        Refusal::BadConfig(BadConfig::TooManyLabels { count, limit }) => bad(10, count, limit),
        Refusal::BadConfig(BadConfig::LabelTooLong { bytes, limit }) => bad(11, bytes, limit),
        Refusal::BadConfig(BadConfig::LabelUnnamed) => bad(12, 0, 0),
        Refusal::BadConfig(BadConfig::TwoEnds) => bad(13, 0, 0),
        Refusal::OtherIncarnation { given, current } => {
            Why::OtherIncarnation { given: given.0, current: current.0 }
        }
        Refusal::IncarnationsSpent => Why::IncarnationsSpent,
        Refusal::StaleEpoch { producer, given, held } => {
            Why::StaleEpoch { producer: producer.as_str().into(), given, held }
        }
        Refusal::EpochMustStartAtZero { received } => Why::EpochMustStartAtZero { received },
        Refusal::SequenceGap { expected, received } => Why::SequenceGap { expected, received },
        Refusal::Closed { tail } => Why::Closed { tail: tail.0 },
        Refusal::SerialMismatch { expected, tail } => {
            Why::SerialMismatch { expected: expected.0, tail: tail.0 }
        }
        Refusal::NoEvents => Why::NoEvents,
        Refusal::TooManyEvents { count, limit } => {
            Why::TooManyEvents { count: count as u64, limit: limit as u64 }
        }
        Refusal::EventTooLarge { bytes, limit } => {
            Why::EventTooLarge { bytes: bytes as u64, limit: limit as u64 }
        }
        Refusal::AppendTooLarge { bytes, limit } => {
            Why::AppendTooLarge { bytes: bytes as u64, limit: limit as u64 }
        }
        Refusal::TooManyProducers { limit } => Why::TooManyProducers { limit: limit as u64 },
        Refusal::Gone => Why::Gone,
        Refusal::OtherContentType { held } => Why::OtherContentType { held },
        Refusal::OutOfOrder { last } => Why::OutOfOrder { last },
        Refusal::OrderTooLong { bytes, limit } => {
            Why::OrderTooLong { bytes: bytes as u64, limit: limit as u64 }
        }
        Refusal::ForkBeyondTail { at, tail } => Why::ForkBeyondTail { at: at.0, tail: tail.0 },
        Refusal::TooManyForks { limit } => Why::TooManyForks { limit: limit as u64 },
        Refusal::HoldEnded => Why::HoldEnded,
        Refusal::Busy { turn } => Why::Busy { turn: turn.as_str().into() },
        Refusal::TooManyTurns { limit } => Why::TooManyTurns { limit: limit as u64 },
        Refusal::NoSuchTurn => Why::NoSuchTurn,
        Refusal::TurnOver => Why::TurnOver,
        Refusal::TurnTaken => Why::TurnTaken,
        Refusal::Fenced { given, held } => Why::Fenced { given, held },
        Refusal::CheckpointTooLarge { bytes, limit } => {
            Why::CheckpointTooLarge { bytes: bytes as u64, limit: limit as u64 }
        }
        Refusal::RoleForbids { needs } => Why::RoleForbids { needs: needs.name().into() },
        Refusal::MailboxFull { limit } => Why::MailboxFull { limit: limit as u64 },
        Refusal::StepCancelled { step } => Why::StepCancelled { step: step.as_str().into() },
        Refusal::NoSuchInteraction => Why::NoSuchInteraction,
        Refusal::InteractionOver => Why::InteractionOver,
        Refusal::Conflict { by } => Why::Conflict { by },
        Refusal::InteractionExists => Why::InteractionExists,
        Refusal::TooManyInteractions { limit } => Why::TooManyInteractions { limit: limit as u64 },
        Refusal::ControlHeld { by } => Why::ControlHeld { by },
        Refusal::OutcomeForgotten => Why::OutcomeForgotten,
        Refusal::InputDiffers => Why::InputDiffers,
    }
}

fn refusal(why: Why) -> Option<Refusal> {
    let size = |count: u64| usize::try_from(count).ok();
    Some(match why {
        Why::NotFound => Refusal::NotFound,
        Why::ConfigDiffers => Refusal::ConfigDiffers,
        Why::BadConfig { kind, count, limit } => Refusal::BadConfig(match kind {
            0..=4 => BadConfig::Zero { field: FIELDS[usize::from(kind)] },
            10 => BadConfig::TooManyLabels { count: size(count)?, limit: size(limit)? },
            11 => BadConfig::LabelTooLong { bytes: size(count)?, limit: size(limit)? },
            12 => BadConfig::LabelUnnamed,
            13 => BadConfig::TwoEnds,
            _ => return None,
        }),
        Why::OtherIncarnation { given, current } => {
            Refusal::OtherIncarnation { given: Incarnation(given), current: Incarnation(current) }
        }
        Why::IncarnationsSpent => Refusal::IncarnationsSpent,
        Why::StaleEpoch { producer, given, held } => {
            Refusal::StaleEpoch { producer: ProducerId::parse(&producer).ok()?, given, held }
        }
        Why::EpochMustStartAtZero { received } => Refusal::EpochMustStartAtZero { received },
        Why::SequenceGap { expected, received } => Refusal::SequenceGap { expected, received },
        Why::Closed { tail } => Refusal::Closed { tail: Serial(tail) },
        Why::SerialMismatch { expected, tail } => {
            Refusal::SerialMismatch { expected: Serial(expected), tail: Serial(tail) }
        }
        Why::NoEvents => Refusal::NoEvents,
        Why::TooManyEvents { count, limit } => {
            Refusal::TooManyEvents { count: size(count)?, limit: size(limit)? }
        }
        Why::EventTooLarge { bytes, limit } => {
            Refusal::EventTooLarge { bytes: size(bytes)?, limit: size(limit)? }
        }
        Why::AppendTooLarge { bytes, limit } => {
            Refusal::AppendTooLarge { bytes: size(bytes)?, limit: size(limit)? }
        }
        Why::TooManyProducers { limit } => Refusal::TooManyProducers { limit: size(limit)? },
        Why::Gone => Refusal::Gone,
        Why::OtherContentType { held } => Refusal::OtherContentType { held },
        Why::OutOfOrder { last } => Refusal::OutOfOrder { last },
        Why::OrderTooLong { bytes, limit } => {
            Refusal::OrderTooLong { bytes: size(bytes)?, limit: size(limit)? }
        }
        Why::ForkBeyondTail { at, tail } => {
            Refusal::ForkBeyondTail { at: Serial(at), tail: Serial(tail) }
        }
        Why::TooManyForks { limit } => Refusal::TooManyForks { limit: size(limit)? },
        Why::HoldEnded => Refusal::HoldEnded,
        Why::Busy { turn } => Refusal::Busy { turn: TurnId::parse(&turn).ok()? },
        Why::TooManyTurns { limit } => Refusal::TooManyTurns { limit: size(limit)? },
        Why::NoSuchTurn => Refusal::NoSuchTurn,
        Why::TurnOver => Refusal::TurnOver,
        Why::TurnTaken => Refusal::TurnTaken,
        Why::Fenced { given, held } => Refusal::Fenced { given, held },
        Why::OutcomeForgotten => Refusal::OutcomeForgotten,
        Why::InputDiffers => Refusal::InputDiffers,
        Why::CheckpointTooLarge { bytes, limit } => {
            Refusal::CheckpointTooLarge { bytes: size(bytes)?, limit: size(limit)? }
        }
        Why::ConfigTooMuch { field, limit } => {
            let field = FIELDS.get(usize::from(field)).copied()?;
            Refusal::BadConfig(BadConfig::TooMuch { field, limit })
        }
        Why::RoleForbids { needs } => Refusal::RoleForbids { needs: Role::parse(&needs)? },
        Why::MailboxFull { limit } => Refusal::MailboxFull { limit: size(limit)? },
        Why::StepCancelled { step } => {
            Refusal::StepCancelled { step: StepName::parse(&step).ok()? }
        }
        Why::NoSuchInteraction => Refusal::NoSuchInteraction,
        Why::InteractionOver => Refusal::InteractionOver,
        Why::Conflict { by } => Refusal::Conflict { by },
        Why::InteractionExists => Refusal::InteractionExists,
        Why::TooManyInteractions { limit } => Refusal::TooManyInteractions { limit: size(limit)? },
        Why::ControlHeld { by } => Refusal::ControlHeld { by },
    })
}
