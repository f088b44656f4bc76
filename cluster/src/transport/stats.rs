//! What a transport has counted: per peer and lane, since the peer was first known.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{LANES, Lane};
use crate::ids::NodeId;

/// Counts of one lane to and from one peer, over all links to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStats {
    /// Which lane.
    pub lane: Lane,
    /// Frames handed to the link.
    pub frames_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Frames that came whole.
    pub frames_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
}

/// What this node knows about the link to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkStats {
    /// The peer.
    pub peer: NodeId,
    /// Whether a link to it lives now.
    pub connected: bool,
    /// One entry for each lane.
    pub lanes: Vec<LaneStats>,
    /// Estimated round trip of the live link.
    pub rtt: Option<Duration>,
    /// Packets of the live link that were sent.
    pub sent_packets: u64,
    /// Those that were lost.
    pub lost_packets: u64,
    /// Links to this peer after the first.
    pub reconnects: u64,
    /// Attempts of ours that made no link.
    pub failed_attempts: u64,
}

#[derive(Default)]
pub(super) struct LaneCounters {
    pub(super) frames_sent: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) frames_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
}

impl LaneCounters {
    pub(super) fn sent(&self, frames: u64, bytes: u64) {
        self.frames_sent.fetch_add(frames, Relaxed);
        self.bytes_sent.fetch_add(bytes, Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.frames_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes, Relaxed);
    }
}

#[derive(Default)]
pub(super) struct PeerCounters {
    pub(super) lanes: [LaneCounters; LANES],
    pub(super) links: AtomicU64,
    pub(super) failed_attempts: AtomicU64,
}

impl PeerCounters {
    pub(super) fn stats(&self, peer: NodeId, link: Option<&quinn::Connection>) -> LinkStats {
        let path = link.map(|link| link.stats().path);
        LinkStats {
            peer,
            connected: link.is_some(),
            lanes: Lane::all()
                .into_iter()
                .zip(&self.lanes)
                .map(|(lane, counters)| LaneStats {
                    lane,
                    frames_sent: counters.frames_sent.load(Relaxed),
                    bytes_sent: counters.bytes_sent.load(Relaxed),
                    frames_received: counters.frames_received.load(Relaxed),
                    bytes_received: counters.bytes_received.load(Relaxed),
                })
                .collect(),
            rtt: path.map(|path| path.rtt),
            sent_packets: path.map_or(0, |path| path.sent_packets),
            lost_packets: path.map_or(0, |path| path.lost_packets),
            reconnects: self.links.load(Relaxed).saturating_sub(1),
            failed_attempts: self.failed_attempts.load(Relaxed),
        }
    }
}
