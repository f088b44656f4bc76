//! An agent of a tenant: two tenants may use the same name, and neither has turns of the other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AgentName, TenantName};

/// A logical worker, within its tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentId {
    /// None for the default tenant.
    pub tenant: Option<TenantName>,
    /// What its tenant calls it.
    pub name: AgentName,
}

impl From<AgentName> for AgentId {
    /// The agent of this name in the default tenant.
    fn from(name: AgentName) -> AgentId {
        AgentId { tenant: None, name }
    }
}

/// For the logs that operators read.
impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            None => write!(f, "{}", self.name),
            Some(tenant) => write!(f, "{tenant}:{}", self.name),
        }
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({self})")
    }
}
