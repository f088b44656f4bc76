//! Closed loop: each writer sends the next request when the last one is acknowledged.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::open::Load;
use super::writer::{Writer, elapsed_us};
use super::{Latency, Report, Servers, Target, stream};

/// What to do.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Each has a session of its own.
    pub writers: usize,
    /// Requests that one writer has under way; each is a producer with a connection of its own.
    pub in_flight: usize,
    /// Events of one request.
    pub batch: usize,
    /// One endless request for each writer, with `in_flight` events not acknowledged.
    pub streaming: bool,
    pub time: Duration,
    /// Bytes of one payload.
    pub bytes: usize,
}

/// Time before the clock runs, in which nothing is counted.
const WARM_UP: Duration = Duration::from_millis(500);

/// Runs the load and reports its results.
///
/// # Errors
/// The service cannot be reached or refuses.
pub async fn run(
    plan: &Closed,
    target: &Target,
    servers: &Servers,
    report: &mut Report,
) -> anyhow::Result<()> {
    if plan.streaming {
        return stream::run(plan, target, servers, report).await;
    }
    target.create(plan.writers).await?;
    let mut writers = Vec::new();
    for number in 0..plan.writers * plan.in_flight {
        let mut writer = Writer::new(target, number % plan.writers, number, plan.bytes);
        writer.connect().await?;
        writers.push(writer);
    }
    let payload_bytes = writers.first().map_or(0, Writer::payload_bytes);
    let unmeasured = Latency::default();
    let warm = all(&mut writers, plan.batch, WARM_UP, &unmeasured);
    timeout(WARM_UP * 20, warm).await??;
    let before = servers.bill(target).await?;
    let (acks, begun) = (Latency::default(), Instant::now());
    let errors_before: u64 = writers.iter().map(|writer| writer.errors).sum();
    let appends = all(&mut writers, plan.batch, plan.time, &acks).await? as f64;
    let time_s = begun.elapsed().as_secs_f64();
    let after = servers.bill(target).await?;
    target.delete(plan.writers).await?;

    let events = appends * plan.batch as f64;
    let errors: u64 = writers.iter().map(|writer| writer.errors).sum();
    report.tell("acked", events / time_s, "events/s");
    report.tell("appends", appends / time_s, "requests/s");
    acks.tell("ack", report);
    report.tell("repeated requests", (errors - errors_before) as f64, "");
    let payload_bytes = events * payload_bytes as f64;
    let load = Load { appends, events, deliveries: f64::NAN, payload_bytes };
    after.tell(&before, servers, &load, report);
    Ok(())
}

/// Lets all write for so long; returns the requests that were acknowledged.
pub(super) async fn all(
    writers: &mut Vec<Writer>,
    batch: usize,
    time: Duration,
    acks: &Latency,
) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for mut writer in writers.drain(..) {
        let acks = acks.clone();
        tasks.spawn(async move {
            let (mut count, mut due) = (0, vec![0; batch]);
            while begun.elapsed() < time {
                let sent_us = elapsed_us(begun);
                due.fill(sent_us);
                writer.append(&due).await?;
                acks.record(elapsed_us(begun) - sent_us, 1);
                count += 1;
            }
            anyhow::Ok((writer, count))
        });
    }
    let mut total = 0;
    while let Some(done) = tasks.join_next().await {
        let (writer, count) = done??;
        writers.push(writer);
        total += count;
    }
    Ok(total)
}
