//! What a body is as events: one for each JSON message, or bytes that may be cut anywhere.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::error::{self, Problem};
use super::super::json;
use crate::limits;
use crate::session::{ContentType, Format, NewEvent, Refusal};

/// Takes a body apart. Exactly one array around JSON messages is taken off; an empty one has none.
pub(super) fn parse(content_type: &ContentType, body: &Bytes) -> Result<Vec<NewEvent>, Problem> {
    if content_type.is_json() {
        return flatten(body);
    }
    let format = if content_type.is_text() { Format::TEXT } else { Format::RAW };
    Ok(cut(body, limits::EVENT_BYTES, format == Format::TEXT)
        .map(|payload| NewEvent { format: format.clone(), payload })
        .collect())
}

/// Pieces of at most `most` bytes; those of a text end after a whole letter where that can be.
fn cut(body: &Bytes, most: usize, text: bool) -> impl Iterator<Item = Bytes> {
    let mut rest = body.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = most.min(rest.len());
        if text && end < rest.len() {
            let inside = |at: &usize| rest[*at] & 0xC0 == 0x80;
            let begin = (end.saturating_sub(3)..=end).rev().find(|at| !inside(at));
            end = begin.filter(|at| 0 < *at).unwrap_or(end);
        }
        Some(rest.split_to(end))
    })
}

fn flatten(body: &[u8]) -> Result<Vec<NewEvent>, Problem> {
    let bad = |why: serde_json::Error| Problem::new(&error::BAD_JSON, why.to_string());
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        let value: &RawValue = serde_json::from_slice(body).map_err(bad)?;
        return Ok(vec![message(value)?]);
    }
    let Values { kept, count } = serde_json::from_slice(body).map_err(bad)?;
    if limits::APPEND_EVENTS < count {
        return Err(Refusal::TooManyEvents { count, limit: limits::APPEND_EVENTS }.into());
    }
    kept.into_iter().map(message).collect()
}

/// The event of one message that is known to be JSON.
pub(super) fn message(value: &RawValue) -> Result<NewEvent, Problem> {
    let bytes = value.get().len();
    if limits::EVENT_BYTES < bytes {
        return Err(Refusal::EventTooLarge { bytes, limit: limits::EVENT_BYTES }.into());
    }
    json::check(value.get().as_bytes())
        .map_err(|why| Problem::new(&error::BAD_JSON, why.to_string()))?;
    Ok(NewEvent { format: Format::JSON, payload: json::in_one_line(value).into() })
}

/// The values of an array; of too many, only the count.
struct Values<'b> {
    kept: Vec<&'b RawValue>,
    count: usize,
}

impl<'de: 'b, 'b> Deserialize<'de> for Values<'b> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Values<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values<'de>, A::Error> {
                let mut values = Values { kept: Vec::new(), count: 0 };
                while values.count < limits::APPEND_EVENTS {
                    let Some(value) = list.next_element()? else { return Ok(values) };
                    values.kept.push(value);
                    values.count += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    values.count += 1;
                }
                Ok(values)
            }
        }

        from.deserialize_seq(Bounded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(body: &str) -> Result<Vec<String>, &'static str> {
        let json = ContentType::parse("application/json; charset=utf-8").unwrap();
        let text = |event: NewEvent| String::from_utf8(event.payload.to_vec()).unwrap();
        let events = parse(&json, &Bytes::copy_from_slice(body.as_bytes()));
        events.map(|all| all.into_iter().map(text).collect()).map_err(|why| why.kind().code)
    }

    #[test]
    fn one_array_is_taken_off_and_no_more() {
        assert_eq!(texts(r#" {"a": 1.0} "#).unwrap(), [r#"{"a": 1.0}"#]);
        assert_eq!(texts("[1, \"x\",null]").unwrap(), ["1", "\"x\"", "null"]);
        assert_eq!(texts("[[1,\n2],[]]").unwrap(), ["[1, 2]", "[]"]);
        assert_eq!(texts(" [ ] ").unwrap(), [""; 0]);
        for body in ["", "{", "[1", "[1,]", "1 2", "[1] 2", "\u{feff}1"] {
            assert_eq!(texts(body), Err("bad_json"), "{body:?}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(texts(&deep), Err("bad_json"));
        assert_eq!(texts(&format!("[{}1]", "1,".repeat(1000))), Err("too_many_events"));
        let long = format!("[\"{}\"]", "x".repeat(limits::EVENT_BYTES));
        assert_eq!(texts(&long), Err("event_too_large"));
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole_and_no_letter_is_torn(text in "[aä漢🙂]{0,40}", most in 4_usize..9) {
            let body = Bytes::from(text.clone());
            let pieces: Vec<_> = cut(&body, most, true).collect();
            for piece in &pieces {
                prop_assert!(!piece.is_empty() && piece.len() <= most);
                prop_assert!(str::from_utf8(piece).is_ok());
            }
            prop_assert_eq!(pieces.concat(), text.as_bytes());
            let raw: Vec<_> = cut(&body, most, false).collect();
            prop_assert_eq!(raw.concat(), text.as_bytes());
        }

        #[test]
        fn broken_text_is_cut_too(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let pieces: Vec<_> = cut(&Bytes::from(bytes.clone()), 4, true).collect();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 4));
            prop_assert_eq!(pieces.concat(), bytes);
        }
    }
}
