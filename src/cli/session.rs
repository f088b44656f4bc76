//! `outlive session …`: sessions from the command line.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Target, append, tail};

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
    id: String,
    #[command(flatten)]
    target: Target,
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
