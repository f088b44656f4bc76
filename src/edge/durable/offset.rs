//! Where a read begins.

use crate::offset::Offset;
use crate::runtime::Start;

/// The start of any log, beside `-1`.
const ZERO: &str = "0000000000000000_0000000000000000";

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    Now,
    Behind(Offset),
}

impl Place {
    pub(super) fn parse(text: &str) -> Option<Place> {
        match text {
            "-1" | ZERO => Some(Place::Start),
            "now" => Some(Place::Now),
            _ => Offset::parse(text).map(Place::Behind),
        }
    }

    pub(super) fn start(self) -> Start {
        match self {
            Place::Start => Start::Beginning,
            Place::Now => Start::Tail,
            Place::Behind(Offset { root, serial }) => Start::Offset { root, serial },
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
        assert_eq!(Place::parse(&offset.to_string()), Some(Place::Behind(offset)));
        assert_eq!(Place::parse("-1"), Some(Place::Start));
        assert_eq!(Place::parse(ZERO), Some(Place::Start));
        assert_eq!(Place::parse("now"), Some(Place::Now));
        for text in ["", "0", "NOW", "-2", "1_1", "0000000000000000_0000000000000001"] {
            assert_eq!(Place::parse(text), None, "{text:?}");
        }
        assert_eq!(Place::parse("9999999999999999_0000000000000001"), None);
        assert_eq!(Place::parse("+000000000000001_0000000000000001"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9_nowä]{0,40}") {
            if let Some(Place::Behind(offset)) = Place::parse(&text) {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }
}
