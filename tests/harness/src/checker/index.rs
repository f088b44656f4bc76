//! The history, read once: calls with their outcomes, values with their writers, and one book per
//! incarnation of a session with everything that was seen of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::history::{Answer, Call, History, Kind, OpId, Producer, ReadMode, Record, SubId};
use super::super::report::Code;
use super::{Expectations, Findings};

pub use super::book::{Book, Log, Recorded, Replica, Sighting, Source, Span};

/// A value, interned.
pub type ValueId = usize;
/// A write: all attempts to append the same batch under the same key.
pub type WriteId = usize;

/// The end of a call without a recorded end.
pub const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy)]
pub enum Outcome<'h> {
    Ok(&'h Answer),
    Failed,
    Unknown,
    Open,
}

pub struct Op<'h> {
    pub id: OpId,
    pub line: usize,
    pub done_line: usize,
    pub session: &'h str,
    pub node: &'h str,
    pub request: Option<u32>,
    pub call: &'h Call,
    pub inv: u64,
    /// When the client got an answer, of success or failure; [`NEVER`] if it got none.
    pub ret: u64,
    pub outcome: Outcome<'h>,
}

impl<'h> Op<'h> {
    pub fn answer(&self) -> Option<&'h Answer> {
        match self.outcome {
            Outcome::Ok(answer) => Some(answer),
            _ => None,
        }
    }

    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed)
    }

    /// Whether this call may have had its effect in `incarnation`.
    pub fn may_act_in(&self, incarnation: u32) -> bool {
        match self.outcome {
            Outcome::Failed => false,
            Outcome::Ok(answer) => answer.incarnation() == incarnation,
            Outcome::Unknown | Outcome::Open => {
                self.request.is_none_or(|request| request == incarnation)
            }
        }
    }
}

/// What makes attempts the same write.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key<'h> {
    /// Nothing does.
    None,
    Producer(&'h Producer),
    Input(&'h str),
    Report {
        turn: &'h str,
        epoch: u64,
        seq: u64,
    },
}

pub struct Write<'h> {
    pub session: &'h str,
    pub key: Key<'h>,
    pub producer: Option<&'h Producer>,
    pub values: Vec<ValueId>,
    /// Places in [`Index::ops`].
    pub attempts: Vec<usize>,
}

pub struct Index<'h> {
    pub history: &'h History,
    pub ops: Vec<Op<'h>>,
    pub names: Vec<&'h str>,
    /// Who wrote a value; `None` if no client ever requested it.
    pub writer: Vec<Option<WriteId>>,
    pub writes: Vec<Write<'h>>,
    pub books: BTreeMap<(&'h str, u32), Book<'h>>,
    /// The lines of each subscription.
    pub subs: BTreeMap<SubId, Vec<usize>>,
    ids: HashMap<&'h str, ValueId>,
}

impl<'h> Index<'h> {
    pub fn build(history: &'h History, expect: &Expectations, out: &mut Findings) -> Self {
        let mut index = Index {
            history,
            ops: Vec::new(),
            names: Vec::new(),
            writer: Vec::new(),
            writes: Vec::new(),
            books: BTreeMap::new(),
            subs: BTreeMap::new(),
            ids: HashMap::new(),
        };
        index.read_calls(out);
        index.read_writes(out);
        index.read_answers();
        index.read_frames();
        index.close_books(expect);
        index
    }

    /// When `write` may have taken effect in `incarnation`: from the first attempt that may have
    /// acted to the first that was acknowledged. `None` if no attempt can have acted there.
    pub fn span(&self, write: WriteId, incarnation: u32) -> Option<Span> {
        let attempts = self.writes[write].attempts.iter().map(|&op| &self.ops[op]);
        let mut acting = attempts.filter(|op| op.may_act_in(incarnation));
        let first = acting.next()?;
        let mut span = Span { inv: first.inv, ret: first.ret, line: first.line };
        for op in acting {
            span.ret = span.ret.min(op.ret);
        }
        Some(span)
    }

    /// The serials of `write`, known as soon as one of its values was seen in `book`.
    pub fn extent(&self, write: WriteId, book: &Book<'_>) -> Option<(u64, u64)> {
        let values = &self.writes[write].values;
        let (offset, place) =
            values.iter().enumerate().find_map(|(i, value)| Some((i, *book.place.get(value)?)))?;
        let first = place.saturating_sub(offset as u64);
        Some((first, first + values.len() as u64 - 1))
    }

    /// The name of a value that a client requested or saw.
    pub fn value(&self, name: &str) -> Option<ValueId> {
        self.ids.get(name).copied()
    }

    fn read_calls(&mut self, out: &mut Findings) {
        let mut open: HashMap<OpId, usize> = HashMap::new();
        for (line, event) in self.history.events.iter().enumerate() {
            let (op, outcome) = match &event.kind {
                Kind::Inv { op, node, session, incarnation, call, .. } => {
                    if open.insert(*op, self.ops.len()).is_some() {
                        out.add(Code::Harness, session, &[line], format!("{op:?} begins twice"));
                    }
                    self.ops.push(Op {
                        id: *op,
                        line,
                        done_line: line,
                        session,
                        node,
                        request: *incarnation,
                        call,
                        inv: event.at,
                        ret: NEVER,
                        outcome: Outcome::Open,
                    });
                    continue;
                }
                Kind::Deliver { sub, .. } | Kind::Ctl { sub, .. } => {
                    self.subs.entry(*sub).or_default().push(line);
                    continue;
                }
                Kind::Nemesis { .. } | Kind::Leader { .. } => continue,
                Kind::Ok { op, answer } => (op, Outcome::Ok(answer)),
                Kind::Fail { op, .. } => (op, Outcome::Failed),
                Kind::Info { op, .. } => (op, Outcome::Unknown),
            };
            let Some(&place) = open.get(op) else {
                out.add(Code::Harness, "", &[line], format!("{op:?} ends without a beginning"));
                continue;
            };
            let call = &mut self.ops[place];
            if !matches!(call.outcome, Outcome::Open) {
                let text = format!("{op:?} ends twice");
                out.add(Code::Harness, call.session, &[call.done_line, line], text);
                continue;
            }
            call.outcome = outcome;
            call.done_line = line;
            call.ret = if matches!(outcome, Outcome::Unknown) { NEVER } else { event.at };
        }
    }

    fn read_writes(&mut self, out: &mut Findings) {
        let mut keyed: HashMap<(&str, &Producer), WriteId> = HashMap::new();
        for place in 0..self.ops.len() {
            let op = &self.ops[place];
            let (session, line, failed) = (op.session, op.line, op.failed());
            let (values, producer, key) = match op.call {
                Call::Append { values, producer } => {
                    let key = producer.as_ref().map_or(Key::None, Key::Producer);
                    (values.as_slice(), producer.as_ref(), key)
                }
                Call::Input { input, value, .. } => {
                    (std::slice::from_ref(value), None, Key::Input(input))
                }
                Call::Report { turn, epoch, seq: Some(seq), values, .. } if !values.is_empty() => {
                    let key = Key::Report { turn, epoch: *epoch, seq: *seq };
                    (values.as_slice(), None, key)
                }
                _ => continue,
            };
            let values: Vec<ValueId> = values.iter().map(|value| self.intern(value)).collect();
            let owner = values.first().and_then(|&value| self.writer[value]);
            if let Some(owner) = owner
                && self.writes[owner].values == values
                && self.writes[owner].session == session
                && self.writes[owner].key == key
                && key != Key::None
            {
                self.writes[owner].attempts.push(place);
                continue;
            }
            let id = self.writes.len();
            for &value in &values {
                if self.writer[value].replace(id).is_some() {
                    let text = format!("value {:?} is written twice", self.names[value]);
                    out.add(Code::Harness, session, &[line], text);
                }
            }
            if let Some(producer) = producer
                && !failed
                && keyed.insert((session, producer), id).is_some()
            {
                let text = format!("{producer:?} stands for two contents");
                out.add(Code::Harness, session, &[line], text);
            }
            self.writes.push(Write { session, key, producer, values, attempts: vec![place] });
        }
    }

    fn read_answers(&mut self) {
        for place in 0..self.ops.len() {
            let op = &self.ops[place];
            let Some(answer) = op.answer() else { continue };
            if let Call::Claim { .. } = op.call {
                continue; // It is of no session.
            }
            let (call, session, node) = (op.call, op.session, op.node);
            let (line, at) = (op.done_line, op.ret);
            let incarnation = answer.incarnation();
            self.book(session, incarnation).answered.push(place);
            match (call, answer) {
                (Call::Append { values, .. }, Answer::Appended { first, .. }) => {
                    for (serial, value) in (*first..).zip(values) {
                        self.acknowledged(session, incarnation, serial, value, (at, line));
                    }
                }
                (Call::Input { value, .. }, Answer::Accepted { serial, .. }) => {
                    self.acknowledged(session, incarnation, *serial, value, (at, line));
                }
                (Call::Read { mode, .. }, Answer::Page { first, tail, records, .. }) => {
                    let last = *mode == ReadMode::Final;
                    let source = if last { Source::Final } else { Source::Read };
                    for record in records {
                        self.see(session, incarnation, record, at, line, source);
                    }
                    if last {
                        let book = self.book(session, incarnation);
                        let end = tail.unwrap_or(records.last().map_or(0, |record| record.serial));
                        let replica = book.replicas.entry(node).or_insert_with(|| Replica {
                            first: *first,
                            tail: 0,
                            line,
                            serials: BTreeSet::new(),
                        });
                        replica.first = replica.first.max(*first);
                        replica.tail = replica.tail.max(end);
                        replica.serials.extend(records.iter().map(|record| record.serial));
                    }
                }
                _ => {}
            }
        }
    }

    fn read_frames(&mut self) {
        for (line, event) in self.history.events.iter().enumerate() {
            if let Kind::Deliver { session, incarnation, record, .. } = &event.kind {
                self.see(session, *incarnation, record, event.at, line, Source::Deliver);
            }
        }
    }

    fn close_books(&mut self, expect: &Expectations) {
        let mut books = std::mem::take(&mut self.books);
        let mut trims: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
        for op in self.ops.iter().filter(|op| !op.failed()) {
            if let Call::Trim { before } = op.call {
                trims.entry(op.session).or_default().push((op.inv, *before));
            }
        }
        let mut request: HashMap<&str, Vec<WriteId>> = HashMap::new();
        for (id, write) in self.writes.iter().enumerate() {
            request.entry(write.session).or_default().push(id);
        }
        for book in books.values_mut() {
            book.keep = expect.retention;
            book.trims = trims.get(book.session).cloned().unwrap_or_default();
            let mut known: BTreeSet<WriteId> = BTreeSet::new();
            for seen in &book.sightings {
                book.place.entry(seen.value).or_insert(seen.serial);
                book.last_seen = book.last_seen.max(seen.serial);
                known.extend(self.writer[seen.value]);
            }
            book.writes = known.into_iter().collect();
            if book.keep.is_some() {
                book.growth =
                    self.growth(book, request.get(book.session).map_or(&[], Vec::as_slice));
            }
            if let Some(line) = book.replicas.values().map(|replica| replica.line).next() {
                let replicas = || book.replicas.values();
                let mut log = Log { line, ..Log::default() };
                log.first = replicas().map(|replica| replica.first).max().unwrap_or(1);
                log.tail = replicas().map(|replica| replica.tail).max().unwrap_or(0);
                let mut received = BTreeMap::new();
                for seen in book.sightings.iter().filter(|seen| seen.source == Source::Final) {
                    log.values.entry(seen.serial).or_insert(seen.value);
                    if let Some(fact) = seen.fact {
                        let Sighting { serial, value, line, .. } = *seen;
                        received.entry(serial).or_insert(Recorded { serial, fact, value, line });
                    }
                }
                for seen in book.sightings.iter().filter(|seen| seen.source == Source::Deliver) {
                    if let Some(received) = received.get_mut(&seen.serial) {
                        received.line = received.line.min(seen.line);
                    }
                }
                book.received = received.into_values().collect();
                book.log = Some(log);
            }
        }
        self.books = books;
    }

    /// By time of invocation: the greatest serial that may have been in the log by then. That is
    /// the greatest place of a write requested by then, and after it, at worst, all values that were
    /// requested by then and never seen: they may have come and been trimmed unnoticed.
    fn growth(&self, book: &Book<'_>, request: &[WriteId]) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64, u64)> = Vec::new();
        for &write in request {
            let Some(span) = self.span(write, book.incarnation) else { continue };
            match self.extent(write, book) {
                Some((_, last)) => steps.push((span.inv, last, 0)),
                None => steps.push((span.inv, 0, self.writes[write].values.len() as u64)),
            }
        }
        steps.sort_unstable();
        let (mut most, mut hidden) = (0, 0);
        let mut growth = Vec::with_capacity(steps.len());
        for (inv, last, unseen) in steps {
            most = most.max(last);
            hidden += unseen;
            growth.push((inv, most + hidden));
        }
        growth
    }

    fn acknowledged(
        &mut self,
        session: &'h str,
        incarnation: u32,
        serial: u64,
        value: &'h str,
        (at, line): (u64, usize),
    ) {
        let (value, source) = (self.intern(value), Source::Ack);
        let seen = Sighting { fact: None, serial, value, chain: None, at, line, source };
        self.book(session, incarnation).sightings.push(seen);
    }

    fn see(
        &mut self,
        session: &'h str,
        incarnation: u32,
        record: &'h Record,
        at: u64,
        line: usize,
        source: Source,
    ) {
        let value = self.intern(&record.value);
        let (serial, chain) = (record.serial, record.chain);
        let fact = record.fact.as_deref();
        let seen = Sighting { fact, serial, value, chain, at, line, source };
        self.book(session, incarnation).sightings.push(seen);
    }

    fn intern(&mut self, value: &'h str) -> ValueId {
        let next = self.names.len();
        let id = *self.ids.entry(value).or_insert(next);
        if id == next {
            self.names.push(value);
            self.writer.push(None);
        }
        id
    }

    fn book(&mut self, session: &'h str, incarnation: u32) -> &mut Book<'h> {
        self.books.entry((session, incarnation)).or_insert_with(|| Book {
            session,
            incarnation,
            sightings: Vec::new(),
            answered: Vec::new(),
            replicas: BTreeMap::new(),
            log: None,
            received: Vec::new(),
            place: HashMap::new(),
            writes: Vec::new(),
            last_seen: 0,
            growth: Vec::new(),
            trims: Vec::new(),
            keep: None,
        })
    }
}
