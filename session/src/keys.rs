//! What a session remembers of requests that name no producer, so that a node may repeat them (S11).
//!
//! The node that receives such a request draws a key, which goes with every try of it. Keys are needed for as
//! long as that node may repeat, so they are few and forgotten soon (S10). Where the memory is too short to
//! decide whether an earlier try took effect, a repetition is refused rather than done twice.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize, Serializer};

use super::control::Mode;
use super::outcome::{Applied, DeleteReason};
use super::refusal::Refusal;
use crate::ids::{ControlEpoch, Incarnation, Millis, Serial};
use crate::limits;
use crate::standing::Standing;

/// The key of one request, the same with every try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandKey {
    /// A random number.
    pub key: u128,
    /// How long after the first try there may be another, in milliseconds.
    pub within_ms: u32,
    /// How long ago the first try began, in milliseconds, where its outcome is unknown; none for a first try.
    pub age_ms: Option<u32>,
}

/// The keys of one session, across its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct Keys {
    /// By their key, so that no request looks through all; up to [`limits::KEYS`].
    known: BTreeMap<u128, Known>,
    /// Their keys, oldest first.
    order: VecDeque<u128>,
    /// Time of the newest one that was forgotten for want of room.
    pub(super) forgotten: Option<Millis>,
}

/// The keys as they are read back: oldest first, and what was forgotten.
#[derive(Deserialize)]
struct Stored(Vec<Known>, Option<Millis>);

/// The same as it is written, out of the keys where they lie.
#[derive(Serialize)]
struct StoredRef<'k>(OldestFirst<'k>, Option<Millis>);

/// See [`Stored`].
struct OldestFirst<'k>(&'k Keys);

/// A request that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) key: u128,
    pub(super) at: Millis,
    pub(super) within_ms: u32,
    pub(super) stand: Stand,
    pub(super) did: Did,
}

/// Where a session stands after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// Its life, or the last one where it is deleted.
    pub incarnation: Incarnation,
    /// The life in which its serials began; see [`crate::Session::root`].
    pub root: Incarnation,
    /// Its last event.
    pub tail: Serial,
}

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Did {
    Appended { last: Serial, events: u32, closed: bool },
    Created { closed: bool },
    Closed,
    Deleted,
    Cancelled { turns: u32 },
    Controlled { epoch: ControlEpoch, mode: Mode },
    Paused { turns: u32 },
    Stood { standing: Standing, changed: bool },
    ToolResult { serial: Serial, late: bool },
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        StoredRef(OldestFirst(self), self.forgotten).serialize(to)
    }
}

impl Serialize for OldestFirst<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Their number is written first, so the iterator has to know it.
        to.collect_seq(self.0.iter())
    }
}

impl From<Stored> for Keys {
    fn from(Stored(known, forgotten): Stored) -> Keys {
        let mut keys = Keys { forgotten, ..Keys::default() };
        known.into_iter().for_each(|known| keys.push(known));
        keys
    }
}

impl Keys {
    /// Requests that are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What this request did in an earlier try; none if it has done nothing.
    ///
    /// # Errors
    /// An earlier try may have taken effect, and this is not known any more.
    pub(super) fn recall(
        &self,
        given: &CommandKey,
        now: Millis,
    ) -> Result<Option<&Known>, Refusal> {
        if let Some(known) = self.find(given) {
            return Ok(Some(known));
        }
        // The first try was stamped by a clock that may have been another one.
        let since = |age_ms| now.0.saturating_sub(u64::from(age_ms) + limits::KEY_SKEW_MS);
        match (given.age_ms, self.forgotten) {
            (Some(age_ms), Some(at)) if since(age_ms) <= at.0 => Err(Refusal::OutcomeForgotten),
            _ => Ok(None),
        }
    }

    pub(super) fn find(&self, given: &CommandKey) -> Option<&Known> {
        self.known.get(&given.key)
    }

    /// All that is known, oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Known> {
        self.order.iter().map(|key| self.known.get(key).expect("every key of the order is known"))
    }

    /// Puts one after all others.
    pub(super) fn push(&mut self, known: Known) {
        if self.order.len() == self.order.capacity() {
            self.order.reserve_exact((self.order.len() / 2).max(1));
        }
        if self.known.insert(known.key, known).is_some() {
            self.order.retain(|key| *key != known.key);
        }
        self.order.push_back(known.key);
    }

    fn oldest(&self) -> Option<&Known> {
        self.known.get(self.order.front()?)
    }

    fn pop_oldest(&mut self) -> Option<Known> {
        let key = self.order.pop_front()?;
        self.known.remove(&key)
    }

    /// Remembers what a request did, if doing it again would do more.
    pub(super) fn remember(
        &mut self,
        given: &CommandKey,
        at: Millis,
        stand: Stand,
        applied: &Applied,
    ) {
        let Some(did) = Did::of(applied) else { return };
        while self.oldest().is_some_and(|known| known.is_over(at)) {
            self.pop_oldest();
        }
        self.keep_newest(limits::KEYS - 1);
        let within_ms = given.within_ms.min(limits::KEY_MS);
        self.push(Known { key: given.key, at, within_ms, stand, did });
    }

    /// Forgets all but so many.
    pub(super) fn keep_newest(&mut self, most: usize) {
        while most < self.order.len()
            && let Some(known) = self.pop_oldest()
        {
            self.forgotten = self.forgotten.max(Some(known.at));
        }
    }
}

impl Known {
    /// Whether no node repeats it any more.
    fn is_over(&self, now: Millis) -> bool {
        self.at.after(u64::from(self.within_ms) + limits::KEY_GRACE_MS) < now
    }

    /// The answer to a repetition.
    pub(super) fn again(&self) -> Applied {
        let Stand { incarnation, tail, .. } = self.stand;
        match self.did {
            Did::Appended { last, events, closed } => Applied::Appended {
                first: Some(Serial(last.0 + 1 - u64::from(events))),
                last: Some(last),
                duplicate: true,
                closed,
                seq: None,
            },
            Did::Created { closed } => Applied::Created { incarnation, created: true, closed },
            Did::Closed => Applied::Closed { tail, duplicate: true, again: true },
            Did::Deleted => Applied::Deleted { incarnation, reason: DeleteReason::Requested },
            Did::Cancelled { turns } => Applied::Cancelled { turns: turns as usize },
            Did::Controlled { epoch, mode } => Applied::Control { epoch, mode, serial: tail },
            Did::Paused { turns } => Applied::Paused { turns: turns as usize },
            Did::Stood { standing, changed } => Applied::Stands { standing, changed },
            Did::ToolResult { serial, late } => {
                Applied::ToolResult { serial, duplicate: true, late }
            }
        }
    }
}

impl Did {
    /// What is to be remembered of an answer; none where a repetition has the effect of one anyway.
    fn of(applied: &Applied) -> Option<Did> {
        match *applied {
            Applied::Appended {
                first: Some(first),
                last: Some(last),
                duplicate: false,
                closed,
                ..
            } => {
                let events = u32::try_from(last.0 + 1 - first.0);
                Some(Did::Appended { last, events: events.expect("an append has few"), closed })
            }
            Applied::Created { created: true, closed, .. } => Some(Did::Created { closed }),
            Applied::Closed { duplicate: false, .. } => Some(Did::Closed),
            Applied::Deleted { reason: DeleteReason::Requested, .. } => Some(Did::Deleted),
            Applied::Cancelled { turns } => {
                Some(Did::Cancelled { turns: u32::try_from(turns).expect("turns are few") })
            }
            Applied::Control { epoch, mode, .. } => Some(Did::Controlled { epoch, mode }),
            Applied::Stands { standing, changed } => Some(Did::Stood { standing, changed }),
            Applied::ToolResult { serial, duplicate: false, late } => {
                Some(Did::ToolResult { serial, late })
            }
            Applied::Paused { turns } => {
                Some(Did::Paused { turns: u32::try_from(turns).expect("turns are few") })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::SessionId;
    use crate::stored::read_back;
    use crate::{Append, Cancel, Command, Config, Event, Format, NewEvent, Scope, Session};

    fn first(key: u128) -> CommandKey {
        CommandKey { key, within_ms: 5_000, age_ms: None }
    }

    fn again(key: u128, age_ms: u32) -> CommandKey {
        CommandKey { age_ms: Some(age_ms), ..first(key) }
    }

    fn append(text: &str) -> Command {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let events = vec![NewEvent { format: Format::TEXT, payload }];
        Command::Append(Append { events, ..Append::default() })
    }

    fn session() -> Session {
        let mut session = Session::absent(SessionId::parse("s").unwrap());
        let create = Command::from(Config::default());
        session.apply(Millis(1_000), &create, &mut Vec::new()).unwrap();
        session
    }

    /// What a try is answered, where the session stands for it, and how many events it left.
    fn try_at(
        session: &mut Session,
        at: u64,
        key: CommandKey,
        command: &Command,
    ) -> (Result<Applied, Refusal>, Option<u64>, usize) {
        let mut out = Vec::new();
        let answer = session.apply_once(Millis(at), &key, command, &mut out);
        *session = read_back(session);
        (answer, session.stand_of(Some(&key)).map(|stand| stand.tail.0), out.len())
    }

    /// A try that takes effect.
    fn take(session: &mut Session, at: u64, key: u128, command: &Command) {
        let (answer, ..) = try_at(session, at, first(key), command);
        assert!(answer.is_ok(), "{answer:?}");
    }

    #[test]
    fn a_repetition_is_answered_as_the_first_try_whatever_happened_since() {
        let mut session = session();
        let (answer, tail, _) = try_at(&mut session, 1_000, first(1), &append("a"));
        assert!(matches!(answer, Ok(Applied::Appended { duplicate: false, .. })));
        take(&mut session, 1_001, 2, &append("b"));
        let delete = Command::Delete { incarnation: None };
        let (deleted, ..) = try_at(&mut session, 1_002, first(3), &delete);
        let create = Command::from(Config::default());
        let (created, ..) = try_at(&mut session, 1_003, first(4), &create);
        assert!(matches!(created, Ok(Applied::Created { created: true, .. })));

        // A later life holds its own.
        assert_eq!(try_at(&mut session, 1_004, again(3, 2), &delete).0, deleted);
        assert!(session.is_live());
        assert_eq!(try_at(&mut session, 1_004, again(4, 1), &create).0, created);
        let (answer, stood, events) = try_at(&mut session, 1_005, again(1, 5), &append("a"));
        let place = Some(Serial(1));
        let (duplicate, closed, seq) = (true, false, None);
        let expected = Applied::Appended { first: place, last: place, duplicate, closed, seq };
        assert_eq!((answer, stood, events), (Ok(expected), tail, 0));
        assert_eq!(session.tail(), Serial::ZERO);

        let close = Command::Close { producer: None };
        let first_close = try_at(&mut session, 1_006, first(5), &close).0;
        assert!(matches!(first_close, Ok(Applied::Closed { duplicate: false, .. })));
        let (close_again, ..) = try_at(&mut session, 1_006, again(5, 1), &close);
        assert!(matches!(close_again, Ok(Applied::Closed { duplicate: true, again: true, .. })));
        let cancel = Cancel::new(Scope::All, "");
        let cancel = Command::Cancel(Box::new(cancel));
        let none = try_at(&mut session, 1_007, first(6), &cancel).0;
        assert_eq!(try_at(&mut session, 1_008, again(6, 1), &cancel).0, none);
    }

    #[test]
    fn keys_are_few_and_a_repetition_beyond_them_is_refused_rather_than_done_twice() {
        let mut session = session();
        let most = limits::KEYS as u128;
        for key in 0..=most {
            take(&mut session, 1_000 + key as u64, key, &append("a"));
        }
        assert_eq!(session.keys.known.len(), limits::KEYS);
        let now = 1_000 + most as u64;
        // The oldest is forgotten, and cannot be distinguished from one that never came.
        let lost = try_at(&mut session, now, again(0, most as u32), &append("a"));
        assert_eq!((lost.0, lost.2), (Err(Refusal::OutcomeForgotten), 0));
        let known = try_at(&mut session, now, again(1, most as u32), &append("a"));
        assert!(matches!(known.0, Ok(Applied::Appended { duplicate: true, .. })));
        // A first try is never in doubt, nor one that began after all that is forgotten.
        assert_eq!(try_at(&mut session, now, first(9_000), &append("a")).2, 1);
        let later = now + limits::KEY_SKEW_MS + 10;
        assert_eq!(try_at(&mut session, later, again(9_001, 1), &append("a")).2, 1);

        let long = later + 5_000 + limits::KEY_GRACE_MS + 1;
        take(&mut session, long, 9_002, &append("a"));
        assert_eq!(session.keys.known.len(), 1, "those whose time is over go first");
    }

    #[test]
    fn a_deleted_session_keeps_few_keys() {
        let mut session = session();
        for key in 0..100 {
            take(&mut session, 1_000, key, &append("a"));
        }
        take(&mut session, 1_000, 100, &Command::Delete { incarnation: None });
        assert_eq!(session.keys.known.len(), limits::KEYS_OF_DELETED + 1);
        let lost = try_at(&mut session, 1_001, again(0, 1), &append("a")).0;
        assert_eq!(lost, Err(Refusal::OutcomeForgotten));
    }

    /// The same memory as a plain list, which is looked through.
    fn listed(keys: &Keys) -> Vec<(u128, Millis)> {
        assert_eq!(keys.known.len(), keys.order.len(), "each key stands once in the order");
        keys.iter().map(|known| (known.key, known.at)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// What is found by key is what looking through all would find, whatever came, went and was kept.
        #[test]
        fn keys_are_found_as_in_a_list(
            request in prop::collection::vec((0..1_500_u128, 0..200_u64), 1..1_200),
            most in 0..limits::KEYS,
        ) {
            let (mut keys, mut list) = (Keys::default(), Vec::new());
            let mut now = Millis(1_000);
            let stand = Stand { incarnation: Incarnation(1), root: Incarnation(1), tail: Serial(1) };
            for (key, wait) in request {
                now = now.after(wait);
                let given = first(key);
                let known = list.iter().find(|(known, _)| *known == key);
                prop_assert_eq!(keys.find(&given).map(|known| (known.key, known.at)), known.copied());
                if known.is_some() {
                    continue;
                }
                keys.remember(&given, now, stand, &Applied::Cancelled { turns: 0 });
                list.retain(|(_, at): &(u128, Millis)| now <= at.after(5_000 + limits::KEY_GRACE_MS));
                list.push((key, now));
                list.drain(..list.len().saturating_sub(limits::KEYS));
                prop_assert_eq!(listed(&keys), list.clone());
            }
            keys.keep_newest(most);
            list.drain(..list.len().saturating_sub(most));
            prop_assert_eq!(listed(&keys), list);
            prop_assert_eq!(read_back(&keys), keys);
        }
    }

    proptest! {
        /// Tries of many requests in any order; some come late, some are lost, and time goes on meanwhile.
        #[test]
        fn of_all_tries_of_a_request_one_takes_effect(
            tries in prop::collection::vec((0..40_u128, 0..400_u64, prop::bool::weighted(0.1)), 1..300),
        ) {
            let mut session = session();
            let mut now = 1_000;
            let mut log: Vec<Event> = Vec::new();
            // When the first try of each began, and the serial of the one that took effect.
            let mut begun = std::collections::BTreeMap::new();
            for (key, wait, keyless) in tries {
                now += wait;
                let text = key.to_string();
                if keyless {
                    session.apply(Millis(now), &append("other"), &mut log).unwrap();
                    continue;
                }
                let (since, place) = *begun.entry(key).or_insert((now, None));
                if since + 5_000 < now {
                    continue;
                }
                let age = u32::try_from(now - since).unwrap();
                let key_of = if age == 0 { first(key) } else { again(key, age) };
                let mut out = Vec::new();
                let answer = session.apply_once(Millis(now), &key_of, &append(&text), &mut out);
                let Ok(Applied::Appended { first: at, duplicate, .. }) = answer else {
                    panic!("{answer:?}")
                };
                prop_assert_eq!(duplicate, place.is_some());
                prop_assert_eq!(place.or(at), at);
                begun.insert(key, (since, at));
                log.extend(out);
            }
            let mut own: Vec<_> = log.iter().filter(|event| event.payload != "other").collect();
            let all = own.len();
            own.sort_by(|a, b| a.payload.cmp(&b.payload));
            own.dedup_by(|a, b| a.payload == b.payload);
            prop_assert_eq!(own.len(), all);
        }
    }
}
