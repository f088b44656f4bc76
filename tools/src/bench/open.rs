//! Open loop: events are due by the clock, whether or not the service keeps up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::reader::{Reader, Seen};
use super::writer::{Writer, elapsed_us};
use super::{Latency, Report, Servers, Target};

/// Events that a writer who is behind sends in one request.
const MERGED: u64 = 64;
/// Time that readers get to attach, and to receive what was acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Debug)]
pub struct Open {
    pub sessions: usize,
    /// Events of each session in a second.
    pub rate: f64,
    /// Live readers of each session.
    pub readers: usize,
    pub time: Duration,
    /// Bytes of one payload.
    pub bytes: usize,
}

/// How much was done, to share costs out.
pub(super) struct Load {
    pub(super) appends: f64,
    pub(super) events: f64,
    pub(super) deliveries: f64,
    pub(super) payload_bytes: f64,
}

/// What one writer did.
#[derive(Default)]
struct Wrote {
    appends: u64,
    events: u64,
    errors: u64,
}

/// Runs the load and reports its results.
///
/// # Errors
/// The service cannot be reached or refuses.
pub async fn run(
    plan: &Open,
    target: &Target,
    servers: &Servers,
    report: &mut Report,
) -> anyhow::Result<()> {
    target.create(plan.sessions).await?;
    let begun = Instant::now();
    let (seen, acks) = (Seen::default(), Latency::default());
    let mut readers = attach(target, plan.sessions, plan.readers, &seen, begun).await?;

    let mut writers = Vec::new();
    for session in 0..plan.sessions {
        let mut writer = Writer::new(target, session, session, plan.bytes);
        writer.connect().await?;
        writers.push(writer);
    }
    let payload_bytes = writers.first().map_or(0, Writer::payload_bytes);
    let before = servers.bill(target).await?;
    let pace = Arc::new(Pace::new(plan, begun));
    let stop = Arc::new(AtomicBool::new(false));
    let metronome = std::thread::spawn({
        let (pace, stop) = (pace.clone(), stop.clone());
        move || pace.beat(&stop)
    });
    let loaded = Instant::now();
    let mut writing = JoinSet::new();
    for (number, writer) in writers.into_iter().enumerate() {
        writing.spawn(write(writer, number, pace.clone(), acks.clone()));
    }
    let mut total = Wrote::default();
    while let Some(wrote) = writing.join_next().await {
        let wrote = wrote??;
        total.appends += wrote.appends;
        total.events += wrote.events;
        total.errors += wrote.errors;
    }
    let load_s = loaded.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let expected = total.events * plan.readers as u64;
    let all_there = async {
        while seen.delivered.load(Ordering::Relaxed) < expected {
            sleep(Duration::from_millis(2)).await;
        }
    };
    // Whatever has not come until then is missing, and is reported so.
    let _ = timeout(PATIENCE, all_there).await;
    let deliver_s = loaded.elapsed().as_secs_f64();
    let after = servers.bill(target).await?;
    readers.shutdown().await;
    drop(tokio::task::spawn_blocking(move || metronome.join()).await?);
    target.delete(plan.sessions).await?;

    let delivered = seen.delivered.load(Ordering::Relaxed);
    report.tell("acked", total.events as f64 / load_s, "events/s");
    report.tell("delivered", delivered as f64 / deliver_s, "events/s");
    acks.tell("ack", report);
    seen.delivery.tell("delivery", report);
    report.tell("completeness", delivered as f64 / expected as f64, "");
    total.tell(&seen, report);
    let load = Load {
        appends: total.appends as f64,
        events: total.events as f64,
        deliveries: delivered as f64,
        payload_bytes: (total.events * payload_bytes as u64) as f64,
    };
    after.tell(&before, servers, &load, report);
    Ok(())
}

impl Wrote {
    /// What went otherwise than it should.
    fn tell(&self, seen: &Seen, report: &mut Report) {
        report.tell("out of order", seen.out_of_order.load(Ordering::Relaxed) as f64, "");
        report.tell("repeated requests", self.errors as f64, "");
        report.tell("broken streams", seen.errors.load(Ordering::Relaxed) as f64, "");
        report.tell("events per append", self.events as f64 / self.appends as f64, "");
    }
}

/// Attaches so many readers to each session and waits until all have caught up.
pub(super) async fn attach(
    target: &Target,
    sessions: usize,
    each: usize,
    seen: &Seen,
    begun: Instant,
) -> anyhow::Result<JoinSet<()>> {
    let mut readers = JoinSet::new();
    let (attached, mut arrivals) = mpsc::channel(1024);
    for number in 0..each {
        for session in 0..sessions {
            let reader = Reader::new(target, session, number, seen, begun);
            readers.spawn(reader.run(Some(attached.clone())));
        }
    }
    for done in 0..sessions * each {
        let arrived = timeout(PATIENCE, arrivals.recv()).await;
        anyhow::ensure!(arrived.is_ok(), "only {done} readers could attach");
    }
    Ok(readers)
}

async fn write(
    mut writer: Writer,
    number: usize,
    pace: Arc<Pace>,
    acks: Latency,
) -> anyhow::Result<Wrote> {
    let mut wrote = Wrote::default();
    let mut due = Vec::new();
    let mut next = 0;
    while next < pace.events {
        let now_us = elapsed_us(pace.begun);
        due.clear();
        while next < pace.events && due.len() < MERGED as usize {
            let due_us = pace.due_us(number, next);
            if now_us < due_us {
                break;
            }
            due.push(due_us);
            next += 1;
        }
        if due.is_empty() {
            pace.beats[number].notified().await;
            continue;
        }
        writer.append(&due).await?;
        let now_us = elapsed_us(pace.begun);
        for due_us in &due {
            acks.record(now_us.saturating_sub(*due_us), 1);
        }
        wrote.appends += 1;
        wrote.events += due.len() as u64;
    }
    wrote.errors = writer.errors;
    Ok(wrote)
}

/// When each event is due: evenly spread over time and writers.
struct Pace {
    begun: Instant,
    first_us: u64,
    /// Time between two events of one writer.
    period_us: f64,
    /// Events of each writer.
    events: u64,
    beats: Vec<Notify>,
}

impl Pace {
    fn new(plan: &Open, begun: Instant) -> Pace {
        // Everybody is ready a little before the first event.
        let first_us = elapsed_us(begun) + 100_000;
        let events = (plan.time.as_secs_f64() * plan.rate) as u64;
        let beats = (0..plan.sessions).map(|_| Notify::new()).collect();
        Pace { begun, first_us, period_us: 1e6 / plan.rate, events, beats }
    }

    fn due_us(&self, writer: usize, event: u64) -> u64 {
        let phase = writer as f64 / self.beats.len() as f64;
        self.first_us + ((event as f64 + phase) * self.period_us) as u64
    }

    /// Wakes each writer when something is due. A thread, because timers of tokio round up to 1 ms.
    fn beat(&self, stop: &AtomicBool) {
        for event in 0..self.events {
            for (writer, beat) in self.beats.iter().enumerate() {
                let due_us = self.due_us(writer, event);
                let now_us = elapsed_us(self.begun);
                if now_us < due_us {
                    std::thread::sleep(Duration::from_micros(due_us - now_us));
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                beat.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_due_evenly_over_time_and_writers() {
        let time = Duration::from_secs(2);
        let plan = Open { sessions: 4, rate: 10.0, readers: 0, time, bytes: 0 };
        let pace = Pace::new(&plan, Instant::now());
        let at = |writer, event| pace.due_us(writer, event) - pace.first_us;
        assert_eq!(pace.events, 20);
        assert_eq!([at(0, 0), at(1, 0), at(3, 0), at(0, 1)], [0, 25_000, 75_000, 100_000]);
    }
}
