//! Carrying to the other nodes messages that were sent here and are not kept: to each one message at a time, so that
//! a node that does not answer holds up no other, and what waits for it is the newest.

use std::collections::HashSet;
use std::sync::Arc;

use cluster::ids::NodeId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::sleep;

use super::{EphemeralMessage, Ephemerals};
use crate::ids::Millis;
use crate::limits::{EPHEMERAL_AGE_MS, EPHEMERAL_CARRIED_BYTES, EPHEMERAL_ROUND, PEER_PATIENCE};
use crate::runtime::directory::Directory;
use crate::runtime::peer::wire::Request;

/// Carries until it is dropped.
pub(in crate::runtime) async fn run(ephemerals: Arc<Ephemerals>, directory: Arc<Directory>) {
    let mut busy: HashSet<NodeId> = HashSet::new();
    let mut calls = FuturesUnordered::new();
    loop {
        for (node, messages) in ephemerals.outgoing(&busy) {
            busy.insert(node);
            let directory = directory.clone();
            calls.push(async move {
                let request = Request::Ephemeral { messages };
                // What did not arrive is not sent again: soon something newer is.
                directory.ask(node, &request, PEER_PATIENCE).await.ok();
                // What gathers meanwhile rides in the next one.
                sleep(EPHEMERAL_ROUND).await;
                node
            });
        }
        tokio::select! {
            () = ephemerals.wake.notified() => {}
            Some(node) = calls.next() => { busy.remove(&node); }
        }
    }
}

impl Ephemerals {
    /// What is to be carried now, to nodes that have nothing to answer.
    fn outgoing(&self, busy: &HashSet<NodeId>) -> Vec<(NodeId, Vec<EphemeralMessage>)> {
        let (mut all, mut dropped) = (Vec::new(), 0);
        let now = Millis(self.host.time().now_or_own_ms());
        let mut state = self.state();
        let free = state.outgoing.iter_mut().filter(|(node, _)| !busy.contains(node));
        for (node, pile) in free {
            while !pile.is_empty() {
                let mut taken = pile.take(EPHEMERAL_CARRIED_BYTES);
                let count = taken.len();
                // What was sent long ago is not true any more.
                taken.retain(|message| now.since(message.at) <= EPHEMERAL_AGE_MS);
                dropped += (count - taken.len()) as u64;
                if !taken.is_empty() {
                    all.push((*node, taken.into_iter().map(Arc::unwrap_or_clone).collect()));
                    break;
                }
            }
        }
        drop(state);
        self.dropped.inc_by(dropped);
        all
    }
}
