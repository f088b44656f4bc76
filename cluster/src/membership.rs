//! Who belongs to the cluster, agreed through the system group; the map follows from it.

mod change;
mod roster;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::codec;
use crate::home;
use crate::machine::{BoxFuture, Committed, Machine, SnapshotSource, Staged};
use crate::settled::Settled;

pub use change::{Change, Judgement, Refusal};
pub use roster::{Map, Member, Roster};

const VERSION: u8 = 1;
const FILE: &str = "members";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    roster: Roster,
    mark: Option<Bytes>,
    /// Index + 1 of the last entry that is in here; may be ahead of `mark`.
    next: u64,
}

impl Kept {
    fn map(&self) -> Arc<Map> {
        Arc::new(Map::of(self.roster.clone()))
    }
}

/// The machine of the system group.
pub(crate) struct Membership {
    dir: PathBuf,
    kept: Kept,
    settled: Settled,
    map: watch::Sender<Arc<Map>>,
}

impl Membership {
    /// Opens what `dir` holds and publishes it as the map.
    pub(crate) fn open(dir: PathBuf, map: watch::Sender<Arc<Map>>) -> io::Result<(Self, Settled)> {
        let kept: Kept = home::read_kept(&dir, FILE)?.unwrap_or_default();
        map.send_replace(kept.map());
        let settled = Settled::starting_at(kept.next);
        Ok((Membership { dir, kept, settled: settled.clone(), map }, settled))
    }
}

impl Machine for Membership {
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, io::Result<()>> {
        let hold = self.settled.begin(entry.id.index);
        // What another replica gave may be ahead of the log: nothing takes effect twice.
        let fresh = self.kept.next <= entry.id.index;
        for command in entry.commands.into_iter().filter(|_| fresh) {
            match codec::decode(VERSION, &command) {
                Ok(change) => self.kept.roster.apply(change),
                Err(error) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, error);
                    return Box::pin(std::future::ready(Err(error)));
                }
            }
        }
        self.kept.next = self.kept.next.max(entry.id.index + 1);
        self.map.send_if_modified(|map| {
            let newer = map.epoch < self.kept.roster.epoch;
            if newer {
                *map = self.kept.map();
            }
            newer
        });
        drop(hold);
        Box::pin(std::future::ready(Ok(())))
    }

    fn checkpoint(&mut self, mark: Bytes) -> BoxFuture<'static, io::Result<()>> {
        self.kept.mark = Some(mark);
        let done = home::write(&self.dir, FILE, &self.kept);
        Box::pin(std::future::ready(done))
    }

    fn mark(&self) -> Option<Bytes> {
        self.kept.mark.clone()
    }

    fn applied_next(&self) -> u64 {
        self.kept.next
    }

    fn snapshot(&self, _since_next: u64) -> Box<dyn SnapshotSource> {
        Box::new(One(Some(codec::encode(VERSION, &self.kept).into())))
    }

    fn install(&mut self, staged: Staged, mark: Bytes, next: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let chunk = staged.chunks()?.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            let kept: Kept = codec::decode(VERSION, &chunk).map_err(io::Error::other)?;
            let next = kept.next.max(next);
            self.kept = Kept { mark: Some(mark), next, ..kept };
            home::write(&self.dir, FILE, &self.kept)?;
            self.map.send_replace(self.kept.map());
            Ok(())
        })
    }
}

struct One(Option<Bytes>);

impl SnapshotSource for One {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

/// A change as a command of the system group.
pub(crate) fn encode(change: &Change) -> Bytes {
    codec::encode(VERSION, change).into()
}
