//! JSON payloads: what may be kept as JSON, and what may be shown inside a line of JSON.

use serde_json::value::RawValue;

use crate::limits;

/// Why a text is no JSON payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadJson {
    #[error("the payload is no JSON: {0}")]
    Syntax(String),
    #[error("the payload is nested deeper than {limit}")]
    TooDeep { limit: usize },
}

/// Whether `payload` is one JSON value, possibly with white space around it.
///
/// # Errors
/// Gives what is wrong, by place and not by content.
pub(super) fn check(payload: &[u8]) -> Result<(), BadJson> {
    // Depth first: whoever parses the value later may do so by recursion.
    if limits::JSON_DEPTH < depth(payload) {
        return Err(BadJson::TooDeep { limit: limits::JSON_DEPTH });
    }
    match serde_json::from_slice::<&RawValue>(payload) {
        Ok(_) => Ok(()),
        Err(why) => Err(BadJson::Syntax(why.to_string())),
    }
}

/// The payload's text if it can stand in one line of JSON and be cut out again byte for byte.
pub(super) fn as_value(payload: &[u8]) -> Option<&str> {
    if payload.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return None;
    }
    if limits::JSON_DEPTH < depth(payload) {
        return None;
    }
    let raw: &RawValue = serde_json::from_slice(payload).ok()?;
    (raw.get().len() == payload.len()).then_some(raw.get())
}

/// Whether a text is nested no deeper than readers of JSON can be expected to follow.
pub(super) fn is_shallow(text: &str) -> bool {
    depth(text.as_bytes()) <= limits::JSON_DEPTH
}

/// The value's text with spaces for its line breaks, which in JSON lie between tokens only.
pub(super) fn in_one_line(value: &RawValue) -> Vec<u8> {
    let flat = |byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
    value.get().bytes().map(flat).collect()
}

/// The same JSON with escapes for letters at which some readers of event streams end a line, though the standard
/// does not: NEL and the separators of lines and paragraphs. JSON has them in strings only, so it means the same.
pub(super) fn without_line_ends(json: Vec<u8>) -> Vec<u8> {
    let found = |at: usize| match json[at..] {
        [0xc2, 0x85, ..] => Some((2, &b"\\u0085"[..])),
        [0xe2, 0x80, 0xa8, ..] => Some((3, &b"\\u2028"[..])),
        [0xe2, 0x80, 0xa9, ..] => Some((3, &b"\\u2029"[..])),
        _ => None,
    };
    let Some(first) = (0..json.len()).find(|at| found(*at).is_some()) else { return json };
    let mut out = Vec::with_capacity(json.len() + 16);
    let (mut at, mut kept) = (first, 0);
    while at < json.len() {
        let Some((length, escape)) = found(at) else {
            at += 1;
            continue;
        };
        out.extend_from_slice(&json[kept..at]);
        out.extend_from_slice(escape);
        at += length;
        kept = at;
    }
    out.extend_from_slice(&json[kept..]);
    out
}

/// How deep brackets outside of strings are nested.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut bytes = text.iter();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match (quoted, byte) {
            (true, b'\\') => _ = bytes.next(),
            (_, b'"') => quoted = !quoted,
            (false, b'[' | b'{') => {
                now += 1;
                most = most.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_checked_without_recursion_and_without_reading_numbers() {
        for good in ["null", " [1] ", "1e400", r#"{"a":1,"a":2}"#, r#""\ud800""#, "\"\u{2028}\""] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", " ", "{", "[1,]", "01", "nul", "1 2", "\u{feff}1", "\"\n\"", "NaN"] {
            assert!(matches!(check(bad.as_bytes()), Err(BadJson::Syntax(_))), "{bad:?}");
        }
        assert!(check(b"\"\xff\"").is_err());
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check(deep(128).as_bytes()), Ok(()));
        assert_eq!(check(deep(129).as_bytes()), Err(BadJson::TooDeep { limit: 128 }));
        assert_eq!(check("[".repeat(200_000).as_bytes()), Err(BadJson::TooDeep { limit: 128 }));
        assert_eq!(check(br#""[[[[\"[[[\\""#), Ok(()));
    }

    #[test]
    fn a_value_stands_in_a_line_only_if_it_can_be_cut_out_again() {
        assert_eq!(as_value(br#"{ "a": 1.0e5 }"#), Some(r#"{ "a": 1.0e5 }"#));
        for other in [" 1", "1 ", "[1,\n2]", "[1,\r2]", "{", "\u{1}"] {
            assert_eq!(as_value(other.as_bytes()), None, "{other:?}");
        }
        let raw: &RawValue = serde_json::from_str("[1,\r\n \"a\\n\"]").unwrap();
        assert_eq!(in_one_line(raw), b"[1,   \"a\\n\"]");
    }
}
