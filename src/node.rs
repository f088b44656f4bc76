//! One node: everything that runs in a process, from its start to its end.

use crate::config::ServeConfig;

/// Runs the node until it is asked to stop.
///
/// # Errors
/// Says what kept it from starting or made it stop.
pub fn run(config: ServeConfig) -> anyhow::Result<()> {
    anyhow::bail!("node {} cannot run: the node is not built yet", config.node_id)
}
