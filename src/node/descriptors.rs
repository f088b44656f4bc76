//! File descriptors: a node takes as many as it is allowed before it begins.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the process's limit of open files to what the system allows it, and logs it.
///
/// Shells start programs with a soft limit that is far below the hard one; a node holds a descriptor for each
/// connection.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        tracing::info!(limit = current, "open files are limited as hard as they may be");
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(from = current, to = maximum, "raised the limit of open files"),
        Err(error) => {
            tracing::warn!(limit = current, %error, "the limit of open files cannot be raised");
        }
    }
}
