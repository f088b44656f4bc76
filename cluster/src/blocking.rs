//! Runs what may wait for a disk beside the thread that Raft lives on: heartbeats wait for that one.

use std::io;

/// Runs `work` where blocking is allowed.
///
/// # Errors
/// The process is ending.
#[cfg(not(tokio_unstable))]
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// The deterministic tests have one thread.
#[cfg(tokio_unstable)]
pub(crate) async fn off_thread<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    Ok(work())
}
