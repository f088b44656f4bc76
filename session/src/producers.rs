//! What a session remembers of its writers, so that a retry has the effect of one (S11).
//!
//! A producer numbers its requests from 0 within an epoch. Each request gets a place in the log, and
//! requests of equal size that lie side by side are remembered as one *run*: a writer that is alone
//! needs one run for its whole life. The rules are those of idempotent producers in Durable Streams.

use serde::{Deserialize, Serialize};

use super::event::Origin;
use super::refusal::Refusal;
use crate::ids::{Millis, ProducerEpoch, ProducerId, Serial};
use crate::limits;

/// The producers of one session, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Producers {
    pub(super) all: Vec<Producer>,
}

/// One producer in its newest epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Producer {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
    /// Last request that was accepted.
    pub(super) seq: u64,
    /// When it was accepted.
    pub(super) used: Millis,
    /// Oldest first, without a hole; the last run ends at `seq`. None where it wrote in an earlier life of the
    /// session alone: its epoch is over, and `seq` is 0.
    pub(super) runs: Vec<Run>,
}

/// Requests `seq..seq + length` with `events` events each, side by side in the log from `serial`.
///
/// A request that only closed the session has no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) seq: u64,
    pub(super) serial: Serial,
    pub(super) events: u32,
    pub(super) length: u32,
}

/// Where an accepted request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendPlace {
    Events {
        first: Serial,
        last: Serial,
    },
    /// It only closed the session.
    Close,
    /// It was accepted too long ago to be known.
    Forgotten,
}

impl Producers {
    /// Returns where an earlier request with the same origin went; none if this one is next.
    ///
    /// # Errors
    /// The request is neither a retry nor next.
    pub(super) fn recall(&self, given: &Origin) -> Result<Option<AppendPlace>, Refusal> {
        let held = self.find(&given.producer).ok().map(|at| &self.all[at]);
        let expected = match held {
            Some(held) if given.epoch < held.epoch || held.is_spent_by(given) => {
                return Err(Refusal::StaleEpoch {
                    producer: given.producer.clone(),
                    given: given.epoch,
                    held: held.epoch,
                });
            }
            Some(held) if held.epoch < given.epoch && given.seq != 0 => {
                return Err(Refusal::EpochMustStartAtZero { received: given.seq });
            }
            Some(held) if given.epoch == held.epoch && given.seq <= held.seq => {
                return Ok(Some(held.place(given.seq)));
            }
            // A greater seq exists, so this one has a successor.
            Some(held) if given.epoch == held.epoch => held.seq + 1,
            _ => 0,
        };
        if given.seq != expected {
            return Err(Refusal::SequenceGap { expected, received: given.seq });
        }
        Ok(None)
    }

    /// How far requests are known that lie side by side, the first of which has this origin; none if all of
    /// them are new.
    ///
    /// # Errors
    /// As [`Self::recall`] for the first of them.
    pub(super) fn known_of(&self, first: &Origin, count: u64) -> Result<Option<u64>, Refusal> {
        let known = self.recall(first)?;
        let newest = self.last(&first.producer).unwrap_or(0);
        match first.seq.checked_add(count) {
            Some(after) => Ok(known.map(|_| newest.min(after - 1))),
            // After them no request could have a seq.
            None => Err(Refusal::SequenceGap { expected: newest, received: first.seq }),
        }
    }

    /// The same writers, none of whose requests are known any more: for a later life.
    pub(super) fn spent(&self) -> Producers {
        let spent = |held: &Producer| {
            let (id, epoch, used) = (held.id.clone(), held.epoch, held.used);
            Producer { id, epoch, seq: 0, used, runs: Vec::new() }
        };
        Producers { all: self.all.iter().map(spent).collect() }
    }

    /// Those of a session that moved here, and beside them the writers of earlier lives of its new name, whose
    /// epochs are spent. As many as there is room for: those that wrote last.
    pub(super) fn moved(moved: Vec<Producer>, spent: Producers, clock: Millis) -> Producers {
        // The clocks of two clusters differ.
        let here = |held: Producer| Producer { used: held.used.min(clock), ..held };
        let mut producers = Producers { all: moved.into_iter().map(here).collect() };
        let mut earlier = spent.all;
        earlier.sort_by_key(|held| std::cmp::Reverse(held.used));
        for held in earlier {
            match producers.find(&held.id) {
                Ok(at) if producers.all[at].epoch < held.epoch => producers.all[at] = held,
                Ok(_) => {}
                Err(at) if producers.all.len() < limits::PRODUCERS => {
                    producers.all.insert(at, held);
                }
                Err(_) => {}
            }
        }
        producers
    }

    /// How many have written in this life.
    pub(super) fn count(&self) -> usize {
        self.all.iter().filter(|held| !held.runs.is_empty()).count()
    }

    /// Where a known request went.
    pub(super) fn place(&self, of: &Origin) -> AppendPlace {
        let at = self.find(&of.producer);
        at.map_or(AppendPlace::Forgotten, |at| self.all[at].place(of.seq))
    }

    /// Whether the last accepted request of this producer had this seq.
    pub(super) fn is_last(&self, given: &Origin) -> bool {
        self.find(&given.producer).is_ok_and(|at| self.all[at].seq == given.seq)
    }

    /// The last accepted request of a producer.
    pub(super) fn last(&self, id: &ProducerId) -> Option<u64> {
        self.find(id).ok().map(|at| self.all[at].seq)
    }

    /// Checks that a request of `producer` could be remembered.
    ///
    /// # Errors
    /// The table is full of producers that wrote within [`limits::PRODUCER_IDLE_MS`].
    pub(super) fn check_room(&self, producer: &ProducerId, now: Millis) -> Result<(), Refusal> {
        let fits = self.all.len() < limits::PRODUCERS
            || self.find(producer).is_ok()
            || self.idle(now).is_some();
        if fits { Ok(()) } else { Err(Refusal::TooManyProducers { limit: limits::PRODUCERS }) }
    }

    /// Remembers a request for which [`Self::recall`] and [`Self::check_room`] found no objection.
    pub(super) fn remember(&mut self, given: &Origin, serial: Serial, events: u32, now: Millis) {
        self.keep(given, Run { seq: given.seq, serial, events, length: 1 }, now);
    }

    /// Remembers so many requests of one event each that [`Self::known_of`] found new.
    pub(super) fn remember_each(
        &mut self,
        first: &Origin,
        serial: Serial,
        count: u32,
        now: Millis,
    ) {
        self.keep(first, Run { seq: first.seq, serial, events: 1, length: count }, now);
    }

    fn keep(&mut self, given: &Origin, run: Run, now: Millis) {
        let seq = run.seq + u64::from(run.length) - 1;
        match self.find(&given.producer) {
            Ok(at) => {
                let held = &mut self.all[at];
                if held.epoch < given.epoch {
                    held.epoch = given.epoch;
                    held.runs.clear();
                }
                held.seq = seq;
                held.used = now;
                held.push(run);
            }
            Err(_) => self.insert(Producer {
                id: given.producer.clone(),
                epoch: given.epoch,
                seq,
                used: now,
                runs: vec![run],
            }),
        }
    }

    fn insert(&mut self, new: Producer) {
        if limits::PRODUCERS <= self.all.len()
            && let Some(at) = self.idle(new.used)
        {
            self.all.remove(at);
        }
        if self.all.len() == self.all.capacity() {
            self.all.reserve_exact((self.all.len() / 2).max(1));
        }
        if let Err(at) = self.find(&new.id) {
            self.all.insert(at, new);
        }
    }

    /// The producer to forget first, if it may be forgotten.
    fn idle(&self, now: Millis) -> Option<usize> {
        let (at, oldest) = self.all.iter().enumerate().min_by_key(|(_, held)| held.used)?;
        (limits::PRODUCER_IDLE_MS < now.since(oldest.used)).then_some(at)
    }

    fn find(&self, id: &ProducerId) -> Result<usize, usize> {
        self.all.binary_search_by(|held| held.id.cmp(id))
    }
}

impl Producer {
    /// Whether a request is of an epoch that an earlier life has seen.
    fn is_spent_by(&self, given: &Origin) -> bool {
        self.runs.is_empty() && given.epoch <= self.epoch
    }

    fn place(&self, seq: u64) -> AppendPlace {
        let at = self.runs.partition_point(|run| run.seq <= seq);
        match at.checked_sub(1) {
            Some(at) => self.runs[at].place(seq),
            None => AppendPlace::Forgotten,
        }
    }

    fn push(&mut self, new: Run) {
        if let Some(last) = self.runs.last_mut()
            && last.is_continued_by(&new)
        {
            last.length += new.length;
            return;
        }
        if limits::PRODUCER_RUNS <= self.runs.len() {
            self.runs.remove(0);
        }
        if self.runs.len() == self.runs.capacity() {
            self.runs.reserve_exact((self.runs.len() / 2).max(1));
        }
        self.runs.push(new);
    }
}

impl Run {
    fn place(&self, seq: u64) -> AppendPlace {
        if self.events == 0 {
            return AppendPlace::Close;
        }
        let events = u64::from(self.events);
        let first = self.serial.0 + (seq - self.seq) * events;
        AppendPlace::Events { first: Serial(first), last: Serial(first + events - 1) }
    }

    fn is_continued_by(&self, new: &Run) -> bool {
        let after = self.serial.0 + u64::from(self.events) * u64::from(self.length);
        let fits = self.length.checked_add(new.length).is_some();
        self.events == new.events && after == new.serial.0 && fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str, seq: u64) -> Origin {
        Origin { producer: ProducerId::parse(name).unwrap(), epoch: ProducerEpoch(0), seq }
    }

    #[test]
    fn a_lone_writer_is_remembered_in_one_run() {
        let mut producers = Producers::default();
        for seq in 0..10_000 {
            producers.remember(&origin("p", seq), Serial(1 + 3 * seq), 3, Millis(0));
        }
        assert_eq!(producers.all[0].runs.len(), 1);
        assert_eq!(producers.all[0].runs.capacity(), 1);
        assert_eq!(
            producers.recall(&origin("p", 5_000)),
            Ok(Some(AppendPlace::Events { first: Serial(15_001), last: Serial(15_003) }))
        );
    }

    #[test]
    fn two_writers_in_turn_are_remembered_sixty_four_requests_back() {
        let mut producers = Producers::default();
        for seq in 0..100 {
            producers.remember(&origin("p", seq), Serial(1 + 2 * seq), 1, Millis(0));
        }
        let place = |seq| producers.recall(&origin("p", seq)).unwrap().unwrap();
        assert_eq!(place(35), AppendPlace::Forgotten);
        assert_eq!(place(36), AppendPlace::Events { first: Serial(73), last: Serial(73) });
    }

    #[test]
    fn a_full_table_forgets_only_who_was_idle_for_a_day() {
        let mut producers = Producers::default();
        for at in 0..limits::PRODUCERS as u64 {
            producers.remember(&origin(&format!("p{at}"), 0), Serial(1 + at), 1, Millis(at));
        }
        let new = origin("new", 0);
        let day = Millis(limits::PRODUCER_IDLE_MS);
        let full = Err(Refusal::TooManyProducers { limit: limits::PRODUCERS });
        assert_eq!(producers.check_room(&new.producer, day), full);
        assert_eq!(producers.check_room(&origin("p7", 0).producer, day), Ok(()));
        assert_eq!(producers.check_room(&new.producer, day.after(1)), Ok(()));
        producers.remember(&new, Serial(5_000), 1, day.after(1));
        assert_eq!(producers.all.len(), limits::PRODUCERS);
        assert_eq!(producers.recall(&origin("p0", 0)), Ok(None), "p0 is forgotten");
        assert_ne!(producers.recall(&origin("p1", 0)), Ok(None), "p1 is not");
        assert!(producers.recall(&new).unwrap().is_some());
    }
}
