//! A reader that goes on at another node whenever one fails it, and checks what it gets (S7).

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use session::ids::{Cursor, Incarnation, Serial};
use tokio::time::timeout;

use super::event::Event;
use super::nodes::{self, ClientError, Nodes, Tries, Trouble};
use super::sse::{Frame, Parser};

/// Silence after which a node counts as dead: more than two heartbeats.
const SILENCE: Duration = Duration::from_secs(40);
/// Time that a node has to begin its answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Where a tail begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The first event that can still be read.
    Start,
    /// What comes after now.
    Now,
    /// What comes after this place.
    After(Cursor),
}

/// What a tail returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The next event.
    Event(Event),
    /// Everything up to here was returned; what follows is new. Repeated after each move.
    CaughtUp,
    /// Retention took what comes next; the log goes on with `first`.
    Gap {
        /// The first event that can still be read.
        first: u64,
    },
    /// The session was deleted and lives again: another log, from its beginning.
    Reset {
        /// The life that it is in now.
        incarnation: u32,
    },
    /// The session is closed and everything was returned. The end.
    End,
    /// The session was deleted. The end.
    Deleted,
}

/// A reader of one session.
pub struct Tail {
    nodes: Nodes,
    session: String,
    from: From,
    /// The last event returned, once it is known.
    at: Option<Cursor>,
    stream: Option<Attached>,
    tries: Tries,
    is_over: bool,
}

/// One connection that follows the session.
struct Attached {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    parser: Parser,
    frames: std::vec::IntoIter<Frame>,
}

/// What one try to attach came to.
enum Attach {
    Done(Attached),
    /// The session is closed, and this reader has seen its end.
    Nothing,
    Failed(Trouble),
}

impl Tail {
    pub(super) fn new(nodes: Nodes, session: &str, from: From) -> Tail {
        let at = match &from {
            From::After(cursor) => Some(*cursor),
            From::Start | From::Now => None,
        };
        let tries = Tries::new(&nodes);
        let session = session.to_owned();
        Tail { nodes, session, from, at, stream: None, tries, is_over: false }
    }

    /// Where another reader would go on.
    pub fn cursor(&self) -> Option<Cursor> {
        self.at
    }

    /// Waits for what comes next; none after an end. Moves to another node by itself.
    ///
    /// # Errors
    /// Refused: there is no such session, or no such place in it. Unreachable: no node served this
    /// reader for a minute. Broken: the service skipped or repeated something. All are final.
    pub async fn next(&mut self) -> Result<Option<Item>, ClientError> {
        while !self.is_over {
            match self.step().await {
                Ok(Some(item)) => {
                    self.is_over = matches!(item, Item::End | Item::Deleted);
                    return Ok(Some(item));
                }
                Ok(None) => {}
                Err(why) => {
                    self.is_over = true;
                    return Err(why);
                }
            }
        }
        Ok(None)
    }

    async fn step(&mut self) -> Result<Option<Item>, ClientError> {
        let Some(stream) = &mut self.stream else {
            return self.attach().await;
        };
        if let Some(frame) = stream.frames.next() {
            return self.take(frame);
        }
        let failure: Trouble = match timeout(SILENCE, stream.bytes.next()).await {
            Ok(Some(Ok(bytes))) => {
                let frames = stream.parser.feed(&bytes);
                stream.frames =
                    frames.map_err(|why| ClientError::Broken(why.to_string()))?.into_iter();
                return Ok(None);
            }
            Ok(Some(Err(why))) => why.into(),
            // Without `end` this is no end, whatever the connection reports.
            Ok(None) => "the stream ended without an end".into(),
            Err(_) => format!("nothing was heard for {} s", SILENCE.as_secs()).into(),
        };
        self.fail(failure).await?;
        Ok(None)
    }

    /// Leaves this node for the next one.
    async fn fail(&mut self, why: Trouble) -> Result<(), ClientError> {
        self.stream = None;
        self.nodes.turn();
        let count = self.nodes.count();
        self.tries.wait(why, count).await
    }

    async fn attach(&mut self) -> Result<Option<Item>, ClientError> {
        match self.request().await {
            Ok(Attach::Done(stream)) => self.stream = Some(stream),
            Ok(Attach::Nothing) => return Ok(Some(Item::End)),
            Ok(Attach::Failed(why)) => self.fail(why).await?,
            // It was there before: it has been deleted meanwhile.
            Err(ClientError::Refused(problem)) if problem.status == 404 && self.was_attached() => {
                return Ok(Some(Item::Deleted));
            }
            Err(why) => return Err(why),
        }
        Ok(None)
    }

    fn was_attached(&self) -> bool {
        self.at.is_some() && !matches!(&self.from, From::After(cursor) if Some(*cursor) == self.at)
    }

    async fn request(&mut self) -> Result<Attach, ClientError> {
        nodes::check_name(&self.session)?;
        let (http, base) = self.nodes.current();
        let mut url = nodes::url(base, &["v1", "sessions", &self.session, "events"]);
        let after = match (&self.at, &self.from) {
            (Some(cursor), _) => cursor.to_string(),
            (None, From::Now) => "now".to_owned(),
            (None, _) => "start".to_owned(),
        };
        url.query_pairs_mut().append_pair("live", "sse").append_pair("after", &after);
        let request = http.get(url).header("accept", "text/event-stream");
        let answer = timeout(ANSWER, request.send());
        let response = match self.tries.watch(base, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(why)) => return Ok(Attach::Failed(why.into())),
            Err(_) => return Ok(Attach::Failed("the node does not answer".into())),
        };
        let status = response.status();
        if status == reqwest::StatusCode::NO_CONTENT {
            return Ok(Attach::Nothing);
        }
        if status.is_success() {
            let bytes = response.bytes_stream().boxed();
            let frames = Vec::new().into_iter();
            return Ok(Attach::Done(Attached { bytes, parser: Parser::default(), frames }));
        }
        let body = timeout(ANSWER, response.json()).await;
        let problem = nodes::problem(status, body.ok().and_then(Result::ok).unwrap_or(Value::Null));
        if nodes::is_passing(status) {
            return Ok(Attach::Failed(problem.to_string().into()));
        }
        Err(ClientError::Refused(problem))
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Item>, ClientError> {
        let broken = |text: String| ClientError::Broken(text);
        let data = || -> Result<Value, ClientError> {
            serde_json::from_str(&frame.data).map_err(|why| broken(why.to_string()))
        };
        let cursor =
            || Cursor::parse(&frame.id).map_err(|why| broken(format!("id {:?}: {why}", frame.id)));
        // A node that only ever accepts a connection is no better than one that does not.
        if frame.event != "attached" {
            self.tries.reset();
        }
        let item = match frame.event.as_str() {
            "message" => {
                let event = Event::parse(&frame.data).map_err(|why| broken(why.to_string()))?;
                self.advance(cursor()?, event.serial)?;
                Item::Event(event)
            }
            "attached" => {
                // Where a reader begins that named no place; one that did is held to it by its events.
                self.at = Some(self.at.map_or_else(cursor, Ok)?);
                return Ok(None);
            }
            "caught-up" => Item::CaughtUp,
            "gap" => {
                let at = cursor()?;
                if self.at.is_some_and(|last| at < last) {
                    return Err(broken(format!("a gap leads back to {at}")));
                }
                self.at = Some(at);
                Item::Gap { first: at.serial.0 + 1 }
            }
            "reset" => {
                let number = data()?["incarnation"].as_u64().and_then(|n| u32::try_from(n).ok());
                let incarnation = number.ok_or_else(|| broken("a reset to nothing".to_owned()))?;
                if self.at.is_some_and(|last| incarnation <= last.incarnation.0) {
                    return Err(broken(format!("a reset leads back to {incarnation}")));
                }
                let incarnation = Incarnation(incarnation);
                self.at = Some(Cursor { incarnation, serial: Serial::ZERO });
                Item::Reset { incarnation: incarnation.0 }
            }
            "end" => {
                let end = data()?["cursor"].as_str().map(str::to_owned).unwrap_or_default();
                if self.at.is_some_and(|last| last.to_string() != end) {
                    return Err(broken(format!("the end at {end:?} is not where the reader is")));
                }
                Item::End
            }
            "deleted" => Item::Deleted,
            // The node sends the reader away and then breaks off.
            _ => return Ok(None),
        };
        Ok(Some(item))
    }

    /// Goes on by one event, and by none else.
    fn advance(&mut self, to: Cursor, serial: u64) -> Result<(), ClientError> {
        let last = self
            .at
            .ok_or_else(|| ClientError::Broken("an event came before `attached`".to_owned()))?;
        let next = Cursor { incarnation: last.incarnation, serial: last.serial.next() };
        if to != next || serial != next.serial.0 {
            let text = format!("{to} with serial {serial} came after {last}");
            return Err(ClientError::Broken(text));
        }
        self.at = Some(to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(from: From) -> Tail {
        let nodes = Nodes::new(&["http://127.0.0.1:1".into()]).unwrap();
        Tail::new(nodes, "s", from)
    }

    fn at(serial: u64) -> Cursor {
        Cursor { incarnation: Incarnation(1), serial: Serial(serial) }
    }

    fn event(serial: u64) -> Frame {
        let data =
            format!(r#"{{"serial":{serial},"time":1,"format":"text","text":"","chain":""}}"#);
        Frame { event: "message".into(), id: at(serial).to_string(), data }
    }

    fn control(event: &str, id: Cursor, data: &str) -> Frame {
        Frame { event: event.into(), id: id.to_string(), data: data.into() }
    }

    fn take_all(tail: &mut Tail, frames: Vec<Frame>) -> Result<usize, ClientError> {
        let taken: Result<Vec<_>, _> = frames.into_iter().map(|frame| tail.take(frame)).collect();
        Ok(taken?.into_iter().flatten().count())
    }

    #[tokio::test]
    async fn a_tail_believes_only_in_what_comes_next() {
        let attached = || control("attached", at(0), "{}");
        let good = vec![attached(), event(1), event(2), control("gap", at(7), "{}"), event(8)];
        assert_eq!(take_all(&mut tail(From::Start), good).unwrap(), 4);
        for bad in [
            vec![event(1)],
            vec![attached(), event(2)],
            vec![attached(), event(1), event(1)],
            vec![attached(), event(1), event(3)],
            vec![attached(), event(1), control("gap", at(0), "{}")],
            vec![attached(), control("reset", at(0), r#"{"incarnation":1}"#)],
            vec![
                attached(),
                event(1),
                control("end", at(2), &format!(r#"{{"cursor":"{}"}}"#, at(2))),
            ],
        ] {
            let why = take_all(&mut tail(From::Start), bad).unwrap_err();
            assert!(matches!(why, ClientError::Broken(_)), "{why}");
        }
        // A reader that moved is held to its own place, not to what the node sends.
        let moved = vec![control("attached", at(6), "{}"), event(7)];
        assert!(take_all(&mut tail(From::After(at(5))), moved).is_err());
    }
}
