//! One live reader: it looks for serials and due times and parses nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::connection::{Connection, find};
use super::writer::{DUE_DIGITS, DUE_MARK, elapsed_us};
use super::{Latency, Target};

const PAUSE: Duration = Duration::from_millis(50);

/// What all readers of a run saw.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) delivery: Latency,
    pub(super) delivered: Arc<AtomicU64>,
    /// Events that did not follow the one before them (S7): must be none.
    pub(super) out_of_order: Arc<AtomicU64>,
    /// Streams that broke off.
    pub(super) errors: Arc<AtomicU64>,
}

pub(super) struct Reader {
    target: Target,
    session: String,
    node: usize,
    seen: Seen,
    begun: Instant,
    last: u64,
    id: String,
}

impl Reader {
    pub(super) fn new(
        target: &Target,
        session: usize,
        number: usize,
        seen: &Seen,
        begun: Instant,
    ) -> Reader {
        Reader {
            target: target.clone(),
            session: target.session(session),
            node: target.of_reader(session, number),
            seen: seen.clone(),
            begun,
            last: 0,
            id: "start".into(),
        }
    }

    /// Follows the session for ever, and says once when it is attached.
    pub(super) async fn run(mut self, mut attached: Option<Sender<()>>) {
        loop {
            if let Err(why) = self.follow(&mut attached).await {
                tracing::debug!(%why, session = self.session, "a reader moves on");
            }
            self.seen.errors.fetch_add(1, Ordering::Relaxed);
            self.node += 1;
            sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self, attached: &mut Option<Sender<()>>) -> io::Result<()> {
        let mut connection = self.target.connect(self.node).await?;
        let (session, id) = (&self.session, &self.id);
        let request = format!(
            "GET /v1/sessions/{session}/events?live=sse&after={id} HTTP/1.1\r\nhost: bench\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut connection.stream, request.as_bytes()).await?;
        let head = connection.head().await?;
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        let (mut chunks, mut text) = (Chunks::default(), Vec::new());
        loop {
            chunks.take(&mut connection, &mut text)?;
            let mut begin = 0;
            while let Some(length) = text[begin..].iter().position(|byte| *byte == b'\n') {
                let line = &text[begin..begin + length];
                begin += length + 1;
                if line == b"event: caught-up"
                    && let Some(attached) = attached.take()
                {
                    // Whoever waits for it may have stopped to.
                    let _ = attached.send(()).await;
                }
                self.line(line);
            }
            text.drain(..begin);
            connection.more().await?;
        }
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(id) = line.strip_prefix(b"id: ") {
            self.id.clear();
            self.id.push_str(&String::from_utf8_lossy(id));
            return;
        }
        let Some(rest) = line.strip_prefix(b"data: {\"serial\":") else { return };
        let serial = digits(rest);
        let in_order = serial == self.last + 1;
        self.seen.out_of_order.fetch_add(u64::from(!in_order), Ordering::Relaxed);
        self.last = serial;
        self.seen.delivered.fetch_add(1, Ordering::Relaxed);
        if let Some(at) = find(rest, DUE_MARK) {
            let due = &rest[at + DUE_MARK.len()..];
            let due_us = digits(&due[..due.len().min(DUE_DIGITS)]);
            self.seen.delivery.record(elapsed_us(self.begun).saturating_sub(due_us), 1);
        }
    }
}

/// The number that a text begins with.
fn digits(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Takes chunks apart (RFC 9112, 7.1).
#[derive(Default)]
struct Chunks {
    /// Bytes of the present chunk that are still to come, its line end included.
    left: usize,
}

impl Chunks {
    /// Moves what the chunks in the buffer carry to `text`.
    fn take(&mut self, connection: &mut Connection, text: &mut Vec<u8>) -> io::Result<()> {
        let buffer = &mut connection.buffer;
        let mut at = 0;
        while at < buffer.len() {
            if self.left == 0 {
                let Some(length) = find(&buffer[at..], b"\r\n") else { break };
                let size = str::from_utf8(&buffer[at..at + length]).ok();
                let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                let size = size.ok_or(io::ErrorKind::InvalidData)?;
                self.left = size + 2;
                at += length + 2;
                continue;
            }
            let count = self.left.min(buffer.len() - at);
            // The last two bytes are the chunk's line end.
            let content = count.min(self.left.saturating_sub(2));
            text.extend_from_slice(&buffer[at..at + content]);
            self.left -= count;
            at += count;
        }
        buffer.drain(..at);
        Ok(())
    }
}
