//! What was seen of one incarnation of one session.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::turn::Fact;
use super::index::{ValueId, WriteId};

/// When a write may have taken effect in one incarnation.
#[derive(Clone, Copy)]
pub struct Span {
    pub inv: u64,
    pub ret: u64,
    pub line: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Ack,
    Read,
    Deliver,
    Final,
}

/// A client was shown that `value` stands at `serial`.
#[derive(Clone, Copy)]
pub struct Sighting<'h> {
    pub fact: Option<&'h Fact>,
    pub serial: u64,
    pub value: ValueId,
    pub chain: Option<u64>,
    pub at: u64,
    pub line: usize,
    pub source: Source,
}

/// One replica's log after the run: all its final pages together.
pub struct Replica {
    pub first: u64,
    pub tail: u64,
    pub line: usize,
    pub serials: BTreeSet<u64>,
}

/// The final log: the union of what the replicas gave.
#[derive(Default)]
pub struct Log {
    pub first: u64,
    pub tail: u64,
    pub line: usize,
    pub values: HashMap<u64, ValueId>,
}

/// What an event of the final log records of a turn.
#[derive(Clone, Copy)]
pub struct Recorded<'h> {
    pub serial: u64,
    pub fact: &'h Fact,
    pub value: ValueId,
    /// Where it was seen first.
    pub line: usize,
}

/// Everything seen of one incarnation of one session.
pub struct Book<'h> {
    pub session: &'h str,
    pub incarnation: u32,
    pub sightings: Vec<Sighting<'h>>,
    /// Calls that were answered in this incarnation; places in [`super::index::Index::ops`].
    pub answered: Vec<usize>,
    pub replicas: BTreeMap<&'h str, Replica>,
    /// `None` when the final log was not read: the incarnation was deleted, or the run is blind.
    pub log: Option<Log>,
    /// Those events of the final log that are about turns, in its order.
    pub received: Vec<Recorded<'h>>,
    /// Where each value was seen first.
    pub place: HashMap<ValueId, u64>,
    /// Writes of which something was seen here.
    pub writes: Vec<WriteId>,
    /// The greatest serial seen.
    pub last_seen: u64,
    pub(super) growth: Vec<(u64, u64)>,
    pub(super) trims: Vec<(u64, u64)>,
    pub(super) keep: Option<u64>,
}

impl Book<'_> {
    /// The greatest `first` that may be returned at the time `at`: what a trim requested before then, or
    /// automatic retention over what may have been in the log by then.
    pub fn trimmable(&self, at: u64) -> u64 {
        let request = self.trims.iter().filter(|(inv, _)| *inv <= at).map(|(_, before)| *before);
        let grown = self.growth.partition_point(|(inv, _)| *inv <= at).checked_sub(1);
        let kept = match (self.keep, grown) {
            (Some(keep), Some(last)) => (self.growth[last].1 + 1).saturating_sub(keep),
            _ => 0,
        };
        request.max().unwrap_or(1).max(kept).max(1)
    }
}
