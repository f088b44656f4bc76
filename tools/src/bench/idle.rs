//! Readers that receive no events: what one of them costs the servers in memory.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::open::attach;
use super::reader::Seen;
use super::{Report, Servers, Target};

/// What to do.
#[derive(Clone, Debug)]
pub struct Idle {
    pub readers: usize,
    pub sessions: usize,
}

/// Time for everything to come to rest.
const REST: Duration = Duration::from_secs(2);

/// Attaches the readers and reports by how much the servers grew.
///
/// # Errors
/// The processes of the servers are not known, or the readers could not be attached.
pub async fn run(
    plan: &Idle,
    target: &Target,
    servers: &Servers,
    report: &mut Report,
) -> anyhow::Result<()> {
    ensure!(!servers.is_empty(), "say which processes the servers are");
    ensure!(0 < plan.sessions && plan.sessions <= plan.readers, "each session needs a reader");
    target.create(plan.sessions).await?;
    let (seen, begun) = (Seen::default(), Instant::now());
    // The first reader of each session brings the session itself into memory.
    let mut first = attach(target, plan.sessions, 1, &seen, begun).await?;
    sleep(REST).await;
    let before = servers.resident_bytes()?;
    let attaching = Instant::now();
    let each = plan.readers / plan.sessions;
    let mut readers = attach(target, plan.sessions, each, &seen, begun).await?;
    let attach_s = attaching.elapsed().as_secs_f64();
    sleep(REST).await;
    let grown = servers.resident_bytes()? - before;
    let count = (each * plan.sessions) as f64;
    report.tell("readers", count, "");
    report.tell("attached", count / attach_s, "readers/s");
    report.tell("servers' memory before", before / 1024.0, "KiB");
    report.tell("servers' growth", grown / 1024.0, "KiB");
    report.tell("growth per reader", grown / 1024.0 / count, "KiB");
    readers.shutdown().await;
    first.shutdown().await;
    target.delete(plan.sessions).await
}
