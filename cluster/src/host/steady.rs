//! Which peers are steady enough to be given leads back: a lead that moves costs its sessions a moment, and
//! one that goes to a node that comes and goes moves again and again.
//!
//! A peer that was in trouble must be without it for a while; one that fails again soon after it was trusted
//! must for twice as long.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::{GroupId, NodeId};
use crate::limits::{STEADY_MAX, STEADY_MIN};

/// What one node has seen of its peers.
#[derive(Default)]
pub(super) struct Steadiness {
    peers: BTreeMap<NodeId, Seen>,
    /// Who led each group when it was last looked at, as far as was known.
    leaders: BTreeMap<GroupId, NodeId>,
}

struct Seen {
    /// When it was last in trouble.
    trouble: Option<Instant>,
    /// How long it must be without trouble.
    patience: Duration,
    troubled: bool,
}

impl Steadiness {
    /// Takes note of how a peer is now. Trouble counts from when the peer was first seen without.
    pub(super) fn look(&mut self, peer: NodeId, troubled: bool, now: Instant) {
        let Some(seen) = self.peers.get_mut(&peer) else {
            if !troubled {
                let seen = Seen { trouble: None, patience: STEADY_MIN, troubled };
                self.peers.insert(peer, seen);
            }
            return;
        };
        if troubled && !seen.troubled {
            let calm = seen.trouble.map(|last| now.duration_since(last));
            seen.patience = match calm {
                // It had not been trusted again yet.
                Some(calm) if calm < seen.patience => seen.patience,
                Some(calm) if calm < seen.patience * 4 => (seen.patience * 2).min(STEADY_MAX),
                _ => STEADY_MIN,
            };
        }
        seen.troubled = troubled;
        if troubled {
            seen.trouble = Some(now);
        }
    }

    /// Whether leads may go to this peer.
    pub(super) fn is_steady(&self, peer: NodeId, now: Instant) -> bool {
        let calm =
            |seen: &Seen| seen.trouble.is_none_or(|last| seen.patience <= now.duration_since(last));
        self.peers.get(&peer).is_some_and(|seen| !seen.troubled && calm(seen))
    }

    /// Takes note of who leads a group, and returns who led it before, if that is another node.
    pub(super) fn leads(&mut self, group: GroupId, leader: NodeId) -> Option<NodeId> {
        self.leaders.insert(group, leader).filter(|before| *before != leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    /// Plays (second, troubled) and returns at which seconds from 0 to `until` the peer is steady.
    fn steady(seen: &[(u64, bool)], until: u64) -> Vec<u64> {
        let (mut steadiness, begin) = (Steadiness::default(), Instant::now());
        let at = |second: u64| begin + Duration::from_secs(second);
        let mut pending = seen.iter().peekable();
        let mut troubled = true;
        let seconds = (0..until).filter(|second| {
            while let Some((_, now)) = pending.next_if(|(at, _)| at <= second) {
                troubled = *now;
            }
            steadiness.look(PEER, troubled, at(*second));
            steadiness.is_steady(PEER, at(*second))
        });
        seconds.collect()
    }

    fn range(seconds: std::ops::Range<u64>) -> Vec<u64> {
        seconds.collect()
    }

    #[test]
    fn a_peer_is_trusted_when_it_is_first_seen() {
        assert_eq!(steady(&[(3, false)], 10), range(3..10));
    }

    #[test]
    fn a_peer_that_was_in_trouble_must_be_without_for_a_while() {
        let wait = STEADY_MIN.as_secs();
        let wanted = [range(0..5), range(5 + wait..40)].concat();
        assert_eq!(steady(&[(0, false), (5, true), (6, false)], 40), wanted);
    }

    #[test]
    fn a_peer_that_comes_and_goes_is_not_trusted_in_between() {
        let flaps: Vec<(u64, bool)> = (0..20).map(|n| (2 * n, n % 2 == 1)).collect();
        // Trusted at first, in trouble from second 2 to 39, and then without.
        let wanted = [range(0..2), range(39 + STEADY_MIN.as_secs()..100)].concat();
        assert_eq!(steady(&[flaps, vec![(40, false)]].concat(), 100), wanted);
    }

    #[test]
    fn each_failure_soon_after_it_was_trusted_doubles_the_wait() {
        let wait = STEADY_MIN.as_secs();
        let (first, second) = (10 + wait, 10 + wait + 5 + 2 * wait);
        let seen = [(0, false), (10, true), (11, false), (first + 5, true), (first + 6, false)];
        let wanted = [range(0..10), range(first..first + 5), range(second..100)].concat();
        assert_eq!(steady(&seen, 100), wanted);
    }
}
