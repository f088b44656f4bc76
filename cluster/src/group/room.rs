//! Room for commands that wait in a group, so that no owner takes all of it.
//!
//! Dynamic thresholds (Choudhury and Hahne, 1998), on two levels: an owner may hold up to four times what is free, and
//! each of its parts up to twice what the owner could still take. However many send, the thresholds sink before the
//! room is full, and who comes then still finds some.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fair::Flow;

/// What an owner may hold, for each byte that is free.
const OWNER: usize = 4;
/// What a part may hold, for each byte that its owner may still take.
const PART: usize = 2;

/// So many bytes, and who holds them.
#[derive(Debug)]
pub(super) struct Room(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    owners: HashMap<u64, usize>,
    parts: HashMap<Flow, usize>,
}

/// Some of the room; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    flow: Flow,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Arc<Room> {
        let (owners, parts) = Default::default();
        Arc::new(Room(Mutex::new(State { free: bytes, owners, parts })))
    }

    /// Takes room without waiting; none, where the flow holds its share, or there is none. An owner of
    /// which nothing waits gets in where there is any at all.
    pub(super) fn take(self: &Arc<Room>, flow: Flow, bytes: usize) -> Option<Held> {
        let mut state = self.state();
        if !state.has_share(flow, bytes) {
            return None;
        }
        state.free -= bytes;
        *state.owners.entry(flow.owner).or_default() += bytes;
        *state.parts.entry(flow).or_default() += bytes;
        Some(Held { room: self.clone(), flow, bytes })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_share(&self, flow: Flow, bytes: usize) -> bool {
        if self.free < bytes {
            return false;
        }
        let Some(owned) = self.owners.get(&flow.owner).copied() else { return true };
        // What it takes is not free any more: it may take x where owned + x <= OWNER * (free - x).
        let left = (OWNER * self.free).saturating_sub(owned) / (OWNER + 1);
        let held = self.parts.get(&flow).copied().unwrap_or_default();
        bytes <= left && (held == 0 || held + bytes <= PART * (left - bytes))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.free += self.bytes;
        give_back(&mut state.owners, self.flow.owner, self.bytes);
        give_back(&mut state.parts, self.flow, self.bytes);
    }
}

fn give_back<K: Hash + Eq>(held: &mut HashMap<K, usize>, by: K, bytes: usize) {
    if let Entry::Occupied(mut entry) = held.entry(by) {
        *entry.get_mut() -= bytes;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1 << 20;

    fn flow(owner: u64, part: u64) -> Flow {
        Flow { owner, part }
    }

    fn fill(room: &Arc<Room>, flow: Flow, bytes: usize) -> Vec<Held> {
        std::iter::from_fn(|| room.take(flow, bytes)).collect()
    }

    fn sum(held: &[Held]) -> usize {
        held.iter().map(|held| held.bytes).sum()
    }

    #[test]
    fn a_flood_leaves_room_for_other_parts_of_its_owner_and_for_other_owners() {
        let room = Room::new(SIZE);
        let flood = fill(&room, flow(1, 1), 1000);
        assert!((SIZE / 2..SIZE * 6 / 10).contains(&sum(&flood)), "{}", sum(&flood));
        let sibling = fill(&room, flow(1, 2), 1000);
        assert!(SIZE / 20 < sum(&sibling), "{}", sum(&sibling));
        let mut all: Vec<_> = (3..1000).flat_map(|part| fill(&room, flow(1, part), 1000)).collect();
        let owned = sum(&flood) + sum(&sibling) + sum(&all);
        assert!(owned <= SIZE * 8 / 10, "{owned}");
        let other = fill(&room, flow(2, 1), 1000);
        assert!(SIZE / 20 < sum(&other), "{}", sum(&other));
        all.extend((3..100).flat_map(|owner| fill(&room, flow(owner, 0), 1000)));
        // What comes back is for all.
        drop((flood, sibling, all, other));
        let state = room.state();
        assert_eq!((state.free, state.owners.len(), state.parts.len()), (SIZE, 0, 0));
    }

    #[test]
    fn whoever_holds_nothing_gets_in_while_there_is_any_room() {
        let room = Room::new(SIZE);
        let whole = room.take(flow(1, 1), SIZE).expect("a command as large as the room");
        assert!(room.take(flow(2, 1), 1).is_none(), "there is no more");
        drop(whole);
        let mut held = fill(&room, flow(1, 1), SIZE / 4);
        assert_eq!(held.len(), 2);
        held.push(room.take(flow(2, 1), SIZE / 2).expect("the rest"));
        assert!(room.take(flow(3, 1), 1).is_none());
    }

    #[test]
    fn each_of_many_floods_gets_some() {
        let room = Room::new(SIZE);
        let mut held: Vec<Vec<Held>> = (0..20).map(|_| Vec::new()).collect();
        // All at once, until none of them gets any more.
        loop {
            let before: usize = held.iter().map(Vec::len).sum();
            for (owner, held) in held.iter_mut().enumerate() {
                held.extend(room.take(flow(owner as u64, 0), 1000));
            }
            if before == held.iter().map(Vec::len).sum::<usize>() {
                break;
            }
        }
        let sums: Vec<usize> = held.iter().map(|held| sum(held)).collect();
        let (least, most) = (sums.iter().min().unwrap(), sums.iter().max().unwrap());
        assert!(most - least <= 2000, "{sums:?}");
        assert!(SIZE / 40 < *least, "{sums:?}");
    }
}
