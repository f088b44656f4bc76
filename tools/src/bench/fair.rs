//! One writer that sends little beside many that send all they can: what the flood costs it.
//!
//! All of them write into one shard where the cluster has one group (`--groups 1`), which is where they meet.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::closed;
use super::writer::{Writer, elapsed_us};
use super::{Latency, Report, Target};

/// What to do.
#[derive(Clone, Debug)]
pub struct Fair {
    /// Writers that flood, each with one request under way.
    pub writers: usize,
    /// Sessions that they are spread over.
    pub sessions: usize,
    /// Events of one of their requests.
    pub batch: usize,
    /// Bytes of one of their payloads.
    pub bytes: usize,
    /// How long the quiet one rests after each answer.
    pub pause: Duration,
    /// How long is measured, alone and again beside the flood.
    pub time: Duration,
}

/// Bytes of a payload of the quiet one.
const QUIET_BYTES: usize = 120;
/// Time in which the flood rises, and nothing is counted.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures the quiet writer alone and beside the flood, which may be another tenant's.
///
/// # Errors
/// The service cannot be reached or refuses.
pub async fn run(
    plan: &Fair,
    flooding: &Target,
    quiet: &Target,
    report: &mut Report,
) -> anyhow::Result<()> {
    flooding.create(plan.sessions).await?;
    let acks = Latency::default();
    let (flood, connected) = Flood::new(plan, flooding, &acks);
    // Where it did not come so far, its end says why.
    connected.await.ok();
    // Of a number of its own, in case both are of one run.
    quiet.create_one(plan.sessions).await?;
    let mut writer = Writer::new(quiet, plan.sessions, plan.writers, QUIET_BYTES);
    writer.connect().await?;
    write(&mut writer, plan, WARM_UP, &Latency::default()).await?;
    let (alone, beside) = (Latency::default(), Latency::default());
    write(&mut writer, plan, plan.time, &alone).await?;
    let begun = Instant::now();
    let flood = flood.begin();
    sleep(WARM_UP).await;
    write(&mut writer, plan, plan.time, &beside).await?;
    let appends = flood.await?? as f64;
    let time_s = begun.elapsed().as_secs_f64();
    flooding.delete(plan.sessions).await?;
    quiet.delete_one(plan.sessions).await?;

    alone.tell("quiet alone", report);
    beside.tell("quiet beside", report);
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        let ratio = beside.percentile_ms(percent) / alone.percentile_ms(percent);
        report.tell(format!("beside / alone {name}"), ratio, "");
    }
    let bytes = appends * (plan.batch * plan.bytes) as f64;
    report.tell("flood", bytes / time_s / 1e6, "MB/s");
    report.tell("flood appends", appends / time_s, "requests/s");
    acks.tell("flood ack", report);
    Ok(())
}

/// The flood, on threads of its own: what the quiet writer measures is the service, and not the queue of the threads on
/// which its own answers come.
struct Flood {
    begin: oneshot::Sender<()>,
    end: JoinHandle<anyhow::Result<u64>>,
}

impl Flood {
    /// Connects its writers; returns when they are.
    fn new(plan: &Fair, target: &Target, acks: &Latency) -> (Flood, oneshot::Receiver<()>) {
        let (begin, begun) = oneshot::channel();
        let (connect, connected) = oneshot::channel();
        let (plan, target, acks) = (plan.clone(), target.clone(), acks.clone());
        let flood = async move {
            let mut writers = Vec::new();
            for number in 0..plan.writers {
                let mut writer = Writer::new(&target, number % plan.sessions, number, plan.bytes);
                writer.connect().await?;
                writers.push(writer);
            }
            connect.send(()).ok();
            begun.await?;
            closed::all(&mut writers, plan.batch, WARM_UP * 2 + plan.time, &acks).await
        };
        let end = spawn_blocking(|| Runtime::new()?.block_on(flood));
        (Flood { begin, end }, connected)
    }

    /// Lets them write, until their time is over; gives the requests that were acknowledged.
    fn begin(self) -> JoinHandle<anyhow::Result<u64>> {
        // Where nobody waits for it, the end says why.
        self.begin.send(()).ok();
        self.end
    }
}

/// Writes one event after the other for so long.
async fn write(
    writer: &mut Writer,
    plan: &Fair,
    time: Duration,
    acks: &Latency,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        let sent_us = elapsed_us(begun);
        writer.append(&[sent_us]).await?;
        acks.record(elapsed_us(begun) - sent_us, 1);
        sleep(plan.pause).await;
    }
    Ok(())
}
