//! What runtimes of different nodes say to each other. A promise: it changes only with its version.

use bytes::Bytes;
use cluster::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

use super::members::{ChangeAnswer, Introduction, LedGroup, MemberChange};
use super::outcome::Outcome;
use super::present::{ToldAttending, ToldCompany, ToldNews};
use super::told::Told;

const VERSION: u8 = 1;

/// A question to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Asked {
    /// Commit this frozen command, if you lead.
    Submit { session: String, command: Bytes, within_ms: u64 },
    /// What is the session now?
    Status { session: String, within_ms: u64 },
    /// Which sessions does the shard have?
    List { shard: u32, prefix: String, after: Option<String>, limit: u32, within_ms: u64 },
    /// How are you?
    Report,
    /// Have you a turn for this agent?
    Offer { agent: String, within_ms: u64 },
    /// These are attached at my node; `boot` and `round` order what I say.
    Present { boot: u64, round: u64, sessions: Vec<ToldAttending> },
    /// Who is there, in sessions that somebody at your node is attached to.
    Attended { sessions: Vec<ToldNews> },
    /// Who is there, as the leader knows?
    Company { session: String },
    /// Does anybody at your node work for this agent?
    Serves { agent: String },
    /// What is your copy, once you have applied everything before `next`?
    Compare { session: String, next: u64, within_ms: u64 },
    /// Change the members, if you lead the system group.
    ChangeMembers(MemberChange),
    /// Who are you? Asked of a node that is to come in.
    Introduce,
    /// Which groups do you lead, and who are their members?
    LedGroups,
}

/// A peer's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Answered {
    Submitted(Outcome),
    /// Nothing happened; perhaps there.
    Elsewhere {
        leader: Option<u64>,
    },
    Status(Option<Box<Told>>),
    Listed(Vec<Line>),
    Unavailable(String),
    Report(Condition),
    /// Session and turn.
    Offered(Option<(String, String)>),
    /// It is noted, but for shards that are led elsewhere, perhaps there.
    Noted {
        elsewhere: Vec<(u32, Option<u64>)>,
    },
    Company(ToldCompany),
    Serves(bool),
    /// The copy, if there is one, and how far that replica has applied; none if it did not get there.
    Compared {
        copy: Option<(Option<Copied>, u64)>,
    },
    MembersChanged(ChangeAnswer),
    Introduced(Introduction),
    LedGroups(Vec<LedGroup>),
}

impl Asked {
    pub(in crate::runtime) fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    pub(in crate::runtime) fn decode(bytes: &[u8]) -> Result<Asked, CodecError> {
        codec::decode(VERSION, bytes)
    }
}

impl Answered {
    pub(in crate::runtime) fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    pub(in crate::runtime) fn decode(bytes: Bytes) -> Result<Answered, CodecError> {
        codec::decode(VERSION, &bytes)
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Line {
    pub(in crate::runtime) id: String,
    pub(in crate::runtime) incarnation: u32,
    pub(in crate::runtime) root: u32,
    pub(in crate::runtime) tail: u64,
    pub(in crate::runtime) closed: bool,
    pub(in crate::runtime) created_at: u64,
    pub(in crate::runtime) updated_at: u64,
}

/// What a replica has of a session, to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Copied {
    pub(in crate::runtime) incarnation: u32,
    pub(in crate::runtime) tail: u64,
    pub(in crate::runtime) chain: u64,
    pub(in crate::runtime) closed: bool,
}

/// How a node is, for the reports of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Condition {
    pub(in crate::runtime) sessions_in_memory: u64,
    pub(in crate::runtime) readers: u64,
    pub(in crate::runtime) draining: bool,
    pub(in crate::runtime) shards: Vec<Standing>,
}

/// How one replica stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Standing {
    pub(in crate::runtime) shard: u32,
    pub(in crate::runtime) term: u64,
    pub(in crate::runtime) leads: bool,
    pub(in crate::runtime) voter: bool,
    pub(in crate::runtime) last: u64,
    pub(in crate::runtime) applied: u64,
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::present::{ToldDevice, ToldLink};
    use super::*;

    fn check_asked(asked: &Asked, wanted: Expect) {
        let bytes = asked.encode();
        wanted.assert_eq(&hex(&bytes));
        assert_eq!(Asked::decode(&bytes).unwrap(), *asked);
    }

    fn check_answered(answered: &Answered, wanted: Expect) {
        let bytes = answered.encode();
        wanted.assert_eq(&hex(&bytes));
        assert_eq!(Answered::decode(bytes).unwrap(), *answered);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_nodes_ask_each_other_keeps_its_bytes() {
        let command = Bytes::from_static(&[1, 2, 3]);
        check_asked(
            &Asked::Submit { session: "s".into(), command, within_ms: 5000 },
            expect!["0100017303010203fb8813"],
        );
        check_asked(&Asked::Status { session: "s".into(), within_ms: 1 }, expect!["0101017301"]);
        let (prefix, after) = ("a".into(), Some("b".into()));
        check_asked(
            &Asked::List { shard: 3, prefix, after, limit: 9, within_ms: 1 },
            expect!["01020301610101620901"],
        );
        check_asked(&Asked::Report, expect!["0103"]);
        let (session, has) = ("s".to_string(), (3, 300));
        let (participant, device) = ("ada".to_string(), Some("phone".to_string()));
        let link = ToldLink { number: 7, participant, device, role: 2, since: 9 };
        let sessions = vec![ToldAttending { session, links: vec![link], has }];
        check_asked(
            &Asked::Present { boot: 1, round: 2, sessions },
            expect!["01050102010173010703616461010570686f6e65020903fb2c01"],
        );
        let news = ToldNews { session: "s".into(), stamp: (3, 300), company: company() };
        check_asked(
            &Asked::Attended { sessions: vec![news] },
            expect!["010601017303fb2c01010361646101000209030101"],
        );
        check_asked(&Asked::Company { session: "s".into() }, expect!["01070173"]);
        let asked = Asked::Compare { session: "s".into(), next: 9, within_ms: 1 };
        check_asked(&asked, expect!["010901730901"]);
    }

    fn company() -> ToldCompany {
        let device = ToldDevice { device: None, links: 2, since: 9, role: 3 };
        let people = vec![("ada".to_string(), vec![device])];
        ToldCompany { people, watchers: 1, controllers: 1 }
    }

    #[test]
    fn what_nodes_answer_each_other_keeps_its_bytes() {
        use super::super::outcome::{Did, Why};
        let what = Did::Appended {
            first: Some(3),
            last: Some(4),
            duplicate: false,
            closed: true,
            seq: None,
        };
        let applied = Outcome::Applied { what, incarnation: 1, root: 1, tail: 4 };
        check_answered(&Answered::Submitted(applied), expect!["0100000101030104000100010104"]);
        let why = Why::SequenceGap { expected: 2, received: 5 };
        let refused = Outcome::Refused { why, incarnation: Some(1), root: Some(1), tail: 4 };
        check_answered(&Answered::Submitted(refused), expect!["0100010702050101010104"]);
        check_answered(&Answered::Elsewhere { leader: Some(2) }, expect!["01010102"]);
        check_answered(&Answered::Status(None), expect!["010200"]);
        check_answered(&Answered::Unavailable("x".into()), expect!["01040178"]);
        let standing =
            Standing { shard: 1, term: 2, leads: true, voter: true, last: 9, applied: 8 };
        let condition = Condition {
            sessions_in_memory: 1,
            readers: 2,
            draining: false,
            shards: vec![standing],
        };
        check_answered(&Answered::Report(condition), expect!["010501020001010201010908"]);
        let elsewhere = vec![(3, Some(2)), (4, None)];
        check_answered(&Answered::Noted { elsewhere }, expect!["0107020301020400"]);
        check_answered(&Answered::Company(company()), expect!["0108010361646101000209030101"]);
        let copied = Copied { incarnation: 1, tail: 4, chain: 5, closed: true };
        let copy = Some((Some(copied), 9));
        check_answered(&Answered::Compared { copy }, expect!["010a01010104050109"]);
    }
}
