//! What replicas write and send: entries in the journal, messages between members of a group.
//!
//! An entry is `kind: u8 | body`; kind 0 is blank, 1 carries a batch as it is, 2 a membership through
//! the codec. A batch is `time_ms: u64 | (length: u32 | command)*`, little-endian. A message is
//! `kind: u8 | group: u32 | body` through the codec; entries ride after it uncopied.

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use serde::{Deserialize, Serialize};

use super::types::{Entry, LogId, Payload, Types, Vote, entry_id, log_id};
use crate::codec::{self, CodecError};
use crate::ids::{EntryId, GroupId, NodeId};
use crate::journal;
use crate::machine::Committed;

/// Version of everything in this file.
pub(crate) const VERSION: u8 = 1;

const BLANK: u8 = 0;
const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// An entry as the journal keeps it.
pub(crate) fn to_journal(entry: Entry) -> journal::Entry {
    let payload = match entry.payload {
        EntryPayload::Blank => Bytes::from_static(&[BLANK]),
        EntryPayload::Normal(Payload(bytes)) => bytes,
        EntryPayload::Membership(membership) => {
            let body = codec::encode(VERSION, &membership);
            let mut bytes = BytesMut::with_capacity(1 + body.len());
            bytes.put_u8(MEMBERSHIP);
            bytes.extend_from_slice(&body);
            bytes.freeze()
        }
    };
    journal::Entry { id: entry_id(&entry.log_id), payload }
}

/// An entry as openraft wants it.
pub(crate) fn from_journal(entry: journal::Entry) -> Result<Entry, CodecError> {
    let payload = match entry.payload.first() {
        Some(&BLANK) => EntryPayload::Blank,
        Some(&BATCH) => EntryPayload::Normal(Payload(entry.payload)),
        Some(&MEMBERSHIP) => EntryPayload::Membership(codec::decode(VERSION, &entry.payload[1..])?),
        Some(other) => return Err(CodecError::Malformed(format!("entry kind {other}"))),
        None => return Err(CodecError::Empty),
    };
    Ok(Entry { log_id: log_id(entry.id), payload })
}

/// Many commands and their one time, as one payload.
pub(crate) fn encode_batch(time_ms: u64, commands: &[Bytes]) -> Payload {
    let size: usize = commands.iter().map(|command| 4 + command.len()).sum();
    let mut bytes = BytesMut::with_capacity(9 + size);
    bytes.put_u8(BATCH);
    bytes.put_u64_le(time_ms);
    for command in commands {
        bytes.put_u32_le(u32::try_from(command.len()).expect("commands are below ENTRY_BYTES"));
        bytes.extend_from_slice(command);
    }
    Payload(bytes.freeze())
}

/// The time and the commands of a payload; they share its bytes.
pub(crate) fn decode_batch(payload: &Payload) -> Result<(u64, Vec<Bytes>), CodecError> {
    let short = || CodecError::Malformed("a batch is cut short".into());
    let mut rest = payload.0.clone();
    let head = (9 <= rest.len()).then(|| rest.split_to(9)).ok_or_else(short)?;
    let time_ms = u64::from_le_bytes(head[1..9].try_into().expect("eight bytes"));
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let length = (4 <= rest.len()).then(|| rest.split_to(4)).ok_or_else(short)?;
        let length = u32::from_le_bytes(length[..].try_into().expect("four bytes")) as usize;
        commands.push((length <= rest.len()).then(|| rest.split_to(length)).ok_or_else(short)?);
    }
    Ok((time_ms, commands))
}

/// What a message between members is for; its number is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RpcKind {
    Append = 0,
    Vote = 1,
    PreVote = 2,
    Transfer = 3,
    ReadIndex = 4,
    Snapshot = 5,
    /// Not Raft's: a message of the layer above.
    Application = 6,
    /// Queries whether a node takes leads now.
    Willing = 7,
    /// Queries a group's leader whether it counts the requesting node among the members: an error where it does.
    Dropped = 8,
    /// Queries whether a node's cluster exists already: an error where the node has no map.
    Born = 9,
    /// Queries what a node's clocks show.
    Clocks = 10,
    /// Reports how far a node durably is, in all its groups.
    Position = 12,
    /// Not Raft's: a call that goes by a third node.
    Relayed = 16,
}

/// A message with its head taken off.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    pub(crate) kind: RpcKind,
    pub(crate) group: GroupId,
    pub(crate) body: Bytes,
}

impl Rpc {
    pub(crate) fn new(kind: RpcKind, group: GroupId, body: impl Into<Bytes>) -> Self {
        Rpc { kind, group, body: body.into() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(5 + self.body.len());
        bytes.put_u8(self.kind as u8);
        bytes.put_u32_le(self.group.0);
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, CodecError> {
        if bytes.len() < 5 {
            return Err(CodecError::Malformed("a message has no head".into()));
        }
        let head = bytes.split_to(5);
        let kind = match head[0] {
            0 => RpcKind::Append,
            1 => RpcKind::Vote,
            2 => RpcKind::PreVote,
            3 => RpcKind::Transfer,
            4 => RpcKind::ReadIndex,
            5 => RpcKind::Snapshot,
            6 => RpcKind::Application,
            7 => RpcKind::Willing,
            8 => RpcKind::Dropped,
            9 => RpcKind::Born,
            10 => RpcKind::Clocks,
            12 => RpcKind::Position,
            16 => RpcKind::Relayed,
            other => return Err(CodecError::Malformed(format!("message kind {other}"))),
        };
        let group = u32::from_le_bytes(head[1..5].try_into().expect("four bytes"));
        Ok(Rpc { kind, group: GroupId(group), body: bytes })
    }
}

#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: Vote,
    prev: Option<LogId>,
    commit: Option<LogId>,
    entries: Vec<(EntryId, u32)>,
}

/// `length: u32 | head | payloads back to back`.
pub(crate) fn encode_append(request: AppendEntriesRequest<Types>) -> Bytes {
    let entries: Vec<_> = request.entries.into_iter().map(to_journal).collect();
    let length = |entry: &journal::Entry| {
        u32::try_from(entry.payload.len()).expect("entries are below RECORD_BYTES")
    };
    let head = AppendHead {
        vote: request.vote,
        prev: request.prev_log_id,
        commit: request.leader_commit,
        entries: entries.iter().map(|entry| (entry.id, length(entry))).collect(),
    };
    let head = codec::encode(VERSION, &head);
    let size: usize = entries.iter().map(|entry| entry.payload.len()).sum();
    let mut bytes = BytesMut::with_capacity(4 + head.len() + size);
    bytes.put_u32_le(u32::try_from(head.len()).expect("a head is small"));
    bytes.extend_from_slice(&head);
    for entry in &entries {
        bytes.extend_from_slice(&entry.payload);
    }
    bytes.freeze()
}

pub(crate) fn decode_append(mut bytes: Bytes) -> Result<AppendEntriesRequest<Types>, CodecError> {
    let short = || CodecError::Malformed("an append is cut short".into());
    let length = (4 <= bytes.len()).then(|| bytes.split_to(4)).ok_or_else(short)?;
    let length = u32::from_le_bytes(length[..].try_into().expect("four bytes")) as usize;
    let head = (length <= bytes.len()).then(|| bytes.split_to(length)).ok_or_else(short)?;
    let head: AppendHead = codec::decode(VERSION, &head)?;
    let mut entries = Vec::with_capacity(head.entries.len().min(4096));
    for (id, length) in head.entries {
        let length = length as usize;
        let payload = (length <= bytes.len()).then(|| bytes.split_to(length)).ok_or_else(short)?;
        entries.push(from_journal(journal::Entry { id, payload })?);
    }
    Ok(AppendEntriesRequest {
        vote: head.vote,
        prev_log_id: head.prev,
        entries,
        leader_commit: head.commit,
    })
}

/// The answer to one append, as the stream of openraft has it.
pub(crate) type AppendAnswer = StreamAppendResult<Types>;

/// The first message of a snapshot stream.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotHello {
    pub(crate) vote: Vote,
    pub(crate) last: Option<LogId>,
    pub(crate) mark: Bytes,
}

/// A leader's answer to a request for a read index: everything below `next` is committed.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReadIndexAnswer {
    pub(crate) next: u64,
    pub(crate) leader: NodeId,
}

/// An entry of the journal as a machine sees it.
pub(crate) fn decode_entry(entry: journal::Entry) -> std::io::Result<Committed> {
    let invalid = |error: CodecError| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    let id = entry.id;
    let (time_ms, commands) = match from_journal(entry).map_err(invalid)?.payload {
        EntryPayload::Normal(payload) => decode_batch(&payload).map_err(invalid)?,
        EntryPayload::Blank | EntryPayload::Membership(_) => (0, Vec::new()),
    };
    Ok(Committed { id, time_ms, commands })
}
