//! Whose command goes next: deficit round robin (Shreedhar and Varghese, 1995) over owners, and over the parts of each.
//!
//! Each owner that has something waiting gets as many bytes in a round as any other, however much of it waits and in
//! however many parts; and so does each part of one owner. Commands of one part keep their order.
//!
//! While there are others, an entry takes few rounds: whoever comes next waits until the entry under way is done, and a
//! large one takes long. Where those leave it nearly empty, as a large command does that its flow cannot pay for yet,
//! it takes more of them, so that no share is lost.

use std::collections::{HashMap, VecDeque};

use crate::limits::{FAIR_MEMORY_ENTRIES, FAIR_OWNER_ROUNDS, FAIR_PART_ROUNDS, FAIR_QUANTUM_BYTES};

/// Whom a command is counted for. The numbers are the caller's; the same ones mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// All owners have equal shares of a group that has too much to do.
    pub owner: u64,
    /// All parts of an owner have equal shares of the owner's.
    pub part: u64,
}

/// Which rounds are under way, and how many there are: of owners, and of the parts of each.
#[derive(Clone, Copy)]
struct Entry<'e> {
    number: u64,
    rounds: &'e [usize],
}

/// Waits in order, and costs something.
trait Queue {
    type Item;

    fn is_empty(&self) -> bool;

    /// The cost of what comes next; none where the entry takes no more of it.
    fn next_cost(&mut self, entry: Entry<'_>) -> Option<usize>;

    fn pop(&mut self, entry: Entry<'_>) -> Option<Self::Item>;
}

impl<T> Queue for VecDeque<(usize, T)> {
    type Item = T;

    fn is_empty(&self) -> bool {
        VecDeque::is_empty(self)
    }

    fn next_cost(&mut self, _: Entry<'_>) -> Option<usize> {
        self.front().map(|(cost, _)| *cost)
    }

    fn pop(&mut self, _: Entry<'_>) -> Option<T> {
        self.pop_front().map(|(_, item)| item)
    }
}

/// Queues that take turns. Those that are empty are not here.
struct Round<Q> {
    queues: HashMap<u64, Share<Q>>,
    order: VecDeque<u64>,
    /// Whether the first one was given its bytes of this round.
    is_given: bool,
}

/// A queue, and what it may send.
#[derive(Default)]
struct Share<Q> {
    queue: Q,
    /// Bytes that it was given and has not used.
    credit: usize,
    /// Which rounds, and how many of them have given it some.
    rounds: (u64, usize),
}

impl<Q: Queue + Default> Round<Q> {
    fn queue(&mut self, number: u64) -> &mut Q {
        let order = &mut self.order;
        let share = self.queues.entry(number).or_insert_with(|| {
            order.push_back(number);
            Share::default()
        });
        &mut share.queue
    }
}

impl<Q> Default for Round<Q> {
    fn default() -> Round<Q> {
        Round { queues: HashMap::new(), order: VecDeque::new(), is_given: false }
    }
}

impl<Q: Queue> Queue for Round<Q> {
    type Item = Q::Item;

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Goes on with the rounds until the first queue can pay for what it has.
    fn next_cost(&mut self, entry: Entry<'_>) -> Option<usize> {
        let (rounds, inner) = entry.rounds.split_first()?;
        let mut passed = 0;
        while passed < self.order.len() {
            let share = self.queues.get_mut(self.order.front()?)?;
            if share.rounds.0 != entry.number {
                share.rounds = (entry.number, 0);
            }
            let cost = share.queue.next_cost(Entry { rounds: inner, ..entry });
            let may = cost.is_some() && share.rounds.1 < *rounds;
            if may && !self.is_given && cost.is_some_and(|cost| share.credit < cost) {
                share.credit += FAIR_QUANTUM_BYTES;
                share.rounds.1 += 1;
                self.is_given = true;
            }
            if let Some(cost) = cost.filter(|cost| *cost <= share.credit) {
                return Some(cost);
            }
            passed = if may { 0 } else { passed + 1 };
            self.order.rotate_left(1);
            self.is_given = false;
        }
        None
    }

    fn pop(&mut self, entry: Entry<'_>) -> Option<Q::Item> {
        let cost = self.next_cost(entry)?;
        let first = *self.order.front()?;
        let share = self.queues.get_mut(&first)?;
        share.credit -= cost;
        let item = share.queue.pop(Entry { rounds: &entry.rounds[1..], ..entry });
        if share.queue.is_empty() {
            // Whoever has nothing to send saves nothing up.
            self.queues.remove(&first);
            self.order.pop_front();
            self.is_given = false;
        }
        item
    }
}

/// Whether several of a kind were there lately.
#[derive(Default)]
struct Others<K> {
    last: Option<K>,
    until: u64,
}

impl<K: PartialEq> Others<K> {
    fn see(&mut self, one: K, entry: u64) {
        if self.last.as_ref().is_some_and(|last| *last != one) {
            self.until = entry + FAIR_MEMORY_ENTRIES;
        }
        self.last = Some(one);
    }

    /// How many rounds an entry takes.
    fn rounds(&self, entry: u64, shared: usize) -> usize {
        if entry < self.until { shared } else { usize::MAX }
    }
}

/// What waits, of all flows. Bounded by whoever admits it.
pub(super) struct Waiting<T> {
    queues: Round<Round<VecDeque<(usize, T)>>>,
    entry: u64,
    /// Times that rounds were begun: at each entry once, and again where it has room left.
    pass: u64,
    owners: Others<u64>,
    parts: Others<Flow>,
}

impl<T> Waiting<T> {
    pub(super) fn new() -> Waiting<T> {
        let (owners, parts) = Default::default();
        Waiting { queues: Round::default(), entry: 0, pass: 0, owners, parts }
    }

    pub(super) fn push(&mut self, flow: Flow, cost: usize, item: T) {
        self.owners.see(flow.owner, self.entry);
        self.parts.see(flow, self.entry);
        self.queues.queue(flow.owner).queue(flow.part).push_back((cost, item));
    }

    /// Begins the next entry.
    pub(super) fn begin(&mut self) {
        self.entry += 1;
        self.again();
    }

    /// Goes on with more rounds in the same entry.
    pub(super) fn again(&mut self) {
        self.pass += 1;
    }

    /// What comes next in this entry; none where the rest is for later ones. A flow that has something waiting is in
    /// one of the next entries, as soon as its share can pay for it.
    pub(super) fn pop(&mut self) -> Option<T> {
        let owners = self.owners.rounds(self.entry, FAIR_OWNER_ROUNDS);
        let rounds = [owners, self.parts.rounds(self.entry, FAIR_PART_ROUNDS)];
        self.queues.pop(Entry { number: self.pass, rounds: &rounds })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(owner: u64, part: u64) -> Flow {
        Flow { owner, part }
    }

    /// Bytes of each owner among the next items, up to so many bytes in all.
    fn served(waiting: &mut Waiting<(Flow, usize)>, bytes: usize) -> HashMap<Flow, usize> {
        let (mut all, mut sum) = (HashMap::new(), 0);
        while sum < bytes && !waiting.is_empty() {
            waiting.begin();
            while let Some((flow, cost)) = waiting.pop() {
                *all.entry(flow).or_default() += cost;
                sum += cost;
            }
        }
        all
    }

    #[test]
    fn a_flood_does_not_stand_before_another_s_command() {
        let mut waiting = Waiting::new();
        for number in 0..100_000 {
            waiting.push(flow(1, number % 1000), 1000, "flood");
        }
        waiting.push(flow(2, 0), 1000, "quiet");
        waiting.begin();
        let place = (0..).find(|_| waiting.pop().expect("it is in this entry") == "quiet").unwrap();
        assert!(place * 1000 <= FAIR_QUANTUM_BYTES, "{place}");
    }

    #[test]
    fn owners_share_equally_whatever_the_number_of_their_parts_and_parts_share_their_owner_s() {
        let mut waiting = Waiting::new();
        // One sends small things in a hundred parts, one large things in ten, one both.
        for number in 0..1000 {
            for part in 0..100 {
                for _ in 0..10 {
                    waiting.push(flow(1, part), 300, (flow(1, part), 300));
                }
            }
            for part in 0..10 {
                waiting.push(flow(2, part), 10_000, (flow(2, part), 10_000));
                let cost = if part < 5 { 300 } else { 20_000 + number };
                waiting.push(flow(3, part), cost, (flow(3, part), cost));
            }
        }
        let bytes = 300 * FAIR_QUANTUM_BYTES;
        let all = served(&mut waiting, bytes);
        for owner in 1..=3 {
            let own: usize =
                all.iter().filter(|(flow, _)| flow.owner == owner).map(|(_, cost)| cost).sum();
            let fair = bytes / 3;
            assert!(own.abs_diff(fair) <= 8 * FAIR_QUANTUM_BYTES, "{owner}: {own}, not {fair}");
        }
        let parts = (0..100).map(|part| all.get(&flow(1, part)).copied().unwrap_or_default());
        let (least, most) = parts.fold((usize::MAX, 0), |(a, b), own| (a.min(own), b.max(own)));
        assert!(most - least <= 2 * FAIR_QUANTUM_BYTES, "{least} to {most}");
    }

    #[test]
    fn whoever_was_idle_has_saved_nothing_up() {
        let mut waiting = Waiting::new();
        for _ in 0..1000 {
            waiting.push(flow(1, 0), 100, (flow(1, 0), 100));
            waiting.begin();
            assert!(waiting.pop().is_some());
        }
        for owner in [1, 2] {
            for _ in 0..10_000 {
                waiting.push(flow(owner, 0), 1000, (flow(owner, 0), 1000));
            }
        }
        let all = served(&mut waiting, 20 * FAIR_QUANTUM_BYTES);
        let (one, two) = (all[&flow(1, 0)], all[&flow(2, 0)]);
        assert!(one.abs_diff(two) <= 2 * FAIR_QUANTUM_BYTES, "{one} {two}");
    }

    #[test]
    fn an_entry_is_filled_by_one_alone_and_by_none_while_there_are_others() {
        let mut waiting = Waiting::new();
        let of_entry = |waiting: &mut Waiting<usize>| {
            waiting.begin();
            std::iter::from_fn(|| waiting.pop()).sum::<usize>()
        };
        for _ in 0..2000 {
            waiting.push(flow(1, 1), 1000, 1000);
        }
        assert_eq!(of_entry(&mut waiting), 2_000_000, "nobody else is there");
        let fill = |waiting: &mut Waiting<usize>, flows: &[Flow]| {
            for flow in flows {
                for _ in 0..200 {
                    waiting.push(*flow, 1000, 1000);
                }
            }
        };
        fill(&mut waiting, &[flow(1, 1), flow(1, 2)]);
        let two = 2 * FAIR_QUANTUM_BYTES - 3000..2 * FAIR_QUANTUM_BYTES + 3000;
        assert!(two.contains(&of_entry(&mut waiting)), "two parts of one owner");
        fill(&mut waiting, &(1..20).map(|part| flow(1, part)).collect::<Vec<_>>());
        fill(&mut waiting, &[flow(2, 1)]);
        let shared = (FAIR_OWNER_ROUNDS + 1) * FAIR_QUANTUM_BYTES;
        let entry = of_entry(&mut waiting);
        assert!((shared - 9000..shared + 9000).contains(&entry), "two owners: {entry}");
        // Later it is alone again.
        while !waiting.is_empty() {
            of_entry(&mut waiting);
        }
        for _ in 0..FAIR_MEMORY_ENTRIES {
            waiting.begin();
        }
        fill(&mut waiting, &[flow(2, 1)]);
        assert_eq!(of_entry(&mut waiting), 200_000);
    }

    /// The next item, in this entry or a later one.
    fn next<T>(waiting: &mut Waiting<T>) -> Option<T> {
        while !waiting.is_empty() {
            if let Some(item) = waiting.pop() {
                return Some(item);
            }
            waiting.begin();
        }
        None
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_each_part_in_its_order(
            steps in prop::collection::vec(
                prop::option::of((0_u64..3, 0_u64..3, 1_usize..100_000)), 0..300,
            ),
        ) {
            let mut waiting = Waiting::new();
            let mut here: HashMap<Flow, VecDeque<usize>> = HashMap::new();
            let mut count = 0;
            let rest = vec![None; steps.len()];
            for (number, step) in steps.into_iter().chain(rest).enumerate() {
                match step {
                    Some((owner, part, cost)) => {
                        waiting.push(flow(owner, part), cost, (flow(owner, part), number));
                        here.entry(flow(owner, part)).or_default().push_back(number);
                        count += 1;
                    }
                    None => match next(&mut waiting) {
                        Some((flow, number)) => {
                            prop_assert_eq!(here.get_mut(&flow).unwrap().pop_front(), Some(number));
                            count -= 1;
                        }
                        None => prop_assert_eq!(count, 0),
                    },
                }
                prop_assert_eq!(waiting.is_empty(), count == 0);
            }
            prop_assert!(waiting.is_empty());
        }
    }
}
