//! Keeps a link to one peer: dials, and dials again with jittered back-off.
//!
//! Of each pair the lower id dials. The higher one steps in after [`GRACE`] without a link, because
//! a node that joins is not yet known to those it wants to reach.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rand::Rng;
use tokio::time::timeout;

use super::{
    handshake::{self, GreetError, Greeted},
    identity::Identity,
    link,
    peer::Peer,
    quic::Core,
};

const GRACE: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(1);
/// One attempt, from the first packet to the welcome. Lost packets are repeated within it; a peer
/// that starts meanwhile is found by the next attempt.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Certificates name nodes by URI; this only fills the field that TLS wants.
const SERVER_NAME: &str = "outlive-node";

/// Keeps the link for as long as it is polled.
pub(super) async fn keep(core: Arc<Core>, peer: Arc<Peer>) {
    let mut backoff = BACKOFF_FIRST;
    let mut complaint = String::new();
    loop {
        peer.until_linked(false).await;
        if peer.id < core.own.node && timeout(GRACE, peer.until_linked(true)).await.is_ok() {
            continue;
        }
        let Some(addr) = peer.addr() else {
            peer.moved.notified().await;
            continue;
        };
        match attempt(&core, &peer, &addr).await {
            Ok(greeted) => {
                link::start(&core, &peer, greeted);
                backoff = BACKOFF_FIRST;
                complaint.clear();
            }
            Err(error) => {
                peer.counters.failed_attempts.fetch_add(1, Relaxed);
                let reason = match error {
                    GreetError::Failed(reason) => reason,
                    GreetError::Refused(by, reason) => {
                        core.gate.refused(by, reason.clone());
                        format!("refused: {reason}")
                    }
                };
                complain(&core, &peer, &addr, &mut complaint, reason);
            }
        }
        let wait = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
        let _ = timeout(wait, peer.moved.notified()).await;
        backoff = BACKOFF_LAST.min(backoff * 2);
    }
}

/// Warns of the same reason once.
fn complain(core: &Core, peer: &Peer, addr: &str, last: &mut String, reason: String) {
    let node = core.own.node;
    if *last == reason {
        tracing::debug!(%node, peer = %peer.id, addr, reason, "still no link");
    } else {
        tracing::warn!(%node, peer = %peer.id, addr, reason, "no link to the peer; trying on");
        *last = reason;
    }
}

async fn attempt(core: &Core, peer: &Peer, addr: &str) -> Result<Greeted, GreetError> {
    let failed = |text: String| GreetError::Failed(text);
    let dial = async {
        let addr = resolve(core, addr).await.map_err(failed)?;
        let expected = Identity { cluster: core.own.cluster.clone(), node: peer.id };
        let config = core.client_config(expected).map_err(failed)?;
        let endpoint = core.endpoint().ok_or_else(|| failed("shutting down".into()))?;
        let connection = endpoint
            .connect_with(config, addr, SERVER_NAME)
            .map_err(|error| failed(error.to_string()))?
            .await
            .map_err(|error| failed(error.to_string()))?;
        handshake::dialled(connection, &core.own, peer.id, &core.gate).await
    };
    match timeout(ATTEMPT, dial).await {
        Ok(done) => done,
        Err(_) => Err(failed(format!("no answer within {ATTEMPT:?}"))),
    }
}

/// An address of the family that the socket uses.
async fn resolve(core: &Core, addr: &str) -> Result<SocketAddr, String> {
    let found = tokio::net::lookup_host(addr).await.map_err(|error| error.to_string())?;
    let ours = |candidate: &SocketAddr| candidate.is_ipv4() == core.local_addr.is_ipv4();
    found.into_iter().find(ours).ok_or_else(|| format!("{addr} has no address we can reach"))
}
