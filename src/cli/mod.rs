//! The command line. Exit codes: 0 done, 1 failed, 2 misused.

mod agent;
mod append;
mod bench;
mod certs;
mod cluster;
mod demo;
mod file;
mod key;
mod members;
mod moves;
mod parent;
mod pieces;
mod serve;
mod session;
mod tail;
mod token;

use std::io;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::tls;

/// Durable sessions for AI agents.
#[derive(Debug, Parser)]
#[command(name = "outlive", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(Box<serve::Serve>),
    /// Make certificates for a cluster on one machine
    DevCerts(certs::DevCerts),
    /// Write to sessions, read them, look at them
    #[command(subcommand)]
    Session(session::Session),
    /// Look at the cluster, add nodes, replace and remove them
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Make, list and revoke keys of a cluster
    #[command(subcommand)]
    Key(key::Key),
    /// Tokens for trying things out
    #[command(subcommand)]
    Token(token::Token),
    /// Agents that come with the program
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Put load on a running cluster and measure it
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Show it: three nodes and an agent on this machine, and a page to kill them from
    Demo(demo::Demo),
}

/// Which nodes to talk to.
#[derive(Debug, Args)]
struct Target {
    /// Base URLs of the nodes; when one fails the next one is tried
    #[arg(
        long,
        env = "OUTLIVE_URL",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:4437"
    )]
    url: Vec<String>,
    /// A key or a token of the cluster, where it requires one
    #[arg(long, env = "OUTLIVE_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<String>,
}

impl Target {
    fn client(&self) -> anyhow::Result<Client> {
        let key = key::checked_key(self.key.as_deref())?;
        let client = Client::new(&self.url).and_then(|client| match key {
            Some(key) => client.with_key(key),
            None => Ok(client),
        });
        let client = client.map_err(|why| Misuse(why.to_string()))?;
        Ok(client.with_notice(|text| eprintln!("outlive: {text}")))
    }
}

/// A session's name as it can stand in a URL: line breaks and dots alone would be dropped from it, and
/// another session be meant.
fn session_name(text: &str) -> Result<String, String> {
    let id = crate::ids::SessionId::parse(text).map_err(|why| why.to_string())?;
    match id.name() {
        "." | ".." => Err("a URL cannot name this session".into()),
        name => Ok(name.to_owned()),
    }
}

/// The command was called wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    tls::install();
    let outcome = match Cli::parse().command {
        Command::Serve(command) => serve::run(*command),
        Command::DevCerts(command) => certs::run(&command),
        Command::Session(command) => block_on(session::run(command)),
        Command::Cluster(command) => block_on(cluster::run(command)),
        Command::Key(command) => block_on(key::run(command)),
        Command::Token(command) => token::run(command),
        Command::Agent(command) => block_on(agent::run(command)),
        Command::Bench(command) => block_on(bench::run(command)),
        Command::Demo(command) => block_on(demo::run(command)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(why) if is_broken_pipe(&why) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("outlive: {why:#}");
            if why.is::<Misuse>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

fn is_broken_pipe(why: &anyhow::Error) -> bool {
    why.downcast_ref::<io::Error>().is_some_and(|why| why.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_name_that_a_url_would_change_is_refused() {
        for name in ["", ".", "..", "a\nb", "a\tb", " a"] {
            assert!(session_name(name).is_err(), "{name:?}");
        }
        assert_eq!(session_name("team/chat 1").unwrap(), "team/chat 1");
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
