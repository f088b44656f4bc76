//! `outlive session append`: standard input becomes events, in order, each once.

use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Args};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{MissedTickBehavior, interval};

use super::Target;
use super::pieces::{By, Pieces};
use crate::client::{Appender, Body};
use crate::limits;

#[derive(Debug, Args)]
pub(super) struct Append {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    id: String,
    /// What becomes one event
    #[arg(long, value_enum, default_value = "line")]
    by: By,
    /// Pause between two events; 0 sends whatever is there together
    #[arg(long, value_name = "MS", default_value_t = 0)]
    every_ms: u64,
    /// Close the session after the last event
    #[arg(long)]
    close: bool,
    /// Create the session if it does not exist
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    create: bool,
    /// Format tag of the events
    #[arg(long, default_value = "text")]
    format: String,
    #[command(flatten)]
    target: Target,
}

/// Pieces that are read ahead of the service.
const AHEAD: usize = 4096;
/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Payload bytes that one request carries at most, unless one piece is larger; JSON makes them more.
const BATCH_BYTES: usize = 256 << 10;

pub(super) async fn run(command: Append) -> anyhow::Result<()> {
    let client = command.target.client()?;
    if command.create {
        create(&client, &command.id).await?;
    }
    let mut appender = client.appender(&command.id);
    let (out, mut pieces) = mpsc::channel(AHEAD);
    let by = command.by;
    let reading = tokio::task::spawn_blocking(move || read(by, &out));
    if command.every_ms == 0 {
        send_what_is_there(&mut pieces, &mut appender, &command.format).await?;
    } else {
        let pause = Duration::from_millis(command.every_ms);
        send_in_time(&mut pieces, &mut appender, &command.format, pause).await?;
    }
    reading.await?.context("standard input cannot be read")?;
    if command.close {
        appender.append(&[], true).await?;
    }
    Ok(())
}

/// Creates the session unless it exists, whatever it was created with.
async fn create(client: &crate::client::Client, id: &str) -> anyhow::Result<()> {
    use crate::client::ClientError::Refused;
    match client.create(id).await {
        Err(Refused(problem)) if problem.code == "config_differs" => Ok(()),
        outcome => Ok(outcome.map(drop)?),
    }
}

/// Reads until the end, or until no more is wanted.
fn read(by: By, out: &Sender<Vec<u8>>) -> std::io::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut buffer = vec![0; READ_BYTES];
    let (mut pieces, mut ready) = (Pieces::new(by), Vec::new());
    loop {
        let count = match input.read(&mut buffer) {
            Ok(count) => count,
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(why),
        };
        pieces.feed(&buffer[..count], &mut ready);
        if count == 0 {
            pieces.finish(&mut ready);
        }
        for piece in ready.drain(..) {
            if out.blocking_send(piece).is_err() {
                return Ok(());
            }
        }
        if count == 0 {
            return Ok(());
        }
    }
}

async fn send_what_is_there(
    pieces: &mut Receiver<Vec<u8>>,
    appender: &mut Appender,
    format: &str,
) -> anyhow::Result<()> {
    let mut next = pieces.recv().await;
    while let Some(first) = next {
        let mut bytes = first.len();
        let mut batch = vec![event(format, first)];
        next = None;
        while batch.len() < limits::APPEND_EVENTS {
            let Ok(piece) = pieces.try_recv() else { break };
            bytes += piece.len();
            if BATCH_BYTES < bytes {
                next = Some(piece);
                break;
            }
            batch.push(event(format, piece));
        }
        appender.append(&batch, false).await?;
        if next.is_none() {
            next = pieces.recv().await;
        }
    }
    Ok(())
}

async fn send_in_time(
    pieces: &mut Receiver<Vec<u8>>,
    appender: &mut Appender,
    format: &str,
    pause: Duration,
) -> anyhow::Result<()> {
    let mut beat = interval(pause);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(piece) = pieces.recv().await {
        beat.tick().await;
        appender.append(&[event(format, piece)], false).await?;
    }
    Ok(())
}

fn event(format: &str, piece: Vec<u8>) -> Body {
    Body { format: format.to_owned(), payload: piece.into() }
}
