//! JSON as it came: members are looked up, and what is not looked at stays byte for byte.
//!
//! Numbers keep their digits and strings their escapes, also such as no value could hold: `1e400`, or half of a
//! surrogate pair.

use std::collections::HashMap;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

use super::super::json;

/// An object whose values are their own text.
#[derive(Debug, Default)]
pub(in crate::edge) struct Object<'a>(HashMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// The object that a text is, if it is one; none that is nested deeper than [`crate::limits::JSON_DEPTH`]: it would
    /// be handed on to readers that fail on it.
    pub(in crate::edge) fn parse(text: &'a str) -> Option<Object<'a>> {
        if !json::is_shallow(text) {
            return None;
        }
        serde_json::from_str(text).ok().map(Object)
    }

    /// A member's text, unless it is `null`.
    pub(in crate::edge) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get()).filter(|text| *text != "null")
    }

    /// The text of a member that is a string.
    pub(in crate::edge) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(string)
    }

    /// A member that is an object; one without members where it is none.
    pub(in crate::edge) fn object(&self, name: &str) -> Object<'a> {
        self.get(name).and_then(Object::parse).unwrap_or_default()
    }

    /// The texts of a member that is a list.
    pub(in crate::edge) fn list(&self, name: &str) -> Vec<&'a str> {
        self.get(name).and_then(list).unwrap_or_default()
    }

    /// The objects of a member that is a list of such.
    pub(in crate::edge) fn objects(&self, name: &str) -> Vec<Object<'a>> {
        self.list(name).into_iter().filter_map(Object::parse).collect()
    }

    pub(in crate::edge) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    pub(in crate::edge) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// The members, in no order.
    pub(in crate::edge) fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }
}

/// The elements of a list, each as its text.
pub(in crate::edge) fn list(text: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// The letters of a string; what is no letter is U+FFFD.
pub(in crate::edge) fn string(text: &str) -> Option<String> {
    let mut letters = Letters::default();
    let mut taken = letters.take(text)?;
    taken.extend(letters.end());
    Some(taken)
}

/// Whether a text is one JSON value.
pub(in crate::edge) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Whether a text is `true` or `false`.
pub(in crate::edge) fn is_flag(text: &str) -> bool {
    matches!(text, "true" | "false")
}

/// Reads strings whose letters may be cut between them: in JSON a letter may be two escapes.
#[derive(Clone, Debug, Default)]
pub(in crate::edge) struct Letters {
    /// The first half of a surrogate pair.
    half: Option<u16>,
}

impl Letters {
    /// The letters that a JSON string completes; nothing if the text is none.
    pub(in crate::edge) fn take(&mut self, text: &str) -> Option<String> {
        let mut rest = text.strip_prefix('"')?.strip_suffix('"')?;
        let mut out = String::with_capacity(rest.len());
        while !rest.is_empty() {
            let plain = rest.find('\\').unwrap_or(rest.len());
            if 0 < plain {
                out.extend(self.end());
                out.push_str(&rest[..plain]);
                rest = &rest[plain..];
                continue;
            }
            let escape = rest.as_bytes().get(1)?;
            if *escape == b'u' {
                let unit = u16::from_str_radix(rest.get(2..6)?, 16).ok()?;
                self.unit(unit, &mut out);
                rest = &rest[6..];
                continue;
            }
            out.extend(self.end());
            out.push(match escape {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                other => char::from(*other),
            });
            rest = rest.get(2..)?;
        }
        Some(out)
    }

    /// What stands for a half whose other half did not come.
    pub(in crate::edge) fn end(&mut self) -> Option<char> {
        self.half.take().map(|_| char::REPLACEMENT_CHARACTER)
    }

    fn unit(&mut self, unit: u16, out: &mut String) {
        if let Some(high) = self.half.take() {
            let mut pair = char::decode_utf16([high, unit]);
            if let Some(Ok(letter)) = pair.next() {
                out.push(letter);
                return;
            }
            out.push(char::REPLACEMENT_CHARACTER);
        }
        match char::from_u32(u32::from(unit)) {
            Some(letter) => out.push(letter),
            None if unit < 0xdc00 => self.half = Some(unit),
            None => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// JSON that is put together; its members keep their order.
#[derive(Clone, Debug)]
pub(in crate::edge) enum Json {
    Raw(Box<RawValue>),
    Text(String),
    Flag(bool),
    Null,
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// A value as it came; the text itself where it is none.
    pub(in crate::edge) fn raw(text: &str) -> Json {
        RawValue::from_string(text.to_owned()).map_or_else(|_| Json::from(text), Json::Raw)
    }

    pub(in crate::edge) fn object<const N: usize>(members: [(&'static str, Json); N]) -> Json {
        Json::Object(members.into())
    }

    /// The members of an object, and others after them.
    pub(in crate::edge) fn joined(first: &serde_json::Value, rest: &Json) -> Json {
        let (mut text, rest) = (first.to_string(), rest.to_string());
        text.pop();
        if text.len() < 2 || rest.len() <= 2 {
            return if text.len() < 2 { Json::raw(&rest) } else { Json::from(first.clone()) };
        }
        text.push(',');
        text.push_str(&rest[1..]);
        Json::raw(&text)
    }

    /// Adds a member to an object.
    pub(in crate::edge) fn with(mut self, name: &'static str, value: impl Into<Json>) -> Json {
        if let Json::Object(members) = &mut self {
            members.push((name, value.into()));
        }
        self
    }

    /// Adds a member to an object where there is one.
    pub(in crate::edge) fn with_some(self, name: &'static str, value: Option<Json>) -> Json {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Json {
        Json::raw(&number.to_string())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Json {
        Json::raw(&value.to_string())
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Json {
        Json::Flag(flag)
    }
}

impl From<Vec<Json>> for Json {
    fn from(list: Vec<Json>) -> Json {
        Json::List(list)
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("it is made of what JSON has"))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Raw(raw) => raw.serialize(to),
            Json::Text(text) => to.serialize_str(text),
            Json::Flag(flag) => to.serialize_bool(*flag),
            Json::Null => to.serialize_unit(),
            Json::List(list) => {
                let mut out = to.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|value| out.serialize_element(value))?;
                out.end()
            }
            Json::Object(members) => {
                let mut out = to.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| out.serialize_entry(name, value))?;
                out.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_looked_at_stays_as_it_came() {
        let text = r#"{"a":{"z":1.10,"e":1e400},"b":"\ud83d","n":null,"t":true,"c":[7, "x"]}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("a"), Some(r#"{"z":1.10,"e":1e400}"#));
        assert_eq!(object.object("a").get("e"), Some("1e400"));
        assert_eq!(object.text("b").as_deref(), Some("\u{fffd}"));
        assert_eq!((object.get("n"), object.is_true("t")), (None, true));
        assert_eq!(object.list("c"), ["7", r#""x""#]);
        assert!(Object::parse("[1]").is_none() && Object::parse("{").is_none());
        // One level is the object's own.
        let deep = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let most = crate::limits::JSON_DEPTH - 1;
        assert!(Object::parse(&deep(most)).is_some() && Object::parse(&deep(most + 1)).is_none());
        let put = Json::object([("in", Json::raw(r#"{"z":1.10}"#)), ("s", "a\"b".into())]);
        assert_eq!(put.to_string(), r#"{"in":{"z":1.10},"s":"a\"b"}"#);
    }

    #[test]
    fn a_letter_that_is_cut_in_two_is_one_letter() {
        let read = |texts: &[&str]| {
            let mut letters = Letters::default();
            let mut out: String = texts.iter().map(|text| letters.take(text).unwrap()).collect();
            out.extend(letters.end());
            out
        };
        assert_eq!(read(&[r#""a\ud83d""#, r#""\ude00b""#]), "a\u{1f600}b");
        assert_eq!(read(&[r#""\ud83d\ude00""#]), "\u{1f600}");
        assert_eq!(read(&[r#""\ud83d""#, r#""""#, r#""\ude00""#]), "\u{1f600}");
        assert_eq!(read(&[r#""\ud83d""#, r#""x""#]), "\u{fffd}x");
        assert_eq!(read(&[r#""\ud83d\ud83d\ude00""#]), "\u{fffd}\u{1f600}");
        assert_eq!(read(&[r#""\ude00""#]), "\u{fffd}");
        assert_eq!(read(&[r#""\n\t\"\\\/\u00e4ä""#]), "\n\t\"\\/ää");
    }
}
