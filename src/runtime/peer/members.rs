//! What nodes send to each other about changes of the members. A promise, like `wire.rs`.

use cluster::ids::MapVersion;
use serde::{Deserialize, Serialize};

/// A change of the members, as an operator requests it. Addresses that are left out are those that the node
/// itself reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A node more.
    Join { node: u64, peer: Option<String>, http: Option<String> },
    /// `with` takes the place of `node`.
    Replace { node: u64, with: u64, peer: Option<String>, http: Option<String> },
    /// A node less.
    Leave { node: u64 },
}

impl MemberChange {
    /// The node that comes in.
    pub(in crate::runtime) fn newcomer(&self) -> Option<u64> {
        match self {
            MemberChange::Join { node, .. } => Some(*node),
            MemberChange::Replace { with, .. } => Some(*with),
            MemberChange::Leave { .. } => None,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) enum ChangeAnswer {
    Agreed { changed: bool },
    Refused(String),
    Unknown(String),
    Unavailable(String),
}

/// What a node reports about itself before it is a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Introduction {
    pub(in crate::runtime) peer: String,
    pub(in crate::runtime) http: String,
    /// Of the map that it knows; 0 for none.
    pub(in crate::runtime) version: MapVersion,
}

/// The members of a group, as its leader has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct LedGroup {
    /// 0 is the system group.
    pub(in crate::runtime) shard: u32,
    pub(in crate::runtime) term: u64,
    pub(in crate::runtime) last: u64,
    /// Whether a change of them is half done or not committed yet.
    pub(in crate::runtime) is_changing: bool,
    pub(in crate::runtime) voters: Vec<u64>,
    pub(in crate::runtime) learners: Vec<u64>,
    /// The last entry that each other member is known to have.
    pub(in crate::runtime) matched: Vec<(u64, Option<u64>)>,
}

impl LedGroup {
    /// How many entries `node` lacks, where that is known.
    pub(in crate::runtime) fn lag(&self, node: u64) -> Option<u64> {
        let matched = self.matched.iter().find(|(known, _)| *known == node)?.1?;
        Some(self.last.saturating_sub(matched))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::wire::{Request, Response};
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check_request(request: &Request, wanted: Expect) {
        let bytes = request.encode();
        wanted.assert_eq(&hex(&bytes));
        assert_eq!(Request::decode(&bytes).unwrap(), *request);
    }

    fn check_response(answered: &Response, wanted: Expect) {
        let bytes = answered.encode();
        wanted.assert_eq(&hex(&bytes));
        assert_eq!(Response::decode(bytes).unwrap(), *answered);
    }

    #[test]
    fn what_nodes_say_about_members_keeps_its_bytes() {
        let change = MemberChange::Replace { node: 2, with: 4, peer: Some("h".into()), http: None };
        check_request(&Request::ChangeMembers(change), expect!["010a01020401016800"]);
        check_request(&Request::Introduce, expect!["010b"]);
        check_request(&Request::LedGroups, expect!["010c"]);
        let agreed = ChangeAnswer::Agreed { changed: true };
        check_response(&Response::MembersChanged(agreed), expect!["010b0001"]);
        let introduction =
            Introduction { peer: "h".into(), http: "u".into(), version: MapVersion::NONE };
        check_response(&Response::Introduced(introduction), expect!["010c0168017500"]);
        let led = LedGroup {
            shard: 3,
            term: 2,
            last: 9,
            is_changing: true,
            voters: vec![1, 3],
            learners: vec![4],
            matched: vec![(3, Some(9)), (4, None)],
        };
        check_response(
            &Response::LedGroups(vec![led]),
            expect!["010d01030209010201030104020301090400"],
        );
    }
}
