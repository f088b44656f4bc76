//! `outlive session tail`: events on standard output as they come, from any node that serves.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Misuse, Target};
use crate::client::{self, Client, ClientError, Event, From, Item};
use crate::ids::Cursor;

/// How long a session may take to appear.
const APPEARS: Duration = Duration::from_secs(10);
/// Pause before looking for it again.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    id: String,
    /// Where to begin: start, now or a cursor
    #[arg(long, default_value = "start")]
    from: String,
    /// End when everything that is there now has been printed
    #[arg(long)]
    until_caught_up: bool,
    /// Go on until the session is closed, and fail if it is deleted instead
    #[arg(long)]
    until_closed: bool,
    /// Print payloads back to back instead of one JSON object a line
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: Tail) -> anyhow::Result<()> {
    let from = match command.from.as_str() {
        "start" => From::Start,
        "now" => From::Now,
        text => From::After(Cursor::parse(text).map_err(|why| Misuse(why.to_string()))?),
    };
    let client = command.target.client()?;
    let (mut tail, mut next) = begin(&client, &command.id, from).await;
    while let Some(item) = next? {
        let mut out = io::stdout().lock();
        match (&item, command.raw) {
            (Item::Event(event), true) => out.write_all(&event.payload)?,
            (Item::Event(event), false) => {
                let cursor = tail.cursor().map(|cursor| cursor.to_string());
                writeln!(out, "{}", shown(event, cursor))?;
            }
            (Item::Gap { first }, false) => writeln!(out, "{}", json!({ "gap": first }))?,
            (Item::Reset { incarnation }, false) => {
                writeln!(out, "{}", json!({ "reset": incarnation }))?;
            }
            // Payloads put together would hide that some are missing or are of another log.
            (Item::Gap { first }, true) => eprintln!("outlive: the log goes on at #{first}"),
            (Item::Reset { .. }, true) => anyhow::bail!("the session was deleted and lives again"),
            (Item::CaughtUp | Item::End, _) => {}
            (Item::Deleted, _) if command.until_closed => anyhow::bail!("the session was deleted"),
            (Item::Deleted, _) => eprintln!("outlive: the session was deleted"),
        }
        out.flush()?;
        drop(out);
        if command.until_caught_up && item == Item::CaughtUp {
            break;
        }
        next = tail.next().await;
    }
    Ok(())
}

/// Waits a while for a session that does not exist yet: its writer may start a moment later.
async fn begin(
    client: &Client,
    id: &str,
    from: From,
) -> (client::Tail, Result<Option<Item>, ClientError>) {
    let deadline = Instant::now() + APPEARS;
    let mut announced = false;
    loop {
        let mut tail = client.tail(id, from.clone());
        match tail.next().await {
            Err(ClientError::Refused(problem))
                if problem.status == 404 && Instant::now() < deadline =>
            {
                if !std::mem::replace(&mut announced, true) {
                    let wait = APPEARS.as_secs();
                    eprintln!("outlive: session {id} does not exist yet; waiting {wait} s for it");
                }
                tokio::time::sleep(AGAIN).await;
            }
            next => return (tail, next),
        }
    }
}

/// An event as a line, with the members that readers of the protocol get; its payload byte for byte.
fn shown(event: &Event, cursor: Option<String>) -> String {
    let mut line = event.members.clone();
    for (name, value) in [
        ("serial", event.serial.into()),
        ("cursor", cursor.into()),
        ("time", event.time.into()),
        ("format", event.format.clone().into()),
        ("chain", event.chain.clone().into()),
    ] {
        line.insert(name.to_owned(), value);
    }
    let text = str::from_utf8(&event.payload).ok();
    let json = text
        .filter(|text| event.format == "json" && serde_json::from_str::<&RawValue>(text).is_ok());
    let (name, payload) = match (json, text) {
        (Some(json), _) => ("data", json.to_owned()),
        (None, Some(text)) => ("text", Value::from(text).to_string()),
        (None, None) => ("base64", Value::from(STANDARD.encode(&event.payload)).to_string()),
    };
    let mut line = Value::from(line).to_string();
    line.pop();
    format!("{line},\"{name}\":{payload}}}")
}
