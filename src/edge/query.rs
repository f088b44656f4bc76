//! Query parameters, taken strictly: a name that is not known or given twice is an error, because a
//! misspelt `after` would read from the wrong place without an error.

use axum::extract::{FromRequestParts, Query as Pairs};
use axum::http::request::Parts;

use super::error::{self, Problem};
use super::headers::strict_number;

/// The parameters of one request.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Problem> {
        let Pairs(pairs) = Pairs::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(&error::BAD_QUERY, "the query is not form-encoded"))?;
        Ok(Query(pairs))
    }
}

impl Query {
    /// Refuses every name that is not `known` and every name given twice.
    pub(super) fn only(self, known: &[&str]) -> Result<Query, Problem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let detail = match known {
                    [] => format!("{name:?} is not known here; nothing is"),
                    known => format!("{name:?} is not known here; known: {}", known.join(", ")),
                };
                return Err(Problem::new(&error::BAD_QUERY, detail));
            }
            if self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::new(&error::BAD_QUERY, format!("{name} is given twice")));
            }
        }
        Ok(self)
    }

    /// The text of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, text)| text.as_str())
    }

    /// A number between `least` and `most`.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match strict_number(text) {
            Some(number) if least <= number && number <= most => Ok(Some(number)),
            _ => {
                let detail = format!("{name} must be {least} to {most}");
                Err(Problem::new(&error::BAD_QUERY, detail))
            }
        }
    }

    /// One of a few values, and what it stands for.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*meant));
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let detail = format!("{name} must be one of {}", known.join(", "));
        Err(Problem::new(&error::BAD_QUERY, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Query(pairs.iter().map(own).collect())
    }

    #[test]
    fn parameters_are_known_single_and_in_range() {
        assert!(query(&[("afer", "x")]).only(&["after"]).is_err());
        assert!(query(&[("after", "x"), ("after", "x")]).only(&["after"]).is_err());
        let given = query(&[("limit", "10"), ("live", "sse")]).only(&["limit", "live"]).unwrap();
        assert_eq!(given.number("limit", 1, 10).unwrap(), Some(10));
        assert_eq!(given.number("wait_ms", 1, 10).unwrap(), None);
        assert!(given.number("limit", 1, 9).is_err());
        assert!(given.number("live", 1, 9).is_err());
        assert_eq!(given.word("live", &[("sse", 1)]).unwrap(), Some(1));
        assert!(given.word("live", &[("SSE", 1)]).is_err());
    }
}
