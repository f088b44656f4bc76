//! `outlive agent`: agents that come with the program.

use clap::{Args, Subcommand};

use super::parent;
use tools::demo_agent::{self, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Tell stories, word by word, on the lines of a worker: for `outlive serve --agent`
    ///
    /// It needs no key, and goes on where an earlier one stopped. Words in the input that begin with a slash are
    /// played once: /words N, /every MS, /tool SECONDS, /ask, /wait, /stall, /deaf, /fail, /exit.
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Pause between two words
    #[arg(long, value_name = "MS", default_value_t = 60)]
    every_ms: u64,
    /// Words of a story
    #[arg(long, value_name = "N", default_value_t = 400)]
    words: u64,
    /// Stories that run at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    capacity: usize,
    /// How long it may be silent before its turns go to others [default: the node's]
    #[arg(long, value_name = "MS")]
    lease_ms: Option<u64>,
    /// How long it may live without progress [default: the node's]
    #[arg(long, value_name = "MS")]
    progress_timeout_ms: Option<u64>,
}

pub(super) async fn run(command: Agent) -> anyhow::Result<()> {
    // One that is stopped by a signal sees no end of its standard input. Where this cannot be had, the others do.
    let _ = parent::end_with_it(None);
    let Agent::Demo(Demo { every_ms, words, capacity, lease_ms, progress_timeout_ms }) = command;
    demo_agent::run(Settings { every_ms, words, capacity, lease_ms, progress_timeout_ms }).await
}
