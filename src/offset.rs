//! A place in a log as text that sorts as the log does.

use std::fmt;

use crate::ids::{Incarnation, Serial};

/// After one event of one log. Forks share the root of their source, and so its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    pub root: Incarnation,
    pub serial: Serial,
}

/// Digits of each of its numbers.
const DIGITS: usize = 16;

impl Offset {
    /// Takes back what `Display` wrote; none for any other text.
    pub fn parse(text: &str) -> Option<Offset> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    }
}
