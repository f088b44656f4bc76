//! `outlive serve`: one node, alone or in a cluster.

use std::path::PathBuf;

use clap::Args;

use super::Misuse;
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
        end_with(parent)?;
    }
    let names = std::env::vars_os().map(|(name, _)| name);
    let config = ServeConfig::load(command.given, command.config.as_deref(), names)
        .map_err(|why| Misuse(why.to_string()))?;
    telemetry::trace_to_stderr(config.log);
    node::run(config)
}

/// Has the kernel kill this process when the one that started it ends, however that happens.
#[cfg(target_os = "linux")]
fn end_with(parent: u32) -> anyhow::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before it was watched.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    anyhow::ensure!(now == Some(parent), "process {parent} did not start this one, or has ended");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_with(_parent: u32) -> anyhow::Result<()> {
    Err(Misuse("--ends-with needs Linux".to_owned()).into())
}
