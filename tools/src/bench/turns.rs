//! Turns: how soon an interrupt is with the worker that it is meant for, in peace and while tokens flood its
//! shard; and how soon a worker that falls silent is missed, and replaced by one that sends output.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::chunks::Chunks;
use super::connection::{Answer, Connection, find};
use super::link::BenchWorker;
use super::writer::{Writer, elapsed_us};
use super::{Latency, Report, Target};

/// What to do.
#[derive(Clone, Debug)]
pub struct Turns {
    /// Turns that are cancelled in the middle, in peace and again in the flood.
    pub interrupts: usize,
    /// Workers that fall silent.
    pub losses: usize,
    /// Events of the flood in a second, in all.
    pub flood: f64,
    /// Sessions of the same shard that they are spread over.
    pub flooded: usize,
    /// Bytes of one payload of the flood.
    pub bytes: usize,
}

/// What must have come by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a live stream that are not looked at yet.
const LINES: usize = 4096;
/// Sessions that are looked at for some of the same shard.
const NAMES: usize = 20_000;
/// The shortest lease that there is: how long a silent worker keeps its turn, in milliseconds.
const LEASE_MS: u64 = 1_000;
/// Pause between two turns, so that one does not ride on the other.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs the load and reports its results.
///
/// # Errors
/// The service cannot be reached or refuses.
pub async fn run(plan: &Turns, target: &Target, report: &mut Report) -> anyhow::Result<()> {
    target.create(1).await?;
    let mut stage = Stage::open(target).await?;
    stage.interrupt(plan.interrupts, "idle", target, report).await?;
    stage.interrupt_linked(plan.interrupts, "idle", target, report).await?;
    let flood = Flood::begin(plan, target).await?;
    stage.interrupt(plan.interrupts, "flood", target, report).await?;
    stage.interrupt_linked(plan.interrupts, "flood", target, report).await?;
    flood.end(report).await?;
    stage.lose(plan.losses, target, report).await?;
    stage.break_off(plan.losses, target, report).await?;
    target.delete(1).await
}

/// One session with a person, a worker, and the stream that the worker reads, each on a connection of its own.
struct Stage {
    session: String,
    agent: String,
    person: Connection,
    worker: Connection,
    stream: mpsc::Receiver<(Instant, String)>,
    turns: u64,
    /// Reads the stream as long as this lives.
    _reader: JoinSet<()>,
}

impl Stage {
    /// The worker is at another node than the person, where there is one.
    async fn open(target: &Target) -> anyhow::Result<Stage> {
        let session = target.session(0);
        let person = target.connect(target.of_writer(0)).await?;
        let node = target.of_reader(0, 0);
        let worker = target.connect(node).await?;
        let mut connection = target.connect(node).await?;
        let path = target.dialect().live(&session, None);
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", target.head());
        connection.stream.write_all(request.as_bytes()).await?;
        let head = connection.head().await?;
        ensure!(head.status == 200, "status {} for {path}", head.status);
        let (lines, stream) = mpsc::channel(LINES);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            // When the stream breaks, whoever waits for a line reports it.
            if let Err(why) = read(connection, lines).await {
                tracing::debug!(%why, "the worker's stream broke");
            }
        });
        // No other run has turns of this agent.
        let agent = format!("agent-{session}");
        Ok(Stage { session, agent, person, worker, stream, turns: 0, _reader: reader })
    }

    /// Connects the worker again: nodes close connections that nothing comes on for long.
    async fn renew(&mut self, target: &Target) -> anyhow::Result<()> {
        self.worker = target.connect(target.of_reader(0, 0)).await?;
        Ok(())
    }

    /// Cancels turns whose workers send output, and reports how soon these know.
    async fn interrupt(
        &mut self,
        times: usize,
        when: &str,
        target: &Target,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        self.renew(target).await?;
        let (acked, delivered) = (Latency::default(), Latency::default());
        let later = Latency::default();
        for _ in 0..times {
            let lease = self.begin(60_000).await?;
            self.emit(&lease, 0, "a word", None).await?;
            self.see(&["\"turn.output\"", &lease.turn]).await?;
            let sent = Instant::now();
            let path = format!("/v1/sessions/{}/cancel", self.session);
            post(&mut self.person, &path, &json!({ "turn": lease.turn })).await?;
            let answered = Instant::now();
            let seen = self.see(&["\"turn.cancelled\"", &lease.turn]).await?;
            acked.record(micros(answered.duration_since(sent)), 1);
            delivered.record(micros(seen.duration_since(sent)), 1);
            later.record(micros(seen.saturating_duration_since(answered)), 1);
            sleep(PAUSE).await;
        }
        acked.tell(&format!("interrupt ack ({when})"), report);
        delivered.tell(&format!("interrupt sent to seen on SSE ({when})"), report);
        later.tell(&format!("interrupt accepted to seen on SSE ({when})"), report);
        Ok(())
    }

    /// The same for a worker on a WebSocket.
    async fn interrupt_linked(
        &mut self,
        times: usize,
        when: &str,
        target: &Target,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (delivered, later) = (Latency::default(), Latency::default());
        let mut link = BenchWorker::open(target, target.of_reader(0, 0), &self.agent).await?;
        for _ in 0..times {
            self.ask().await?;
            let (_, given) = link.see("turn").await?;
            link.emit(self.word(&given, "a word", None)).await?;
            link.see("ack").await?;
            let sent = Instant::now();
            let path = format!("/v1/sessions/{}/cancel", self.session);
            post(&mut self.person, &path, &json!({ "turn": given["turn"] })).await?;
            let answered = Instant::now();
            let (seen, _) = link.see("cancel").await?;
            delivered.record(micros(seen.duration_since(sent)), 1);
            later.record(micros(seen.saturating_duration_since(answered)), 1);
            let (turn, epoch) = (&given["turn"], &given["epoch"]);
            let done =
                json!({ "type": "done", "session": self.session, "turn": turn, "epoch": epoch });
            link.emit(done).await?;
            sleep(PAUSE).await;
        }
        delivered.tell(&format!("interrupt sent to signal ({when})"), report);
        later.tell(&format!("interrupt accepted to signal ({when})"), report);
        Ok(())
    }

    /// Breaks workers' connections off, and reports how soon they are missed and replaced by others.
    async fn break_off(
        &mut self,
        times: usize,
        target: &Target,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (missed, replaced) = (Latency::default(), Latency::default());
        let node = target.of_reader(0, 0);
        for round in 0..times {
            let mut link = BenchWorker::open(target, node + round, &self.agent).await?;
            let turn = self.ask().await?;
            let (_, given) = link.see("turn").await?;
            link.emit(self.word(&given, "a word", None)).await?;
            link.see("ack").await?;
            let mut heir = BenchWorker::open(target, node + round + 1, &self.agent).await?;
            let gone = Instant::now();
            drop(link);
            let (_, given) = heir.see("turn").await?;
            heir.emit(self.word(&given, "another", Some("complete"))).await?;
            let lost = self.see(&["\"agent.lost\"", &turn]).await?;
            let spoke = self.see(&["\"turn.output\"", "\"another\"", &turn]).await?;
            missed.record(micros(lost.duration_since(gone)), 1);
            replaced.record(micros(spoke.duration_since(gone)), 1);
            heir.see("ack").await?;
        }
        if 0 < times {
            missed.tell("broken off to lost", report);
            replaced.tell("broken off to the next speaking", report);
        }
        Ok(())
    }

    /// The first frame of a worker on a WebSocket.
    fn word(&self, given: &Value, text: &str, then: Option<&str>) -> Value {
        let mut frame = json!({
            "type": "output", "session": self.session, "turn": given["turn"], "epoch": given["epoch"],
            "seq": 0, "events": [{ "text": text }],
        });
        if let Some(then) = then {
            frame["then"] = then.into();
        }
        frame
    }

    /// Lets workers fall silent, and reports how soon they are missed and replaced.
    async fn lose(
        &mut self,
        times: usize,
        target: &Target,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        self.renew(target).await?;
        let (missed, replaced) = (Latency::default(), Latency::default());
        for _ in 0..times {
            let lease = self.begin(LEASE_MS).await?;
            self.emit(&lease, 0, "a word", None).await?;
            let silent = Instant::now();
            // The next worker waits already.
            let heir = self.claim(60_000).await?;
            ensure!(heir.turn == lease.turn, "another turn than the silent worker's");
            self.emit(&heir, 0, "another", Some("complete")).await?;
            let lost = self.see(&["\"agent.lost\"", &lease.turn]).await?;
            let spoke = self.see(&["\"turn.output\"", "\"another\"", &lease.turn]).await?;
            missed.record(micros(lost.duration_since(silent)), 1);
            replaced.record(micros(spoke.duration_since(silent)), 1);
            sleep(PAUSE).await;
        }
        if 0 < times {
            report.tell("lease of a silent worker", LEASE_MS as f64, "ms");
            missed.tell("silent to lost", report);
            replaced.tell("silent to the next speaking", report);
        }
        Ok(())
    }

    async fn begin(&mut self, lease_ms: u64) -> anyhow::Result<TurnLease> {
        self.ask().await?;
        self.claim(lease_ms).await
    }

    /// Requests a turn; its name.
    async fn ask(&mut self) -> anyhow::Result<String> {
        self.turns += 1;
        let turn = format!("{}-{}", self.agent, self.turns);
        let path = format!("/v1/sessions/{}/inputs", self.session);
        let body = json!({ "id": turn, "agent": self.agent, "content": { "text": "speak" } });
        post(&mut self.person, &path, &body).await?;
        Ok(turn)
    }

    async fn claim(&mut self, lease_ms: u64) -> anyhow::Result<TurnLease> {
        let path = format!("/v1/agents/{}/claim", self.agent);
        let body = json!({ "worker": "bench", "wait_ms": 30_000, "lease_ms": lease_ms });
        let taken = post(&mut self.worker, &path, &body).await?;
        let turn = taken["turn"].as_str().context("there was no turn")?.to_owned();
        let epoch = taken["epoch"].as_u64().context("a turn has an epoch")?;
        Ok(TurnLease { turn, epoch })
    }

    async fn emit(
        &mut self,
        lease: &TurnLease,
        seq: u64,
        text: &str,
        then: Option<&str>,
    ) -> anyhow::Result<()> {
        let path = format!("/v1/sessions/{}/turns/{}/output", self.session, lease.turn);
        let mut body = json!({ "epoch": lease.epoch, "seq": seq, "events": [{ "text": text }] });
        if let Some(then) = then {
            body["then"] = then.into();
        }
        post(&mut self.worker, &path, &body).await.map(drop)
    }

    /// When a line with all of these came to the worker.
    async fn see(&mut self, marks: &[&str]) -> anyhow::Result<Instant> {
        loop {
            let line =
                timeout(PATIENCE, self.stream.recv()).await.context("an event did not come")?;
            let (at, line) = line.context("the worker's stream broke")?;
            if marks.iter().all(|mark| line.contains(mark)) {
                return Ok(at);
            }
        }
    }
}

/// The right to send output in a turn.
struct TurnLease {
    turn: String,
    epoch: u64,
}

/// Passes the events of a stream on, with the times at which they came.
async fn read(
    mut connection: Connection,
    lines: mpsc::Sender<(Instant, String)>,
) -> anyhow::Result<()> {
    let (mut chunks, mut text) = (Chunks::default(), Vec::new());
    loop {
        chunks.take(&mut connection, &mut text)?;
        let at = Instant::now();
        while let Some(end) = find(&text, b"\n") {
            if text.starts_with(b"data: {\"serial\":") {
                let line = String::from_utf8_lossy(&text[..end]).into_owned();
                lines.send((at, line)).await?;
            }
            text.drain(..=end);
        }
        connection.more().await?;
    }
}

async fn post(connection: &mut Connection, path: &str, body: &Value) -> anyhow::Result<Value> {
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\n{}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}",
        connection.head
    );
    let answer: Answer = connection.send(request.as_bytes()).await?;
    ensure!(answer.status / 100 == 2, "{} to {path}: {}", answer.status, answer.text());
    Ok(serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Tokens for other sessions of the same shard.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    begun: Instant,
    writers: JoinSet<anyhow::Result<()>>,
    wanted: f64,
    acks: Latency,
}

impl Flood {
    async fn begin(plan: &Turns, target: &Target) -> anyhow::Result<Flood> {
        let (stop, sent): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (begun, mut writers) = (Instant::now(), JoinSet::new());
        let acks = Latency::default();
        for session in neighbours(plan.flooded, target).await? {
            let mut connection = target.connect(target.of_writer(session)).await?;
            let path = target.dialect().session(&target.session(session));
            let answer = connection.ask("PUT", &path).await?;
            ensure!(answer.status / 100 == 2, "PUT {path}: {}", answer.text());
            let mut writer = Writer::new(target, session, session, plan.bytes);
            writer.connect().await?;
            let rate = plan.flood / plan.flooded as f64;
            let (stop, sent, acks) = (stop.clone(), sent.clone(), acks.clone());
            let target = target.clone();
            writers.spawn(async move {
                let begun = Instant::now();
                let mut mine = 0;
                while !stop.load(Ordering::Relaxed) {
                    let due = (begun.elapsed().as_secs_f64() * rate) as u64;
                    let count = due.saturating_sub(mine).min(64);
                    if count == 0 {
                        sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let sent_us = elapsed_us(begun);
                    writer.append(&vec![sent_us; usize::try_from(count)?]).await?;
                    acks.record(elapsed_us(begun) - sent_us, count);
                    mine += count;
                    sent.fetch_add(count, Ordering::Relaxed);
                }
                // They are deleted one by one: they are not numbered in a row.
                let mut connection = target.connect(target.of_writer(session)).await?;
                connection.ask("DELETE", &path).await?;
                Ok(())
            });
        }
        Ok(Flood { stop, sent, begun, writers, wanted: plan.flood, acks })
    }

    async fn end(mut self, report: &mut Report) -> anyhow::Result<()> {
        let rate = self.sent.load(Ordering::Relaxed) as f64 / self.begun.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.writers.join_next().await {
            done??;
        }
        report.tell("flood wanted", self.wanted, "events/s");
        report.tell("flood acked", rate, "events/s");
        self.acks.tell("flood ack", report);
        Ok(())
    }
}

/// Numbers of sessions that live in the same shard as the first.
async fn neighbours(count: usize, target: &Target) -> anyhow::Result<Vec<usize>> {
    let mut connection = target.connect(0).await?;
    let home = shard(&mut connection, &target.session(0)).await?;
    let mut found = Vec::new();
    for number in 1..NAMES {
        if found.len() == count {
            break;
        }
        if shard(&mut connection, &target.session(number)).await? == home {
            found.push(number);
        }
    }
    ensure!(found.len() == count, "only {} sessions share a shard", found.len());
    Ok(found)
}

async fn shard(connection: &mut Connection, session: &str) -> anyhow::Result<u64> {
    let path = format!("/v1/sessions/{session}/home");
    let answer = connection.ask("GET", &path).await?;
    let home: Value = serde_json::from_slice(answer.body())?;
    home["shard"].as_u64().with_context(|| format!("{path}: {}", answer.text()))
}
