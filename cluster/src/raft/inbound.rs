//! Serves what the other members of a group send.
//!
//! Appends must reach openraft in the order in which they came: [`Inbound::call`] queues them before it
//! returns.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use openraft::storage::Snapshot;
use serde::Serialize;

use super::apply::{SnapshotData, decode_mark};
use super::contact::Contact;
use super::history::History;
use super::replica::RaftHandle;
use super::types::{Types, Vote};
use super::wire::{self, AppendAnswer, Rpc, RpcKind, SnapshotHello, VERSION};
use crate::blocking::off_thread;
use crate::codec;
use crate::ids::GroupId;
use crate::machine::{Staged, write_chunk};
use crate::settled::Settled;
use crate::transport;

/// Numbers the staged files of this process; those of an earlier one are gone.
static STAGED: AtomicU64 = AtomicU64::new(0);

type Answered = Result<Bytes, String>;

/// The receiving side of one group on one node.
pub(super) struct Inbound {
    pub(super) raft: RaftHandle,
    pub(super) group: GroupId,
    pub(super) history: History,
    pub(super) settled: Settled,
    pub(super) staging: PathBuf,
    pub(super) contact: Arc<Contact>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn answer(value: &impl Serialize) -> Answered {
    Ok(codec::encode(VERSION, value).into())
}

impl Inbound {
    /// Takes one message; what needs order is done before this returns.
    pub(super) fn call(&self, rpc: Rpc) -> transport::BoxFuture<Answered> {
        let raft = self.raft.clone();
        match rpc.kind {
            RpcKind::Append => match wire::decode_append(rpc.body) {
                Err(error) => Box::pin(async move { Err(text(error)) }),
                Ok(request) => match self.history.admits(&request) {
                    Ok(()) => append(raft, request, self.contact.clone()),
                    Err(why) => Box::pin(async move { Err(why) }),
                },
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
            RpcKind::Snapshot
            | RpcKind::Application
            | RpcKind::Willing
            | RpcKind::Dropped
            | RpcKind::Born
            | RpcKind::Clocks
            | RpcKind::Position
            | RpcKind::Relayed => Box::pin(async { Err("not a message of a group".into()) }),
        }
    }

    /// Receives a snapshot: answers what we have, stages the chunks, installs them.
    pub(super) async fn snapshot(
        &self,
        hello: Bytes,
        mut stream: transport::Stream,
    ) -> Result<(), String> {
        let hello: SnapshotHello = codec::decode(VERSION, &hello).map_err(text)?;
        let meta = decode_mark(&hello.mark).map_err(text)?;
        self.history.admits_snapshot(&hello.vote, meta.last_log_id.as_ref())?;
        let since = codec::encode(VERSION, &self.settled.next());
        stream.send(since.into()).await.map_err(text)?;
        let number = STAGED.fetch_add(1, Ordering::Relaxed);
        let path = self.staging.join(format!("{}-{number}.part", self.group));
        let staged = Staged::new(path.clone());
        let mut file = off_thread(move || create(&path)).await.map_err(text)?.map_err(text)?;
        while let Some(chunk) = stream.recv().await {
            let chunk = chunk.map_err(text)?;
            let write = move || write_chunk(&mut file, &chunk).map(|()| file);
            file = off_thread(write).await.map_err(text)?.map_err(text)?;
        }
        let flush = move || io::Write::flush(&mut file);
        off_thread(flush).await.map_err(text)?.map_err(text)?;
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

/// Gives Raft an append. It has its place among the others when this returns.
fn append(
    raft: RaftHandle,
    request: AppendEntriesRequest<Types>,
    contact: Arc<Contact>,
) -> transport::BoxFuture<Answered> {
    let prev = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(prev);
    // The first poll queues the message, or takes a place in the line before a full queue; a spent budget
    // must not keep it from that.
    let requested = async move { raft.append_entries(request).await };
    let mut requested = Box::pin(tokio::task::unconstrained(requested));
    let early = (&mut requested).now_or_never();
    Box::pin(async move {
        let response = match early {
            Some(response) => response,
            None => requested.await,
        };
        let result: AppendAnswer = response.map_err(text)?.into_stream_result(prev, last);
        if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
            contact.received();
        }
        answer(&result)
    })
}
