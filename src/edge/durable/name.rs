//! The stream that a path names.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::super::error::{self, Problem};
use super::super::{gate, name};
use crate::auth::Caller;
use crate::ids::SessionId;

/// The session of the request's path.
pub(super) struct StreamName(pub(super) SessionId);

impl<S: Sync> FromRequestParts<S> for StreamName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<StreamName, Problem> {
        let id = parse(&gate::sender(parts)?, parts.uri.path())?;
        gate::judge(parts, &id)?;
        Ok(StreamName(id))
    }
}

/// Takes the name out of a path of the dialect: of a stream of the caller's tenant. Slashes belong to it, encoded or
/// not; of other letters, see [`name::parse`].
pub(super) fn parse(caller: &Caller, path: &str) -> Result<SessionId, Problem> {
    let bad = |detail: String| Problem::new(&error::BAD_SESSION_ID, detail);
    let rest = path.strip_prefix("/v1/stream/").or(path.strip_prefix("/streams/"));
    let rest = rest.ok_or_else(|| bad("a stream is /v1/stream/… or /streams/…".into()))?;
    if rest.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(bad("a path cannot carry the segments . and ..".into()));
    }
    name::named(caller, &name::parse(rest).map_err(bad)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_stream_however_its_slashes_are_written() {
        for path in ["/v1/stream/runs/a%20b", "/v1/stream/runs%2Fa%20b", "/streams/runs%2Fa%20b"] {
            assert_eq!(parse(&Caller::anybody(), path).unwrap().name(), "runs/a b", "{path}");
        }
        assert_eq!(parse(&Caller::anybody(), "/v1/stream/a//b/").unwrap().name(), "a//b/");
        for (path, code) in [
            ("/v1/stream/", "bad_session_id"),
            ("/v1/streams/a", "bad_session_id"),
            ("/v1/stream/a/../b", "bad_session_id"),
            ("/v1/stream/a/%2e%2e/b", "bad_session_id"),
            ("/v1/stream/a%00", "bad_session_id"),
            ("/v1/stream/__ds/subscriptions/a", "unknown_path"),
            ("/streams/__ds", "unknown_path"),
        ] {
            assert_eq!(parse(&Caller::anybody(), path).unwrap_err().kind().code, code, "{path}");
        }
        assert!(parse(&Caller::anybody(), "/v1/stream/__dsx").is_ok());
    }
}
