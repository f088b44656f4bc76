//! Whether a node's store has failed: once, for good, for the life of the process.
//!
//! After a write failed it is unknown what the store has, and the engine takes no further one. So the first
//! failure is the node's end: it hands its leaderships over and begins again from its journal, which has
//! everything. Until then all further writes are refused at once.

use std::io;

use tokio::sync::watch;

/// Shared by the store and by whoever must end the node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Fault(watch::Sender<Option<String>>);

impl Default for Fault {
    fn default() -> Fault {
        Fault(watch::Sender::new(None))
    }
}

impl Fault {
    /// The store failed. The first reason is the one that counts.
    pub fn report(&self, what: &str, why: &dyn std::fmt::Display) {
        let first = self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(format!("{what}: {why}"));
            }
            first
        });
        if first {
            tracing::error!(what, %why, "the store failed; the node must begin again");
        }
    }

    /// Why the store failed, if it did.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Returns the reason once the store has failed.
    pub async fn reported(&self) -> String {
        let mut reasons = self.0.subscribe();
        let reason = reasons.wait_for(Option::is_some).await;
        reason.expect("the sender lives in self").clone().expect("it was waited for")
    }

    /// Refuses what must not begin after a failure.
    ///
    /// # Errors
    /// The store has failed; nothing was done.
    pub(super) fn check(&self) -> io::Result<()> {
        match &*self.0.borrow() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!("the store has failed: {reason}"))),
        }
    }
}
