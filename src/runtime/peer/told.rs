//! What a session is, as one node tells another. A promise, like all of [`super::wire`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::told_people::{ToldAudience, ToldControl, ToldInteraction, ToldPolicy};
use crate::ids::{
    AgentName, Incarnation, Millis, Serial, SessionId, StepName, ToolName, TurnId, WorkerName,
};
use crate::session::{
    Config, ContentType, Fork, Phase, Rest, Retention, SeatStatus, Status, TurnState, TurnStatus,
};

/// [`Status`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Told {
    incarnation: u32,
    root: u32,
    fork: Option<ToldFork>,
    hidden: bool,
    first: u64,
    tail: u64,
    closed: bool,
    chain: u64,
    bytes: u64,
    created_at: u64,
    updated_at: u64,
    touched_at: u64,
    expires_at: Option<u64>,
    max_age_ms: Option<u64>,
    max_bytes: Option<u64>,
    ttl_ms: Option<u64>,
    ends_at: Option<u64>,
    content_type: Option<String>,
    labels: Vec<(String, String)>,
    producers: u64,
    turns: Vec<ToldTurn>,
    policy: ToldPolicy,
    interactions: Vec<ToldInteraction>,
    control: ToldControl,
    audience: Option<ToldAudience>,
}

/// [`TurnStatus`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct ToldTurn {
    turn: String,
    agent: String,
    input: u64,
    spoken: u64,
    heard: u64,
    attempts: u32,
    failures: u32,
    checkpoint: Option<Bytes>,
    waits_from: Option<u64>,
    seat: Option<ToldSeat>,
    state: ToldState,
    delivered: u64,
    failures_max: u32,
    pausing: Option<u8>,
    step: Option<(String, u32)>,
    first_output: u64,
    bytes: u64,
}

/// [`TurnState`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum ToldState {
    Queued,
    Active,
    Waiting,
    Paused { reason: u8 },
}

/// [`Phase`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum ToldPhase {
    Thinking,
    Streaming,
    Tool(String),
}

/// [`SeatStatus`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ToldSeat {
    worker: String,
    epoch: u64,
    lease_ms: u64,
    spoke: bool,
    alive_at: u64,
    progress_at: u64,
    quiet_ms: u64,
    stalled: bool,
    phase: ToldPhase,
}

/// [`Fork`] on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ToldFork {
    source: String,
    incarnation: u32,
    root: u32,
    at: u64,
    anchor: u64,
    sub: u64,
    key: u64,
}

impl From<Status> for Told {
    fn from(status: Status) -> Told {
        let Config { retention, ttl_ms, expires_at, content_type, labels, policy } = status.config;
        Told {
            incarnation: status.incarnation.0,
            root: status.root.0,
            fork: status.fork.map(Into::into),
            hidden: status.hidden,
            first: status.first.0,
            tail: status.tail.0,
            closed: status.closed,
            chain: status.chain,
            bytes: status.bytes,
            created_at: status.created_at.0,
            updated_at: status.updated_at.0,
            touched_at: status.touched_at.0,
            expires_at: status.expires_at.map(|at| at.0),
            max_age_ms: retention.max_age_ms,
            max_bytes: retention.max_bytes,
            ttl_ms,
            ends_at: expires_at.map(|at| at.0),
            content_type: content_type.map(|given| given.as_str().into()),
            labels: labels.into_iter().collect(),
            producers: status.producers as u64,
            turns: status.turns.into_iter().map(Into::into).collect(),
            policy: policy.into(),
            interactions: status.interactions.into_iter().map(Into::into).collect(),
            control: status.control.into(),
            audience: status.audience.map(Into::into),
        }
    }
}

impl Told {
    /// The status; none where the peer says what cannot be.
    pub(in crate::runtime) fn thaw(self) -> Option<Status> {
        let retention = Retention { max_age_ms: self.max_age_ms, max_bytes: self.max_bytes };
        let content_type = self.content_type.map(|text| ContentType::parse(&text).ok());
        let config = Config {
            retention,
            ttl_ms: self.ttl_ms,
            expires_at: self.ends_at.map(Millis),
            content_type: content_type.map_or(Some(None), |parsed| parsed.map(Some))?,
            labels: self.labels.into_iter().collect(),
            policy: self.policy.thaw()?,
        };
        let interactions = self.interactions.into_iter().map(ToldInteraction::thaw);
        let fork = self.fork.map(ToldFork::thaw);
        Some(Status {
            incarnation: Incarnation(self.incarnation),
            root: Incarnation(self.root),
            fork: fork.map_or(Some(None), |fork| fork.map(Some))?,
            hidden: self.hidden,
            first: Serial(self.first),
            tail: Serial(self.tail),
            closed: self.closed,
            chain: self.chain,
            bytes: self.bytes,
            created_at: Millis(self.created_at),
            updated_at: Millis(self.updated_at),
            touched_at: Millis(self.touched_at),
            expires_at: self.expires_at.map(Millis),
            config,
            producers: usize::try_from(self.producers).unwrap_or(usize::MAX),
            turns: self.turns.into_iter().map(ToldTurn::thaw).collect::<Option<_>>()?,
            interactions: interactions.collect::<Option<_>>()?,
            control: self.control.thaw()?,
            audience: self.audience.map(ToldAudience::thaw),
        })
    }
}

impl From<Fork> for ToldFork {
    fn from(fork: Fork) -> ToldFork {
        ToldFork {
            source: fork.source.as_str().into(),
            incarnation: fork.incarnation.0,
            root: fork.root.0,
            at: fork.at.0,
            anchor: fork.anchor.0,
            sub: fork.sub,
            key: fork.key,
        }
    }
}

impl ToldFork {
    fn thaw(self) -> Option<Fork> {
        Some(Fork {
            source: SessionId::parse(&self.source).ok()?,
            incarnation: Incarnation(self.incarnation),
            root: Incarnation(self.root),
            at: Serial(self.at),
            anchor: Serial(self.anchor),
            sub: self.sub,
            key: self.key,
        })
    }
}

impl From<TurnStatus> for ToldTurn {
    fn from(status: TurnStatus) -> ToldTurn {
        ToldTurn {
            turn: status.turn.as_str().into(),
            agent: status.agent.as_str().into(),
            input: status.input.0,
            spoken: status.spoken.0,
            heard: status.heard.0,
            attempts: status.attempts,
            failures: status.failures,
            checkpoint: status.checkpoint,
            waits_from: status.waits_from.map(|from| from.0),
            seat: status.seat.map(|seat| ToldSeat {
                worker: seat.worker.as_str().into(),
                epoch: seat.epoch,
                lease_ms: seat.lease_ms,
                spoke: seat.spoke,
                alive_at: seat.alive_at.0,
                progress_at: seat.progress_at.0,
                quiet_ms: seat.quiet_ms,
                stalled: seat.stalled,
                phase: match seat.phase {
                    Phase::Thinking => ToldPhase::Thinking,
                    Phase::Streaming => ToldPhase::Streaming,
                    Phase::Tool(tool) => ToldPhase::Tool(tool.as_str().into()),
                },
            }),
            state: match status.state {
                TurnState::Queued => ToldState::Queued,
                TurnState::Active => ToldState::Active,
                TurnState::Waiting => ToldState::Waiting,
                TurnState::Paused { reason } => ToldState::Paused { reason: rest_number(reason) },
            },
            delivered: status.delivered.0,
            failures_max: status.failures_max,
            pausing: status.pausing.map(rest_number),
            step: status.step.map(|(step, attempt)| (step.as_str().into(), attempt)),
            first_output: status.first_output.0,
            bytes: status.bytes,
        }
    }
}

impl ToldTurn {
    /// The turn; none where the peer says what cannot be.
    pub(in crate::runtime) fn thaw(self) -> Option<TurnStatus> {
        let seat = self.seat.map(|seat| {
            Some(SeatStatus {
                worker: WorkerName::parse(&seat.worker).ok()?,
                epoch: seat.epoch,
                lease_ms: seat.lease_ms,
                spoke: seat.spoke,
                alive_at: Millis(seat.alive_at),
                progress_at: Millis(seat.progress_at),
                quiet_ms: seat.quiet_ms,
                stalled: seat.stalled,
                phase: match seat.phase {
                    ToldPhase::Thinking => Phase::Thinking,
                    ToldPhase::Streaming => Phase::Streaming,
                    ToldPhase::Tool(tool) => Phase::Tool(ToolName::parse(&tool).ok()?),
                },
            })
        });
        let step = self.step.map(|(step, attempt)| Some((StepName::parse(&step).ok()?, attempt)));
        let pausing = self.pausing.map(rest_of);
        Some(TurnStatus {
            turn: TurnId::parse(&self.turn).ok()?,
            agent: AgentName::parse(&self.agent).ok()?,
            input: Serial(self.input),
            spoken: Serial(self.spoken),
            heard: Serial(self.heard),
            attempts: self.attempts,
            failures: self.failures,
            checkpoint: self.checkpoint,
            waits_from: self.waits_from.map(Millis),
            seat: seat.map_or(Some(None), |seat| seat.map(Some))?,
            unserved: false,
            state: match self.state {
                ToldState::Queued => TurnState::Queued,
                ToldState::Active => TurnState::Active,
                ToldState::Waiting => TurnState::Waiting,
                ToldState::Paused { reason } => TurnState::Paused { reason: rest_of(reason)? },
            },
            delivered: Serial(self.delivered),
            failures_max: self.failures_max,
            pausing: pausing.map_or(Some(None), |reason| reason.map(Some))?,
            step: step.map_or(Some(None), |step| step.map(Some))?,
            first_output: Serial(self.first_output),
            bytes: self.bytes,
        })
    }
}

fn rest_number(reason: Rest) -> u8 {
    let at = Rest::ALL.iter().position(|other| *other == reason);
    at.and_then(|at| u8::try_from(at).ok()).expect("the list has all reasons, and they are few")
}

fn rest_of(number: u8) -> Option<Rest> {
    Rest::ALL.get(usize::from(number)).copied()
}
