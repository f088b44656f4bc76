//! The one place that knows bincode: every record that is kept or sent is a version byte and its bytes.
//!
//! bincode 2 is pinned because its author ended it; another crate that writes the same bytes can
//! replace it here alone.

use serde::{Serialize, de::DeserializeOwned};

use crate::limits::DECODE_BYTES;

/// Why bytes are not the record they should be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// No byte at all, not even that of the version.
    #[error("the record is empty")]
    Empty,
    /// A version that this program does not read.
    #[error("the record has version {found}; this program knows {known}")]
    Version {
        /// What the first byte says.
        found: u8,
        /// What is read and written here.
        known: u8,
    },
    /// Bytes that are not of the type; the text is the decoder's.
    #[error("the record does not decode: {0}")]
    Malformed(String),
    /// A whole record, and so many bytes after it.
    #[error("the record has {0} bytes too many")]
    Trailing(usize),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_BYTES>()
}

/// Encodes `value` after the byte `version`.
pub fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    bincode::serde::encode_into_std_write(value, &mut bytes, config())
        .expect("plain data encodes into memory");
    bytes
}

/// Decodes the first field alone of what [`encode`] wrote with the same `version`: whether a record is worth
/// decoding can be decided without its rest, which may be large.
///
/// # Errors
/// Another version, or no such field at the beginning.
pub fn decode_first<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let (value, _) = decode_from(version, bytes)?;
    Ok(value)
}

/// Decodes what [`encode`] wrote with the same `version`.
///
/// # Errors
/// Another version, malformed or trailing bytes; nothing is kept of a partial decode.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, CodecError> {
    match decode_from(version, bytes)? {
        (value, 0) => Ok(value),
        (_, left) => Err(CodecError::Trailing(left)),
    }
}

/// The value at the beginning, and how many bytes are left after it.
fn decode_from<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<(T, usize), CodecError> {
    let (&found, rest) = bytes.split_first().ok_or(CodecError::Empty)?;
    if found != version {
        return Err(CodecError::Version { found, known: version });
    }
    let (value, used) = bincode::serde::decode_from_slice(rest, config())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    Ok((value, rest.len() - used))
}
