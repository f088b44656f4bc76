//! One writer: its own connection, an idempotent producer, batches of JSON events.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Target;
use super::connection::Connection;

/// Where an event has the time at which it was due: this many digits, in microseconds since the run began.
pub(super) const DUE_DIGITS: usize = 12;
/// Stands in front of those digits.
pub(super) const DUE_MARK: &[u8] = b"\"t\":\"";
/// Tries of one request before the writer gives up.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Writer {
    target: Target,
    path: String,
    producer: String,
    seq: u64,
    /// The node that gets the requests; another one after each failure.
    node: usize,
    connection: Option<Connection>,
    /// Makes a payload as long as it is to be.
    padding: String,
    request: Vec<u8>,
    body: Vec<u8>,
    /// Requests that had to be repeated.
    pub(super) errors: u64,
}

impl Writer {
    /// The writer of a session whose payloads have about `bytes` bytes.
    pub(super) fn new(target: &Target, session: usize, number: usize, bytes: usize) -> Writer {
        Writer {
            target: target.clone(),
            path: target.dialect().append(&target.session(session)),
            producer: format!("bench-{number}"),
            seq: 0,
            node: target.of_writer(session),
            connection: None,
            padding: "x".repeat(bytes.saturating_sub(payload(0, "").len())),
            request: Vec::new(),
            body: Vec::new(),
            errors: 0,
        }
    }

    /// Bytes of one payload.
    pub(super) fn payload_bytes(&self) -> usize {
        payload(0, &self.padding).len()
    }

    /// Connects before the clock runs.
    pub(super) async fn connect(&mut self) -> io::Result<()> {
        self.connection = Some(self.target.connect(self.node).await?);
        Ok(())
    }

    /// Appends events that were due at these times, as one request, until it is acknowledged.
    ///
    /// # Errors
    /// The service refuses, or no node answers.
    pub(super) async fn append(&mut self, due_us: &[u64]) -> anyhow::Result<()> {
        self.render(due_us);
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.attempt().await {
                Ok(answer) if answer.status / 100 == 2 => {
                    self.seq += 1;
                    return Ok(());
                }
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    anyhow::bail!("{} to {}: {}", answer.status, self.path, answer.text());
                }
                Ok(answer) => last = answer.text(),
                Err(why) => last = why.to_string(),
            }
            self.errors += 1;
            self.connection = None;
            self.node += 1;
            sleep(PAUSE).await;
        }
        anyhow::bail!("no node takes events for {}: {last}", self.path)
    }

    async fn attempt(&mut self) -> io::Result<super::connection::Answer> {
        if self.connection.is_none() {
            self.connect().await?;
        }
        let connection = self.connection.as_mut().expect("it was just opened");
        connection.send(&self.request).await
    }

    fn render(&mut self, due_us: &[u64]) {
        self.body.clear();
        let payloads = due_us.iter().map(|due_us| payload(*due_us, &self.padding));
        self.target.dialect().render(payloads, &mut self.body);
        let head = format!(
            "POST {} HTTP/1.1\r\n{}content-type: application/json\r\n\
             producer-id: {}\r\nproducer-epoch: 0\r\nproducer-seq: {}\r\ncontent-length: {}\r\n\r\n",
            self.path,
            self.target.head(),
            self.producer,
            self.seq,
            self.body.len()
        );
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(&self.body);
    }
}

pub(super) fn payload(due_us: u64, padding: &str) -> String {
    format!("{{\"t\":\"{due_us:0width$}\",\"p\":\"{padding}\"}}", width = DUE_DIGITS)
}

/// Microseconds since `begun`.
pub(super) fn elapsed_us(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
