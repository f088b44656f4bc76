//! How the agent of a turn is, judged by two clocks: whether its worker lives, and whether it gets on.

use super::outcome::TurnStatus;
use crate::ids::Millis;
use crate::limits;

/// What is to be told of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No worker has had the turn yet.
    Starting,
    /// It said something a moment ago.
    Streaming,
    /// It lives and may still say nothing.
    Thinking,
    /// It was not heard of for half its lease.
    Suspect,
    /// It lives and says nothing for longer than it declared.
    Stalled,
    /// Its worker was lost; another one is to take over.
    Recovering {
        /// Workers lost in a row.
        lost: u32,
        /// So many and the turn fails.
        of: u32,
    },
}

/// Output so young counts as a stream, in milliseconds.
const STREAMING_MS: u64 = 2_000;

impl Health {
    /// How the turn's agent is at the time `now`, which may be any clock near the cluster's.
    pub fn of(turn: &TurnStatus, now: Millis) -> Health {
        let Some(seat) = &turn.seat else {
            return match turn.attempts {
                0 => Health::Starting,
                _ => Health::Recovering { lost: turn.failures, of: limits::ATTEMPTS },
            };
        };
        let quiet_ms = now.since(seat.progress_at);
        if seat.lease_ms / 2 <= now.since(seat.alive_at) {
            return Health::Suspect;
        }
        if seat.stalled || seat.quiet_ms <= quiet_ms {
            return Health::Stalled;
        }
        if quiet_ms < STREAMING_MS && turn.failures == 0 {
            Health::Streaming
        } else {
            Health::Thinking
        }
    }

    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Streaming => "streaming",
            Health::Thinking => "thinking",
            Health::Suspect => "suspect",
            Health::Stalled => "stalled",
            Health::Recovering { .. } => "recovering",
        }
    }
}
