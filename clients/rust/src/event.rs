//! An event as a client gets it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// One event of a session, its payload byte for byte as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its sequence number, dense from 1.
    pub serial: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// How the payload is shown: `text`, `json`, `raw` or any other tag.
    pub format: String,
    /// Its bytes.
    pub payload: Bytes,
    /// Hash of this event and all before it, in hexadecimal.
    pub chain: String,
    /// Who appended it, where the writer named itself.
    pub producer: Option<Producer>,
    /// What it means, where it is more than a payload: `type`, `turn`, `agent` and the like, as the protocol has them.
    pub members: Map<String, Value>,
}

/// The request that an event came with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Producer {
    /// The writer's name.
    pub id: String,
    /// Its epoch.
    pub epoch: u64,
    /// The number of the request within the epoch, from 0.
    pub seq: u64,
}

/// The members that have a field of their own.
const OWN: [&str; 8] = ["serial", "time", "format", "data", "text", "base64", "chain", "producer"];

#[derive(Deserialize)]
struct Shape<'t> {
    serial: u64,
    time: u64,
    format: String,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'t RawValue>,
    text: Option<String>,
    base64: Option<String>,
    chain: String,
    producer: Option<Producer>,
    /// Of an event that means something.
    r#type: Option<IgnoredAny>,
}

// `null` is a payload too.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A text that is no event.
#[derive(Debug, thiserror::Error)]
#[error("this is no event: {0}")]
pub struct BadEvent(String);

impl Event {
    /// Takes an event from its JSON.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn parse(json: &str) -> Result<Event, BadEvent> {
        let shape: Shape<'_> =
            serde_json::from_str(json).map_err(|why| BadEvent(why.to_string()))?;
        let payload = match (shape.data, shape.text, shape.base64) {
            (Some(value), None, None) => Bytes::copy_from_slice(value.get().as_bytes()),
            (None, Some(text), None) => text.into(),
            (None, None, Some(text)) => {
                STANDARD.decode(text).map_err(|why| BadEvent(why.to_string()))?.into()
            }
            _ => return Err(BadEvent("it has not exactly one payload".to_owned())),
        };
        // What is nothing but a payload is read once.
        let mut members = match shape.r#type {
            None => Map::new(),
            Some(_) => serde_json::from_str(json).map_err(|why| BadEvent(why.to_string()))?,
        };
        members.retain(|name, _| !OWN.contains(&name.as_str()));
        Ok(Event {
            members,
            serial: shape.serial,
            time: shape.time,
            format: shape.format,
            payload,
            chain: shape.chain,
            producer: shape.producer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_taken_byte_for_byte() {
        let parse = |payload: &str| {
            let json = format!(r#"{{"serial":1,"time":2,"format":"f",{payload},"chain":"c"}}"#);
            Event::parse(&json).map(|event| event.payload)
        };
        assert_eq!(parse(r#""data":{"a" : 1.0}"#).unwrap(), r#"{"a" : 1.0}"#);
        assert_eq!(parse(r#""data":null"#).unwrap(), "null");
        assert_eq!(parse(r#""text":"a\n""#).unwrap(), "a\n");
        assert_eq!(parse(r#""base64":"/w==""#).unwrap(), &[0xff][..]);
        assert!(parse(r#""base64":"/w==","text":"""#).is_err());
        assert!(parse(r#""x":1"#).is_err());
    }

    #[test]
    fn what_an_event_means_is_kept() {
        let json = r#"{"serial":1,"time":2,"format":"json","data":null,"chain":"c","type":"turn.started","epoch":3}"#;
        let members = Event::parse(json).unwrap().members;
        assert_eq!(Value::from(members), serde_json::json!({ "type": "turn.started", "epoch": 3 }));
    }
}
