//! What the store's values are. These types lie on disk: fields change only with the version.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{Millis, Serial};
use crate::session::{Event, Session};

pub const HEAD_VERSION: u8 = 1;
pub const BLOCK_VERSION: u8 = 1;
pub const MARK_VERSION: u8 = 1;
pub const PIECE_VERSION: u8 = 1;

/// A session as it was after entry `next - 1` of its shard, with the events that are in no block yet. Written
/// from borrowed parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head<S = Session, E = Event> {
    /// Index + 1 of the last entry that this head knows; older entries change nothing (replay).
    pub next: u64,
    pub session: S,
    pub unsealed: Vec<E>,
    /// The deadline under which the session is filed.
    pub filed: Option<Millis>,
}

/// Consecutive events, written once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block<E = Event> {
    /// The shard's entry that brought the last event.
    pub index: u64,
    pub events: Vec<E>,
}

/// Bytes of a file, written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPiece {
    /// The shard's entry that brought them.
    pub index: u64,
    pub bytes: Bytes,
}

impl Block {
    pub fn first(&self) -> Option<Serial> {
        self.events.first().map(|event| event.serial)
    }

    pub fn last(&self) -> Option<Serial> {
        self.events.last().map(|event| event.serial)
    }
}

/// An event, for tests of what carries events.
#[cfg(test)]
pub(crate) fn sample() -> Event {
    Event {
        serial: Serial(7),
        time: Millis(9),
        format: crate::session::Format::TEXT,
        payload: bytes::Bytes::from_static(b"hi"),
        chain: 11,
        origin: None,
        agent: None,
        fact: None,
    }
}

#[cfg(test)]
mod tests {
    use cluster::codec;
    use expect_test::expect;

    use super::*;
    use crate::ids::SessionId;
    use crate::session::{Command, Config};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_lies_in_the_store_keeps_its_bytes() {
        let mut session = Session::absent(SessionId::parse("s").unwrap());
        for command in [Config::default().into(), Command::Delete { incarnation: None }] {
            session.apply(Millis(5), &command, &mut Vec::new()).unwrap();
        }
        let event = sample();
        let head =
            Head { next: 4, session: &session, unsealed: vec![&event], filed: Some(Millis(6)) };
        let bytes = codec::encode(HEAD_VERSION, &head);
        expect!["010401730201050000000000000001070904746578740268690b0000000106"]
            .assert_eq(&hex(&bytes));
        let back: Head = codec::decode(HEAD_VERSION, &bytes).unwrap();
        assert_eq!((back.next, back.filed, back.session), (4, Some(Millis(6)), session));
        assert_eq!(back.unsealed, std::slice::from_ref(&event));

        let block = Block { index: 3, events: vec![event] };
        let bytes = codec::encode(BLOCK_VERSION, &block);
        expect!["010301070904746578740268690b000000"].assert_eq(&hex(&bytes));
        let back: Block = codec::decode(BLOCK_VERSION, &bytes).unwrap();
        assert_eq!((back.index, back.first(), back.last()), (3, Some(Serial(7)), Some(Serial(7))));

        let piece = StoredPiece { index: 3, bytes: Bytes::from_static(b"hi") };
        let bytes = codec::encode(PIECE_VERSION, &piece);
        expect!["0103026869"].assert_eq(&hex(&bytes));
        assert_eq!(codec::decode::<StoredPiece>(PIECE_VERSION, &bytes).unwrap(), piece);
    }
}
