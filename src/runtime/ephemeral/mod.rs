//! Messages to whoever is attached now that are not kept: typing, progress, pointers. They are in no log, and have no
//! serial and no promise: what finds no room is dropped and counted (S10).
//!
//! A node hands those that it gets to its own readers ([`listen`]) and to the other nodes ([`carry`]), which hand it to
//! theirs. Whoever is slow, a reader or a node, has the newest of each sender and kind waiting ([`pile`]), and no
//! sender waits for them. It shares nothing with the log but the readers' connections, where events go first.

pub(super) mod carry;
mod listen;
mod pile;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use cluster::host::Host;
use cluster::ids::NodeId;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::listen::Listening;
use self::listen::Waiting;
use self::pile::Pile;
use crate::ids::{AgentName, KindName, Millis, SessionId, TurnId};
use crate::limits::{
    EPHEMERAL_OUTGOING, EPHEMERAL_OUTGOING_BYTES, EPHEMERAL_PER_SECOND, EPHEMERAL_PER_SECOND_BYTES,
    EPHEMERAL_SESSIONS, EPHEMERAL_WINDOW,
};
use crate::session::{NewEvent, Sender};

/// A message that is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EphemeralMessage {
    pub session: SessionId,
    pub source: Source,
    /// What sort of thing it is: a newer one of the same source takes the place of one that waits.
    pub kind: KindName,
    pub content: NewEvent,
    /// Not for everyone.
    pub internal: bool,
    /// When it was sent, by the clock of the node that got it.
    pub at: Millis,
}

/// Who sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    Person(Sender),
    Agent { agent: AgentName, turn: TurnId },
}

impl EphemeralMessage {
    /// Whether it takes the place of another one.
    fn replaces(&self, other: &EphemeralMessage) -> bool {
        self.kind == other.kind && self.source == other.source && self.session == other.session
    }

    /// About as many bytes as it takes.
    fn size(&self) -> usize {
        self.content.payload.len() + self.session.name().len() + 256
    }
}

/// What one node knows of who listens, and what waits to be carried.
pub struct Ephemerals {
    host: Arc<Host>,
    state: Mutex<State>,
    /// Rings when something is to be carried.
    wake: Notify,
    /// Messages that were taken at this node, and those that found no room, here or on their way to readers and nodes.
    pub sent: Counter,
    pub dropped: Counter,
}

#[derive(Default)]
struct State {
    readers: BTreeMap<SessionId, Vec<Arc<Waiting>>>,
    /// What was sent in each session of late, at this node.
    rates: BTreeMap<SessionId, Rate>,
    /// When those that are over were last forgotten.
    swept: Option<Instant>,
    outgoing: BTreeMap<NodeId, Pile>,
}

/// What was sent in one session since the window began.
struct Rate {
    since: Instant,
    messages: usize,
    bytes: usize,
}

impl Ephemerals {
    pub(super) fn new(host: Arc<Host>) -> Ephemerals {
        Ephemerals {
            host,
            state: Mutex::default(),
            wake: Notify::new(),
            sent: Counter::default(),
            dropped: Counter::default(),
        }
    }

    /// Sends it to whoever listens, at whatever node; false where too much was sent in this session of late: then
    /// no reader gets it. Never waits.
    pub fn send(&self, message: EphemeralMessage) -> bool {
        let message = Arc::new(message);
        let mut state = self.state();
        if !state.has_room(&message, Instant::now()) {
            self.dropped.inc();
            return false;
        }
        self.sent.inc();
        let mut dropped = state.hand_out(&message);
        let nodes = self.host.connected();
        state.outgoing.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let pile = state.outgoing.entry(node).or_default();
            dropped += pile.push(message.clone(), EPHEMERAL_OUTGOING, EPHEMERAL_OUTGOING_BYTES);
        }
        drop(state);
        self.dropped.inc_by(dropped);
        self.wake.notify_one();
        true
    }

    /// Takes messages of another node.
    pub(super) fn hear(&self, messages: Vec<EphemeralMessage>) {
        let mut state = self.state();
        let dropped = messages.into_iter().map(|message| state.hand_out(&Arc::new(message)));
        let dropped = dropped.sum();
        drop(state);
        self.dropped.inc_by(dropped);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

impl State {
    /// Hands a message to those who listen here; returns how many had no room for it, or for another one.
    fn hand_out(&mut self, message: &Arc<EphemeralMessage>) -> u64 {
        let readers = self.readers.get(&message.session).map_or(&[][..], Vec::as_slice);
        readers.iter().map(|reader| reader.take(message)).sum()
    }

    /// Counts a message, if its session has not had too many of late.
    fn has_room(&mut self, message: &EphemeralMessage, now: Instant) -> bool {
        let is_over = |rate: &Rate| EPHEMERAL_WINDOW <= now.duration_since(rate.since);
        let is_full = |state: &State| {
            EPHEMERAL_SESSIONS <= state.rates.len() && !state.rates.contains_key(&message.session)
        };
        // Looked through once in a window: whoever comes to a full table is turned away quickly.
        if is_full(self) && self.swept.is_none_or(|at| EPHEMERAL_WINDOW <= now.duration_since(at)) {
            self.rates.retain(|_, rate| !is_over(rate));
            self.swept = Some(now);
        }
        if is_full(self) {
            return false;
        }
        let new = || Rate { since: now, messages: 0, bytes: 0 };
        let rate = self.rates.entry(message.session.clone()).or_insert_with(new);
        if is_over(rate) {
            *rate = new();
        }
        let bytes = rate.bytes + message.content.payload.len();
        if EPHEMERAL_PER_SECOND <= rate.messages || EPHEMERAL_PER_SECOND_BYTES < bytes {
            return false;
        }
        (rate.messages, rate.bytes) = (rate.messages + 1, bytes);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::ParticipantName;
    use crate::session::Format;

    pub(in crate::runtime) fn message(session: &str, who: &str, words: &str) -> EphemeralMessage {
        let participant = ParticipantName::parse(who).unwrap();
        let payload = Bytes::copy_from_slice(words.as_bytes());
        EphemeralMessage {
            session: SessionId::parse(session).unwrap(),
            source: Source::Person(Sender { participant, device: None }),
            kind: KindName::parse("typing").unwrap(),
            content: NewEvent { format: Format::TEXT, payload },
            internal: false,
            at: Millis(9),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_says_too_much_is_not_heard_for_the_rest_of_the_second() {
        let (mut state, now) = (State::default(), Instant::now());
        let taken = |state: &mut State, session, words: &str, now| {
            state.has_room(&message(session, "ada", words), now)
        };
        for _ in 0..EPHEMERAL_PER_SECOND {
            assert!(taken(&mut state, "s", "", now));
        }
        assert!(!taken(&mut state, "s", "", now));
        assert!(taken(&mut state, "other", "", now), "others are not concerned");
        assert!(taken(&mut state, "s", "", now + EPHEMERAL_WINDOW));
        let words = "x".repeat(4 << 10);
        let large = EPHEMERAL_PER_SECOND_BYTES / words.len();
        let count = (0..2 * large).filter(|_| taken(&mut state, "large", &words, now)).count();
        assert_eq!(count, large);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_counted_as_long_as_they_speak() {
        let (mut state, now) = (State::default(), Instant::now());
        for at in 0..EPHEMERAL_SESSIONS {
            assert!(state.has_room(&message(&format!("s{at}"), "ada", ""), now));
        }
        assert!(!state.has_room(&message("one more", "ada", ""), now));
        assert!(state.has_room(&message("s0", "ada", ""), now));
        assert!(state.has_room(&message("one more", "ada", ""), now + EPHEMERAL_WINDOW));
        assert_eq!(state.rates.len(), 1);
    }
}
