//! Where a reader wants to begin.

use super::error::{self, Problem};
use crate::ids::{Cursor, Incarnation, Serial};
use crate::runtime::Start;

/// Ends the id of the frame that ends a stream, so that a browser that comes back with it can be answered
/// that it is to stay away.
pub(super) const END_MARK: &str = "_end";

/// A place to begin, and whether the reader has seen that nothing follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) start: Start,
    pub(super) has_seen_end: bool,
}

/// Takes `start`, `now` or a cursor; nothing given is the start.
pub(super) fn place(text: Option<&str>) -> Result<Beginning, Problem> {
    let fresh = |start| Ok(Beginning { start, has_seen_end: false });
    match text {
        None | Some("start") => fresh(Start::Beginning),
        Some("now") => fresh(Start::Tail),
        Some(text) => {
            let (text, has_seen_end) = match text.strip_suffix(END_MARK) {
                Some(cursor) => (cursor, true),
                None => (text, false),
            };
            let cursor = Cursor::parse(text)
                .map_err(|why| Problem::new(&error::BAD_CURSOR, why.to_string()))?;
            Ok(Beginning { start: Start::After(cursor), has_seen_end })
        }
    }
}

/// A place that no log has: whoever is attached there gets `reset`, and then the log from its start.
pub(super) const UNKNOWN: Beginning = Beginning {
    start: Start::After(Cursor { incarnation: Incarnation(0), serial: Serial::ZERO }),
    has_seen_end: false,
};

/// The place in front of `serial`.
pub(super) fn before(serial: Serial) -> Serial {
    Serial(serial.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_start_now_or_a_whole_cursor() {
        let cursor = Cursor { incarnation: Incarnation(2), serial: Serial(5) };
        let at = |has_seen_end| Beginning { start: Start::After(cursor), has_seen_end };
        assert_eq!(place(Some(&cursor.to_string())).unwrap(), at(false));
        assert_eq!(place(Some(&format!("{cursor}_end"))).unwrap(), at(true));
        assert_eq!(place(None).unwrap().start, Start::Beginning);
        assert_eq!(place(Some("start")).unwrap().start, Start::Beginning);
        assert_eq!(place(Some("now")).unwrap().start, Start::Tail);
        let long = "1".repeat(10_000);
        for text in ["", "-1", "18446744073709551616", "NaN", "Start", "_end", "now_end", &long] {
            assert_eq!(place(Some(text)).unwrap_err().kind().code, "bad_cursor", "{text:?}");
        }
    }
}
