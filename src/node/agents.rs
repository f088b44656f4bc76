//! The agents that a node runs by itself, as its configuration wants them.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{AgentConfig, BodyConfig};
use crate::edge::push::Endpoint;
use crate::edge::worker::Frames;
use crate::ids::{AgentId, TenantName};
use crate::limits;
use crate::runtime::agent::body::{Body, Restart};
use crate::runtime::agent::child_process::ProcessAgent;

/// The bodies, and how many of each: an agent that serves several tenants has bodies of its own for each.
pub(super) fn bodies(configs: &[AgentConfig]) -> Vec<(Arc<dyn Body>, usize)> {
    let count = |config: &AgentConfig| match config.body {
        BodyConfig::Process { .. } => config.capacity,
        // One link takes as many turns at once.
        BodyConfig::Endpoint { .. } => 1,
    };
    let each = |config: &AgentConfig| -> Vec<_> {
        let tenants = config.tenants.iter();
        tenants.map(|tenant| (body(config, tenant.as_ref()), count(config))).collect()
    };
    configs.iter().flat_map(each).collect()
}

fn body(config: &AgentConfig, tenant: Option<&TenantName>) -> Arc<dyn Body> {
    let agent = AgentId { tenant: tenant.cloned(), name: config.name.clone() };
    let restart = Restart {
        intensity: config.restart.intensity,
        within: Duration::from_millis(config.restart.within_ms),
    };
    match &config.body {
        BodyConfig::Process { command, env, pass_env } => Arc::new(ProcessAgent {
            agent: agent.clone(),
            command: command.clone(),
            env: env.clone(),
            pass_env: pass_env.clone(),
            lease_ms: config.lease_ms,
            progress_timeout_ms: config.progress_timeout_ms,
            restart,
            cancel_grace: Duration::from_millis(config.cancel_grace_ms),
            codec: Arc::new(Frames { tenant: tenant.cloned() }),
        }),
        BodyConfig::Endpoint {
            url,
            protocol,
            headers,
            signing,
            model,
            max_tokens,
            context_tokens,
            call_ms,
        } => Arc::new(Endpoint {
            agent: agent.clone(),
            url: url.clone(),
            protocol: *protocol,
            headers: headers.clone(),
            signing: signing.clone(),
            capacity: config.capacity,
            progress_timeout_ms: config.progress_timeout_ms.unwrap_or(limits::PROGRESS_TIMEOUT_MS),
            restart,
            call_limit: call_ms.map(Duration::from_millis),
            model: model.clone(),
            max_tokens: *max_tokens,
            context_tokens: *context_tokens,
        }),
    }
}
