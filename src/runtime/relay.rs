//! Readers of sessions that this node has no replica of: a replica reads, and its deliveries come here.

use bytes::Bytes;
use cluster::codec;
use cluster::ids::NodeId;
use cluster::transport::Stream;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::outcome::Unavailable;
use super::peer::told::Told;
use super::reader::{Attach, AttachError, Delivery, Start};
use super::tail::Shown;
use super::{Freshness, Runtime};
use crate::ids::{Cursor, Incarnation, Serial, SessionId};
use crate::limits::REQUEST_DEADLINE;
use crate::session::frozen::FrozenEvent;
use crate::session::{Event, Status};

const VERSION: u8 = 1;

/// The first message of a relay, from the node that has the reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hello {
    session: String,
    start: From,
    linearizable: bool,
    /// The life that a fork reads on behalf of.
    heir: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum From {
    Beginning,
    After(u32, u64),
    Tail,
    Offset(u32, u64),
}

/// What the replica sends back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Sent<'a> {
    Attached { incarnation: u32, serial: u64, told: Box<Told> },
    NotFound,
    Ahead { given: u64, tail: u64 },
    TooManyReaders,
    Unavailable(String),
    Events(Vec<FrozenEvent<'a>>),
    CaughtUp { incarnation: u32, serial: u64 },
    Gap { first: u64 },
    Reset { incarnation: u32 },
    End { incarnation: u32, serial: u64 },
    Gone,
    Detached,
    Hidden,
    OtherRoot,
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
        runtime: &Runtime,
        node: NodeId,
        id: &SessionId,
        attach: &Attach,
    ) -> Result<Relayed, AttachError> {
        let start = match attach.start {
            Start::Beginning => From::Beginning,
            Start::After(at) => From::After(at.incarnation.0, at.serial.0),
            Start::Tail => From::Tail,
            Start::Offset { root, serial } => From::Offset(root.0, serial.0),
        };
        let linearizable = attach.freshness == Freshness::Linearizable;
        let heir = attach.heir.map(|incarnation| incarnation.0);
        let hello = Hello { session: id.as_str().into(), start, linearizable, heir };
        let lost = |text: String| AttachError::from(Unavailable::NoQuorum(text));
        let stream = runtime.host.open(node, codec::encode(VERSION, &hello).into()).await;
        let mut stream = stream.map_err(|error| lost(error.to_string()))?;
        match receive(&mut stream).await {
            Some(Sent::Attached { incarnation, serial, told }) => {
                let cursor = cursor(incarnation, serial);
                let status =
                    told.thaw().ok_or_else(|| lost("the replica's answer is odd".into()))?;
                Ok(Relayed { stream, cursor, status, ended: false })
            }
            Some(Sent::NotFound) => Err(AttachError::NotFound),
            Some(Sent::Hidden) => Err(AttachError::Gone),
            Some(Sent::OtherRoot) => Err(AttachError::OtherRoot),
            Some(Sent::Ahead { given, tail }) => {
                Err(AttachError::Ahead { given: Serial(given), tail: Serial(tail) })
            }
            Some(Sent::TooManyReaders) => Err(AttachError::TooManyReaders),
            Some(Sent::Unavailable(text)) => Err(lost(text)),
            _ => Err(lost("the replica did not answer".into())),
        }
    }

    /// The next delivery; see [`super::Reader::next`].
    pub(super) async fn next(&mut self) -> Delivery {
        if self.ended {
            return std::future::pending().await;
        }
        let delivery = match receive(&mut self.stream).await {
            Some(sent) => thaw(sent).unwrap_or(LOST),
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
            Delivery::End { .. } | Delivery::Gone | Delivery::Detached { .. } => self.ended = true,
        }
        delivery
    }
}

fn cursor(incarnation: u32, serial: u64) -> Cursor {
    Cursor { incarnation: Incarnation(incarnation), serial: Serial(serial) }
}

async fn receive(stream: &mut Stream) -> Option<Sent<'static>> {
    let bytes = stream.recv().await?.ok()?;
    codec::decode(VERSION, &bytes).ok()
}

fn thaw(sent: Sent<'static>) -> Option<Delivery> {
    Some(match sent {
        Sent::Events(events) => {
            let events: Result<Vec<_>, _> = events.into_iter().map(Event::thaw).collect();
            Delivery::Events(events.ok()?.into_iter().map(Shown::new).collect())
        }
        Sent::CaughtUp { incarnation, serial } => {
            Delivery::CaughtUp { at: cursor(incarnation, serial) }
        }
        Sent::Gap { first } => Delivery::Gap { first: Serial(first) },
        Sent::Reset { incarnation } => Delivery::Reset { incarnation: Incarnation(incarnation) },
        Sent::End { incarnation, serial } => Delivery::End { at: cursor(incarnation, serial) },
        Sent::Gone => Delivery::Gone,
        Sent::Detached => Delivery::Detached { reason: "the replica can serve no more" },
        _ => return None,
    })
}

/// Serves a reader of another node from this replica, until either side ends.
pub(super) async fn serve(runtime: &Runtime, from: NodeId, hello: &Bytes, stream: Stream) {
    let (mut send, mut recv) = stream.split();
    let work = async {
        let hello: Hello = codec::decode(VERSION, hello).ok()?;
        let id = SessionId::parse(&hello.session).ok()?;
        let start = match hello.start {
            From::Beginning => Start::Beginning,
            From::After(incarnation, serial) => Start::After(cursor(incarnation, serial)),
            From::Tail => Start::Tail,
            From::Offset(root, serial) => {
                Start::Offset { root: Incarnation(root), serial: Serial(serial) }
            }
        };
        let freshness = if hello.linearizable { Freshness::Linearizable } else { Freshness::Local };
        let attach = Attach { start, freshness, heir: hello.heir.map(Incarnation) };
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let mut reader = match runtime.attach_here(&id, &attach, deadline).await {
            Ok(reader) => reader,
            Err(error) => {
                let sent = match error {
                    AttachError::NotFound => Sent::NotFound,
                    AttachError::Gone => Sent::Hidden,
                    AttachError::OtherRoot => Sent::OtherRoot,
                    AttachError::Ahead { given, tail } => {
                        Sent::Ahead { given: given.0, tail: tail.0 }
                    }
                    AttachError::TooManyReaders => Sent::TooManyReaders,
                    AttachError::Unavailable(error) => Sent::Unavailable(error.to_string()),
                };
                send.send(codec::encode(VERSION, &sent).into()).await.ok()?;
                return send.finish().await.ok();
            }
        };
        let at = reader.cursor();
        let attached = Sent::Attached {
            incarnation: at.incarnation.0,
            serial: at.serial.0,
            told: Box::new(reader.status().clone().into()),
        };
        send.send(codec::encode(VERSION, &attached).into()).await.ok()?;
        loop {
            let delivery = reader.next().await;
            let sent = freeze(&delivery);
            send.send(codec::encode(VERSION, &sent).into()).await.ok()?;
            if matches!(sent, Sent::End { .. } | Sent::Gone | Sent::Detached) {
                return send.finish().await.ok();
            }
        }
    };
    tokio::select! {
        _ = work => {}
        _ = recv.recv() => tracing::debug!(peer = %from, "a relayed reader left"),
    }
}

fn freeze(delivery: &Delivery) -> Sent<'_> {
    match delivery {
        Delivery::Events(events) => {
            Sent::Events(events.iter().map(|shown| shown.event.freeze()).collect())
        }
        Delivery::CaughtUp { at } => {
            Sent::CaughtUp { incarnation: at.incarnation.0, serial: at.serial.0 }
        }
        Delivery::Gap { first } => Sent::Gap { first: first.0 },
        Delivery::Reset { incarnation } => Sent::Reset { incarnation: incarnation.0 },
        Delivery::End { at } => Sent::End { incarnation: at.incarnation.0, serial: at.serial.0 },
        Delivery::Gone => Sent::Gone,
        Delivery::Detached { .. } => Sent::Detached,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check_sent(sent: &Sent<'_>, wanted: Expect) {
        let bytes = codec::encode(VERSION, sent);
        wanted.assert_eq(&hex(&bytes));
        let back: Sent<'static> = codec::decode(VERSION, &bytes).expect("it decodes");
        assert_eq!(back, *sent);
    }

    #[test]
    fn what_a_relay_says_keeps_its_bytes() {
        for (start, wanted) in [
            (From::Beginning, expect!["01017300010101"]),
            (From::After(1, 300), expect!["0101730101fb2c01010101"]),
            (From::Tail, expect!["01017302010101"]),
            (From::Offset(2, 3), expect!["010173030203010101"]),
        ] {
            let hello = Hello { session: "s".into(), start, linearizable: true, heir: Some(1) };
            let bytes = codec::encode(VERSION, &hello);
            wanted.assert_eq(&hex(&bytes));
            assert_eq!(codec::decode::<Hello>(VERSION, &bytes).expect("it decodes"), hello);
        }
        check_sent(&Sent::NotFound, expect!["0101"]);
        check_sent(&Sent::Ahead { given: 9, tail: 2 }, expect!["01020902"]);
        check_sent(&Sent::TooManyReaders, expect!["0103"]);
        check_sent(&Sent::Unavailable("x".into()), expect!["01040178"]);
        check_sent(
            &Sent::Events(vec![FrozenEvent::sample()]),
            expect!["010501070904746578740268690b000000"],
        );
        check_sent(&Sent::CaughtUp { incarnation: 1, serial: 7 }, expect!["01060107"]);
        check_sent(&Sent::Gap { first: 3 }, expect!["010703"]);
        check_sent(&Sent::Reset { incarnation: 2 }, expect!["010802"]);
        check_sent(&Sent::End { incarnation: 1, serial: 7 }, expect!["01090107"]);
        check_sent(&Sent::Gone, expect!["010a"]);
        check_sent(&Sent::Detached, expect!["010b"]);
        check_sent(&Sent::Hidden, expect!["010c"]);
        check_sent(&Sent::OtherRoot, expect!["010d"]);
    }
}
