//! What happens to a subscription, as its log keeps it: JSON, with a version. A promise: old logs are
//! read by new nodes, so names stay and new kinds are added only.

use serde::{Deserialize, Serialize};

use super::place::LogPosition;
use super::state::{Plan, State, StreamLink};
use crate::ids::Incarnation;
use crate::session::{Format, NewEvent};

/// Version of the shapes below.
const VERSION: u32 = 1;

/// The hash of a token, as base64url. The token itself is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token(pub(super) String);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Change {
    Created {
        plan: Plan,
        base: String,
    },
    /// Streams joined, dealt with up to a place.
    Linked {
        explicit: bool,
        streams: Vec<(String, Option<LogPosition>)>,
    },
    /// A client took streams back.
    Unlinked {
        streams: Vec<String>,
    },
    /// Streams are no more.
    Dropped {
        streams: Vec<String>,
    },
    Woken {
        wake: String,
        generation: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        token: Option<Token>,
        streams: Vec<(String, LogPosition)>,
    },
    /// The webhook took the wake; `done`: and dealt with all of it.
    Delivered {
        generation: u64,
        done: bool,
    },
    /// The event is in the wake stream.
    Announced {
        generation: u64,
    },
    /// No receiver could be notified.
    Failed {
        generation: u64,
    },
    Claimed {
        generation: u64,
        holder: String,
        token: Token,
    },
    Acked {
        generation: u64,
        acks: Vec<(String, LogPosition)>,
        done: bool,
    },
    Released {
        generation: u64,
    },
    /// All that came before, but for the links.
    Kept {
        state: Box<State>,
    },
    /// The links of a `Kept` before it.
    Links {
        links: Vec<(String, StreamLink)>,
    },
}

#[derive(Serialize, Deserialize)]
struct Envelope<C> {
    v: u32,
    /// The incarnation that is meant; the log of another one must not take it for its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    life: Option<u32>,
    change: C,
}

impl Change {
    /// The event that keeps the change, in this life of the log.
    pub(super) fn event(&self, life: Option<Incarnation>) -> NewEvent {
        let envelope = Envelope { v: VERSION, life: life.map(|life| life.0), change: self };
        let json = serde_json::to_vec(&envelope).expect("a change has string keys only");
        NewEvent { format: Format::JSON, payload: json.into() }
    }

    /// The change in an event of this life; none where it is of another, or of a later version.
    pub(super) fn read(payload: &[u8], life: Incarnation) -> Option<Change> {
        let envelope: Envelope<Change> = serde_json::from_slice(payload).ok()?;
        let ours = envelope.life.is_none_or(|meant| meant == life.0);
        (ours && envelope.v == VERSION).then_some(envelope.change)
    }
}

/// The changes with the same content as all before them, in pieces that fit in events.
pub(super) fn kept(state: &State, piece: usize) -> Vec<Change> {
    let mut rest = state.clone();
    let links: Vec<_> = std::mem::take(&mut rest.links).into_iter().collect();
    let links = links.chunks(piece).map(|links| Change::Links { links: links.to_vec() });
    [Change::Kept { state: Box::new(rest) }].into_iter().chain(links).collect()
}
