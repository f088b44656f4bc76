//! Sends to the other members of a group: appends on the replication lane, liveness on the control lane.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::future::{Either, FutureExt};
use futures::stream::{BoxStream, StreamExt};
use futures::{Stream, future};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::apply::{SnapshotData, encode_mark};
use super::contact::Contact;
use super::types::{Types, Vote};
use super::wire::{self, AppendAnswer, Rpc, RpcKind, SnapshotHello, VERSION};
use crate::blocking::off_thread;
use crate::codec;
use crate::ids::{GroupId, NodeId};
use crate::limits::{APPEND_WINDOW, REPLICATION_STRIPES, SNAPSHOT_CHUNKS};
use crate::machine::SnapshotSource;
use crate::transport::{CallError, Lane, Transport};

type RpcError = RPCError<Types>;
type Built = openraft::alias::SnapshotOf<Types, SnapshotData>;

/// Makes the links of one group to its other members.
pub(super) struct Links {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) group: GroupId,
    /// How long an append may stay unanswered.
    pub(super) deadline: Duration,
    pub(super) contact: Arc<Contact>,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = MemberLink;

    async fn new_client(&mut self, target: u64, _node: &openraft::EmptyNode) -> MemberLink {
        let stripe = u8::try_from(self.group.0 % u32::from(REPLICATION_STRIPES));
        self.link(target, Lane::Replication(stripe.expect("a remainder of a u8 fits")))
    }

    async fn new_heartbeat_client(
        &mut self,
        target: u64,
        _node: &openraft::EmptyNode,
    ) -> MemberLink {
        self.link(target, Lane::Control)
    }
}

impl Links {
    fn link(&self, target: u64, lane: Lane) -> MemberLink {
        MemberLink {
            transport: self.transport.clone(),
            group: self.group,
            deadline: self.deadline,
            contact: self.contact.clone(),
            target: NodeId(target),
            lane,
        }
    }
}

/// One group's way to one other member.
pub(super) struct MemberLink {
    transport: Arc<dyn Transport>,
    group: GroupId,
    deadline: Duration,
    contact: Arc<Contact>,
    target: NodeId,
    lane: Lane,
}

fn unreachable(error: &CallError) -> RpcError {
    match error {
        CallError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(error)),
        _ => RPCError::Network(NetworkError::new(error)),
    }
}

fn malformed(error: &codec::CodecError) -> RpcError {
    RPCError::Network(NetworkError::new(error))
}

impl MemberLink {
    /// Queues the message now; the answer comes with the future.
    fn send(
        &self,
        kind: RpcKind,
        lane: Lane,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, RpcError>> + Send + use<> {
        let rpc = Rpc::new(kind, self.group, body).encode();
        let call = self.transport.call(self.target, lane, rpc, self.deadline);
        async { call.await.map_err(|error| unreachable(&error)) }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: RpcKind,
        request: &Q,
    ) -> Result<A, RpcError> {
        let body = codec::encode(VERSION, request);
        let answer = self.send(kind, Lane::Control, body.into()).await?;
        codec::decode(VERSION, &answer).map_err(|error| malformed(&error))
    }

    fn append(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> impl Future<Output = Result<AppendAnswer, RpcError>> + Send + use<> {
        // Nothing is queued by a leader that is to be silent.
        let answer = (!self.contact.is_silent())
            .then(|| self.send(RpcKind::Append, self.lane, wire::encode_append(request)));
        async {
            let Some(answer) = answer else {
                return Err(unreachable(&CallError::Unreachable("no majority answers".into())));
            };
            codec::decode(VERSION, &answer.await?).map_err(|error| malformed(&error))
        }
    }

    fn tell(&self, request: AppendEntriesRequest<Types>) {
        if self.contact.is_silent() {
            return;
        }
        let body = wire::encode_append(request);
        let rpc = Rpc::new(RpcKind::Append, self.group, body).encode();
        self.transport.tell(self.target, self.lane, rpc);
    }

    async fn transmit(&self, vote: Vote, snapshot: Built) -> Result<Vote, CallError> {
        let SnapshotData::Source(machine) = snapshot.snapshot else {
            return Err(CallError::Refused("a staged snapshot cannot be sent".into()));
        };
        let lost = |error: crate::transport::StreamError| CallError::Lost(error.to_string());
        let hello = SnapshotHello {
            vote,
            last: snapshot.meta.last_log_id,
            mark: encode_mark(&snapshot.meta),
        };
        let hello = codec::encode(VERSION, &hello);
        let hello = Rpc::new(RpcKind::Snapshot, self.group, hello).encode();
        let mut stream = self.transport.open(self.target, -10, hello).await?;
        let since = receive::<u64>(&mut stream).await?;
        let read = |error: io::Error| CallError::Lost(error.to_string());
        let machine = machine.lock_owned().await;
        let mut source = off_thread(move || machine.snapshot(since)).await.map_err(read)?;
        loop {
            let chunks;
            (source, chunks) = read_some(source).await.map_err(read)?;
            let last = chunks.len() < SNAPSHOT_CHUNKS;
            for chunk in chunks {
                stream.send(chunk).await.map_err(lost)?;
            }
            if last {
                break;
            }
        }
        stream.finish().await.map_err(lost)?;
        receive::<Vote>(&mut stream).await
    }
}

async fn receive<T: DeserializeOwned>(
    stream: &mut crate::transport::Stream,
) -> Result<T, CallError> {
    let answer = match stream.recv().await {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => return Err(CallError::Lost(error.to_string())),
        None => return Err(CallError::Lost("the peer ended the snapshot".into())),
    };
    codec::decode(VERSION, &answer).map_err(|error| CallError::Lost(error.to_string()))
}

/// Some chunks of a source, read where blocking is allowed; fewer than requested at its end. No thread
/// is held while the peer takes its time.
async fn read_some(mut source: Box<dyn SnapshotSource>) -> io::Result<Read> {
    let read = move || {
        let mut chunks = Vec::with_capacity(SNAPSHOT_CHUNKS);
        while chunks.len() < SNAPSHOT_CHUNKS {
            let Some(chunk) = source.next_chunk()? else { break };
            chunks.push(chunk);
        }
        Ok((source, chunks))
    };
    off_thread(read).await?
}

type Read = (Box<dyn SnapshotSource>, Vec<Bytes>);

impl RaftNetworkV2<Types> for MemberLink {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        Ok(AppendEntriesResponse::from(self.append(request).await?))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendAnswer, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let mut sent = None;
        let answers = input.map(move |request| {
            let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
            let known = sent.replace(last) == Some(last);
            // How far the peer has the log is requested already: this is only news of what is committed. Should
            // it be lost, the next append or heartbeat repeats it.
            if known && request.entries.is_empty() {
                self.tell(request);
                return Either::Left(future::ready(None));
            }
            Either::Right(self.append(request).map(Some))
        });
        let answers = answers.buffered(APPEND_WINDOW).filter_map(future::ready);
        // After the first failure nothing after it can be trusted to be in order.
        let answers = answers.scan(false, |failed, answer| {
            if *failed {
                return future::ready(None);
            }
            *failed = !matches!(answer, Ok(Ok(_)));
            future::ready(Some(answer))
        });
        Box::pin(future::ready(Ok(answers.boxed())))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask(RpcKind::Vote, &request).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask(RpcKind::PreVote, &request).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Built,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.transmit(vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::from(unreachable(&error))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        self.ask(RpcKind::Transfer, &request).await
    }
}
