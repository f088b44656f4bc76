//! Readers of sessions that this node has no replica of: a replica reads (`peer::relay`), and its deliveries come here.

use cluster::codec;
use cluster::host::Host;
use cluster::ids::NodeId;
use cluster::transport::Stream;
use serde::{Deserialize, Serialize};

use super::outcome::Unavailable;
use super::reader::{Attach, AttachError, Delivery};
use super::tail::Shown;
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::session::{Event, Grant, Status};

pub(super) const VERSION: u8 = 1;

/// The first message of a relay, from the node that has the reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RelayRequest {
    pub(super) session: SessionId,
    pub(super) attach: Attach,
    /// The reader's, where it has one: judged again. Nodes that read for all of their readers have none.
    pub(super) grant: Option<Box<Grant>>,
}

/// What the replica sends back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Sent<E = Event> {
    Attached { cursor: Cursor, status: Box<Status> },
    Refused(AttachError),
    Events(Vec<E>),
    CaughtUp { at: Cursor },
    Gap { first: Serial },
    Reset { incarnation: Incarnation },
    End { at: Cursor },
    Deleted,
    Detached,
}

/// The receiving end of a relay.
pub(super) struct Relayed {
    stream: Stream,
    pub(super) cursor: Cursor,
    /// The session when it was attached to.
    pub(super) status: Status,
    ended: bool,
}

const LOST: Delivery = Delivery::Detached { reason: "the link to the replica was lost" };

impl Relayed {
    /// Attaches a reader at a replica.
    pub(super) async fn attach(
        host: &Host,
        node: NodeId,
        id: &SessionId,
        (attach, grant): (&Attach, Option<&Grant>),
    ) -> Result<Relayed, AttachError> {
        let grant = grant.cloned().map(Box::new);
        let request = RelayRequest { session: id.clone(), attach: *attach, grant };
        let lost = |text: String| AttachError::from(Unavailable::NoQuorum(text));
        let stream = host.open(node, codec::encode(VERSION, &request).into()).await;
        let mut stream = stream.map_err(|error| lost(error.to_string()))?;
        match receive(&mut stream).await {
            Some(Sent::Attached { cursor, status }) => {
                Ok(Relayed { stream, cursor, status: *status, ended: false })
            }
            Some(Sent::Refused(why)) => Err(why),
            _ => Err(lost("the replica did not answer".into())),
        }
    }

    /// The next delivery; see [`super::Reader::next`].
    pub(super) async fn next(&mut self) -> Delivery {
        if self.ended {
            return std::future::pending().await;
        }
        let delivery = match receive(&mut self.stream).await {
            Some(sent) => delivery_of(sent).unwrap_or(LOST),
            None => LOST,
        };
        match &delivery {
            Delivery::Events(events) => {
                // An empty delivery is never sent.
                if let Some(last) = events.last() {
                    self.cursor.serial = last.event.serial;
                }
            }
            Delivery::Gap { first } => self.cursor.serial = Serial(first.0 - 1),
            Delivery::Reset { incarnation } => {
                self.cursor = Cursor { incarnation: *incarnation, serial: Serial::ZERO };
            }
            Delivery::CaughtUp { .. } => {}
            Delivery::End { .. } | Delivery::Deleted | Delivery::Detached { .. } => {
                self.ended = true
            }
        }
        delivery
    }
}

async fn receive(stream: &mut Stream) -> Option<Sent> {
    let bytes = stream.recv().await?.ok()?;
    codec::decode(VERSION, &bytes).ok()
}

/// What a reader is given for what was sent; none where that is no delivery.
fn delivery_of(sent: Sent) -> Option<Delivery> {
    Some(match sent {
        Sent::Attached { .. } | Sent::Refused(_) => return None,
        Sent::Events(events) => Delivery::Events(events.into_iter().map(Shown::new).collect()),
        Sent::CaughtUp { at } => Delivery::CaughtUp { at },
        Sent::Gap { first } => Delivery::Gap { first },
        Sent::Reset { incarnation } => Delivery::Reset { incarnation },
        Sent::End { at } => Delivery::End { at },
        Sent::Deleted => Delivery::Deleted,
        Sent::Detached => Delivery::Detached { reason: "the replica can serve no more" },
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::runtime::{Freshness, Start};
    use crate::session::{Denied, Right};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check_sent(sent: &Sent, wanted: Expect) {
        let bytes = codec::encode(VERSION, sent);
        wanted.assert_eq(&hex(&bytes));
        let back: Sent = codec::decode(VERSION, &bytes).expect("it decodes");
        assert_eq!(back, *sent);
    }

    #[test]
    fn what_a_relay_says_keeps_its_bytes() {
        let at = Cursor { incarnation: Incarnation(1), serial: Serial(300) };
        let offset = Start::Offset { root: Incarnation(2), serial: Serial(3) };
        for (start, wanted) in [
            (Start::Beginning, expect!["0101730000010100"]),
            (Start::After(at), expect!["0101730101fb2c0100010100"]),
            (Start::Tail, expect!["0101730200010100"]),
            (offset, expect!["01017303020300010100"]),
        ] {
            let session = SessionId::parse("s").expect("a name");
            let freshness = Freshness::Linearizable;
            let attach = Attach { start, freshness, parent_of_fork: Some(Incarnation(1)) };
            let request = RelayRequest { session, attach, grant: None };
            let bytes = codec::encode(VERSION, &request);
            wanted.assert_eq(&hex(&bytes));
            assert_eq!(
                codec::decode::<RelayRequest>(VERSION, &bytes).expect("it decodes"),
                request
            );
        }
        let session = SessionId::parse("s").expect("a name");
        let grant = Grant { rights: vec![Right::Read], ..Grant::all() };
        let request =
            RelayRequest { session, attach: Attach::to(Start::Tail), grant: Some(grant.into()) };
        let bytes = codec::encode(VERSION, &request);
        expect!["0101730201000100010001012a01012a00000300"].assert_eq(&hex(&bytes));
        assert_eq!(codec::decode::<RelayRequest>(VERSION, &bytes).expect("it decodes"), request);
        let denied = AttachError::Denied(Denied::Right(Right::Read));
        check_sent(&Sent::Refused(denied), expect!["0101060100"]);
        check_sent(&Sent::Refused(AttachError::NotFound), expect!["010100"]);
        let ahead = AttachError::Ahead { given: Serial(9), tail: Serial(2) };
        check_sent(&Sent::Refused(ahead), expect!["0101030902"]);
        let overloaded = AttachError::Unavailable(Unavailable::Overloaded);
        check_sent(&Sent::Refused(overloaded), expect!["01010501"]);
        check_sent(
            &Sent::Events(vec![crate::store::kept::sample()]),
            expect!["010201070904746578740268690b000000"],
        );
        check_sent(&Sent::CaughtUp { at }, expect!["010301fb2c01"]);
        check_sent(&Sent::Gap { first: Serial(3) }, expect!["010403"]);
        check_sent(&Sent::Reset { incarnation: Incarnation(2) }, expect!["010502"]);
        check_sent(&Sent::End { at }, expect!["010601fb2c01"]);
        check_sent(&Sent::Deleted, expect!["0107"]);
        check_sent(&Sent::Detached, expect!["0108"]);
    }
}
