//! What happened in a session: numbered, stamped and chained once, never changed after (S2).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use bytes::Bytes;

use super::fact::Fact;
use super::stored::kept_as_text;
use crate::ids::{AgentName, Millis, ProducerEpoch, ProducerId, Serial};
use crate::limits;

/// One event of a session's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log.
    pub serial: Serial,
    /// When it was appended; never before the event in front of it.
    pub time: Millis,
    /// How to read the payload.
    pub format: Format,
    /// Up to [`limits::EVENT_BYTES`] bytes, opaque to the service.
    pub payload: Bytes,
    /// Hash of this event and all before it; see [`super::chain`].
    pub chain: u64,
    /// Who wrote it, where the writer named itself.
    pub origin: Option<Origin>,
    /// Whose turn it is about, where it is about one.
    pub agent: Option<AgentName>,
    /// What it means for a turn; none where a client only appended it.
    pub fact: Option<Box<Fact>>,
}

/// An event that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// How to read the payload.
    pub format: Format,
    /// Up to [`limits::EVENT_BYTES`] bytes, opaque to the service.
    pub payload: Bytes,
}

/// The request that an event came with: all events of one request share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who wrote.
    pub producer: ProducerId,
    /// Which start of the producer it is of.
    pub epoch: ProducerEpoch,
    /// Number of the request within the epoch, from 0 without a hole.
    pub seq: u64,
}

/// How a payload is to be read: `json`, `text`, `raw` or any other tag, such as a media type.
///
/// 1 to [`limits::FORMAT_BYTES`] visible ASCII characters and inner spaces, compared byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Format(Tag);

/// The usual tags need no text of their own, so an event of them allocates nothing.
#[derive(Clone, PartialEq, Eq)]
enum Tag {
    Json,
    Text,
    Raw,
    Other(Arc<str>),
}

kept_as_text!(Format);

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFormat {
    /// It is empty or too long.
    #[error("the format has {bytes} bytes; it may have 1 to {limit}")]
    Length {
        /// Length of the text, in bytes.
        bytes: usize,
        /// Greatest length, in bytes.
        limit: usize,
    },
    /// It has a character that is neither visible ASCII nor an inner space.
    #[error("the format is not visible ASCII at byte {at}")]
    Invisible {
        /// Byte at which the first one stands, from 0.
        at: usize,
    },
}

impl Format {
    /// JSON text.
    pub const JSON: Format = Format(Tag::Json);
    /// UTF-8 text.
    pub const TEXT: Format = Format(Tag::Text);
    /// Bytes.
    pub const RAW: Format = Format(Tag::Raw);

    /// Takes `text` as a tag.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn parse(text: &str) -> Result<Format, BadFormat> {
        match text {
            "json" => return Ok(Format::JSON),
            "text" => return Ok(Format::TEXT),
            "raw" => return Ok(Format::RAW),
            _ => {}
        }
        if text.is_empty() || limits::FORMAT_BYTES < text.len() {
            return Err(BadFormat::Length { bytes: text.len(), limit: limits::FORMAT_BYTES });
        }
        let last = text.len() - 1;
        let visible =
            |at: usize, byte: u8| byte.is_ascii_graphic() || (byte == b' ' && 0 < at && at < last);
        if let Some((at, _)) = text.bytes().enumerate().find(|&(at, byte)| !visible(at, byte)) {
            return Err(BadFormat::Invisible { at });
        }
        Ok(Format(Tag::Other(text.into())))
    }

    /// The exact tag.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Tag::Json => "json",
            Tag::Text => "text",
            Tag::Raw => "raw",
            Tag::Other(text) => text,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_reads_back_as_it_was_written() {
        for text in ["json", "text", "raw", "JSON", "text/html; charset=utf-8"] {
            assert_eq!(Format::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Format::parse("json").unwrap(), Format::JSON);
        for text in ["", " json", "json ", "a\nb", "ä", "a\tb", &"x".repeat(129)] {
            assert!(Format::parse(text).is_err(), "{text:?} is no format");
        }
    }
}
