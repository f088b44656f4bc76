//! A history: everything clients requested and saw in one run, in the order of one clock.
//!
//! One JSON object per line. Three outcomes: `ok` took effect, `fail` never will, `info` is
//! unknown. A client has at most one call open. Each value is unique in the whole run, so that a
//! record found anywhere shows which call wrote it. Readers record raw frames, before any client
//! code removes duplicates.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::turn::{Fact, Scope, Then, WhenBusy};

/// One call, from its invocation to its outcome.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OpId(pub u64);

/// One logical reader; it lives on across reconnects and nodes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SubId(pub u64);

/// The key of an idempotent append: `seq` is dense from 0 within an epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Producer {
    pub id: String,
    pub epoch: u64,
    pub seq: u64,
}

/// The last event a reader has; serial 0 is the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    pub incarnation: u32,
    pub serial: u64,
}

/// One event as a client saw it. `chain` is the running hash of the log up to here, if it came with the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub serial: u64,
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<u64>,
    /// What it records of a turn; none where a client only appended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<Box<Fact>>,
}

/// What a read promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// Sees every append acknowledged before it began.
    Linearizable,
    /// May be behind; never sees what is not in the log.
    Stale,
    /// The whole log of one replica, after the run has come to rest. Several pages may follow.
    Final,
}

/// What a client requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "snake_case")]
pub enum Call {
    /// Appends all values as one atomic batch.
    Append {
        values: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        producer: Option<Producer>,
    },
    /// Reads events after the serial `after`.
    Read {
        after: u64,
        mode: ReadMode,
    },
    Tail,
    Create,
    Delete,
    /// No more events will come.
    Close,
    /// Events with a serial below `before` may go.
    Trim {
        before: u64,
    },
    /// Exports the session and imports it under another name.
    Import {
        to: String,
    },
    /// An attempt to attach; frames and the accepted attachment are recorded beside it.
    Subscribe {
        sub: SubId,
        cursor: Option<Cursor>,
    },
    /// A person sends an input to an agent; the input's name makes a repetition the same one.
    Input {
        input: String,
        agent: String,
        value: String,
        when_busy: WhenBusy,
    },
    Cancel {
        scope: Scope,
    },
    /// A worker wants a turn of any session; the call is of none.
    Claim {
        agent: String,
        worker: String,
    },
    /// A worker's output in its turn; a heartbeat where there is no `seq`.
    Report {
        turn: String,
        epoch: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        values: Vec<String>,
        then: Then,
    },
}

/// What the server answered on success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "r", rename_all = "snake_case")]
pub enum Answer {
    Appended {
        incarnation: u32,
        first: u64,
        last: u64,
    },
    /// `first` is the oldest kept serial (1 if nothing was trimmed); `tail` the newest, if the answer names it.
    Page {
        incarnation: u32,
        first: u64,
        tail: Option<u64>,
        records: Vec<Record>,
    },
    Tail {
        incarnation: u32,
        tail: u64,
    },
    Done {
        incarnation: u32,
    },
    Accepted {
        turn: String,
        serial: u64,
        duplicate: bool,
    },
    /// `tail` is the last serial when it took effect.
    Cancelled {
        turns: u64,
        tail: u64,
    },
    /// None: there was nothing to do.
    Claimed {
        taken: Option<Taken>,
    },
    /// What the import has of it, read back: from its first event to the last that was exported, and the chain there.
    Imported {
        incarnation: u32,
        first: u64,
        tail: u64,
        chain: u64,
        records: Vec<Record>,
    },
    /// Where everything that came of it lies; none where all of it was taken before.
    OutputAccepted {
        places: Option<(u64, u64)>,
        duplicate: bool,
        over: bool,
    },
}

/// A turn that a worker was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub session: String,
    pub turn: String,
    pub epoch: u64,
}

impl Answer {
    pub fn incarnation(&self) -> u32 {
        match self {
            Answer::Appended { incarnation, .. }
            | Answer::Page { incarnation, .. }
            | Answer::Tail { incarnation, .. }
            | Answer::Imported { incarnation, .. }
            | Answer::Done { incarnation } => *incarnation,
            // Sessions with turns are not deleted in any run.
            Answer::Accepted { .. }
            | Answer::Cancelled { .. }
            | Answer::Claimed { .. }
            | Answer::OutputAccepted { .. } => 1,
        }
    }
}

/// What happens to a subscription besides events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "c", rename_all = "snake_case")]
pub enum Control {
    /// Connected, or connected again, from `cursor`; `None` is "from now".
    Attach { cursor: Option<Cursor> },
    /// The connection broke, or the client left.
    Detach,
    /// The server reports that events before `first` are gone.
    Gap { first: u64 },
    /// The server reports that the session is another incarnation now.
    Reset { to: u32 },
    /// The server ended the stream cleanly.
    End,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Kind {
    Inv {
        op: OpId,
        client: u32,
        node: String,
        session: String,
        /// The incarnation the client named; `None` is "whichever is there".
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<u32>,
        call: Call,
    },
    Ok {
        op: OpId,
        answer: Answer,
    },
    Fail {
        op: OpId,
        error: String,
    },
    Info {
        op: OpId,
        error: String,
    },
    Deliver {
        sub: SubId,
        node: String,
        session: String,
        incarnation: u32,
        record: Record,
    },
    Ctl {
        sub: SubId,
        node: String,
        session: String,
        incarnation: u32,
        control: Control,
    },
    Nemesis {
        action: String,
        node: String,
    },
    /// A probe saw that `node` leads `shard`.
    Leader {
        shard: u32,
        node: String,
    },
}

/// One line with its time: nanoseconds on the monotonic clock of the harness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "t")]
    pub at: u64,
    #[serde(flatten)]
    pub kind: Kind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        match text.char_indices().nth(400) {
            Some((cut, _)) => write!(f, "{}… ({} bytes)", &text[..cut], text.len()),
            None => f.write_str(&text),
        }
    }
}

/// All lines of one run, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub events: Vec<Event>,
}

impl History {
    /// Reads JSON lines; empty lines are skipped and lines of several files may be concatenated.
    ///
    /// # Errors
    /// The input cannot be read, or a line is not an event; the error names the line.
    pub fn read(input: impl BufRead) -> io::Result<History> {
        let mut events = Vec::new();
        for (number, line) in input.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let event: Event = serde_json::from_str(&line).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", number + 1))
            })?;
            events.push(event);
        }
        let mut history = History { events };
        history.sort();
        Ok(history)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn load(path: &Path) -> io::Result<History> {
        History::read(BufReader::new(File::open(path)?))
    }

    /// Writes JSON lines to `path`.
    ///
    /// # Errors
    /// The file cannot be written; what is there then is undefined.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut output = BufWriter::new(File::create(path)?);
        for event in &self.events {
            serde_json::to_writer(&mut output, event)?;
            output.write_all(b"\n")?;
        }
        output.flush()
    }

    /// Puts the lines in the order of time; lines of one instant keep their order.
    pub fn sort(&mut self) {
        self.events.sort_by_key(|event| event.at);
    }
}
