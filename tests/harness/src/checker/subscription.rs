//! S7: a subscription yields exactly the events after its cursor, in order, once, across every
//! reconnect, until an honest end, gap or reset; attached to the end, it reaches the tail (A9).

use std::collections::BTreeMap;

use super::super::history::{Call, Control, Cursor, Kind, SubId};
use super::super::report::Code;
use super::index::{Book, Index};
use super::{Expectations, Findings};

pub fn check(index: &Index<'_>, expect: &Expectations, out: &mut Findings) {
    let mut request: BTreeMap<&str, Requests> = BTreeMap::new();
    for op in index.ops.iter().filter(|op| !op.failed()) {
        let entry = request.entry(op.session).or_default();
        match op.call {
            Call::Close => entry.close.push((op.inv, op.answer().map(|a| a.incarnation()))),
            Call::Delete => entry.delete.push((op.inv, op.answer().map(|a| a.incarnation()))),
            _ => {}
        }
    }
    for (&sub, lines) in &index.subs {
        let state = State { line: lines[0], ..State::default() };
        let mut reader = Reader { index, request: &request, sub, state, out };
        for &line in lines {
            reader.step(line);
        }
        if expect.drained {
            reader.drained();
        }
    }
}

/// When the close or the delete of a session was requested, and in which incarnation if that was answered.
#[derive(Default)]
struct Requests {
    close: Vec<(u64, Option<u32>)>,
    delete: Vec<(u64, Option<u32>)>,
}

fn possible(request: &[(u64, Option<u32>)], at: u64, incarnation: u32) -> bool {
    request.iter().any(|(inv, answered)| *inv <= at && answered.is_none_or(|a| a == incarnation))
}

#[derive(Default)]
struct State<'h> {
    session: &'h str,
    incarnation: u32,
    /// The serial that must come; `None` before the first frame of "from now".
    next: Option<u64>,
    /// The last serial this reader was given, or was made to skip to.
    reached: Option<Cursor>,
    attached: bool,
    ended: bool,
    line: usize,
}

struct Reader<'a, 'h> {
    index: &'a Index<'h>,
    request: &'a BTreeMap<&'h str, Requests>,
    sub: SubId,
    state: State<'h>,
    out: &'a mut Findings,
}

impl<'h> Reader<'_, 'h> {
    fn step(&mut self, line: usize) {
        let event = &self.index.history.events[line];
        match &event.kind {
            Kind::Deliver { session, incarnation, record, .. } => {
                self.state.session = session;
                self.deliver(*incarnation, record.serial, line);
            }
            Kind::Ctl { session, incarnation, control, .. } => {
                self.state.session = session;
                self.control(*incarnation, control, event.at, line);
            }
            _ => {}
        }
        self.state.line = line;
    }

    fn deliver(&mut self, incarnation: u32, serial: u64, line: usize) {
        if !self.state.attached || self.state.ended {
            self.broken(line, format!("a frame {serial} came while not attached"));
        }
        if self.state.next.is_some() && incarnation != self.state.incarnation {
            let text = format!("incarnation {incarnation} came without a reset");
            self.broken(line, text);
            self.state.next = None;
        }
        self.state.incarnation = incarnation;
        if let Some(next) = self.state.next
            && serial != next
        {
            let what = if next < serial { "skipped" } else { "repeated or went back" };
            self.broken(line, format!("expected {next}, got {serial}: {what}"));
        }
        self.state.next = Some(serial + 1);
        self.reach(serial);
    }

    fn control(&mut self, incarnation: u32, control: &Control, at: u64, line: usize) {
        match control {
            Control::Attach { cursor } => self.attach(*cursor, incarnation, line),
            Control::Detach => self.state.attached = false,
            Control::Gap { first } => self.gap(*first, at, line),
            Control::Reset { to } => self.reset(*to, at, line),
            Control::End => self.end(at, line),
        }
    }

    fn attach(&mut self, cursor: Option<Cursor>, incarnation: u32, line: usize) {
        self.state.attached = true;
        if self.state.ended {
            self.state.ended = false;
        }
        let Some(cursor) = cursor else {
            if let Some(reached) = self.state.reached {
                self.broken(line, format!("reconnected from now after {}", reached.serial));
            }
            self.state.incarnation = incarnation;
            self.state.next = None;
            return;
        };
        if let Some(reached) = self.state.reached
            && reached < cursor
        {
            let (a, b) = (reached.serial, cursor.serial);
            self.broken(line, format!("reconnected after {b}, but was given only up to {a}"));
        }
        self.state.incarnation = cursor.incarnation;
        self.state.next = Some(cursor.serial + 1);
        if self.state.reached.is_none() {
            self.reach(cursor.serial);
        }
    }

    fn gap(&mut self, first: u64, at: u64, line: usize) {
        if self.state.next.is_some_and(|next| first <= next) {
            self.broken(line, format!("a gap to {first} that is no gap"));
        }
        let limit = self.book().map_or(1, |book| book.trimmable(at));
        if limit < first {
            self.broken(line, format!("a gap to {first}; at most {limit} could be trimmed"));
        }
        self.state.next = Some(first);
        self.reach(first.saturating_sub(1));
    }

    fn reset(&mut self, to: u32, at: u64, line: usize) {
        let from = self.state.incarnation;
        if to <= from {
            self.broken(line, format!("a reset from incarnation {from} to {to}"));
        }
        let request = self.request.get(self.state.session);
        if !request.is_some_and(|request| possible(&request.delete, at, from)) {
            self.broken(line, format!("a reset to {to}, but nobody deleted {from}"));
        }
        self.state.incarnation = to;
        self.state.next = Some(1);
        self.reach(0);
    }

    fn end(&mut self, at: u64, line: usize) {
        let incarnation = self.state.incarnation;
        let request = self.request.get(self.state.session);
        let deleted = request.is_some_and(|request| possible(&request.delete, at, incarnation));
        let closed = request.is_some_and(|request| possible(&request.close, at, incarnation));
        let tail =
            self.book().map_or(0, |book| book.log.as_ref().map_or(book.last_seen, |log| log.tail));
        let at_tail = self.state.next.is_none_or(|next| next == tail + 1);
        if !(deleted || closed && at_tail) {
            let why = if closed { "before the tail" } else { "though nobody closed it" };
            self.broken(line, format!("a clean end {why} (tail {tail})"));
        }
        self.state.attached = false;
        self.state.ended = true;
    }

    /// Still attached after everything came to rest: then at the tail of the latest incarnation.
    fn drained(&mut self) {
        let State { session, incarnation, line, .. } = self.state;
        let (Some(next), true) = (self.state.next, self.state.attached) else { return };
        let books = self.index.books.range((session, 0)..=(session, u32::MAX)).rev();
        let Some((_, book)) = books.into_iter().find(|(_, book)| book.log.is_some()) else {
            return;
        };
        let tail = book.log.as_ref().map_or(0, |log| log.tail);
        if incarnation < book.incarnation {
            self.broken(line, format!("never learned of incarnation {}", book.incarnation));
        } else if incarnation == book.incarnation && next != tail + 1 {
            self.broken(line, format!("stopped before {next}; the tail is {tail}"));
        }
    }

    fn reach(&mut self, serial: u64) {
        let cursor = Cursor { incarnation: self.state.incarnation, serial };
        self.state.reached = self.state.reached.max(Some(cursor));
    }

    fn book(&self) -> Option<&Book<'h>> {
        self.index.books.get(&(self.state.session, self.state.incarnation))
    }

    fn broken(&mut self, line: usize, text: String) {
        let incarnation = self.state.incarnation;
        let text = format!("subscription {} in incarnation {incarnation}: {text}", self.sub.0);
        let lines = [self.state.line.min(line), line];
        self.out.add(Code::A9, self.state.session, &lines, text);
    }
}
