//! The agents that a node runs by itself, as its configuration wants them.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{AgentConfig, BodyConfig};
use crate::edge::worker::Frames;
use crate::runtime::agent::body::{Body, Restart};
use crate::runtime::agent::managed::Managed;

/// The bodies, and how many of each.
pub(super) fn bodies(configs: &[AgentConfig]) -> Vec<(Arc<dyn Body>, usize)> {
    configs.iter().map(|config| (body(config), config.capacity)).collect()
}

fn body(config: &AgentConfig) -> Arc<dyn Body> {
    let restart = Restart {
        intensity: config.restart.intensity,
        within: Duration::from_millis(config.restart.within_ms),
    };
    match &config.body {
        BodyConfig::Managed { command, env } => Arc::new(Managed {
            agent: config.name.clone(),
            command: command.clone(),
            env: env.clone(),
            lease_ms: config.lease_ms,
            quiet_ms: config.quiet_ms,
            restart,
            cancel_grace: Duration::from_millis(config.cancel_grace_ms),
            codec: Arc::new(Frames),
        }),
    }
}
