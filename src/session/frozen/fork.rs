//! What a fork inherits, as plain data.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{SERIAL_MAX, ThawError, ensure, thaw_incarnation};
use crate::ids::{Serial, SessionId};
use crate::session::fork::Fork;

/// A fork's beginning, as in [`super::FrozenLive`] and [`super::FrozenCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenFork<'a> {
    pub source: Cow<'a, str>,
    pub incarnation: u32,
    pub root: u32,
    pub at: u64,
    pub anchor: u64,
    pub sub: u64,
    pub key: u64,
}

impl Fork {
    pub(in crate::session) fn freeze(&self) -> FrozenFork<'_> {
        FrozenFork {
            source: self.source.as_str().into(),
            incarnation: self.incarnation.0,
            root: self.root.0,
            at: self.at.0,
            anchor: self.anchor.0,
            sub: self.sub,
            key: self.key,
        }
    }

    pub(in crate::session) fn thaw(frozen: FrozenFork<'_>) -> Result<Fork, ThawError> {
        ensure(frozen.at <= SERIAL_MAX, "the end of what is inherited")?;
        ensure(frozen.anchor <= frozen.at, "the anchor of a fork")?;
        Ok(Fork {
            source: SessionId::parse(&frozen.source)?,
            incarnation: thaw_incarnation(frozen.incarnation)?,
            root: thaw_incarnation(frozen.root)?,
            at: Serial(frozen.at),
            anchor: Serial(frozen.anchor),
            sub: frozen.sub,
            key: frozen.key,
        })
    }
}
