//! One other node: where it listens, the live link to it, and what was counted.

use std::sync::{Arc, Mutex, atomic::Ordering::Relaxed};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{handshake::CLOSE_REPLACED, link::Link, stats::PeerCounters};
use crate::ids::NodeId;

pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) counters: Arc<PeerCounters>,
    /// Cancelled when the peer is forgotten or the transport shuts down.
    pub(super) stop: CancellationToken,
    /// Wakes the dialler when the address changes.
    pub(super) moved: Notify,
    addr: Mutex<Option<String>>,
    link: watch::Sender<Option<Arc<Link>>>,
}

impl Peer {
    pub(super) fn new(id: NodeId, stop: CancellationToken) -> Peer {
        Peer {
            id,
            counters: Arc::default(),
            stop,
            moved: Notify::new(),
            addr: Mutex::default(),
            link: watch::Sender::new(None),
        }
    }

    pub(super) fn addr(&self) -> Option<String> {
        self.addr.lock().expect("nothing panics while it holds the address").clone()
    }

    pub(super) fn set_addr(&self, addr: String) {
        let mut held = self.addr.lock().expect("nothing panics while it holds the address");
        if held.as_ref() != Some(&addr) {
            *held = Some(addr);
            self.moved.notify_one();
        }
    }

    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone()
    }

    /// Resolves when a link is there (`true`) or none (`false`).
    pub(super) async fn until_linked(&self, linked: bool) {
        let mut link = self.link.subscribe();
        link.wait_for(|link| link.is_some() == linked).await.expect("the peer holds the sender");
    }

    /// Makes `new` the link to this peer, unless the one there is to stay; returns which.
    ///
    /// Both sides come to the same answer: a restarted process replaces its past; of two links
    /// between the same processes the one that the lower id dialled stays, the newer if it dialled
    /// both.
    pub(super) fn install(&self, new: &Arc<Link>, local: NodeId) -> bool {
        let mut replaced = None;
        let installed = self.link.send_if_modified(|link| {
            if self.stop.is_cancelled() {
                return false;
            }
            if let Some(old) = link
                && old.instance == new.instance
                && old.dialler != new.dialler
                && new.dialler != local.min(self.id)
            {
                return false;
            }
            replaced = link.replace(new.clone());
            true
        });
        if installed {
            self.counters.links.fetch_add(1, Relaxed);
        }
        if let Some(old) = replaced {
            old.close(CLOSE_REPLACED, "replaced by a newer link");
        }
        installed
    }

    /// Forgets `old`, unless another link has taken its place.
    pub(super) fn uninstall(&self, old: &Arc<Link>) {
        self.link.send_if_modified(|link| {
            let same = link.as_ref().is_some_and(|link| Arc::ptr_eq(link, old));
            if same {
                *link = None;
            }
            same
        });
    }
}
