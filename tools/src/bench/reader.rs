//! One live reader: it looks for serials and due times and parses nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::chunks::Chunks;
use super::dialect::Line;
use super::writer::elapsed_us;
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
    last_due_us: u64,
    /// Where the next stream goes on.
    at: Option<String>,
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
            last_due_us: 0,
            at: None,
        }
    }

    /// Follows the session for ever, and reports once when it is attached.
    pub(super) async fn run(mut self, mut attached: Option<Sender<()>>) {
        loop {
            match self.follow(&mut attached).await {
                Ok(()) => continue,
                Err(why) => tracing::debug!(%why, session = self.session, "a reader moves on"),
            }
            self.seen.errors.fetch_add(1, Ordering::Relaxed);
            self.node += 1;
            sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self, attached: &mut Option<Sender<()>>) -> io::Result<()> {
        let mut connection = self.target.connect(self.node).await?;
        let path = self.target.dialect().live(&self.session, self.at.as_deref());
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", self.target.head());
        tokio::io::AsyncWriteExt::write_all(&mut connection.stream, request.as_bytes()).await?;
        let head = connection.head().await?;
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        let (mut chunks, mut text) = (Chunks::default(), Vec::new());
        loop {
            chunks.take(&mut connection, &mut text)?;
            if chunks.ended {
                // A stream that ends in peace is requested again, after what it brought.
                return Ok(());
            }
            let mut begin = 0;
            while let Some(length) = text[begin..].iter().position(|byte| *byte == b'\n') {
                let line = &text[begin..begin + length];
                begin += length + 1;
                if self.line(line)
                    && let Some(attached) = attached.take()
                {
                    // Whoever waits for it may have stopped to.
                    let _ = attached.send(()).await;
                }
            }
            text.drain(..begin);
            connection.more().await?;
        }
    }

    /// Counts what a line brings; whether it marks that everything so far was delivered.
    fn line(&mut self, line: &[u8]) -> bool {
        match self.target.dialect().line(line) {
            Some(Line::At(at)) => self.at = Some(String::from_utf8_lossy(at).into_owned()),
            Some(Line::CaughtUp) => return true,
            Some(Line::Events { first, due_us }) => self.events(first, &due_us),
            None => {}
        }
        false
    }

    fn events(&mut self, first: Option<u64>, due_us: &[Option<u64>]) {
        if let Some(serial) = first {
            let in_order = serial == self.last + 1;
            self.seen.out_of_order.fetch_add(u64::from(!in_order), Ordering::Relaxed);
            self.last = serial + due_us.len() as u64 - 1;
        }
        self.seen.delivered.fetch_add(due_us.len() as u64, Ordering::Relaxed);
        for due_us in due_us.iter().flatten() {
            // Events of one writer are due one after the other.
            let in_order = self.last_due_us <= *due_us;
            self.seen.out_of_order.fetch_add(u64::from(!in_order), Ordering::Relaxed);
            self.last_due_us = *due_us;
            self.seen.delivery.record(elapsed_us(self.begun).saturating_sub(*due_us), 1);
        }
    }
}
