//! Streaming appends: one endless request for each writer, lines out and acknowledgements in.

use std::collections::VecDeque;
use std::io;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::chunks::Chunks;
use super::closed::Closed;
use super::connection::{Connection, find};
use super::dialect::digits;
use super::open::Load;
use super::writer::{elapsed_us, payload};
use super::{Latency, Report, Servers, Target};

const SEQ_MARK: &[u8] = b"\"seq\":";

/// Runs the load and reports its results.
pub(super) async fn run(
    plan: &Closed,
    target: &Target,
    servers: &Servers,
    report: &mut Report,
) -> anyhow::Result<()> {
    target.create(plan.writers).await?;
    let before = servers.bill(target).await?;
    let (acks, begun) = (Latency::default(), Instant::now());
    let mut tasks = JoinSet::new();
    for number in 0..plan.writers {
        let writer = Writer::open(target, number, plan.bytes).await?;
        let (plan, acks) = (plan.clone(), acks.clone());
        tasks.spawn(writer.write(plan, acks, begun));
    }
    let mut events = 0;
    while let Some(done) = tasks.join_next().await {
        events += done??;
    }
    let time_s = begun.elapsed().as_secs_f64();
    let after = servers.bill(target).await?;
    target.delete(plan.writers).await?;
    report.tell("acked", events as f64 / time_s, "events/s");
    acks.tell("ack", report);
    let events = events as f64;
    let payload_bytes = events * plan.bytes as f64;
    let load = Load { appends: events, events, deliveries: f64::NAN, payload_bytes };
    after.tell(&before, servers, &load, report);
    Ok(())
}

struct Writer {
    connection: Connection,
    padding: String,
}

impl Writer {
    async fn open(target: &Target, number: usize, bytes: usize) -> anyhow::Result<Writer> {
        let mut connection = target.connect(target.of_writer(number)).await?;
        let path = target.dialect().append(&target.session(number));
        let head = format!(
            "POST {path} HTTP/1.1\r\n{}content-type: application/x-ndjson\r\n\
             stream-append: streaming\r\nproducer-id: bench-{number}\r\nproducer-epoch: 0\r\n\
             producer-seq: 0\r\ntransfer-encoding: chunked\r\n\r\n",
            target.head()
        );
        connection.stream.write_all(head.as_bytes()).await?;
        let padding = "x".repeat(bytes.saturating_sub(payload(0, "").len()));
        Ok(Writer { connection, padding })
    }

    /// Keeps so many events under way; returns those that were acknowledged.
    async fn write(mut self, plan: Closed, acks: Latency, begun: Instant) -> anyhow::Result<u64> {
        let (mut sent, mut acked) = (VecDeque::new(), 0);
        let (mut chunks, mut text) = (Chunks::default(), Vec::new());
        let mut headed = false;
        loop {
            let over = plan.time <= begun.elapsed();
            if !over && sent.len() < plan.in_flight {
                let count = plan.in_flight - sent.len();
                self.send(count, begun, &mut sent).await?;
            }
            if over && sent.is_empty() {
                self.connection.stream.write_all(b"0\r\n\r\n").await?;
                return Ok(acked);
            }
            if !headed {
                let head = self.connection.head().await?;
                ensure!(head.status == 200, "status {}", head.status);
                headed = true;
            }
            chunks.take(&mut self.connection, &mut text)?;
            let upto = last_seq(&text);
            if let Some(end) = text.iter().rposition(|byte| *byte == b'\n') {
                text.drain(..=end);
            }
            let Some(upto) = upto else {
                ensure!(!chunks.ended, "the service ended the stream");
                self.connection.more().await.context("an acknowledgement")?;
                continue;
            };
            let now_us = elapsed_us(begun);
            while acked <= upto {
                let sent_us = sent.pop_front().context("an acknowledgement for nothing")?;
                acks.record(now_us.saturating_sub(sent_us), 1);
                acked += 1;
            }
        }
    }

    async fn send(
        &mut self,
        count: usize,
        begun: Instant,
        sent: &mut VecDeque<u64>,
    ) -> io::Result<()> {
        let now_us = elapsed_us(begun);
        let line = payload(now_us, &self.padding) + "\n";
        let lines = line.repeat(count);
        let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
        sent.extend(std::iter::repeat_n(now_us, count));
        self.connection.stream.write_all(chunk.as_bytes()).await
    }
}

/// The greatest acknowledged seq in whole lines.
fn last_seq(text: &[u8]) -> Option<u64> {
    let end = text.iter().rposition(|byte| *byte == b'\n')?;
    let (mut rest, mut last) = (&text[..end], None);
    while let Some(at) = find(rest, SEQ_MARK) {
        rest = &rest[at + SEQ_MARK.len()..];
        last = Some(digits(rest));
    }
    last
}
