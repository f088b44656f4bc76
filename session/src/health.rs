//! How the agent of a turn is, judged by two clocks: whether its worker lives, and whether it gets on.

use super::command::Phase;
use super::status::{TurnState, TurnStatus};
use crate::ids::{Millis, ToolName};

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// No worker has had the turn yet.
    Starting,
    /// It waits for a worker, and no worker serves its agent.
    Unserved,
    /// It sent something a moment ago.
    Streaming,
    /// It lives, and may still be without progress.
    Thinking,
    /// It waits for a tool, for no longer than it declared.
    Working {
        /// Which tool.
        tool: ToolName,
    },
    /// People are to answer.
    Waiting,
    /// The turn rests.
    Paused,
    /// Nothing came from it for half its lease.
    Suspect,
    /// It lives, and is without progress for longer than it declared.
    Stalled,
    /// Its worker was lost, and the turn is held back for a while.
    Dead {
        /// Workers lost in a row.
        lost: u32,
        /// So many and the turn fails.
        of: u32,
    },
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
        if let TurnState::Paused { .. } = turn.state {
            return Health::Paused;
        }
        let (lost, of) = (turn.failures, turn.failures_max);
        let Some(lease) = &turn.lease else {
            return match turn.state {
                TurnState::Waiting => Health::Waiting,
                _ if turn.waits_from.is_some_and(|from| now < from) => Health::Dead { lost, of },
                _ if turn.unserved => Health::Unserved,
                _ if turn.attempts == 0 => Health::Starting,
                _ => Health::Recovering { lost, of },
            };
        };
        let progress_timeout_ms = now.since(lease.progress_at);
        if lease.lease_ms / 2 <= now.since(lease.last_seen_at) {
            return Health::Suspect;
        }
        if turn.state == TurnState::Waiting {
            return Health::Waiting;
        }
        if lease.stalled || lease.progress_timeout_ms <= progress_timeout_ms {
            return Health::Stalled;
        }
        match &lease.phase {
            Phase::Tool(tool) => Health::Working { tool: tool.clone() },
            _ if progress_timeout_ms < STREAMING_MS && lease.emitted => Health::Streaming,
            _ => Health::Thinking,
        }
    }

    /// The turn among the open ones whose health is that of `turn`: itself, or the worst of those that it waits for.
    pub fn counts<'t>(turn: &'t TurnStatus, open: &'t [TurnStatus], now: Millis) -> &'t TurnStatus {
        if turn.joins.is_none() {
            return turn;
        }
        let below = open.iter().filter(|below| below.parent.as_ref() == Some(&turn.turn));
        let worst = below
            .map(|below| Health::counts(below, open, now))
            .max_by_key(|below| Health::of(below, now).gravity());
        worst.unwrap_or(turn)
    }

    /// How much somebody should look after it.
    fn gravity(&self) -> u8 {
        match self {
            Health::Streaming => 0,
            Health::Thinking | Health::Working { .. } => 1,
            Health::Starting => 2,
            Health::Waiting => 3,
            Health::Paused => 4,
            Health::Recovering { .. } => 5,
            Health::Unserved => 6,
            Health::Suspect => 7,
            Health::Stalled => 8,
            Health::Dead { .. } => 9,
        }
    }

    /// A stable name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Unserved => "unserved",
            Health::Streaming => "streaming",
            Health::Thinking => "thinking",
            Health::Working { .. } => "working",
            Health::Waiting => "waiting",
            Health::Paused => "paused",
            Health::Suspect => "suspect",
            Health::Stalled => "stalled",
            Health::Dead { .. } => "dead",
            Health::Recovering { .. } => "recovering",
        }
    }
}
