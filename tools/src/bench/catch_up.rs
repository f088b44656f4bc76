//! A long log, and readers that come late: live from its beginning and from its middle, and page by page.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::chunks::Chunks;
use super::connection::find;
use super::dialect::Line;
use super::writer::{DUE_MARK, Writer};
use super::{Report, Servers, Target};

/// What to do.
#[derive(Clone, Debug)]
pub struct CatchUp {
    pub events: u64,
    /// Bytes of one payload.
    pub bytes: usize,
}

/// Events of one request that fills the log.
const BATCH: u64 = 500;
/// Time in which a log must have been read.
const PATIENCE: Duration = Duration::from_secs(300);

/// Fills a log and reports how fast it is read.
///
/// # Errors
/// The service cannot be reached or refuses, or does not give back what it took.
pub async fn run(
    plan: &CatchUp,
    target: &Target,
    servers: &Servers,
    report: &mut Report,
) -> anyhow::Result<()> {
    target.create(1).await?;
    let mut writer = Writer::new(target, 0, 0, plan.bytes);
    let filling = Instant::now();
    let (mut filled, mut middle) = (0, None);
    while filled < plan.events {
        let count = BATCH.min(plan.events - filled);
        let due: Vec<u64> = (filled..filled + count).collect();
        writer.append(&due).await?;
        filled += count;
        if middle.is_none() && plan.events / 2 <= filled {
            middle = Some((filled, tail(target).await?));
        }
    }
    report.tell("filled", plan.events as f64 / filling.elapsed().as_secs_f64(), "events/s");
    let before = servers.resident_bytes().unwrap_or(f64::NAN);
    let (seconds, count) = live(target, None, plan.events).await?;
    report.tell("live from the beginning", count as f64 / seconds, "events/s");
    report.tell("live from the beginning took", seconds * 1000.0, "ms");
    let (at, place) = middle.context("the log has a middle")?;
    let (seconds, count) = live(target, Some(&place), plan.events - at).await?;
    report.tell("live from the middle", count as f64 / seconds, "events/s");
    let (seconds, count, pages) = paged(target).await?;
    ensure!(count == plan.events, "{count} events on all pages, not {}", plan.events);
    report.tell("pages", pages as f64, "");
    report.tell("page by page", count as f64 / seconds, "events/s");
    report.tell("page by page took", seconds * 1000.0, "ms");
    let grown = servers.resident_bytes().unwrap_or(f64::NAN) - before;
    report.tell("servers' growth while reading", grown / 1024.0, "KiB");
    target.delete(1).await
}

/// Where a live stream that has everything would go on.
async fn tail(target: &Target) -> anyhow::Result<String> {
    let (mut place, mut at) = (String::new(), None);
    loop {
        let (_, next, more) = page(target, at.as_deref()).await?;
        place.clone_from(&next);
        if !more {
            return Ok(place);
        }
        at = Some(next);
    }
}

/// Reads live until so many events have come; seconds, and their number.
async fn live(target: &Target, at: Option<&str>, events: u64) -> anyhow::Result<(f64, u64)> {
    let begun = Instant::now();
    let mut at = at.map(str::to_owned);
    let mut count = 0;
    while count < events {
        let mut connection = target.connect(1).await?;
        let path = target.dialect().live(&target.session(0), at.as_deref());
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", target.head());
        connection.stream.write_all(request.as_bytes()).await?;
        let head = connection.head().await?;
        ensure!(head.status == 200, "status {} for {path}", head.status);
        let (mut chunks, mut text) = (Chunks::default(), Vec::new());
        while count < events && !chunks.ended {
            chunks.take(&mut connection, &mut text)?;
            let mut begin = 0;
            while let Some(length) = text[begin..].iter().position(|byte| *byte == b'\n') {
                match target.dialect().line(&text[begin..begin + length]) {
                    Some(Line::Events { due_us, .. }) => count += due_us.len() as u64,
                    Some(Line::At(place)) => {
                        at = Some(String::from_utf8_lossy(place).into_owned());
                    }
                    _ => {}
                }
                begin += length + 1;
            }
            text.drain(..begin);
            if count < events && !chunks.ended {
                timeout(PATIENCE, connection.more()).await.context("the log did not come")??;
            }
        }
    }
    Ok((begun.elapsed().as_secs_f64(), count))
}

/// Reads page by page; seconds, events, pages.
async fn paged(target: &Target) -> anyhow::Result<(f64, u64, u64)> {
    let (begun, mut at) = (Instant::now(), None);
    let (mut count, mut pages) = (0, 0);
    loop {
        let (events, next, more) = page(target, at.as_deref()).await?;
        count += events;
        pages += 1;
        if !more {
            return Ok((begun.elapsed().as_secs_f64(), count, pages));
        }
        at = Some(next);
    }
}

/// One page: its events, where the next one begins, and whether there is one.
async fn page(target: &Target, at: Option<&str>) -> anyhow::Result<(u64, String, bool)> {
    let path = target.dialect().page(&target.session(0), at);
    let answer = target.connect(1).await?.ask("GET", &path).await?;
    ensure!(answer.status == 200, "status {} for {path}", answer.status);
    let (next, up_to_date) = match answer.header("stream-next-offset") {
        Some(next) => (next.to_owned(), answer.header("stream-up-to-date").is_some()),
        None => {
            let page: serde_json::Value = serde_json::from_str(&answer.text())?;
            let next = page["next"].as_str().context("a page has a cursor")?;
            (next.to_owned(), page["up_to_date"] == true)
        }
    };
    let (mut rest, mut events) = (answer.body(), 0);
    while let Some(at) = find(rest, DUE_MARK) {
        rest = &rest[at + DUE_MARK.len()..];
        events += 1;
    }
    Ok((events, next, !up_to_date))
}
