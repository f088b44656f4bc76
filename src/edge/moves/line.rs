//! The lines of an exported session, see docs/PROTOCOL.md: a head, the state, its files, the events, an end.
//!
//! Every line is one JSON object and has in `line` what it is. What is there for people stands beside the exact bytes
//! that are read back. A line of a kind that is not known is refused and not passed by, so that a later version can
//! add some without a loss. A file's line says which bytes it has, and does not have them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use crate::edge::{files, wire};
use crate::ids::{Millis, ProducerEpoch, ProducerId, Serial, SessionId};
use crate::runtime::moved::{self, Meaning};
use crate::session::{Carried, Event, File, Format, Origin};

/// Version of all lines together.
const VERSION: u64 = 1;

/// Bytes of the state that one line carries.
const STATE_PIECE: usize = 512 << 10;

/// The hash of all lines before the end, each without the white space around it and with one line feed after it.
#[derive(Default)]
pub(super) struct Sum(Xxh3);

impl Sum {
    /// Takes the next line.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.0.update(line.trim_ascii());
        self.0.update(b"\n");
    }

    fn text(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }

    pub(super) fn number(&self) -> u128 {
        self.0.digest128()
    }
}

/// The lines before the events.
pub(super) fn head(id: &SessionId, carried: &Carried) -> Vec<Vec<u8>> {
    let mut line = json!({
        "line": "session",
        "version": VERSION,
        "session": id.name(),
        "incarnation": carried.root.0,
        "first": carried.first.0,
        "tail": carried.tail.0,
        "chain": wire::chain(carried.chain),
        "closed": carried.is_closed(),
        "state": carried.standing.name(),
        "open_turns": carried.open_turns(),
        "created_at": carried.created_at.0,
        "updated_at": carried.updated_at.0,
    });
    if let Some(line) = line.as_object_mut()
        && let serde_json::Value::Object(config) = wire::config(&carried.config)
    {
        line.extend(config);
    }
    let state = moved::carried_bytes(carried);
    let pieces = state.chunks(STATE_PIECE).map(|piece| {
        json!({ "line": "state", "base64": STANDARD.encode(piece) }).to_string().into_bytes()
    });
    std::iter::once(line.to_string().into_bytes()).chain(pieces).collect()
}

/// A file: what is announced of it where it is brought again.
pub(super) fn file(file: &File) -> Vec<u8> {
    let mut line = files::announcement(file);
    line["line"] = "file".into();
    line.to_string().into_bytes()
}

/// An event; `linked` to the one before it, if its hash follows from that one's.
pub(super) fn event(event: &Event, linked: bool) -> Vec<u8> {
    let mut whole = Vec::new();
    wire::event(&mut whole, event, None);
    let members = &whole[1..whole.len() - 1];
    let mut out = format!("{{\"line\":\"event\",\"linked\":{linked},").into_bytes();
    out.extend_from_slice(members);
    if let Some(meaning) = Meaning::bytes_of(event) {
        out.extend_from_slice(b",\"exact\":\"");
        out.extend_from_slice(STANDARD.encode(meaning).as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
    out
}

/// The last line.
pub(super) fn end(events: u64, chain: u64, sum: &Sum) -> Vec<u8> {
    json!({ "line": "end", "events": events, "chain": wire::chain(chain), "hash": sum.text() })
        .to_string()
        .into_bytes()
}

/// A line that was read.
pub(super) enum Line {
    Session(Head),
    State(Vec<u8>),
    File,
    Event { event: Box<Event>, linked: bool },
    End(End),
}

/// What is read of the first line; the rest of it is for people.
#[derive(Deserialize)]
pub(super) struct Head {
    version: u64,
    pub(super) session: String,
}

/// The last line.
#[derive(Deserialize)]
pub(super) struct End {
    events: u64,
    hash: String,
}

impl End {
    /// Whether what came is what was sent.
    pub(super) fn check(&self, events: u64, sum: &Sum) -> Result<(), String> {
        if self.events != events {
            return Err(format!("{events} events came, and {} were sent", self.events));
        }
        if self.hash != sum.text() {
            return Err("the lines are not those that were exported: their hash differs".into());
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Kind {
    line: String,
}

#[derive(Deserialize)]
struct StateLine {
    base64: String,
}

#[derive(Deserialize)]
struct EventLine<'l> {
    linked: bool,
    serial: u64,
    time: u64,
    format: String,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'l RawValue>,
    text: Option<String>,
    base64: Option<String>,
    producer: Option<ProducerLine>,
    chain: String,
    exact: Option<String>,
}

/// A member that is there; `null` is a payload, too.
fn present<'l, D: Deserializer<'l>>(from: D) -> Result<Option<&'l RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct ProducerLine {
    id: String,
    epoch: u64,
    seq: u64,
}

/// Reads a line.
///
/// # Errors
/// It is none that this program knows.
pub(super) fn read(line: &[u8]) -> Result<Line, String> {
    let wrong = |why: serde_json::Error| format!("a line cannot be read: {why}");
    let Kind { line: kind } = serde_json::from_slice(line).map_err(wrong)?;
    match kind.as_str() {
        "session" => {
            let head: Head = serde_json::from_slice(line).map_err(wrong)?;
            match head.version {
                VERSION => Ok(Line::Session(head)),
                other => Err(format!("the export has version {other}; this node reads {VERSION}")),
            }
        }
        "state" => {
            let StateLine { base64 } = serde_json::from_slice(line).map_err(wrong)?;
            Ok(Line::State(STANDARD.decode(base64).map_err(|why| why.to_string())?))
        }
        "file" => {
            files::check_announcement(line).map_err(|why| format!("a file's line: {why}"))?;
            Ok(Line::File)
        }
        "event" => {
            let line: EventLine<'_> = serde_json::from_slice(line).map_err(wrong)?;
            let linked = line.linked;
            Ok(Line::Event { event: Box::new(line.event()?), linked })
        }
        "end" => Ok(Line::End(serde_json::from_slice(line).map_err(wrong)?)),
        other => Err(format!("this node knows no line {other:?}: nothing is left out in silence")),
    }
}

impl EventLine<'_> {
    fn event(self) -> Result<Event, String> {
        let wrong = |what: &str| format!("event {} has no {what} that can be read", self.serial);
        let payload = match (self.data, self.text, self.base64) {
            (Some(data), None, None) => data.get().as_bytes().to_vec(),
            (None, Some(text), None) => text.into_bytes(),
            (None, None, Some(base64)) => STANDARD.decode(base64).map_err(|_| wrong("base64"))?,
            _ => return Err(wrong("single payload")),
        };
        let producer = self.producer.map(|of| {
            let producer = ProducerId::parse(&of.id).map_err(|_| wrong("producer"))?;
            Ok::<_, String>(Origin { producer, epoch: ProducerEpoch(of.epoch), seq: of.seq })
        });
        let meaning = self.exact.map(|exact| {
            let bytes = STANDARD.decode(exact).map_err(|_| wrong("exact meaning"))?;
            Meaning::read(&bytes).map_err(|_| wrong("exact meaning"))
        });
        let meaning = meaning.transpose()?.unwrap_or(Meaning { agent: None, fact: None });
        Ok(Event {
            serial: Serial(self.serial),
            time: Millis(self.time),
            format: Format::parse(&self.format).map_err(|_| wrong("format"))?,
            payload: payload.into(),
            chain: u64::from_str_radix(&self.chain, 16).map_err(|_| wrong("chain"))?,
            origin: producer.transpose()?,
            agent: meaning.agent,
            fact: meaning.fact,
        })
    }
}
