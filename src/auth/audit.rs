//! Who did what: lines of the log whose target is `audit`, for those who look into it later.

use super::Caller;

/// Writes down that `caller` did `what` to `to`: a change of the cluster or of its keys, a takeover, a delete.
pub fn audit(caller: &Caller, what: &'static str, to: &str) {
    tracing::info!(target: "audit", by = caller.name(), tenant = tenant_of(caller), what, to, "done");
}

fn tenant_of(caller: &Caller) -> Option<&str> {
    caller.tenant().map(|tenant| tenant.as_str())
}

/// Records that a caller was not let in.
pub fn turned_away(route: &'static str, code: &'static str) {
    // As often as a caller tries; whoever wants each of them sets this level.
    tracing::debug!(target: "audit", route, code, "turned away");
}
