//! Names and positions that every part of the program shares.
//!
//! Each is parsed once, at the edge; inside, a value is already right.

mod agent;
mod epoch;
mod file;
mod session;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::stored::kept_as_text;

pub use agent::AgentId;
pub use epoch::{CallEpoch, ControlEpoch, ProducerEpoch, TurnEpoch};
pub use file::FileId;
pub use session::{BadTenant, SessionId, TenantName, listed};

/// Name that a writer gives itself, under which its retries are recognised.
///
/// 1 to [`limits::PRODUCER_ID_BYTES`] bytes, by the same rules as a [`SessionId`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(Arc<str>);

/// Names that are parsed and compared as a [`SessionId`] is, up to [`limits::NAME_BYTES`] bytes.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(Arc<str>);

            impl $name {
                /// Takes `text` as a name.
                ///
                /// # Errors
                /// Gives what is wrong with the text.
                pub fn parse(text: &str) -> Result<$name, BadId> {
                    check_name(text, limits::NAME_BYTES)?;
                    Ok($name(text.into()))
                }

                /// The exact text.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            kept_as_text!($name);

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
                }
            }
        )*
    };
}

names! {
    /// Name of one turn within its session, given by the client that requests it.
    TurnId
    /// Name of a logical worker: what kind of agent a turn is for.
    AgentName
    /// Name that a process gives itself when it takes turns.
    WorkerName
    /// Name of a person or program that takes part in a session.
    ParticipantName
    /// Name of the thing that a participant uses.
    DeviceName
    /// Name of one step of a turn, given by its worker.
    StepName
    /// Name of a tool that a worker waits for.
    ToolName
    /// Name of one question to people, within its session; given by its worker.
    InteractionId
    /// Name of one call of a tool within its turn, given by the worker that makes it.
    CallId
    /// What sort of question it is, for those who show it: `approval`, for example.
    KindName
}

impl KindName {
    /// To let an agent do something, the call of a tool for example.
    pub const APPROVAL: &str = "approval";
    /// To choose among what is offered.
    pub const CHOICE: &str = "choice";
    /// To fill in a form, which has a JSON Schema.
    pub const FORM: &str = "form";
    /// To answer with text.
    pub const TEXT: &str = "text";
    /// To make a call for the agent, of a tool that only a client has.
    pub const CLIENT_TOOL: &str = "client_tool";
}

kept_as_text!(ProducerId);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// It has no character.
    #[error("the name is empty")]
    Empty,
    /// It is longer than its kind of name may be.
    #[error("the name has {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// Length of the text, in bytes.
        bytes: usize,
        /// Greatest length of such a name, in bytes.
        limit: usize,
    },
    /// It has a control character, such as a line feed.
    #[error("the name has a control character at byte {at}")]
    Control {
        /// Byte at which the first one begins, from 0.
        at: usize,
    },
    /// It begins or ends with white space.
    #[error("the name begins or ends with white space")]
    Padded,
    /// It is not of the shape that names of files have.
    #[error("a file's name is file_ and 16 to 64 letters or digits")]
    NoFile,
}

/// How often the session of this name was created: the first life is 1.
///
/// Deleting a session and creating it again makes the next one, so that a serial never names two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u32);

/// Place of one event in one session's log; dense from 1, and 0 is the place before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Serial(pub u64);

/// The last event that a reader has: where its next read goes on.
///
/// Its text has a fixed width, so that texts sort as cursors do; readers treat it as opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The life of the session whose log it points into.
    pub incarnation: Incarnation,
    /// The last event that the reader has; [`Serial::ZERO`] before the first.
    pub serial: Serial,
}

/// Why a text is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    /// It is shorter or longer than every cursor.
    #[error("a cursor has {} bytes; this has {bytes}", CURSOR_BYTES)]
    Length {
        /// Length of the text, in bytes.
        bytes: usize,
    },
    /// It is not two groups of digits with an underscore between them.
    #[error("a cursor is {INCARNATION_DIGITS} digits, an underscore and {SERIAL_DIGITS} digits")]
    Shape,
    /// A number does not fit its type, or the incarnation is 0.
    #[error("the numbers of the cursor are out of range")]
    Range,
}

/// Time of the cluster in milliseconds since 1970; agreed on, so it never runs backwards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Millis(pub u64);

const INCARNATION_DIGITS: usize = 10;
const SERIAL_DIGITS: usize = 20;
const CURSOR_BYTES: usize = INCARNATION_DIGITS + 1 + SERIAL_DIGITS;

impl ProducerId {
    /// Takes `text` as a name.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn parse(text: &str) -> Result<ProducerId, BadId> {
        check_name(text, limits::PRODUCER_ID_BYTES)?;
        Ok(ProducerId(text.into()))
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Incarnation {
    /// The first life of a session.
    pub const FIRST: Incarnation = Incarnation(1);

    /// The life after this one; none when the number is spent.
    pub fn next(self) -> Option<Incarnation> {
        self.0.checked_add(1).map(Incarnation)
    }
}

impl Serial {
    /// The place before the first event.
    pub const ZERO: Serial = Serial(0);

    /// The place after this one.
    pub fn next(self) -> Serial {
        Serial(self.0.checked_add(1).expect("no log lives long enough to count to 2^64"))
    }
}

impl Cursor {
    /// Takes back what `Display` wrote.
    ///
    /// # Errors
    /// Any other text: a cursor is never guessed from half of one.
    pub fn parse(text: &str) -> Result<Cursor, BadCursor> {
        if text.len() != CURSOR_BYTES {
            return Err(BadCursor::Length { bytes: text.len() });
        }
        let (incarnation, serial) = text.split_once('_').ok_or(BadCursor::Shape)?;
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if incarnation.len() != INCARNATION_DIGITS
            || !all_digits(incarnation)
            || !all_digits(serial)
        {
            return Err(BadCursor::Shape);
        }
        let incarnation = incarnation.parse().map_err(|_| BadCursor::Range)?;
        let serial = serial.parse().map_err(|_| BadCursor::Range)?;
        if incarnation < Incarnation::FIRST.0 {
            return Err(BadCursor::Range);
        }
        Ok(Cursor { incarnation: Incarnation(incarnation), serial: Serial(serial) })
    }
}

impl Millis {
    /// The time `span_ms` later, or the end of time.
    pub fn after(self, span_ms: u64) -> Millis {
        Millis(self.0.saturating_add(span_ms))
    }

    /// Milliseconds from `earlier` to this time, or 0.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

fn check_name(text: &str, limit: usize) -> Result<(), BadId> {
    if text.is_empty() {
        return Err(BadId::Empty);
    }
    if limit < text.len() {
        return Err(BadId::TooLong { bytes: text.len(), limit });
    }
    if let Some((at, _)) = text.char_indices().find(|(_, letter)| letter.is_control()) {
        return Err(BadId::Control { at });
    }
    if text.trim().len() < text.len() {
        return Err(BadId::Padded);
    }
    Ok(())
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProducerId({:?})", &*self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:0inc$}_{:0ser$}",
            self.incarnation.0,
            self.serial.0,
            inc = INCARNATION_DIGITS,
            ser = SERIAL_DIGITS
        )
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check_id(text: &str, expected: Expect) {
        let shown = match SessionId::parse(text) {
            Ok(id) => format!("ok {}", id.name()),
            Err(why) => why.to_string(),
        };
        expected.assert_eq(&shown);
    }

    fn check_cursor(text: &str, expected: Expect) {
        let shown = match Cursor::parse(text) {
            Ok(cursor) => format!("ok {} {}", cursor.incarnation, cursor.serial),
            Err(why) => why.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_name_is_taken_byte_for_byte_or_refused() {
        check_id("chat/42 äöü", expect!["ok chat/42 äöü"]);
        check_id("", expect!["the name is empty"]);
        check_id(" a", expect!["the name begins or ends with white space"]);
        check_id("a\u{2028}", expect!["the name begins or ends with white space"]);
        check_id("ab\nid: 9", expect!["the name has a control character at byte 2"]);
        check_id("a\0", expect!["the name has a control character at byte 1"]);
        assert!(SessionId::parse(&"x".repeat(256)).is_ok());
        check_id(&"x".repeat(257), expect!["the name has 257 bytes; the limit is 256"]);
        assert_ne!(SessionId::parse("a"), SessionId::parse("A"));
    }

    #[test]
    fn a_cursor_is_read_whole_or_not_at_all() {
        check_cursor("0000000001_00000000000000000042", expect!["ok 1 #42"]);
        check_cursor("0000000001_00000000000000000000", expect!["ok 1 #0"]);
        check_cursor("-1", expect!["a cursor has 31 bytes; this has 2"]);
        check_cursor(
            "0000000001-00000000000000000042",
            expect!["a cursor is 10 digits, an underscore and 20 digits"],
        );
        check_cursor(
            "000000001_+00000000000000000042",
            expect!["a cursor is 10 digits, an underscore and 20 digits"],
        );
        check_cursor(
            "0000000000_00000000000000000042",
            expect!["the numbers of the cursor are out of range"],
        );
        check_cursor(
            "0000000001_18446744073709551616",
            expect!["the numbers of the cursor are out of range"],
        );
        check_cursor(
            "9999999999_00000000000000000001",
            expect!["the numbers of the cursor are out of range"],
        );
    }

    fn cursor() -> impl Strategy<Value = Cursor> {
        (1..=u32::MAX, any::<u64>()).prop_map(|(incarnation, serial)| Cursor {
            incarnation: Incarnation(incarnation),
            serial: Serial(serial),
        })
    }

    proptest! {
        #[test]
        fn the_text_of_a_cursor_reads_back_and_sorts_as_the_cursor(a in cursor(), b in cursor()) {
            prop_assert_eq!(Cursor::parse(&a.to_string()), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,40}") {
            let _ = Cursor::parse(&text);
            let _ = SessionId::parse(&text);
        }
    }
}
