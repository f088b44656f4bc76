//! The sessions of one shard that changed last on this node, by the entry that changed them.
//!
//! What changed before is found in the heads on disk, once they are written: each head records which entry it knows.
//! So nothing more is kept for those who follow the changes, however long they stay away.

use std::sync::{Mutex, MutexGuard};

use crate::ids::SessionId;
use crate::limits::CHANGED_RECENTLY;
use crate::runtime::chance::Map;

/// The newest change of each session, as far as it is recent. A place is the index of an entry + 1.
pub(in crate::runtime) struct Recent(Mutex<Known>);

struct Known {
    /// All sessions that changed after this place are here.
    floor: u64,
    /// The newest change of each; fewer than twice [`CHANGED_RECENTLY`].
    places: Map<SessionId, u64>,
}

impl Recent {
    /// Nothing is known about what changed up to `floor`.
    pub(super) fn new(floor: u64) -> Recent {
        Recent(Mutex::new(Known { floor, places: Map::default() }))
    }

    /// The session was changed by the entry before `place`. On the way of each command: mostly it is one look-up.
    pub(in crate::runtime) fn touch(&self, id: &SessionId, place: u64) {
        let mut known = self.known();
        if let Some(before) = known.places.get_mut(id) {
            // A successor of an actor that failed goes through what it did again.
            *before = place.max(*before);
            return;
        }
        known.places.insert(id.clone(), place);
        if 2 * CHANGED_RECENTLY <= known.places.len() {
            known.forget();
        }
    }

    /// Nothing is known any more of what changed up to `floor`: it came another way.
    pub(super) fn raise(&self, floor: u64) {
        let mut known = self.known();
        known.floor = known.floor.max(floor);
    }

    /// The sessions that changed after `since` and up to `upto`, in the order of their newest change, at most about
    /// `limit`: those of one entry come together. None where some of them may not be known here.
    pub(in crate::runtime) fn between(
        &self,
        since: u64,
        upto: u64,
        limit: usize,
        wanted: impl Fn(&SessionId) -> bool,
    ) -> Option<(Vec<SessionId>, u64)> {
        let known = self.known();
        if since < known.floor {
            return None;
        }
        // Whoever follows the changes asks often, and mostly there is none.
        if upto <= since {
            return Some((Vec::new(), since));
        }
        let meant =
            |(id, place): &(&SessionId, &u64)| (since + 1..=upto).contains(*place) && wanted(id);
        let all = known.places.iter().filter(meant).map(|(id, place)| (*place, id.clone()));
        let mut all: Vec<_> = all.collect();
        // Who hands out commands waits for this lock.
        drop(known);
        all.sort_unstable();
        let (mut found, mut reached) = (Vec::new(), since);
        for (place, id) in all {
            if limit <= found.len() && reached < place {
                return Some((found, reached));
            }
            found.push(id);
            reached = place;
        }
        Some((found, upto))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no panic happens under this lock")
    }
}

impl Known {
    /// Forgets all but the [`CHANGED_RECENTLY`] newest.
    fn forget(&mut self) {
        let mut places: Vec<_> = self.places.values().copied().collect();
        let (_, floor, _) = places.select_nth_unstable_by(CHANGED_RECENTLY, |a, b| b.cmp(a));
        let floor = *floor;
        self.places.retain(|_, place| floor < *place);
        self.floor = self.floor.max(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> SessionId {
        SessionId::parse(&format!("s{number}")).expect("a name")
    }

    fn names(recent: &Recent, since: u64, upto: u64, limit: usize) -> Option<(Vec<String>, u64)> {
        let (found, reached) = recent.between(since, upto, limit, |_| true)?;
        Some((found.iter().map(|id| id.name().to_owned()).collect(), reached))
    }

    #[test]
    fn each_session_is_told_once_by_its_newest_change_and_entries_are_not_cut() {
        let recent = Recent::new(10);
        for (number, place) in [(1, 11), (2, 12), (1, 13), (3, 13), (4, 14), (5, 20)] {
            recent.touch(&id(number), place);
        }
        let answer = |names: &[&str], place| {
            Some((names.iter().map(|it| (*it).to_owned()).collect(), place))
        };
        assert_eq!(names(&recent, 10, 15, 9), answer(&["s2", "s1", "s3", "s4"], 15));
        assert_eq!(names(&recent, 10, 15, 2), answer(&["s2", "s1", "s3"], 13));
        assert_eq!(names(&recent, 13, 15, 2), answer(&["s4"], 15));
        assert_eq!(names(&recent, 15, 15, 2), answer(&[], 15));
        assert_eq!(names(&recent, 9, 15, 2), None, "it may have been before");
        recent.raise(14);
        assert_eq!(names(&recent, 13, 15, 2), None);
    }

    #[test]
    fn what_has_no_room_is_known_to_be_unknown() {
        let recent = Recent::new(0);
        for number in 0..2 * CHANGED_RECENTLY {
            recent.touch(&id(number), number as u64 + 1);
        }
        let floor = CHANGED_RECENTLY as u64;
        assert_eq!(names(&recent, floor - 1, floor + 5, 9), None);
        let next = vec![format!("s{floor}")];
        assert_eq!(names(&recent, floor, floor + 1, 9), Some((next, floor + 1)));
    }
}
