//! What was seen, as text, and what must be true of it. Keeps S1, S3 and the three outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use cluster::group::Fate;
use cluster::ids::{EntryId, GroupId, NodeId};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::support::counter::Commands;

/// The history of one run; clones are the same.
#[derive(Clone)]
pub(crate) struct Record {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    start: Instant,
    hash: Xxh3,
    lines: u64,
    echo: bool,
    /// What stands at each place, as the first replica that applied it saw it.
    applied: BTreeMap<(GroupId, u64), (EntryId, Vec<String>)>,
    acked: BTreeMap<GroupId, BTreeMap<u64, Vec<String>>>,
    refused: BTreeSet<String>,
    unknown: u64,
    reads: u64,
}

impl Record {
    pub(crate) fn new(echo: bool) -> Record {
        let inner = Inner {
            start: Instant::now(),
            hash: Xxh3::new(),
            lines: 0,
            echo,
            applied: BTreeMap::new(),
            acked: BTreeMap::new(),
            refused: BTreeSet::new(),
            unknown: 0,
            reads: 0,
        };
        Record { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes one line of the trace.
    pub(crate) fn note(&self, text: std::fmt::Arguments<'_>) {
        self.inner().note(text);
    }

    /// A replica applied an entry: each place holds the same on all of them, for ever.
    pub(crate) fn applied(&self, node: u64, group: GroupId, id: EntryId, texts: &[String]) {
        let mut inner = self.inner();
        inner.note(format_args!("n{node} {group} applies {id} {}", texts.join(",")));
        let place = (group, id.index);
        if let Some((known, there)) = inner.applied.get(&place) {
            let same = *known == id && there == texts;
            assert!(same, "{place:?} is {known} {there:?}; node {node} applied {id} {texts:?}");
            return;
        }
        let before = inner.applied.range(..place).next_back();
        if let Some(((_, index), (before, _))) = before.filter(|((of, _), _)| *of == group) {
            assert!(*index + 1 == id.index, "{place:?} was applied by node {node} before {index}");
            let ordered = (before.term, before.node) <= (id.term, id.node);
            assert!(ordered, "{id} follows {before} in {group}");
        }
        inner.applied.insert(place, (id, texts.to_vec()));
    }

    /// A writer heard what became of its command.
    pub(crate) fn reported(&self, node: u64, group: GroupId, text: &str, fate: &Fate) {
        let mut inner = self.inner();
        inner.note(format_args!("n{node} {group} {text} {fate:?}"));
        match fate {
            Fate::Committed(id) => {
                assert!(id.node == node, "{text}: node {node} acknowledged what {id} wrote");
                let there = inner.applied.get(&(group, id.index));
                let there = there
                    .is_some_and(|(at, texts)| at == id && texts.iter().any(|there| there == text));
                assert!(there, "{text} was acknowledged at {id} of {group} and applied nowhere");
                inner
                    .acked
                    .entry(group)
                    .or_default()
                    .entry(id.index)
                    .or_default()
                    .push(text.into());
            }
            Fate::Refused { .. } => {
                inner.refused.insert(text.into());
            }
            Fate::Unknown(_) => inner.unknown += 1,
        }
    }

    /// Index + 1 of the last acknowledged entry: what a read that begins now must see.
    pub(crate) fn acked_next(&self, group: GroupId) -> u64 {
        let inner = self.inner();
        let acked = inner.acked.get(&group).and_then(|acked| acked.keys().next_back());
        acked.map_or(0, |index| index + 1)
    }

    /// A linearizable read that began when `floor` was acknowledged saw `commands`.
    pub(crate) fn read(&self, node: u64, group: GroupId, floor: u64, commands: &Commands) {
        let mut inner = self.inner();
        inner.reads += 1;
        inner.note(format_args!("n{node} {group} reads above {floor}: {}", commands.len()));
        // The newest are looked at each time; all of them at the end.
        let Some(acked) = inner.acked.get(&group) else { return };
        for (index, texts) in acked.range(..floor).rev().take(20) {
            let seen: Vec<&String> =
                commands.range((*index, 0)..(index + 1, 0)).map(|(_, text)| text).collect();
            for text in texts {
                let there = seen.contains(&text);
                assert!(
                    there,
                    "a stale read of {group} at node {node}: {text} at {index} is missing"
                );
            }
        }
    }

    /// The end: every replica holds everything acknowledged, nothing refused, nothing twice.
    pub(crate) fn finally(&self, node: u64, group: GroupId, commands: &Commands) {
        let inner = self.inner();
        let mut seen = BTreeSet::new();
        for text in commands.values() {
            assert!(seen.insert(text), "{text} is twice in {group} of node {node}");
            assert!(!inner.refused.contains(text), "{text} was refused and is in {group}");
        }
        for (index, texts) in inner.acked.get(&group).into_iter().flatten() {
            for text in texts {
                let range = commands.range((*index, 0)..(index + 1, 0));
                let there = range.map(|(_, there)| there).any(|there| there == text);
                assert!(
                    there,
                    "{text} was acknowledged at {index}; {group} of node {node} lost it"
                );
            }
        }
    }

    /// One line that says what was seen; the same for the same run.
    pub(crate) fn summary(&self) -> String {
        let inner = self.inner();
        let acked: usize = inner.acked.values().flat_map(BTreeMap::values).map(Vec::len).sum();
        format!(
            "trace {:016x} lines {} acked {acked} refused {} unknown {} reads {} virtual {:.1}s",
            inner.hash.digest(),
            inner.lines,
            inner.refused.len(),
            inner.unknown,
            inner.reads,
            inner.start.elapsed().as_secs_f64(),
        )
    }

    pub(crate) fn watch(&self, node: u64) -> crate::support::counter::Watch {
        let record = self.clone();
        Arc::new(move |group, id, texts| record.applied(NodeId(node).0, group, id, texts))
    }
}

impl Inner {
    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        let line = format!("{:>12} {text}\n", self.start.elapsed().as_micros());
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if self.echo {
            print!("{line}");
        }
    }
}
