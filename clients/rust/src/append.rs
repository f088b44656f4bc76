//! A writer whose every request has the effect of one, whatever happens to nodes and connections.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::nodes::{self, ClientError, Nodes};

/// Appends to one session, one request after the other.
#[derive(Debug)]
pub struct Appender {
    nodes: Nodes,
    session: String,
    producer: String,
    epoch: u64,
    /// Number of the next request.
    seq: u64,
}

/// One event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// How the payload is shown: `text`, `json`, `raw` or any other tag of 1 to 128 visible ASCII characters.
    pub format: String,
    /// Up to 256 KiB.
    pub payload: Bytes,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Appended {
    /// Serial of the request's first event.
    pub first: Option<u64>,
    /// Serial of its last event; none where the places are forgotten.
    pub last: Option<u64>,
    /// An earlier try of the same request had done it.
    pub duplicate: bool,
    /// Whether this request closed the session.
    pub closed: bool,
    /// Which life of the session it went to.
    pub incarnation: u32,
    /// Last serial of the session after the request.
    pub tail: u64,
    /// The place after its last event.
    pub cursor: String,
}

impl Appender {
    pub(super) fn new(nodes: Nodes, session: &str) -> Appender {
        let producer = format!("outlive-{:032x}", rand::random::<u128>());
        Appender { nodes, session: session.to_owned(), producer, epoch: 0, seq: 0 }
    }

    /// Appends all events or none, and returns where they are. Tries until the outcome is known.
    ///
    /// # Errors
    /// Refused: nothing was appended. Unreachable: it may have been; call again with the same events,
    /// and it is the same request.
    pub async fn append(&mut self, events: &[Body], close: bool) -> Result<Appended, ClientError> {
        nodes::check_name(&self.session)?;
        let body = envelope(events, close);
        let (session, producer) = (&self.session, &self.producer);
        let (epoch, seq) = (self.epoch, self.seq);
        let (_, answer) = self
            .nodes
            .ask(|http, base| {
                http.post(nodes::url(base, &["v1", "sessions", session, "events"]))
                    .header("content-type", "application/json")
                    .header("producer-id", producer)
                    .header("producer-epoch", epoch)
                    .header("producer-seq", seq)
                    .body(body.clone())
            })
            .await?;
        self.seq += 1;
        serde_json::from_value(answer).map_err(|why| ClientError::Broken(why.to_string()))
    }
}

/// The JSON of an append. A payload travels as a string where it is one, else as base64.
fn envelope(events: &[Body], close: bool) -> Bytes {
    let event = |body: &Body| match str::from_utf8(&body.payload) {
        Ok(text) => json!({ "format": body.format, "text": text }),
        Err(_) => json!({ "format": body.format, "base64": STANDARD.encode(&body.payload) }),
    };
    let events: Vec<Value> = events.iter().map(event).collect();
    json!({ "events": events, "close": close }).to_string().into()
}
