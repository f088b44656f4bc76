//! What runtimes of different nodes send to each other. A promise: it changes only with its version.

use bytes::Bytes;
use cluster::codec::{self, CodecError};
use cluster::ids::NodeId;
use serde::{Deserialize, Serialize};

use super::members::{ChangeAnswer, Introduction, LedGroup, MemberChange};
use crate::ids::{AgentId, FileId, Incarnation, Serial, SessionId, TenantName, TurnId};
use crate::runtime::ephemeral::EphemeralMessage;
use crate::runtime::files::SessionFiles;
use crate::runtime::following::{ShardChanges, ShardPlace};
use crate::runtime::outcome::{Reply, SubmitError};
use crate::runtime::presence::table::News;
use crate::runtime::presence::{Attending, PresenceSnapshot};
use crate::runtime::report::Summary;
use crate::session::{Carried, Denied, Grant, Holding, Status, TurnPlace};

const VERSION: u8 = 1;

/// A request to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Request {
    /// Commit this encoded command, if you lead, and if the requester's grant allows it. Nodes request some by
    /// themselves, and so do all clients where no credentials are required: those have none.
    Submit { session: SessionId, command: Bytes, within_ms: u64, grant: Option<Box<Grant>> },
    /// What is the session now?
    Status { session: SessionId, within_ms: u64, grant: Option<Box<Grant>> },
    /// Which sessions does the shard have?
    List {
        shard: u32,
        prefix: String,
        after: Option<String>,
        limit: u32,
        within_ms: u64,
        grant: Option<Box<Grant>>,
    },
    /// How are you?
    Report,
    /// Have you a turn for this agent?
    Offer { agent: AgentId, within_ms: u64 },
    /// These are attached at my node; `boot` and `round` order my reports.
    Present { boot: u64, round: u64, sessions: Vec<Attending> },
    /// Who is there, in sessions with attachments at your node.
    Attended { sessions: Vec<News> },
    /// Who is there, as the leader knows?
    PresenceSnapshot { session: SessionId },
    /// Does anybody at your node work for this agent?
    Serves { agent: AgentId },
    /// What is your copy, once you have applied everything before `next`?
    Compare { session: SessionId, next: u64, within_ms: u64 },
    /// Change the members, if you lead the system group.
    ChangeMembers(MemberChange),
    /// Who are you? Sent to a node that is to come in.
    Introduce,
    /// Which groups do you lead, and who are their members?
    LedGroups,
    /// This was sent at my node, and is not kept.
    Ephemeral { messages: Vec<EphemeralMessage> },
    /// What do these tenants hold in these shards?
    Holdings { shards: Vec<u32>, tenants: Vec<String> },
    /// What does the session remember of this input?
    PlaceOf { session: SessionId, input: TurnId, within_ms: u64, grant: Option<Box<Grant>> },
    /// What is known of a file of the session, or of all?
    Files { session: SessionId, file: Option<FileId>, within_ms: u64, grant: Option<Box<Grant>> },
    /// Which bytes of a file has your replica from here on?
    FileBytes {
        session: SessionId,
        incarnation: Incarnation,
        number: u64,
        offset: u64,
        grant: Option<Box<Grant>>,
    },
    /// What does the session take along if it moves?
    Carried { session: SessionId, within_ms: u64, grant: Option<Box<Grant>> },
    /// What changed in the tenant's sessions of the shard?
    Changes {
        shard: u32,
        tenant: Option<TenantName>,
        place: ShardPlace,
        limit: u32,
        within_ms: u64,
        grant: Option<Box<Grant>>,
    },
}

/// A peer's response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) enum Response {
    Submitted(Result<Reply, SubmitError>),
    /// Nothing happened; perhaps there.
    Elsewhere {
        leader: Option<NodeId>,
    },
    Status(Option<Box<Status>>),
    Listed(Vec<Summary>),
    Unavailable(String),
    Report(Condition),
    Offered(Option<(SessionId, TurnId)>),
    /// It is noted, but for shards that are led elsewhere, perhaps there.
    Noted {
        elsewhere: Vec<(u32, Option<NodeId>)>,
    },
    PresenceSnapshot(PresenceSnapshot),
    Serves(bool),
    /// The copy, if there is one, and how far that replica has applied; none if it did not get there.
    Compared {
        copy: Option<(Option<Copied>, u64)>,
    },
    MembersChanged(ChangeAnswer),
    Introduced(Introduction),
    LedGroups(Vec<LedGroup>),
    /// Shard, place of the tenant in the request, and what it holds there; only of shards that are counted.
    Holdings(Vec<(u32, u32, Holding)>),
    PlaceOf(Option<TurnPlace>),
    Files(Option<SessionFiles>),
    FileBytes(Option<Bytes>),
    /// The requester's grant does not allow it.
    Denied(Denied),
    Carried(Option<Box<Carried>>),
    Changes(ShardChanges),
}

impl Request {
    pub(in crate::runtime) fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    pub(in crate::runtime) fn decode(bytes: &[u8]) -> Result<Request, CodecError> {
        codec::decode(VERSION, bytes)
    }
}

impl Response {
    pub(in crate::runtime) fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    pub(in crate::runtime) fn decode(bytes: Bytes) -> Result<Response, CodecError> {
        codec::decode(VERSION, &bytes)
    }
}

/// What a replica has of a session, to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Copied {
    pub(in crate::runtime) incarnation: Incarnation,
    pub(in crate::runtime) tail: Serial,
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

    use super::*;
    use crate::ids::{AgentName, DeviceName, Millis, ParticipantName};
    use crate::runtime::presence::{Attendee, Device, PresenceLink, Stamp};
    use crate::session::{Applied, Refusal, Right, Role};

    fn session() -> SessionId {
        SessionId::parse("s").unwrap()
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

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_nodes_ask_each_other_keeps_its_bytes() {
        let command = Bytes::from_static(&[1, 2, 3]);
        check_request(
            &Request::Submit {
                session: session(),
                command: command.clone(),
                within_ms: 5000,
                grant: None,
            },
            expect!["0100017303010203fb881300"],
        );
        let grant = Grant { rights: vec![Right::Read, Right::Send], ..Grant::all() };
        let grant = Some(Box::new(grant));
        check_request(
            &Request::Submit { session: session(), command, within_ms: 5000, grant },
            expect!["0100017303010203fb8813010002000101012a01012a00000300"],
        );
        let (within_ms, grant) = (1, None);
        check_request(
            &Request::Status { session: session(), within_ms, grant },
            expect!["010101730100"],
        );
        let input = TurnId::parse("i").unwrap();
        let grant = Some(Box::new(Grant { rights: vec![Right::Read], ..Grant::all() }));
        check_request(
            &Request::PlaceOf { session: session(), input, within_ms, grant },
            expect!["010f01730169010100010001012a01012a00000300"],
        );
        let (prefix, after) = ("a".into(), Some("b".into()));
        check_request(
            &Request::List { shard: 3, prefix, after, limit: 9, within_ms: 1, grant: None },
            expect!["0102030161010162090100"],
        );
        check_request(&Request::Report, expect!["0103"]);
        let attendee = Attendee {
            participant: ParticipantName::parse("ada").unwrap(),
            device: Some(DeviceName::parse("phone").unwrap()),
            role: Role::Controller,
        };
        let links = vec![PresenceLink { number: 7, attendee, since: Millis(9) }];
        let sessions = vec![Attending::sample(session(), links, Stamp { term: 3, number: 300 })];
        check_request(
            &Request::Present { boot: 1, round: 2, sessions },
            expect!["01050102010173010703616461010570686f6e65020903fb2c01"],
        );
        let stamp = Stamp { term: 3, number: 300 };
        let news = News { id: session(), stamp, company: company() };
        check_request(
            &Request::Attended { sessions: vec![news] },
            expect!["010601017303fb2c01010361646101000209030101"],
        );
        let name = AgentName::parse("a").unwrap();
        let agent = AgentId { tenant: TenantName::parse("t").ok(), name };
        check_request(
            &Request::Offer { agent: agent.clone(), within_ms: 1 },
            expect!["0104010174016101"],
        );
        check_request(&Request::Serves { agent }, expect!["01080101740161"]);
        check_request(&Request::PresenceSnapshot { session: session() }, expect!["01070173"]);
        let request = Request::Compare { session: session(), next: 9, within_ms: 1 };
        check_request(&request, expect!["010901730901"]);
        let messages = vec![crate::runtime::ephemeral::tests::message("s", "ada", "hi")];
        check_request(
            &Request::Ephemeral { messages },
            expect!["010d01017300036164610006747970696e6704746578740268690009"],
        );
    }

    #[test]
    fn what_tenants_hold_keeps_its_bytes() {
        let request = Request::Holdings { shards: vec![3], tenants: vec!["acme".into()] };
        check_request(&request, expect!["010e0103010461636d65"]);
        let held = Holding { sessions: 1, open_turns: 2, stored_bytes: 300 };
        check_response(&Response::Holdings(vec![(3, 0, held)]), expect!["010e0103000102fb2c01"]);
    }

    #[test]
    fn what_is_asked_of_files_keeps_its_bytes() {
        let file = FileId::parse("file_0123456789abcdef").ok();
        check_request(
            &Request::Files { session: session(), file, within_ms: 1, grant: None },
            expect!["01100173011566696c655f303132333435363738396162636465660100"],
        );
        let incarnation = Incarnation::FIRST;
        check_request(
            &Request::FileBytes {
                session: session(),
                incarnation,
                number: 2,
                offset: 300,
                grant: None,
            },
            expect!["011101730102fb2c0100"],
        );
        let bytes = Bytes::from_static(b"hi");
        check_response(&Response::FileBytes(Some(bytes)), expect!["011101026869"]);
    }

    #[test]
    fn what_moves_and_what_changed_keeps_its_bytes() {
        let request = Request::Carried { session: session(), within_ms: 1, grant: None };
        check_request(&request, expect!["011201730100"]);
        check_response(&Response::Carried(None), expect!["011300"]);
        let scan = Some(crate::runtime::following::Scan { upto: 10, after: "a".into() });
        let place = ShardPlace { since: 9, scan };
        let request =
            Request::Changes { shard: 3, tenant: None, place, limit: 5, within_ms: 1, grant: None };
        check_request(&request, expect!["0113030009010a0161050100"]);
        let changes = ShardChanges::default();
        check_response(&Response::Changes(changes), expect!["01140000000000"]);
    }

    fn company() -> PresenceSnapshot {
        let device = Device { device: None, links: 2, since: Millis(9), role: Role::Supervisor };
        let ada = ParticipantName::parse("ada").unwrap();
        PresenceSnapshot { people: [(ada, vec![device])].into(), watchers: 1, controllers: 1 }
    }

    #[test]
    fn what_nodes_answer_each_other_keeps_its_bytes() {
        let (life, tail) = (Incarnation::FIRST, Serial(4));
        let applied = Applied::Appended {
            first: Some(Serial(3)),
            last: Some(tail),
            duplicate: false,
            closed: true,
            seq: None,
        };
        let reply = Reply { applied, incarnation: life, root: life, tail };
        check_response(&Response::Submitted(Ok(reply)), expect!["0100000101030104000100010104"]);
        let refused = SubmitError::Refused {
            refusal: Refusal::SequenceGap { expected: 2, received: 5 },
            incarnation: Some(life),
            root: Some(life),
            tail,
        };
        check_response(&Response::Submitted(Err(refused)), expect!["010001000802050101010104"]);
        let unknown = SubmitError::Unknown("x".into());
        check_response(&Response::Submitted(Err(unknown)), expect!["010001020178"]);
        let denied = SubmitError::Denied(Denied::Right(Right::Send));
        check_response(&Response::Submitted(Err(denied)), expect!["010001030101"]);
        check_response(&Response::Elsewhere { leader: Some(NodeId(2)) }, expect!["01010102"]);
        check_response(&Response::Status(None), expect!["010200"]);
        check_response(&Response::Unavailable("x".into()), expect!["01040178"]);
        check_response(&Response::Denied(Denied::Session), expect!["011200"]);
        let standing =
            Standing { shard: 1, term: 2, leads: true, voter: true, last: 9, applied: 8 };
        let condition = Condition {
            sessions_in_memory: 1,
            readers: 2,
            draining: false,
            shards: vec![standing],
        };
        check_response(&Response::Report(condition), expect!["010501020001010201010908"]);
        let elsewhere = vec![(3, Some(NodeId(2))), (4, None)];
        check_response(&Response::Noted { elsewhere }, expect!["0107020301020400"]);
        check_response(
            &Response::PresenceSnapshot(company()),
            expect!["0108010361646101000209030101"],
        );
        let copied = Copied { incarnation: life, tail, chain: 5, closed: true };
        let copy = Some((Some(copied), 9));
        check_response(&Response::Compared { copy }, expect!["010a01010104050109"]);
    }

    mod fuzz {
        use proptest::prelude::*;

        use super::*;
        use crate::fuzz::nearly;
        use crate::runtime::envelope;
        use crate::session::{Bounds, Command, CommandKey, Config};

        fn commands() -> Vec<Vec<u8>> {
            let create = envelope::plain(&Command::from(Config::default()));
            let bounds = Bounds { sessions: Some(3), ..Bounds::default() };
            let bounded = envelope::within(&bounds, create.clone());
            let key = CommandKey { key: 7, within_ms: 5, age_ms: Some(3) };
            let keyed = envelope::with_key(&key, &bounded);
            [create, bounded, keyed].map(|bytes| bytes.to_vec()).to_vec()
        }

        fn requests() -> Vec<Vec<u8>> {
            let submit = |command: Vec<u8>| {
                let (command, grant) = (command.into(), Some(Box::new(Grant::all())));
                Request::Submit { session: session(), command, within_ms: 5, grant }
            };
            let agent = AgentId { tenant: None, name: AgentName::parse("a").unwrap() };
            let held = Request::Holdings { shards: vec![1, 2], tenants: vec!["t".into()] };
            let file = FileId::parse("file_0123456789abcdef").ok();
            let files = Request::Files { session: session(), file, within_ms: 1, grant: None };
            let others = [Request::Offer { agent, within_ms: 1 }, held, files, Request::Report];
            let all = commands().into_iter().map(submit).chain(others);
            all.map(|request| request.encode().to_vec()).collect()
        }

        proptest! {
            /// What is read is what would be written, and what is not read does no harm.
            #[test]
            fn messages_of_peers_are_read_as_they_are_written_or_refused(
                bytes in nearly(requests()),
            ) {
                if let Ok(request) = Request::decode(&bytes) {
                    prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
                }
                if let Ok(response) = Response::decode(bytes.into()) {
                    prop_assert_eq!(Response::decode(response.encode()).unwrap(), response);
                }
            }

            #[test]
            fn commands_of_the_journal_are_read_or_refused(bytes in nearly(commands())) {
                let ticket = envelope::Ticket { origin: 1, number: 2 };
                let whole = envelope::encode(ticket, &session(), &bytes);
                let (id, back) = envelope::decode(whole).unwrap();
                prop_assert_eq!((id, &back.command[..]), (session(), &bytes[..]));
                // Neither panics.
                drop(envelope::parse(&bytes));
                drop(envelope::decode(bytes.into()));
            }
        }
    }
}
