//! What a log is made of, as its creator set it: a media type such as `application/json`.

use std::fmt;
use std::sync::Arc;

use super::event::{BadFormat, Format};
use super::stored::kept_as_text;

/// A media type with its parameters, under the rules of a [`Format`].
///
/// Two are equal when type and subtype are, whatever their case and parameters.
#[derive(Clone)]
pub struct ContentType(Arc<str>);

kept_as_text!(ContentType);

impl ContentType {
    /// Takes `text` as it is.
    ///
    /// # Errors
    /// Gives what is wrong with the text.
    pub fn parse(text: &str) -> Result<ContentType, BadFormat> {
        Format::parse(text)?;
        Ok(ContentType(text.into()))
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Type and subtype, without parameters.
    pub fn essence(&self) -> &str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// Whether the log is a list of JSON values.
    pub fn is_json(&self) -> bool {
        self.essence().eq_ignore_ascii_case("application/json")
    }

    /// Whether the log is text.
    pub fn is_text(&self) -> bool {
        self.essence().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"))
    }
}

impl PartialEq for ContentType {
    fn eq(&self, other: &ContentType) -> bool {
        self.essence().eq_ignore_ascii_case(other.essence())
    }
}

impl Eq for ContentType {}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentType({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_parameters_make_no_difference() {
        let json = ContentType::parse("application/json").unwrap();
        let other = ContentType::parse("Application/JSON ; charset=utf-8").unwrap();
        assert_eq!(json, other);
        assert!(other.is_json() && !other.is_text());
        assert_eq!(other.as_str(), "Application/JSON ; charset=utf-8");
        assert_ne!(json, ContentType::parse("application/jsonl").unwrap());
        assert!(ContentType::parse("TEXT/plain").unwrap().is_text());
        assert!(ContentType::parse("a\nb").is_err() && ContentType::parse("").is_err());
    }
}
