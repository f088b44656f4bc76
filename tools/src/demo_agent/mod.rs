//! The scripted agent: a worker on the lines of stdio that tells stories, word by word, and needs no key.
//!
//! It knows the protocol of workers and nothing of the rest of the program, as an agent in any language would.
//! A story is a pure function of the input (`story.rs`), so whoever watches can see whether a word was lost.

mod script;
pub mod story;
mod turn;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How the stories are sent.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Pause between two words, in milliseconds.
    pub every_ms: u64,
    /// Words of a story.
    pub words: u64,
    /// Stories at once.
    pub capacity: usize,
    pub lease_ms: Option<u64>,
    pub progress_timeout_ms: Option<u64>,
}

/// Where frames go: standard output, one line each.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<()>>);

impl Output {
    /// Writes one frame.
    ///
    /// # Errors
    /// Standard output is read no more.
    fn emit(&self, frame: &Value) -> std::io::Result<()> {
        let _one_at_a_time = self.0.lock().expect("no panic happens under this lock");
        let mut out = std::io::stdout().lock();
        writeln!(out, "{frame}")?;
        out.flush()
    }
}

/// Lines that have come and were not looked at.
const LINES: usize = 64;
/// Frames of one turn that were not looked at: beyond them its teller is ended, as if it had crashed.
const FRAMES: usize = 1024;

/// Registers and tells stories until standard input ends.
///
/// # Errors
/// Its output is read no more.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let output = Output::default();
    let Settings { capacity, lease_ms, progress_timeout_ms, .. } = settings;
    output.emit(&json!({
        "type": "register", "capacity": capacity, "lease_ms": lease_ms, "progress_timeout_ms": progress_timeout_ms,
    }))?;
    let (received, mut lines) = mpsc::channel(LINES);
    std::thread::Builder::new().name("outlive-lines".into()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if received.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    let mut turns: HashMap<Key, mpsc::Sender<Value>> = HashMap::new();
    let mut telling = JoinSet::new();
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                let frame: Value = serde_json::from_str(&line)?;
                match frame["type"].as_str() {
                    Some("ping") => output.emit(&json!({ "type": "pong" }))?,
                    Some("turn") => {
                        let (sent, frames) = mpsc::channel(FRAMES);
                        turns.insert(key(&frame), sent);
                        let output = output.clone();
                        telling.spawn(async move {
                            let key = key(&frame);
                            (key, turn::tell(settings, frame, frames, output).await)
                        });
                    }
                    Some("signal" | "ack" | "refused") => {
                        if let Some(turn) = turns.get(&key(&frame)) {
                            // A story that is over gets no more frames.
                            if let Err(mpsc::error::TrySendError::Full(_)) = turn.try_send(frame) {
                                anyhow::bail!("a story does not get on");
                            }
                        }
                    }
                    _ => {}
                }
            }
            Some(sent) = telling.join_next(), if !telling.is_empty() => {
                let (key, sent) = sent?;
                sent?;
                turns.remove(&key);
            }
        }
    }
}

type Key = (String, String, u64);

/// Which turn a frame is about.
fn key(frame: &Value) -> Key {
    let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
    (text("session"), text("turn"), frame["epoch"].as_u64().unwrap_or_default())
}
