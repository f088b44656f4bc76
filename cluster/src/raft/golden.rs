//! What members of a group store and send is a promise: these bytes decode for ever, and encode the same today.
//!
//! openraft's own types are in here, so that another release of it cannot change them unseen.

use std::collections::BTreeSet;

use bytes::Bytes;
use expect_test::{Expect, expect};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult, VoteRequest, VoteResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{Entry, LogId, Payload, Types, Vote, log_id};
use super::wire::{self, Rpc, RpcKind, SnapshotHello, VERSION};
use crate::codec;
use crate::ids::{EntryId, GroupId, NodeId};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id(index: u64) -> LogId {
    log_id(EntryId { term: 3, node: 2, index })
}

/// Encodes `value`, and what it decodes to again.
fn check<T: Serialize + DeserializeOwned>(value: &T, wanted: Expect) {
    let bytes = codec::encode(VERSION, value);
    wanted.assert_eq(&hex(&bytes));
    let back: T = codec::decode(VERSION, &bytes).expect("it decodes");
    assert_eq!(codec::encode(VERSION, &back), bytes);
}

#[test]
fn entries_keep_their_bytes() {
    let batch = wire::encode_batch(5, &[Bytes::from_static(b"ab"), Bytes::new()]);
    expect!["01050000000000000002000000616200000000"].assert_eq(&hex(&batch.0));
    let (time, commands) = wire::decode_batch(&batch).expect("it decodes");
    assert_eq!((time, commands.len()), (5, 2));
    let voters: BTreeSet<u64> = [1, 2, 3].into();
    let membership = openraft::Membership::new_with_defaults(vec![voters], [4]);
    for (payload, wanted) in [
        (EntryPayload::Blank, expect!["00"]),
        (EntryPayload::Normal(batch), expect!["01050000000000000002000000616200000000"]),
        (EntryPayload::Membership(membership), expect!["020101030102030401020304"]),
    ] {
        let kept = wire::to_journal(Entry { log_id: id(7), payload });
        wanted.assert_eq(&hex(&kept.payload));
        let again = wire::to_journal(wire::from_journal(kept.clone()).expect("it decodes"));
        assert_eq!((again.id, again.payload), (kept.id, kept.payload));
    }
}

#[test]
fn messages_keep_their_bytes() {
    let vote = Vote::new_committed(3, 2);
    let entries = vec![
        Entry {
            log_id: id(8),
            payload: EntryPayload::Normal(Payload(Bytes::from_static(&[1; 9]))),
        },
        Entry { log_id: id(9), payload: EntryPayload::Blank },
    ];
    let (prev_log_id, leader_commit) = (Some(id(7)), Some(id(6)));
    let append = AppendEntriesRequest::<Types> { vote, prev_log_id, entries, leader_commit };
    let bytes = wire::encode_append(append);
    expect!["1500000001030201010302070103020602030208090302090101010101010101010100"]
        .assert_eq(&hex(&bytes));
    let again = wire::decode_append(bytes.clone()).expect("it decodes");
    assert_eq!(wire::encode_append(again), bytes);

    let rpc = Rpc::new(RpcKind::Willing, GroupId(258), Bytes::from_static(b"x"));
    expect!["070201000078"].assert_eq(&hex(&rpc.encode()));
    let again = Rpc::decode(rpc.encode()).expect("it decodes");
    assert_eq!((again.kind, again.group, again.body), (rpc.kind, rpc.group, rpc.body));

    check::<StreamAppendResult<Types>>(&Ok(Some(id(9))), expect!["010001030209"]);
    let vote = Vote::new(4, 1);
    check(
        &VoteRequest::<Types> { vote, last_log_id: Some(id(9)), leadership_transfer: true },
        expect!["010401000103020901"],
    );
    let response = VoteResponse::<Types> { vote, vote_granted: true, last_log_id: None };
    check(&response, expect!["010401000100"]);
    let mark = Bytes::from_static(b"m");
    check(&SnapshotHello { vote, last: Some(id(9)), mark }, expect!["0104010001030209016d"]);
    check(&wire::ReadIndexAnswer { next: 9, leader: NodeId(2) }, expect!["010902"]);
}
