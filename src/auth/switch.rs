//! Whether a node requires credentials.
//!
//! It does where it was given a root key or an issuer, and, once its cluster has keys, where it was given neither:
//! whoever forgot to configure a node must not open what the others keep closed. A file in the node's directory
//! remembers that, so that a start without a configuration is closed from its first request on.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

/// Name of the file.
const MARK: &str = "asks-who";
const WHY: &str = "This node asks for keys. Start it with root_key or issuers; or with insecure, to ask no more.\n";

/// See above.
pub(super) struct Switch {
    on: AtomicBool,
    /// Cancelled when it is turned on while the node serves.
    closed: Arc<CancellationToken>,
    /// No credentials are required, whatever the cluster keeps.
    insecure: bool,
    mark: PathBuf,
}

impl Switch {
    /// How a node begins that was `given` what it checks credentials with, or not.
    ///
    /// # Errors
    /// The node's directory cannot be used.
    pub(super) fn new(given: bool, insecure: bool, dir: &Path) -> anyhow::Result<Switch> {
        let insecure = insecure && !given;
        let switch =
            Switch { on: given.into(), closed: Arc::default(), insecure, mark: dir.join(MARK) };
        let looked = || format!("look for {}", switch.mark.display());
        if given {
            switch.remember()?;
        } else if insecure {
            match std::fs::remove_file(&switch.mark) {
                Err(why) if why.kind() != ErrorKind::NotFound => Err(why).with_context(looked)?,
                _ => {}
            }
        } else if switch.mark.try_exists().with_context(looked)? {
            switch.turn_on("it did so before");
        }
        Ok(switch)
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Cancelled when callers that were let in without a credential are to go.
    pub(super) fn closed(&self) -> &Arc<CancellationToken> {
        &self.closed
    }

    /// Whether keys of the cluster turn it on.
    pub(super) fn waits_for_keys(&self) -> bool {
        !self.insecure && !self.is_on()
    }

    /// The cluster has keys.
    pub(super) fn found_keys(&self) {
        self.turn_on("its cluster has keys");
        self.closed.cancel();
        if let Err(why) = self.remember() {
            tracing::error!(%why, "the next start of this node would ask nobody who they are at first");
        }
    }

    fn turn_on(&self, why: &str) {
        self.on.store(true, Ordering::Release);
        tracing::warn!(
            "this node was given no root_key and no issuers, and asks for keys all the same: {why}; insecure turns \
             that off"
        );
    }

    fn remember(&self) -> anyhow::Result<()> {
        if std::fs::read(&self.mark).is_ok_and(|found| found == WHY.as_bytes()) {
            return Ok(());
        }
        let written = File::create(&self.mark).and_then(|mut file| {
            file.write_all(WHY.as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| format!("write {}", self.mark.display()))
    }
}

#[cfg(test)]
mod tests {
    use session::Right;

    use super::super::{Caller, Denial, Ended};
    use super::*;

    #[test]
    fn a_node_that_asked_once_asks_until_it_is_told_not_to() {
        let dir = tempfile::tempdir().unwrap();
        let start = |given, insecure| Switch::new(given, insecure, dir.path()).unwrap();
        assert!(!start(false, false).is_on());
        assert!(start(true, false).is_on());
        assert!(start(true, true).is_on(), "insecure is about where a node listens");
        assert!(start(false, false).is_on());
        let open = start(false, true);
        assert!(!open.is_on() && !open.waits_for_keys());
        let closed = start(false, false);
        assert!(!closed.is_on() && closed.waits_for_keys());
        closed.found_keys();
        assert!(closed.is_on() && start(false, false).is_on());
    }

    #[tokio::test]
    async fn whoever_came_in_before_a_node_asked_goes() {
        let dir = tempfile::tempdir().unwrap();
        let switch = Switch::new(false, false, dir.path()).unwrap();
        let caller = Caller::anybody_until(switch.closed());
        let mut ending = caller.ending();
        assert_eq!(caller.may(Right::Read, None), Ok(()));
        switch.found_keys();
        assert_eq!(ending.came().await, Ended::Closed);
        assert_eq!(caller.may(Right::Read, None), Err(Denial::Ended(Ended::Closed)));
    }
}
