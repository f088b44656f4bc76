//! Where a read begins.

use crate::offset::Offset;
use crate::runtime::Start;

/// The start of any log, beside `-1`.
const ZERO: &str = "0000000000000000_0000000000000000";

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Start,
    Now,
    After(Offset),
}

impl Position {
    pub(super) fn parse(text: &str) -> Option<Position> {
        match text {
            "-1" | ZERO => Some(Position::Start),
            "now" => Some(Position::Now),
            _ => Offset::parse(text).map(Position::After),
        }
    }

    pub(super) fn start(self) -> Start {
        match self {
            Position::Start => Start::Beginning,
            Position::Now => Start::Tail,
            Position::After(Offset { root, serial }) => Start::Offset { root, serial },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Incarnation, Serial};

    #[test]
    fn an_offset_is_a_start_a_tail_or_its_own_text() {
        let offset = Offset { root: Incarnation(2), serial: Serial(31) };
        assert_eq!(offset.to_string(), "0000000000000002_0000000000000031");
        assert_eq!(Position::parse(&offset.to_string()), Some(Position::After(offset)));
        assert_eq!(Position::parse("-1"), Some(Position::Start));
        assert_eq!(Position::parse(ZERO), Some(Position::Start));
        assert_eq!(Position::parse("now"), Some(Position::Now));
        for text in ["", "0", "NOW", "-2", "1_1", "0000000000000000_0000000000000001"] {
            assert_eq!(Position::parse(text), None, "{text:?}");
        }
        assert_eq!(Position::parse("9999999999999999_0000000000000001"), None);
        assert_eq!(Position::parse("+000000000000001_0000000000000001"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9_nowä]{0,40}") {
            if let Some(Position::After(offset)) = Position::parse(&text) {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }
}
