//! Warns when peers are too far for the timers: nothing else shows why a cluster elects and elects.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Host;
use crate::ids::NodeId;
use crate::limits::{FAR_PATIENCE_ROUNDS, FAR_REPEAT};

/// The warnings about far peers.
#[derive(Default)]
pub(super) struct Far {
    peers: BTreeMap<NodeId, Warning>,
}

#[derive(Default)]
struct Warning {
    /// Rounds in a row in which the peer was too far: a busy moment is none of its distance.
    rounds: u32,
    at: Option<Instant>,
}

impl Far {
    /// Looks at the round trips, once per round of the reconciler.
    pub(super) fn watch(&mut self, host: &Host) {
        let far: BTreeMap<_, _> = host.too_far().into_iter().collect();
        for (peer, warning) in &mut self.peers {
            if !far.contains_key(peer) {
                warning.rounds = 0;
            }
        }
        for (peer, round_trip) in far {
            let warning = self.peers.entry(peer).or_default();
            warning.rounds += 1;
            let is_due = warning.at.is_none_or(|at| FAR_REPEAT <= at.elapsed());
            if FAR_PATIENCE_ROUNDS <= warning.rounds && is_due {
                warning.at = Some(Instant::now());
                let heartbeat_ms = host.parts.timers.heartbeat_ms;
                tracing::warn!(
                    %peer, ?round_trip, heartbeat_ms,
                    "the peer is too far for these timers: elections fail and reads are refused; \
                     raise heartbeat_ms above the round trip, and the election times with it"
                );
            }
        }
    }
}
