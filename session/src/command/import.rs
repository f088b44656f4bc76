//! How a session comes in that was exported elsewhere: piece by piece, and hidden until all of it is here.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::event::Event;
use crate::ids::{Incarnation, Serial};
use crate::import::{Carried, Writers};

/// One step of an import. Each may be repeated: what is here already is skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Hash of what is imported: steps of another import than the one that began last are refused.
    pub digest: u128,
    /// The life that it began, in all steps but the first: whatever began it anew since goes on alone.
    pub life: Incarnation,
    /// What comes in with it.
    pub step: ImportStep,
}

/// What one step of an import brings. They come in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportStep {
    /// Begins a life that clients do not see, or finds the one that this import has begun.
    Begin(Box<ImportBegin>),
    /// Some of its producers.
    Writers(Writers),
    /// The next events.
    Events(ImportEvents),
    /// The rest of what it knows: from here on the session is there.
    Finish(Box<Carried>),
    /// What comes is no session: nothing is left of it, and the name is free.
    GiveUp,
}

/// How an imported log begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportBegin {
    /// What the session is to be.
    pub config: Config,
    /// The life that it had: it gets the same number, unless this name has had later ones.
    pub incarnation: Incarnation,
    /// The first event that comes; one beyond the tail where none does.
    pub first: Serial,
    /// The hash before that one.
    pub chain: u64,
}

/// Events as they were, with their serials, times and hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportEvents {
    /// Whether the first one is chained to what is here; where a log goes on from another one, as a fork's does, its
    /// hash is taken as it is.
    pub linked: bool,
    /// 1 to [`crate::limits::APPEND_EVENTS`], within [`crate::limits::APPEND_BYTES`].
    pub events: Vec<Event>,
}
