//! The toy machine: it remembers every command, in order, and keeps what it checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cluster::ids::{EntryId, GroupId};
use cluster::machine::{BoxFuture, Committed, Machine, MachineFactory, SnapshotSource, Staged};
use cluster::settled::Settled;

/// Commands by (index of their entry, place in it).
pub type Commands = BTreeMap<(u64, u32), String>;

#[derive(Clone, Debug, Default)]
struct Kept {
    commands: Commands,
    mark: Option<Bytes>,
    /// Index + 1 of the last entry that Raft had applied at `mark`.
    next: u64,
    /// What another replica gave may be ahead of `next`: entries below this are in here already.
    content: u64,
}

/// Hears of applied entries.
pub type Watch = Arc<dyn Fn(GroupId, EntryId, &[String]) + Send + Sync>;

/// What the machines of one node have in memory and on "disk".
#[derive(Clone, Default)]
pub struct Shelf {
    live: Arc<Mutex<BTreeMap<GroupId, Kept>>>,
    durable: Arc<Mutex<BTreeMap<GroupId, Kept>>>,
    /// Installed snapshots: since which index, and how many commands they brought.
    installs: Arc<Mutex<Vec<(GroupId, u64, usize)>>>,
    /// Hears of every entry that is applied here, replays included.
    pub watch: Option<Watch>,
    /// The times of the entries that carried commands, by index.
    times: Arc<Mutex<BTreeMap<(GroupId, u64), u64>>>,
    /// Entries whose application panics, once.
    pub poison: Arc<Mutex<Option<String>>>,
    /// A group that cannot be opened here for now.
    pub shut: Arc<Mutex<Option<GroupId>>>,
    /// Groups of which nothing runs any more, as was waited for.
    vacated: Arc<Mutex<BTreeSet<GroupId>>>,
}

impl Shelf {
    pub fn live(&self, group: GroupId) -> Vec<String> {
        self.commands(group).into_values().collect()
    }

    /// What is in memory, with its places.
    pub fn commands(&self, group: GroupId) -> Commands {
        let live = self.live.lock().unwrap();
        live.get(&group).map(|kept| kept.commands.clone()).unwrap_or_default()
    }

    /// Looks at what is in memory, with its places.
    pub fn look<T>(&self, group: GroupId, look: impl FnOnce(&Commands) -> T) -> T {
        let live = self.live.lock().unwrap();
        look(live.get(&group).map_or(&Commands::new(), |kept| &kept.commands))
    }

    /// Index + 1 of the last entry in memory.
    pub fn next(&self, group: GroupId) -> u64 {
        self.live.lock().unwrap().get(&group).map_or(0, |kept| kept.next)
    }

    /// Installed snapshots of the group: commands that each brought.
    pub fn installs(&self, group: GroupId) -> Vec<usize> {
        let installs = self.installs.lock().unwrap();
        installs.iter().filter(|(of, ..)| *of == group).map(|(.., brought)| *brought).collect()
    }

    /// The time of the group's last entry with commands, in ms.
    pub fn last_time(&self, group: GroupId) -> Option<u64> {
        let times = self.times.lock().unwrap();
        times.range((group, 0)..=(group, u64::MAX)).next_back().map(|(_, time)| *time)
    }

    /// Whether the times of the group's entries never run backwards.
    pub fn times_grow(&self, group: GroupId) -> bool {
        let times = self.times.lock().unwrap();
        times.range((group, 0)..=(group, u64::MAX)).map(|(_, time)| *time).is_sorted()
    }

    fn fail_if_told(&self, entry: &Committed) {
        let mut poison = self.poison.lock().unwrap();
        let bad = poison.clone().unwrap_or_default().into_bytes();
        if !bad.is_empty() && entry.commands.iter().any(|command| *command == bad) {
            *poison = None;
            drop(poison);
            panic!("the machine fails, as it was told");
        }
    }

    /// Index + 1 of the last entry whose effect is in memory, wherever it came from.
    pub fn content(&self, group: GroupId) -> u64 {
        self.live.lock().unwrap().get(&group).map_or(0, |kept| kept.next.max(kept.content))
    }

    /// A shelf that holds what is durable on this one now.
    #[must_use]
    pub fn image(&self) -> Shelf {
        let durable = self.durable.lock().unwrap().clone();
        let watch = self.watch.clone();
        Shelf { durable: Arc::new(Mutex::new(durable)), watch, ..Shelf::default() }
    }

    /// A power cut: what no checkpoint kept is gone.
    pub fn crash(&self) {
        self.live.lock().unwrap().clear();
    }

    /// Index + 1 of the last entry that a checkpoint of the group kept.
    pub fn durable_next(&self, group: GroupId) -> u64 {
        self.durable.lock().unwrap().get(&group).map_or(0, |kept| kept.next)
    }
}

pub struct Counters {
    pub shelf: Shelf,
}

impl MachineFactory for Counters {
    fn vacated(&self, group: GroupId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shelf.vacated.lock().unwrap().insert(group);
        })
    }

    fn open(&self, group: GroupId) -> io::Result<(Box<dyn Machine>, Settled)> {
        if !self.shelf.vacated.lock().unwrap().remove(&group) {
            return Err(io::Error::other("what ran before was not waited for"));
        }
        if *self.shelf.shut.lock().unwrap() == Some(group) {
            return Err(io::Error::other("the group is shut"));
        }
        let kept = self.shelf.durable.lock().unwrap().get(&group).cloned().unwrap_or_default();
        let settled = Settled::starting_at(kept.next.max(kept.content));
        self.shelf.live.lock().unwrap().insert(group, kept);
        let counter = Counter { group, shelf: self.shelf.clone(), settled: settled.clone() };
        Ok((Box::new(counter), settled))
    }
}

struct Counter {
    group: GroupId,
    shelf: Shelf,
    settled: Settled,
}

impl Counter {
    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(self.shelf.live.lock().unwrap().entry(self.group).or_default())
    }
}

impl Machine for Counter {
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, io::Result<()>> {
        let _hold = self.settled.begin(entry.id.index);
        self.shelf.fail_if_told(&entry);
        if !entry.commands.is_empty() {
            let place = (self.group, entry.id.index);
            self.shelf.times.lock().unwrap().insert(place, entry.time_ms);
        }
        let mut texts = Vec::new();
        self.change(|kept| {
            assert_eq!(kept.next, entry.id.index, "entries come in order, once");
            assert_eq!(kept.next, entry.id.index, "entries come in order, once");
            for (place, command) in (0..).zip(entry.commands) {
                let text = String::from_utf8(command.to_vec()).unwrap();
                texts.push(text.clone());
                let there = kept.commands.insert((entry.id.index, place), text.clone());
                assert!(there.is_none_or(|there| there == text), "a replay changed history");
            }
            kept.next = entry.id.index + 1;
        });
        if let Some(watch) = &self.shelf.watch {
            watch(self.group, entry.id, &texts);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn checkpoint(&mut self, mark: Bytes) -> BoxFuture<'static, io::Result<()>> {
        let kept = self.change(|kept| {
            kept.mark = Some(mark);
            kept.clone()
        });
        let (durable, group) = (self.shelf.durable.clone(), self.group);
        Box::pin(async move {
            durable.lock().unwrap().insert(group, kept);
            Ok(())
        })
    }

    fn mark(&self) -> Option<Bytes> {
        self.change(|kept| kept.mark.clone())
    }

    fn applied_next(&self) -> u64 {
        self.change(|kept| kept.next)
    }

    fn snapshot(&self, since_next: u64) -> Box<dyn SnapshotSource> {
        let newer = self.change(|kept| {
            let newer = kept.commands.range((since_next, 0)..);
            newer.map(|(place, text)| (*place, text.clone())).collect::<Vec<_>>()
        });
        let head = Bytes::from(self.change(|kept| kept.next.max(kept.content)).to_string());
        Box::new(Newer(Some(head), newer.into_iter()))
    }

    fn install(&mut self, staged: Staged, mark: Bytes, next: u64) -> BoxFuture<'_, io::Result<()>> {
        let mut chunks = staged.chunks().expect("the staged file is there").map(|chunk| {
            String::from_utf8(chunk.expect("the staged file is whole").to_vec()).unwrap()
        });
        // Nothing is changed before everything was read.
        let content: u64 = chunks.next().expect("a head").parse().unwrap();
        let came: Vec<_> = chunks
            .map(|chunk| {
                let mut parts = chunk.splitn(3, ' ');
                let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
                let place = (number(), u32::try_from(number()).unwrap());
                (place, parts.next().unwrap().to_string())
            })
            .collect();
        self.shelf.installs.lock().unwrap().push((self.group, next, came.len()));
        let kept = self.change(|kept| {
            for (place, text) in came {
                let there = kept.commands.insert(place, text.clone());
                assert!(there.is_none_or(|there| there == text), "a snapshot changed history");
            }
            kept.mark = Some(mark);
            kept.next = next;
            kept.content = kept.content.max(content);
            kept.clone()
        });
        self.settled.jump(content);
        self.shelf.durable.lock().unwrap().insert(self.group, kept);
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Newer(Option<Bytes>, std::vec::IntoIter<((u64, u32), String)>);

impl SnapshotSource for Newer {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(head) = self.0.take() {
            return Ok(Some(head));
        }
        let chunk = self.1.next();
        Ok(chunk.map(|((index, place), text)| Bytes::from(format!("{index} {place} {text}"))))
    }
}
