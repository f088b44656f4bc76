//! Cursors: numbers of intervals of time, by which caches distinguish one wait for news from the next.

use crate::ids::Millis;

/// Length of one interval, in milliseconds.
const INTERVAL_MS: u64 = 20_000;
/// When interval 0 began: 2024-10-09T00:00:00Z.
const EPOCH: Millis = Millis(1_728_432_000_000);
/// Intervals by which a client that is ahead is sent further on.
const JITTER: std::ops::RangeInclusive<u64> = 1..=180;
/// Largest number that every client can hold exactly.
const MOST: u64 = (1 << 53) - 1;

/// The cursors of one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursors {
    last: u64,
}

impl Cursors {
    /// For a client that came with the cursor `given`: each is after that one.
    pub(super) fn new(given: Option<&str>, now: Millis) -> Cursors {
        Cursors::with_jitter(given, now, rand::random_range(JITTER))
    }

    fn with_jitter(given: Option<&str>, now: Millis, jitter: u64) -> Cursors {
        let present = interval(now);
        let given = given.and_then(|text| text.parse().ok()).filter(|given| *given <= MOST);
        let last = match given {
            Some(given) if present <= given => given.saturating_add(jitter).min(MOST),
            _ => present,
        };
        Cursors { last }
    }

    /// The cursor at the time `now`; never before an earlier one.
    pub(super) fn at(&mut self, now: Millis) -> String {
        self.last = self.last.max(interval(now));
        self.last.to_string()
    }
}

fn interval(now: Millis) -> u64 {
    now.since(EPOCH) / INTERVAL_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_interval_or_behind_what_the_client_had() {
        let now = EPOCH.after(7 * INTERVAL_MS + 1);
        let first = |given| Cursors::with_jitter(given, now, 5).at(now);
        assert_eq!(first(None), "7");
        assert_eq!(first(Some("6")), "7");
        assert_eq!(first(Some("7")), "12");
        assert_eq!(first(Some("1000")), "1005");
        for junk in ["", "x", "-1", "99999999999999999999", "9007199254740992"] {
            assert_eq!(first(Some(junk)), "7", "{junk:?}");
        }
        let mut ahead = Cursors::with_jitter(Some("8"), now, 1);
        assert_eq!(ahead.at(now), "9");
        assert_eq!(ahead.at(now.after(5 * INTERVAL_MS)), "12");
        assert_eq!(ahead.at(now), "12");
    }
}
