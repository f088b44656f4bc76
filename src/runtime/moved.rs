//! The exact form of what sessions take along when they move: bytes with a version, for files that outlast programs.

use cluster::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

use crate::ids::AgentName;
use crate::session::{Carried, Event, Fact};

/// Versions of what stands in files.
const CARRIED_VERSION: u8 = 1;
const MEANING_VERSION: u8 = 1;

/// What an event means, and whose turn it is about.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Meaning {
    pub agent: Option<AgentName>,
    pub fact: Option<Box<Fact>>,
}

impl Meaning {
    /// The bytes of what an event means; none where a client only appended it.
    pub fn bytes_of(event: &Event) -> Option<Vec<u8>> {
        event.fact.as_ref()?;
        let meaning = (&event.agent, &event.fact);
        Some(codec::encode(MEANING_VERSION, &meaning))
    }

    /// # Errors
    /// They are no such bytes, or of another version.
    pub fn read(bytes: &[u8]) -> Result<Meaning, CodecError> {
        codec::decode(MEANING_VERSION, bytes)
    }
}

/// The bytes of what a session takes along.
pub fn carried_bytes(carried: &Carried) -> Vec<u8> {
    codec::encode(CARRIED_VERSION, carried)
}

/// What a session takes along, from its bytes.
///
/// # Errors
/// They are no such bytes, or of another version.
pub fn read_carried(bytes: &[u8]) -> Result<Carried, CodecError> {
    codec::decode(CARRIED_VERSION, bytes)
}

/// How many bytes an event takes in a command.
pub fn event_bytes(event: &Event) -> usize {
    codec::encode(MEANING_VERSION, event).len()
}
