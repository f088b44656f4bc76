//! `outlive key …`: keys of a cluster, by whoever has a key that may administer it.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Misuse, Target};
use crate::auth::KeyText;

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key, and print it; it is shown once
    Create(Box<Create>),
    /// Print the keys that are in force
    List(List),
    /// Take a key back; its streams end within seconds
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What the key is called
    name: String,
    /// The tenant that it is for [default: that of the key which makes it]
    #[arg(long)]
    tenant: Option<String>,
    /// A right: read, send, steer, cancel, answer, publish, create, delete, claim, presence, takeover or admin; once
    /// for each
    #[arg(long = "right", value_name = "RIGHT", required = true, value_delimiter = ',')]
    rights: Vec<String>,
    /// Sessions that it is for: a name, or the beginning of one and a *; once for each [default: all]
    #[arg(long = "session", value_name = "PATTERN")]
    sessions: Vec<String>,
    /// Agents whose turns it may take, likewise; a key with the right to claim names them
    #[arg(long = "agent", value_name = "PATTERN")]
    agents: Vec<String>,
    /// The participant in whose name it acts [default: any]
    #[arg(long)]
    participant: Option<String>,
    /// The device on which it acts [default: any]
    #[arg(long)]
    device: Option<String>,
    /// The greatest role that it may take [default: controller]
    #[arg(long)]
    role: Option<String>,
    /// How long it is good, as 90s, 15m, 12h or 30d [default: for ever]
    #[arg(long, value_name = "SPAN", value_parser = span_s)]
    expires: Option<u64>,
    /// What it may do at most at each node: appends_per_s=N, bytes_per_s=N, inputs_per_s=N, controls_per_s=N or
    /// live_streams=N; once for each [default: as much as every key]
    #[arg(long = "quota", value_name = "NAME=N", value_delimiter = ',', value_parser = quota)]
    quotas: Vec<(String, u32)>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The id of the key, as list prints it; or the key
    id: String,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: Key) -> anyhow::Result<()> {
    match command {
        Key::Create(command) => create(*command).await,
        Key::List(command) => list(command).await,
        Key::Revoke(Revoke { id, target }) => {
            // Whoever has the key at hand need not look for its id.
            let id = id.strip_prefix("olk_").and_then(|rest| rest.split('_').next()).unwrap_or(&id);
            if id.is_empty() {
                return Err(Misuse("name the key: list prints the ids".into()).into());
            }
            Ok(target.client()?.revoke_key(id).await?)
        }
    }
}

async fn create(command: Create) -> anyhow::Result<()> {
    let Create {
        name,
        tenant,
        rights,
        sessions,
        agents,
        participant,
        device,
        role,
        expires,
        quotas,
        ..
    } = &command;
    let quotas: serde_json::Map<String, Value> =
        quotas.iter().map(|(name, most)| (name.clone(), (*most).into())).collect();
    let some = |patterns: &Vec<String>| (!patterns.is_empty()).then(|| patterns.clone());
    let body = json!({
        "name": name,
        "tenant": tenant,
        // Drawn here, so that repeating the request after an unknown outcome makes no second one.
        "key": KeyText::draw().reveal(),
        "rights": rights,
        "sessions": some(sessions),
        "agents": some(agents),
        "participant": participant,
        "device": device,
        "role": role,
        "ttl_s": expires,
        "quotas": Some(quotas).filter(|quotas| !quotas.is_empty()),
    });
    let made = command.target.client()?.create_key(&body).await?;
    match made["key"].as_str() {
        Some(key) if !command.json => writeln!(io::stdout(), "{key}")?,
        _ => writeln!(io::stdout(), "{made}")?,
    }
    Ok(())
}

async fn list(command: List) -> anyhow::Result<()> {
    let answer = command.target.client()?.keys().await?;
    let mut out = io::stdout().lock();
    for key in answer["keys"].as_array().into_iter().flatten() {
        if command.json {
            writeln!(out, "{key}")?;
            continue;
        }
        let words = |name: &str| {
            let all = key[name].as_array().into_iter().flatten();
            let all = all.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            if all.is_empty() { "-".to_owned() } else { all }
        };
        let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
        let until =
            key["expires_at"].as_u64().map_or("for ever".to_owned(), |at| format!("until {at}"));
        writeln!(
            out,
            "{}  {}  tenant {}  {}  sessions {}  agents {}  as {}  {until}",
            text("id"),
            text("name"),
            text("tenant"),
            words("rights"),
            words("sessions"),
            words("agents"),
            text("participant"),
        )?;
    }
    Ok(())
}

/// The name of a quota and how much it is.
fn quota(text: &str) -> Result<(String, u32), String> {
    const NAMES: [&str; 5] =
        ["appends_per_s", "bytes_per_s", "inputs_per_s", "controls_per_s", "live_streams"];
    let (name, most) = text.split_once('=').ok_or("a quota is a name, = and a number")?;
    if !NAMES.contains(&name) {
        return Err(format!("there is no quota {name:?} of a key; there are {}", NAMES.join(", ")));
    }
    match most.parse() {
        Ok(0) | Err(_) => Err(format!("{name} is a number from 1 to {}", u32::MAX)),
        Ok(most) => Ok((name.to_owned(), most)),
    }
}

/// Seconds of `90s`, `15m`, `12h` or `30d`.
pub(super) fn span_s(text: &str) -> Result<u64, String> {
    let unit = text.chars().last().unwrap_or_default();
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err("a span is a number and s, m, h or d".into()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| "it begins with a number")?;
    match number.checked_mul(seconds) {
        Some(0) => Err("it ends before it begins".into()),
        Some(span) => Ok(span),
        None => Err("it is too long".into()),
    }
}

/// A key that clap does not show with what it was given.
pub(super) fn checked_key(key: Option<&str>) -> Result<Option<&str>, Misuse> {
    match key {
        Some(key) if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Misuse("the key has characters that no key has".into()))
        }
        key => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_name_and_a_number() {
        assert_eq!(quota("inputs_per_s=2").ok(), Some(("inputs_per_s".to_owned(), 2)));
        for text in ["", "inputs_per_s", "inputs_per_s=0", "inputs_per_s=x", "sessions=3", "=1"] {
            assert!(quota(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", Some(90)), ("2h", Some(7200)), ("30d", Some(2_592_000))] {
            assert_eq!(span_s(text).ok(), seconds);
        }
        for text in ["", "s", "10", "0s", "-1d", "1w", "99999999999999999999d"] {
            assert!(span_s(text).is_err(), "{text:?}");
        }
    }
}
