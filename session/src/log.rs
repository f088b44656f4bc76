//! Where a log begins and ends: serials, chain, bytes, and what retention gives up (S2, S10).
//!
//! The events lie elsewhere; here is only what the next command needs. The log is divided by *marks*
//! into few groups, and retention gives up whole groups, so that its state is small however long the
//! log is.

use serde::{Deserialize, Serialize};

use super::chain;
use super::config::Retention;
use super::event::{Event, NewEvent, Origin};
use super::fact::Fact;
use crate::ids::{AgentName, Millis, Serial};
use crate::limits;

/// A byte or age limit is divided into this many groups, which leaves room for the groups at its ends.
const GROUPS: u64 = 32;

/// The log of one incarnation, without its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log {
    /// First event that can still be read; `tail + 1` where there is none.
    pub(super) first: Serial,
    pub(super) tail: Serial,
    /// Hash at `tail`.
    pub(super) chain: u64,
    /// Payload bytes of all events that were ever appended.
    pub(super) total: u64,
    /// Where the groups begin, oldest first. The first group may have lost some events to a trim;
    /// the last one is still growing.
    pub(super) marks: Vec<Mark>,
}

/// The beginning of a group of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) first: Serial,
    /// Payload bytes of all events in front of `first`.
    pub(super) before: u64,
    /// Time of the group's last event.
    pub(super) newest: Millis,
}

impl Log {
    /// An empty log after the serial `before`.
    pub(super) fn new(chain: u64, before: Serial) -> Log {
        Log { first: before.next(), tail: before, chain, total: 0, marks: Vec::new() }
    }

    /// Numbers, stamps and chains one event.
    pub(super) fn push(
        &mut self,
        now: Millis,
        new: &NewEvent,
        origin: Option<&Origin>,
        agent: Option<AgentName>,
        fact: Option<Fact>,
        retention: &Retention,
    ) -> Event {
        self.mark(now, retention);
        let mut event = Event {
            serial: self.tail.next(),
            time: now,
            format: new.format.clone(),
            payload: new.payload.clone(),
            chain: 0,
            origin: origin.cloned(),
            agent,
            fact: fact.map(Box::new),
        };
        event.chain = chain::next(self.chain, &event);
        self.tail = event.serial;
        self.chain = event.chain;
        self.total += event.payload.len() as u64;
        event
    }

    /// Takes an event that was numbered, stamped and chained elsewhere, and comes next.
    pub(super) fn take(&mut self, event: &Event, retention: &Retention) {
        self.mark(event.time, retention);
        self.tail = event.serial;
        self.chain = event.chain;
        self.total += event.payload.len() as u64;
    }

    /// Payload bytes of the groups that still have an event.
    pub(super) fn bytes(&self) -> u64 {
        self.marks.first().map_or(0, |mark| self.total - mark.before)
    }

    /// Gives up the groups that no limit keeps; returns whether there were any. What is `needed`, and all
    /// after it, stays.
    pub(super) fn retain(
        &mut self,
        now: Millis,
        retention: &Retention,
        needed: Option<Serial>,
    ) -> bool {
        let aged = retention.max_age_ms.map_or(0, |age_ms| {
            self.marks.partition_point(|mark| mark.newest.after(age_ms) <= now)
        });
        let pushed_out = retention.max_bytes.map_or(0, |bytes| {
            // Group n may go when the groups after it alone reach the limit.
            self.marks.partition_point(|mark| bytes <= self.total - mark.before).saturating_sub(1)
        });
        self.drop_groups(aged.max(pushed_out).min(self.spare_groups(needed)))
    }

    /// Gives up the events before `before`; returns whether there were any.
    pub(super) fn trim(&mut self, before: Serial) -> bool {
        let first = before.min(self.tail.next());
        if first <= self.first {
            return false;
        }
        let wholly = self.marks.iter().skip(1).take_while(|next| next.first <= first).count();
        self.drop_groups(if first <= self.tail { wholly } else { self.marks.len() });
        self.first = first;
        true
    }

    /// When the oldest group becomes too old, if it may go then.
    pub(super) fn deadline(&self, retention: &Retention, needed: Option<Serial>) -> Option<Millis> {
        let oldest = self.marks.first().filter(|_| 0 < self.spare_groups(needed))?;
        Some(oldest.newest.after(retention.max_age_ms?))
    }

    /// How many groups lie wholly before what is needed.
    fn spare_groups(&self, needed: Option<Serial>) -> usize {
        let Some(needed) = needed else { return self.marks.len() };
        self.marks.partition_point(|mark| mark.first <= needed).saturating_sub(1)
    }

    fn drop_groups(&mut self, count: usize) -> bool {
        if count == 0 {
            return false;
        }
        self.first = self.marks.get(count).map_or(self.tail.next(), |mark| mark.first);
        self.marks.drain(..count);
        true
    }

    /// Counts the event to come into the last group, or begins a new one.
    fn mark(&mut self, now: Millis, retention: &Retention) {
        let held = self.bytes();
        if let Some(open) = self.marks.last_mut()
            && !is_full(open, self.total, held, now, retention)
        {
            open.newest = now;
            return;
        }
        let limit = if retention.is_unlimited() { limits::MARKS_PLAIN } else { limits::MARKS };
        if limit <= self.marks.len() {
            self.join_least();
        }
        if self.marks.len() == self.marks.capacity() {
            self.marks.reserve_exact((self.marks.len() / 2).max(1));
        }
        self.marks.push(Mark { first: self.tail.next(), before: self.total, newest: now });
    }

    /// Makes one of the two neighbours that hold least together.
    fn join_least(&mut self) {
        let end = |at: usize| self.marks.get(at).map_or(self.total, |mark| mark.before);
        let least = (0..self.marks.len().saturating_sub(1))
            .min_by_key(|&at| end(at + 2) - self.marks[at].before);
        if let Some(at) = least {
            let later = self.marks.remove(at + 1);
            self.marks[at].newest = later.newest;
        }
    }
}

/// Whether a group has its share, so that the event to come belongs to the next.
fn is_full(open: &Mark, total: u64, held: u64, now: Millis, retention: &Retention) -> bool {
    let by_age = retention.max_age_ms.is_some_and(|age_ms| {
        let stride = (age_ms / GROUPS).max(1);
        open.newest.0 / stride < now.0 / stride
    });
    let share = match retention {
        Retention { max_bytes: Some(bytes), .. } => bytes / GROUPS,
        Retention { max_age_ms: Some(_), .. } => u64::MAX,
        _ => held / limits::MARKS_PLAIN as u64,
    };
    by_age || share.max(1) <= total - open.before
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Format;

    fn push(log: &mut Log, now: Millis, bytes: usize, retention: &Retention) {
        let payload = Bytes::from(vec![b'x'; bytes]);
        log.push(now, &NewEvent { format: Format::RAW, payload }, None, None, None, retention);
        log.retain(now, retention, None);
    }

    #[test]
    fn steady_output_is_kept_up_to_a_thirty_second_beyond_its_limit() {
        let retention = Retention { max_bytes: Some(64_000), max_age_ms: None };
        let mut log = Log::new(0, Serial::ZERO);
        for step in 0..100_000 {
            push(&mut log, Millis(step), 10, &retention);
            let held = 10 * (log.tail.0 + 1 - log.first.0);
            assert_eq!(held, log.bytes());
            assert!(held <= 64_000 + 2_000, "{held} bytes held");
            assert!(64_000.min(10 * log.tail.0) <= held, "{held} bytes held");
            assert!(log.marks.len() <= limits::MARKS);
        }
    }

    #[test]
    fn an_event_is_kept_up_to_a_thirty_second_beyond_its_age() {
        let retention = Retention { max_bytes: None, max_age_ms: Some(3_200) };
        let mut log = Log::new(0, Serial::ZERO);
        for step in 0..20_000_u64 {
            // One event each millisecond, so that serial n has the time n - 1.
            push(&mut log, Millis(step), 1, &retention);
            let oldest = log.first.0 - 1;
            assert!(step - oldest <= 3_300, "at {step} ms an event of {oldest} ms is held");
            assert!(step.saturating_sub(3_199) >= oldest, "{oldest} went early at {step}");
            assert!(log.marks.len() <= limits::MARKS);
        }
    }

    proptest! {
        #[test]
        fn whatever_lies_within_a_limit_is_kept(
            max_bytes in prop::option::of(1_u64..3_000),
            max_age_ms in prop::option::of(1_u64..3_000),
            steps in prop::collection::vec((0_u64..200, 0_usize..200, prop::option::weighted(0.02, 0_u64..500)), 1..400),
        ) {
            let retention = Retention { max_bytes, max_age_ms };
            let mut log = Log::new(0, Serial::ZERO);
            let mut events: Vec<(Millis, u64)> = Vec::new();
            let mut trimmed = Serial::ZERO.next();
            let mut now = Millis(0);
            for (wait, bytes, trim) in steps {
                now = now.after(wait);
                log.retain(now, &retention, None);
                push(&mut log, now, bytes, &retention);
                events.push((now, bytes as u64));
                if let Some(before) = trim {
                    log.trim(Serial(before));
                    trimmed = trimmed.max(Serial(before).min(log.tail.next()));
                }
                let before_first = &events[..log.first.0 as usize - 1];
                if let Some((time, _)) = before_first.last() && trimmed < log.first {
                    let after: u64 = events[before_first.len()..].iter().map(|(_, b)| b).sum();
                    let aged = max_age_ms.is_some_and(|age| time.after(age) <= now);
                    let pushed_out = max_bytes.is_some_and(|max| max <= after);
                    prop_assert!(aged || pushed_out, "an event went early");
                }
                let held: u64 = events[before_first.len()..].iter().map(|(_, b)| b).sum();
                prop_assert!(held <= log.bytes());
                prop_assert!(trimmed <= log.first && log.first <= log.tail.next());
                prop_assert!(log.marks.len() <= limits::MARKS);
                prop_assert_eq!(log.marks.is_empty(), log.first == log.tail.next());
                if let Some(at) = log.deadline(&retention, None) {
                    prop_assert!(now < at);
                    let mut early = log.clone();
                    prop_assert!(!early.retain(Millis(at.0 - 1), &retention, None));
                    prop_assert!(early.retain(at, &retention, None));
                }
            }
        }
    }
}
