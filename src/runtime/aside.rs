//! Work that may wait for a disk, done by an actor without holding up the others.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` where it stands, and lets another thread take over what else this one would have done.
///
/// A runtime with one thread alone has no other to take over: there it is a plain call.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
