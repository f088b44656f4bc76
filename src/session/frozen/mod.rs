//! The plain data that a session, its events and its commands are kept and sent as.
//!
//! A promise to every later version: a shape here does not change. New data gets a new version number
//! and, beside the old shape, a new one. What is read back is checked, so that damaged bytes become an
//! error and never a wrong state. Texts are borrowed on the way out, so freezing copies no payload.

mod asked;
mod command;
mod event;
mod fact;
mod fork;
mod keys;
mod live;
mod people;
mod producers;
mod work;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::config::BadConfig;
use super::event::BadFormat;
use super::fork::Debt;
use super::keys::Keys;
use super::live::Live;
use super::outcome::DeleteReason;
use super::producers::Producers;
use super::spent::Spent;
use super::{Deleted, Life, Session};
use crate::ids::{BadId, Incarnation, Millis, Serial, SessionId};
use crate::limits;

pub use asked::{FrozenCancel, FrozenClaim, FrozenInput, FrozenLose, FrozenSay};
pub use command::{FrozenCommand, FrozenConfig};
pub use event::{FrozenEvent, FrozenOrigin};
pub use fact::FrozenFact;
pub use fork::FrozenFork;
pub use keys::{FrozenDid, FrozenKnown};
pub use live::FrozenLive;
pub use people::{FrozenAnswer, FrozenControlAsked, FrozenRest};
pub use producers::FrozenProducer;
pub use work::FrozenWork;

/// Version of [`Frozen`].
pub const STATE_VERSION: u8 = 1;
/// Version of [`FrozenEvent`].
pub const EVENT_VERSION: u8 = 1;
/// Version of [`FrozenCommand`].
pub const COMMAND_VERSION: u8 = 1;

/// Serials up to here are believed; no log gets that long.
const SERIAL_MAX: u64 = 1 << 62;

/// Why frozen data is no session, event or command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThawError {
    #[error(transparent)]
    Id(#[from] BadId),
    #[error(transparent)]
    Format(#[from] BadFormat),
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error("{0} is out of range")]
    Range(&'static str),
}

/// A session's state, version [`STATE_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen<'a> {
    pub id: Cow<'a, str>,
    pub life: FrozenLife<'a>,
    /// Source, key, since.
    pub debts: Vec<(Cow<'a, str>, u64, u64)>,
    pub keys: Vec<FrozenKnown>,
    /// When the newest key was that was forgotten for want of room.
    pub forgotten: Option<u64>,
}

/// See [`Frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenLife<'a> {
    Absent,
    Live(Box<FrozenLive<'a>>),
    Deleted(Box<FrozenDeleted<'a>>),
}

/// What is left of a deleted session; see [`FrozenLife`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenDeleted<'a> {
    pub incarnation: u32,
    pub at: u64,
    pub expired: bool,
    pub turn_epoch: u64,
    pub control_epoch: u64,
    pub producers: Vec<FrozenProducer<'a>>,
}

impl Session {
    /// The whole state as plain data.
    pub fn freeze(&self) -> Frozen<'_> {
        let life = match &self.life {
            Life::Absent => FrozenLife::Absent,
            Life::Live(live) => FrozenLife::Live(Box::new(live.freeze())),
            Life::Deleted(deleted) => FrozenLife::Deleted(Box::new(deleted.freeze())),
        };
        let debts = self.debts.iter();
        let debts =
            debts.map(|debt| (debt.source.as_str().into(), debt.key, debt.since.0)).collect();
        Frozen {
            id: self.id.as_str().into(),
            life,
            debts,
            keys: self.keys.freeze(),
            forgotten: self.keys.forgotten.map(|at| at.0),
        }
    }

    /// Takes back what [`Session::freeze`] gave.
    ///
    /// # Errors
    /// The data can be no session's state.
    pub fn thaw(frozen: Frozen<'_>) -> Result<Session, ThawError> {
        let life = match frozen.life {
            FrozenLife::Absent => Life::Absent,
            FrozenLife::Live(live) => Life::Live(Box::new(Live::thaw(*live)?)),
            FrozenLife::Deleted(deleted) => Life::Deleted(Box::new(Deleted::thaw(*deleted)?)),
        };
        ensure(frozen.debts.len() <= limits::DEBTS + 1, "the number of debts")?;
        let debts = frozen.debts.into_iter().map(|(source, key, since)| {
            Ok(Debt { source: SessionId::parse(&source)?, key, since: Millis(since) })
        });
        let debts = debts.collect::<Result<_, ThawError>>()?;
        let keys = Keys::thaw(frozen.keys, frozen.forgotten)?;
        Ok(Session { id: SessionId::parse(&frozen.id)?, life, debts, keys })
    }
}

impl Deleted {
    fn freeze(&self) -> FrozenDeleted<'_> {
        let Deleted { incarnation, at, reason, spent } = self;
        FrozenDeleted {
            incarnation: incarnation.0,
            at: at.0,
            expired: *reason == DeleteReason::Expired,
            turn_epoch: spent.turn_epoch,
            control_epoch: spent.control_epoch,
            producers: spent.producers.freeze(),
        }
    }

    fn thaw(frozen: FrozenDeleted<'_>) -> Result<Deleted, ThawError> {
        let at = Millis(frozen.at);
        let spent = Spent {
            turn_epoch: frozen.turn_epoch,
            control_epoch: frozen.control_epoch,
            producers: Producers::thaw(frozen.producers, Serial::ZERO, at)?,
        };
        let reason = if frozen.expired { DeleteReason::Expired } else { DeleteReason::Asked };
        Ok(Deleted { incarnation: thaw_incarnation(frozen.incarnation)?, at, reason, spent })
    }
}

fn thaw_incarnation(number: u32) -> Result<Incarnation, ThawError> {
    ensure(Incarnation::FIRST.0 <= number, "an incarnation")?;
    Ok(Incarnation(number))
}

fn ensure(fits: bool, what: &'static str) -> Result<(), ThawError> {
    if fits { Ok(()) } else { Err(ThawError::Range(what)) }
}

/// The number under which one of a list of kinds is kept.
fn number_of<T: Copy + PartialEq>(all: &[T], kind: T) -> u8 {
    let at = all.iter().position(|other| *other == kind).expect("the list has all kinds");
    u8::try_from(at).expect("there are few kinds")
}

fn numbered<T: Copy>(all: &[T], number: u8, what: &'static str) -> Result<T, ThawError> {
    all.get(usize::from(number)).copied().ok_or(ThawError::Range(what))
}
