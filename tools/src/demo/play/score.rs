//! The score, as the page computes it: from serials, and from words that can only be one way.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::record::Record;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) events: u64,
    pub(super) words: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) disordered: u64,
    /// Longest silence after a node was killed.
    pub(super) pause: Duration,
}

impl Score {
    /// Counts what a device saw: serials are dense after the place where it began.
    pub(super) fn add(&mut self, record: &Record) {
        let mut seen = BTreeSet::new();
        let mut next = record.begins_behind + 1;
        for event in &record.events {
            let serial = event.serial();
            let first = event.event["from"].as_u64().filter(|_| event.is("turn.output"));
            let first = first.unwrap_or(serial);
            if first < next {
                let again = !seen.insert(serial);
                self.duplicated += u64::from(again);
                self.disordered += u64::from(!again);
            } else {
                self.lost += first - next;
                next = serial + 1;
                seen.insert(serial);
            }
            self.events += 1;
        }
        self.lost += record.breaks as u64;
    }

    /// Counts the words of an answer that were checked.
    pub(super) fn words(&mut self, count: usize) {
        self.words += count as u64;
    }

    pub(super) fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.disordered == 0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events {} | words {} | lost {} | duplicated {} | out of order {} | longest pause {} ms",
            self.events,
            self.words,
            self.lost,
            self.duplicated,
            self.disordered,
            self.pause.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::super::record::Seen;
    use super::*;

    fn score(begins_behind: u64, serials: &[u64]) -> (u64, u64, u64) {
        let seen = |serial: &u64| Seen { at: Instant::now(), event: json!({ "serial": serial }) };
        let events = serials.iter().map(seen).collect();
        let mut score = Score::default();
        score.add(&Record { events, begins_behind, ..Record::default() });
        (score.lost, score.duplicated, score.disordered)
    }

    #[test]
    fn serials_tell_what_is_lost_doubled_or_late() {
        assert_eq!(score(0, &[1, 2, 3]), (0, 0, 0));
        assert_eq!(score(7, &[8, 9]), (0, 0, 0));
        assert_eq!(score(7, &[9]), (1, 0, 0));
        assert_eq!(score(0, &[1, 2, 2, 3]), (0, 1, 0));
        assert_eq!(score(0, &[1, 3, 2, 4]), (1, 0, 1));
    }
}
