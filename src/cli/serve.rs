//! `outlive serve`: one node, alone or in a cluster.

use std::path::PathBuf;

use clap::Args;

use super::{Misuse, parent};
use crate::config::{Given, ServeConfig};
use crate::{node, telemetry};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// File with the same keys (TOML); flags and environment win over it
    #[arg(long, env = "OUTLIVE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    /// Be killed when this process, which started the node, ends
    #[arg(long, value_name = "PID", hide = true)]
    ends_with: Option<u32>,
}

pub(super) fn run(command: Serve) -> anyhow::Result<()> {
    if let Some(parent) = command.ends_with {
        parent::end_with_it(Some(parent))?;
    }
    let names = std::env::vars_os().map(|(name, _)| name);
    let config = ServeConfig::load(command.given, command.config.as_deref(), names)
        .map_err(|why| Misuse(why.to_string()))?;
    telemetry::trace_to_stderr(config.log);
    node::run(config)
}
