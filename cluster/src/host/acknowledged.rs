//! What this node's peers have acknowledged to it: how far each of them had durably come in each group.
//!
//! A node that comes back with less has lost what others count on: entries that are committed because it
//! has them, votes that it may not give again. It is refused, because no later look can find what is wrong
//! then. The memory is written now and then and without a sync: one that is older than the truth refuses
//! less, never too much.
//!
//! A node seals what it announces of itself with a secret of its disk. So a peer that refuses it can show the
//! node its own announcement, and need not be believed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::home;
use crate::ids::{EntryId, GroupId, NodeId};
use crate::raft::{Ballot, Position};
use crate::seal::{Seal, Sealer};

const VERSION: u8 = 1;
const FILE: &str = "acknowledged";

/// What a node announces of itself to each peer, before anything else and then whenever it has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// The random id of its disk.
    pub(super) store: u128,
    /// See [`super::Host::boot`].
    pub(super) boot: u64,
    /// Counts the announcements of this start.
    pub(super) round: u64,
    /// Whether the peer has not let it in since it started: it has acknowledged nothing to it in that time.
    pub(super) begins: bool,
    /// Everything that is in its journal; durable.
    pub(super) positions: BTreeMap<GroupId, Position>,
    /// The seals of the parts of each position; see [`parts`].
    pub(super) seals: BTreeMap<GroupId, Seals>,
}

type Seals = [Seal; PARTS];

/// What never becomes less: a vote, and entries that are committed. Each is sealed by itself, since the
/// furthest of both may be from different times.
const PARTS: usize = 2;

fn parts(position: &Position) -> [Position; PARTS] {
    let Position { vote, committed, .. } = *position;
    [Position { vote, ..Position::default() }, Position { committed, ..Position::default() }]
}

/// Seals what a node announces of itself.
pub(super) fn seal(
    sealer: &Sealer,
    positions: &BTreeMap<GroupId, Position>,
) -> BTreeMap<GroupId, Seals> {
    let seals = |(group, position): (&GroupId, &Position)| {
        (*group, parts(position).map(|part| sealer.seal(&sealed(*group, part))))
    };
    positions.iter().map(seals).collect()
}

fn sealed(group: GroupId, part: Position) -> Vec<u8> {
    codec::encode(VERSION, &(group, part))
}

/// A peer's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Nothing is missing.
    Complete,
    /// The node has less than it acknowledged, and takes no part with this peer.
    Behind { reason: String, proof: Option<Proof> },
}

/// What a node announced of itself and does not hold any more, under its own seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    group: GroupId,
    /// Of one part only.
    claimed: Position,
    seal: Seal,
}

impl Proof {
    /// Whether the node itself, whose seal this must be, announced it and has less now.
    pub(super) fn holds(&self, sealer: &Sealer, now: &BTreeMap<GroupId, Position>) -> bool {
        let now = now.get(&self.group).copied().unwrap_or_default();
        let is_ours = sealer.is_ours(&sealed(self.group, self.claimed), &self.seal);
        is_ours && now.lacks(&self.claimed).is_some()
    }
}

/// What this node as a leader knows of how far a peer has the log of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched {
    pub(super) term: u64,
    /// This node.
    pub(super) leader: NodeId,
    pub(super) index: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    store: u128,
    positions: BTreeMap<GroupId, (Position, Seals)>,
}

/// The memory of one node.
pub(super) struct Acknowledged {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    known: BTreeMap<NodeId, Known>,
    /// The latest announcement of each peer: its start, and its number.
    received: BTreeMap<NodeId, (u64, u64)>,
    /// The start of each peer that was refused last.
    refused: BTreeMap<NodeId, u64>,
    changed: bool,
}

impl Acknowledged {
    /// Takes up what `dir` holds. A memory that is damaged is lost, which costs no more than its help.
    pub(super) fn open(dir: PathBuf) -> Self {
        let known = home::read_kept(&dir, FILE).unwrap_or_else(|error| {
            tracing::warn!(%error, "what peers acknowledged is forgotten");
            None
        });
        let known = known.unwrap_or_default();
        let inner =
            Inner { known, received: BTreeMap::new(), refused: BTreeMap::new(), changed: false };
        Acknowledged { dir, inner: Mutex::new(inner) }
    }

    /// Compares what `from` has with what it acknowledged, and remembers it. Also returns whether this is the
    /// first announcement of its start.
    pub(super) fn judge(
        &self,
        from: NodeId,
        announcement: &Announcement,
        matched: impl Fn(GroupId) -> Option<Matched>,
    ) -> (Verdict, bool) {
        let Announcement { store, boot, round, begins, positions, seals } = announcement;
        let mut inner = self.lock();
        let received = inner.received.get(&from).copied();
        let started = received.is_none_or(|(earlier, _)| earlier != *boot);
        if !started && received.is_some_and(|(_, latest)| *round <= latest) {
            // An older one was overtaken.
            return (Verdict::Complete, false);
        }
        let known = inner.known.get(&from).filter(|known| known.store == *store);
        // What was acknowledged since its start may be newer than what it announces.
        let matched = |group| begins.then(|| matched(group)).flatten();
        if let Some((missing, proof)) = known.and_then(|known| missing(known, positions, matched)) {
            let reason = sentence(from, &missing);
            if inner.refused.insert(from, *boot) != Some(*boot) {
                tracing::error!(peer = %from, reason, "a peer is refused");
            }
            return (Verdict::Behind { reason, proof }, started);
        }
        inner.received.insert(from, (*boot, *round));
        let known = inner.known.entry(from).or_default();
        if known.store != *store {
            // Which disk a node may have is decided when it links up.
            *known = Known { store: *store, positions: BTreeMap::new() };
        }
        let mut changed = false;
        for (group, position) in positions {
            let (earlier, kept) = known.positions.entry(*group).or_default();
            let furthest = earlier.furthest(*position);
            let given = seals.get(group).copied().unwrap_or_default();
            for (part, (before, after)) in parts(earlier).iter().zip(parts(&furthest)).enumerate() {
                if *before != after {
                    kept[part] = given[part];
                    changed = true;
                }
            }
            *earlier = furthest;
        }
        inner.changed |= changed;
        (Verdict::Complete, started)
    }

    /// The last known start of each peer.
    pub(super) fn boots(&self) -> Vec<(NodeId, u64)> {
        self.lock().received.iter().map(|(node, (boot, _))| (*node, *boot)).collect()
    }

    /// The last entry that a peer is known to hold for committed.
    pub(super) fn committed(&self, by: NodeId, group: GroupId) -> Option<EntryId> {
        self.lock().known.get(&by)?.positions.get(&group)?.0.committed
    }

    /// Writes the memory if it has changed. Blocks for a moment; nothing is synced.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if !std::mem::take(&mut inner.changed) {
            return Ok(());
        }
        let known = inner.known.clone();
        drop(inner);
        home::write_lazily(&self.dir, FILE, &known)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic happens under this lock")
    }
}

fn missing(
    known: &Known,
    positions: &BTreeMap<GroupId, Position>,
    matched: impl Fn(GroupId) -> Option<Matched>,
) -> Option<(String, Option<Proof>)> {
    known.positions.iter().find_map(|(group, (earlier, seals))| {
        let now = positions.get(group).copied().unwrap_or_default();
        let lacked = parts(earlier).into_iter().zip(seals).find_map(|(claimed, seal)| {
            Some((now.lacks(&claimed)?, Some(Proof { group: *group, claimed, seal: *seal })))
        });
        // What was acknowledged to a leader alone is under no seal.
        let lacked = lacked.or_else(|| Some((unmatched(&now, matched(*group)?)?, None)));
        lacked.map(|(what, proof)| (format!("in {group} {what}"), proof))
    })
}

/// What a member lacks of what it acknowledged to the leader that judges it.
fn unmatched(now: &Position, Matched { term, leader, index }: Matched) -> Option<String> {
    let ballot = Some(Ballot { term, node: leader.0, won: true });
    let last = now.last.map(|id| id.index);
    let forgot = now.vote < ballot || (now.vote == ballot && last < Some(index));
    forgot.then(|| {
        let has = last.map_or_else(|| "none".into(), |last| last.to_string());
        format!("it acknowledged entries up to {index} in term {term}, and has them up to {has}")
    })
}

fn sentence(node: NodeId, missing: &str) -> String {
    format!(
        "node {node} came back with less than it had acknowledged: {missing}. Its disk was rolled back to an \
         older copy; do not start it with this data directory again: wipe the directory and replace the node"
    )
}

impl Announcement {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(VERSION, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(VERSION, bytes)
    }
}

impl Verdict {
    pub(super) fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(VERSION, bytes)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const PEER: NodeId = NodeId(2);
    const GROUP: GroupId = GroupId(1);
    const SECRET: u128 = 11;

    fn position(vote: u64, committed: u64, last: u64) -> Position {
        let id = |index| Some(EntryId { term: vote, node: 1, index });
        let vote = Some(Ballot { term: vote, node: 1, won: true });
        Position { vote, committed: id(committed), last: id(last) }
    }

    fn says(boot: u64, round: u64, position: Position) -> Announcement {
        let positions = BTreeMap::from([(GROUP, position)]);
        let seals = seal(&Sealer::new(SECRET), &positions);
        Announcement { store: 7, boot, round, begins: round == 1, positions, seals }
    }

    fn judge(memory: &Acknowledged, announcement: &Announcement) -> Result<(), String> {
        judge_led(memory, announcement, None)
    }

    fn judge_led(
        memory: &Acknowledged,
        announcement: &Announcement,
        matched: Option<Matched>,
    ) -> Result<(), String> {
        match memory.judge(PEER, announcement, |_| matched).0 {
            Verdict::Complete => Ok(()),
            Verdict::Behind { reason, .. } => Err(reason),
        }
    }

    #[test]
    fn what_was_committed_and_voted_must_be_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        judge(&memory, &says(1, 1, position(3, 10, 12))).unwrap();
        // What was not committed may have been overwritten.
        judge(&memory, &says(2, 1, position(3, 10, 10))).unwrap();
        let less = judge(&memory, &says(3, 1, position(3, 9, 9))).unwrap_err();
        expect!["node n2 came back with less than it had acknowledged: in g1 it had entries up to 3-n1-10 committed, and has them up to 3-n1-9. Its disk was rolled back to an older copy; do not start it with this data directory again: wipe the directory and replace the node"].assert_eq(&less);
        let forgot =
            Position { vote: Some(Ballot { term: 2, node: 1, won: true }), ..position(3, 10, 10) };
        let less = judge(&memory, &says(4, 1, forgot)).unwrap_err();
        assert!(less.contains("it had voted in term 3, and knows of term 2"), "{less}");
        let nothing = Announcement { positions: BTreeMap::new(), ..says(5, 1, position(3, 9, 9)) };
        assert!(judge(&memory, &nothing).is_err());
        // A refusal changes nothing in the memory, and all of it survives a restart.
        memory.save().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        assert!(judge(&memory, &says(6, 1, position(3, 9, 9))).is_err());
        judge(&memory, &says(7, 1, position(4, 11, 11))).unwrap();
        // Another disk is another history.
        judge(&memory, &Announcement { store: 8, ..says(8, 1, position(1, 0, 0)) }).unwrap();
    }

    #[test]
    fn news_that_was_overtaken_accuses_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        judge(&memory, &says(1, 2, position(3, 10, 10))).unwrap();
        judge(&memory, &says(1, 1, position(3, 5, 5))).unwrap();
        assert!(judge(&memory, &says(1, 3, position(3, 5, 5))).is_err());
    }

    #[test]
    fn a_leader_counts_on_what_was_acknowledged_to_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        let matched = Some(Matched { term: 3, leader: NodeId(1), index: 12 });
        judge(&memory, &says(1, 1, position(3, 10, 12))).unwrap();
        judge_led(&memory, &says(2, 1, position(3, 10, 12)), matched).unwrap();
        let less = judge_led(&memory, &says(3, 1, position(3, 10, 11)), matched).unwrap_err();
        assert!(less.contains("up to 12 in term 3, and has them up to 11"), "{less}");
        // A later leader may have overwritten it, and what is acknowledged meanwhile may be newer.
        judge_led(&memory, &says(4, 1, position(4, 10, 11)), matched).unwrap();
        judge_led(&memory, &says(4, 2, position(4, 10, 11)), matched).unwrap();
    }

    #[test]
    fn what_a_node_lacks_is_shown_to_it_under_its_own_seal() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        judge(&memory, &says(1, 1, position(3, 10, 12))).unwrap();
        // The last commit that it knew of need not be on its disk; the entry must be.
        let voted = Some(Ballot { term: 4, node: 1, won: true });
        let has = |committed, last| Position { vote: voted, ..position(3, committed, last) };
        judge(&memory, &says(2, 1, has(9, 11))).unwrap();
        memory.save().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        let less = says(3, 1, has(9, 9));
        let proof = |matched| match memory.judge(PEER, &less, |_| matched).0 {
            Verdict::Behind { proof, .. } => proof,
            Verdict::Complete => panic!("it has less"),
        };
        let proof = proof(None).unwrap();
        let [own, other] = [SECRET, SECRET + 1].map(Sealer::new);
        assert!(proof.holds(&own, &less.positions));
        assert!(!proof.holds(&other, &less.positions), "a peer cannot make one");
        let all = says(4, 1, has(10, 12)).positions;
        assert!(!proof.holds(&own, &all), "nor mistake one");
        let forged = Proof { claimed: parts(&has(20, 20))[1], ..proof };
        assert!(!forged.holds(&own, &all), "nor change one");
    }

    #[test]
    fn a_damaged_memory_is_a_lost_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"nonsense").unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        judge(&memory, &says(1, 1, position(3, 10, 10))).unwrap();
        memory.save().unwrap();
        let memory = Acknowledged::open(dir.path().to_path_buf());
        assert!(judge(&memory, &says(2, 1, position(3, 9, 9))).is_err());
    }

    #[test]
    fn what_nodes_say_of_their_positions_keeps_its_bytes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let announcement =
            Announcement { seals: BTreeMap::new(), ..says(5, 1, position(3, 10, 12)) };
        let bytes = announcement.encode();
        expect!["01070501010101010301010103010a0103010c00"].assert_eq(&hex(&bytes));
        assert_eq!(Announcement::decode(&bytes).unwrap(), announcement);
        for (verdict, wanted) in [
            (Verdict::Complete, expect!["0100"]),
            (Verdict::Behind { reason: "x".into(), proof: None }, expect!["0101017800"]),
        ] {
            wanted.assert_eq(&hex(&verdict.encode()));
            assert_eq!(Verdict::decode(&verdict.encode()).unwrap(), verdict);
        }
    }
}
