//! The name of a file: of a shape that no other text has by accident, so that payloads can refer to it.

use std::fmt;
use std::sync::Arc;

use super::BadId;
use crate::stored::kept_as_text;

/// How every name of a file begins.
const BEGINNING: &str = "file_";
/// Letters and digits after that.
const REST: std::ops::RangeInclusive<usize> = 16..=64;

/// Name of one file within its session: `file_` and 16 to 64 ASCII letters or digits, best drawn at random.
///
/// An event refers to a file by having its name anywhere in its payload: in a URL, for example.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(Arc<str>);

kept_as_text!(FileId);

impl FileId {
    /// Takes `text` as a name.
    ///
    /// # Errors
    /// It is of another shape.
    pub fn parse(text: &str) -> Result<FileId, BadId> {
        let rest = text.strip_prefix(BEGINNING).ok_or(BadId::NoFile)?;
        let fits = REST.contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(FileId(text.into())) } else { Err(BadId::NoFile) }
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whatever in a payload has the shape of such a name, in order; a name may come twice.
    pub fn named_in(payload: &[u8]) -> impl Iterator<Item = &str> {
        let mut rest = payload;
        std::iter::from_fn(move || {
            loop {
                if rest.len() < BEGINNING.len() + REST.start() {
                    return None;
                }
                let at = memchr::memmem::find(rest, BEGINNING.as_bytes())?;
                let (from, after) = (&rest[at..], &rest[at + BEGINNING.len()..]);
                let length = after.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                rest = after;
                if REST.contains(&length) {
                    let name = &from[..BEGINNING.len() + length];
                    return Some(std::str::from_utf8(name).expect("letters and digits are ASCII"));
                }
            }
        })
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_wherever_it_stands_whole() {
        let name = "file_0123456789abcdef";
        for (payload, found) in [
            (format!("{{\"url\":\"/v1/sessions/a/files/{name}\"}}"), vec![name]),
            (format!("{name}, {name}."), vec![name, name]),
            (format!("file_file_file_{name}"), vec![name]),
            (format!("\u{e4}{name}\u{e4}"), vec![name]),
            ("file_0123456789abcde file_".into(), vec![]),
            (format!("file_{}", "a".repeat(65)), vec![]),
        ] {
            let all: Vec<_> = FileId::named_in(payload.as_bytes()).collect();
            assert_eq!(all, found, "{payload}");
        }
        assert_eq!(FileId::parse(name).unwrap().as_str(), name);
        for text in
            ["", "file_", "file_0123456789abcde", "file_0123456789abcde-", "0123456789abcdef"]
        {
            assert!(FileId::parse(text).is_err(), "{text}");
        }
    }
}
