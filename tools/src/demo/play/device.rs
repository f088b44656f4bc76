//! A device: follows a session over SSE at one node after the other, and records what it receives.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::record::{Record, Seen};
use client::sse::{Frame, Parser};

/// Time that anything may take that is only slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Silence after which a node counts as dead: two of its pings.
const SILENCE: Duration = Duration::from_secs(11);
const PAUSE: Duration = Duration::from_millis(20);

/// Who holds the device, and what for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) participant: &'static str,
    pub(super) device: &'static str,
    pub(super) role: &'static str,
}

/// A device that is switched on; dropped, it is off.
pub(super) struct Device {
    shared: Arc<Shared>,
    _following: JoinSet<()>,
}

struct Shared {
    record: Mutex<Record>,
    bell: Notify,
}

impl Device {
    /// Attaches to a session; the first of `urls` gets the first request.
    pub(super) fn on(http: &reqwest::Client, urls: &[String], session: &str, who: Who) -> Device {
        let shared = Arc::new(Shared { record: Mutex::default(), bell: Notify::new() });
        let follower = Follower {
            http: http.clone(),
            urls: urls.to_vec(),
            session: session.to_owned(),
            who,
            cursor: None,
            shared: shared.clone(),
        };
        let mut following = JoinSet::new();
        following.spawn(follower.run());
        Device { shared, _following: following }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record.lock().expect("no holder panics")
    }

    /// Waits until what was seen answers the question.
    ///
    /// # Errors
    /// It did not in time, or the device gave up; names what was waited for.
    pub(super) async fn sees<T>(
        &self,
        what: &str,
        look: impl Fn(&Record) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rings = self.shared.bell.notified();
            {
                let record = self.record();
                if let Some(found) = look(&record) {
                    return Ok(found);
                }
                if let Some(why) = &record.failure {
                    bail!("{what}: the device gave up: {why}");
                }
            }
            if timeout_at(deadline, rings).await.is_err() {
                let last = self.record().events.last().map(|seen| seen.event.to_string());
                let last = last.unwrap_or_else(|| "nothing".to_owned());
                bail!("{what}: not within {} s; last seen: {last}", PATIENCE.as_secs());
            }
        }
    }

    /// Waits for so many pieces of a turn.
    pub(super) async fn hears(&self, turn: &str, pieces: usize) -> anyhow::Result<()> {
        let what = format!("{pieces} pieces of {turn}");
        self.sees(&what, |record| (pieces <= record.pieces(turn)).then_some(())).await
    }
}

struct Follower {
    http: reqwest::Client,
    urls: Vec<String>,
    session: String,
    who: Who,
    cursor: Option<String>,
    shared: Arc<Shared>,
}

/// Why a stream is over.
enum Over {
    /// Go on elsewhere.
    Broken,
    Final(String),
}

impl Follower {
    async fn run(mut self) {
        for place in 0.. {
            let url = self.urls[place % self.urls.len()].clone();
            if let Err(Over::Final(why)) = self.attach(&url).await {
                self.shared.record.lock().expect("no holder panics").failure = Some(why);
                self.shared.bell.notify_waiters();
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Follows at one node until it fails.
    async fn attach(&mut self, url: &str) -> Result<Infallible, Over> {
        let Who { participant, device, role } = self.who;
        let mut query = vec![("live", "sse"), ("participant", participant), ("device", device)];
        query.push(("role", role));
        match &self.cursor {
            Some(cursor) => query.push(("after", cursor)),
            None => query.push(("snapshot", "1")),
        }
        let url = format!("{url}/v1/sessions/{}/events", self.session);
        let url = Url::parse_with_params(&url, &query);
        let url = url.map_err(|why| Over::Final(why.to_string()))?;
        let request = self.http.get(url).send();
        let Ok(Ok(answer)) = timeout(SILENCE, request).await else { return Err(Over::Broken) };
        if answer.status().is_client_error() {
            return Err(Over::Final(answer.text().await.unwrap_or_default()));
        }
        if !answer.status().is_success() {
            return Err(Over::Broken);
        }
        let mut bytes = answer.bytes_stream();
        let mut parser = Parser::default();
        loop {
            let Ok(Some(Ok(piece))) = timeout(SILENCE, bytes.next()).await else {
                return Err(Over::Broken);
            };
            for frame in parser.feed(&piece).map_err(|why| Over::Final(why.to_string()))? {
                self.take(&frame).map_err(|why| Over::Final(format!("{why:#}")))?;
            }
            self.shared.bell.notify_waiters();
        }
    }

    fn take(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let at = Instant::now();
        let data: Value = if frame.data.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&frame.data)
                .with_context(|| format!("{} {:?}", frame.event, frame.data))?
        };
        let mut record = self.shared.record.lock().expect("no holder panics");
        match frame.event.as_str() {
            "message" => {
                self.cursor = Some(frame.id.clone());
                record.events.push(Seen { at, event: data });
            }
            "attached" => {
                record.attachments += 1;
                if self.cursor.is_none() {
                    let cursor = data["cursor"].as_str().context("attached without a cursor")?;
                    let serial = cursor.rsplit('_').next().and_then(|digits| digits.parse().ok());
                    record.begins_behind = serial.context("a cursor without a serial")?;
                    record.snapshot = data.get("snapshot").cloned();
                    let presence =
                        data["snapshot"].get("presence").filter(|known| !known.is_null());
                    record.presence = presence.cloned();
                    self.cursor = Some(cursor.to_owned());
                }
            }
            "presence" => record.presence = Some(data),
            "gap" | "reset" => record.breaks += 1,
            // Everything else is nothing that the script judges.
            _ => {}
        }
        Ok(())
    }
}
