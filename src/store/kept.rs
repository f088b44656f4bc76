//! What the store's values are. These types lie on disk: fields change only with the version.

use serde::{Deserialize, Serialize};

use crate::ids::{Millis, Serial};
use crate::session::frozen::{Frozen, FrozenEvent};

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
}
