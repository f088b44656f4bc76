//! Hands committed entries to a group's machine, and lets openraft see the machine's checkpoints as
//! its snapshots. Keeps S3: openraft calls `apply` only for entries that a majority has on disk.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, SnapshotMeta};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::types::{LogId, Membership, Types, entry_id};
use super::wire::{VERSION, decode_batch};
use crate::codec;
use crate::machine::{BoxFuture, Committed, Machine, Staged};
use crate::settled::Settled;
use crate::time::GroupTime;

/// What openraft calls a snapshot: a live source to send from, or a staged file to install.
pub(crate) enum SnapshotData {
    /// The machine itself; its source is opened when the receiver has reported what it has.
    Source(SharedMachine),
    Staged(Staged),
}

pub(crate) type Meta =
    SnapshotMeta<openraft::alias::CommittedLeaderIdOf<Types>, u64, openraft::EmptyNode>;
type BuiltSnapshot = openraft::alias::SnapshotOf<Types, SnapshotData>;

/// The state machine that openraft drives.
pub(super) struct Applier {
    machine: SharedMachine,
    settled: Settled,
    time: Arc<GroupTime>,
    applied: Option<LogId>,
    membership: Membership,
    checkpoint: Arc<Mutex<Option<Meta>>>,
    history: History,
    life: Life,
}

/// Ties what works on the machine to its replica: ended by `stop`, waited for until every
/// sender is gone.
#[derive(Clone)]
struct Life {
    stop: CancellationToken,
    _working: mpsc::Sender<()>,
}

/// The machine, shared with those who send a snapshot of it.
pub(crate) type SharedMachine = Arc<tokio::sync::Mutex<Box<dyn Machine>>>;

pub(super) fn encode_mark(meta: &Meta) -> Bytes {
    codec::encode(VERSION, &(&meta.last_log_id, &meta.last_membership)).into()
}

pub(super) fn decode_mark(mark: &[u8]) -> io::Result<Meta> {
    let (last_log_id, last_membership) = codec::decode(VERSION, mark)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(SnapshotMeta { last_log_id, last_membership })
}

impl Applier {
    /// Takes up the machine where its checkpoint left it.
    pub(super) fn new(
        machine: Box<dyn Machine>,
        settled: Settled,
        time: Arc<GroupTime>,
        history: History,
        stop: CancellationToken,
        working: mpsc::Sender<()>,
    ) -> io::Result<Self> {
        let checkpoint = machine.mark().map(|mark| decode_mark(&mark)).transpose()?;
        let (applied, membership) = match &checkpoint {
            Some(meta) => (meta.last_log_id, meta.last_membership.clone()),
            None => (None, Membership::default()),
        };
        history.commit(applied.as_ref());
        Ok(Applier {
            machine: Arc::new(tokio::sync::Mutex::new(machine)),
            settled,
            time,
            applied,
            membership,
            checkpoint: Arc::new(Mutex::new(checkpoint)),
            history,
            life: Life { stop, _working: working },
        })
    }

    fn meta(&self) -> Meta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Checkpoint;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        let mut machine = self.machine.lock().await;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let (time_ms, commands) = match entry.payload {
                EntryPayload::Blank => (0, Vec::new()),
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    (0, Vec::new())
                }
                EntryPayload::Normal(payload) => {
                    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                    let batch = decode_batch(&payload).map_err(invalid)?;
                    self.time.observe(batch.0);
                    batch
                }
            };
            let id = entry_id(&entry.log_id);
            machine.apply(Committed { id, time_ms, commands }).await.inspect_err(|error| {
                tracing::error!(index = id.index, %error, "a committed entry cannot be applied");
            })?;
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Checkpoint> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Checkpoint {
        let meta = self.meta();
        let done = self.machine.lock().await.checkpoint(encode_mark(&meta));
        Checkpoint {
            machine: self.machine.clone(),
            meta,
            first: Mutex::new(Some(done)),
            latest: self.checkpoint.clone(),
            life: self.life.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Staged(staged) = snapshot else {
            return Err(io::Error::other("a source of our own cannot be installed"));
        };
        let next = meta.last_log_id.map_or(0, |id| id.index + 1);
        self.machine.lock().await.install(staged, encode_mark(meta), next).await?;
        self.applied = meta.last_log_id;
        self.history.commit(self.applied.as_ref());
        self.membership = meta.last_membership.clone();
        *lock(&self.checkpoint) = Some(meta.clone());
        self.settled.jump(next);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<BuiltSnapshot>, io::Error> {
        let meta = lock(&self.checkpoint).clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: SnapshotData::Source(self.machine.clone()) }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no panic happens under this lock")
}

/// A checkpoint under way; openraft takes it for a snapshot being built.
pub(super) struct Checkpoint {
    machine: SharedMachine,
    meta: Meta,
    /// Behind a mutex only because openraft wants the builder to be shared.
    first: Mutex<Option<BoxFuture<'static, io::Result<()>>>>,
    latest: Arc<Mutex<Option<Meta>>>,
    life: Life,
}

impl RaftSnapshotBuilder<Types> for Checkpoint {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<BuiltSnapshot, io::Error> {
        let mark = encode_mark(&self.meta);
        let mut attempt = lock(&self.first).take();
        loop {
            let done = match attempt.take() {
                Some(done) => done,
                None => self.machine.lock().await.checkpoint(mark.clone()),
            };
            // An error here would end the group: hold the checkpoint until the disk takes it.
            match done.await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "a checkpoint failed and is tried again"),
            }
            let pause = tokio::time::sleep(crate::limits::CHECKPOINT_RETRY);
            if self.life.stop.run_until_cancelled(pause).await.is_none() {
                return Err(io::Error::other("the group is closing"));
            }
        }
        let mut latest = lock(&self.latest);
        if latest.as_ref().is_none_or(|latest| latest.last_log_id <= self.meta.last_log_id) {
            *latest = Some(self.meta.clone());
        }
        drop(latest);
        let snapshot = SnapshotData::Source(self.machine.clone());
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}
