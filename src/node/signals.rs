//! Signals that must not end a node: what they report is found out elsewhere, or is an error of a write.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Lets the process live on when its terminal closes or is signalled to read its configuration again (SIGHUP), and
/// when a file would become larger than its limit allows (SIGXFSZ): then the write fails, and its failure is dealt
/// with as any other. Not inherited by what the node starts. A SIGHUP is logged as long as what comes back lives.
///
/// # Errors
/// The system does not let this process receive its signals.
pub(super) fn survive() -> io::Result<JoinSet<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut hears = JoinSet::new();
    hears.spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(
                "SIGHUP changes nothing; certificates are read again when their files change"
            );
        }
    });
    // Its handler stays, though no task waits for it.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    Ok(hears)
}
