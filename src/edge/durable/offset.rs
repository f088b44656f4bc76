//! Where a read begins: the root of a log and a serial in it, as text that sorts as the log does.

use std::fmt;

use crate::ids::{Incarnation, Serial};
use crate::runtime::Start;

/// After one event of one log. Forks share the root of their source, and so its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) root: Incarnation,
    pub(super) serial: Serial,
}

/// Digits of each of its numbers.
const DIGITS: usize = 16;
/// The start of any log, beside `-1`.
const ZERO: &str = "0000000000000000_0000000000000000";

/// Where a reader says it wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    Now,
    Behind(Offset),
}

impl Offset {
    /// Takes back what `Display` wrote; none for any other text.
    pub(super) fn parse(text: &str) -> Option<Offset> {
        let (root, serial) = text.split_once('_')?;
        let number = |part: &str| {
            let digits = part.len() == DIGITS && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        };
        let root = u32::try_from(number(root)?).ok().filter(|root| 0 < *root)?;
        Some(Offset { root: Incarnation(root), serial: Serial(number(serial)?) })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}_{:0DIGITS$}", self.root.0, self.serial.0)
    }
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
        fn offsets_sort_as_their_texts(
            a in (1..u32::MAX, 0..10_u64.pow(16)),
            b in (1..u32::MAX, 0..10_u64.pow(16)),
        ) {
            let text = |(root, serial)| {
                Offset { root: Incarnation(root), serial: Serial(serial) }.to_string()
            };
            prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
            prop_assert_eq!(Offset::parse(&text(a)).unwrap().to_string(), text(a));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9_nowä]{0,40}") {
            if let Some(Place::Behind(offset)) = Place::parse(&text) {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }
}
