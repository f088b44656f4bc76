//! Where a page begins or ends: a name, a cursor of the session's present life, or a serial of it.

use super::super::cursor;
use super::super::error::{self, Problem};
use super::super::headers::strict_number;
use crate::ids::{Cursor, Incarnation, Serial};
use crate::runtime::Start;
use crate::session::Status;

/// A place in a log, as a client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum At {
    Start,
    Now,
    Cursor(Cursor),
    Serial(Serial),
}

impl At {
    /// Takes `start`, `now`, a cursor or a serial.
    pub(in crate::edge) fn parse(text: &str) -> Result<At, Problem> {
        if let Some(number) = strict_number(text) {
            return Ok(At::Serial(Serial(number)));
        }
        Ok(match cursor::place(Some(text))?.start {
            Start::After(cursor) => At::Cursor(cursor),
            Start::Tail => At::Now,
            _ => At::Start,
        })
    }

    /// The serial that it names in the log as it is now; what it stands before or after.
    ///
    /// # Errors
    /// It is of another life, or lies beyond the end of the log.
    pub(in crate::edge) fn in_log(self, status: &Status) -> Result<Option<Serial>, Problem> {
        let serial = match self {
            At::Start => return Ok(Some(Serial::ZERO)),
            At::Now => return Ok(None),
            At::Serial(serial) => serial,
            At::Cursor(cursor) => {
                of_life(cursor.incarnation, status.incarnation)?;
                cursor.serial
            }
        };
        if status.tail.next() < serial {
            let detail = format!("the place is {serial}, beyond the tail at {}", status.tail);
            return Err(Problem::new(&error::CURSOR_OUT_OF_RANGE, detail));
        }
        Ok(Some(serial))
    }
}

/// Refuses what is of another life than the present one.
fn of_life(given: Incarnation, present: Incarnation) -> Result<(), Problem> {
    if given == present {
        return Ok(());
    }
    let kind = if given < present { &error::CURSOR_GONE } else { &error::CURSOR_OUT_OF_RANGE };
    let detail = format!("the cursor is of incarnation {given}; the session is in {present}");
    Err(Problem::new(kind, detail))
}

/// Where a page of events begins that a serial is given for: after the event of the present life.
pub(in crate::edge) fn event_place(text: &str) -> Option<Serial> {
    strict_number(text).map(Serial)
}
