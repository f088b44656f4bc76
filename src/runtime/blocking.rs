//! Runs what may wait for a disk beside the threads that sessions live on.

use std::io;

/// Runs `work` where blocking is allowed.
///
/// # Errors
/// The process is ending, or the work panicked.
#[cfg(not(tokio_unstable))]
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// The simulation has one thread, so that the same seed gives the same run.
#[cfg(tokio_unstable)]
pub(super) async fn off_thread<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    Ok(work())
}
