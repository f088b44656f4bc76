//! Random work, random crashes: what was acknowledged is there, as a prefix of what was asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cluster::ids::{EntryId, GroupId};
use cluster::journal::fault_disk::FaultDisk;
use cluster::journal::{Done, Entry, GroupState, Journal, OpenError, Round, Writer};
use proptest::prelude::*;

use crate::support::{A, Acks, B, C, entries, open, payloads};

#[derive(Clone, Copy, Debug)]
enum Op {
    Append {
        group: GroupId,
        back: u64,
        count: u64,
        bytes: usize,
    },
    Vote {
        group: GroupId,
    },
    Note {
        group: GroupId,
    },
    Truncate {
        group: GroupId,
        back: u64,
    },
    Clear {
        group: GroupId,
    },
    /// Up to this many before the last; with `beyond`, after it.
    Purge {
        group: GroupId,
        back: u64,
        beyond: bool,
    },
    Round,
    /// Nobody waits for it.
    BeginSegment,
    /// The process dies, the page cache stays.
    Kill,
    Close,
}

/// One group, by the book.
#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    vote: Option<Bytes>,
    purged: Option<EntryId>,
    entries: BTreeMap<u64, Entry>,
}

type Model = BTreeMap<GroupId, Group>;

impl Group {
    fn last(&self) -> Option<EntryId> {
        self.entries.values().next_back().map(|entry| entry.id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn purge(&mut self, upto: EntryId) {
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
            self.entries.retain(|index, _| upto.index < *index);
        }
    }
}

struct World {
    disk: FaultDisk,
    journal: Journal,
    writer: Writer,
    /// The model after each record that was asked for; the first is what was recovered.
    history: Vec<Model>,
    acked: Arc<AtomicUsize>,
    noted: BTreeMap<GroupId, u64>,
    serial: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let disk = FaultDisk::new(seed);
        let (journal, writer) = open(&disk).unwrap();
        let (history, acked) = (vec![Model::new()], Arc::new(AtomicUsize::new(0)));
        World { disk, journal, writer, history, acked, noted: BTreeMap::new(), serial: 0 }
    }

    fn fresh(&mut self, bytes: usize) -> Bytes {
        self.serial += 1;
        let mut payload = self.serial.to_be_bytes().to_vec();
        payload.resize(8 + bytes, 0x6f);
        Bytes::from(payload)
    }

    fn model(&self, group: GroupId) -> Group {
        self.history.last().unwrap().get(&group).cloned().unwrap_or_default()
    }

    fn step(&mut self, group: GroupId, change: impl FnOnce(&mut Group)) {
        let mut model = self.history.last().unwrap().clone();
        change(model.entry(group).or_default());
        self.history.push(model);
    }

    /// The callback for everything asked so far.
    fn done(&self) -> Done {
        let (acked, upto) = (self.acked.clone(), self.history.len() - 1);
        Box::new(move |result| {
            if result.is_ok() {
                let before = acked.swap(upto, Ordering::SeqCst);
                assert!(before <= upto, "callbacks out of order");
            }
        })
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append { group, back, count, bytes } => {
                let model = self.model(group);
                let floor = model.purged.map_or(0, |purged| purged.index + 1);
                let from = model.next().saturating_sub(back).max(floor);
                let mut entries = Vec::new();
                for index in from..from + count {
                    let id = EntryId { term: self.serial, node: 1, index };
                    let entry = Entry { id, payload: self.fresh(bytes) };
                    entries.push(entry.clone());
                    self.step(group, |group| {
                        group.entries.retain(|old, _| *old < index);
                        group.entries.insert(index, entry);
                    });
                }
                self.journal.append(group, entries, self.done()).unwrap();
            }
            Op::Vote { group } => {
                let vote = self.fresh(9);
                self.step(group, |group| group.vote = Some(vote.clone()));
                self.journal.save_vote(group, vote, self.done());
            }
            Op::Note { group } => {
                let mark = self.fresh(0);
                self.noted.insert(group, self.serial);
                self.journal.note_committed(group, mark);
            }
            Op::Truncate { group, back } => {
                let Some(last) = self.model(group).last() else { return };
                let last = last.index.saturating_sub(back);
                self.step(group, |group| group.entries.retain(|index, _| *index <= last));
                self.journal.truncate_after(group, Some(last), self.done());
            }
            Op::Clear { group } => {
                self.step(group, |group| group.entries.clear());
                self.journal.truncate_after(group, None, self.done());
            }
            Op::Purge { group, back, beyond } => {
                let last = self.model(group).next();
                let index = if beyond { last + back } else { last.saturating_sub(back) };
                let upto = EntryId { term: self.serial, node: 2, index };
                self.step(group, |group| group.purge(upto));
                self.journal.purge(group, upto, self.done());
            }
            Op::Round => match self.writer.round() {
                Round::Poisoned => self.revive(),
                round => assert_ne!(round, Round::Held),
            },
            Op::BeginSegment => drop(self.journal.roll()),
            Op::Kill => {
                self.disk.kill();
                self.revive();
            }
            Op::Close => {
                self.journal.close();
                if self.writer.round() == Round::Closed {
                    let request = self.history.len() - 1;
                    assert_eq!(self.acked.load(Ordering::SeqCst), request, "drained");
                }
                self.disk.kill();
                self.revive();
            }
        }
    }

    /// Opens again, as often as crashes let it not, and finds the place in history.
    fn revive(&mut self) {
        (self.journal, self.writer) = loop {
            self.disk.restart();
            match open(&self.disk) {
                Ok(open) => break open,
                Err(OpenError::Io(_)) => {}
                Err(error) => panic!("an honest crash must not refuse: {error}"),
            }
        };
        let acked = self.acked.load(Ordering::SeqCst);
        let mut found = None;
        for at in acked..self.history.len() {
            if self.matches(&self.history[at]) {
                found = Some(at);
            }
        }
        let at = found.unwrap_or_else(|| {
            let (acked, request) = (acked, self.history.len() - 1);
            let states = [A, B, C].map(|group| self.journal.state(group));
            panic!("no prefix of {acked}..={request} is there: {states:?}");
        });
        for group in [A, B, C] {
            let mark = self
                .journal
                .state(group)
                .committed
                .map(|mark| u64::from_be_bytes(mark[..8].try_into().unwrap()));
            assert!(mark <= self.noted.get(&group).copied(), "a mark nobody made");
        }
        self.history = vec![self.history.swap_remove(at)];
        self.acked = Arc::new(AtomicUsize::new(0));
    }

    fn matches(&self, model: &Model) -> bool {
        [A, B, C].into_iter().all(|group| {
            let expected = model.get(&group).cloned().unwrap_or_default();
            let GroupState { vote, purged, last, .. } = self.journal.state(group);
            let entries = self.journal.read(group, 0..u64::MAX, usize::MAX).unwrap();
            (vote, purged, last) == (expected.vote.clone(), expected.purged, expected.last())
                && entries.iter().eq(expected.entries.values())
        })
    }
}

fn op() -> impl Strategy<Value = Op> {
    let group = || (1..4_u32).prop_map(GroupId);
    let append =
        (group(), 0..4_u64, 1..4_u64, 0..500_usize).prop_map(|(group, back, count, bytes)| {
            Op::Append { group, back: back.saturating_sub(1), count, bytes }
        });
    prop_oneof![
        8 => append,
        2 => group().prop_map(|group| Op::Vote { group }),
        1 => group().prop_map(|group| Op::Note { group }),
        1 => (group(), 0..4_u64).prop_map(|(group, back)| Op::Truncate { group, back }),
        1 => group().prop_map(|group| Op::Clear { group }),
        3 => (group(), 0..5_u64, 0..8).prop_map(|(group, back, beyond)| {
            Op::Purge { group, back, beyond: beyond == 0 }
        }),
        8 => Just(Op::Round),
        1 => Just(Op::BeginSegment),
        1 => Just(Op::Kill),
        1 => Just(Op::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn after_any_crash_the_journal_holds_a_prefix_that_contains_all_that_was_acknowledged(
        seed in any::<u64>(),
        lives in prop::collection::vec(
            (1..12_u64, any::<bool>(), prop::collection::vec(op(), 0..40)), 1..5
        ),
    ) {
        let mut world = World::new(seed);
        for (crash, in_write, ops) in lives {
            match in_write {
                true => world.disk.crash_at_write(crash),
                false => world.disk.crash_at_sync(crash),
            }
            for op in ops {
                world.apply(op);
                let latest = world.history.last().unwrap().clone();
                prop_assert!(world.matches(&latest), "not readable at once after {op:?}");
            }
            world.disk.crash();
            world.revive();
        }
    }
}

#[test]
fn a_batch_that_only_the_page_cache_has_is_made_durable_by_the_next_open() {
    let disk = FaultDisk::new(3);
    let (journal, mut writer) = open(&disk).unwrap();
    journal.append(A, entries(1, 0..3), Acks::ignore()).unwrap();
    disk.fail_sync(1);
    assert_eq!(writer.round(), Round::Poisoned);
    drop((journal, writer));
    disk.kill();
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(payloads(&journal, A).len(), 3);
    disk.crash();
    disk.restart();
    let (journal, _writer) = open(&disk).unwrap();
    assert_eq!(payloads(&journal, A).len(), 3);
}

#[test]
fn the_same_seed_tells_the_same_lies() {
    let run = |seed| {
        let disk = FaultDisk::new(seed);
        let (journal, mut writer) = open(&disk).unwrap();
        disk.crash_at_sync(3);
        for index in 0..9 {
            let _ = journal.append(A, entries(1, index..index + 1), Acks::ignore());
            writer.round();
        }
        disk.restart();
        crate::support::files(&disk)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
