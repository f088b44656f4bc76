//! What the store's values are. These types lie on disk: fields change only with the version.

use serde::{Deserialize, Serialize};

use crate::ids::{Millis, Serial};
use crate::session::frozen::{Frozen, FrozenEvent, FrozenLife};

pub const HEAD_VERSION: u8 = 1;
pub const BLOCK_VERSION: u8 = 1;
pub const MARK_VERSION: u8 = 1;

/// A session as it was behind entry `next - 1` of its shard, with the events that are in no block yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head<'a> {
    /// Index + 1 of the last entry that this head knows; older entries change nothing (replay).
    pub next: u64,
    pub session: Frozen<'a>,
    pub unsealed: Vec<FrozenEvent<'a>>,
    /// The deadline under which the session is filed, in ms.
    pub filed: Option<u64>,
}

/// Consecutive events, written once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block<'a> {
    /// The shard's entry that brought the last event.
    pub index: u64,
    pub events: Vec<FrozenEvent<'a>>,
}

impl Block<'_> {
    pub fn first(&self) -> Option<Serial> {
        self.events.first().map(|event| Serial(event.serial))
    }

    pub fn last(&self) -> Option<Serial> {
        self.events.last().map(|event| Serial(event.serial))
    }
}

impl Head<'_> {
    pub fn filed(&self) -> Option<Millis> {
        self.filed.map(Millis)
    }

    /// Whether the session is there for clients, and so listed.
    pub fn lives(&self) -> bool {
        matches!(&self.session.life, FrozenLife::Live(live) if live.hidden.is_none())
    }
}

#[cfg(test)]
mod tests {
    use cluster::codec;
    use expect_test::expect;

    use super::*;
    use crate::session::frozen::FrozenDeleted;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_lies_in_the_store_keeps_its_bytes() {
        let life = FrozenLife::Deleted(Box::new(FrozenDeleted {
            incarnation: 2,
            at: 5,
            expired: false,
            turn_epoch: 3,
            control_epoch: 1,
            producers: Vec::new(),
        }));
        let session =
            Frozen { id: "s".into(), life, debts: Vec::new(), keys: Vec::new(), forgotten: None };
        let head = Head { next: 4, session, unsealed: vec![FrozenEvent::sample()], filed: Some(6) };
        let bytes = codec::encode(HEAD_VERSION, &head);
        expect!["010401730202050003010000000001070904746578740268690b0000000106"]
            .assert_eq(&hex(&bytes));
        let back: Head<'static> = codec::decode(HEAD_VERSION, &bytes).unwrap();
        assert_eq!((back.next, back.filed(), back.unsealed.len()), (4, Some(Millis(6)), 1));

        let block = Block { index: 3, events: vec![FrozenEvent::sample()] };
        let bytes = codec::encode(BLOCK_VERSION, &block);
        expect!["010301070904746578740268690b000000"].assert_eq(&hex(&bytes));
        let back: Block<'static> = codec::decode(BLOCK_VERSION, &bytes).unwrap();
        assert_eq!((back.index, back.first(), back.last()), (3, Some(Serial(7)), Some(Serial(7))));
    }
}
