//! The keys of requests that a session remembers, as plain data.

use serde::{Deserialize, Serialize};

use super::{SERIAL_MAX, ThawError, ensure, number_of, numbered, thaw_incarnation};
use crate::ids::{Incarnation, Millis, Serial};
use crate::limits;
use crate::session::control::Mode;
use crate::session::keys::{Did, Keys, Known, Stand};

/// A request that took effect, as in [`super::Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenKnown {
    pub key: u128,
    pub at: u64,
    pub within_ms: u32,
    pub incarnation: u32,
    pub root: u32,
    pub tail: u64,
    pub did: FrozenDid,
}

/// See [`FrozenKnown`]; the kinds are numbered, so new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenDid {
    Appended { last: u64, events: u32, closed: bool },
    Created { closed: bool },
    Closed,
    Deleted,
    Cancelled { turns: u32 },
    Controlled { epoch: u64, mode: u8 },
    Rested { turns: u32 },
}

impl Keys {
    pub(in crate::session) fn freeze(&self) -> Vec<FrozenKnown> {
        self.iter().map(Known::freeze).collect()
    }

    pub(in crate::session) fn thaw(
        frozen: Vec<FrozenKnown>,
        forgotten: Option<u64>,
    ) -> Result<Keys, ThawError> {
        ensure(frozen.len() <= limits::KEYS, "the number of keys")?;
        let mut keys = Keys::default();
        keys.forgotten = forgotten.map(Millis);
        for known in frozen {
            keys.push(Known::thaw(known)?);
        }
        Ok(keys)
    }
}

impl Known {
    fn freeze(&self) -> FrozenKnown {
        let Stand { incarnation, root, tail } = self.stand;
        FrozenKnown {
            key: self.key,
            at: self.at.0,
            within_ms: self.within_ms,
            incarnation: incarnation.0,
            root: root.0,
            tail: tail.0,
            did: match self.did {
                Did::Appended { last, events, closed } => {
                    FrozenDid::Appended { last: last.0, events, closed }
                }
                Did::Created { closed } => FrozenDid::Created { closed },
                Did::Closed => FrozenDid::Closed,
                Did::Deleted => FrozenDid::Deleted,
                Did::Cancelled { turns } => FrozenDid::Cancelled { turns },
                Did::Controlled { epoch, mode } => {
                    FrozenDid::Controlled { epoch, mode: number_of(&Mode::ALL, mode) }
                }
                Did::Rested { turns } => FrozenDid::Rested { turns },
            },
        }
    }

    fn thaw(frozen: FrozenKnown) -> Result<Known, ThawError> {
        ensure(frozen.tail <= SERIAL_MAX, "the place of a request")?;
        let did = match frozen.did {
            FrozenDid::Appended { last, events, closed } => {
                let fits = 1 <= events && u64::from(events) <= last && last <= frozen.tail;
                ensure(fits, "the place of a request")?;
                Did::Appended { last: Serial(last), events, closed }
            }
            FrozenDid::Created { closed } => Did::Created { closed },
            FrozenDid::Closed => Did::Closed,
            FrozenDid::Deleted => Did::Deleted,
            FrozenDid::Cancelled { turns } => Did::Cancelled { turns },
            FrozenDid::Controlled { epoch, mode } => {
                Did::Controlled { epoch, mode: numbered(&Mode::ALL, mode, "a mode of control")? }
            }
            FrozenDid::Rested { turns } => Did::Rested { turns },
        };
        let incarnation = thaw_incarnation(frozen.incarnation)?;
        let stand =
            Stand { incarnation, root: Incarnation(frozen.root), tail: Serial(frozen.tail) };
        let (key, at, within_ms) = (frozen.key, Millis(frozen.at), frozen.within_ms);
        Ok(Known { key, at, within_ms, stand, did })
    }
}
