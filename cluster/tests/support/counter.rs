//! The toy machine: it remembers every command, in order, and keeps what it checkpoints.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cluster::ids::GroupId;
use cluster::machine::{BoxFuture, Committed, Machine, MachineFactory, SnapshotSource, Staged};
use cluster::settled::Settled;

#[derive(Clone, Debug, Default)]
struct Kept {
    commands: Vec<(u64, String)>,
    mark: Option<Bytes>,
    next: u64,
}

/// What the machines of one node have in memory and on "disk".
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    live: Arc<Mutex<BTreeMap<GroupId, Kept>>>,
    durable: Arc<Mutex<BTreeMap<GroupId, Kept>>>,
}

impl Shelf {
    pub fn live(&self, group: GroupId) -> Vec<String> {
        let live = self.live.lock().unwrap();
        let kept = live.get(&group).cloned().unwrap_or_default();
        kept.commands.into_iter().map(|(_, text)| text).collect()
    }

    /// Whether a checkpoint of the group was ever kept.
    pub fn checkpointed(&self, group: GroupId) -> bool {
        self.durable.lock().unwrap().get(&group).is_some_and(|kept| kept.mark.is_some())
    }
}

pub struct Counters {
    pub shelf: Shelf,
}

impl MachineFactory for Counters {
    fn open(&self, group: GroupId) -> io::Result<(Box<dyn Machine>, Settled)> {
        let kept = self.shelf.durable.lock().unwrap().get(&group).cloned().unwrap_or_default();
        let settled = Settled::starting_at(kept.next);
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
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, ()> {
        let _hold = self.settled.begin(entry.id.index);
        self.change(|kept| {
            assert_eq!(kept.next, entry.id.index, "entries come in order, once");
            for command in entry.commands {
                let text = String::from_utf8(command.to_vec()).unwrap();
                kept.commands.push((entry.id.index, text));
            }
            kept.next = entry.id.index + 1;
        });
        Box::pin(std::future::ready(()))
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
            let newer = kept.commands.iter().filter(|(index, _)| since_next <= *index);
            newer.cloned().collect::<Vec<_>>()
        });
        Box::new(Newer(newer.into_iter()))
    }

    fn install(&mut self, staged: Staged, mark: Bytes, next: u64) -> BoxFuture<'_, io::Result<()>> {
        let installed = staged.chunks().and_then(|chunks| {
            for chunk in chunks {
                let text = String::from_utf8(chunk?.to_vec()).unwrap();
                let (index, text) = text.split_once(' ').unwrap();
                // The source may be ahead of the checkpoint; what is behind it comes by the log.
                let index: u64 = index.parse().unwrap();
                if index < next {
                    self.change(|kept| kept.commands.push((index, text.into())));
                }
            }
            Ok(())
        });
        let kept = self.change(|kept| {
            kept.mark = Some(mark);
            kept.next = next;
            kept.clone()
        });
        self.shelf.durable.lock().unwrap().insert(self.group, kept);
        Box::pin(std::future::ready(installed))
    }
}

struct Newer(std::vec::IntoIter<(u64, String)>);

impl SnapshotSource for Newer {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.next().map(|(index, text)| Bytes::from(format!("{index} {text}"))))
    }
}
