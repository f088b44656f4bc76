//! Reads of streams that end by themselves: who reads one keeps it alive, and who reads one that is
//! over finds nothing, judged by the journal's time and not by this node's.

use tokio::time::Instant;

use super::super::Edge;
use super::super::error::Problem;
use super::problem;
use crate::ids::{Millis, SessionId};
use crate::runtime::{Freshness, Reader, Start};
use crate::session::{Command, Refusal, Status};

/// How far the time here may be behind the journal's, in milliseconds.
const SKEW_MS: u64 = 5_000;
/// A time to live that began so short ago is not begun again, in milliseconds; see [`is_fresh`].
const FRESH_MS: u64 = 60_000;
/// The same as a part of the time to live.
const FRESH_PART: u64 = 16;

/// Attaches a reader, as a read that counts.
pub(super) async fn attach(
    edge: &Edge,
    id: &SessionId,
    start: Start,
    deadline: Instant,
) -> Result<Reader, Problem> {
    let attached = edge.sessions().attach(id, start, Freshness::Linearizable, deadline).await;
    let reader = attached?;
    let now = edge.runtime.sessions.time_of(id);
    let status = reader.status();
    if let Some(ttl_ms) = status.config.ttl_ms {
        if !is_fresh(status, ttl_ms, now) {
            let touched = edge.runtime.sessions.submit(id, Command::Touch, deadline).await;
            touched.map_err(problem::submit)?;
        }
        return Ok(reader);
    }
    if !may_be_over(status, now) {
        return Ok(reader);
    }
    edge.runtime.sessions.submit(id, Command::Tick, deadline).await.map_err(problem::submit)?;
    Ok(edge.sessions().attach(id, start, Freshness::Linearizable, deadline).await?)
}

/// The stream as it is now, looked at without any effect on it.
pub(super) async fn look(
    edge: &Edge,
    id: &SessionId,
    deadline: Instant,
) -> Result<Status, Problem> {
    let look = async || {
        let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
        match status {
            None => Err(Problem::from(Refusal::NotFound)),
            Some(status) if status.hidden => Err(Refusal::Gone.into()),
            Some(status) => Ok(status),
        }
    };
    let status = look().await?;
    if !may_be_over(&status, edge.runtime.sessions.time_of(id)) {
        return Ok(status);
    }
    edge.runtime.sessions.submit(id, Command::Tick, deadline).await.map_err(problem::submit)?;
    look().await
}

fn may_be_over(status: &Status, now: Millis) -> bool {
    status.expires_at.is_some_and(|end| end <= now.after(SKEW_MS))
}

/// Whether the time to live began so short ago that another beginning would make no difference.
fn is_fresh(status: &Status, ttl_ms: u64, now: Millis) -> bool {
    let span_ms = FRESH_MS.min(ttl_ms / FRESH_PART);
    status.touched_at <= now && now.since(status.touched_at) < span_ms
}
