//! Which bytes of a file are requested (RFC 9110, 14).

use std::ops::Range;

/// What a `range` header requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requested {
    /// All bytes: nothing else was requested, or nothing that is served.
    All,
    /// These, at least one.
    Part(Range<u64>),
    /// None that there are.
    Beyond,
}

/// Reads a `range` for so many bytes. Several ranges, other units and what is malformed are passed over, as a server
/// may: then all bytes are requested.
pub(super) fn requested(text: Option<&str>, size: u64) -> Requested {
    let Some(range) = text.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Requested::All;
    };
    let Some((first, last)) = range.split_once('-') else { return Requested::All };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What is too long for a number is beyond every file.
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Some(0) => Requested::Beyond,
            Some(count) => Requested::Part(size.saturating_sub(count)..size),
            None => Requested::All,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if last < first => Requested::All,
            (Some(first), _) if size <= first && is_last(last) => Requested::Beyond,
            (Some(first), Some(last)) => Requested::Part(first..last.saturating_add(1).min(size)),
            (Some(first), None) if last.is_empty() => Requested::Part(first..size),
            _ => Requested::All,
        },
    }
}

fn is_last(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_is_read_as_the_standard_says() {
        for (text, found) in [
            ("bytes=0-9", Requested::Part(0..10)),
            ("bytes=90-", Requested::Part(90..100)),
            ("bytes=90-1000", Requested::Part(90..100)),
            ("bytes=-10", Requested::Part(90..100)),
            ("bytes=-1000", Requested::Part(0..100)),
            ("bytes= 5 - 6 ", Requested::Part(5..7)),
            ("bytes=99-99999999999999999999999", Requested::Part(99..100)),
            ("bytes=100-", Requested::Beyond),
            ("bytes=99999999999999999999999-", Requested::Beyond),
            ("bytes=-0", Requested::Beyond),
            ("bytes=9-0", Requested::All),
            ("bytes=0-9,20-29", Requested::All),
            ("bytes=200-a", Requested::All),
            ("bytes=+1-2", Requested::All),
            ("bytes=-", Requested::All),
            ("bytes", Requested::All),
            ("lines=0-9", Requested::All),
        ] {
            assert_eq!(requested(Some(text), 100), found, "{text}");
        }
        assert_eq!(requested(None, 100), Requested::All);
    }

    proptest! {
        #[test]
        fn no_text_asks_for_bytes_that_are_not_there(text in "bytes=[0-9]{0,20}-[0-9]{0,20}", size in 1..u64::MAX) {
            if let Requested::Part(part) = requested(Some(&text), size) {
                prop_assert!(part.start < part.end && part.end <= size, "{part:?}");
            }
        }
    }
}
