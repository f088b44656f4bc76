//! A node that must not go on begins again in its own process: the same program, arguments and process id.
//!
//! What a failed store left in memory is worth nothing, and what it has on disk is no more than a head start:
//! the journal has everything. So this is what `kill -9` and a new start would do, without a supervisor.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Set in a process that replaced one whose store had failed.
const FAILED: &str = "OUTLIVE_STORE_HAD_FAILED";

/// Whether this process replaced one whose store had failed.
pub(super) fn follows_a_failure() -> bool {
    std::env::var_os(FAILED).is_some()
}

/// Replaces this process by a new one of the same program. All threads, sockets and files of this one end.
///
/// Returns only when that failed.
pub(super) fn in_place() -> std::io::Error {
    // Also where a newer program lies at the path from which this one was started.
    let program = "/proc/self/exe";
    let mut command = Command::new(program);
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(FAILED, "1").exec()
}
