//! Idempotency keys of calls of tools: the same for one call, whichever worker makes it and however often.
//!
//! Made of names alone, so nothing has to be kept of a call for a key to be known again.

use xxhash_rust::xxh3::xxh3_128;

use crate::ids::{CallId, Incarnation, SessionId, TurnId};

/// What the keys of one life of a session are made of, beside their names.
#[must_use]
pub fn seed(session: &SessionId, incarnation: Incarnation) -> u128 {
    xxh3_128(format!("{}\0{}", session.full(), incarnation.0).as_bytes())
}

/// The key of a call.
#[must_use]
pub fn of(seed: u128, turn: &TurnId, call: &CallId) -> u128 {
    // Names have no zero byte.
    xxh3_128(format!("{seed:032x}\0{}\0{}", turn.as_str(), call.as_str()).as_bytes())
}

/// A key as text: 32 hexadecimal digits.
#[must_use]
pub fn text(key: u128) -> String {
    format!("{key:032x}")
}

/// The key of such a text, if it is one.
#[must_use]
pub fn parse(text: &str) -> Option<u128> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_key_and_every_other_call_another() {
        let key = |session: &str, life: u32, turn: &str, call: &str| {
            let seed = seed(&SessionId::parse(session).unwrap(), Incarnation(life));
            of(seed, &TurnId::parse(turn).unwrap(), &CallId::parse(call).unwrap())
        };
        let one = key("s", 1, "t", "c");
        assert_eq!(one, key("s", 1, "t", "c"));
        for other in [key("r", 1, "t", "c"), key("s", 2, "t", "c"), key("s", 1, "tc", "c")] {
            assert_ne!(one, other);
        }
        assert_ne!(key("s", 1, "t", "c"), key("s", 1, "t", "d"));
        assert_eq!(parse(&text(one)), Some(one));
        assert_eq!((parse("12"), parse(&"g".repeat(32)), text(1).len()), (None, None, 32));
    }
}
