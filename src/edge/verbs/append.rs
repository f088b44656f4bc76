//! What a body has to append: a JSON envelope with many events, or the bytes of one.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::super::error::{self, Problem};
use super::super::{headers, json};
use super::turns;
use crate::ids::Serial;
use crate::limits;
use crate::session::{Append, Command, Format, NewEvent, Origin, Refusal};

/// The JSON body of an append.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'b> {
    #[serde(borrow, default)]
    events: Items<'b>,
    #[serde(default)]
    close: bool,
    expect_serial: Option<u64>,
}

#[derive(Default)]
struct Items<'b> {
    /// At most as many as an append may have.
    kept: Vec<Item<'b>>,
    count: usize,
}

/// One event, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::edge) struct Item<'b> {
    format: Option<String>,
    // `null` is a payload too.
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'b RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// How many bytes the body of this request may have.
pub(in crate::edge) fn body_limit(headers: &HeaderMap) -> Result<usize, Problem> {
    // The limit of one event is the session's to enforce; this is only what is read at all.
    Ok(if is_envelope(headers)? { limits::BODY_BYTES } else { limits::APPEND_BYTES })
}

/// The command of a request.
pub(in crate::edge) fn command(headers: &HeaderMap, body: &Bytes) -> Result<Command, Problem> {
    let mut append = if is_envelope(headers)? { envelope(body)? } else { raw(headers, body)? };
    append.producer = headers::producer(headers)?;
    append.close |= headers::close(headers)?;
    if let Some(serial) = headers::expect_serial(headers)? {
        if append.expect.is_some_and(|given| given != serial) {
            let detail = "outlive-expect-serial and expect_serial differ";
            return Err(Problem::new(&error::BAD_HEADER, detail));
        }
        append.expect = Some(serial);
    }
    append_or_close(append)
}

/// The command of an envelope, by a writer who is named beside it.
pub(super) fn enveloped(producer: Option<Origin>, body: &[u8]) -> Result<Command, Problem> {
    append_or_close(Append { producer, ..envelope(body)? })
}

fn append_or_close(append: Append) -> Result<Command, Problem> {
    if !append.events.is_empty() {
        return Ok(Command::Append(append));
    }
    if !append.close {
        return Err(Refusal::NoEvents.into());
    }
    if append.expect.is_some() {
        let detail = "an expected serial needs an event to append";
        return Err(Problem::new(&error::NO_EVENTS, detail));
    }
    Ok(Command::Close { producer: append.producer })
}

fn is_envelope(headers: &HeaderMap) -> Result<bool, Problem> {
    let tagged = headers.contains_key(headers::OUTLIVE_FORMAT);
    Ok(!tagged && headers::media_type(headers)? == "application/json")
}

fn raw(headers: &HeaderMap, body: &Bytes) -> Result<Append, Problem> {
    let format = match headers::format(headers)? {
        Some(format) => format,
        None if headers::media_type(headers)?.starts_with("text/") => Format::TEXT,
        None => Format::RAW,
    };
    if body.is_empty() {
        return Ok(Append::default());
    }
    let event = checked(NewEvent { format, payload: body.clone() })?;
    Ok(Append { events: vec![event], ..Append::default() })
}

fn envelope(body: &[u8]) -> Result<Append, Problem> {
    let envelope: Envelope<'_> = turns::json(body)?;
    let Items { kept, count } = envelope.events;
    if limits::APPEND_EVENTS < count {
        return Err(Refusal::TooManyEvents { count, limit: limits::APPEND_EVENTS }.into());
    }
    let events = kept.into_iter().map(event).collect::<Result<_, _>>()?;
    let expect = envelope.expect_serial.map(Serial);
    Ok(Append { events, close: envelope.close, expect, ..Append::default() })
}

impl Item<'_> {
    /// The event that is meant.
    pub(in crate::edge) fn event(self) -> Result<NewEvent, Problem> {
        event(self)
    }
}

fn event(item: Item<'_>) -> Result<NewEvent, Problem> {
    let (usual, payload) = match (item.data, item.text, item.base64) {
        (Some(data), None, None) => (Format::JSON, json::in_one_line(data).into()),
        (None, Some(text), None) => (Format::TEXT, text.into()),
        (None, None, Some(text)) => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|why| Problem::new(&error::BAD_JSON, format!("base64: {why}")))?;
            (Format::RAW, bytes.into())
        }
        _ => {
            let detail = "an event has one of data, text and base64";
            return Err(Problem::new(&error::BAD_JSON, detail));
        }
    };
    let format = match item.format {
        None => usual,
        Some(tag) => {
            Format::parse(&tag).map_err(|why| Problem::new(&error::BAD_FORMAT, why.to_string()))?
        }
    };
    checked(NewEvent { format, payload })
}

/// Refuses what is declared as JSON and is not.
fn checked(event: NewEvent) -> Result<NewEvent, Problem> {
    let (bytes, limit) = (event.payload.len(), limits::EVENT_BYTES);
    if limit < bytes {
        return Err(Refusal::EventTooLarge { bytes, limit }.into());
    }
    if event.format == Format::JSON {
        json::check(&event.payload)
            .map_err(|why| Problem::new(&error::BAD_JSON, why.to_string()))?;
    }
    Ok(event)
}

impl<'de: 'b, 'b> Deserialize<'de> for Items<'b> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut items = Items::default();
                while items.count < limits::APPEND_EVENTS {
                    let Some(item) = list.next_element()? else { return Ok(items) };
                    items.kept.push(item);
                    items.count += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items.count += 1;
                }
                Ok(items)
            }
        }

        from.deserialize_seq(Bounded).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use expect_test::{Expect, expect};

    use super::*;

    fn parse(pairs: &[(&'static str, &str)], body: &[u8]) -> Result<Command, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        command(&headers, &Bytes::copy_from_slice(body))
    }

    fn check(pairs: &[(&'static str, &str)], body: &[u8], expected: Expect) {
        let shown = match parse(pairs, body) {
            Err(why) => why.kind().code.to_owned(),
            Ok(Command::Close { producer }) => {
                format!("close by {:?}", producer.map(|origin| origin.seq))
            }
            Ok(Command::Append(append)) => {
                let events: Vec<_> = append
                    .events
                    .iter()
                    .map(|event| format!("{} {:?}", event.format, event.payload))
                    .collect();
                let close = if append.close { " close" } else { "" };
                let expect = append.expect.map(|at| format!(" at {at}")).unwrap_or_default();
                format!("{}{close}{expect}", events.join(", "))
            }
            Ok(_) => unreachable!(),
        };
        expected.assert_eq(&shown);
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn an_envelope_carries_payloads_byte_for_byte() {
        check(
            &[JSON],
            br#"{"events":[{"data":{"b":1.0,"a":[ ]}},{"text":"a\n"},{"base64":"/w=="}]}"#,
            expect![[r#"json b"{\"b\":1.0,\"a\":[ ]}", text b"a\n", raw b"\xff""#]],
        );
        check(
            &[JSON],
            br#"{"events":[{"data":null},{"text":"{}","format":"json"}],"close":true,"expect_serial":4}"#,
            expect![[r#"json b"null", json b"{}" close at #4"#]],
        );
        check(&[JSON], b"{\"events\":[{\"data\":[1,\r\n2]}]}", expect![[r#"json b"[1,  2]""#]]);
        check(&[JSON], br#"{"events":[],"close":true}"#, expect!["close by None"]);
        check(&[JSON, ("outlive-close", "true")], b"{}", expect!["close by None"]);
    }

    #[test]
    fn a_bad_envelope_is_refused_for_what_is_wrong_with_it() {
        for (body, code) in [
            ("", "bad_json"),
            ("{}", "no_events"),
            ("[]", "bad_json"),
            (r#"{"events":{}}"#, "bad_json"),
            (r#"{"evnts":[]}"#, "bad_json"),
            (r#"{"events":[{}]}"#, "bad_json"),
            (r#"{"events":[{"text":"a","data":1}]}"#, "bad_json"),
            (r#"{"events":[{"base64":"%"}]}"#, "bad_json"),
            (r#"{"events":[{"text":"a","format":""}]}"#, "bad_format"),
            (r#"{"events":[{"text":"{","format":"json"}]}"#, "bad_json"),
            (r#"{"events":[],"close":true,"close":true}"#, "bad_json"),
            (r#"{"events":[],"close":true,"expect_serial":1}"#, "no_events"),
            (r#"{"events":[{"text":"a"}],"expect_serial":-1}"#, "bad_json"),
        ] {
            assert_eq!(parse(&[JSON], body.as_bytes()).unwrap_err().kind().code, code, "{body}");
        }
        let many = format!(r#"{{"events":[{}{{"text":""}}]}}"#, r#"{"text":""},"#.repeat(1000));
        assert_eq!(parse(&[JSON], many.as_bytes()).unwrap_err().kind().code, "too_many_events");
        let deep =
            format!(r#"{{"events":[{{"data":{}1{}}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(parse(&[JSON], deep.as_bytes()).unwrap_err().kind().code, "bad_json");
        let keys: String = (0..100_000).map(|key| format!("\"{key}\":1,")).collect();
        let keys = format!("{{{keys}\"events\":[]}}");
        assert_eq!(parse(&[JSON], keys.as_bytes()).unwrap_err().kind().code, "bad_json");
    }

    #[test]
    fn any_other_body_is_one_event() {
        check(
            &[("content-type", "text/plain; charset=utf-8")],
            b"a\n",
            expect![[r#"text b"a\n""#]],
        );
        check(&[("content-type", "image/png")], b"\xff", expect![[r#"raw b"\xff""#]]);
        check(&[], b"x", expect![[r#"raw b"x""#]]);
        check(&[JSON, ("outlive-format", "json")], b" {}\n", expect![[r#"json b" {}\n""#]]);
        check(&[("outlive-format", "json")], b"{", expect!["bad_json"]);
        check(&[("outlive-format", "html")], b"<", expect![[r#"html b"<""#]]);
        check(&[("outlive-format", "")], b"<", expect!["bad_format"]);
        check(&[], b"", expect!["no_events"]);
        check(&[("outlive-close", "true")], b"", expect!["close by None"]);
        check(
            &[("outlive-close", "true"), ("outlive-expect-serial", "3")],
            b"x",
            expect![[r#"raw b"x" close at #3"#]],
        );
        check(
            &[
                ("producer-id", "p"),
                ("producer-epoch", "0"),
                ("producer-seq", "9"),
                ("outlive-close", "true"),
            ],
            b"",
            expect!["close by Some(9)"],
        );
        check(&[], &vec![0; limits::EVENT_BYTES + 1], expect!["event_too_large"]);
    }
}
