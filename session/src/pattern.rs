//! Patterns: which names a grant is for.

use serde::{Deserialize, Serialize};

use crate::limits;

/// Names that are meant: one exactly, or all that begin with the text before a `*` at the end.
///
/// Names are compared by their exact bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// The pattern of every name.
    pub fn all() -> Pattern {
        Pattern("*".into())
    }

    /// Takes `text` as a pattern, of 1 to [`limits::SESSION_ID_BYTES`] bytes, with a `*` at the end at most.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn parse(text: &str) -> Result<Pattern, BadPattern> {
        if !(1..=limits::SESSION_ID_BYTES).contains(&text.len()) {
            return Err(BadPattern::Length);
        }
        let stem = text.strip_suffix('*').unwrap_or(text);
        if stem.contains('*') || text.chars().any(char::is_control) {
            return Err(BadPattern::Shape);
        }
        Ok(Pattern(text.into()))
    }

    /// The text that its names begin with, and whether that is the one name that is meant.
    pub fn stem(&self) -> (&str, bool) {
        match self.0.strip_suffix('*') {
            Some(stem) => (stem, false),
            None => (&self.0, true),
        }
    }

    /// Whether it means this name.
    pub fn covers(&self, name: &str) -> bool {
        match self.stem() {
            (stem, false) => name.starts_with(stem),
            (stem, true) => name == stem,
        }
    }

    /// Whether every name that `other` means is meant by this one.
    pub fn contains(&self, other: &Pattern) -> bool {
        match self.stem() {
            (stem, false) => other.stem().0.starts_with(stem),
            (_, true) => self == other,
        }
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is empty, or longer than any name.
    #[error("a pattern has 1 to {} bytes", limits::SESSION_ID_BYTES)]
    Length,
    /// It has a `*` before its end, or a control character.
    #[error("a pattern is a name, or the beginning of one and a * at the end")]
    Shape,
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Pattern, BadPattern> {
        Pattern::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_exact_bytes() {
        for (pattern, name, covers) in [
            ("*", "anything", true),
            ("chat:*", "chat:1", true),
            ("chat:*", "chat:", true),
            ("chat:*", "Chat:1", false),
            ("chat:*", "xchat:1", false),
            ("chat", "chat", true),
            ("chat", "chat1", false),
            ("chat", "сhat", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().covers(name), covers, "{pattern} {name}");
        }
        for text in ["", "a*b", "**", "a\nb", &"x".repeat(257)] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
        for (outer, inner, contains) in [
            ("*", "a*", true),
            ("a*", "ab*", true),
            ("a*", "ab", true),
            ("ab*", "a*", false),
            ("a", "a*", false),
            ("a", "a", true),
        ] {
            let (outer, inner) = (Pattern::parse(outer).unwrap(), Pattern::parse(inner).unwrap());
            assert_eq!(outer.contains(&inner), contains, "{outer:?} {inner:?}");
        }
    }
}
