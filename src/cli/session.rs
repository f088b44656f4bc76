//! `outlive session …`: sessions from the command line.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Target, append, file, moves, tail};

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// Append standard input, piece by piece
    Append(append::Append),
    /// Print events as they come
    Tail(tail::Tail),
    /// Print the names of sessions, one a line
    List(List),
    /// Print what a session is now
    Show(One),
    /// Begin another session as this one is
    Fork(Fork),
    /// Bring a file into a session, and print its name there
    PutFile(file::PutFile),
    /// Read a file of a session
    GetFile(file::GetFile),
    /// Take no more inputs and appends
    Freeze(One),
    /// Freeze, and leave the list
    Archive(One),
    /// Take inputs and appends again
    Restore(One),
    /// Write a session to standard output as lines of JSON, and its files into a directory
    Export(moves::Moving),
    /// Bring in a session that was exported, from standard input
    Import(moves::Moving),
    /// End a session and free its log
    Delete(One),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only names that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Fork {
    /// Name of the session
    #[arg(value_parser = super::session_name)]
    id: String,
    /// Name of the fork
    #[arg(value_parser = super::session_name)]
    fork: String,
    /// The last event that it inherits; the newest one unless given
    #[arg(long, value_name = "SERIAL")]
    at: Option<u64>,
    /// The message that it goes on from
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    message: Option<u64>,
    #[command(flatten)]
    target: Target,
}

impl Fork {
    async fn run(self) -> anyhow::Result<()> {
        let Fork { id, fork, at, message, target } = self;
        let mut body = json!({ "session": fork });
        for (name, given) in [("at", at), ("message", message)] {
            if let Some(given) = given {
                body[name] = given.into();
            }
        }
        let received = target.client()?.change(&id, "fork", &body).await?;
        Ok(writeln!(io::stdout(), "{received}")?)
    }
}

/// Requests a verb of a session that needs no more than its name.
async fn change(One { id, target }: One, verb: &str) -> anyhow::Result<()> {
    let received = target.client()?.change(&id, verb, &json!({})).await?;
    Ok(writeln!(io::stdout(), "{received}")?)
}

pub(super) async fn run(command: Session) -> anyhow::Result<()> {
    match command {
        Session::Append(command) => append::run(command).await,
        Session::Tail(command) => tail::run(command).await,
        Session::List(command) => list(command).await,
        Session::Show(One { id, target }) => {
            let status = target.client()?.show(&id).await?;
            writeln!(io::stdout(), "{status:#}")?;
            Ok(())
        }
        Session::Fork(fork) => fork.run().await,
        Session::PutFile(file) => file.run().await,
        Session::GetFile(file) => file.run().await,
        Session::Export(export) => moves::export(export).await,
        Session::Import(import) => moves::import(import).await,
        Session::Freeze(one) => change(one, "freeze").await,
        Session::Archive(one) => change(one, "archive").await,
        Session::Restore(one) => change(one, "restore").await,
        Session::Delete(One { id, target }) => Ok(target.client()?.delete(&id).await?),
    }
}

async fn list(command: List) -> anyhow::Result<()> {
    let client = command.target.client()?;
    let mut after = None;
    let mut out = io::stdout().lock();
    loop {
        let page = client.list(&command.prefix, after.as_deref()).await?;
        for session in &page.sessions {
            match &session["session"] {
                Value::String(name) if !command.json => writeln!(out, "{name}")?,
                _ => writeln!(out, "{session}")?,
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
