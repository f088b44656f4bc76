//! The recorder: many tasks report to it what they do and see; it stamps the time and keeps the order.
//!
//! Call [`Recorder::invoke`] before the request leaves and the outcome after the answer is here:
//! then the real span of a call lies inside the recorded one, and the checker cannot accuse falsely.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use super::history::{Answer, Call, Control, Event, History, Kind, OpId, Record, SubId};

/// Keeps a history while it happens; shared through an `Arc`.
pub struct Recorder {
    start: Instant,
    tape: Mutex<Tape>,
}

#[derive(Default)]
struct Tape {
    events: Vec<Event>,
    file: Option<BufWriter<File>>,
    next_op: u64,
    next_sub: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

impl Recorder {
    /// Records to memory.
    pub fn new() -> Recorder {
        Recorder { start: Instant::now(), tape: Mutex::new(Tape::default()) }
    }

    /// Records to memory and to JSON lines at `path`, so that a run that dies can be checked.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn with_file(path: &Path) -> io::Result<Recorder> {
        let tape = Tape { file: Some(BufWriter::new(File::create(path)?)), ..Tape::default() };
        Ok(Recorder { start: Instant::now(), tape: Mutex::new(tape) })
    }

    /// A client is about to send a request. `incarnation` is the one it names, if it names one.
    pub fn invoke(
        &self,
        client: u32,
        node: &str,
        session: &str,
        incarnation: Option<u32>,
        call: Call,
    ) -> OpId {
        let mut tape = self.tape();
        let op = OpId(tape.next_op);
        tape.next_op += 1;
        let (node, session) = (node.to_owned(), session.to_owned());
        self.write(&mut tape, Kind::Inv { op, client, node, session, incarnation, call });
        op
    }

    /// The server answered with success.
    pub fn ok(&self, op: OpId, answer: Answer) {
        self.write(&mut self.tape(), Kind::Ok { op, answer });
    }

    /// The server refused: the call has no effect and never will.
    pub fn fail(&self, op: OpId, error: &str) {
        self.write(&mut self.tape(), Kind::Fail { op, error: error.to_owned() });
    }

    /// The outcome is unknown: a timeout, a broken connection. The effect may still come.
    pub fn unknown(&self, op: OpId, error: &str) {
        self.write(&mut self.tape(), Kind::Info { op, error: error.to_owned() });
    }

    /// The name of a new logical subscription.
    pub fn subscription(&self) -> SubId {
        let mut tape = self.tape();
        tape.next_sub += 1;
        SubId(tape.next_sub)
    }

    /// An event frame came, as it was on the wire.
    pub fn deliver(&self, sub: SubId, node: &str, session: &str, incarnation: u32, record: Record) {
        let (node, session) = (node.to_owned(), session.to_owned());
        self.write(&mut self.tape(), Kind::Deliver { sub, node, session, incarnation, record });
    }

    /// Something else happened to a subscription. `incarnation` is the one it followed so far.
    pub fn control(
        &self,
        sub: SubId,
        node: &str,
        session: &str,
        incarnation: u32,
        control: Control,
    ) {
        let (node, session) = (node.to_owned(), session.to_owned());
        self.write(&mut self.tape(), Kind::Ctl { sub, node, session, incarnation, control });
    }

    /// A fault was put in place, or taken away, and a probe has confirmed it.
    pub fn nemesis(&self, action: &str, node: &str) {
        let (action, node) = (action.to_owned(), node.to_owned());
        self.write(&mut self.tape(), Kind::Nemesis { action, node });
    }

    /// A probe saw who leads a shard; the same leader may be reported again.
    pub fn leader(&self, shard: u32, node: &str) {
        self.write(&mut self.tape(), Kind::Leader { shard, node: node.to_owned() });
    }

    /// What was recorded so far.
    pub fn history(&self) -> History {
        History { events: self.tape().events.clone() }
    }

    /// Ends the recording.
    pub fn into_history(self) -> History {
        let mut tape = self.tape.into_inner().unwrap_or_else(|poison| poison.into_inner());
        if let Some(file) = &mut tape.file {
            file.flush().expect("the history file takes its last lines");
        }
        History { events: std::mem::take(&mut tape.events) }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// The time is taken under the lock, so the order of lines is the order of time.
    fn write(&self, tape: &mut Tape, kind: Kind) {
        let at = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let event = Event { at, kind };
        if let Some(file) = &mut tape.file {
            serde_json::to_writer(&mut *file, &event).expect("an event is plain data");
            file.write_all(b"\n").expect("the history file takes a line");
            if !matches!(event.kind, Kind::Deliver { .. }) {
                file.flush().expect("the history file takes a line");
            }
        }
        tape.events.push(event);
    }
}
