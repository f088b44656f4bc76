//! Who belongs to the cluster, agreed through the system group; the map follows from it.

mod change;
mod roster;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::blocking::off_thread;
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
    /// Writes that were begun, and the last one that is done.
    writes: u64,
    written: Arc<Mutex<u64>>,
    settled: Settled,
    map: watch::Sender<Arc<Map>>,
}

impl Membership {
    /// Opens what `dir` holds and publishes it as the map.
    pub(crate) fn open(dir: PathBuf, map: watch::Sender<Arc<Map>>) -> io::Result<(Self, Settled)> {
        let kept: Kept = home::read_kept(&dir, FILE)?.unwrap_or_default();
        map.send_replace(kept.map());
        let settled = Settled::starting_at(kept.next);
        let (writes, written) = (0, Arc::default());
        Ok((Membership { dir, kept, writes, written, settled: settled.clone(), map }, settled))
    }

    /// Work that makes what is kept now durable, unless something later is. It blocks.
    fn write(&mut self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        self.writes += 1;
        let (dir, kept, number) = (self.dir.clone(), self.kept.clone(), self.writes);
        let written = self.written.clone();
        move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *written < number {
                home::write(&dir, FILE, &kept)?;
                *written = number;
            }
            Ok(())
        }
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
            let newer = map.version < self.kept.roster.version;
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
        let write = self.write();
        Box::pin(async { off_thread(write).await? })
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
            let read = move || staged.chunks()?.next().ok_or(io::ErrorKind::UnexpectedEof)?;
            let chunk = off_thread(read).await??;
            let kept: Kept = codec::decode(VERSION, &chunk).map_err(io::Error::other)?;
            let next = kept.next.max(next);
            self.kept = Kept { mark: Some(mark), next, ..kept };
            off_thread(self.write()).await??;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A runtime with one thread, as groups have it, that must not wait for the disk.
    #[test]
    fn a_checkpoint_on_a_slow_disk_holds_up_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        // Opening it for writing waits until a reader opens it.
        let pipe = dir.path().join(format!("{FILE}.new"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (mut machine, _) =
            Membership::open(dir.path().into(), watch::Sender::new(Arc::default())).unwrap();
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let checkpoint = machine.checkpoint(Bytes::from_static(b"mark"));
                let read = tokio::task::spawn_blocking(move || std::fs::read(pipe));
                let (_, read) = tokio::join!(checkpoint, read);
                assert!(!read.unwrap().unwrap().is_empty());
            });
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(20)).expect("the thread goes on");
    }

    #[tokio::test]
    async fn an_older_checkpoint_never_replaces_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Membership::open(dir.path().into(), watch::Sender::new(Arc::default()));
        let (mut machine, _) = open().unwrap();
        let first = machine.checkpoint(Bytes::from_static(b"first"));
        let second = machine.checkpoint(Bytes::from_static(b"second"));
        second.await.unwrap();
        first.await.unwrap();
        assert_eq!(open().unwrap().0.mark().unwrap(), "second");
    }
}
