//! Events as the body of an answer: JSON messages in one array, everything else end to end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::wire;
use crate::session::{ContentType, Event, Format};

/// How a stream is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A list of messages.
    Json,
    Text,
    Bytes,
}

impl Shape {
    pub(super) fn of(content_type: Option<&ContentType>) -> Shape {
        match content_type {
            None => Shape::Json,
            Some(kind) if kind.is_json() => Shape::Json,
            Some(kind) if kind.is_text() => Shape::Text,
            Some(_) => Shape::Bytes,
        }
    }
}

/// A body as it fills.
#[derive(Debug)]
pub(super) struct Body {
    shape: Shape,
    bytes: Vec<u8>,
    /// Events in it.
    pub(super) count: usize,
    /// Payload bytes in it.
    pub(super) payload: usize,
}

impl Body {
    pub(super) fn new(shape: Shape) -> Body {
        Body { shape, bytes: Vec::new(), count: 0, payload: 0 }
    }

    pub(super) fn push(&mut self, event: &Event) {
        match self.shape {
            Shape::Text | Shape::Bytes => self.bytes.extend_from_slice(&event.payload),
            Shape::Json => {
                self.bytes.push(if self.count == 0 { b'[' } else { b',' });
                value(&mut self.bytes, event);
            }
        }
        self.count += 1;
        self.payload += event.payload.len();
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.shape == Shape::Json {
            if self.count == 0 {
                self.bytes.push(b'[');
            }
            self.bytes.push(b']');
        }
        self.bytes
    }
}

/// Any event as one JSON value; one that means something for a turn has that in it.
fn value(out: &mut Vec<u8>, event: &Event) {
    if event.fact.is_some() {
        return wire::event(out, event, None);
    }
    if event.format == Format::JSON {
        return out.extend_from_slice(&event.payload);
    }
    match str::from_utf8(&event.payload) {
        Ok(text) if event.format != Format::RAW => wire::string(out, text),
        _ => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(&event.payload).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::wire::tests::sample;
    use super::*;

    fn shown(kind: Option<&str>, events: &[(&str, &[u8])]) -> String {
        let kind = kind.map(|text| ContentType::parse(text).unwrap());
        let mut body = Body::new(Shape::of(kind.as_ref()));
        for (format, payload) in events {
            body.push(&sample(format, payload));
        }
        String::from_utf8(body.finish()).unwrap()
    }

    #[test]
    fn messages_stand_in_one_array_and_bytes_end_to_end() {
        let events: &[(&str, &[u8])] =
            &[("json", b"{\"a\":1}"), ("text", b"x\"\n"), ("raw", b"\xff")];
        assert_eq!(shown(None, events), r#"[{"a":1},"x\"\n",{"base64":"/w=="}]"#);
        assert_eq!(shown(Some("Application/JSON"), &[]), "[]");
        assert_eq!(shown(Some("text/plain"), &events[..2]), "{\"a\":1}x\"\n");
        assert_eq!(shown(Some("image/png"), &[]), "");
    }
}
