//! Where a stream ends, or how far it was dealt with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, Serial};
use crate::offset::Offset;

/// After one event of a log; in the order of their texts. The root 0 is before all logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition(pub(super) u32, pub(super) u64);

impl LogPosition {
    pub(super) fn new(root: Incarnation, serial: Serial) -> LogPosition {
        LogPosition(root.0, serial.0)
    }

    /// Takes back what `Display` wrote.
    pub fn parse(text: &str) -> Option<LogPosition> {
        if text == LogPosition::default().to_string() {
            return Some(LogPosition::default());
        }
        Offset::parse(text).map(|offset| LogPosition::new(offset.root, offset.serial))
    }

    /// Whether a log that goes up to here has something after `acked`.
    pub(super) fn is_news(self, acked: Option<LogPosition>) -> bool {
        0 < self.1 && acked < Some(self)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Offset { root: Incarnation(self.0), serial: Serial(self.1) }.fmt(f)
    }
}

/// The text of what was acknowledged; nothing at all is `-1`.
pub(super) fn acked(place: Option<LogPosition>) -> String {
    place.map_or_else(|| "-1".to_owned(), |place| place.to_string())
}
