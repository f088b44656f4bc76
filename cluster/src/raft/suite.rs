//! openraft's own tests of a storage, run on ours.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::apply::Applier;
use super::history::{Broken, History};
use super::log::GroupLog;
use super::types::Types;
use crate::clock::TokioClock;
use crate::ids::GroupId;
use crate::journal::fault_disk::FaultDisk;
use crate::journal::{Journal, JournalConfig};
use crate::machine::{BoxFuture, Committed, Machine, SnapshotSource, Staged};
use crate::settled::Settled;
use crate::time::{GroupTime, NodeTime};

/// Remembers how far it came, and nothing else.
struct Blank {
    mark: Option<Bytes>,
    next: u64,
}

impl Machine for Blank {
    fn apply(&mut self, entry: Committed) -> BoxFuture<'_, io::Result<()>> {
        self.next = entry.id.index + 1;
        Box::pin(std::future::ready(Ok(())))
    }

    fn checkpoint(&mut self, mark: Bytes) -> BoxFuture<'static, io::Result<()>> {
        self.mark = Some(mark);
        Box::pin(std::future::ready(Ok(())))
    }

    fn mark(&self) -> Option<Bytes> {
        self.mark.clone()
    }

    fn applied_next(&self) -> u64 {
        self.next
    }

    fn snapshot(&self, _since_next: u64) -> Box<dyn SnapshotSource> {
        unreachable!("the suite sends nothing over a link")
    }

    fn install(&mut self, _: Staged, _: Bytes, _: u64) -> BoxFuture<'_, io::Result<()>> {
        unreachable!("the suite stages nothing")
    }
}

struct Stores;

struct Closes(Journal);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl StoreBuilder<Types, GroupLog, Applier, Closes> for Stores {
    async fn build(&self) -> Result<(Closes, GroupLog, Applier), StorageError<Types>> {
        let config =
            JournalConfig { dir: "/journal".into(), segment_bytes: 1 << 20, tail_bytes: 4 << 10 };
        let (journal, writer) = Journal::open(Arc::new(FaultDisk::new(1)), config).unwrap();
        std::thread::spawn(move || writer.run());
        let machine = Box::new(Blank { mark: None, next: 0 });
        let (settled, stop) = (Settled::starting_at(0), CancellationToken::new());
        let (working, _) = mpsc::channel(1);
        let time = GroupTime::new(NodeTime::new(TokioClock::starting_at(0)));
        let history = History::new(journal.clone(), GroupId(1), Broken::new(GroupId(1)));
        let applier = Applier::new(machine, settled, time, history.clone(), stop, working).unwrap();
        Ok((Closes(journal.clone()), GroupLog::new(journal, GroupId(1), history), applier))
    }
}

#[tokio::test]
async fn the_storage_passes_the_suite_of_openraft() {
    let result = super::with_random(Suite::test_all(Stores)).await;
    // Its last test installs what another store built without sending it, which we refuse.
    let error = result.expect_err("ours are sent, and staged").to_string();
    assert!(error.contains("a source of our own cannot be installed"), "{error}");
}
