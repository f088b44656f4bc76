//! The variables of the environment that a node reads: one that looks like them and is none is an error.

use std::ffi::OsString;

use super::{BadServeConfig, bad, service};

/// Variables of the environment that a node reads.
pub(super) const VARIABLES: &[&str] = &[
    "OUTLIVE_CONFIG",
    "OUTLIVE_NODE_ID",
    "OUTLIVE_LISTEN",
    "OUTLIVE_PEER_LISTEN",
    "OUTLIVE_DATA_DIR",
    "OUTLIVE_CLUSTER",
    "OUTLIVE_MEMBER",
    "OUTLIVE_JOIN",
    "OUTLIVE_TLS_DIR",
    "OUTLIVE_GROUPS",
    "OUTLIVE_HEARTBEAT_MS",
    "OUTLIVE_ELECTION_MIN_MS",
    "OUTLIVE_ELECTION_MAX_MS",
    "OUTLIVE_CHECKPOINT_ENTRIES",
    "OUTLIVE_LONG_POLL_MS",
    "OUTLIVE_ERASE_WITHIN_MS",
    "OUTLIVE_FILE_KEEP_MS",
    "OUTLIVE_WEBHOOK_REACH",
    "OUTLIVE_ALLOW_HOST",
    "OUTLIVE_ALLOW_ORIGIN",
    "OUTLIVE_PUBLIC_URL",
    "OUTLIVE_TRUST_PROXY",
    "OUTLIVE_ADMIN_LISTEN",
    "OUTLIVE_ROOT_KEY",
    "OUTLIVE_TLS_CERT",
    "OUTLIVE_TLS_KEY",
    "OUTLIVE_INSECURE",
    "OUTLIVE_LOG",
    "OUTLIVE_AGENT",
];
/// Variables that are for other commands and for scripts, and what a node passes to the process that replaces it.
const OTHER_VARIABLES: &[&str] = &[
    "OUTLIVE_URL",
    "OUTLIVE_KEY",
    "OUTLIVE_CLUSTER_DIR",
    "OUTLIVE_BASE_PORT",
    "OUTLIVE_STORE_HAD_FAILED",
];

/// Refuses an unknown variable.
pub(super) fn check(names: impl Iterator<Item = OsString>) -> Result<(), BadServeConfig> {
    let names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    for name in &names {
        let known = VARIABLES.contains(&&**name) || OTHER_VARIABLES.contains(&&**name);
        if name.starts_with("OUTLIVE_") && !known && !service::is_of_service(name, &names) {
            return bad(format!("the environment variable {name} is not known"));
        }
    }
    Ok(())
}
