//! Serves what the other members of a group send.
//!
//! Appends must reach openraft in the order in which they came: [`Inbound::call`] queues them before it
//! returns, and one task feeds the queue into openraft's pipeline and pairs the answers.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use openraft::storage::Snapshot;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::apply::{SnapshotData, decode_mark};
use super::replica::RaftHandle;
use super::types::{Types, Vote};
use super::wire::{self, AppendAnswer, Rpc, RpcKind, SnapshotHello, VERSION};
use crate::codec;
use crate::ids::GroupId;
use crate::limits::PIPELINED_APPENDS;
use crate::machine::{Staged, write_chunk};
use crate::settled::Settled;
use crate::transport;
use crate::transport::Lane;

/// Numbers the staged files of this process; those of an earlier one are gone.
static STAGED: AtomicU64 = AtomicU64::new(0);

type Answered = Result<Bytes, String>;
type Waiting = oneshot::Sender<Result<AppendAnswer, String>>;

/// The receiving side of one group on one node.
pub(super) struct Inbound {
    pub(super) raft: RaftHandle,
    pub(super) group: GroupId,
    pub(super) settled: Settled,
    pub(super) staging: PathBuf,
    pub(super) appends: mpsc::Sender<(AppendEntriesRequest<Types>, Waiting)>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn answer(value: &impl Serialize) -> Answered {
    Ok(codec::encode(VERSION, value).into())
}

impl Inbound {
    /// Takes one message; what needs order is done before this returns.
    pub(super) fn call(&self, lane: Lane, rpc: Rpc) -> transport::BoxFuture<Answered> {
        let raft = self.raft.clone();
        match rpc.kind {
            RpcKind::Append => match wire::decode_append(rpc.body) {
                Err(error) => Box::pin(async move { Err(text(error)) }),
                Ok(request) if lane == Lane::Control => Box::pin(heartbeat(raft, request)),
                Ok(request) => self.queue(request),
            },
            RpcKind::Vote => Box::pin(async move {
                let request = codec::decode(VERSION, &rpc.body).map_err(text)?;
                answer(&raft.vote(request).await.map_err(text)?)
            }),
            RpcKind::PreVote => Box::pin(async move {
                let request = codec::decode(VERSION, &rpc.body).map_err(text)?;
                answer(&raft.pre_vote(request).await.map_err(text)?)
            }),
            RpcKind::Transfer => Box::pin(async move {
                let request = codec::decode(VERSION, &rpc.body).map_err(text)?;
                answer(&raft.handle_transfer_leader(request).await.map_err(text)?)
            }),
            RpcKind::ReadIndex => {
                Box::pin(
                    async move { answer(&super::replica::read_index(&raft).await.map_err(text)?) },
                )
            }
            RpcKind::Snapshot | RpcKind::Application | RpcKind::Willing => {
                Box::pin(async { Err("not a message of a group".into()) })
            }
        }
    }

    fn queue(&self, request: AppendEntriesRequest<Types>) -> transport::BoxFuture<Answered> {
        let (waiting, result) = oneshot::channel();
        if self.appends.try_send((request, waiting)).is_err() {
            return Box::pin(async { Err("too many appends wait".into()) });
        }
        Box::pin(async move {
            let result = result.await.map_err(|_| "the group is closing".to_string())?;
            answer(&result?)
        })
    }

    /// Receives a snapshot: answers what we have, stages the chunks, installs them.
    pub(super) async fn snapshot(
        &self,
        hello: Bytes,
        mut stream: transport::Stream,
    ) -> Result<(), String> {
        let hello: SnapshotHello = codec::decode(VERSION, &hello).map_err(text)?;
        let since = codec::encode(VERSION, &self.settled.next());
        stream.send(since.into()).await.map_err(text)?;
        let number = STAGED.fetch_add(1, Ordering::Relaxed);
        let path = self.staging.join(format!("{}-{number}.part", self.group));
        let staged = Staged::new(path.clone());
        let mut file = create(&path).map_err(text)?;
        while let Some(chunk) = stream.recv().await {
            let chunk = chunk.map_err(text)?;
            write_chunk(&mut file, &chunk).map_err(text)?;
        }
        io::Write::flush(&mut file).map_err(text)?;
        drop(file);
        let meta = decode_mark(&hello.mark).map_err(text)?;
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Staged(staged) };
        let response = self.raft.install_full_snapshot(hello.vote, snapshot).await.map_err(text)?;
        let vote: Vote = response.vote;
        stream.send(codec::encode(VERSION, &vote).into()).await.map_err(text)?;
        stream.finish().await.map_err(text)
    }
}

fn create(path: &std::path::Path) -> io::Result<io::BufWriter<std::fs::File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(io::BufWriter::new(file))
}

async fn heartbeat(raft: RaftHandle, request: AppendEntriesRequest<Types>) -> Answered {
    let prev = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(prev);
    let response = raft.append_entries(request).await.map_err(text)?;
    answer(&response.into_stream_result(prev, last))
}

/// Feeds queued appends into openraft until the queue closes or the group stops.
pub(super) async fn pump(
    raft: RaftHandle,
    mut queue: mpsc::Receiver<(AppendEntriesRequest<Types>, Waiting)>,
) {
    loop {
        // A pipeline ends at its first conflict; the next one starts afresh.
        let Some(first) = queue.recv().await else { return };
        if pipeline(&raft, first, &mut queue).await.is_err() {
            return;
        }
    }
}

/// The group has stopped for good.
struct Stopped;

async fn pipeline(
    raft: &RaftHandle,
    first: (AppendEntriesRequest<Types>, Waiting),
    queue: &mut mpsc::Receiver<(AppendEntriesRequest<Types>, Waiting)>,
) -> Result<(), Stopped> {
    let (feed, fed) = mpsc::channel(PIPELINED_APPENDS);
    let mut answers = std::pin::pin!(raft.stream_append(receiver_stream(fed)));
    let mut waiting = VecDeque::from([first.1]);
    feed.try_send(first.0).expect("the pipeline is empty");
    loop {
        tokio::select! {
            biased;
            result = answers.next() => match (result, waiting.pop_front()) {
                (Some(Ok(result)), Some(waiter)) => {
                    let ended = result.is_err();
                    // The peer may be gone; nobody else wants the answer.
                    waiter.send(Ok(result)).ok();
                    if ended {
                        for waiter in waiting {
                            waiter.send(Err("an append before this one failed".into())).ok();
                        }
                        return Ok(());
                    }
                }
                (Some(Err(fatal)), Some(waiter)) => {
                    waiter.send(Err(fatal.to_string())).ok();
                    return Err(Stopped);
                }
                (None, _) | (_, None) => return Err(Stopped),
            },
            next = queue.recv(), if waiting.len() < PIPELINED_APPENDS => {
                let Some((request, waiter)) = next else { return Err(Stopped) };
                feed.try_send(request).expect("no more are fed than may wait");
                waiting.push_back(waiter);
            }
        }
    }
}

fn receiver_stream<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    })
}
