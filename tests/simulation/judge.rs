//! What was seen, as text, and what must be true of it.
//!
//! Everything that anybody was told of a log (an acknowledgement, a read, a replica at the end) is put in one
//! book per life of a session. Two tellings that differ are a broken promise at once: S2, S3, S6, S7, S11.
//! What the log says of turns is judged at the end: S4, S5, S9.
//!
//! The checker of the other tests is not used here: it takes turns to live in a session's first life alone,
//! and knows no forks; both are what this simulation is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outlive::ids::{Incarnation, Serial, SessionId, TurnEpoch};
use outlive::session::{Event, Fact, Fork, Status, chain};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

/// The history of one run; clones are the same.
#[derive(Clone)]
pub(crate) struct Judge {
    inner: Arc<Mutex<Inner>>,
}

/// How far a session certainly is: its life, whether that is over, and its tail.
pub(crate) type Floor = (u32, bool, u64);

/// One life of one session.
type Life = (String, u32);

struct Inner {
    start: Instant,
    hash: Xxh3,
    lines: u64,
    echo: bool,
    books: BTreeMap<Life, Book>,
    /// Where each payload stands: nothing is in a log twice, over all lives.
    places: BTreeMap<String, (String, u32, u64)>,
    refused: BTreeSet<String>,
    floors: BTreeMap<String, Floor>,
    /// Lives that somebody asked to end; whichever it is where none is named.
    deletes: BTreeMap<String, BTreeSet<Option<u32>>>,
    /// The greatest serial below which somebody gave the log up.
    trims: BTreeMap<String, u64>,
    forks: BTreeMap<Life, (String, u32, u64)>,
    cancels: Vec<Cancelled>,
    counts: BTreeMap<&'static str, u64>,
}

/// A cancel that was acknowledged: of one turn or of all, where the log ended then.
struct Cancelled {
    life: Life,
    turn: Option<String>,
    tail: u64,
}

#[derive(Default)]
struct Book {
    events: BTreeMap<u64, Known>,
}

/// What is known of one place in a log.
struct Known {
    /// What a client wrote there; empty where the session itself did.
    payload: String,
    /// All of it, once somebody has read it.
    received: Option<Event>,
    by: String,
}

/// The name of what a client wrote: its first word.
pub(crate) fn name_of(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    text.split(' ').next().unwrap_or_default().to_string()
}

impl Judge {
    pub(crate) fn new(echo: bool) -> Judge {
        let inner = Inner {
            start: Instant::now(),
            hash: Xxh3::new(),
            lines: 0,
            echo,
            books: BTreeMap::new(),
            places: BTreeMap::new(),
            refused: BTreeSet::new(),
            floors: BTreeMap::new(),
            deletes: BTreeMap::new(),
            trims: BTreeMap::new(),
            forks: BTreeMap::new(),
            cancels: Vec::new(),
            counts: BTreeMap::new(),
        };
        Judge { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one line of the trace.
    pub(crate) fn note(&self, text: std::fmt::Arguments<'_>) {
        self.inner().note(text);
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.inner().counts.entry(what).or_default() += 1;
    }

    /// How far the session certainly is now.
    pub(crate) fn floor(&self, id: &SessionId) -> Floor {
        self.inner().floors.get(id.name()).copied().unwrap_or_default()
    }

    /// The end of the life that is known, and its number; the beginning where none is.
    pub(crate) fn tail(&self, id: &SessionId) -> (Incarnation, Serial) {
        let (incarnation, _, tail) = self.floor(id);
        (Incarnation(incarnation.max(1)), Serial(tail))
    }

    /// What was written is in the log from `first` on.
    pub(crate) fn acked(&self, id: &SessionId, life: Incarnation, first: Serial, names: &[String]) {
        let mut inner = self.inner();
        for (serial, name) in (first.0..).zip(names) {
            inner.stands(id.name(), life.0, serial, name, None, "an acknowledgement");
        }
        let last = first.0 + names.len() as u64 - 1;
        inner.raise(id.name(), (life.0, false, last), "an acknowledgement");
        *inner.counts.entry("acked").or_default() += names.len() as u64;
    }

    /// What was written is in no log, and never will be.
    pub(crate) fn refused(&self, names: &[String]) {
        let mut inner = self.inner();
        for name in names {
            let place = inner.places.get(name);
            assert!(place.is_none(), "{name} was refused and stands at {place:?}");
            inner.refused.insert(name.clone());
        }
    }

    /// Somebody is about to end a life.
    pub(crate) fn will_delete(&self, id: &SessionId, life: Option<Incarnation>) {
        let life = life.map(|life| life.0);
        self.inner().deletes.entry(id.name().to_owned()).or_default().insert(life);
    }

    /// Somebody is about to give up what is below `before`.
    pub(crate) fn will_trim(&self, id: &SessionId, before: Serial) {
        let mut inner = self.inner();
        let trimmed = inner.trims.entry(id.name().to_owned()).or_default();
        *trimmed = before.0.max(*trimmed);
    }

    /// The session is in this life and has at least this tail, as an answer said.
    pub(crate) fn lives(&self, id: &SessionId, life: Incarnation, tail: Serial) {
        self.inner().raise(id.name(), (life.0, false, tail.0), "an answer");
    }

    /// This life is over.
    pub(crate) fn deleted(&self, id: &SessionId, life: Incarnation) {
        self.inner().raise(id.name(), (life.0, true, 0), "a delete");
    }

    /// A linearizable answer that was asked for when `floor` was certain: where the session stands, or that
    /// it does not live.
    pub(crate) fn saw(
        &self,
        id: &SessionId,
        node: u64,
        floor: Floor,
        found: Option<(Incarnation, Serial)>,
    ) {
        let mut inner = self.inner();
        inner.note(format_args!("n{node} {id:?} {found:?} above {floor:?}"));
        *inner.counts.entry("reads").or_default() += 1;
        match found {
            Some((life, tail)) => {
                let now = (life.0, false, tail.0);
                assert!(
                    floor <= now,
                    "a stale read of {id:?} at node {node}: {now:?} after {floor:?}"
                );
                inner.raise(id.name(), now, "a read");
            }
            None => {
                let may = floor.0 == 0 || floor.1 || inner.may_end(id.name(), floor.0);
                assert!(may, "{id:?} is gone at node {node}, after {floor:?}; nobody deleted it");
            }
        }
    }

    /// A reader was told of an event.
    pub(crate) fn event(&self, id: &SessionId, life: Incarnation, event: &Event, node: u64) {
        self.inner().event(id.name(), life.0, event, &format!("a reader at node {node}"));
    }

    /// A reader was told that the log begins with `first`.
    pub(crate) fn gap(&self, id: &SessionId, life: Incarnation, first: Serial) {
        let inner = self.inner();
        let trimmed = |name: &str| inner.trims.get(name).copied().unwrap_or(1);
        let source = inner.forks.get(&(id.name().to_owned(), life.0));
        let inherited = source.map_or(1, |(source, ..)| trimmed(source));
        let most = trimmed(id.name()).max(inherited);
        assert!(first.0 <= most, "{id:?} {life:?} begins with {first}; trimmed was below {most}");
    }

    /// A reader was told that its log is over, or that another began.
    pub(crate) fn over(&self, id: &SessionId, life: Incarnation) {
        let inner = self.inner();
        assert!(inner.may_end(id.name(), life.0), "{id:?} {life:?} ended; nobody deleted it");
    }

    /// What a fork inherits, as its status says.
    pub(crate) fn fork(&self, id: &SessionId, life: Incarnation, fork: &Fork) {
        let received = (fork.source.name().to_owned(), fork.incarnation.0, fork.at.0);
        let mut inner = self.inner();
        let known =
            inner.forks.entry((id.name().to_owned(), life.0)).or_insert_with(|| received.clone());
        assert!(*known == received, "{id:?} {life:?} is a fork of {known:?}, and of {received:?}");
    }

    /// A cancel was acknowledged.
    pub(crate) fn cancelled(
        &self,
        id: &SessionId,
        life: Incarnation,
        turn: Option<&str>,
        tail: Serial,
    ) {
        let life = (id.name().to_owned(), life.0);
        let cancelled = Cancelled { life, turn: turn.map(str::to_string), tail: tail.0 };
        self.inner().cancels.push(cancelled);
    }

    /// The end: what one replica has of a session.
    pub(crate) fn finally(&self, id: &SessionId, node: u64, status: &Status, events: &[Event]) {
        let mut inner = self.inner();
        let (life, first, tail) = (status.incarnation, status.first, status.tail);
        inner.note(format_args!("n{node} {id:?} {life:?} {first}..{tail} {:016x}", status.chain));
        let by = format!("node {node} at the end");
        for event in events {
            inner.event(id.name(), life.0, event, &by);
        }
        let floor = inner.floors.get(id.name()).copied().unwrap_or_default();
        assert!(floor <= (life.0, false, tail.0), "{id:?} at node {node} lost {floor:?}");
        let known = inner.books.get(&(id.name().to_owned(), life.0));
        let inherited = status.fork.as_ref().map_or(0, |fork| fork.at.0);
        // A fork's own chain begins after what it inherits.
        let own = events.last().filter(|last| last.serial == tail && inherited < tail.0);
        if let Some(last) = own {
            assert!(
                last.chain == status.chain,
                "{id:?}: the chain of node {node} is not its log's"
            );
        }
        let begin = first.0.max(inherited + 1);
        let there: BTreeSet<u64> = events.iter().map(|event| event.serial.0).collect();
        for (serial, known) in known.into_iter().flat_map(|book| book.events.range(begin..)) {
            let (name, by) = (&known.payload, &known.by);
            assert!(there.contains(serial), "{id:?} at node {node} lost #{serial} {name} of {by}");
        }
    }

    /// The end of it all: what the logs say of turns.
    pub(crate) fn close(&self) {
        let inner = self.inner();
        for session in inner.floors.keys() {
            inner.turns_of(session);
        }
    }

    /// One line that says what was seen; the same for the same run.
    pub(crate) fn summary(&self) -> String {
        let inner = self.inner();
        let counts = inner.counts.iter().map(|(what, count)| format!("{what} {count}"));
        let counts = counts.collect::<Vec<_>>().join(" ");
        let (trace, lines) = (inner.hash.digest(), inner.lines);
        let time = inner.start.elapsed().as_secs_f64();
        format!("trace {trace:016x} lines {lines} {counts} virtual {time:.1}s")
    }
}

impl Inner {
    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        let line = format!("{:>12} {text}\n", self.start.elapsed().as_micros());
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if self.echo {
            print!("{line}");
        }
    }

    fn may_end(&self, session: &str, life: u32) -> bool {
        let request = self.deletes.get(session);
        request.is_some_and(|request| request.contains(&None) || request.contains(&Some(life)))
    }

    fn raise(&mut self, session: &str, to: Floor, by: &str) {
        let floor = self.floors.get(session).copied().unwrap_or_default();
        if floor.0 < to.0 && 0 < floor.0 && !floor.1 {
            let may = self.may_end(session, floor.0);
            assert!(may, "{session} is at {to:?} for {by}, after {floor:?}; nobody deleted it");
        }
        self.floors.insert(session.to_string(), floor.max(to));
    }

    fn event(&mut self, session: &str, life: u32, event: &Event, by: &str) {
        if let Some((source, of, at)) = self.forks.get(&(session.to_string(), life)).cloned()
            && event.serial.0 <= at
        {
            return self.event(&source, of, event, by);
        }
        let name = name_of(&event.payload);
        let is_output = matches!(
            event.fact.as_deref(),
            None | Some(Fact::Input { .. } | Fact::Person { .. } | Fact::Output(_))
        );
        let name = if is_output { name } else { String::new() };
        self.stands(session, life, event.serial.0, &name, Some(event), by);
    }

    /// Something stands at a place of a log.
    fn stands(
        &mut self,
        session: &str,
        life: u32,
        serial: u64,
        name: &str,
        received: Option<&Event>,
        by: &str,
    ) {
        let at = format!("{session}/{life} #{serial}");
        assert!(!self.refused.contains(name), "{name} was refused and stands at {at} for {by}");
        if !name.is_empty() {
            let here = (session.to_string(), life, serial);
            // An input may be asked for in every life anew.
            let name = if name.starts_with("i.") { format!("{name} {life}") } else { name.into() };
            let there = self.places.entry(name.clone()).or_insert_with(|| here.clone());
            assert!(*there == here, "{name} stands at {there:?} and at {here:?} for {by}");
        }
        let book = self.books.entry((session.to_string(), life)).or_default();
        let known = book.events.entry(serial).or_insert_with(|| Known {
            payload: name.to_string(),
            received: None,
            by: by.to_string(),
        });
        let before = &known.payload;
        assert!(before == name, "{at} is {before:?} for {}, and {name:?} for {by}", known.by);
        let Some(received) = received else { return };
        if let Some(before) = &known.received {
            assert!(
                before == received,
                "{at} is {before:?} for {}, and {received:?} for {by}",
                known.by
            );
            return;
        }
        known.received = Some(received.clone());
        let at = |serial: u64| book.events.get(&serial).and_then(|known| known.received.as_ref());
        for (before, event) in [(at(serial - 1), at(serial)), (at(serial), at(serial + 1))] {
            let Some((before, event)) = before.zip(event) else { continue };
            let name = format!("{session}/{life} {}", event.serial);
            assert!(before.time <= event.time, "{name}: time runs backwards");
            assert!(chain::next(before.chain, event) == event.chain, "{name}: the chain is broken");
        }
    }

    /// What the lives of a session say of its turns, in their order.
    fn turns_of(&self, session: &str) {
        let lives = (session.to_string(), 0)..=(session.to_string(), u32::MAX);
        let mut epochs: BTreeMap<String, TurnEpoch> = BTreeMap::new();
        for (life, book) in self.books.range(lives) {
            let whole = book
                .events
                .iter()
                .zip(1..)
                .all(|((serial, known), place)| *serial == place && known.received.is_some());
            let mut held: BTreeMap<String, TurnEpoch> = BTreeMap::new();
            let mut over: BTreeSet<String> = BTreeSet::new();
            let mut below: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (serial, known) in &book.events {
                let Some(fact) =
                    known.received.as_ref().and_then(|received| received.fact.as_deref())
                else {
                    continue;
                };
                let Some(turn) = fact.turn().map(ToString::to_string) else { continue };
                let at = format!("{life:?} #{serial} turn {turn}");
                match fact {
                    Fact::Input { parent: Some(parent), .. } => {
                        let parent = parent.to_string();
                        assert!(!over.contains(&parent), "{at}: {parent} began it after its end");
                        below.entry(parent).or_default().push(turn);
                    }
                    Fact::Started { epoch, .. } => {
                        let last = epochs.insert(turn.clone(), *epoch);
                        assert!(last < Some(*epoch), "{at}: epoch {epoch} after {last:?}");
                        held.insert(turn, *epoch);
                    }
                    Fact::Output(output) => {
                        let epoch = output.epoch;
                        let holds = held.get(&turn).copied();
                        assert!(
                            !whole || holds == Some(epoch),
                            "{at}: {epoch} speaks, not {holds:?}"
                        );
                        assert!(!over.contains(&turn), "{at}: it speaks after its end");
                        self.may_speak(life, &turn, *serial, &at);
                        let of = format!("/{}.{turn}.{epoch}.", life.1);
                        let is_own = known.payload.contains(&of);
                        assert!(is_own, "{at}: {} speaks in another life or turn", known.payload);
                    }
                    Fact::Ended { .. } => {
                        let begun = below.get(&turn).into_iter().flatten();
                        let open: Vec<_> = begun.filter(|begun| !over.contains(*begun)).collect();
                        assert!(
                            !whole || open.is_empty(),
                            "{at}: it ends before {open:?}, which it began"
                        );
                        assert!(over.insert(turn), "{at}: it ends twice");
                    }
                    _ => {}
                }
            }
        }
    }

    fn may_speak(&self, life: &Life, turn: &str, serial: u64, at: &str) {
        let ended = |cancel: &&Cancelled| {
            let of = cancel.turn.as_deref().is_some_and(|of| of == turn);
            cancel.life == *life && of && cancel.tail < serial
        };
        let cancel = self.cancels.iter().find(ended).map(|cancel| cancel.tail);
        assert!(cancel.is_none(), "{at}: it speaks; it was cancelled at {cancel:?}");
    }
}
